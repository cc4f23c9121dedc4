//! What is read is what opentelemetry-proto decodes: every attribute and every field of every level.

use super::{
    super::{Field, *},
    generate::{Oddities, odd_batches},
    limits,
};
use crate::json::tests::{Batch as Proto, decode};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue as ProtoKeyValue, any_value::Value as ProtoValue},
    metrics::v1::{Exemplar, exemplar, metric::Data, number_data_point},
};
use proptest::prelude::*;
use prost::Message as _;

/// A row as it was decoded: its attributes, and its fields as far as they are set.
type Row<'p> = (Level, &'p [ProtoKeyValue], Vec<(Field, Option<Value>)>);

fn any(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        None => Value::Empty,
        Some(ProtoValue::StringValue(text)) => Value::Text(text.clone()),
        Some(ProtoValue::BoolValue(is_true)) => Value::Boolean(*is_true),
        Some(ProtoValue::IntValue(int)) => Value::Int(*int),
        Some(ProtoValue::DoubleValue(double)) => Value::Double(*double),
        Some(ProtoValue::BytesValue(bytes)) => Value::Bytes(bytes.clone()),
        Some(_) => Value::Encoded(any.unwrap_or(&AnyValue::default()).encode_to_vec()),
    }
}

/// The same value, written as opentelemetry-proto writes it; `None` what is not set by proto3.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Encoded(content) => Some(any(Some(&AnyValue::decode(&content[..]).unwrap()))),
        Value::Text(text) if text.is_empty() => None,
        Value::Int(0) => None,
        value => Some(value),
    }
}

fn text(text: &str) -> Option<Value> {
    Some(text.into())
}

fn id(id: &[u8]) -> Option<Value> {
    (!id.is_empty()).then(|| Value::Bytes(id.to_vec()))
}

fn int(int: impl TryInto<i64>) -> Option<Value> {
    Some(Value::Int(int.try_into().unwrap_or(i64::MAX)))
}

fn number(value: Option<number_data_point::Value>) -> Option<Value> {
    value.map(|value| match value {
        number_data_point::Value::AsInt(int) => Value::Int(int),
        number_data_point::Value::AsDouble(double) => Value::Double(double),
    })
}

fn exemplars<'p>(exemplars: &'p [Exemplar], rows: &mut Vec<Row<'p>>) {
    for exemplar in exemplars {
        let number = exemplar.value.map(|value| match value {
            exemplar::Value::AsInt(int) => Value::Int(int),
            exemplar::Value::AsDouble(double) => Value::Double(double),
        });
        rows.push((
            Level::Exemplar,
            &exemplar.filtered_attributes,
            vec![
                (Field::TimeUnixNano, int(exemplar.time_unix_nano)),
                (Field::TraceId, id(&exemplar.trace_id)),
                (Field::SpanId, id(&exemplar.span_id)),
                (Field::Number, number),
            ],
        ));
    }
}

macro_rules! containers {
    ($resources:expr, $scopes:ident, $rows:expr, |$scope:ident| $below:block) => {
        for resource in $resources {
            let attributes = resource.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
            $rows.push((Level::Resource, attributes, vec![(Field::SchemaUrl, text(&resource.schema_url))]));
            for $scope in &resource.$scopes {
                let inner = $scope.scope.as_ref();
                $rows.push((
                    Level::Scope,
                    inner.map_or(&[][..], |scope| &scope.attributes),
                    vec![
                        (Field::SchemaUrl, text(&$scope.schema_url)),
                        (Field::Name, text(inner.map_or("", |scope| &scope.name))),
                        (Field::Version, text(inner.map_or("", |scope| &scope.version))),
                    ],
                ));
                $below
            }
        }
    };
}

fn rows(batch: &Proto) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    match batch {
        Proto::Logs(request) => containers!(&request.resource_logs, scope_logs, rows, |scope| {
            for record in &scope.log_records {
                rows.push((
                    Level::Record,
                    &record.attributes,
                    vec![
                        (Field::Body, record.body.as_ref().map(|body| any(Some(body)))),
                        (Field::SeverityNumber, int(record.severity_number)),
                        (Field::SeverityText, text(&record.severity_text)),
                        (Field::EventName, text(&record.event_name)),
                        (Field::TimeUnixNano, int(record.time_unix_nano)),
                        (Field::ObservedTimeUnixNano, int(record.observed_time_unix_nano)),
                        (Field::TraceId, id(&record.trace_id)),
                        (Field::SpanId, id(&record.span_id)),
                        (Field::Flags, int(record.flags)),
                    ],
                ));
            }
        }),
        Proto::Traces(request) => containers!(&request.resource_spans, scope_spans, rows, |scope| {
            for span in &scope.spans {
                let status = span.status.clone().unwrap_or_default();
                rows.push((
                    Level::Record,
                    &span.attributes,
                    vec![
                        (Field::TraceId, id(&span.trace_id)),
                        (Field::SpanId, id(&span.span_id)),
                        (Field::ParentSpanId, id(&span.parent_span_id)),
                        (Field::TraceState, text(&span.trace_state)),
                        (Field::Name, text(&span.name)),
                        (Field::Kind, int(span.kind)),
                        (Field::StartTimeUnixNano, int(span.start_time_unix_nano)),
                        (Field::EndTimeUnixNano, int(span.end_time_unix_nano)),
                        (Field::Flags, int(span.flags)),
                        (Field::StatusCode, int(status.code)),
                        (Field::StatusMessage, text(&status.message)),
                    ],
                ));
                for event in &span.events {
                    rows.push((
                        Level::Event,
                        &event.attributes,
                        vec![
                            (Field::TimeUnixNano, int(event.time_unix_nano)),
                            (Field::Name, text(&event.name)),
                        ],
                    ));
                }
                for link in &span.links {
                    rows.push((
                        Level::Link,
                        &link.attributes,
                        vec![
                            (Field::TraceId, id(&link.trace_id)),
                            (Field::SpanId, id(&link.span_id)),
                            (Field::TraceState, text(&link.trace_state)),
                            (Field::Flags, int(link.flags)),
                        ],
                    ));
                }
            }
        }),
        Proto::Metrics(request) => containers!(&request.resource_metrics, scope_metrics, rows, |scope| {
            for metric in &scope.metrics {
                rows.push((
                    Level::Metric,
                    &metric.metadata,
                    vec![
                        (Field::Name, text(&metric.name)),
                        (Field::Description, text(&metric.description)),
                        (Field::Unit, text(&metric.unit)),
                    ],
                ));
                macro_rules! points {
                    ($points:expr, |$point:ident| $exemplars:expr, $number:expr) => {
                        for $point in $points {
                            rows.push((
                                Level::Record,
                                &$point.attributes,
                                vec![
                                    (Field::StartTimeUnixNano, int($point.start_time_unix_nano)),
                                    (Field::TimeUnixNano, int($point.time_unix_nano)),
                                    (Field::Flags, int($point.flags)),
                                    (Field::Number, $number),
                                ],
                            ));
                            exemplars($exemplars, &mut rows);
                        }
                    };
                }
                match &metric.data {
                    Some(Data::Gauge(data)) => points!(&data.data_points, |p| &p.exemplars, number(p.value)),
                    Some(Data::Sum(data)) => points!(&data.data_points, |p| &p.exemplars, number(p.value)),
                    Some(Data::Histogram(data)) => points!(&data.data_points, |p| &p.exemplars, None),
                    Some(Data::ExponentialHistogram(data)) => {
                        points!(&data.data_points, |p| &p.exemplars, None)
                    }
                    Some(Data::Summary(data)) => points!(&data.data_points, |p| &[], None),
                    None => {}
                }
            }
        }),
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::batch::tests::cases(400)))]

    #[test]
    fn what_is_read_is_what_prost_decodes((signal, bytes) in odd_batches(Oddities { broken_texts: false })) {
        let decoded = decode(signal, &bytes);
        let mut batch = Batch::new(Document::parse(signal, bytes::Bytes::from(bytes)).unwrap());
        batch.begin(limits());
        let mut counts = [0; Level::ALL.len()];
        for (level, attributes, fields) in rows(&decoded) {
            let row = counts[level as usize];
            counts[level as usize] += 1;
            let read = batch.attributes(level, row).unwrap().into_iter();
            let read: Vec<_> = read.map(|pair| (pair.key, plain(pair.value))).collect();
            let expected: Vec<_> =
                attributes.iter().map(|pair| (pair.key.clone(), plain(any(pair.value.as_ref())))).collect();
            prop_assert_eq!(format!("{read:?}"), format!("{expected:?}"));
            for (field, expected) in fields {
                let read = batch.get_cell(level, row, &Target::Field(field)).unwrap();
                let (read, expected) = match field {
                    // Whether they are set can be told.
                    Field::Number | Field::Body if !matches!(read, Some(Value::Encoded(_))) => (read, expected),
                    _ => (read.and_then(plain), expected.and_then(plain)),
                };
                prop_assert_eq!(format!("{read:?}"), format!("{expected:?}"), "{:?} {:?}", level, field);
            }
        }
        for level in Level::ALL {
            prop_assert_eq!(batch.count(level), Ok(counts[level as usize]));
        }
    }
}
