//! The places of a batch at which the corpus plants its rows.

use super::notation::{parse, render};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message;
use serde::Deserialize;

/// A place; what is planted there is a map of attributes, a value, or a text.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Log,
    LogWithoutSeverity,
    Span,
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
    ResourceOfLogs,
    ResourceOfSpans,
    ResourceOfMetrics,
    /// The resource of a request that holds no record.
    ResourceAlone,
    ScopeOfLogs,
    ScopeOfSpans,
    ScopeOfMetrics,
    Event,
    Link,
    Exemplar,
    Body,
    SeverityText,
    LogEventName,
    SpanName,
    StatusMessage,
    TraceState,
    EventName,
    MetricName,
    MetricDescription,
    MetricUnit,
    ScopeName,
}

/// A batch, some rows of which have something planted at one place.
#[derive(Debug, Clone)]
pub enum Batch {
    Logs(ExportLogsServiceRequest),
    Spans(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// What can stand at a place.
enum Spot<'b> {
    Attributes(&'b mut Vec<KeyValue>),
    Resource(&'b mut Option<Resource>),
    Value(&'b mut Option<AnyValue>),
    Text(&'b mut String),
}

impl Place {
    pub fn signal(self) -> &'static str {
        use Place::*;
        match self {
            Log | LogWithoutSeverity | ResourceOfLogs | ResourceAlone | ScopeOfLogs | Body | SeverityText
            | LogEventName => "logs",
            Span | ResourceOfSpans | ScopeOfSpans | Event | Link | SpanName | StatusMessage | TraceState
            | EventName | ScopeName => "traces",
            Gauge | Sum | Histogram | ExponentialHistogram | Summary | ResourceOfMetrics | ScopeOfMetrics
            | Exemplar | MetricName | MetricDescription | MetricUnit => "metrics",
        }
    }

    /// Whether each row has a resource of its own; else all are in one scope.
    fn is_outer(self) -> bool {
        use Place::*;
        matches!(
            self,
            ResourceOfLogs
                | ResourceOfSpans
                | ResourceOfMetrics
                | ResourceAlone
                | ScopeOfLogs
                | ScopeOfSpans
                | ScopeOfMetrics
                | ScopeName
        )
    }

    /// The batch with these rows at this place, each in the corpus' notation.
    pub fn plant<'r>(self, rows: impl ExactSizeIterator<Item = &'r str>) -> Batch {
        let mut batch = self.scenery(rows.len());
        for (row, text) in rows.enumerate() {
            self.spot(&mut batch, row).expect("the scenery has the place").plant(text);
        }
        batch
    }

    /// What stands there in this many rows, and puts these others there, so that what is around them can be
    /// compared. Nothing where the batch is not of this many rows.
    pub fn exchange<'r>(
        self,
        batch: &mut Batch,
        rows: impl ExactSizeIterator<Item = &'r str>,
    ) -> Option<Vec<String>> {
        let exchange = |(row, text)| {
            let mut spot = self.spot(batch, row)?;
            let stood = spot.render();
            spot.plant(text);
            Some(stood)
        };
        rows.enumerate().map(exchange).collect()
    }

    /// What is around the rows. Conditions of the corpus speak of it.
    fn scenery(self, rows: usize) -> Batch {
        let (resources, mut records) = if self.is_outer() { (rows, 1) } else { (1, rows) };
        if self == Self::ResourceAlone {
            records = 0;
        }
        let resource =
            Some(Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() });
        let scope = Some(InstrumentationScope {
            name: "cart".into(),
            version: "1.2".into(),
            ..InstrumentationScope::default()
        });
        match self.signal() {
            "logs" => {
                let mut record = LogRecord { body: Some(text("GET /cart")), ..LogRecord::default() };
                if self != Self::LogWithoutSeverity {
                    (record.severity_number, record.severity_text) = (9, "INFO".into());
                }
                let log_records = vec![record; records];
                let scope_logs = vec![ScopeLogs { scope, log_records, ..ScopeLogs::default() }];
                let of_resource = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
                Batch::Logs(ExportLogsServiceRequest { resource_logs: vec![of_resource; resources] })
            }
            "traces" => {
                let span = Span {
                    trace_id: vec![1; 16],
                    span_id: vec![2; 8],
                    name: "GET /cart".into(),
                    kind: 2,
                    status: Some(Status { message: "fine".into(), code: 1 }),
                    events: vec![span::Event { name: "paid".into(), ..span::Event::default() }],
                    links: vec![span::Link {
                        trace_id: vec![3; 16],
                        span_id: vec![4; 8],
                        ..span::Link::default()
                    }],
                    ..Span::default()
                };
                let scope_spans =
                    vec![ScopeSpans { scope, spans: vec![span; records], ..ScopeSpans::default() }];
                let of_resource = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
                Batch::Spans(ExportTraceServiceRequest { resource_spans: vec![of_resource; resources] })
            }
            _ => {
                let metric =
                    Metric { name: "cart.size".into(), data: Some(self.points()), ..Metric::default() };
                let metrics = vec![metric; records];
                let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
                let of_resource = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
                Batch::Metrics(ExportMetricsServiceRequest { resource_metrics: vec![of_resource; resources] })
            }
        }
    }

    /// One data point of the place's kind.
    fn points(self) -> Data {
        let number = NumberDataPoint {
            value: Some(number_data_point::Value::AsInt(7)),
            exemplars: vec![Exemplar { time_unix_nano: 1, ..Exemplar::default() }],
            ..NumberDataPoint::default()
        };
        match self {
            Self::Sum => {
                Data::Sum(Sum { data_points: vec![number], is_monotonic: true, aggregation_temporality: 2 })
            }
            Self::Histogram => Data::Histogram(Histogram {
                data_points: vec![HistogramDataPoint {
                    count: 7,
                    bucket_counts: vec![7],
                    ..Default::default()
                }],
                aggregation_temporality: 2,
            }),
            Self::ExponentialHistogram => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint {
                    count: 7,
                    // The Collector writes both, whether they came or not.
                    positive: Some(Buckets::default()),
                    negative: Some(Buckets::default()),
                    ..Default::default()
                }],
                aggregation_temporality: 2,
            }),
            Self::Summary => Data::Summary(Summary {
                data_points: vec![SummaryDataPoint { count: 7, ..SummaryDataPoint::default() }],
            }),
            _ => Data::Gauge(Gauge { data_points: vec![number] }),
        }
    }

    /// Nothing where the batch has no such row.
    fn spot(self, batch: &mut Batch, row: usize) -> Option<Spot<'_>> {
        let (outer, inner) = if self.is_outer() { (row, 0) } else { (0, row) };
        match batch {
            Batch::Logs(request) => self.spot_of_logs(request.resource_logs.get_mut(outer)?, inner),
            Batch::Spans(request) => self.spot_of_spans(request.resource_spans.get_mut(outer)?, inner),
            Batch::Metrics(request) => self.spot_of_metrics(request.resource_metrics.get_mut(outer)?, inner),
        }
    }

    fn spot_of_logs(self, of_resource: &mut ResourceLogs, record: usize) -> Option<Spot<'_>> {
        if let Self::ResourceOfLogs | Self::ResourceAlone = self {
            return Some(Spot::Resource(&mut of_resource.resource));
        }
        let ScopeLogs { scope, log_records, .. } = of_resource.scope_logs.first_mut()?;
        if self == Self::ScopeOfLogs {
            return Some(Spot::Attributes(&mut scope.as_mut()?.attributes));
        }
        let record = log_records.get_mut(record)?;
        Some(match self {
            Self::Body => Spot::Value(&mut record.body),
            Self::SeverityText => Spot::Text(&mut record.severity_text),
            Self::LogEventName => Spot::Text(&mut record.event_name),
            _ => Spot::Attributes(&mut record.attributes),
        })
    }

    fn spot_of_spans(self, of_resource: &mut ResourceSpans, span: usize) -> Option<Spot<'_>> {
        if self == Self::ResourceOfSpans {
            return Some(Spot::Resource(&mut of_resource.resource));
        }
        let ScopeSpans { scope, spans, .. } = of_resource.scope_spans.first_mut()?;
        match self {
            Self::ScopeOfSpans => return Some(Spot::Attributes(&mut scope.as_mut()?.attributes)),
            Self::ScopeName => return Some(Spot::Text(&mut scope.as_mut()?.name)),
            _ => {}
        }
        let span = spans.get_mut(span)?;
        Some(match self {
            Self::Event => Spot::Attributes(&mut span.events.first_mut()?.attributes),
            Self::EventName => Spot::Text(&mut span.events.first_mut()?.name),
            Self::Link => Spot::Attributes(&mut span.links.first_mut()?.attributes),
            Self::SpanName => Spot::Text(&mut span.name),
            Self::StatusMessage => Spot::Text(&mut span.status.as_mut()?.message),
            Self::TraceState => Spot::Text(&mut span.trace_state),
            _ => Spot::Attributes(&mut span.attributes),
        })
    }

    fn spot_of_metrics(self, of_resource: &mut ResourceMetrics, metric: usize) -> Option<Spot<'_>> {
        if self == Self::ResourceOfMetrics {
            return Some(Spot::Resource(&mut of_resource.resource));
        }
        let ScopeMetrics { scope, metrics, .. } = of_resource.scope_metrics.first_mut()?;
        if self == Self::ScopeOfMetrics {
            return Some(Spot::Attributes(&mut scope.as_mut()?.attributes));
        }
        let metric = metrics.get_mut(metric)?;
        match self {
            Self::MetricName => return Some(Spot::Text(&mut metric.name)),
            Self::MetricDescription => return Some(Spot::Text(&mut metric.description)),
            Self::MetricUnit => return Some(Spot::Text(&mut metric.unit)),
            _ => {}
        }
        Some(Spot::Attributes(match metric.data.as_mut()? {
            Data::Gauge(of_kind) => match (self, of_kind.data_points.first_mut()?) {
                (Self::Exemplar, point) => &mut point.exemplars.first_mut()?.filtered_attributes,
                (_, point) => &mut point.attributes,
            },
            Data::Sum(of_kind) => &mut of_kind.data_points.first_mut()?.attributes,
            Data::Histogram(of_kind) => &mut of_kind.data_points.first_mut()?.attributes,
            Data::ExponentialHistogram(of_kind) => &mut of_kind.data_points.first_mut()?.attributes,
            Data::Summary(of_kind) => &mut of_kind.data_points.first_mut()?.attributes,
        }))
    }
}

impl Batch {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Logs(request) => request.encode_to_vec(),
            Self::Spans(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
        }
    }

    pub fn to_json(&self) -> String {
        let value = match self {
            Self::Logs(request) => serde_json::to_value(request),
            Self::Spans(request) => serde_json::to_value(request),
            Self::Metrics(request) => serde_json::to_value(request),
        };
        without_nulls(value.expect("OTLP JSON")).to_string()
    }

    #[track_caller]
    pub fn decode(signal: &str, body: &[u8]) -> Self {
        match signal {
            "logs" => Self::Logs(Message::decode(body).expect("protobuf arrived")),
            "traces" => Self::Spans(Message::decode(body).expect("protobuf arrived")),
            _ => Self::Metrics(Message::decode(body).expect("protobuf arrived")),
        }
    }
}

impl Spot<'_> {
    fn plant(&mut self, text: &str) {
        match (self, text) {
            (Self::Resource(resource), "absent") => **resource = None,
            (Self::Resource(resource), _) => {
                resource.get_or_insert_default().attributes = attributes(text);
            }
            (Self::Value(value), "absent") => **value = None,
            (Self::Value(value), _) => **value = Some(parse(text)),
            (Self::Attributes(list), _) => **list = attributes(text),
            (Self::Text(spot), _) => match parse(text).value {
                Some(Value::StringValue(text)) => **spot = text,
                _ => panic!("no text: {text}"),
            },
        }
    }

    /// A resource that is absent and one without attributes are the same.
    fn render(&self) -> String {
        let map = |list: &[KeyValue]| {
            let value = Value::KvlistValue(KeyValueList { values: list.to_vec() });
            render(Some(&AnyValue { value: Some(value) }))
        };
        match self {
            Self::Attributes(list) => map(list),
            Self::Resource(resource) => map(resource.as_ref().map_or(&[], |resource| &*resource.attributes)),
            Self::Value(value) => render(value.as_ref()),
            Self::Text(spot) => format!("{spot:?}"),
        }
    }
}

#[track_caller]
fn attributes(written: &str) -> Vec<KeyValue> {
    match parse(written).value {
        Some(Value::KvlistValue(list)) => list.values,
        _ => panic!("no attributes: {written}"),
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(text(value)), ..KeyValue::default() }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.into())) }
}

/// What is not there, `opentelemetry-proto` writes as `null`.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value::{Array, Object};
    match value {
        Object(fields) => {
            let there = fields.into_iter().filter(|(_, value)| !value.is_null());
            Object(there.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Array(items) => Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
