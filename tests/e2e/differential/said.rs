//! What one side said to a request, and what it handed on, in words that can be compared.

use super::corpus::{Case, Form, Signal};
use crate::kit::{Answer, Seen};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::metric::Data,
};
use prost::Message;
use serde::de::DeserializeOwned;
use std::{fmt::Debug, io::Read};

/// An answer, and what arrived behind.
pub struct Said {
    /// The answer without its words, such as `400 Status INVALID_ARGUMENT`.
    pub answer: String,
    /// The words of a refusal.
    pub words: String,
    /// Each request that arrived at the sink.
    arrived: Vec<Arrived>,
}

/// A request at the sink.
enum Arrived {
    /// JSON, byte for byte as it was sent: it means there what it means here, whoever reads it.
    AsSent,
    /// Every field of every record, as text.
    Decoded(String),
    /// Bytes that are no such message.
    Unreadable,
}

impl Said {
    pub fn new(case: &Case, answer: &Result<Answer, String>, seen: &[Seen]) -> Self {
        let (answer, words) = match (answer, case.form) {
            (Err(error), _) => (error.clone(), String::new()),
            (Ok(answer), Form::Grpc) => grpc(answer),
            // Whoever speaks of gRPC is told in gRPC's words, over HTTP/1.1 too.
            (Ok(answer), _) if answer.header("content-type") == Some("application/grpc") => grpc(answer),
            (Ok(answer), form) => http(answer, form),
        };
        let arrived = seen.iter().map(|seen| match case.form {
            Form::Json if seen.body == case.request.body => Arrived::AsSent,
            _ => arrived(case.signal, seen),
        });
        Self { answer, words, arrived: arrived.collect() }
    }

    /// Whether a sender and a destination see the same. Words are each one's own.
    pub fn is_like(&self, other: &Self) -> bool {
        let alike = |(one, other): (&Arrived, &Arrived)| match (one, other) {
            (Arrived::Decoded(one), Arrived::Decoded(other)) => one == other,
            (Arrived::Unreadable, Arrived::Unreadable) => true,
            (Arrived::AsSent, other) | (other, Arrived::AsSent) => !matches!(other, Arrived::Unreadable),
            _ => false,
        };
        self.answer == other.answer
            && self.arrived.len() == other.arrived.len()
            && self.arrived.iter().zip(&other.arrived).all(alike)
    }

    /// Whether the batch was taken and handed on.
    pub fn is_delivered(&self) -> bool {
        self.answer.contains("success") && !self.arrived.is_empty()
    }

    /// Whether a sender that was refused learns too little: a 4xx or 5xx without a Status, or without words.
    pub fn is_mute(&self) -> bool {
        let is_refusal = !self.answer.contains("success") && !self.answer.starts_with(['O', '2']);
        is_refusal && (self.answer.contains("without a") || self.words.is_empty())
    }

    /// In one line; `other` is what the other side said.
    pub fn line(&self, other: &Self) -> String {
        let arrived = match self.arrived.len() {
            0 => "nothing arrives".to_owned(),
            1 => "arrives".to_owned(),
            times => format!("arrives {times} times"),
        };
        let with = match (self.arrived.first(), other.arrived.first()) {
            (Some(Arrived::Decoded(own)), Some(Arrived::Decoded(others))) => {
                let between = own.lines().zip(others.lines()).find(|(own, others)| own != others);
                between.map_or(String::new(), |(own, _)| format!(" with `{}`", own.trim()))
            }
            (Some(Arrived::Unreadable), _) => ", unreadable".to_owned(),
            _ => String::new(),
        };
        format!("{}; {arrived}{with}", self.answer)
    }
}

/// What of a head changes what a sender, or a browser, does.
const HEADERS: [&str; 6] = [
    "Retry-After",
    "Allow",
    "WWW-Authenticate",
    "Accept-Encoding",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
];

fn http(answer: &Answer, form: Form) -> (String, String) {
    let is_json = matches!(form, Form::Json | Form::Translated);
    let own = if is_json { "application/json" } else { "application/x-protobuf" };
    let media_type = answer.header("content-type").unwrap_or("no type");
    let mut said = answer.status.to_string();
    let mut words = String::new();
    let status = || match media_type {
        "application/json" => rpc_status_of_json(&answer.body),
        "application/x-protobuf" => rpc_status(&answer.body),
        _ => None,
    };
    said += &match (answer.status, media_type) {
        (204, _) => String::new(),
        (200, "application/json" | "application/x-protobuf") => {
            response(media_type, &answer.body).unwrap_or(" and no response".to_owned())
        }
        _ => match status() {
            Some(status) => {
                words.clone_from(&status.message);
                format!(" {}", status.name())
            }
            None => {
                words = answer.text();
                if words.is_empty() { " without a body".to_owned() } else { " without a Status".to_owned() }
            }
        },
    };
    if media_type != own && answer.status != 204 {
        said += &format!(", {media_type}");
    }
    for name in HEADERS {
        if let Some(value) = answer.header(name) {
            said += &format!(", {name}: {value}");
        }
    }
    (said, words)
}

fn grpc(answer: &Answer) -> (String, String) {
    let mut said = match answer.status {
        200 => String::new(),
        other => format!("{other} "),
    };
    let mut words = percent_decoded(answer.header("grpc-message").unwrap_or_default());
    match answer.header("grpc-status").map(str::parse) {
        Some(Ok(code)) => said += code_name(code),
        Some(Err(_)) => said += "a grpc-status that is no number",
        None => {
            said += "no grpc-status";
            words = answer.text();
        }
    }
    let media_type = answer.header("content-type").unwrap_or("no type");
    if media_type != "application/grpc" {
        said += &format!(", {media_type}");
    }
    if answer.header("grpc-status") == Some("0") {
        let response = message(answer).and_then(|message| response("application/x-protobuf", &message));
        said += response.as_deref().unwrap_or(" and another message");
    }
    if let Some(details) = answer.header("grpc-status-details-bin") {
        match unpadded_base64(details).as_deref().and_then(rpc_status) {
            Some(status) => {
                said += &status.retry();
                words.clone_from(&status.message);
            }
            None => said += " with broken details",
        }
    }
    (said, words)
}

/// The message in its frame.
fn message(answer: &Answer) -> Option<Vec<u8>> {
    let (&[flag, ref length @ ..], message) = answer.body.split_first_chunk::<5>()?;
    if u32::from_be_bytes(*length) as usize != message.len() {
        return None;
    }
    match (flag, answer.header("grpc-encoding")) {
        (0, _) => Some(message.to_vec()),
        (1, Some(name)) => Some(plain(name, message)),
        _ => None,
    }
}

/// An `Export…ServiceResponse`. The numbers of its fields are the same for each signal. An empty
/// `partial_success` means full success, as an absent one does.
fn response(media_type: &str, body: &[u8]) -> Option<String> {
    let (rejected, words) = if media_type == "application/json" {
        let said: serde_json::Value = serde_json::from_slice(body).ok()?;
        let partial = said.as_object()?.get("partialSuccess").cloned().unwrap_or_default();
        let number = |value: &serde_json::Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let rejected = ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints"]
            .into_iter()
            .find_map(|name| number(&partial[name]));
        (rejected.unwrap_or(0), partial["errorMessage"].as_str().unwrap_or_default().to_owned())
    } else {
        let partial = ExportLogsServiceResponse::decode(body).ok()?.partial_success.unwrap_or_default();
        (partial.rejected_log_records, partial.error_message)
    };
    Some(match (rejected, words.as_str()) {
        (0, "") => " success".to_owned(),
        _ => format!(" partial success, {rejected} rejected: {words}"),
    })
}

/// `google.rpc.Status`, of which only `RetryInfo` changes what a sender does.
#[derive(Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyDetail>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct AnyDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

impl RpcStatus {
    fn name(&self) -> String {
        format!("Status {}{}", code_name(self.code), self.retry())
    }

    /// `retry_delay` and its seconds have the first number of their messages.
    fn retry(&self) -> String {
        #[derive(Message)]
        struct Delay {
            #[prost(int64, tag = "1")]
            seconds: i64,
        }
        #[derive(Message)]
        struct RetryInfo {
            #[prost(message, optional, tag = "1")]
            delay: Option<Delay>,
        }
        let found = self.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"));
        match found.map(|any| RetryInfo::decode(&any.value[..])) {
            None => String::new(),
            Some(Ok(retry)) => format!(" with RetryInfo {} s", retry.delay.unwrap_or_default().seconds),
            Some(Err(_)) => " with a broken RetryInfo".to_owned(),
        }
    }
}

fn rpc_status(body: &[u8]) -> Option<RpcStatus> {
    RpcStatus::decode(body).ok().filter(|status| status.code != 0)
}

fn rpc_status_of_json(body: &[u8]) -> Option<RpcStatus> {
    let said: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = i32::try_from(said["code"].as_i64()?).ok()?;
    let retry = said["details"].as_array().into_iter().flatten().find_map(|detail| {
        let is_retry = detail["@type"].as_str()?.ends_with("google.rpc.RetryInfo");
        is_retry.then(|| detail["retryDelay"].as_str()?.trim_end_matches('s').parse::<f64>().ok())?
    });
    let details = retry.map(|seconds| AnyDetail {
        type_url: "google.rpc.RetryInfo".to_owned(),
        value: super::wire::bytes(&format!("1: {{1: {}}}", seconds as i64)),
    });
    Some(RpcStatus {
        code,
        message: said["message"].as_str().unwrap_or_default().to_owned(),
        details: details.into_iter().collect(),
    })
}

fn code_name(code: i32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).unwrap_or(&"a code that is none")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn unpadded_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// Decodes a request at the sink; what is absent and what is empty is one.
fn arrived(signal: Signal, seen: &Seen) -> Arrived {
    let body = plain(&seen.header("content-encoding").unwrap_or_default(), &seen.body);
    let json = seen.header("content-type").is_some_and(|value| value.contains("json"));
    let decoded = match signal {
        Signal::Logs => decode(&body, json, |request: &mut ExportLogsServiceRequest| {
            for of_resource in &mut request.resource_logs {
                clear(&mut of_resource.resource);
                for of_scope in &mut of_resource.scope_logs {
                    clear(&mut of_scope.scope);
                    for record in &mut of_scope.log_records {
                        clear(&mut record.body);
                        clear_attributes(&mut record.attributes);
                    }
                }
            }
        }),
        Signal::Traces => decode(&body, json, |request: &mut ExportTraceServiceRequest| {
            for of_resource in &mut request.resource_spans {
                clear(&mut of_resource.resource);
                for of_scope in &mut of_resource.scope_spans {
                    clear(&mut of_scope.scope);
                    for span in &mut of_scope.spans {
                        clear(&mut span.status);
                        clear_attributes(&mut span.attributes);
                    }
                }
            }
        }),
        Signal::Metrics => decode(&body, json, |request: &mut ExportMetricsServiceRequest| {
            for of_resource in &mut request.resource_metrics {
                clear(&mut of_resource.resource);
                for of_scope in &mut of_resource.scope_metrics {
                    clear(&mut of_scope.scope);
                    for metric in &mut of_scope.metrics {
                        if let Some(Data::ExponentialHistogram(histogram)) = &mut metric.data {
                            for point in &mut histogram.data_points {
                                clear(&mut point.positive);
                                clear(&mut point.negative);
                            }
                        }
                    }
                }
            }
        }),
    };
    match decoded {
        Some(text) => Arrived::Decoded(format!("{} {text}", seen.target)),
        None => Arrived::Unreadable,
    }
}

fn decode<M>(body: &[u8], json: bool, clear: impl FnOnce(&mut M)) -> Option<String>
where
    M: Message + Default + Debug + DeserializeOwned,
{
    let mut message: M = if json { serde_json::from_slice(body).ok()? } else { M::decode(body).ok()? };
    clear(&mut message);
    Some(format!("{message:#?}"))
}

fn clear<T: Default + PartialEq>(field: &mut Option<T>) {
    if *field == Some(T::default()) {
        *field = None;
    }
}

fn clear_attributes(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        clear(&mut attribute.value);
        if let Some(AnyValue { value: Some(Value::KvlistValue(list)) }) = &mut attribute.value {
            clear_attributes(&mut list.values);
        }
    }
}

fn plain(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    fn read(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("what a server compressed");
        bytes
    }
    match encoding {
        "gzip" => read(flate2::read::MultiGzDecoder::new(bytes)),
        "deflate" => read(flate2::read::ZlibDecoder::new(bytes)),
        "zstd" => zstd::decode_all(bytes).expect("what a server compressed"),
        _ => bytes.to_vec(),
    }
}
