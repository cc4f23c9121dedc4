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
        let mut value: Value = serde_json::from_slice(body).expect("JSON arrived");
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

/// Two things that OTLP JSON may have and `opentelemetry-proto` does not read: lists without `values`,
/// and doubles that are no numbers, for which [`unnumbered`] stands.
fn complete(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(complete),
        Value::Object(fields) => {
            for list in ["arrayValue", "kvlistValue"] {
                if let Some(Value::Object(list)) = fields.get_mut(list) {
                    list.entry("values").or_insert_with(|| json!([]));
                }
            }
            if let Some(Value::String(name)) = fields.get("doubleValue") {
                *value = json!({ "stringValue": unnumbered(name) });
                return;
            }
            fields.values_mut().for_each(complete);
        }
        _ => {}
    }
}

/// What stands for a double that JSON has no number for.
pub fn unnumbered(name: &str) -> String {
    format!("the double {name}")
}
