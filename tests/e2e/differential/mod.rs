//! A corpus of requests, good, odd and bad, sent to an OpenTelemetry Collector and to Tollgate, each
//! before a sink of its own: what is answered and what arrives is the same, or the corpus says why not.

mod corpus;
mod page;
mod said;
mod wire;

use crate::kit::{
    Answer, Behaviour, Connection, Folder, Request, Tollgate, Upstream, free_port, has,
    http2::Http2,
    real::{Running, peer, wait_for_port},
};
use corpus::{Case, Form};
use said::Said;
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

/// A body that either side takes at most.
const LIMIT_MIB: usize = 1;

/// A server of OTLP, and what it hands on.
struct Door {
    http: SocketAddr,
    grpc: SocketAddr,
    sink: Upstream,
    /// Whether it is Tollgate, which lets JSON leave as JSON but for the tenant `translated`.
    keeps_json: bool,
}

impl Door {
    fn ask(&self, case: &Case) -> Said {
        self.sink.behave(case.sink.behaviour(self.keeps_json && case.form == Form::Json));
        let before = self.sink.seen().len();
        let answer = match case.form {
            Form::Grpc => self.ask_grpc(case),
            Form::Translated if self.keeps_json => {
                self.ask_http(&case.request.clone().login("translated", "secret"))
            }
            Form::Json | Form::Protobuf | Form::Translated => self.ask_http(&case.request),
        };
        Said::new(case, &answer, &self.sink.seen()[before..])
    }

    fn ask_http(&self, request: &Request) -> Result<Answer, String> {
        Connection::tcp(self.http).try_send(request).map_err(|_| "no answer".to_owned())
    }

    fn ask_grpc(&self, case: &Case) -> Result<Answer, String> {
        Http2::plain(self.grpc).try_send(&case.request).map_err(|error| {
            let reset = error.split_once("Reset(").and_then(|(_, rest)| rest.split(", ").nth(1));
            reset.map_or(error.clone(), |code| format!("stream reset, {code}"))
        })
    }
}

/// The Collector: with the same credentials and limits as Tollgate, and nothing between request and sink.
fn collector(program: &Path) -> (Running, Folder, Door) {
    let folder = Folder::create();
    let sink = Upstream::start(Behaviour::ok());
    let (http, grpc) = (free_port(), free_port());
    let config = format!(
        r#"
extensions:
  basicauth: {{ htpasswd: {{ inline: "oxygen:secret" }} }}
receivers:
  otlp:
    protocols:
      http:
        endpoint: "127.0.0.1:{http}"
        max_request_body_size: {}
        cors: {{ allowed_origins: ["https://shop.example"], allowed_headers: ["*"] }}
        auth: {{ authenticator: basicauth }}
      grpc:
        endpoint: "127.0.0.1:{grpc}"
        max_recv_msg_size_mib: {LIMIT_MIB}
        auth: {{ authenticator: basicauth }}
exporters:
  otlp_http:
    endpoint: "http://{}"
    compression: none
    sending_queue: {{ enabled: false }}
    retry_on_failure: {{ enabled: false }}
service:
  extensions: [basicauth]
  telemetry: {{ metrics: {{ level: none }}, logs: {{ level: fatal }} }}
  pipelines:
    logs: {{ receivers: [otlp], exporters: [otlp_http] }}
    traces: {{ receivers: [otlp], exporters: [otlp_http] }}
    metrics: {{ receivers: [otlp], exporters: [otlp_http] }}
"#,
        LIMIT_MIB << 20,
        sink.address()
    );
    let path = folder.path().join("collector.yaml");
    fs::write(&path, config).expect("writing the Collector's configuration");
    let child = Command::new(program).arg("--config").arg(path).stdin(Stdio::null()).spawn();
    let mut process = Running(child.expect("starting the Collector"));
    wait_for_port(http, &mut process);
    wait_for_port(grpc, &mut process);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    (process, folder, Door { http: address(http), grpc: address(grpc), sink, keeps_json: false })
}

/// Tollgate before a sink of its own, as it is and for protobuf; and, for another tenant, before the Collector.
fn tollgate(collector: SocketAddr) -> (Tollgate, Door) {
    let sink = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"
cors = {{ origins = ["https://shop.example"] }}

[auth.failures]
events = 255
address_events = 255

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "sink"
limits = {{ body = "{LIMIT_MIB}MiB", decompressed = "{LIMIT_MIB}MiB", requests_per_second = 10000, bytes_per_second = "1GiB" }}

[tenant.translated]
credentials = [{{ user = "translated", password_hash = "$SECRET" }}]
upstream = "protobuf"

[tenant.relayed]
credentials = [{{ user = "relayed", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.sink]
endpoint = "http://{sink}"

[upstream.protobuf]
endpoint = "http://{sink}"
encoding = "protobuf"

[upstream.collector]
endpoint = "http://{collector}"
headers = {{ Authorization = "Basic b3h5Z2VuOnNlY3JldA==" }}
"#,
        sink = sink.address()
    ));
    let address = tollgate.address("door");
    (tollgate, Door { http: address, grpc: address, sink, keeps_json: true })
}

#[test]
fn a_collector_and_tollgate_say_the_same_or_it_is_said_why_not() {
    let Some(program) = peer("otelcol") else {
        has("otelcol", false);
        return;
    };
    let (mut process, _folder, collector) = collector(&program);
    let (_tollgate, tollgate) = tollgate(collector.http);
    let only = std::env::var("TOLLGATE_TEST_CASE").unwrap_or_default();
    let (mut differences, mut faults) = (Vec::new(), Vec::new());
    let cases = corpus::read();
    assert!(cases.iter().any(|case| case.name.contains(&only)), "no case has {only:?} in its name");
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        let (theirs, ours) = (collector.ask(case), tollgate.ask(case));
        // What Tollgate hands on and the Collector refuses: what does the sender learn with both in line?
        let is_handed_on = ours.is_delivered() && case.form != Form::Translated;
        let in_line = (is_handed_on && !theirs.answer.contains("success")).then(|| {
            let case = Case { request: case.request.clone().login("relayed", "secret"), ..case.clone() };
            tollgate.ask(&case).answer
        });
        let mut fault = |what: &str| {
            let (their_line, our_line) = (theirs.line(&ours), ours.line(&theirs));
            faults.push(format!(
                "{}: {what}\n  the Collector: {their_line}\n    {}\n  Tollgate: {our_line}\n    {}\n  in line: {in_line:?}",
                case.name, theirs.words, ours.words
            ));
        };
        if ours.is_mute() {
            fault("Tollgate does not say what is wrong");
        }
        match (theirs.is_like(&ours), &case.differs) {
            (true, None) => {}
            (true, Some(_)) => fault("no difference any more"),
            (false, None) => fault("a difference without a reason"),
            (false, Some(reason)) => differences.push(page::Difference {
                topic: &case.topic,
                name: &case.name,
                reason,
                collector: theirs.line(&ours),
                tollgate: ours.line(&theirs),
                in_line,
            }),
        }
    }
    assert!(process.0.try_wait().expect("asking for its end").is_none(), "the Collector has ended");
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
    if only.is_empty() {
        assert!(cases.len() >= 200, "{} cases", cases.len());
        page::compare(cases.len(), &differences);
    }
}
