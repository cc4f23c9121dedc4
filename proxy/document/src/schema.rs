//! The messages of OTLP: the only place that knows the names and numbers of their fields.
//!
//! Source: the `.proto` files of opentelemetry-proto 1.10, which 1.11 did not change for logs, traces
//! and metrics. A test compares every row with the descriptors that the opentelemetry-proto crate
//! carries. Profiles are still in development: they are carried, never looked into.

use super::{
    Signal,
    wire::{Fields, Malformed, Part, WIRE_LEN},
};

/// A message and its fields, in the order of the `.proto` file, in which most encoders write them.
pub(super) struct Message {
    /// Its name in the `.proto` file. Two rows are never of one name.
    #[cfg_attr(not(test), expect(dead_code, reason = "says what a row is; tests compare it"))]
    pub name: &'static str,
    /// At most 32 of them, so that a set of fields fits a `u32`.
    pub fields: &'static [Field],
}

/// A field of a message.
pub(super) struct Field {
    /// On the wire.
    pub number: u32,
    /// In JSON, lowerCamelCase.
    pub name: &'static str,
    pub kind: Kind,
    pub label: Label,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Message(&'static Message),
    String,
    /// base64 in JSON.
    Bytes,
    /// Bytes that are a trace's or a span's id, hex in JSON: empty, or exactly this long.
    Id(usize),
    Bool,
    Double,
    Int32,
    Sint32,
    Uint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    /// The names, each at the place of its number.
    Enum(&'static [&'static str]),
}

/// How often a field is there, and what it means that it is not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// Once. A scalar that is not there has its default value, and the default is not written.
    Plain,
    /// Once. To be there with its default value is something else than not to be there.
    Optional,
    /// As [`Label::Optional`], and at most one such field of a message is there: no message has
    /// more than one `oneof`.
    OneOf,
    /// Any number of times. Numbers are packed.
    Repeated,
}

/// How a value stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Varint = 0,
    I64 = 1,
    Len = 2,
    I32 = 5,
}

impl Message {
    /// The request that carries a signal.
    pub(super) fn request(signal: Signal) -> Option<&'static Message> {
        match signal {
            Signal::Logs => Some(&LOGS_REQUEST),
            Signal::Traces => Some(&TRACE_REQUEST),
            Signal::Metrics => Some(&METRICS_REQUEST),
            Signal::Profiles => None,
        }
    }

    /// The value of an attribute.
    pub(super) fn any_value() -> &'static Message {
        &ANY_VALUE
    }

    /// A record in that request: a log record, a span or a metric.
    pub(super) fn record(signal: Signal) -> Option<&'static Message> {
        match signal {
            Signal::Logs => Some(&LOG_RECORD),
            Signal::Traces => Some(&SPAN),
            Signal::Metrics => Some(&METRIC),
            Signal::Profiles => None,
        }
    }

    /// The place of the field of this name, and whether it is the name of the `.proto` file instead of
    /// JSON's.
    pub(super) fn by_name(&self, name: &str) -> Option<(usize, bool)> {
        if let Some(place) = self.fields.iter().position(|field| field.name == name) {
            return Some((place, false));
        }
        self.fields.iter().position(|field| is_snake_case_of(name, field.name)).map(|place| (place, true))
    }

    /// The field that is meant by a name.
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.by_name(name).map(|(place, _)| &self.fields[place])
    }

    /// The place of the field of this number. `expected` is looked at first: fields mostly come in order.
    #[inline]
    pub(super) fn by_number(&self, number: u64, expected: usize) -> Option<usize> {
        if let Some(field) = self.fields.get(expected)
            && u64::from(field.number) == number
        {
            return Some(expected);
        }
        self.fields.iter().position(|field| u64::from(field.number) == number)
    }

    /// The fields of such a message as they stand in it, each with what is known of it.
    #[inline]
    pub(super) fn fields_in(
        &'static self,
        content: &[u8],
    ) -> impl Iterator<Item = Result<(Part, Option<&'static Field>), Malformed>> {
        let mut expected = 0;
        Fields::of(content).map(move |field| {
            let field = field?;
            let known = self.by_number(u64::from(field.number), expected);
            expected = known.unwrap_or(expected);
            Ok((field, known.map(|place| &self.fields[place])))
        })
    }

    /// Whether this is `KeyValue`.
    #[inline]
    pub(super) fn is_key_value(&self) -> bool {
        std::ptr::eq(self, &KEY_VALUE)
    }

    /// Whether this is `KeyValueList`.
    pub(super) fn is_key_value_list(&self) -> bool {
        std::ptr::eq(self, &KEY_VALUE_LIST)
    }

    /// Whether this is `ArrayValue`.
    pub(super) fn is_array_value(&self) -> bool {
        std::ptr::eq(self, &ARRAY_VALUE)
    }

    /// Whether there is a field of this number.
    pub(super) fn knows(&self, number: u32) -> bool {
        self.by_number(u64::from(number), 0).is_some()
    }

    /// The message in a field.
    pub(super) fn below(&self, number: u32) -> Option<&'static Message> {
        let field = self.fields.iter().find(|field| field.number == number)?;
        match field.kind {
            Kind::Message(message) => Some(message),
            _ => None,
        }
    }

    /// Whether this is `AnyValue`, the only message that can be inside itself.
    #[inline]
    pub(super) fn is_any_value(&self) -> bool {
        std::ptr::eq(self, &ANY_VALUE)
    }
}

impl Field {
    /// Whether a list of it stands on the wire as one run of values.
    pub(super) fn is_packed(&self) -> bool {
        self.label == Label::Repeated && self.kind.wire_type() != WireType::Len
    }
}

impl Kind {
    #[inline]
    pub(super) fn wire_type(self) -> WireType {
        match self {
            Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Id(_) => WireType::Len,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::I64,
            Kind::Fixed32 => WireType::I32,
            Kind::Bool
            | Kind::Int32
            | Kind::Sint32
            | Kind::Uint32
            | Kind::Int64
            | Kind::Uint64
            | Kind::Enum(_) => WireType::Varint,
        }
    }
}

impl Field {
    /// Checks that a field stands as one of its kind does: what stands otherwise nobody can read, and it may
    /// hold anything.
    ///
    /// # Errors
    /// Where it does not.
    #[inline]
    pub(super) fn check(&self, field: &Part) -> Result<(), Malformed> {
        let is_packed = self.label == Label::Repeated && field.wire_type == WIRE_LEN;
        if field.wire_type == self.kind.wire_type() as u64 || is_packed {
            return Ok(());
        }
        Err(Malformed::at("a field of another type", field.whole.start))
    }
}

/// The names of the `.proto` files say by an underscore what JSON says by a capital.
fn is_snake_case_of(snake: &str, camel: &str) -> bool {
    let mut snake = snake.bytes();
    camel.bytes().all(|byte| {
        (!byte.is_ascii_uppercase() || snake.next() == Some(b'_'))
            && snake.next() == Some(byte.to_ascii_lowercase())
    }) && snake.next().is_none()
}

const fn plain(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::Plain }
}

const fn optional(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::Optional }
}

const fn one_of(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::OneOf }
}

const fn repeated(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::Repeated }
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int32, Int64, Message as Sub, Sfixed64, Sint32, String,
    Uint32, Uint64,
};

const TRACE_ID: Kind = Id(16);
const SPAN_ID: Kind = Id(8);

// opentelemetry/proto/collector/{logs,trace,metrics}/v1

static LOGS_REQUEST: Message =
    Message { name: "ExportLogsServiceRequest", fields: &[repeated(1, "resourceLogs", Sub(&RESOURCE_LOGS))] };

static TRACE_REQUEST: Message = Message {
    name: "ExportTraceServiceRequest",
    fields: &[repeated(1, "resourceSpans", Sub(&RESOURCE_SPANS))],
};

static METRICS_REQUEST: Message = Message {
    name: "ExportMetricsServiceRequest",
    fields: &[repeated(1, "resourceMetrics", Sub(&RESOURCE_METRICS))],
};

// opentelemetry/proto/common/v1/common.proto, resource/v1/resource.proto

static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        one_of(1, "stringValue", String),
        one_of(2, "boolValue", Bool),
        one_of(3, "intValue", Int64),
        one_of(4, "doubleValue", Double),
        one_of(5, "arrayValue", Sub(&ARRAY_VALUE)),
        one_of(6, "kvlistValue", Sub(&KEY_VALUE_LIST)),
        one_of(7, "bytesValue", Bytes),
        one_of(8, "stringValueStrindex", Int32),
    ],
};

static ARRAY_VALUE: Message =
    Message { name: "ArrayValue", fields: &[repeated(1, "values", Sub(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message =
    Message { name: "KeyValueList", fields: &[repeated(1, "values", Sub(&KEY_VALUE))] };

static KEY_VALUE: Message = Message {
    name: "KeyValue",
    fields: &[plain(1, "key", String), plain(2, "value", Sub(&ANY_VALUE)), plain(3, "keyStrindex", Int32)],
};

static INSTRUMENTATION_SCOPE: Message = Message {
    name: "InstrumentationScope",
    fields: &[
        plain(1, "name", String),
        plain(2, "version", String),
        repeated(3, "attributes", Sub(&KEY_VALUE)),
        plain(4, "droppedAttributesCount", Uint32),
    ],
};

static ENTITY_REF: Message = Message {
    name: "EntityRef",
    fields: &[
        plain(1, "schemaUrl", String),
        plain(2, "type", String),
        repeated(3, "idKeys", String),
        repeated(4, "descriptionKeys", String),
    ],
};

static RESOURCE: Message = Message {
    name: "Resource",
    fields: &[
        repeated(1, "attributes", Sub(&KEY_VALUE)),
        plain(2, "droppedAttributesCount", Uint32),
        repeated(3, "entityRefs", Sub(&ENTITY_REF)),
    ],
};

// opentelemetry/proto/logs/v1/logs.proto

static RESOURCE_LOGS: Message = Message {
    name: "ResourceLogs",
    fields: &[
        plain(1, "resource", Sub(&RESOURCE)),
        repeated(2, "scopeLogs", Sub(&SCOPE_LOGS)),
        plain(3, "schemaUrl", String),
    ],
};

static SCOPE_LOGS: Message = Message {
    name: "ScopeLogs",
    fields: &[
        plain(1, "scope", Sub(&INSTRUMENTATION_SCOPE)),
        repeated(2, "logRecords", Sub(&LOG_RECORD)),
        plain(3, "schemaUrl", String),
    ],
};

static LOG_RECORD: Message = Message {
    name: "LogRecord",
    fields: &[
        plain(1, "timeUnixNano", Fixed64),
        plain(11, "observedTimeUnixNano", Fixed64),
        plain(2, "severityNumber", Enum(SEVERITY_NUMBER)),
        plain(3, "severityText", String),
        plain(5, "body", Sub(&ANY_VALUE)),
        repeated(6, "attributes", Sub(&KEY_VALUE)),
        plain(7, "droppedAttributesCount", Uint32),
        plain(8, "flags", Fixed32),
        plain(9, "traceId", TRACE_ID),
        plain(10, "spanId", SPAN_ID),
        plain(12, "eventName", String),
    ],
};

const SEVERITY_NUMBER: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];

// opentelemetry/proto/trace/v1/trace.proto

static RESOURCE_SPANS: Message = Message {
    name: "ResourceSpans",
    fields: &[
        plain(1, "resource", Sub(&RESOURCE)),
        repeated(2, "scopeSpans", Sub(&SCOPE_SPANS)),
        plain(3, "schemaUrl", String),
    ],
};

static SCOPE_SPANS: Message = Message {
    name: "ScopeSpans",
    fields: &[
        plain(1, "scope", Sub(&INSTRUMENTATION_SCOPE)),
        repeated(2, "spans", Sub(&SPAN)),
        plain(3, "schemaUrl", String),
    ],
};

static SPAN: Message = Message {
    name: "Span",
    fields: &[
        plain(1, "traceId", TRACE_ID),
        plain(2, "spanId", SPAN_ID),
        plain(3, "traceState", String),
        plain(4, "parentSpanId", SPAN_ID),
        plain(16, "flags", Fixed32),
        plain(5, "name", String),
        plain(6, "kind", Enum(SPAN_KIND)),
        plain(7, "startTimeUnixNano", Fixed64),
        plain(8, "endTimeUnixNano", Fixed64),
        repeated(9, "attributes", Sub(&KEY_VALUE)),
        plain(10, "droppedAttributesCount", Uint32),
        repeated(11, "events", Sub(&EVENT)),
        plain(12, "droppedEventsCount", Uint32),
        repeated(13, "links", Sub(&LINK)),
        plain(14, "droppedLinksCount", Uint32),
        plain(15, "status", Sub(&STATUS)),
    ],
};

const SPAN_KIND: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

static EVENT: Message = Message {
    name: "Event",
    fields: &[
        plain(1, "timeUnixNano", Fixed64),
        plain(2, "name", String),
        repeated(3, "attributes", Sub(&KEY_VALUE)),
        plain(4, "droppedAttributesCount", Uint32),
    ],
};

static LINK: Message = Message {
    name: "Link",
    fields: &[
        plain(1, "traceId", TRACE_ID),
        plain(2, "spanId", SPAN_ID),
        plain(3, "traceState", String),
        repeated(4, "attributes", Sub(&KEY_VALUE)),
        plain(5, "droppedAttributesCount", Uint32),
        plain(6, "flags", Fixed32),
    ],
};

static STATUS: Message =
    Message { name: "Status", fields: &[plain(2, "message", String), plain(3, "code", Enum(STATUS_CODE))] };

const STATUS_CODE: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

// opentelemetry/proto/metrics/v1/metrics.proto

static RESOURCE_METRICS: Message = Message {
    name: "ResourceMetrics",
    fields: &[
        plain(1, "resource", Sub(&RESOURCE)),
        repeated(2, "scopeMetrics", Sub(&SCOPE_METRICS)),
        plain(3, "schemaUrl", String),
    ],
};

static SCOPE_METRICS: Message = Message {
    name: "ScopeMetrics",
    fields: &[
        plain(1, "scope", Sub(&INSTRUMENTATION_SCOPE)),
        repeated(2, "metrics", Sub(&METRIC)),
        plain(3, "schemaUrl", String),
    ],
};

static METRIC: Message = Message {
    name: "Metric",
    fields: &[
        plain(1, "name", String),
        plain(2, "description", String),
        plain(3, "unit", String),
        one_of(5, "gauge", Sub(&GAUGE)),
        one_of(7, "sum", Sub(&SUM)),
        one_of(9, "histogram", Sub(&HISTOGRAM)),
        one_of(10, "exponentialHistogram", Sub(&EXPONENTIAL_HISTOGRAM)),
        one_of(11, "summary", Sub(&SUMMARY)),
        repeated(12, "metadata", Sub(&KEY_VALUE)),
    ],
};

static GAUGE: Message =
    Message { name: "Gauge", fields: &[repeated(1, "dataPoints", Sub(&NUMBER_DATA_POINT))] };

static SUM: Message = Message {
    name: "Sum",
    fields: &[
        repeated(1, "dataPoints", Sub(&NUMBER_DATA_POINT)),
        plain(2, "aggregationTemporality", Enum(AGGREGATION_TEMPORALITY)),
        plain(3, "isMonotonic", Bool),
    ],
};

static HISTOGRAM: Message = Message {
    name: "Histogram",
    fields: &[
        repeated(1, "dataPoints", Sub(&HISTOGRAM_DATA_POINT)),
        plain(2, "aggregationTemporality", Enum(AGGREGATION_TEMPORALITY)),
    ],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    name: "ExponentialHistogram",
    fields: &[
        repeated(1, "dataPoints", Sub(&EXPONENTIAL_HISTOGRAM_DATA_POINT)),
        plain(2, "aggregationTemporality", Enum(AGGREGATION_TEMPORALITY)),
    ],
};

static SUMMARY: Message =
    Message { name: "Summary", fields: &[repeated(1, "dataPoints", Sub(&SUMMARY_DATA_POINT))] };

const AGGREGATION_TEMPORALITY: &[&str] = &[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];

static NUMBER_DATA_POINT: Message = Message {
    name: "NumberDataPoint",
    fields: &[
        repeated(7, "attributes", Sub(&KEY_VALUE)),
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        one_of(4, "asDouble", Double),
        one_of(6, "asInt", Sfixed64),
        repeated(5, "exemplars", Sub(&EXEMPLAR)),
        plain(8, "flags", Uint32),
    ],
};

static HISTOGRAM_DATA_POINT: Message = Message {
    name: "HistogramDataPoint",
    fields: &[
        repeated(9, "attributes", Sub(&KEY_VALUE)),
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        plain(4, "count", Fixed64),
        optional(5, "sum", Double),
        repeated(6, "bucketCounts", Fixed64),
        repeated(7, "explicitBounds", Double),
        repeated(8, "exemplars", Sub(&EXEMPLAR)),
        plain(10, "flags", Uint32),
        optional(11, "min", Double),
        optional(12, "max", Double),
    ],
};

static EXPONENTIAL_HISTOGRAM_DATA_POINT: Message = Message {
    name: "ExponentialHistogramDataPoint",
    fields: &[
        repeated(1, "attributes", Sub(&KEY_VALUE)),
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        plain(4, "count", Fixed64),
        optional(5, "sum", Double),
        plain(6, "scale", Sint32),
        plain(7, "zeroCount", Fixed64),
        plain(8, "positive", Sub(&BUCKETS)),
        plain(9, "negative", Sub(&BUCKETS)),
        plain(10, "flags", Uint32),
        repeated(11, "exemplars", Sub(&EXEMPLAR)),
        optional(12, "min", Double),
        optional(13, "max", Double),
        plain(14, "zeroThreshold", Double),
    ],
};

static BUCKETS: Message =
    Message { name: "Buckets", fields: &[plain(1, "offset", Sint32), repeated(2, "bucketCounts", Uint64)] };

static SUMMARY_DATA_POINT: Message = Message {
    name: "SummaryDataPoint",
    fields: &[
        repeated(7, "attributes", Sub(&KEY_VALUE)),
        plain(2, "startTimeUnixNano", Fixed64),
        plain(3, "timeUnixNano", Fixed64),
        plain(4, "count", Fixed64),
        plain(5, "sum", Double),
        repeated(6, "quantileValues", Sub(&VALUE_AT_QUANTILE)),
        plain(8, "flags", Uint32),
    ],
};

static VALUE_AT_QUANTILE: Message =
    Message { name: "ValueAtQuantile", fields: &[plain(1, "quantile", Double), plain(2, "value", Double)] };

static EXEMPLAR: Message = Message {
    name: "Exemplar",
    fields: &[
        repeated(7, "filteredAttributes", Sub(&KEY_VALUE)),
        plain(2, "timeUnixNano", Fixed64),
        one_of(3, "asDouble", Double),
        one_of(6, "asInt", Sfixed64),
        plain(4, "spanId", SPAN_ID),
        plain(5, "traceId", TRACE_ID),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Reader, Value};
    use std::collections::BTreeMap;

    /// A descriptor's fields (`google/protobuf/descriptor.proto`), as far as they are numbers or bytes.
    fn fields(descriptor: &[u8]) -> Vec<(u64, Value<'_>)> {
        let mut reader = Reader::new(descriptor);
        std::iter::from_fn(|| reader.field()).map(Result::unwrap).collect()
    }

    fn messages(descriptor: &[u8], number: u64) -> Vec<&[u8]> {
        let these = fields(descriptor).into_iter().filter(|(field, _)| *field == number);
        these.map(|(_, value)| if let Value::Bytes(bytes) = value { bytes } else { panic!() }).collect()
    }

    fn text(descriptor: &[u8], number: u64) -> &str {
        messages(descriptor, number).last().map_or("", |bytes| std::str::from_utf8(bytes).unwrap())
    }

    fn number(descriptor: &[u8], number: u64) -> Option<u64> {
        let mut these = fields(descriptor).into_iter().filter(|(field, _)| *field == number);
        these.next_back().map(|(_, value)| if let Value::Number(number) = value { number } else { panic!() })
    }

    /// The descriptors of a file or a message that are below it, by their names.
    fn collect<'d>(
        container: &'d [u8],
        (messages_at, enums_at): (u64, u64),
        found: &mut BTreeMap<&'d str, &'d [u8]>,
    ) {
        for message in messages(container, messages_at) {
            found.insert(text(message, 1), message);
            collect(message, (3, 4), found);
        }
        for one in messages(container, enums_at) {
            found.insert(text(one, 1), one);
        }
    }

    /// Compares one message, and everything below it, with what the crate says of it.
    fn compare(
        message: &'static Message,
        known: &BTreeMap<&str, &[u8]>,
        compared: &mut BTreeMap<&'static str, &'static Message>,
    ) {
        if let Some(same) = compared.insert(message.name, message) {
            assert!(std::ptr::eq(same, message), "two rows are called {}", message.name);
            return;
        }
        let descriptor = known[message.name];
        let described = messages(descriptor, 2);
        assert_eq!(described.len(), message.fields.len(), "{}", message.name);
        assert!(message.fields.len() <= 32);
        assert!(
            messages(descriptor, 8).len() <= 1 || described.iter().any(|field| number(field, 17).is_some())
        );
        for (field, described) in message.fields.iter().zip(described) {
            let name = format!("{}.{}", message.name, field.name);
            assert_eq!(text(described, 10), field.name);
            assert!(is_snake_case_of(text(described, 1), field.name), "{name}");
            assert_eq!(number(described, 3), Some(u64::from(field.number)), "{name}");
            let label = match (number(described, 4), number(described, 9), number(described, 17)) {
                (Some(3), None, None) => Label::Repeated,
                (Some(1), Some(_), Some(1)) => Label::Optional,
                (Some(1), Some(_), None) => Label::OneOf,
                (Some(1), None, None) => Label::Plain,
                other => panic!("{name}: {other:?}"),
            };
            assert!(field.label == label, "{name}");
            let of_type = text(described, 6).rsplit('.').next().unwrap();
            let kind = match field.kind {
                Double => 1,
                Int64 => 3,
                Uint64 => 4,
                Int32 => 5,
                Fixed64 => 6,
                Fixed32 => 7,
                Bool => 8,
                String => 9,
                Sub(below) => {
                    assert_eq!(of_type, below.name, "{name}");
                    compare(below, known, compared);
                    11
                }
                Bytes => 12,
                Id(length) => {
                    assert_eq!(length, if field.name == "traceId" { 16 } else { 8 }, "{name}");
                    12
                }
                Uint32 => 13,
                Enum(names) => {
                    let values = messages(known[of_type], 2);
                    assert_eq!(values.len(), names.len(), "{name}");
                    for (place, (value, name)) in values.into_iter().zip(names).enumerate() {
                        assert_eq!(text(value, 1), *name);
                        assert_eq!(number(value, 2).unwrap_or(0), place as u64, "{name}");
                    }
                    14
                }
                Sfixed64 => 16,
                Sint32 => 17,
            };
            assert_eq!(number(described, 5), Some(kind), "{name}");
        }
    }

    #[test]
    fn every_row_is_as_opentelemetry_proto_has_it() {
        let mut known = BTreeMap::new();
        for file in messages(opentelemetry_proto::DESCRIPTORS, 1) {
            // tracez and profiles have messages of the same names
            if !text(file, 2).contains("tracez") && !text(file, 2).contains("profiles") {
                collect(file, (4, 5), &mut known);
            }
        }
        let mut compared = BTreeMap::new();
        for signal in [Signal::Logs, Signal::Traces, Signal::Metrics] {
            compare(Message::request(signal).unwrap(), &known, &mut compared);
        }
        assert_eq!(compared.len(), 34);
    }

    #[test]
    fn a_name_is_known_as_json_and_as_the_proto_file_write_it() {
        let place = |name| LOG_RECORD.by_name(name);
        assert_eq!(place("timeUnixNano"), Some((0, false)));
        assert_eq!(place("traceId"), Some((8, false)));
        assert_eq!(place("trace_id"), Some((8, true)));
        assert_eq!(place("observed_time_unix_nano"), Some((1, true)));
        for unknown in
            ["", "traceID", "trace_id_", "_trace_id", "traceid", "trace__id", "TraceId", "trace_Id"]
        {
            assert_eq!(place(unknown), None, "{unknown}");
        }
    }
}
