use super::*;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{
        AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use proptest::prelude::*;
use prost::Message as _;

/// A batch as prost knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Batch {
    Logs(ExportLogsServiceRequest),
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

impl Batch {
    pub(crate) fn signal(&self) -> Signal {
        match self {
            Batch::Logs(_) => Signal::Logs,
            Batch::Traces(_) => Signal::Traces,
            Batch::Metrics(_) => Signal::Metrics,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Batch::Logs(request) => request.encode_to_vec(),
            Batch::Traces(request) => request.encode_to_vec(),
            Batch::Metrics(request) => request.encode_to_vec(),
        }
    }

    /// As opentelemetry-proto writes it.
    pub(crate) fn crate_json(&self) -> String {
        match self {
            Batch::Logs(request) => serde_json::to_string(request),
            Batch::Traces(request) => serde_json::to_string(request),
            Batch::Metrics(request) => serde_json::to_string(request),
        }
        .unwrap()
    }
}

pub(crate) fn decode(signal: Signal, bytes: &[u8]) -> Batch {
    match signal {
        Signal::Logs => Batch::Logs(ExportLogsServiceRequest::decode(bytes).unwrap()),
        Signal::Traces => Batch::Traces(ExportTraceServiceRequest::decode(bytes).unwrap()),
        Signal::Metrics => Batch::Metrics(ExportMetricsServiceRequest::decode(bytes).unwrap()),
        Signal::Profiles => panic!("profiles are not decoded"),
    }
}

/// Valid batches, odd ones among them; `doubles`: those that its numbers are of.
pub(crate) fn batches(doubles: &'static [f64]) -> impl Strategy<Value = Batch> {
    let entropy = prop::collection::vec(any::<u8>(), 0..1000);
    (0..3u8, entropy).prop_map(move |(signal, entropy)| Source { entropy, doubles }.batch(signal))
}

pub(crate) const FINITE: &[f64] =
    &[0.0, -0.0, 1.0, -2.5, 0.1, 1e300, f64::MIN_POSITIVE, 5e-324, f64::MAX, 9_007_199_254_740_993.0, 1e21];
pub(crate) const ALL_KINDS: &[f64] =
    &[0.0, -0.0, 0.3, -7.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::EPSILON, 1.797e308];

/// Makes messages of random bytes; when these are used up, only empty ones.
struct Source {
    entropy: Vec<u8>,
    doubles: &'static [f64],
}

impl Source {
    fn byte(&mut self) -> u8 {
        self.entropy.pop().unwrap_or(0)
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    fn number(&mut self) -> u64 {
        match self.byte() % 5 {
            0 => 0,
            1 => self.byte().into(),
            2 => u64::MAX,
            3 => i64::MAX as u64,
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn double(&mut self) -> f64 {
        let place = usize::from(self.byte());
        self.doubles[place % self.doubles.len()]
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = [
            "",
            "a",
            "service.name",
            "\"\\/\n\t\u{8}\u{1}\u{7f}",
            "é\u{2028}😀",
            "0123456789abcdef",
            "null",
            "{}",
        ];
        let text = TEXTS[usize::from(self.byte()) % TEXTS.len()];
        text.repeat(if self.one_in(20) { 40 } else { 1 })
    }

    fn id(&mut self, length: usize) -> Vec<u8> {
        if self.one_in(2) { (0..length).map(|_| self.byte()).collect() } else { Vec::new() }
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = if self.entropy.is_empty() { 0 } else { self.byte() % 4 };
        (0..length).map(|_| element(self)).collect()
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(2).then(|| value(self))
    }

    fn value(&mut self, depth: usize) -> AnyValue {
        let value = match self.byte() % 9 {
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.one_in(2))),
            3 => Some(Value::IntValue(self.number() as i64)),
            4 => Some(Value::DoubleValue(self.double())),
            5 if depth < 20 => {
                Some(Value::ArrayValue(ArrayValue { values: self.list(|s| s.value(depth + 1)) }))
            }
            6 if depth < 20 => {
                Some(Value::KvlistValue(KeyValueList { values: self.list(|s| s.pair(depth + 1)) }))
            }
            7 => Some(Value::BytesValue(self.text().into_bytes())),
            _ => None,
        };
        AnyValue { value }
    }

    fn pair(&mut self, depth: usize) -> KeyValue {
        let key_strindex = if self.one_in(9) { self.number() as i32 } else { 0 };
        KeyValue { key: self.text(), value: self.maybe(|s| s.value(depth)), key_strindex }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.list(|s| s.pair(1))
    }

    fn resource(&mut self) -> Option<Resource> {
        self.maybe(|s| Resource {
            attributes: s.attributes(),
            dropped_attributes_count: s.number() as u32,
            entity_refs: s.list(|s| EntityRef {
                schema_url: s.text(),
                r#type: s.text(),
                id_keys: s.list(Self::text),
                description_keys: s.list(Self::text),
            }),
        })
    }

    fn scope(&mut self) -> Option<InstrumentationScope> {
        self.maybe(|s| InstrumentationScope {
            name: s.text(),
            version: s.text(),
            attributes: s.attributes(),
            dropped_attributes_count: s.number() as u32,
        })
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.number(),
            observed_time_unix_nano: self.number(),
            severity_number: self.number() as i32,
            severity_text: self.text(),
            body: self.maybe(|s| s.value(1)),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            flags: self.number() as u32,
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.number() as u32,
            name: self.text(),
            kind: self.number() as i32,
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            events: self.list(|s| span::Event {
                time_unix_nano: s.number(),
                name: s.text(),
                attributes: s.attributes(),
                dropped_attributes_count: s.number() as u32,
            }),
            dropped_events_count: self.number() as u32,
            links: self.list(|s| span::Link {
                trace_id: s.id(16),
                span_id: s.id(8),
                trace_state: s.text(),
                attributes: s.attributes(),
                dropped_attributes_count: s.number() as u32,
                flags: s.number() as u32,
            }),
            dropped_links_count: self.number() as u32,
            status: self.maybe(|s| Status { message: s.text(), code: s.number() as i32 }),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.number(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: self.maybe(|s| match s.one_in(2) {
                true => exemplar::Value::AsInt(s.number() as i64),
                false => exemplar::Value::AsDouble(s.double()),
            }),
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.number(),
            time_unix_nano: self.number(),
            exemplars: self.list(Self::exemplar),
            flags: self.number() as u32,
            value: self.maybe(|s| match s.one_in(2) {
                true => number_data_point::Value::AsInt(s.number() as i64),
                false => number_data_point::Value::AsDouble(s.double()),
            }),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.number() as i32, bucket_counts: self.list(Self::number) }
    }

    fn metric(&mut self) -> Metric {
        let data = match self.byte() % 6 {
            1 => Some(Data::Gauge(Gauge { data_points: self.list(Self::number_point) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.list(Self::number_point),
                aggregation_temporality: self.number() as i32,
                is_monotonic: self.one_in(2),
            })),
            3 => Some(Data::Histogram(Histogram {
                data_points: self.list(|s| HistogramDataPoint {
                    attributes: s.attributes(),
                    start_time_unix_nano: s.number(),
                    time_unix_nano: s.number(),
                    count: s.number(),
                    sum: s.maybe(Self::double),
                    bucket_counts: s.list(Self::number),
                    explicit_bounds: s.list(Self::double),
                    exemplars: s.list(Self::exemplar),
                    flags: s.number() as u32,
                    min: s.maybe(Self::double),
                    max: s.maybe(Self::double),
                }),
                aggregation_temporality: self.number() as i32,
            })),
            4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.list(|s| ExponentialHistogramDataPoint {
                    attributes: s.attributes(),
                    start_time_unix_nano: s.number(),
                    time_unix_nano: s.number(),
                    count: s.number(),
                    sum: s.maybe(Self::double),
                    scale: s.number() as i32,
                    zero_count: s.number(),
                    positive: s.maybe(Self::buckets),
                    negative: s.maybe(Self::buckets),
                    flags: s.number() as u32,
                    exemplars: s.list(Self::exemplar),
                    min: s.maybe(Self::double),
                    max: s.maybe(Self::double),
                    zero_threshold: s.double(),
                }),
                aggregation_temporality: self.number() as i32,
            })),
            5 => Some(Data::Summary(Summary {
                data_points: self.list(|s| SummaryDataPoint {
                    attributes: s.attributes(),
                    start_time_unix_nano: s.number(),
                    time_unix_nano: s.number(),
                    count: s.number(),
                    sum: s.double(),
                    quantile_values: s.list(|s| ValueAtQuantile { quantile: s.double(), value: s.double() }),
                    flags: s.number() as u32,
                }),
            })),
            _ => None,
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(),
            data,
        }
    }

    fn batch(&mut self, signal: u8) -> Batch {
        match signal {
            0 => Batch::Logs(ExportLogsServiceRequest {
                resource_logs: self.list(|s| ResourceLogs {
                    resource: s.resource(),
                    scope_logs: s.list(|s| ScopeLogs {
                        scope: s.scope(),
                        log_records: s.list(Self::log_record),
                        schema_url: s.text(),
                    }),
                    schema_url: s.text(),
                }),
            }),
            1 => Batch::Traces(ExportTraceServiceRequest {
                resource_spans: self.list(|s| ResourceSpans {
                    resource: s.resource(),
                    scope_spans: s.list(|s| ScopeSpans {
                        scope: s.scope(),
                        spans: s.list(Self::span),
                        schema_url: s.text(),
                    }),
                    schema_url: s.text(),
                }),
            }),
            _ => Batch::Metrics(ExportMetricsServiceRequest {
                resource_metrics: self.list(|s| ResourceMetrics {
                    resource: s.resource(),
                    scope_metrics: s.list(|s| ScopeMetrics {
                        scope: s.scope(),
                        metrics: s.list(Self::metric),
                        schema_url: s.text(),
                    }),
                    schema_url: s.text(),
                }),
            }),
        }
    }
}

#[test]
fn records_of_every_signal_are_counted() {
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{"body":{"stringValue":"}"}}]}]},{"scope_logs":[{"log_records":[{}]}]}]}"#;
    assert_eq!(count_records(Signal::Logs, logs.as_bytes()), Ok(3));
    let spans = r#" {"resourceSpans":[{"resource":{"attributes":[{}]},"scopeSpans":[{"spans":[{"events":[{}]}]}]}]} "#;
    assert_eq!(count_records(Signal::Traces, spans.as_bytes()), Ok(1));
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"a","gauge":{"dataPoints":[{},{}]}},{"sum":{"dataPoints":[{}],"isMonotonic":true}},
        {"exponentialHistogram":{"dataPoints":[{}]}},{"name":"none"}]}]}]}"#;
    assert_eq!(count_records(Signal::Metrics, metrics.as_bytes()), Ok(4));
    assert_eq!(count_records(Signal::Profiles, b"{\"resourceProfiles\":[{}]}"), Ok(0));
    assert_eq!(count_records(Signal::Logs, b"{}"), Ok(0));
}

#[test]
fn shapes_that_are_no_otlp_hold_no_records() {
    for body in [r#"{"resourceLogs":5}"#, r#"{"resourceLogs":null}"#, r#"{"resourceSpans":[{}]}"#] {
        assert_eq!(count_records(Signal::Logs, body.as_bytes()), Ok(0), "{body}");
    }
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    for body in ["", "[]", "5", "{", "{}{}", "{} x", "{\"a\":}", "\u{feff}{}", "{\"a\":1,}"] {
        assert!(count_records(Signal::Logs, body.as_bytes()).is_err(), "{body}");
    }
    assert!(count_records(Signal::Logs, b"{\"a\":\"\xff\"}").is_err());
    let deep = format!("{}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert!(count_records(Signal::Logs, deep.as_bytes()).is_err());
}
