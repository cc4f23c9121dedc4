//! A batch as a message, whatever it was written in.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, any_value::Value::StringValue},
    resource::v1::Resource,
};
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A batch of each signal.
#[derive(Debug, Clone)]
pub struct Batches {
    pub logs: ExportLogsServiceRequest,
    pub traces: ExportTraceServiceRequest,
    pub metrics: ExportMetricsServiceRequest,
}

/// A batch of one of them.
#[derive(Debug, Clone)]
pub enum Batch {
    Logs(ExportLogsServiceRequest),
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

pub const SIGNALS: [&str; 3] = ["logs", "traces", "metrics"];

impl Batches {
    pub fn of(&self, signal: &str) -> Batch {
        match signal {
            "logs" => Batch::Logs(self.logs.clone()),
            "traces" => Batch::Traces(self.traces.clone()),
            _ => Batch::Metrics(self.metrics.clone()),
        }
    }
}

impl Batch {
    #[track_caller]
    pub fn from_protobuf(signal: &str, body: &[u8]) -> Self {
        fn decode<M: Message + Default>(body: &[u8]) -> M {
            M::decode(body).expect("protobuf arrived")
        }
        match signal {
            "logs" => Self::Logs(decode(body)),
            "traces" => Self::Traces(decode(body)),
            _ => Self::Metrics(decode(body)),
        }
    }

    #[track_caller]
    pub fn from_json(signal: &str, body: &[u8]) -> Self {
        fn decode<M: DeserializeOwned>(value: Value) -> M {
            serde_json::from_value(value).unwrap_or_else(|error| panic!("no OTLP JSON: {error}"))
        }
        let text = std::str::from_utf8(body).expect("UTF-8 arrived");
        let mut value: Value = serde_json::from_str(&quote_doubles(text)).expect("JSON arrived");
        complete(&mut value);
        match signal {
            "logs" => Self::Logs(decode(value)),
            "traces" => Self::Traces(decode(value)),
            _ => Self::Metrics(decode(value)),
        }
    }

    pub fn to_protobuf(&self) -> Vec<u8> {
        match self {
            Self::Logs(request) => request.encode_to_vec(),
            Self::Traces(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
        }
    }

    /// The cell that it says it is of.
    pub fn cell(&self) -> &str {
        let cell = self.resource().and_then(|resource| {
            let attribute = resource.attributes.iter().find(|attribute| attribute.key == "cell")?;
            match attribute.value.as_ref()? {
                AnyValue { value: Some(StringValue(cell)) } => Some(cell.as_str()),
                _ => None,
            }
        });
        cell.unwrap_or("(no cell)")
    }

    fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Logs(request) => request.resource_logs.first()?.resource.as_ref(),
            Self::Traces(request) => request.resource_spans.first()?.resource.as_ref(),
            Self::Metrics(request) => request.resource_metrics.first()?.resource.as_ref(),
        }
    }
}

/// What a double is quoted with. JSON has no such character but in strings, escaped.
const DOUBLE: &str = "\\u0001";

/// Puts doubles into quotes, since serde_json may read them wrong by their last bit.
fn quote_doubles(json: &str) -> String {
    let (mut quoted, mut rest) = (String::new(), json);
    while let Some(first) = rest.chars().next() {
        let is_number = first == '-' || first.is_ascii_digit();
        let (token, after) = rest.split_at(match first {
            '"' => string_length(rest),
            _ if is_number => rest.find([',', '}', ']', ' ', '\n']).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        });
        match is_number && token.contains(['.', 'e', 'E']) {
            true => quoted += &format!("\"{DOUBLE}{token}\""),
            false => quoted += token,
        }
        rest = after;
    }
    quoted
}

/// The length of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.expect("a string ends") + 2
}

/// Takes doubles out of their quotes, and mends two things that OTLP JSON may have and
/// `opentelemetry-proto` does not read: lists without `values`, and doubles that are no numbers, for
/// which [`unnumbered`] stands.
fn complete(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(double) = text.strip_prefix('\u{1}') {
                *value = json!(double.parse::<f64>().expect("a number"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(complete),
        Value::Object(fields) => {
            for list in ["arrayValue", "kvlistValue"] {
                if let Some(Value::Object(list)) = fields.get_mut(list) {
                    list.entry("values").or_insert_with(|| json!([]));
                }
            }
            fields.values_mut().for_each(complete);
            if let Some(Value::String(name)) = fields.get("doubleValue") {
                *value = json!({ "stringValue": unnumbered(name) });
            }
        }
        _ => {}
    }
}

/// What stands for a double that JSON has no number for.
pub fn unnumbered(name: &str) -> String {
    format!("the double {name}")
}
