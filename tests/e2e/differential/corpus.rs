//! The requests, as the files of `tests/differential` describe them; its README says how.

use super::wire;
use crate::kit::{Behaviour, Request, basic, compress, grpc_frame, real::repository};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use std::{collections::BTreeMap, fs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    /// Whether what comes as JSON comes once more, for a destination that wants protobuf.
    #[serde(default)]
    translated: bool,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    case: Vec<Written>,
}

/// A case as it is written.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    why: String,
    /// Logs, if the body does not say otherwise.
    signal: Option<Signal>,
    #[serde(default, rename = "as")]
    forms: Vec<Form>,
    method: Option<String>,
    path: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Header>,
    #[serde(default)]
    body: Body,
    sink: Option<Sink>,
    differs: Option<Differs>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Logs,
    Traces,
    Metrics,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    Json,
    Protobuf,
    Grpc,
    /// JSON, for a destination that wants protobuf.
    #[serde(skip)]
    Translated,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Header {
    /// `false` leaves out what would be there.
    Kept(bool),
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct Body {
    /// A text, which for protobuf and gRPC is read as OTLP JSON and encoded.
    json: Option<String>,
    /// The same of one log record, of its `body`, of one span or metric; what is around it is added.
    record: Option<String>,
    value: Option<String>,
    span: Option<String>,
    metric: Option<String>,
    /// [`wire`]'s notation.
    wire: Option<String>,
    /// These bytes, whatever the form.
    hex: Option<String>,
    text: Option<String>,
    /// `$fill` in any of them: a text and how often it stands there.
    fill: Option<(String, usize)>,
    /// Bytes that are missing at the end, before compression.
    cut: usize,
    compress: Option<String>,
    /// Bytes that are missing at the end, after compression.
    cut_compressed: usize,
    /// Hexadecimal, after compression.
    append: Option<String>,
    /// For HTTP/1.1: in chunks of so many bytes.
    chunked: Option<usize>,
    /// For gRPC: one for each message's prefix; none sends the bytes without.
    frames: Option<Vec<Prefix>>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct Prefix {
    flag: u8,
    /// Another length than the message's own.
    length: Option<u32>,
}

/// How the sink answers.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    status: u16,
    headers: BTreeMap<String, String>,
    /// The message of a `google.rpc.Status`.
    message: Option<String>,
    /// A partial success: rejected records and a message.
    partial: Option<(i64, String)>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Differs {
    Always(String),
    By(BTreeMap<String, String>),
}

/// A request, and why the two may answer it differently.
#[derive(Clone)]
pub struct Case {
    pub topic: String,
    pub name: String,
    pub signal: Signal,
    pub form: Form,
    pub request: Request,
    pub sink: Sink,
    pub differs: Option<String>,
}

/// Every case of every file, in the order of their names.
pub fn read() -> Vec<Case> {
    let entries = fs::read_dir(repository("tests/differential")).expect("the corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a file of the corpus");
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for key in file.reasons.keys() {
            let used = text.contains(&format!("\"@{key}\""));
            assert!(used, "{}: no case has the reason {key}", path.display());
        }
        for written in &file.case {
            assert!(!written.why.is_empty(), "{}: a case says why it is there", written.name);
            let mut forms = written.forms();
            if file.translated && forms.contains(&Form::Json) {
                forms.push(Form::Translated);
            }
            cases.extend(forms.into_iter().map(|form| written.case(&file, form)));
        }
    }
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "two cases of one name: {twice:?}");
    cases
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    fn grpc_path(self) -> &'static str {
        match self {
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// OTLP JSON as protobuf.
    fn encode(self, json: &str) -> Vec<u8> {
        fn encode<M: Message + DeserializeOwned>(json: &str) -> Vec<u8> {
            serde_json::from_str::<M>(json).unwrap_or_else(|error| panic!("{error}: {json}")).encode_to_vec()
        }
        match self {
            Self::Logs => encode::<ExportLogsServiceRequest>(json),
            Self::Traces => encode::<ExportTraceServiceRequest>(json),
            Self::Metrics => encode::<ExportMetricsServiceRequest>(json),
        }
    }
}

impl Written {
    /// The forms that it comes in: as said, else the one that its body suggests.
    fn forms(&self) -> Vec<Form> {
        match (self.forms.is_empty(), self.body.json()) {
            (false, _) => self.forms.clone(),
            (true, Some(_)) => vec![Form::Json],
            (true, None) => vec![Form::Protobuf],
        }
    }

    fn signal(&self) -> Signal {
        let of_body = match &self.body {
            Body { span: Some(_), .. } => Signal::Traces,
            Body { metric: Some(_), .. } => Signal::Metrics,
            _ => Signal::Logs,
        };
        self.signal.unwrap_or(of_body)
    }

    fn case(&self, file: &File, form: Form) -> Case {
        let form_name = format!("{form:?}").to_lowercase();
        let name = match self.forms().len() {
            1 if form != Form::Translated => self.name.clone(),
            _ => format!("{}, {form_name}", self.name),
        };
        let differs = match &self.differs {
            None => None,
            Some(Differs::Always(reason)) => Some(reason),
            Some(Differs::By(reasons)) => reasons.get(&form_name),
        };
        let differs = differs.map(|reason| match reason.strip_prefix('@') {
            None => reason.clone(),
            Some(key) => file.reasons.get(key).unwrap_or_else(|| panic!("{name}: no reason {key}")).clone(),
        });
        Case {
            topic: file.about.clone(),
            signal: self.signal(),
            form,
            request: self.request(form),
            sink: self.sink.clone().unwrap_or_default(),
            differs,
            name,
        }
    }

    fn request(&self, form: Form) -> Request {
        let path = self.path.clone().unwrap_or_else(|| match form {
            Form::Grpc => self.signal().grpc_path().to_owned(),
            Form::Json | Form::Protobuf | Form::Translated => format!("/v1/{}", self.signal().name()),
        });
        let mut request = Request::post(&path, self.body.bytes(self.signal(), form));
        request = request.header("Authorization", &basic("oxygen", "secret")).header(
            "Content-Type",
            match form {
                Form::Json | Form::Translated => "application/json",
                Form::Protobuf => "application/x-protobuf",
                Form::Grpc => "application/grpc",
            },
        );
        if form == Form::Grpc {
            request = request.header("TE", "trailers");
        }
        if let Some(method) = &self.method {
            request = request.method(method);
        }
        for (name, header) in &self.headers {
            request = match header {
                Header::Kept(true) => request,
                Header::Kept(false) => request.without(name),
                Header::One(value) => request.header(name, value),
                Header::Many(values) => {
                    values.iter().fold(request.without(name), |request, value| request.another(name, value))
                }
            };
        }
        match self.body.chunked {
            Some(chunk) => request.chunked(chunk),
            None => request,
        }
    }
}

impl Body {
    fn json(&self) -> Option<String> {
        let around = |before: &str, within: &Option<String>, after: &str| {
            within.as_ref().map(|within| format!("{before}{within}{after}"))
        };
        let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":["#;
        self.json
            .clone()
            .or_else(|| around(logs, &self.record, "]}]}]}"))
            .or_else(|| around(&format!("{logs}{{\"body\":"), &self.value, "}]}]}]}"))
            .or_else(|| around(r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#, &self.span, "]}]}]}"))
            .or_else(|| {
                around(r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":["#, &self.metric, "]}]}]}")
            })
    }

    fn bytes(&self, signal: Signal, form: Form) -> Vec<u8> {
        let fill = |text: &String| match &self.fill {
            Some((with, times)) => text.replace("$fill", &with.repeat(*times)),
            None => text.clone(),
        };
        let mut bytes = match (self.json(), &self.wire, &self.hex, &self.text) {
            (Some(json), None, None, None) if matches!(form, Form::Json | Form::Translated) => {
                fill(&json).into_bytes()
            }
            (Some(json), None, None, None) => signal.encode(&fill(&json)),
            (None, Some(text), None, None) => wire::bytes(&fill(text)),
            (None, None, Some(digits), None) => wire::hex(digits),
            (None, None, None, Some(text)) => fill(text).into_bytes(),
            (None, None, None, None) => Vec::new(),
            _ => panic!("a body is one of JSON, wire, hex and text"),
        };
        bytes.truncate(bytes.len().saturating_sub(self.cut));
        if let Some(name) = &self.compress {
            bytes = compress(name, &bytes);
        }
        if form == Form::Grpc {
            let prefixes = self.frames.clone().unwrap_or_else(|| vec![Prefix::default()]);
            bytes = match prefixes.is_empty() {
                true => bytes,
                false => prefixes.iter().flat_map(|prefix| prefix.before(&bytes)).collect(),
            };
        }
        bytes.truncate(bytes.len().saturating_sub(self.cut_compressed));
        bytes.extend(self.append.iter().flat_map(|digits| wire::hex(digits)));
        bytes
    }
}

impl Prefix {
    fn before(&self, message: &[u8]) -> Vec<u8> {
        let mut bytes = grpc_frame(self.flag, message);
        if let Some(length) = self.length {
            bytes[1..5].copy_from_slice(&length.to_be_bytes());
        }
        bytes
    }
}

impl Default for Sink {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), message: None, partial: None }
    }
}

impl Sink {
    /// The answer in the encoding that it is asked in.
    pub fn behaviour(&self, json: bool) -> Behaviour {
        let partial = self.partial.clone();
        let body = match (&self.message, partial) {
            (Some(message), _) if json => json!({ "code": 2, "message": message }).to_string().into(),
            (Some(message), _) => wire::bytes(&format!("1: 2 2: {message:?}")),
            (None, Some((rejected, message))) if json => {
                let partial = json!({ "rejectedLogRecords": rejected.to_string(), "errorMessage": message });
                json!({ "partialSuccess": partial }).to_string().into()
            }
            (None, Some((rejected, message))) => wire::bytes(&format!("1: {{1: {rejected} 2: {message:?}}}")),
            (None, None) if json && self.status == 200 => b"{}".to_vec(),
            (None, None) => Vec::new(),
        };
        let media_type = if json { "application/json" } else { "application/x-protobuf" };
        let mut headers = vec![("Content-Type", media_type.to_owned())];
        for (name, value) in &self.headers {
            match name.as_str() {
                "Retry-After" => headers.push(("Retry-After", value.clone())),
                other => panic!("a sink sets no {other}"),
            }
        }
        Behaviour::Answer(self.status, headers, body)
    }
}
