//! OTLP/gRPC: from senders that speak it, and to upstreams that do, in any combination with HTTP.

use crate::kit::{
    Answer, Behaviour, Folder, Request, Tollgate, Upstream, compress, eventually, grpc_frame,
    http2::{Http2, Http2Upstream, Reply},
    log_request, protobuf_fields,
    tls::Authority,
};
use std::net::SocketAddr;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A tenant that may send, one that may send 64 bytes, and one that may send once a second.
fn config(upstream: &str) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[listener.tunnel]
bind = "127.0.0.1:0"
trusted_proxies = ["127.0.0.0/8"]
client_ip_header = "CF-Connecting-IP"
empty_body = 503

[defaults.tenant]
upstream = "collector"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]

[tenant.small]
credentials = [{{ user = "small", password_hash = "$SECRET" }}]
limits = {{ body = 64 }}

[tenant.slow]
credentials = [{{ user = "slow", password_hash = "$SECRET" }}]
limits = {{ requests_per_second = 1 }}

[upstream.collector]
{upstream}
"#
    )
}

fn http_upstream() -> (Upstream, Tollgate, Http2) {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&format!("endpoint = \"http://{}\"", upstream.address())));
    let sender = Http2::plain(tollgate.address("door"));
    (upstream, tollgate, sender)
}

fn to_grpc(address: SocketAddr) -> String {
    format!("endpoint = \"http://{address}\"\nprotocol = \"grpc\"")
}

fn grpc_upstream() -> (Http2Upstream, Tollgate) {
    let upstream = Http2Upstream::start(None);
    upstream.reply(Reply::grpc(b""));
    let tollgate = Tollgate::start(&config(&to_grpc(upstream.address())));
    (upstream, tollgate)
}

fn call(message: &[u8]) -> Request {
    Request::grpc(LOGS, message).by_shop()
}

fn post() -> Request {
    Request::post("/v1/logs", log_request("hello")).by_shop()
}

#[test]
fn a_call_arrives_as_the_message_that_it_carries() {
    let (upstream, tollgate, sender) = http_upstream();
    for (path, target) in [(LOGS, "/v1/logs"), (TRACES, "/v1/traces"), (METRICS, "/v1/metrics")] {
        let message = log_request("hello"); // of each signal: resource, scope, record
        let request = Request::grpc(path, &message).by_shop().header("grpc-timeout", "10S");
        let answer = sender.send(&request.header("x-hop", "passed on"));
        assert_eq!((answer.status, answer.grpc_status()), (200, 0), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.body, grpc_frame(0, b""), "full success says nothing");
        assert_eq!(answer.header("content-length"), None);
        let seen = upstream.last();
        assert_eq!((seen.target.as_str(), &seen.body), (target, &message));
        assert_eq!(seen.header("content-type").as_deref(), Some("application/x-protobuf"));
        assert_eq!(seen.header("x-hop").as_deref(), Some("passed on"));
        assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("grpc-") && name != "te"), "{seen:?}");
        let line = tollgate.access_line(&answer);
        assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &0.into()), "{line}");
        assert_eq!((&line["outcome"], &line["records"]), (&"delivered".into(), &1.into()), "{line}");
    }
}

#[test]
fn a_message_is_compressed_as_it_says_itself() {
    let (upstream, _tollgate, sender) = http_upstream();
    let message = log_request(&"hello ".repeat(100));
    for name in ["gzip", "zstd", "deflate"] {
        let compressed = compress(name, &message);
        let mut request = call(b"").header("grpc-encoding", name);
        request.body = grpc_frame(1, &compressed);
        assert_eq!(sender.send(&request).grpc_status(), 0, "{name}");
        let seen = upstream.last();
        assert_eq!(seen.header("content-encoding").as_deref(), Some(name));
        assert!(seen.body == compressed, "{name}: nothing is compressed twice");

        // Named, but not used for this message.
        let answer = sender.send(&call(&message).header("grpc-encoding", name));
        assert_eq!(answer.grpc_status(), 0, "{name}: {answer:?}");
        let seen = upstream.last();
        assert_eq!((seen.header("content-encoding"), seen.body == message), (None, true), "{name}");
    }
}

#[test]
fn a_refusal_says_by_its_code_whether_to_try_again() {
    let (upstream, tollgate, sender) = http_upstream();
    let good = log_request("hello");
    let broken = |flag, message: &[u8]| {
        let mut request = call(b"");
        request.body = grpc_frame(flag, message);
        request
    };
    let mut two = call(&good);
    two.body.extend(grpc_frame(0, &good));
    let mut cut = call(&good);
    cut.body.truncate(7);
    let mut no_frame = call(&good);
    no_frame.body.clear();
    let unknown = "/opentelemetry.proto.collector.logs.v1.LogsService/Import";
    for (request, code, words) in [
        (Request::grpc(LOGS, &good), 16, "credentials are missing"),
        (call(&good).login("oxygen", "wrong"), 16, "not valid"),
        (Request::grpc(unknown, &good).by_shop(), 12, "Export"),
        (Request::grpc("/v1/logs", &good).by_shop(), 12, "Export"),
        (call(&good).header("grpc-encoding", "snappy"), 12, "snappy"),
        (call(&good).header("grpc-timeout", "soon"), 3, "grpc-timeout"),
        (call(&[7; 100]).login("small", "secret"), 8, "larger than 64 bytes"),
        (call(b"\x0a\x7f"), 3, "no protobuf message"),
        (broken(1, &good), 3, "compressed"),
        (broken(9, &good), 3, "flag"),
        (two, 3, "more than one"),
        (cut, 3, "shorter"),
        (no_frame, 3, "less than 5 bytes"),
    ] {
        let answer = sender.send(&request);
        assert_eq!((answer.status, answer.grpc_status()), (200, code), "{words}: {answer:?}");
        assert!(answer.grpc_message().contains(words), "{words}: {answer:?}");
        assert!(answer.body.is_empty(), "{words}: {answer:?}");
        assert!(!has_retry_info(&answer), "{words}: {answer:?}");
        assert_eq!(tollgate.access_line(&answer)["grpc_status"], code, "{words}");
    }
    assert!(upstream.seen().is_empty());
    let slow = Request::grpc(LOGS, &good).login("slow", "secret");
    let limited = eventually("the limit is reached", || {
        Some(sender.send(&slow)).filter(|answer| answer.grpc_status() != 0)
    });
    assert_eq!(limited.grpc_status(), 8, "{limited:?}");
    assert!(
        limited.grpc_message().contains("requests_per_second") && has_retry_info(&limited),
        "{limited:?}"
    );
    let unknown = sender.send(&call(&good).header("grpc-encoding", "snappy"));
    assert_eq!(unknown.header("grpc-accept-encoding"), Some("gzip, zstd, deflate"));
    // The status that says the same over HTTP, for those who read the log.
    let answer = sender.send(&Request::grpc(LOGS, &good));
    assert_eq!(tollgate.access_line(&answer)["status"], 401);
}

fn has_retry_info(answer: &Answer) -> bool {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    let details = answer.header("grpc-status-details-bin").expect("details");
    let details = STANDARD_NO_PAD.decode(details).expect("base64 without padding");
    String::from_utf8_lossy(&details).contains("type.googleapis.com/google.rpc.RetryInfo")
}

#[test]
fn what_an_http_upstream_says_reaches_a_grpc_sender() {
    let (upstream, _tollgate, sender) = http_upstream();
    let text = |status, words| Behaviour::text(status, words);
    let busy = Behaviour::Answer(429, vec![("Retry-After", "7".into())], b"slow down".to_vec());
    for (behaviour, code, words) in [
        (text(400, "bad timestamp"), 3, "bad timestamp"),
        (text(401, "who"), 14, "operator"),
        (text(413, ""), 8, "smaller batches"),
        (busy, 8, "slow down"),
        (text(500, "boom"), 13, "boom"),
        (text(503, "later"), 14, "later"),
        (text(504, ""), 4, ""),
        (Behaviour::Close, 14, "did not answer"),
    ] {
        upstream.behave(behaviour);
        let answer = sender.send(&call(&log_request("hello")));
        assert_eq!(answer.grpc_status(), code, "{words}: {answer:?}");
        assert!(answer.grpc_message().contains(words), "{words}: {answer:?}");
    }
    // partial_success { rejected: 3, error_message: "too old" }
    let partial = b"\x0a\x0b\x08\x03\x12\x07too old";
    let headers = vec![("Content-Type", "application/x-protobuf".to_owned())];
    upstream.behave(Behaviour::Answer(200, headers, partial.to_vec()));
    let answer = sender.send(&call(&log_request("hello")));
    assert_eq!((answer.grpc_status(), answer.body), (0, grpc_frame(0, partial)));
}

#[test]
fn a_senders_deadline_ends_the_call_and_is_passed_on() {
    let (upstream, tollgate) = grpc_upstream();
    let sender = Http2::plain(tollgate.address("door"));
    assert_eq!(sender.send(&call(&log_request("hello")).header("grpc-timeout", "20S")).grpc_status(), 0);
    let passed = upstream.seen()[0].header("grpc-timeout").expect("a deadline");
    let millis: u64 = passed.strip_suffix('m').and_then(|millis| millis.parse().ok()).expect("milliseconds");
    assert!((1..=20_000).contains(&millis), "{passed}");

    upstream.reply(Reply { hangs: true, ..Reply::default() });
    let answer = sender.send(&call(&log_request("hello")).header("grpc-timeout", "300m"));
    assert_eq!(answer.grpc_status(), 4, "{answer:?}");
    for over in ["0n", "0S", "1n"] {
        let answer = sender.send(&call(&log_request("hello")).header("grpc-timeout", over));
        assert_eq!(answer.grpc_status(), 4, "{answer:?}");
    }
    assert_eq!(upstream.seen().len(), 2, "what is late is not sent on");
}

#[test]
fn health_is_told_to_anybody() {
    let (_upstream, _tollgate, sender) = http_upstream();
    let answer = sender.send(&Request::grpc(HEALTH, b""));
    assert_eq!((answer.grpc_status(), answer.body), (0, grpc_frame(0, b"\x08\x01")));
    let service = b"opentelemetry.proto.collector.logs.v1.LogsService";
    let named = |name: &[u8]| [&[0x0a, name.len() as u8], name].concat();
    let answer = sender.send(&Request::grpc(HEALTH, &named(service)));
    assert_eq!((answer.grpc_status(), answer.body), (0, grpc_frame(0, b"\x08\x01")));
    assert_eq!(sender.send(&Request::grpc(HEALTH, &named(b"another"))).grpc_status(), 5);
    assert_eq!(sender.send(&Request::grpc(HEALTH, &[0; 1000])).grpc_status(), 8);
    // Watch would be a stream: those who ask for it take UNIMPLEMENTED for "healthy".
    assert_eq!(sender.send(&Request::grpc("/grpc.health.v1.Health/Watch", b"")).grpc_status(), 12);
}

#[test]
fn a_call_that_a_tunnel_emptied_is_answered_as_configured() {
    let (upstream, tollgate, _) = http_upstream();
    let tunnel = Http2::plain(tollgate.address("tunnel"));
    let mut lost =
        call(b"").header("CF-Ray", "8f2c1e0b7d4a9c33-FRA").header("CF-Connecting-IP", "203.0.113.7");
    lost.body.clear();
    let answer = tunnel.send(&lost);
    assert_eq!(answer.grpc_status(), 14, "{answer:?}");
    assert!(answer.grpc_message().contains("--protocol http2") && has_retry_info(&answer), "{answer:?}");
    assert_eq!(tollgate.metric("tollgate_body_lost_total", &[("tenant", "shop")]), 1.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn grpc_over_http1_is_told_what_it_lacks() {
    let (upstream, tollgate, _) = http_upstream();
    // As cloudflared brings it: its answer reaches the sender with these headers.
    let answer = tollgate.send(&call(&log_request("hello")));
    assert_eq!((answer.status, answer.grpc_status()), (200, 12));
    assert!(answer.grpc_message().contains("http/protobuf"), "{answer:?}");
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_grpc_upstream_gets_calls_from_any_sender() {
    let (upstream, tollgate) = grpc_upstream();
    let message = log_request("hello");
    let answer = tollgate.send(&post().header("x-hop", "passed on").header("grpc-evil", "1"));
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    let seen = upstream.seen().remove(0);
    assert_eq!((seen.target.as_str(), &seen.body), (LOGS, &grpc_frame(0, &message)));
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers"), ("x-hop", "passed on")] {
        assert_eq!(seen.header(name).as_deref(), Some(value), "{seen:?}");
    }
    assert_eq!((seen.header("grpc-encoding"), seen.header("grpc-evil")), (None, None));
    assert_eq!(seen.header("x-request-id").as_deref(), answer.header("x-request-id"));
    let line = tollgate.access_line(&answer);
    assert_eq!((&line["upstream_grpc_status"], line.get("upstream_status")), (&0.into(), None), "{line}");

    for (came, leaves) in [("gzip", "gzip"), ("zstd", "zstd"), ("deflate", "gzip")] {
        let mut compressed = post().header("Content-Encoding", came);
        compressed.body = compress(came, &message);
        assert_eq!(tollgate.send(&compressed).status, 200);
        let seen = upstream.seen().pop().expect("a call");
        assert_eq!(seen.header("grpc-encoding").as_deref(), Some(leaves));
        assert_eq!(seen.header("content-encoding"), None);
        assert_eq!(seen.body[0], 1, "compressed");
        if came == leaves {
            assert!(seen.body == grpc_frame(1, &compressed.body), "{came}: nothing is compressed twice");
        }
    }
}

#[test]
fn what_a_grpc_upstream_says_reaches_an_http_sender() {
    let (upstream, tollgate) = grpc_upstream();
    // google.rpc.Status { details: [RetryInfo { retry_delay { seconds: 7 } }] }
    let retry_info = "GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAc";
    let retry = |code| Reply::grpc_status(code, "full").and("grpc-status-details-bin", retry_info);
    let too_large = "grpc: received message larger than max (5 vs. 4)";
    let http = |status| Reply { status: Some(status), ..Reply::default() };
    for (reply, status, words, retry_after) in [
        (Reply::grpc_status(1, "cancelled"), 503, "cancelled", Some("5")),
        (Reply::grpc_status(2, "what"), 500, "what", None),
        (Reply::grpc_status(3, "bad 100%25 %C3%BC"), 400, "bad 100% ü", None),
        (Reply::grpc_status(4, "late"), 504, "late", Some("5")),
        (Reply::grpc_status(5, "no"), 503, "operator", Some("5")),
        (Reply::grpc_status(7, "no"), 503, "operator", Some("5")),
        (Reply::grpc_status(8, too_large), 413, "smaller batches", None),
        (Reply::grpc_status(8, "quota"), 400, "quota", None),
        (retry(8), 429, "full", Some("7")),
        (Reply::grpc_status(9, "not now, not ever"), 400, "not ever", None),
        (Reply::grpc_status(10, "aborted"), 503, "aborted", Some("5")),
        (Reply::grpc_status(11, "range"), 503, "range", Some("5")),
        (Reply::grpc_status(12, "unknown service"), 503, "operator", Some("5")),
        (Reply::grpc_status(13, "boom"), 500, "boom", None),
        (Reply::grpc_status(14, "later"), 503, "later", Some("5")),
        (retry(14), 503, "full", Some("7")),
        (Reply::grpc_status(14, "no org id"), 503, "operator", Some("5")),
        (Reply::grpc_status(15, "lost"), 503, "lost", Some("5")),
        (Reply::grpc_status(42, "new"), 500, "new", None),
        (Reply::grpc_status(16, "who"), 503, "operator", Some("5")),
        // Not from a gRPC server.
        (http(200), 502, "did not answer properly", Some("5")),
        (http(404), 503, "operator", Some("5")),
        (http(502), 502, "busy", Some("5")),
    ] {
        upstream.reply(reply);
        let answer = tollgate.send(&post());
        assert_eq!(answer.status, status, "{words}: {answer:?}");
        assert!(answer.status_message().contains(words), "{words}: {}", answer.status_message());
        assert_eq!(answer.header("retry-after"), retry_after, "{words}");
    }
    // Taken, whatever else it says or does not.
    let long = Reply { body: vec![7; 300 << 10], ..Reply::grpc(b"") };
    for taken in [Reply::grpc_status(0, ""), Reply { body: b"no frame".to_vec(), ..Reply::grpc(b"") }, long] {
        upstream.reply(taken);
        assert_eq!(tollgate.send(&post()).status, 200);
    }
    upstream.reply(Reply::grpc(b"\x0a\x0b\x08\x03\x12\x07too old"));
    let answer = tollgate.send(&post());
    assert_eq!(answer.status, 200);
    assert_eq!(protobuf_fields(&answer.body).len(), 1, "partial_success");
}

#[test]
fn an_answer_that_is_compressed_as_the_call_was_is_read() {
    let (upstream, tollgate) = grpc_upstream();
    let partial = b"\x0a\x0b\x08\x03\x12\x07too old";
    for name in ["gzip", "zstd"] {
        let body = grpc_frame(1, &compress(name, partial));
        upstream.reply(Reply { body, ..Reply::grpc(b"").and("grpc-encoding", name) });
        let answer = tollgate.send(&post());
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(answer.body, partial, "{name}");
    }
}

#[test]
fn a_grpc_upstream_gets_many_calls_on_a_connection_and_is_found_again() {
    let upstream = Http2Upstream::start(None);
    upstream.reply(Reply::grpc(b""));
    let address = upstream.address();
    let tollgate = Tollgate::start(&config(&to_grpc(address)));
    let sender = Http2::plain(tollgate.address("door"));
    let calls: Vec<_> = (0..40).map(|_| call(&log_request("hello"))).collect();
    for answer in sender.send_all(&calls) {
        assert_eq!(answer.grpc_status(), 0, "{answer:?}");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(upstream.connections() <= threads, "{}", upstream.connections());

    drop(upstream);
    let failures = || {
        let labels = [("upstream", "collector"), ("result", "failure")];
        tollgate.metric("tollgate_upstream_connects_total", &labels)
    };
    let refused = eventually("the upstream is gone", || {
        let answer = sender.send(&calls[0]);
        (answer.grpc_status() == 14 && failures() > 0.0).then_some(answer)
    });
    assert!(refused.grpc_message().contains("cannot be reached"), "{refused:?}");
    // Not each of them tries to connect.
    for answer in sender.send_all(&calls) {
        assert_eq!(answer.grpc_status(), 14, "{answer:?}");
    }
    assert!(failures() < 20.0, "{}", failures());

    let upstream = Http2Upstream::start_at(address, None);
    upstream.reply(Reply::grpc(b""));
    eventually("the upstream is found again", || (sender.send(&calls[0]).grpc_status() == 0).then_some(()));
}

#[test]
fn a_grpc_upstream_over_tls_shows_and_is_shown_certificates() {
    let authority = Authority::create();
    let server = authority.server(&["collector.internal"], &["h2"], Some(&authority));
    let upstream = Http2Upstream::start(Some(server));
    upstream.reply(Reply::grpc(b""));
    let folder = Folder::create();
    let client = authority.issue(&["tollgate"]);
    for (name, pem) in
        [("ca.pem", authority.pem()), ("client.pem", &client.chain), ("client.key", &client.key)]
    {
        std::fs::write(folder.path().join(name), pem).expect("writing");
    }
    let port = upstream.address().port();
    let table = format!(
        "endpoint = \"https://127.0.0.1:{port}\"\nprotocol = \"grpc\"\nca = \"ca.pem\"\n\
         server_name = \"collector.internal\"\ncertificate = \"client.pem\"\nkey = \"client.key\""
    );
    let tollgate = Tollgate::start_in(folder, &config(&table));
    let answer = tollgate.send(&post());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.seen()[0].header(":scheme").as_deref(), Some("https"));
}
