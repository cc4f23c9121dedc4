//! The OpenTelemetry SDK for Python, as an application uses it: its environment variables, its
//! batching, its idea of what to try again.

use crate::kit::{
    Behaviour, Folder, Seen, Tollgate, Upstream, basic, eventually, has,
    real::{repository, run, said},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use std::{
    fmt::Debug,
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, Output},
};

/// The interpreter that `tests/clients/python/install` set up.
fn python() -> Option<PathBuf> {
    let python = repository("target/clients/python/bin/python");
    has("target/clients/python (tests/clients/python/install)", python.exists()).then_some(python)
}

struct Setup {
    python: PathBuf,
    upstream: Upstream,
    tollgate: Tollgate,
    folder: Folder,
}

impl Setup {
    fn start() -> Option<Self> {
        let python = python()?;
        let upstream = Upstream::start(Behaviour::ok());
        let config = format!(
            r#"
[listener.door]
bind = "127.0.0.1:0"
tls = {{ self_signed = ["localhost"] }}

[listener.plain]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
            upstream.address()
        );
        Some(Self { python, upstream, tollgate: Tollgate::start(&config), folder: Folder::create() })
    }

    /// The certificate that a listener shows, as a file: whoever trusts it once can check it always.
    fn certificate(&self) -> PathBuf {
        let port = self.tollgate.address("door").port();
        let code = format!("import ssl; print(ssl.get_server_certificate(('localhost', {port})))");
        let output = run(Command::new(&self.python).arg("-c").arg(code));
        assert!(output.status.success(), "{}", said(&output));
        let path = self.folder.path().join("certificate.pem");
        fs::write(&path, output.stdout).expect("writing the certificate");
        path
    }

    fn send(&self, listener: &str, compression: &str, password: &str) -> Output {
        let port = self.tollgate.address(listener).port();
        let scheme = if listener == "door" { "https" } else { "http" };
        // As the specification wants it: `=` and blanks of a value percent-encoded.
        let credentials = basic("oxygen", password).replace(' ', "%20").replace('=', "%3D");
        run(Command::new(&self.python)
            .arg(repository("tests/clients/python/send.py"))
            .arg(self.folder.path())
            // Of requests, which the SDK uses: they would win over OTEL_EXPORTER_OTLP_CERTIFICATE.
            .env_remove("REQUESTS_CA_BUNDLE")
            .env_remove("CURL_CA_BUNDLE")
            .env("NO_PROXY", "localhost")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{scheme}://localhost:{port}"))
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("Authorization={credentials}"))
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", self.certificate()))
    }

    /// What the SDK says it sent of a signal, in order.
    fn recorded<M: Message + Default>(&self, signal: &str) -> Vec<M> {
        let path = |number| self.folder.path().join(format!("{signal}-{number}"));
        let files = (0..).map(path).map_while(|path| fs::read(path).ok());
        files.map(|bytes| M::decode(&bytes[..]).expect("the SDK encodes protobuf")).collect()
    }

    /// Each request that arrived is one that was sent, in order, record by record.
    fn compare<M: Message + Default + PartialEq + Debug>(&self, signal: &str, compression: &str) {
        let seen = self.upstream.seen();
        let of_signal = seen.iter().filter(|seen| seen.target == format!("/v1/{signal}"));
        let arrived: Vec<M> = of_signal
            .map(|seen| {
                assert_eq!(
                    seen.header("content-encoding").as_deref(),
                    (compression == "gzip").then_some("gzip"),
                    "bytes go on as they came"
                );
                M::decode(&plain(seen)[..]).expect("protobuf arrived")
            })
            .collect();
        let sent = self.recorded::<M>(signal);
        assert!(!sent.is_empty(), "{signal}");
        assert_eq!(arrived, sent, "{signal}");
    }
}

fn plain(seen: &Seen) -> Vec<u8> {
    if seen.header("content-encoding").is_none() {
        return seen.body.clone();
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&seen.body[..]).read_to_end(&mut plain).expect("gzip arrived");
    plain
}

#[test]
fn three_signals_arrive_record_by_record() {
    for (listener, compression) in [("door", "gzip"), ("door", "none"), ("plain", "gzip")] {
        let Some(setup) = Setup::start() else { return };
        let output = setup.send(listener, compression, "secret");
        assert!(output.status.success(), "{listener}, {compression}: {}", said(&output));
        setup.compare::<ExportLogsServiceRequest>("logs", compression);
        setup.compare::<ExportTraceServiceRequest>("traces", compression);
        setup.compare::<ExportMetricsServiceRequest>("metrics", compression);
        let logs: Vec<ExportLogsServiceRequest> = setup.recorded("logs");
        let records = logs.iter().flat_map(|request| &request.resource_logs[0].scope_logs[0].log_records);
        assert_eq!(records.count(), 20);
    }
}

#[test]
fn a_wrong_password_ends_it_without_a_storm() {
    let Some(setup) = Setup::start() else { return };
    let output = setup.send("door", "gzip", "wrong");
    assert!(!output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "FAILURE,FAILURE,FAILURE");
    assert!(String::from_utf8_lossy(&output.stderr).contains("401"), "it says why: {}", said(&output));
    assert_eq!(setup.upstream.seen().len(), 0);
    // One request for each signal, each told 401, which is final: none was sent a second time.
    let labels = [("result", "wrong_password")];
    assert_eq!(setup.tollgate.metric("tollgate_logins_total", &labels) as u64, 3);
    assert_eq!(setup.tollgate.lines("login failed").len(), 3);
}

#[test]
fn an_upstream_that_comes_back_gets_what_waited() {
    let Some(setup) = Setup::start() else { return };
    setup.upstream.behave(Behaviour::status(503));
    let back = std::thread::scope(|scope| {
        let sending = scope.spawn(|| setup.send("door", "gzip", "secret"));
        eventually("a first try", || (!setup.upstream.seen().is_empty()).then_some(()));
        setup.upstream.behave(Behaviour::ok());
        sending.join().expect("the sender")
    });
    assert!(back.status.success(), "{}", said(&back));
    let tries = setup.upstream.seen().iter().filter(|seen| seen.target == "/v1/traces").count();
    let sent: Vec<ExportTraceServiceRequest> = setup.recorded("traces");
    assert!(tries > sent.len(), "the SDK tried again after Tollgate's 503");
}
