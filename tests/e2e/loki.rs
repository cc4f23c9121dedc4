//! A real Loki behind Tollgate: what was sent is found in it, and the sender is answered in OTLP's words,
//! which Loki's own are not.

use crate::kit::{
    Answer, Connection, Folder, Request, Tollgate, compress, eventually, free_port, has,
    real::{Running, now_nanos, peer, url_encoded},
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

const TENANT: &str = "shop";

/// A Loki in one process, which wants to know of every request whose it is.
struct Loki {
    _process: Running,
    _folder: Folder,
    address: SocketAddr,
}

impl Loki {
    fn start() -> Option<Self> {
        let program = peer("loki");
        if !has("loki", program.is_some()) {
            return None;
        }
        let folder = Folder::create();
        let (port, grpc_port) = (free_port(), free_port());
        let at = folder.path().display();
        let config = format!(
            r#"
auth_enabled: true
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {port}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc_port}
  log_level: error
common:
  instance_addr: 127.0.0.1
  path_prefix: {at}
  replication_factor: 1
  ring: {{ kvstore: {{ store: inmemory }} }}
  storage: {{ filesystem: {{ chunks_directory: {at}/chunks, rules_directory: {at}/rules }} }}
schema_config:
  configs:
    - from: 2024-01-01
      store: tsdb
      object_store: filesystem
      schema: v13
      index: {{ prefix: index_, period: 24h }}
analytics: {{ reporting_enabled: false }}
"#
        );
        let path = folder.path().join("loki.yaml");
        fs::write(&path, config).expect("writing Loki's configuration");
        let mut command = Command::new(program?);
        command.arg(format!("-config.file={}", path.display())).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).spawn().expect("starting Loki");
        let loki = Self {
            _process: Running(child),
            _folder: folder,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        loki.wait_until_it_takes_logs();
        Some(loki)
    }

    /// It listens before its parts know each other, and says that it is ready long after.
    fn wait_until_it_takes_logs(&self) {
        let probe =
            Request::post("/otlp/v1/logs", batch("probe", &["is it there?"], now_nanos()).encode_to_vec())
                .header("X-Scope-OrgID", "probe");
        let answer = eventually("Loki takes logs", || {
            let answer = Connection::try_tcp(self.address).ok()?.try_send(&probe).ok()?;
            (answer.status / 100 == 2).then_some(answer)
        });
        assert_eq!(answer.status, 204, "what Loki says to its senders, and no sender of OTLP expects");
        assert_eq!(answer.header("content-type"), None);
    }

    /// The lines of a service, with their labels and structured metadata.
    fn lines(&self, service: &str) -> Vec<(String, Value)> {
        let query = url_encoded(&format!("{{service_name=\"{service}\"}}"));
        let request = Request::post(&format!("/loki/api/v1/query_range?query={query}"), "")
            .method("GET")
            .header("X-Scope-OrgID", TENANT);
        let answer = Connection::tcp(self.address).send(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said: Value = serde_json::from_slice(&answer.body).expect("Loki answers in JSON");
        let streams = said["data"]["result"].as_array().cloned().unwrap_or_default();
        let lines = streams.iter().flat_map(|stream| {
            let values = stream["values"].as_array().cloned().unwrap_or_default();
            let labels = stream["stream"].clone();
            values
                .into_iter()
                .map(move |value| (value[1].as_str().unwrap_or_default().to_owned(), labels.clone()))
        });
        lines.collect()
    }
}

/// Tollgate before Loki: a tenant whose `X-Scope-OrgID` is set, and one whose was forgotten.
fn start(loki: &Loki) -> Tollgate {
    Tollgate::start(&format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.{TENANT}]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "loki"
upstream_headers = {{ X-Scope-OrgID = "${{tenant}}" }}

[tenant.forgotten]
credentials = [{{ user = "forgotten", password_hash = "$SECRET" }}]
upstream = "loki"

[upstream.loki]
endpoint = "http://{}/otlp"
"#,
        loki.address
    ))
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
}

fn record(line: &str, time_nanos: u64) -> LogRecord {
    LogRecord {
        time_unix_nano: time_nanos,
        severity_text: "INFO".into(),
        severity_number: 9,
        body: Some(AnyValue { value: Some(Any::StringValue(line.into())) }),
        attributes: vec![attribute("url.path", "/cart")],
        ..Default::default()
    }
}

/// Records of a service, a nanosecond apart.
fn batch(service: &str, lines: &[&str], time_nanos: u64) -> ExportLogsServiceRequest {
    let records = (time_nanos..).zip(lines).map(|(time, line)| record(line, time));
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", service)],
                ..Default::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope { name: "storefront".into(), ..Default::default() }),
                log_records: records.collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn send(tollgate: &Tollgate, batch: &ExportLogsServiceRequest, encoding: &str, compression: &str) -> Answer {
    let (media_type, plain) = match encoding {
        // With a parameter, which Loki itself does not take.
        "json" => ("application/json; charset=utf-8", serde_json::to_vec(batch).expect("OTLP JSON")),
        _ => ("application/x-protobuf", batch.encode_to_vec()),
    };
    let request = Request::post("/v1/logs", compress(compression, &plain)).by_shop();
    let request = request.header("Content-Type", media_type);
    tollgate.send(&match compression {
        "identity" => request,
        other => request.header("Content-Encoding", other),
    })
}

#[test]
fn what_was_sent_is_found_in_loki() {
    let Some(loki) = Loki::start() else { return };
    let tollgate = start(&loki);
    for (encoding, media_type, success) in
        [("protobuf", "application/x-protobuf", ""), ("json", "application/json", "{}")]
    {
        for compression in ["identity", "gzip", "zstd"] {
            let service = format!("{encoding}-{compression}");
            let sent = ["added to the cart: Größe 42", "{\"checkout\": \"failed\"}"];
            let answer = send(&tollgate, &batch(&service, &sent, now_nanos()), encoding, compression);
            assert_eq!((answer.status, answer.text().as_str()), (200, success), "{service}");
            assert_eq!(answer.header("content-type"), Some(media_type), "{service}");
            assert_eq!(tollgate.access_line(&answer)["upstream_status"], 204, "{service}");

            let found = eventually(&service, || Some(loki.lines(&service)).filter(|found| found.len() >= 2));
            let mut lines: Vec<&str> = found.iter().map(|(line, _)| line.as_str()).collect();
            lines.sort_unstable();
            assert_eq!(lines, sent, "{service}");
            for (_, labels) in &found {
                assert_eq!(labels["url_path"], "/cart", "{service}: {labels}");
                assert_eq!(labels["severity_text"], "INFO", "{service}: {labels}");
                assert_eq!(labels["scope_name"], "storefront", "{service}: {labels}");
            }
        }
    }
}

#[test]
fn an_empty_batch_succeeds_although_loki_wants_a_stream() {
    let Some(loki) = Loki::start() else { return };
    let tollgate = start(&loki);
    let itself = Request::post("/otlp/v1/logs", "").header("X-Scope-OrgID", TENANT);
    assert_eq!(Connection::tcp(loki.address).send(&itself).status, 422);
    let nothing = ExportLogsServiceRequest::default();
    for encoding in ["protobuf", "json"] {
        assert_eq!(send(&tollgate, &nothing, encoding, "identity").status, 200, "{encoding}");
    }
}

#[test]
fn a_record_that_is_too_old_is_refused_in_lokis_words() {
    let Some(loki) = Loki::start() else { return };
    let tollgate = start(&loki);
    let day_nanos = 86_400_000_000_000;
    for encoding in ["protobuf", "json"] {
        let mut batch = batch(encoding, &["kept 1", "kept 2"], now_nanos());
        let records = &mut batch.resource_logs[0].scope_logs[0].log_records;
        records.push(record("too old", now_nanos() - 30 * day_nanos));
        let answer = send(&tollgate, &batch, encoding, "identity");
        assert_eq!(answer.status, 400, "final: it will not get younger");
        let (code, words, _) = answer.rpc_status();
        assert_eq!(code, 3, "INVALID_ARGUMENT");
        assert!(words.starts_with("the destination refused the batch: "), "{words}");
        assert!(words.contains("timestamp too old"), "{words}");
        // Loki keeps what was good in such a batch, which only its words tell.
        let found = eventually("the others", || Some(loki.lines(encoding)).filter(|found| found.len() >= 2));
        assert!(found.iter().all(|(line, _)| line.starts_with("kept")), "{found:?}");
    }
}

#[test]
fn a_batch_that_is_too_large_for_loki_is_final() {
    let Some(loki) = Loki::start() else { return };
    let tollgate = start(&loki);
    // Lines below Loki's limit of 256 KB for one, together above the 4 MiB that its parts take from each other.
    let line = "x".repeat(200_000);
    let answer = send(&tollgate, &batch("large", &[line.as_str(); 25], now_nanos()), "protobuf", "gzip");
    assert_eq!(answer.status, 413, "{}", answer.status_message());
    assert_eq!(answer.header("retry-after"), None);
    let line = tollgate.access_line(&answer);
    assert_eq!(line["upstream_status"], 503, "by which a sender would try again for ever: {line}");
}

#[test]
fn a_forgotten_tenant_header_is_the_operators_to_mend() {
    let Some(loki) = Loki::start() else { return };
    let tollgate = start(&loki);
    // What the sender claims to be changes nothing.
    let request =
        Request::post("/v1/logs", batch("forgotten", &["whose am I?"], now_nanos()).encode_to_vec())
            .login("forgotten", "secret")
            .header("X-Scope-OrgID", TENANT);
    let answer = tollgate.send(&request);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(tollgate.access_line(&answer)["upstream_status"], 401);
    tollgate.wait_for_line("upstream refuses us: its address, path, credentials or tenant are wrong");
    assert!(loki.lines("forgotten").is_empty());
}
