//! What upstreams answer, and what the sender is told: each line of the table "What the upstreams
//! answer". And how upstreams are reached: connections, names, TLS, HTTP/2, compression.

use crate::kit::{
    Behaviour, Connection, Folder, Request, Tollgate, Upstream, eventually, free_address,
    http2::Http2Upstream,
    log_request,
    scripted::{Peer, Scripted},
    tls::Authority,
};
use std::{
    io::{self, Read, Write},
    net::TcpListener,
    sync::Barrier,
    time::{Duration, Instant, SystemTime},
};

/// A listener and a tenant in front of an upstream whose table is `upstream`. One thread, because each
/// has connections to the upstream of its own.
fn config(upstream: &str) -> String {
    format!(
        r#"
workers = 1

[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"
limits = {{ body = "16MiB", requests_per_second = 10000, bytes_per_second = "1GiB" }}

[upstream.collector]
{upstream}
"#
    )
}

fn door(upstream: &str) -> Tollgate {
    Tollgate::start(&config(upstream))
}

fn door_to(address: std::net::SocketAddr) -> Tollgate {
    door(&format!("endpoint = \"http://{address}\""))
}

fn request() -> Request {
    Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret")
}

fn json_request() -> Request {
    Request::json(
        "/v1/logs",
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#,
    )
    .login("oxygen", "secret")
}

/// A batch of about this many bytes.
fn large_request(bytes: usize) -> Request {
    Request::post("/v1/logs", log_request(&"x".repeat(bytes))).login("oxygen", "secret")
}

/// A line of the table: what the upstream does, the sender's status, whether it is told to come back,
/// and words of the message.
fn table() -> Vec<(Behaviour, u16, bool, &'static str)> {
    let text = Behaviour::text;
    let busy = |status| (text(status, "overloaded"), status, true, "the destination is busy: overloaded");
    let ours = "the destination refuses this proxy; its operator has to mend that";
    let larger = "rpc error: code = ResourceExhausted desc = trying to send message larger than max (4210776 vs. 4194304)";
    let mut lines = vec![
        (text(400, "wrong wireType"), 400, false, "the destination refused the batch: wrong wireType"),
        (text(422, "at least one valid stream"), 400, false, "at least one valid stream"),
        (text(413, "Payload Too Large"), 413, false, "takes no batch of this size"),
        (text(400, "http: request body too large"), 413, false, "takes no batch of this size"),
        (text(503, larger), 413, false, "takes no batch of this size"),
        busy(429),
        busy(502),
        busy(503),
        busy(504),
        (text(503, "no org id"), 503, true, ours),
        (text(500, "delta"), 500, false, "the destination failed: delta"),
        (text(501, "never"), 500, false, "the destination failed: never"),
    ];
    lines.extend(
        [301, 302, 307, 308, 401, 402, 403, 404, 405, 406, 409, 410, 415, 418, 451]
            .map(|status| (text(status, "go away"), 503, true, ours)),
    );
    lines.extend(
        [408, 505, 507, 511, 520, 599]
            .map(|status| (text(status, "odd"), 502, true, "the destination did not answer properly")),
    );
    let broken = [Behaviour::Reset, Behaviour::Garbage, Behaviour::HalfAnswer, Behaviour::Close];
    lines.extend(broken.map(|behaviour| (behaviour, 502, true, "the destination did not answer properly")));
    lines
}

#[test]
fn each_answer_of_an_upstream_becomes_the_answer_that_the_sender_needs() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    for (line, (behaviour, status, comes_back, words)) in table().into_iter().enumerate() {
        upstream.behave(behaviour);
        for request in [request(), json_request()] {
            let content_type = request.headers.iter().find(|(name, _)| name == "Content-Type").expect("one");
            let answer = tollgate.send(&request);
            assert_eq!(answer.status, status, "line {line}: {words}");
            assert_eq!(answer.header("content-type"), Some(content_type.1.as_str()), "line {line}: {words}");
            assert!(answer.status_message().contains(words), "line {line}: {}", answer.status_message());
            assert_eq!(answer.header("retry-after").is_some(), comes_back, "line {line}: {words}");
            assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"), "the answer is Tollgate's own");
            assert_eq!(answer.header("location"), None);
        }
    }
}

#[test]
fn whatever_success_an_upstream_says_the_sender_gets_otlps_own() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    let content_type = |value: &str| vec![("Content-Type", value.to_owned())];
    let successes = [
        Behaviour::Answer(204, vec![], vec![]), // Loki
        Behaviour::Answer(200, vec![], vec![]), // Prometheus
        Behaviour::Answer(200, content_type("application/x-protobuf"), vec![0x0a, 0]), // Tempo, to protobuf
        Behaviour::Answer(202, content_type("text/html"), b"<p>thanks".to_vec()),
        Behaviour::Answer(206, content_type("application/json"), b"{".to_vec()),
    ];
    for (i, behaviour) in successes.into_iter().enumerate() {
        upstream.behave(behaviour);
        let answer = tollgate.send(&request());
        assert_eq!((answer.status, answer.body.len()), (200, 0), "success {i}");
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
        let answer = tollgate.send(&json_request());
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "success {i}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn a_partial_success_comes_through_in_the_senders_encoding() {
    // partial_success { rejected: 3, error_message: "old" }
    let protobuf = vec![0x0a, 7, 0x08, 3, 0x12, 3, b'o', b'l', b'd'];
    let content_type = |value: &str| vec![("Content-Type", value.to_owned())];
    let upstream =
        Upstream::start(Behaviour::Answer(200, content_type("application/x-protobuf"), protobuf.clone()));
    let tollgate = door_to(upstream.address());
    let answer = tollgate.send(&request());
    assert_eq!((answer.status, answer.body), (200, protobuf));
    let json = r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"old"}}"#;
    upstream.behave(Behaviour::Answer(200, content_type("application/json"), json.into()));
    let answer = tollgate.send(&json_request());
    let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(told, serde_json::from_str::<serde_json::Value>(json).expect("JSON"));
    // In what the upstream says that it writes, whatever it was asked in.
    let protobuf = vec![0x0a, 7, 0x08, 3, 0x12, 3, b'o', b'l', b'd'];
    upstream.behave(Behaviour::Answer(200, content_type("application/x-protobuf"), protobuf));
    let told: serde_json::Value = serde_json::from_slice(&tollgate.send(&json_request()).body).expect("JSON");
    assert_eq!(told, serde_json::from_str::<serde_json::Value>(json).expect("JSON"));
    upstream.behave(Behaviour::Answer(
        200,
        content_type("application/json"),
        b"{\"partialSuccess\":{}}".into(),
    ));
    assert_eq!(tollgate.send(&json_request()).text(), "{}", "an empty partial success is full success");
}

#[test]
fn an_upstreams_words_come_through_whatever_they_are_written_in() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    let mut without_code = vec![0x12, 14];
    without_code.extend_from_slice(b"entry too old!");
    let mut with_code = vec![0x08, 3, 0x12, 14];
    with_code.extend_from_slice(b"entry too old!");
    let bodies: [(&str, Vec<u8>); 6] = [
        ("application/x-protobuf", with_code),
        ("application/octet-stream", without_code), // Loki
        ("text/plain; charset=utf-8", b"entry too old!\n".to_vec()),
        ("application/json", br#"{"code":3,"message":"entry too old!","details":[]}"#.to_vec()),
        ("application/json; charset=utf-8", br#"{"message":"entry too old!"}"#.to_vec()),
        ("", b"entry too old!".to_vec()),
    ];
    for (content_type, body) in bodies {
        let headers = match content_type {
            "" => vec![],
            other => vec![("Content-Type", other.to_owned())],
        };
        upstream.behave(Behaviour::Answer(400, headers, body));
        for request in [request(), json_request()] {
            let answer = tollgate.send(&request);
            let words = "the destination refused the batch: entry too old!";
            assert_eq!((answer.status, answer.status_message().as_str()), (400, words), "{content_type:?}");
        }
    }
}

#[test]
fn an_upstreams_retry_after_comes_through_in_seconds() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    let ask = |status, value: &str| {
        let headers = vec![("Content-Type", "text/plain".to_owned()), ("Retry-After", value.to_owned())];
        upstream.behave(Behaviour::Answer(status, headers, vec![]));
        let answer = tollgate.send(&request());
        assert_eq!(answer.status, status);
        answer.header("retry-after").expect("a wait").parse::<u64>().expect("seconds")
    };
    for status in [429, 502, 503, 504] {
        assert_eq!(ask(status, "17"), 17);
    }
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
    let wait = ask(429, &date);
    assert!((500..=600).contains(&wait), "{wait}");
    assert_eq!(ask(503, "Thu, 01 Jan 1998 00:00:00 GMT"), 1, "a date that is over");
    assert_eq!(ask(503, "soon"), 5, "nobody knows better");
    assert_eq!(ask(503, "99999999"), 3600, "a sender that waits longer has lost its queue");
}

#[test]
fn what_the_operator_has_to_mend_is_logged_loudly_and_counted() {
    let upstream = Upstream::start(Behaviour::text(401, "who are you?"));
    let tollgate = door_to(upstream.address());
    let answer = tollgate.send(&request());
    assert_eq!(answer.status, 503);
    assert!(!answer.status_message().contains("who are you"), "an operator's affair, not a sender's");
    let line =
        tollgate.wait_for_line("upstream refuses us: its address, path, credentials or tenant are wrong");
    assert_eq!((line["level"].as_str(), line["upstream"].as_str()), (Some("ERROR"), Some("collector")));
    assert_eq!(line["words"], "who are you?");
    let access = tollgate.access_line(&answer);
    assert_eq!(access["upstream_status"], 401, "{access}");
    let labels = [("upstream", "collector"), ("outcome", "misconfigured")];
    assert_eq!(tollgate.metric("tollgate_upstream_requests_total", &labels), 1.0);
    let labels = [("room", "exporter"), ("reason", "upstream_misconfigured")];
    assert_eq!(tollgate.metric("tollgate_refusals_total", &labels), 1.0);
}

#[test]
fn an_upstream_that_hangs_ends_at_its_request_timeout() {
    let upstream = Upstream::start(Behaviour::Hang);
    let tollgate = door(&format!(
        "endpoint = \"http://{}\"\ntimeouts = {{ connect = \"200ms\", request = \"200ms\" }}",
        upstream.address()
    ));
    let answer = tollgate.send(&request());
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert!(answer.status_message().contains("did not answer in time"));
    tollgate.wait_for_line("upstream timed out");
    upstream.behave(Behaviour::ok());
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(tollgate.metric("tollgate_upstream_connections", &[]), 1.0, "the hung connection is gone");
}

#[test]
fn an_upstream_that_hangs_ends_when_the_sender_has_to_be_answered() {
    let upstream = Upstream::start(Behaviour::Hang);
    let config = config(&format!("endpoint = \"http://{}\"", upstream.address()));
    let tollgate = Tollgate::start(&config.replace("[tenant.shop]", "answer_within = \"1s\"\n[tenant.shop]"));
    let answer = tollgate.send(&json_request());
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.status_message().contains("did not answer in time"));
}

#[test]
fn a_body_that_comes_too_slowly_for_the_answer_to_be_in_time_is_refused_in_time() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&format!("endpoint = \"http://{}\"", upstream.address()));
    let tollgate = Tollgate::start(&config.replace("[tenant.shop]", "answer_within = \"1s\"\n[tenant.shop]"));
    let mut sender = tollgate.connect();
    sender.write(&request().head()).expect("writing the head");
    let answer = sender.read_answer().expect("an answer although no body came");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_upstream_that_nobody_listens_for_is_unreachable() {
    let tollgate = door_to(free_address());
    let answer = tollgate.send(&request());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.text());
    assert!(answer.status_message().contains("cannot be reached"));
    let line = tollgate.wait_for_line("upstream unreachable");
    assert_eq!(line["upstream"], "collector");
    let labels = [("upstream", "collector"), ("result", "failure")];
    assert_eq!(tollgate.metric("tollgate_upstream_connects_total", &labels), 1.0);
}

#[test]
fn a_name_that_has_no_address_is_unreachable() {
    let tollgate = door("endpoint = \"http://no-such-host.invalid:4318\"");
    let answer = tollgate.send(&request());
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[test]
fn an_answer_that_came_while_a_large_body_was_failing_is_read() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    for (status, words, wanted) in
        [(413, "", 413), (400, "http: request body too large", 413), (400, "no", 400), (401, "no", 503)]
    {
        upstream.behave(Behaviour::AnswerEarly(status, words.into()));
        for _ in 0..5 {
            let answer = tollgate.send(&large_request(8 << 20));
            assert_eq!(answer.status, wanted, "{}", answer.text());
        }
    }
    upstream.behave(Behaviour::ok());
    assert_eq!(
        tollgate.send(&large_request(8 << 20)).status,
        200,
        "the connections before are not used again"
    );
}

#[test]
fn a_success_that_was_answered_before_the_whole_batch_was_sent_is_none() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    for status in [200, 204, 413] {
        upstream.behave(Behaviour::AnswerEarly(status, vec![]));
        for _ in 0..5 {
            let answer = tollgate.send(&large_request(8 << 20));
            assert_eq!(answer.status, if status == 413 { 413 } else { 502 }, "{}", answer.text());
        }
    }
    let line = tollgate.wait_for_line("upstream broken");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("before the whole batch")), "{line}");
    upstream.behave(Behaviour::ok());
    assert_eq!(tollgate.send(&large_request(8 << 20)).status, 200);
    assert_eq!(upstream.last().body.len(), log_request(&"x".repeat(8 << 20)).len());
}

#[test]
fn a_success_is_none_either_where_the_upload_goes_on() {
    // Answers at once, keeps the connection, and never reads the body.
    let upstream = Scripted::start(|peer, _| {
        peer.head()?;
        peer.answer(200, "")?;
        std::thread::park();
        Ok(())
    });
    let tollgate = door_to(upstream.address());
    assert_eq!(tollgate.send(&large_request(8 << 20)).status, 502);
}

/// Answers after the head, and closes under the body.
fn answer_early(peer: &mut Peer, _: usize) -> io::Result<()> {
    peer.head()?;
    peer.answer(413, "too large")
}

#[test]
fn an_early_answer_is_read_over_tls_too() {
    let authority = Authority::create();
    let upstream = Scripted::start_tls(authority.server(&["localhost"], &[], None), answer_early);
    let folder = Folder::create();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("writing");
    let port = upstream.address().port();
    let upstream_table = format!("endpoint = \"https://localhost:{port}\"\nca = \"ca.pem\"");
    let tollgate = Tollgate::start_in(folder, &config(&upstream_table));
    for _ in 0..10 {
        let answer = tollgate.send(&large_request(8 << 20));
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    assert_eq!(upstream.connections(), 10);
}

#[test]
fn a_request_does_not_wait_for_an_upload_that_was_answered_early() {
    // Answers at once, keeps the connection, and never reads the body.
    let upstream = Scripted::start(|peer, number| {
        peer.head()?;
        peer.answer(if number == 0 { 400 } else { 200 }, "")?;
        peer.write(b"")?;
        std::thread::park();
        Ok(())
    });
    let tollgate = door_to(upstream.address());
    assert_eq!(tollgate.send(&large_request(8 << 20)).status, 400);
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn connections_to_an_upstream_are_used_again() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door_to(upstream.address());
    for _ in 0..10 {
        assert_eq!(tollgate.send(&request()).status, 200);
    }
    for status in [400, 429, 503, 500] {
        upstream.behave(Behaviour::text(status, "no"));
        tollgate.send(&request());
    }
    let connections: Vec<_> = upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0; 14]);
    let labels = [("upstream", "collector"), ("result", "success")];
    assert_eq!(tollgate.metric("tollgate_upstream_connects_total", &labels), 1.0);
}

#[test]
fn a_connection_that_the_upstream_closed_while_idle_costs_no_request() {
    // One request a connection, closed without a word of it.
    let upstream = Scripted::start(|peer, _| {
        peer.request()?;
        peer.answer(200, "")
    });
    let tollgate = door_to(upstream.address());
    for sent in 1..=20 {
        let answer = tollgate.send(&request().header("X-Number", &sent.to_string()));
        assert_eq!(answer.status, 200, "request {sent}: {}", answer.text());
        // The close is on its way; once the other side has it, the next request meets it.
        eventually("the close", || {
            let state = std::fs::read_to_string("/proc/net/tcp").ok()?;
            let remote = format!("0100007F:{:04X}", upstream.address().port());
            let established = state.lines().filter(|line| {
                let mut fields = line.split_whitespace().skip(1);
                let (_local, to, state) = (fields.next(), fields.next(), fields.next());
                to == Some(&remote) && state == Some("01")
            });
            (established.count() == 0).then_some(())
        });
    }
    let numbers: Vec<_> = upstream.seen().iter().map(|seen| seen.header("x-number").expect("it")).collect();
    let wanted: Vec<_> = (1..=20).map(|number: u32| number.to_string()).collect();
    assert_eq!(numbers, wanted, "each once, in order");
}

#[test]
fn a_request_that_the_upstream_may_have_seen_is_never_sent_again() {
    // The second request of a connection is read whole and then not answered, in one of three ways.
    let upstream = Scripted::start(|peer, number| {
        peer.request()?;
        peer.answer(200, "")?;
        peer.request()?;
        match number {
            0 => Ok(()),
            1 => peer.reset(),
            _ => peer.write(b"HTTP/1.1 200 OK\r\nContent-Le"),
        }
    });
    let tollgate = door_to(upstream.address());
    for round in 0..3 {
        assert_eq!(tollgate.send(&request().header("X-Number", &format!("{round} good"))).status, 200);
        let answer = tollgate.send(&request().header("X-Number", &format!("{round} bad")));
        assert_eq!(answer.status, 502, "round {round}: {}", answer.text());
    }
    let numbers: Vec<_> = upstream.seen().iter().map(|seen| seen.header("x-number").expect("it")).collect();
    assert_eq!(numbers, ["0 good", "0 bad", "1 good", "1 bad", "2 good", "2 bad"]);
}

#[test]
fn an_upstream_that_was_restarted_is_found_again() {
    let upstream = Scripted::start(Scripted::good);
    let tollgate = door_to(upstream.address());
    assert_eq!(tollgate.send(&request()).status, 200);
    let address = upstream.stop();
    let answer = tollgate.send(&request());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.text());
    let upstream = Scripted::start_on(address, None, Scripted::good);
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn an_upstream_is_found_by_name() {
    let upstream = Upstream::start(Behaviour::ok());
    let port = upstream.address().port();
    let tollgate = door(&format!("endpoint = \"http://localhost:{port}\""));
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(upstream.last().header("host"), Some(format!("localhost:{port}")));
}

#[test]
fn an_endpoint_with_a_path_gets_it_in_front() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&format!("endpoint = \"http://{}/otlp\"", upstream.address()));
    for signal in ["logs", "traces", "metrics"] {
        let answer = tollgate
            .send(&Request::post(&format!("/v1/{signal}"), log_request("hello")).login("oxygen", "secret"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(upstream.last().target, format!("/otlp/v1/{signal}"));
    }
}

#[test]
fn each_signal_has_its_upstream_and_one_without_is_refused_by_name() {
    let (logs, traces) = (Upstream::start(Behaviour::ok()), Upstream::start(Behaviour::ok()));
    let tables = format!(
        "endpoint = \"http://{}\"\n[upstream.tempo]\nendpoint = \"http://{}\"",
        logs.address(),
        traces.address()
    );
    let config = config(&tables)
        .replace("upstream = \"collector\"", "upstream = { logs = \"collector\", traces = \"tempo\" }");
    let tollgate = Tollgate::start(&config);
    let send = |signal| tollgate.send(&Request::post(signal, log_request("hello")).login("oxygen", "secret"));
    assert_eq!(send("/v1/logs").status, 200);
    assert_eq!(send("/v1/traces").status, 200);
    for signal in ["metrics", "profiles"] {
        let path = if signal == "profiles" { "/v1development/profiles" } else { "/v1/metrics" };
        let answer = send(path);
        assert_eq!((answer.status, answer.header("retry-after")), (403, None));
        assert!(answer.status_message().contains(signal), "{}", answer.status_message());
    }
    assert_eq!((logs.seen().len(), traces.seen().len()), (1, 1));
    assert_eq!((logs.last().target.as_str(), traces.last().target.as_str()), ("/v1/logs", "/v1/traces"));
}

#[test]
fn a_body_above_the_upstreams_limit_is_refused_at_once() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate =
        door(&format!("endpoint = \"http://{}\"\nlimits = {{ body = \"1KiB\" }}", upstream.address()));
    for request in [large_request(1024), large_request(1024).chunked(100)] {
        let answer = tollgate.send(&request);
        assert_eq!((answer.status, answer.header("retry-after")), (413, None));
        assert!(answer.status_message().contains("no more than 1024 bytes"), "{}", answer.status_message());
    }
    // Announced, and refused before a byte of it came.
    let mut sender = tollgate.connect();
    sender.write(&large_request(1 << 20).head()).expect("writing the head");
    assert_eq!(sender.read_answer().expect("an answer").status, 413);
    assert!(upstream.seen().is_empty());
    assert_eq!(tollgate.send(&large_request(900)).status, 200);
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).expect("compressing");
    encoder.finish().expect("compressing")
}

fn plain(encoding: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        None => plain = body.to_vec(),
        Some("gzip") => {
            flate2::read::GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
        }
        Some("deflate") => {
            flate2::read::ZlibDecoder::new(body).read_to_end(&mut plain).expect("zlib");
        }
        Some("zstd") => plain = zstd::decode_all(body).expect("zstd"),
        Some(other) => panic!("{other}"),
    }
    plain
}

#[test]
fn bodies_leave_in_the_compression_that_the_upstream_is_said_to_want() {
    let batch = log_request(&"hello ".repeat(1000));
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&batch).expect("compressing");
    let came = [
        (None, batch.clone()),
        (Some("gzip"), gzip(&batch)),
        (Some("deflate"), zlib.finish().expect("compressing")),
        (Some("zstd"), zstd::encode_all(&batch[..], 19).expect("compressing")),
    ];
    let upstream = Upstream::start(Behaviour::ok());
    for compression in ["keep", "none", "gzip", "zstd"] {
        let tollgate =
            door(&format!("endpoint = \"http://{}\"\ncompression = \"{compression}\"", upstream.address()));
        for (came_in, body) in &came {
            let mut request = Request::post("/v1/logs", body.clone()).login("oxygen", "secret");
            if let Some(name) = came_in {
                request = request.header("Content-Encoding", name);
            }
            assert_eq!(tollgate.send(&request).status, 200, "{came_in:?} for {compression}");
            let seen = upstream.last();
            let left_in = seen.header("content-encoding");
            let wanted = match compression {
                "keep" => *came_in,
                "none" => None,
                other => Some(other),
            };
            assert_eq!(left_in.as_deref(), wanted, "{came_in:?} for {compression}");
            assert_eq!(plain(wanted, &seen.body), batch, "{came_in:?} for {compression}");
            if wanted == *came_in {
                assert!(seen.body == *body, "nothing is compressed twice");
            }
        }
    }
}

#[test]
fn an_http2_upstream_gets_many_requests_on_a_connection() {
    let upstream = Http2Upstream::start(None);
    let tollgate = door(&format!("endpoint = \"http://{}/otlp\"\nhttp_version = \"2\"", upstream.address()));
    send_at_once(&tollgate, 8, 5);
    assert_eq!(upstream.seen().len(), 40);
    // One for each of our threads.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=threads).contains(&upstream.connections()), "{}", upstream.connections());
    let seen = &upstream.seen()[0];
    assert_eq!(seen.target, "/otlp/v1/logs");
    assert_eq!(seen.body, log_request("hello"));
    assert_eq!(seen.header(":authority"), Some(upstream.address().to_string()));
    assert_eq!(seen.header(":scheme").as_deref(), Some("http"));
    assert_eq!(seen.header("host"), None);
}

/// So many senders, each with so many requests on a connection of its own.
fn send_at_once(tollgate: &Tollgate, senders: usize, requests: usize) {
    std::thread::scope(|scope| {
        for _ in 0..senders {
            scope.spawn(|| {
                let mut sender = tollgate.connect();
                for _ in 0..requests {
                    let answer = sender.send(&request());
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
    });
}

#[test]
fn requests_do_not_queue_for_the_connection_of_an_http2_upstream_that_is_dead() {
    // Taken by the kernel, and never spoken to.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port();
    let tollgate = door(&format!(
        "endpoint = \"https://localhost:{port}\"\nhttp_version = \"2\"\ntimeouts = {{ connect = \"1s\" }}"
    ));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let answer = tollgate.send(&request());
                assert_eq!(answer.status, 503, "{}", answer.text());
                assert!(answer.status_message().contains("cannot be reached"), "{}", answer.status_message());
            });
        }
    });
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "one after the other takes 16 s: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_tls_upstream_that_can_is_spoken_to_in_http2() {
    let authority = Authority::create();
    let upstream = Http2Upstream::start(Some(authority.server(&["localhost"], &["h2", "http/1.1"], None)));
    let folder = Folder::create();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("writing");
    let port = upstream.address().port();
    let table = format!("endpoint = \"https://localhost:{port}\"\nca = \"ca.pem\"");
    let tollgate = Tollgate::start_in(folder, &config(&table));
    send_at_once(&tollgate, 8, 5); // before anybody knows that one connection will do
    assert_eq!(upstream.seen().len(), 40);
    // One for each of our threads.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=threads).contains(&upstream.connections()), "{}", upstream.connections());
    assert_eq!(upstream.seen()[0].header(":scheme").as_deref(), Some("https"));
}

#[test]
fn a_burst_for_a_tls_upstream_that_cannot_has_a_connection_each() {
    // Answers the first four requests only when all of them are there.
    let authority = Authority::create();
    let together = Barrier::new(4);
    let upstream =
        Scripted::start_tls(authority.server(&["localhost"], &["http/1.1"], None), move |peer, _| {
            peer.request()?;
            together.wait();
            peer.answer(200, "")
        });
    let folder = Folder::create();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("writing");
    let port = upstream.address().port();
    let table = format!("endpoint = \"https://localhost:{port}\"\nca = \"ca.pem\"");
    let tollgate = Tollgate::start_in(folder, &config(&table));
    send_at_once(&tollgate, 4, 1);
    assert_eq!(upstream.connections(), 4);
}

#[test]
fn http_version_1_1_is_kept_to_where_the_upstream_could_do_more() {
    let authority = Authority::create();
    let upstream =
        Scripted::start_tls(authority.server(&["localhost"], &["h2", "http/1.1"], None), Scripted::good);
    let folder = Folder::create();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("writing");
    let port = upstream.address().port();
    let table = format!("endpoint = \"https://localhost:{port}\"\nca = \"ca.pem\"\nhttp_version = \"1.1\"");
    let tollgate = Tollgate::start_in(folder, &config(&table));
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!(tollgate.send(&request()).status, 200);
    assert_eq!((upstream.seen().len(), upstream.connections()), (2, 1));
}

#[test]
fn an_http2_upstream_that_speaks_http1_is_broken_and_not_hung() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&format!("endpoint = \"http://{}\"\nhttp_version = \"2\"", upstream.address()));
    let answer = tollgate.send(&request());
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (authority, other) = (Authority::create(), Authority::create());
    let upstream = Scripted::start_tls(authority.server(&["localhost"], &[], None), Scripted::good);
    let folder = Folder::create();
    std::fs::write(folder.path().join("ca.pem"), other.pem()).expect("writing");
    std::fs::write(folder.path().join("good.pem"), authority.pem()).expect("writing");
    let port = upstream.address().port();
    let table = format!("endpoint = \"https://localhost:{port}\"\nca = \"ca.pem\"");
    let tollgate = Tollgate::start_in(folder, &config(&table));
    let answer = tollgate.send(&request());
    assert_eq!(answer.status, 503, "{}", answer.text());
    let line = tollgate.wait_for_line("upstream unreachable");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("certificate")), "{line}");
    assert!(upstream.seen().is_empty(), "no credential and no data for a stranger");
    // The right one, and another name.
    assert!(tollgate.reload(&config(&table.replace("ca.pem", "good.pem"))));
    assert_eq!(tollgate.send(&request()).status, 200);
    let other_name = table.replace("ca.pem", "good.pem") + "\nserver_name = \"other.example.com\"";
    assert!(tollgate.reload(&config(&other_name)));
    assert_eq!(tollgate.send(&request()).status, 503);
}

#[test]
fn an_authority_that_is_unknown_to_the_system_is_refused_without_ca() {
    let authority = Authority::create();
    let upstream = Scripted::start_tls(authority.server(&["localhost"], &[], None), Scripted::good);
    let tollgate = door(&format!("endpoint = \"https://localhost:{}\"", upstream.address().port()));
    assert_eq!(tollgate.send(&request()).status, 503);
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_upstream_that_wants_a_certificate_gets_ours() {
    let (authority, clients) = (Authority::create(), Authority::create());
    let server = authority.server(&["localhost"], &[], Some(&clients));
    let upstream = Scripted::start_tls(server, Scripted::good);
    let folder = Folder::create();
    let own = clients.issue(&["tollgate"]);
    for (name, text) in [("ca.pem", authority.pem()), ("own.pem", &own.chain), ("own.key", &own.key)] {
        std::fs::write(folder.path().join(name), text).expect("writing");
    }
    let port = upstream.address().port();
    let table = format!("endpoint = \"https://localhost:{port}\"\nca = \"ca.pem\"");
    let with_own = format!("{table}\ncertificate = \"own.pem\"\nkey = \"own.key\"");
    let tollgate = Tollgate::start_in(folder, &config(&with_own));
    assert_eq!(tollgate.send(&request()).status, 200);
    let labels = [("owner", "upstream"), ("name", "collector")];
    assert!(tollgate.metric("tollgate_certificate_expiry_timestamp_seconds", &labels) > 0.0);
    assert!(tollgate.reload(&config(&table)));
    let answer = tollgate.send(&request());
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn host_and_the_checked_name_may_differ_from_the_address() {
    let authority = Authority::create();
    let upstream = Scripted::start_tls(authority.server(&["alloy.example.com"], &[], None), Scripted::good);
    let folder = Folder::create();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("writing");
    let table = format!("endpoint = \"https://{}\"\nca = \"ca.pem\"", upstream.address());
    let with_host = format!("{table}\nhost = \"alloy.example.com\"");
    let tollgate = Tollgate::start_in(folder, &config(&with_host));
    assert_eq!(tollgate.send(&request()).status, 200, "the name of `host` is checked");
    assert_eq!(upstream.seen()[0].header("host").as_deref(), Some("alloy.example.com"));
    let apart = format!("{table}\nhost = \"public.example.com\"\nserver_name = \"alloy.example.com\"");
    assert!(tollgate.reload(&config(&apart)));
    assert_eq!(tollgate.send(&request()).status, 200, "the name of `server_name` is checked");
    assert_eq!(upstream.seen()[1].header("host").as_deref(), Some("public.example.com"));
    assert!(tollgate.reload(&config(&table)));
    assert_eq!(tollgate.send(&request()).status, 503, "the certificate is not for the address");
}

#[test]
fn configured_headers_replace_the_senders_own() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = config(&format!(
        "endpoint = \"http://{}\"\nheaders = {{ Authorization = \"Bearer ours\", X-Both = \"upstream\" }}",
        upstream.address()
    ))
    .replace(
        "upstream = \"collector\"",
        "upstream = \"collector\"\nupstream_headers = { X-Scope-OrgID = \"${tenant}\", X-Both = \"tenant\" }",
    );
    let tollgate = Tollgate::start(&config);
    let mine =
        request().header("X-Scope-OrgID", "other").header("X-Both", "sender").header("X-Mine", "stays");
    assert_eq!(tollgate.send(&mine).status, 200);
    let seen = upstream.last();
    let wanted = [
        ("authorization", "Bearer ours"),
        ("x-scope-orgid", "shop"),
        ("x-both", "upstream"),
        ("x-mine", "stays"),
    ];
    for (name, value) in wanted {
        assert_eq!(seen.header(name).as_deref(), Some(value));
    }
}

#[test]
fn a_sender_that_goes_away_frees_the_upstreams_connection() {
    let upstream = Upstream::start(Behaviour::Hang);
    let tollgate = door_to(upstream.address());
    let mut sender: Connection = tollgate.connect();
    sender.write(&request().head()).and_then(|()| sender.write(&request().body)).expect("writing");
    eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
    drop(sender);
    eventually("the upstream's connection is closed", || {
        (tollgate.metric("tollgate_upstream_connections", &[]) == 0.0).then_some(())
    });
    let labels = [("upstream", "collector"), ("outcome", "cancelled")];
    assert_eq!(tollgate.metric("tollgate_upstream_requests_total", &labels), 1.0);
    assert_eq!(tollgate.metric("tollgate_in_flight_requests", &[]), 0.0);
}
