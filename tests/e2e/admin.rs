//! Health and metrics of the running process, and that the metrics are those that are documented.

use crate::kit::{
    Behaviour, Connection, Folder, Request, Tollgate, Upstream, log_request,
    tls::{Authority, hello},
    with,
};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::TcpStream,
    time::{SystemTime, UNIX_EPOCH},
};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[listener.tls]
bind = "127.0.0.1:0"
tls = {{ self_signed = ["localhost"] }}

[listener.edge]
bind = "127.0.0.1:0"
tls = {{ certificate = "edge.pem", key = "edge.key" }}

[tenant.shop]
credentials = [
  {{ user = "oxygen", password_hash = "$SECRET" }},
  {{ name = "next", token_hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", expires = 2099-02-01T00:00:00Z }},
]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    )
}

fn start(upstream: &Upstream) -> Tollgate {
    let folder = Folder::create();
    let certificate = Authority::create().issue(&["edge.example.com"]);
    fs::write(folder.path().join("edge.pem"), &certificate.chain).expect("writing");
    fs::write(folder.path().join("edge.key"), &certificate.key).expect("writing");
    Tollgate::start_in(folder, &config(upstream))
}

fn request() -> Request {
    Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret")
}

#[test]
fn the_private_listener_shows_health_readiness_and_metrics() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = start(&upstream);
    for (path, status, text) in [
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ready"),
        ("/metrics", 200, "# TYPE tollgate_build_info gauge"),
        ("/", 200, "/metrics"),
        ("/v1/logs", 404, "/"),
    ] {
        let answer = tollgate.admin(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
        assert!(answer.header("content-type").is_some_and(|value| value.starts_with("text/plain")));
    }
    let answer = Connection::tcp(tollgate.admin_address()).send(&Request::post("/metrics", ""));
    assert_eq!(answer.status, 405);
    // And only there.
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(tollgate.send(&request().method("GET").without("Authorization")).status, 405);
        let mut asked = request().method("GET").without("Authorization");
        asked.target = path.to_owned();
        assert_eq!(tollgate.send(&asked).status, 404, "{path}");
    }
}

#[test]
fn what_expires_says_when() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = start(&upstream);
    let expiry = |name| {
        let labels = [("owner", "listener"), ("name", name)];
        tollgate.metric("tollgate_certificate_expiry_timestamp_seconds", &labels)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now is later").as_secs_f64();
    let days = (expiry("tls") - now) / 86_400.0;
    assert!((364.0..=365.0).contains(&days), "{days} days");
    assert_eq!(expiry("edge"), 67_090_118_400.0, "the first day of 4096, as it was issued");
    assert_eq!(expiry("door"), 0.0, "no certificate, no series");
    let of = |credential| {
        let labels = [("tenant", "shop"), ("credential", credential)];
        tollgate.metric("tollgate_credential_expiry_timestamp_seconds", &labels)
    };
    assert_eq!((of("next"), of("oxygen")), (4_073_587_200.0, 0.0));
    let name = format!("tollgate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(tollgate.metrics().get(&name), Some(&1.0));
    assert_eq!(tollgate.send(&request()).status, 200);
    let used = tollgate.metric("tollgate_credential_last_used_timestamp_seconds", &[("tenant", "shop")]);
    assert!((used - now).abs() < 600.0, "{used}, and it is {now}");
}

#[test]
fn a_requests_traces_are_in_the_metrics() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = start(&upstream);
    for _ in 0..3 {
        assert_eq!(tollgate.send(&request()).status, 200);
    }
    assert_eq!(tollgate.send(&request().login("oxygen", "wrong")).status, 401);
    upstream.behave(Behaviour::text(400, "no"));
    assert_eq!(tollgate.send(&request()).status, 400);
    upstream.behave(Behaviour::text(503, "later"));
    assert_eq!(tollgate.send(&request()).status, 503);
    let labels = |outcome| [("tenant", "shop"), ("signal", "logs"), ("outcome", outcome)];
    assert_eq!(tollgate.metric("tollgate_requests_total", &labels("delivered")), 3.0);
    assert_eq!(tollgate.metric("tollgate_requests_total", &labels("refused")), 1.0);
    assert_eq!(tollgate.metric("tollgate_requests_total", &labels("failed")), 1.0);
    let strangers = [("tenant", ""), ("outcome", "refused")];
    assert_eq!(tollgate.metric("tollgate_requests_total", &strangers), 1.0);
    let records = |state| {
        let labels = [("tenant", "shop"), ("signal", "logs"), ("state", state)];
        tollgate.metric("tollgate_records_total", &labels)
    };
    assert_eq!(["in", "delivered", "refused", "failed"].map(records), [5.0, 3.0, 1.0, 1.0]);
    let bytes = log_request("hello").len() as f64;
    assert_eq!(tollgate.metric("tollgate_request_bytes_total", &[("tenant", "shop")]), 5.0 * bytes);
    let outcome = |outcome| {
        tollgate
            .metric("tollgate_upstream_requests_total", &[("upstream", "collector"), ("outcome", outcome)])
    };
    assert_eq!(["delivered", "rejected", "busy"].map(outcome), [3.0, 1.0, 1.0]);
    assert_eq!(tollgate.metric("tollgate_refusals_total", &[("reason", "bad_credentials")]), 1.0);
    assert_eq!(tollgate.metric("tollgate_in_flight_requests", &[]), 0.0);
    assert_eq!(tollgate.metric("tollgate_in_flight_bytes", &[]), 0.0);
}

/// Name → type, as the table in the documentation has them.
fn documented() -> BTreeMap<String, String> {
    let text = include_str!("../../docs/metrics.md");
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().strip_suffix('`')?.to_owned();
            let kind = cells.next()?.trim().to_owned();
            matches!(kind.as_str(), "counter" | "gauge" | "histogram").then_some((name, kind))
        })
        .collect()
}

#[test]
fn the_metrics_are_exactly_those_that_are_documented() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(&config(&upstream), "upstream.collector", "encoding = \"protobuf\"")
        + "[listener.unix]\nbind = \"unix:$DIR/otlp.sock\"\ntrusted_proxies = [\"unix\"]\nanswer_within = \"85s\"\n"
        + "[tenant.waiting]\ncredentials = [{ user = \"waiting\", password_hash = \"$SECRET\" }]\n"
        + "upstream = \"collector\"\nplugins = [\"own\"]\n[plugin.own]\ncomponent = \"nowhere.wasm\"\n"
        + "[tenant.labelled]\ncredentials = [{ user = \"labelled\", password_hash = \"$SECRET\" }]\n"
        + "upstream = \"collector\"\nplugins = [\"parse\", \"short\"]\n"
        + "[plugin.parse]\ncomponent = \"builtin:relabel\"\nconfig.parse_json = true\n"
        + "[plugin.short]\ncomponent = \"builtin:relabel\"\non_failure = \"forward\"\n"
        + "config.set = { key = \"a value\" }\nlimits.edit_bytes = 1\n";
    let folder = Folder::create();
    let certificate = Authority::create().issue(&["edge.example.com"]);
    fs::write(folder.path().join("edge.pem"), &certificate.chain).expect("writing");
    fs::write(folder.path().join("edge.key"), &certificate.key).expect("writing");
    let tollgate = Tollgate::start_in(folder, &config);
    // Some of everything.
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(hello().sender(tollgate.address("tls")).send(&request()).status, 200);
    let odd = r#"{"resourceLogs":[{"scope_logs":[{"logRecords":[{}]}]}]}"#;
    assert_eq!(tollgate.send(&Request::json("/v1/logs", odd).by_shop()).status, 200);
    assert_eq!(tollgate.send(&request().login("oxygen", "wrong")).status, 401);
    assert_eq!(tollgate.send(&request().without("Authorization")).status, 401);
    let lost = Request::post("/v1/logs", "").login("oxygen", "secret").header("Content-Encoding", "gzip");
    let lost = lost.header("Cf-Ray", "8f00-AMS");
    assert_eq!(Connection::unix(&tollgate.folder().join("otlp.sock")).send(&lost).status, 400);
    let broken = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"{no JSON"}}]}]}]}"#;
    let broken = Request::json("/v1/logs", broken).login("labelled", "secret");
    assert_eq!(tollgate.send(&broken).status, 200);
    let mut stranger = TcpStream::connect(tollgate.address("tls")).expect("connecting");
    stranger.write_all(b"hello?\r\n").expect("writing");
    upstream.behave(Behaviour::Close);
    assert_eq!(tollgate.send(&request()).status, 502);
    assert!(tollgate.reload_files());

    let text = tollgate.admin("/metrics").text();
    let exposed: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(exposed, documented());
    // Each series belongs to one of them, and each of them has a series.
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    for name in exposed.keys() {
        assert!(series.iter().any(|line| line.starts_with(name.as_str())), "{name} has no series");
    }
    for line in series {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let bare =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(exposed.contains_key(name) || exposed.contains_key(bare), "{line}");
    }
}
