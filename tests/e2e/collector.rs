//! A real OpenTelemetry Collector behind Tollgate: what it wrote down is what was sent.

use crate::kit::{
    Answer, Connection, Folder, Request, Tollgate, eventually, free_port, has,
    real::{Running, peer, repository, tls, wait_for_port, write_certificate},
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, Summary, SummaryDataPoint,
        exemplar, exponential_histogram_data_point::Buckets, metric::Data,
        summary_data_point::ValueAtQuantile,
    },
};
use prost::Message;
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A Collector with three doors (plain, TLS, plain with Basic credentials) that writes what it
/// took, a line of JSON for each request.
struct Collector {
    _process: Running,
    folder: Folder,
    plain: u16,
    tls: u16,
    locked: u16,
}

impl Collector {
    fn start(program: &Path) -> Self {
        let folder = Folder::create();
        write_certificate(folder.path(), "collector", &["collector.example"]);
        let (plain, tls, locked) = (free_port(), free_port(), free_port());
        let at = folder.path().display();
        let config = format!(
            r#"
extensions:
  basicauth: {{ htpasswd: {{ inline: "tollgate:to-collector" }} }}
receivers:
  otlp/plain: {{ protocols: {{ http: {{ endpoint: "127.0.0.1:{plain}" }} }} }}
  otlp/tls:
    protocols:
      http:
        endpoint: "127.0.0.1:{tls}"
        tls: {{ cert_file: {at}/collector.pem, key_file: {at}/collector.key }}
  otlp/locked:
    protocols: {{ http: {{ endpoint: "127.0.0.1:{locked}", auth: {{ authenticator: basicauth }} }} }}
exporters:
  file/logs: {{ path: {at}/logs, flush_interval: 20ms }}
  file/traces: {{ path: {at}/traces, flush_interval: 20ms }}
  file/metrics: {{ path: {at}/metrics, flush_interval: 20ms }}
service:
  extensions: [basicauth]
  telemetry: {{ metrics: {{ level: none }}, logs: {{ level: fatal }} }}
  pipelines:
    logs: {{ receivers: [otlp/plain, otlp/tls, otlp/locked], exporters: [file/logs] }}
    traces: {{ receivers: [otlp/plain, otlp/tls, otlp/locked], exporters: [file/traces] }}
    metrics: {{ receivers: [otlp/plain, otlp/tls, otlp/locked], exporters: [file/metrics] }}
"#
        );
        let path = folder.path().join("collector.yaml");
        fs::write(&path, config).expect("writing the Collector's configuration");
        let child = Command::new(program).arg("--config").arg(path).stdin(Stdio::null()).spawn();
        let mut process = Running(child.expect("starting the Collector"));
        for port in [plain, tls, locked] {
            wait_for_port(port, &mut process);
        }
        Self { _process: process, folder, plain, tls, locked }
    }

    /// The requests of a signal that have been written so far, as JSON.
    fn written(&self, signal: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(signal)).unwrap_or_default();
        // The last line may still be growing.
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(str::to_owned).collect()
    }
}

/// Tollgate with TLS before the Collector: a tenant for each way to send on.
fn start(collector: &Collector) -> (Tollgate, PathBuf) {
    let folder = Folder::create();
    let certificate = write_certificate(folder.path(), "door", &["localhost"]);
    let (plain, tls, locked) = (collector.plain, collector.tls, collector.locked);
    let authority = collector.folder.path().join("collector.pem");
    let authority = authority.display();
    let mut config = format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"
tls = {{ certificate = "door.pem", key = "door.key" }}

[upstream.plain]
endpoint = "http://127.0.0.1:{plain}"

[upstream.tls]
endpoint = "https://127.0.0.1:{tls}"
host = "collector.example"
ca = "{authority}"

[upstream.tls-1]
endpoint = "https://127.0.0.1:{tls}"
host = "collector.example"
ca = "{authority}"
http_version = "1.1"

[upstream.none]
endpoint = "http://127.0.0.1:{plain}"
compression = "none"

[upstream.gzip]
endpoint = "http://127.0.0.1:{plain}"
compression = "gzip"

[upstream.zstd]
endpoint = "http://127.0.0.1:{plain}"
compression = "zstd"

[upstream.locked]
endpoint = "http://127.0.0.1:{locked}"
headers = {{ Authorization = "Basic dG9sbGdhdGU6dG8tY29sbGVjdG9y" }}

[upstream.locked-out]
endpoint = "http://127.0.0.1:{locked}"
"#
    );
    for upstream in ["plain", "tls", "tls-1", "none", "gzip", "zstd", "locked", "locked-out"] {
        config += &format!(
            r#"
[tenant.{upstream}]
credentials = [{{ user = "{upstream}", password_hash = "$SECRET" }}]
upstream = "{upstream}"
"#
        );
    }
    (Tollgate::start_in(folder, &config), certificate)
}

fn encode(compression: &str, body: &[u8]) -> Vec<u8> {
    match compression {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body).expect("compressing");
            encoder.finish().expect("compressing")
        }
        "zstd" => zstd::encode_all(body, 3).expect("compressing"),
        _ => body.to_vec(),
    }
}

/// A request of a signal, and how the Collector is to be asked about it.
struct Batch {
    signal: &'static str,
    json: String,
    protobuf: Vec<u8>,
    /// Compares what was written with what was sent.
    check: Box<dyn Fn(&str)>,
}

impl Batch {
    fn new<M>(signal: &'static str, sent: M) -> Self
    where
        M: Message + Default + PartialEq + Debug + serde::Serialize + DeserializeOwned + 'static,
    {
        let json = serde_json::to_string(&sent).expect("OTLP JSON");
        let protobuf = sent.encode_to_vec();
        let check = move |written: &str| {
            let written: M = serde_json::from_str(written).expect("the Collector writes OTLP JSON");
            assert_eq!(written, sent);
        };
        Self { signal, json, protobuf, check: Box::new(check) }
    }

    fn request(&self, encoding: &str, compression: &str) -> Request {
        let (body, media_type) = match encoding {
            "json" => (self.json.as_bytes(), "application/json"),
            _ => (self.protobuf.as_slice(), "application/x-protobuf"),
        };
        let request = Request::post(&format!("/v1/{}", self.signal), encode(compression, body));
        let request = request.header("Content-Type", media_type);
        if compression == "identity" { request } else { request.header("Content-Encoding", compression) }
    }
}

fn example<M: DeserializeOwned>(name: &str) -> M {
    let text = fs::read(repository(&format!("tests/examples/{name}.json"))).expect("an example");
    serde_json::from_slice(&text).expect("the example is OTLP JSON")
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// The examples, with what they lack of what OTLP has.
fn batches() -> Vec<Batch> {
    let mut logs: ExportLogsServiceRequest = example("logs");
    logs.resource_logs[0].schema_url = "https://opentelemetry.io/schemas/1.37.0".into();
    let records = &mut logs.resource_logs[0].scope_logs[0].log_records;
    records.extend((0..200_u64).map(|number| LogRecord {
        time_unix_nano: 1_795_262_462_000_000_000 + number,
        event_name: "cart.changed".into(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(format!("record {number}: Größe 42, \"ok\""))),
        }),
        attributes: vec![
            attribute("digest", Value::BytesValue(vec![0, 1, 0xfe, 0xff])),
            attribute("smallest", Value::IntValue(i64::MIN)),
        ],
        dropped_attributes_count: 3,
        ..Default::default()
    }));
    let traces: ExportTraceServiceRequest = example("traces");
    let mut metrics: ExportMetricsServiceRequest = example("metrics");
    let exponential = ExponentialHistogramDataPoint {
        time_unix_nano: 1_795_262_460_000_000_000,
        count: 7,
        sum: Some(12.5),
        // opentelemetry-proto would write `null` for none, which the Collector does not take.
        min: Some(0.25),
        max: Some(8.5),
        scale: 2,
        zero_count: 1,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 2, 3] }),
        negative: Some(Buckets::default()), // the Collector writes it whether it came or not
        exemplars: vec![Exemplar {
            time_unix_nano: 1_795_262_459_000_000_000,
            trace_id: vec![7; 16],
            span_id: vec![9; 8],
            value: Some(exemplar::Value::AsDouble(2.25)),
            ..Default::default()
        }],
        ..Default::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano: 1_795_262_460_000_000_000,
        count: 10,
        sum: 99.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 31.25 }],
        ..Default::default()
    };
    metrics.resource_metrics[0].scope_metrics[0].metrics.extend([
        Metric {
            name: "storefront.sizes".into(),
            data: Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: 2,
            })),
            ..Default::default()
        },
        Metric {
            name: "storefront.queue".into(),
            data: Some(Data::Summary(Summary { data_points: vec![summary] })),
            ..Default::default()
        },
    ]);
    vec![Batch::new("logs", logs), Batch::new("traces", traces), Batch::new("metrics", metrics)]
}

fn send(tollgate: &Tollgate, certificate: &Path, request: Request) -> Answer {
    Connection::over(tls(tollgate.address("door"), certificate)).send(&request)
}

#[test]
fn a_collector_gets_every_record_as_it_was_sent() {
    let Some(program) = peer("otelcol") else {
        has("otelcol", false);
        return;
    };
    let collector = Collector::start(&program);
    let (tollgate, certificate) = start(&collector);
    for tenant in ["plain", "tls", "tls-1", "none", "gzip", "zstd", "locked"] {
        for batch in batches() {
            for (encoding, compression) in [
                ("protobuf", "identity"),
                ("protobuf", "gzip"),
                ("protobuf", "zstd"),
                ("json", "identity"),
                ("json", "gzip"),
                ("json", "zstd"),
            ] {
                let what = format!("{} as {encoding}, {compression}, by {tenant}", batch.signal);
                let before = collector.written(batch.signal).len();
                let request = batch.request(encoding, compression).login(tenant, "secret");
                let answer = send(&tollgate, &certificate, request);
                assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                let line = eventually(&what, || collector.written(batch.signal).get(before).cloned());
                (batch.check)(&line);
                assert_eq!(collector.written(batch.signal).len(), before + 1, "{what}: once only");
            }
        }
    }
}

#[test]
fn what_a_collector_refuses_is_told_truthfully() {
    let Some(program) = peer("otelcol") else {
        has("otelcol", false);
        return;
    };
    let collector = Collector::start(&program);
    let (tollgate, certificate) = start(&collector);

    // resource_logs { scope_logs { log_records { time_unix_nano: a length that leads nowhere } } }:
    // right as deep as Tollgate looks, wrong below.
    let malformed = [0x0a, 7, 0x12, 5, 0x12, 3, 0x2a, 1, 0xff];
    let answer = send(&tollgate, &certificate, Request::post("/v1/logs", malformed).login("plain", "secret"));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(!answer.status_message().is_empty());
    assert_eq!(tollgate.access_line(&answer)["upstream_status"], 400, "the Collector said so");

    // Tollgate's own credentials are missing there: no fault of the sender's, so it may try again.
    let request = batches()[0].request("protobuf", "identity").login("locked-out", "secret");
    let answer = send(&tollgate, &certificate, request);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(tollgate.access_line(&answer)["upstream_status"], 401);
    tollgate.wait_for_line("upstream refuses us: its address, path, credentials or tenant are wrong");

    // Gone: the same.
    drop(collector);
    let request = batches()[0].request("json", "identity").login("plain", "secret");
    let answer = send(&tollgate, &certificate, request);
    assert!([502, 503].contains(&answer.status), "{}: {}", answer.status, answer.text());
    answer.status_message();
}
