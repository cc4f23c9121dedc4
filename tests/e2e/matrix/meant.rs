//! What each sender means: the records that `tests/clients/python/matrix.py` and
//! `tests/clients/node/matrix.mjs` make by their SDK, and the batches that the Collector is fed.

use super::batch::{Batches, unnumbered};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
        any_value::Value::{
            self, ArrayValue as Array, BoolValue as Bool, BytesValue as Bytes, DoubleValue as Double,
            IntValue as Int, KvlistValue as Map, StringValue as Text,
        },
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point::Value as Number,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link},
    },
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sender {
    Python,
    /// Numbers are doubles, spans have no nested attributes, and no point has an exemplar.
    Node,
    /// Is fed what Python sends, and all that an SDK has no way to say.
    Collector,
}

use Sender::{Collector, Node};

const START: u64 = 1_767_225_600_123_456_789;
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";
const TRACE_ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const OUTER: [u8; 8] = [0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0, 0, 1];
const INNER: [u8; 8] = [0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0, 0, 2];
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const CUMULATIVE: i32 = 2;

impl Sender {
    /// What it means in a cell. `in_json`: as [`super::batch::Batch::from_json`] reads it.
    pub fn meant(self, cell: &str, in_json: bool) -> Batches {
        let mut batches = Batches {
            logs: self.logs(cell, in_json),
            traces: self.traces(cell, in_json),
            metrics: self.metrics(cell),
        };
        if self == Collector {
            no_sdk_says(&mut batches, cell);
        }
        batches
    }

    /// Attributes of every kind.
    fn kinds(self, in_json: bool) -> Vec<KeyValue> {
        let mut kinds = vec![
            attribute("text", text("Größe 42 – 日本語 🧥\n\t\"\\\0\u{7f}")),
            attribute("empty", text("")),
            attribute("true", Bool(true)),
            attribute("false", Bool(false)),
            attribute("zero", Int(0)),
        ];
        kinds.extend(if self == Node {
            vec![attribute("negative", Int(-7)), attribute("beyond 2^53", Int((1 << 53) + 2))]
        } else {
            vec![
                attribute("largest", Int(i64::MAX)),
                attribute("smallest", Int(i64::MIN)),
                attribute("beyond 2^53", Int((1 << 53) + 1)),
            ]
        });
        kinds.extend([
            attribute("tenth", Double(0.1)),
            attribute("long", Double(94.527_069_555_392_23)),
            attribute("tiny", Double(5e-324)),
        ]);
        if self != Node {
            let unnumbered = |number, name| if in_json { Text(unnumbered(name)) } else { Double(number) };
            kinds.extend([
                attribute("huge", Double(f64::MAX)),
                attribute("whole", Double(42.0)),
                attribute("minus zero", Double(-0.0)),
                attribute("no number", unnumbered(f64::NAN, "NaN")),
                attribute("endless", unnumbered(f64::NEG_INFINITY, "-Infinity")),
            ]);
        }
        kinds.push(attribute("texts", list([text("eu"), text(""), text("us")])));
        kinds
    }

    /// The same, with those that contain others.
    fn deep_kinds(self, in_json: bool) -> Vec<KeyValue> {
        let nothing =
            |key: &str| KeyValue { value: Some(AnyValue { value: None }), ..attribute(key, Int(0)) };
        let deep = list([map(vec![nothing("er")])]);
        let mixed = [
            text("a"),
            Int(1),
            Double(1.5),
            Bool(true),
            Bytes(vec![255]),
            list([list([])]),
            map(vec![attribute("deep", deep)]),
        ];
        let inner = map(vec![attribute("c", Int(-1)), attribute("d", map(vec![]))]);
        let mut kinds = self.kinds(in_json);
        kinds.extend([
            attribute("bytes", Bytes(vec![0, 127, 128, 255])),
            attribute("mixed", list(mixed)),
            attribute("map", map(vec![attribute("a", text("x")), attribute("b", inner)])),
            nothing("nothing"),
        ]);
        kinds
    }

    fn logs(self, cell: &str, in_json: bool) -> ExportLogsServiceRequest {
        let kinds = self.deep_kinds(in_json);
        let full = LogRecord {
            time_unix_nano: START,
            observed_time_unix_nano: START + 1,
            severity_number: 14,
            severity_text: "Warning".into(),
            body: Some(AnyValue { value: Some(map(kinds.clone())) }),
            attributes: kinds,
            flags: 1,
            trace_id: TRACE_ID.into(),
            span_id: OUTER.into(),
            event_name: "cart.abandoned".into(),
            ..Default::default()
        };
        let plain = LogRecord {
            time_unix_nano: START + 2,
            observed_time_unix_nano: START + 3,
            body: Some(AnyValue { value: Some(text("plain")) }),
            ..Default::default()
        };
        let scope = ScopeLogs {
            scope: self.scope("storefront.log"),
            log_records: vec![full, plain],
            schema_url: SCHEMA.into(),
        };
        let resource =
            ResourceLogs { resource: resource(cell), scope_logs: vec![scope], schema_url: SCHEMA.into() };
        ExportLogsServiceRequest { resource_logs: vec![resource] }
    }

    fn traces(self, cell: &str, in_json: bool) -> ExportTraceServiceRequest {
        let kinds = if self == Node { self.kinds(in_json) } else { self.deep_kinds(in_json) };
        let sampled = u32::from(self == Node); // Python leaves the flags of the W3C out
        let (local, remote) = (0x100 | sampled, 0x300 | sampled);
        let inner = Span {
            trace_id: TRACE_ID.into(),
            span_id: INNER.into(),
            trace_state: STATE.into(),
            parent_span_id: OUTER.into(),
            name: "query".into(),
            kind: 3,
            start_time_unix_nano: START + 30,
            end_time_unix_nano: START + 40,
            status: Some(Status { message: "throttled – später".into(), code: 2 }),
            flags: local,
            ..Default::default()
        };
        let missed = Event {
            time_unix_nano: START + 10,
            name: "cache.miss".into(),
            attributes: kinds.clone(),
            ..Default::default()
        };
        let later = Event { time_unix_nano: START + 20, name: "later".into(), ..Default::default() };
        let link = Link {
            trace_id: TRACE_ID.into(),
            span_id: vec![0, 0, 0, 0, 0, 0, 0, 255],
            trace_state: if self == Node { STATE.into() } else { String::new() },
            attributes: vec![attribute("why", text("retry"))],
            flags: local,
            ..Default::default()
        };
        let outer = Span {
            span_id: OUTER.into(),
            parent_span_id: vec![255; 8],
            name: "GET /products/{handle}".into(),
            kind: 2,
            start_time_unix_nano: START,
            end_time_unix_nano: START + 2_000_000_000,
            attributes: kinds,
            events: vec![missed, later],
            links: vec![link],
            status: Some(Status { message: String::new(), code: 1 }),
            flags: remote,
            ..inner.clone()
        };
        let scope = ScopeSpans {
            scope: self.scope("storefront.router"),
            spans: vec![inner, outer], // as they ended
            schema_url: SCHEMA.into(),
        };
        let resource =
            ResourceSpans { resource: resource(cell), scope_spans: vec![scope], schema_url: SCHEMA.into() };
        ExportTraceServiceRequest { resource_spans: vec![resource] }
    }

    fn metrics(self, cell: &str) -> ExportMetricsServiceRequest {
        let large = if self == Node { (1 << 53) + 2 } else { (1 << 53) + 1 };
        let route =
            |route, cached| vec![attribute("http.route", text(route)), attribute("cached", Bool(cached))];
        let requests = Sum {
            data_points: vec![
                point(Number::AsInt(large), route("/products/{handle}", true)),
                point(Number::AsInt(1), route("/cart", false)),
            ],
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        };
        let balance = Sum {
            data_points: vec![point(Number::AsDouble(-1.25), vec![])],
            aggregation_temporality: CUMULATIVE,
            is_monotonic: false,
        };
        let mut load = point(Number::AsDouble(0.1), vec![attribute("sizes", list([text("S"), text("L")]))]);
        if self != Node {
            load.start_time_unix_nano = 0; // a gauge need not have one
        }
        let metric = |name: &str, unit: &str, data| Metric {
            name: format!("storefront.{name}"),
            unit: unit.into(),
            data: Some(data),
            ..Default::default()
        };
        let mut metrics = vec![
            Metric {
                description: "Requests served".into(),
                ..metric("requests", "{request}", Data::Sum(requests))
            },
            metric("balance", "EUR", Data::Sum(balance)),
            metric("load", "", Data::Gauge(Gauge { data_points: vec![load] })),
            metric("latency", "ms", Data::Histogram(self.latency())),
        ];
        let size = metric("size", "By", Data::ExponentialHistogram(self.size()));
        metrics.insert(if self == Node { 0 } else { metrics.len() }, size);
        let scope =
            ScopeMetrics { scope: self.scope("storefront.meter"), metrics, schema_url: SCHEMA.into() };
        let resource = ResourceMetrics {
            resource: resource(cell),
            scope_metrics: vec![scope],
            schema_url: SCHEMA.into(),
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }
    }

    /// 0.25, 5 and 100, the second of them within a span.
    fn latency(self) -> Histogram {
        let exemplar = Exemplar {
            time_unix_nano: START + 1,
            span_id: OUTER.into(),
            trace_id: TRACE_ID.into(),
            value: Some(exemplar::Value::AsDouble(5.0)),
            ..Default::default()
        };
        let point = HistogramDataPoint {
            attributes: vec![attribute("cached", Bool(true))],
            start_time_unix_nano: START,
            time_unix_nano: START + 1,
            count: 3,
            sum: Some(105.25),
            bucket_counts: vec![1, 1, 1],
            explicit_bounds: vec![0.5, 10.0],
            exemplars: if self == Node { vec![] } else { vec![exemplar] },
            min: Some(0.25),
            max: Some(100.0),
            ..Default::default()
        };
        Histogram { data_points: vec![point], aggregation_temporality: CUMULATIVE }
    }

    /// 0, 1, 2 and 4, in at most four buckets.
    fn size(self) -> ExponentialHistogram {
        let spare = |mut buckets: Vec<u64>| {
            buckets.extend((self != Node).then_some(0)); // Python's buckets double in number
            buckets
        };
        let point = ExponentialHistogramDataPoint {
            start_time_unix_nano: START,
            time_unix_nano: START + 1,
            count: 4,
            sum: Some(7.0),
            zero_count: 1,
            positive: Some(Buckets { offset: -1, bucket_counts: spare(vec![1, 1, 1]) }),
            negative: Some(Buckets { offset: 0, bucket_counts: spare(vec![]) }),
            min: Some(0.0),
            max: Some(4.0),
            ..Default::default()
        };
        ExponentialHistogram { data_points: vec![point], aggregation_temporality: CUMULATIVE }
    }

    fn scope(self, name: &str) -> Option<InstrumentationScope> {
        let attributes = if self == Node { vec![] } else { vec![attribute("team", text("edge"))] };
        Some(InstrumentationScope {
            name: name.into(),
            version: "2026.4.0".into(),
            attributes,
            ..Default::default()
        })
    }
}

/// Counts of what was dropped, every flag, and the points that SDKs do not make.
fn no_sdk_says(batches: &mut Batches, cell: &str) {
    let logs = &mut batches.logs.resource_logs[0];
    logs.resource.as_mut().expect("a resource").dropped_attributes_count = 1;
    logs.scope_logs[0].scope.as_mut().expect("a scope").dropped_attributes_count = 2;
    logs.scope_logs[0].log_records[0].dropped_attributes_count = u32::MAX;
    // More than one scope and resource; the Collector writes an empty message where there is none.
    let empty = LogRecord { body: Some(AnyValue { value: None }), ..Default::default() };
    let last = LogRecord { time_unix_nano: u64::MAX, ..empty.clone() };
    let scope = |record| ScopeLogs {
        scope: Some(InstrumentationScope::default()),
        log_records: vec![record],
        ..Default::default()
    };
    logs.scope_logs.push(scope(empty));
    let cell = vec![resource(cell).expect("a resource").attributes.remove(1)];
    let resource = Some(Resource { attributes: cell, ..Default::default() });
    let another = ResourceLogs { resource, scope_logs: vec![scope(last)], ..Default::default() };
    batches.logs.resource_logs.push(another);

    let span = &mut batches.traces.resource_spans[0].scope_spans[0].spans[1];
    (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) = (3, 4, 5);
    span.flags |= 1;
    span.events[0].dropped_attributes_count = 6;
    span.links[0].dropped_attributes_count = 7;
    span.links[0].trace_state = STATE.into();

    let metrics = &mut batches.metrics.resource_metrics[0].scope_metrics[0].metrics;
    let no_value = NumberDataPoint { value: None, flags: 1, ..point(Number::AsInt(0), vec![]) };
    let negative = ExponentialHistogramDataPoint {
        scale: -3,
        zero_threshold: 0.5,
        negative: Some(Buckets { offset: i32::MIN, bucket_counts: vec![0, u64::MAX] }),
        positive: Some(Buckets::default()),
        exemplars: vec![Exemplar {
            filtered_attributes: vec![attribute("user", text("anna"))],
            value: Some(exemplar::Value::AsInt(i64::MIN)),
            time_unix_nano: START,
            ..Default::default()
        }],
        ..Default::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano: START,
        count: 10,
        sum: 99.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 31.25 }],
        ..Default::default()
    };
    let histogram = HistogramDataPoint { time_unix_nano: START, count: u64::MAX, ..Default::default() };
    for (name, data) in [
        ("gone", Data::Gauge(Gauge { data_points: vec![no_value] })),
        (
            "negative",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![negative],
                aggregation_temporality: 1,
            }),
        ),
        ("quantiles", Data::Summary(Summary { data_points: vec![summary] })),
        ("bare", Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 })),
    ] {
        let metadata = vec![attribute("prometheus.type", text("unknown"))];
        metrics.push(Metric { name: name.into(), data: Some(data), metadata, ..Default::default() });
    }
}

fn resource(cell: &str) -> Option<Resource> {
    let attributes = vec![
        attribute("service.name", text("oxygen")),
        attribute("cell", text(cell)),
        attribute("shop.id", Int(42)),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn point(value: Number, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: START,
        time_unix_nano: START + 1,
        value: Some(value),
        ..Default::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(text: &str) -> Value {
    Text(text.into())
}

fn list<const N: usize>(values: [Value; N]) -> Value {
    Array(ArrayValue { values: values.map(|value| AnyValue { value: Some(value) }).into() })
}

fn map(values: Vec<KeyValue>) -> Value {
    Map(KeyValueList { values })
}
