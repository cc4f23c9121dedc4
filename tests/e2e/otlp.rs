//! OTLP/HTTP: what comes in, what goes out, what is answered.

use crate::kit::{
    Answer, Behaviour, Connection, Field, Request, Tollgate, Upstream, compress, log_request,
    protobuf_fields, with,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use serde_json::{Value, json};

/// One listener, one tenant, one upstream.
pub fn config(upstream: &Upstream) -> String {
    format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    )
}

/// The same with small limits for bodies.
fn config_with_small_bodies(upstream: &Upstream) -> String {
    config(upstream) + "[tenant.shop.limits]\nbody = \"64KiB\"\ndecompressed = \"256KiB\"\n"
}

/// Each signal's path, and a batch of one record in both encodings. The protobuf bytes are the same
/// for all, since the field numbers are.
const SIGNALS: [(&str, &str, &str); 4] = [
    (
        "logs",
        "/v1/logs",
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#,
    ),
    (
        "traces",
        "/v1/traces",
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"hello","kind":"SPAN_KIND_SERVER"}]}]}]}"#,
    ),
    (
        "metrics",
        "/v1/metrics",
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":"5"}]}}]}]}]}"#,
    ),
    ("profiles", "/v1development/profiles", r#"{"resourceProfiles":[{"scopeProfiles":[{}]}]}"#),
];

#[test]
fn a_batch_leaves_as_the_bytes_that_came() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let batch = log_request("hello");
    let answer = tollgate.send(&Request::post("/v1/logs", batch.clone()).by_shop());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    assert!(answer.body.is_empty(), "partial_success is unset on full success");
    let seen = upstream.last();
    assert_eq!(seen.target, "/v1/logs");
    assert_eq!(seen.body, batch);
    assert_eq!(seen.header("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(seen.header("authorization"), None);
    let line = tollgate.access_line(&answer);
    assert_eq!(line["records"], 1);
    assert_eq!(line["tenant"], "shop");
}

#[test]
fn every_signal_in_every_encoding_and_compression_leaves_as_it_came() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let mut sender = tollgate.connect();
    for (signal, path, json) in SIGNALS {
        for (media_type, plain, success) in [
            ("Application/X-Protobuf", log_request("hello"), ""),
            ("application/JSON; charset=utf-8", json.as_bytes().to_vec(), "{}"),
        ] {
            for compression in ["", "Identity", "GZip", "DEFLATE", "zStd"] {
                let case = format!("{signal} {media_type} {compression:?}");
                let body = compress(compression, &plain);
                let mut request =
                    Request::post(path, body.clone()).by_shop().header("Content-Type", media_type);
                if !compression.is_empty() {
                    request = request.header("Content-Encoding", compression);
                }
                let answer = sender.send(&request);
                assert_eq!((answer.status, answer.text().as_str()), (200, success), "{case}");
                let bare = media_type.to_ascii_lowercase();
                let bare = bare.split(';').next();
                assert_eq!(answer.header("content-type"), bare, "{case}");
                let seen = upstream.last();
                assert!(seen.body == body, "{case}: the body was changed");
                assert_eq!(seen.target, path, "{case}");
                assert_eq!(seen.header("content-type").as_deref(), bare, "{case}");
                let kept = matches!(compression, "GZip" | "DEFLATE" | "zStd");
                let expected = kept.then(|| compression.to_ascii_lowercase());
                assert_eq!(seen.header("content-encoding"), expected, "{case}");
                let line = tollgate.access_line(&answer);
                assert_eq!(line["signal"], signal, "{case}");
                assert_eq!(line["records"], u64::from(signal != "profiles"), "{case}");
                assert_eq!(line["bytes"], body.len(), "{case}");
                assert_eq!(line["bytes_inflated"], plain.len(), "{case}");
            }
        }
    }
}

#[test]
fn profiles_are_opaque() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let no_protobuf = b"\xff\xff no protobuf at all".to_vec();
    let path = "/v1development/profiles";
    assert_eq!(tollgate.send(&Request::post(path, no_protobuf.clone()).by_shop()).status, 200);
    assert_eq!(upstream.last().body, no_protobuf);
    assert_eq!(upstream.last().target, path);
}

#[test]
fn paths_are_found_below_aliases_and_prefixes_and_in_absolute_targets() {
    let upstream = Upstream::start(Behaviour::ok());
    let config = with(&config(&upstream), "listener.door", "path_aliases = [\"/otlp\"]")
        + r#"
[tenant.cafe]
credentials = [{ user = "barista", password_hash = "$SECRET" }]
path_prefix = "/cafe"
upstream = "collector"
"#;
    let tollgate = Tollgate::start(&config);
    let send = |target: &str, user: &str| {
        tollgate.send(&Request::post(target, log_request("hello")).login(user, "secret")).status
    };
    for target in [
        "/v1/logs",
        "/otlp/v1/logs",
        "http://otlp.example.com/v1/logs",
        "https://otlp.example.com:443/otlp/v1/logs",
        "/v1/logs?api-version=1",
    ] {
        assert_eq!(send(target, "oxygen"), 200, "{target}");
        assert_eq!(upstream.last().target, "/v1/logs", "{target}");
    }
    for target in ["/cafe/v1/logs", "/cafe/otlp/v1/logs"] {
        assert_eq!(send(target, "barista"), 200, "{target}");
        assert_eq!(upstream.last().target, "/v1/logs", "{target}");
    }
    for target in
        ["/otlp/otlp/v1/logs", "/otlp/cafe/v1/logs", "/other/v1/logs", "/cafe/../v1/logs", "//v1/logs"]
    {
        assert_eq!(send(target, "barista"), 404, "{target}");
    }
}

#[test]
fn another_method_is_told_to_post() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let answer = tollgate.send(&Request::post("/v1/logs", log_request("hello")).by_shop().method(method));
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
        assert_eq!(answer.status_message(), "logs are sent with POST", "{method}");
    }
    assert_eq!(tollgate.send(&Request::post("/elsewhere", "").method("GET")).status, 404);
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_unknown_path_comes_with_a_hint() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    for (path, hint) in [
        ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "application/grpc"),
        ("/", "/v1/logs"),
        ("/v1/logs/", "slash too many"),
        ("/v1/log", "/v1/logs"),
        ("/V1/LOGS", "/v1/logs"),
    ] {
        let answer = tollgate.send(&Request::post(path, log_request("hello")).by_shop());
        assert_eq!(answer.status, 404, "{path}");
        let message = answer.status_message();
        assert!(message.contains(hint), "{path}: {message}");
    }
}

#[test]
fn unknown_types_and_compressions_are_415() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let request = || Request::post("/v1/logs", log_request("hello")).by_shop();
    for (media_type, answered_in) in [
        ("text/plain", "application/json"),
        ("application/protobuf", "application/x-protobuf"),
        ("application/grpc-web+proto", "application/x-protobuf"),
        ("", "application/json"),
    ] {
        let answer = tollgate.send(&request().header("Content-Type", media_type));
        assert_eq!(answer.status, 415, "{media_type}");
        assert_eq!(answer.header("content-type"), Some(answered_in), "{media_type}");
        assert!(
            answer.status_message().contains("application/x-protobuf or application/json"),
            "{media_type}"
        );
    }
    let answer = tollgate.send(&request().without("Content-Type"));
    assert_eq!(answer.status, 415);
    assert!(answer.status_message().contains("missing"));
    for compression in ["br", "snappy", "lz4", "gzip, gzip", "gzip, identity"] {
        let answer = tollgate.send(&request().header("Content-Encoding", compression));
        assert_eq!(answer.status, 415, "{compression}");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd, deflate"), "{compression}");
        assert!(answer.status_message().contains(compression), "{compression}");
    }
    let twice = request().header("Content-Encoding", "gzip").another("Content-Encoding", "gzip");
    assert_eq!(tollgate.send(&twice).status, 415);
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_body_that_is_too_large_is_413_whether_announced_or_not() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config_with_small_bodies(&upstream));
    let fits = Request::post("/v1/logs", log_request(&"x".repeat(60_000))).by_shop();
    assert_eq!(tollgate.send(&fits).status, 200);
    assert_eq!(tollgate.send(&fits.clone().chunked(1000)).status, 200);
    let large = Request::post("/v1/logs", log_request(&"x".repeat(70_000))).by_shop();
    for request in [large.clone(), large.clone().chunked(1000)] {
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 413);
        assert!(answer.status_message().contains("65536 bytes"), "{}", answer.status_message());
        assert_eq!(answer.header("retry-after"), None, "trying again would not help");
    }
    // What is announced is refused before a byte of it comes.
    let mut sender = tollgate.connect();
    sender.write(&large.head()).expect("writing the head");
    assert_eq!(sender.read_answer().expect("an answer to the head").status, 413);
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn bombs_are_413() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config_with_small_bodies(&upstream));
    let bomb = log_request(&"\0".repeat(2 << 20));
    for compression in ["gzip", "deflate", "zstd"] {
        let body = compress(compression, &bomb);
        assert!(body.len() < 64 << 10, "{compression} would be too large on the wire");
        let request = Request::post("/v1/logs", body).by_shop().header("Content-Encoding", compression);
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 413, "{compression}");
        let message = answer.status_message();
        assert!(message.contains("262144 bytes after decompression"), "{compression}: {message}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn the_largest_body_that_is_allowed_has_room_in_the_least_memory_that_is() {
    let upstream = Upstream::start(Behaviour::ok());
    let limits = "body = \"1MiB\"\ndecompressed = \"3MiB\"\nin_flight_bytes = \"4MiB\"\n";
    let tollgate = Tollgate::start(&(config(&upstream) + "[tenant.shop.limits]\n" + limits));
    let largest = log_request(&"x".repeat((3 << 20) - 100));
    for compression in ["gzip", "deflate", "zstd"] {
        let body = compress(compression, &largest);
        let request = Request::post("/v1/logs", body).by_shop().header("Content-Encoding", compression);
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 200, "{compression}: {}", answer.text());
    }
}

#[test]
fn broken_streams_are_400() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let batch = log_request(&"something to compress ".repeat(100));
    for compression in ["gzip", "deflate", "zstd"] {
        let whole = compress(compression, &batch);
        let cut = whole[..whole.len() / 2].to_vec();
        let trailed = [&whole[..], b"more"].concat();
        let lie = batch.clone();
        for (what, body) in [("cut", cut), ("trailed", trailed), ("not compressed", lie)] {
            let request = Request::post("/v1/logs", body).by_shop().header("Content-Encoding", compression);
            let answer = tollgate.send(&request);
            assert_eq!(answer.status, 400, "{compression} {what}");
            let (code, message, details) = answer.rpc_status();
            assert_eq!(code, 3, "{compression} {what}");
            assert!(message.contains(&format!("the {compression} stream is broken")), "{message}");
            assert!(details.contains("google.rpc.BadRequest"), "{details}");
        }
        let undeclared = tollgate.send(&Request::post("/v1/logs", whole).by_shop());
        assert_eq!(undeclared.status, 400, "{compression} that is not declared");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn malformed_protobuf_is_400_with_details() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let whole = log_request("hello");
    let cases: [(&str, Vec<u8>); 6] = [
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("another wire type", vec![0x08, 0x01]),
        ("field 0", vec![0x02, 0x00]),
        ("a length beyond the end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("the end of no group", vec![0x0c]),
        ("JSON", b"{}".to_vec()),
    ];
    for (what, body) in cases {
        let answer = tollgate.send(&Request::post("/v1/logs", body).by_shop());
        assert_eq!(answer.status, 400, "{what}");
        let (code, message, details) = answer.rpc_status();
        assert_eq!(code, 3, "{what}");
        assert!(message.contains("at byte"), "{what}: {message}");
        assert!(details.contains("type.googleapis.com/google.rpc.BadRequest"), "{what}: {details}");
        assert!(details.contains(&message), "{what}: {details}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn unknown_fields_pass_through_untouched() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    // Field 1000 as bytes, 15 as a group that holds a number, 14 as a fixed 32-bit number.
    let unknown = [0xc2, 0x3e, 3, 1, 2, 3, 0x7b, 0x08, 0x05, 0x7c, 0x75, 1, 2, 3, 4];
    let mut resource = unknown.to_vec();
    resource.extend_from_slice(&log_request("hello")[2..]); // what is in the one resource
    let mut batch = unknown.to_vec();
    batch.extend_from_slice(&[0x0a, resource.len() as u8]);
    batch.extend_from_slice(&resource);
    assert_eq!(tollgate.send(&Request::post("/v1/logs", batch.clone()).by_shop()).status, 200);
    assert_eq!(upstream.last().body, batch);
    let json =
        r#" {"resourceLogs":[{"scopeLogs":[{"logRecords":[{"neverHeardOf":{"a":[1e400]}}]}]}],"x":null} "#;
    assert_eq!(tollgate.send(&Request::json("/v1/logs", json).by_shop()).status, 200);
    assert_eq!(upstream.last().body, json.as_bytes());
}

#[test]
fn json_that_is_not_one_object_is_400() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    for body in [" ", "[]", "5", "null", "{}{}", "{", "{\"a\":}", "\u{feff}{}", "<xml/>"] {
        let answer = tollgate.send(&Request::json("/v1/logs", body).by_shop());
        assert_eq!(answer.status, 400, "{body:?}");
        let status: Value = serde_json::from_slice(&answer.body).expect("a JSON status");
        assert_eq!(status["code"], 3, "{body:?}");
        let detail = &status["details"][0];
        assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.BadRequest", "{body:?}");
        assert_eq!(detail["fieldViolations"][0]["description"], status["message"], "{body:?}");
    }
    // Cloudflare asks so whether a destination is there.
    let answer = tollgate.send(&Request::json("/v1/logs", "").by_shop());
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    let no_text =
        Request::post("/v1/logs", b"{\"a\":\"\xff\"}".to_vec()).header("Content-Type", "application/json");
    assert_eq!(tollgate.send(&no_text.by_shop()).status, 400);
    assert!(upstream.seen().is_empty());
}

/// The code of the `google.rpc.Status` in an answer.
fn assert_is_status(answer: &Answer, media_type: &str, code: u64, case: &str) {
    assert_eq!(answer.header("content-type"), Some(media_type), "{case}");
    let status = answer.rpc_status();
    assert_eq!(status.0, code, "{case}: {status:?}");
    assert!(!status.1.is_empty(), "{case}: a message is missing");
}

#[test]
fn every_refusal_is_a_status_in_the_senders_encoding() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config_with_small_bodies(&upstream));
    for media_type in ["application/x-protobuf", "application/json"] {
        let request = |path: &str, body: &str| {
            Request::post(path, body.as_bytes().to_vec()).header("Content-Type", media_type)
        };
        let mut cases = vec![
            (401, 16, request("/v1/logs", "x")),
            (400, 3, request("/v1/logs", "x").by_shop()),
            (404, 5, request("/nowhere", "x").by_shop()),
            (405, 12, request("/v1/logs", "x").by_shop().method("PUT")),
            (413, 8, request("/v1/logs", &"x".repeat(70_000)).by_shop()),
            (415, 3, request("/v1/logs", "x").by_shop().header("Content-Encoding", "br")),
        ];
        // Five wrong passwords, one too many after them; another name for each media type.
        let wrong = request("/v1/logs", "x").login(media_type, "wrong");
        cases.extend((0..5).map(|_| (401, 16, wrong.clone())));
        cases.push((429, 8, wrong));
        for (status, code, request) in cases {
            let case = format!("{status} {media_type}");
            let answer = tollgate.send(&request);
            assert_eq!(answer.status, status, "{case}: {}", answer.text());
            assert_is_status(&answer, media_type, code, &case);
        }
    }
    assert!(upstream.seen().is_empty());
    for (behaviour, status, code) in [
        (Behaviour::text(400, "no"), 400, 3),
        (Behaviour::text(429, "later"), 429, 8),
        (Behaviour::text(500, "never"), 500, 13),
        (Behaviour::text(503, "later"), 503, 14),
        (Behaviour::text(401, "who are you"), 503, 14),
        (Behaviour::Garbage, 502, 14),
    ] {
        upstream.behave(behaviour);
        for request in
            [Request::post("/v1/logs", log_request("hello")), Request::json("/v1/logs", SIGNALS[0].2)]
        {
            let media_type = request.headers[1].1.clone();
            let answer = tollgate.send(&request.by_shop());
            assert_eq!(answer.status, status);
            assert_is_status(&answer, &media_type, code, &status.to_string());
        }
    }
}

const SECURITY_HEADERS: [(&str, &str); 6] = [
    ("x-frame-options", "SAMEORIGIN"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("permissions-policy", "interest-cohort=()"),
];

/// A success and refusals of several kinds.
fn answers_of_all_kinds(tollgate: &Tollgate) -> Vec<Answer> {
    let request = Request::post("/v1/logs", log_request("hello"));
    let requests = [
        (200, request.clone().by_shop()),
        (401, request.clone()),
        (404, Request::post("/nowhere", "")),
        (405, request.clone().method("GET")),
        (415, request.without("Content-Type").by_shop()),
        (400, Request::json("/v1/logs", "[]").by_shop()),
    ];
    requests
        .iter()
        .map(|(status, request)| {
            let answer = tollgate.send(request);
            assert_eq!(answer.status, *status, "{}", answer.text());
            answer
        })
        .collect()
}

#[test]
fn every_answer_has_the_security_headers_and_an_id_and_names_no_server() {
    let upstream = Upstream::start(Behaviour::Answer(
        200,
        vec![("Server", "collector/1".into()), ("X-Frame-Options", "ALLOWALL".into())],
        Vec::new(),
    ));
    let tollgate = Tollgate::start(&config(&upstream));
    let mut ids = Vec::new();
    for answer in answers_of_all_kinds(&tollgate) {
        for (name, value) in SECURITY_HEADERS {
            assert_eq!(answer.headers(name), [value], "{} {name}", answer.status);
        }
        assert_eq!(answer.header("server"), None, "{}", answer.status);
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(tollgate.access_line(&answer)["status"], answer.status);
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each request has an id of its own");
    let own = Request::post("/v1/logs", log_request("hello")).by_shop().header("X-Request-Id", "mine");
    assert_ne!(tollgate.send(&own).header("x-request-id"), Some("mine"));
}

#[test]
fn security_headers_are_changed_and_dropped_by_the_configuration() {
    let upstream = Upstream::start(Behaviour::ok());
    let headers =
        "[headers]\nX-Frame-Options = \"DENY\"\nReferrer-Policy = false\nX-Served-By = \"tollgate\"\n";
    let tollgate = Tollgate::start(&(config(&upstream) + headers));
    for answer in answers_of_all_kinds(&tollgate) {
        for (name, value) in SECURITY_HEADERS {
            let expected: &[&str] = match name {
                "x-frame-options" => &["DENY"],
                "referrer-policy" => &[],
                _ => &[value],
            };
            assert_eq!(answer.headers(name), expected, "{} {name}", answer.status);
        }
        assert_eq!(answer.headers("x-served-by"), ["tollgate"], "{}", answer.status);
    }
}

/// `partial_success { rejected, error_message }` as an upstream writes it.
fn partial(rejected: u8, message: &str) -> Vec<u8> {
    let mut partial = if rejected > 0 { vec![0x08, rejected] } else { Vec::new() };
    partial.extend_from_slice(&[0x12, message.len() as u8]);
    partial.extend_from_slice(message.as_bytes());
    [&[0x0a, partial.len() as u8], &partial[..]].concat()
}

#[test]
fn partial_success_and_warnings_come_through_in_both_encodings() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let rejected_names = ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints", "rejectedProfiles"];
    for (rejected, message) in [(2_u8, "two are too old"), (0, "only a warning")] {
        for ((signal, path, json), rejected_name) in SIGNALS.into_iter().zip(rejected_names) {
            let protobuf = vec![("Content-Type", "application/x-protobuf".to_owned())];
            upstream.behave(Behaviour::Answer(200, protobuf, partial(rejected, message)));
            let answer = tollgate.send(&Request::post(path, log_request("hello")).by_shop());
            assert_eq!(answer.status, 200, "{signal}");
            let response = ExportLogsServiceResponse::decode(&answer.body[..]).expect("a response");
            let told = response.partial_success.expect("a partial success");
            assert_eq!(told.rejected_log_records, i64::from(rejected), "{signal}");
            assert_eq!(told.error_message, message, "{signal}");

            let mut said = json!({ "errorMessage": message });
            if rejected > 0 {
                said[rejected_name] = json!(rejected.to_string());
            }
            let said = json!({ "partialSuccess": said });
            let media_type = vec![("Content-Type", "application/json".to_owned())];
            upstream.behave(Behaviour::Answer(200, media_type, said.to_string().into_bytes()));
            let answer = tollgate.send(&Request::json(path, json).by_shop());
            let told: Value = serde_json::from_slice(&answer.body).expect("a JSON response");
            assert_eq!((answer.status, &told), (200, &said), "{signal}");
        }
    }
}

#[test]
fn upstreams_that_say_little_mean_full_success() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    let typed = |media_type: &str| vec![("Content-Type", media_type.to_owned())];
    for (whose, behaviour) in [
        ("Loki", Behaviour::Answer(204, Vec::new(), Vec::new())),
        ("Prometheus", Behaviour::Answer(200, Vec::new(), Vec::new())),
        ("Tempo, protobuf", Behaviour::Answer(200, typed("application/x-protobuf"), vec![0x0a, 0])),
        (
            "Tempo, JSON",
            Behaviour::Answer(200, typed("application/json"), b"{\"partialSuccess\":{}}".to_vec()),
        ),
        ("somebody", Behaviour::Answer(202, typed("text/html"), b"<html>thanks</html>".to_vec())),
    ] {
        upstream.behave(behaviour);
        let protobuf = tollgate.send(&Request::post("/v1/logs", log_request("hello")).by_shop());
        assert_eq!((protobuf.status, protobuf.text().as_str()), (200, ""), "{whose}");
        assert_eq!(protobuf.header("content-type"), Some("application/x-protobuf"), "{whose}");
        let json = tollgate.send(&Request::json("/v1/logs", SIGNALS[0].2).by_shop());
        assert_eq!((json.status, json.text().as_str()), (200, "{}"), "{whose}");
        assert_eq!(json.header("content-type"), Some("application/json"), "{whose}");
    }
}

#[test]
fn an_empty_batch_succeeds_without_asking_the_upstream() {
    let upstream = Upstream::start(Behaviour::status(422)); // as Loki would
    let tollgate = Tollgate::start(&config(&upstream));
    for (path, list) in
        [("/v1/logs", "resourceLogs"), ("/v1/traces", "resourceSpans"), ("/v1/metrics", "resourceMetrics")]
    {
        let empty_list = format!("{{\"{list}\":[]}}");
        let requests = [
            ("zero bytes", Request::post(path, "")),
            ("zero bytes in chunks", Request::post(path, "").chunked(1)),
            (
                "gzip of zero bytes",
                Request::post(path, compress("gzip", b"")).header("Content-Encoding", "gzip"),
            ),
            ("{}", Request::json(path, "{}")),
            ("{ }", Request::json(path, " { } \n")),
            ("an empty list", Request::json(path, &empty_list)),
        ];
        for (what, request) in requests {
            let answer = tollgate.send(&request.by_shop());
            assert_eq!(answer.status, 200, "{path} {what}: {}", answer.text());
            assert_eq!(tollgate.access_line(&answer)["outcome"], "answered", "{path} {what}");
        }
        // What is no OTLP is not nothing.
        let other = format!("{{\"{list}\":5,\"other\":[{{}}]}}");
        assert_eq!(tollgate.send(&Request::json(path, &other).by_shop()).status, 400, "{other}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn zero_bytes_that_are_said_to_be_compressed_are_a_loss() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = Tollgate::start(&config(&upstream));
    for (lost, compression) in [(1.0, "gzip"), (2.0, "deflate"), (3.0, "zstd")] {
        let request = Request::post("/v1/logs", "").by_shop().header("Content-Encoding", compression);
        let answer = tollgate.send(&request);
        assert_eq!(answer.status, 400, "{compression}");
        assert!(answer.status_message().contains("--protocol http2"), "{compression}");
        assert_eq!(tollgate.metric("tollgate_body_lost_total", &[("tenant", "shop")]), lost, "{compression}");
    }
    let line = tollgate.wait_for_line("body lost");
    assert!(line["hint"].as_str().is_some_and(|hint| hint.contains("--protocol http2")), "{line}");
    assert_eq!(line["tenant"], "shop");
    assert!(upstream.seen().is_empty());
}

#[test]
fn zero_bytes_through_a_trusted_tunnel_are_answered_as_configured() {
    let upstream = Upstream::start(Behaviour::ok());
    let mut config = config(&upstream);
    for empty_body in [400, 200, 503] {
        config += &format!(
            "[listener.tunnel{empty_body}]\nbind = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
             client_ip_header = \"CF-Connecting-IP\"\nempty_body = {empty_body}\n"
        );
    }
    let tollgate = Tollgate::start(&config);
    let empty = Request::post("/v1/logs", "").by_shop().header("Cf-Ray", "8f2c1e0b7d4a9c33-FRA");
    let send = |listener: &str, request: &Request| Connection::tcp(tollgate.address(listener)).send(request);
    for (expected, empty_body) in [(1.0, 400_u16), (2.0, 200), (3.0, 503)] {
        let answer = send(&format!("tunnel{empty_body}"), &empty);
        assert_eq!(answer.status, empty_body);
        assert_eq!(tollgate.metric("tollgate_body_lost_total", &[("tenant", "shop")]), expected);
        assert_eq!(answer.header("retry-after").is_some(), empty_body == 503);
        if empty_body != 200 {
            assert!(answer.status_message().contains("a tunnel lost it"));
        }
        assert_eq!(tollgate.access_line(&answer)["cf_ray"], "8f2c1e0b7d4a9c33-FRA");
    }
    let line = tollgate.wait_for_line("body lost");
    assert!(line["hint"].as_str().is_some_and(|hint| hint.contains("--protocol http2")), "{line}");
    // What nobody trusted says changes nothing, and without a tunnel nothing is lost.
    assert_eq!(send("door", &empty).status, 200);
    assert_eq!(send("tunnel400", &empty.clone().without("Cf-Ray")).status, 200);
    // A tunnel that says "in chunks" has lost nothing: it knew that there would be a body.
    assert_eq!(send("tunnel400", &empty.clone().chunked(1)).status, 200);
    assert_eq!(tollgate.metric("tollgate_body_lost_total", &[]), 3.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_answer_to_a_broken_message_is_read_as_far_as_it_goes() {
    let upstream = Upstream::start(Behaviour::Answer(200, Vec::new(), vec![0x0a, 0x05, 0x08, 0x02]));
    let tollgate = Tollgate::start(&config(&upstream));
    let answer = tollgate.send(&Request::post("/v1/logs", log_request("hello")).by_shop());
    assert_eq!(answer.status, 200, "the upstream took the batch");
    for (number, field) in protobuf_fields(&answer.body) {
        assert!(matches!((number, field), (1, Field::Bytes(_))), "a response that can be read");
    }
}
