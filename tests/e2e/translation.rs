//! Batches that leave in another encoding than they came in, and those that came on the wrong path.

use crate::kit::{
    Behaviour, Request, Tollgate, Upstream, compress, grpc_frame,
    http2::{Http2, Http2Upstream, Reply},
    log_request,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use serde_json::Value;

const JSON: &str = "application/json";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn door(upstream: &Upstream, more: &str) -> Tollgate {
    start(&format!("endpoint = \"http://{}\"\n{more}", upstream.address()))
}

fn start(upstream: &str) -> Tollgate {
    Tollgate::start(&format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[tenant.small]
credentials = [{{ user = "small", password_hash = "$SECRET" }}]
upstream = "collector"
limits = {{ body = 1024, decompressed = 1024 }}

[upstream.collector]
{upstream}
"#
    ))
}

/// The specification's own examples.
const EXAMPLES: [(&str, &str); 3] = [
    ("/v1/logs", include_str!("../examples/logs.json")),
    ("/v1/traces", include_str!("../examples/traces.json")),
    ("/v1/metrics", include_str!("../examples/metrics.json")),
];

/// The protobuf that says the same as an example, by opentelemetry-proto.
fn example_protobuf(path: &str, json: &str) -> Vec<u8> {
    let wrong = "an example";
    match path {
        "/v1/logs" => serde_json::from_str::<ExportLogsServiceRequest>(json).expect(wrong).encode_to_vec(),
        "/v1/traces" => serde_json::from_str::<ExportTraceServiceRequest>(json).expect(wrong).encode_to_vec(),
        _ => serde_json::from_str::<ExportMetricsServiceRequest>(json).expect(wrong).encode_to_vec(),
    }
}

fn decoded(path: &str, protobuf: &[u8]) -> String {
    let wrong = "protobuf";
    match path {
        "/v1/logs" => format!("{:?}", ExportLogsServiceRequest::decode(protobuf).expect(wrong)),
        "/v1/traces" => format!("{:?}", ExportTraceServiceRequest::decode(protobuf).expect(wrong)),
        _ => format!("{:?}", ExportMetricsServiceRequest::decode(protobuf).expect(wrong)),
    }
}

#[test]
fn json_reaches_an_upstream_that_wants_protobuf() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"protobuf\"");
    for (path, json) in EXAMPLES {
        for compression in ["identity", "gzip"] {
            let mut request = Request::json(path, json).by_shop().header("Content-Encoding", compression);
            request.body = compress(compression, json.as_bytes());
            let answer = tollgate.send(&request);
            assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{path}");
            assert_eq!(answer.header("content-type"), Some(JSON));
            let seen = upstream.last();
            assert_eq!(seen.header("content-type").as_deref(), Some("application/x-protobuf"));
            let plain = match seen.header("content-encoding").as_deref() {
                None => seen.body,
                Some("gzip") => gunzip(&seen.body),
                other => panic!("{other:?}"),
            };
            assert_eq!(decoded(path, &plain), decoded(path, &example_protobuf(path, json)), "{path}");
        }
    }
}

fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut plain).expect("gzip");
    plain
}

#[test]
fn json_reaches_a_grpc_upstream() {
    let upstream = Http2Upstream::start(None);
    upstream.reply(Reply::grpc(b"\x0a\x07\x08\x03\x12\x03old"));
    let tollgate = start(&format!("endpoint = \"http://{}\"\nprotocol = \"grpc\"", upstream.address()));
    let (path, json) = EXAMPLES[0];
    let answer = tollgate.send(&Request::json(path, json).by_shop());
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((answer.status, &told["partialSuccess"]["rejectedLogRecords"]), (200, &"3".into()), "{told}");
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.target, LOGS);
    assert_eq!(decoded(path, &seen.body[5..]), decoded(path, &example_protobuf(path, json)));
}

#[test]
fn protobuf_reaches_an_upstream_that_wants_json() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"json\"");
    let grpc = Http2::plain(tollgate.address("door"));
    for (path, json) in EXAMPLES {
        let protobuf = example_protobuf(path, json);
        let answer = tollgate.send(&Request::post(path, protobuf.clone()).by_shop());
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{}", answer.text());
        let seen = upstream.last();
        assert_eq!(seen.header("content-type").as_deref(), Some(JSON));
        let text = String::from_utf8(seen.body).expect("text");
        assert_eq!(decoded(path, &example_protobuf(path, &text)), decoded(path, &protobuf), "{text}");
    }
    let message = log_request("hello");
    assert_eq!(grpc.send(&Request::grpc(LOGS, &message).by_shop()).grpc_status(), 0);
    let seen: Value = serde_json::from_slice(&upstream.last().body).expect("JSON");
    assert_eq!(seen["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"], "hello");
}

#[test]
fn json_that_no_field_can_hold_is_refused_with_its_place() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"protobuf\"");
    let record =
        |record: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#);
    for (json, words) in [
        (
            record(r#"{"timeUnixNano":"yesterday"}"#),
            "resourceLogs[0].scopeLogs[0].logRecords[0].timeUnixNano",
        ),
        (record(r#"{"traceId":"xyz"}"#), "traceId"),
        (record(r#"{"body":{"stringValue":"a","intValue":1}}"#), "body"),
        (record(r#"{},{"severityNumber":{}}"#), "logRecords[1].severityNumber"),
        ("{".to_owned(), "line 1 column 2"),
    ] {
        let answer = tollgate.send(&Request::json("/v1/logs", &json).by_shop());
        assert_eq!(answer.status, 400, "{json}");
        let message = answer.status_message();
        assert!(message.contains(words), "{json}: {message}");
        assert_eq!(tollgate.access_line(&answer)["reason"], "malformed");
    }
    // What is taken in spite of the specification is counted.
    let odd = record(
        r#"{"severity_text":"a","severityNumber":"SEVERITY_NUMBER_INFO","new":[1],"body":{"stringValue":"\ud83d"}}"#,
    );
    assert_eq!(tollgate.send(&Request::json("/v1/logs", &odd).by_shop()).status, 200);
    for kind in ["snake_case", "enum_name", "unknown_field", "lone_surrogate"] {
        let labels = [("tenant", "shop"), ("kind", kind)];
        assert_eq!(tollgate.metric("tollgate_json_leniencies_total", &labels), 1.0, "{kind}");
    }
    let sent = ExportLogsServiceRequest::decode(&upstream.last().body[..]).expect("protobuf");
    assert_eq!(sent.resource_logs[0].scope_logs[0].log_records[0].severity_number, 9);
}

#[test]
fn a_translation_is_as_large_as_a_batch_may_be_and_no_larger() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"json\"");
    // A record of nothing but a time has eleven bytes, and forty in JSON.
    let records: Vec<u8> = [0x12, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8].repeat(80);
    let scope = [&[0x12, 0xf0, 0x06], &records[..]].concat();
    let batch = [&[0x0a, 0xf3, 0x06], &scope[..]].concat();
    let answer = tollgate.send(&Request::post("/v1/logs", batch).login("small", "secret"));
    assert_eq!(answer.status, 413, "{}", answer.status_message());
    assert!(upstream.seen().is_empty());
}

#[test]
fn what_an_upstream_takes_is_measured_by_what_it_gets() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"protobuf\"\nlimits = { body = 150 }");
    let records = |count: usize| {
        let records = vec!["{}"; count].join(",");
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
    };
    let send = |json: &str| tollgate.send(&Request::json("/v1/logs", json).by_shop());
    let shrinks = records(60);
    assert!(shrinks.len() > 150);
    assert_eq!(send(&shrinks).status, 200);
    assert_eq!(upstream.last().body.len(), 124);
    assert_eq!(send(&records(100)).status, 413);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn what_would_be_lost_as_a_whole_is_refused() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"protobuf\"");
    let json = r#"{"resourceLogs":[{"instrumentationLibraryLogs":[{"logRecords":[{}]}]}]}"#;
    let answer = tollgate.send(&Request::json("/v1/logs", json).by_shop());
    assert_eq!(answer.status, 400);
    assert!(answer.status_message().contains("no record"), "{}", answer.text());
    // A field 100 in protobuf, of which JSON could say nothing.
    let tollgate = door(&upstream, "encoding = \"json\"");
    let answer = tollgate.send(&Request::post("/v1/logs", b"\xa2\x06\x01x".to_vec()).by_shop());
    assert_eq!(answer.status, 400);
    assert!(answer.status_message().contains("no record"), "{}", answer.status_message());
    assert!(upstream.seen().is_empty());
}

#[test]
fn profiles_are_not_translated() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "encoding = \"protobuf\"");
    let answer = tollgate.send(&Request::json("/v1development/profiles", "{}").by_shop());
    assert_eq!(answer.status, 415, "{}", answer.text());
    let answer = tollgate.send(&Request::post("/v1development/profiles", "anything").by_shop());
    assert_eq!((answer.status, upstream.last().body), (200, b"anything".to_vec()));
}

#[test]
fn a_batch_on_the_path_of_another_signal_is_told_where_it_belongs() {
    let upstream = Upstream::start(Behaviour::ok());
    let tollgate = door(&upstream, "");
    let grpc = Http2::plain(tollgate.address("door"));
    for (path, json) in EXAMPLES {
        for (wrong, _) in EXAMPLES.into_iter().filter(|(wrong, _)| *wrong != path) {
            for request in [Request::json(wrong, json), Request::post(wrong, example_protobuf(path, json))] {
                let answer = tollgate.send(&request.by_shop());
                assert_eq!(answer.status, 400, "{path} on {wrong}");
                let message = answer.status_message();
                assert!(message.contains(&format!("send them to {path}")), "{path} on {wrong}: {message}");
                assert_eq!(tollgate.access_line(&answer)["reason"], "misposted");
            }
        }
    }
    let logs = example_protobuf(EXAMPLES[0].0, EXAMPLES[0].1);
    let answer = grpc.send(&Request::grpc(TRACES, &logs).by_shop());
    assert_eq!(answer.grpc_status(), 3, "{answer:?}");
    assert!(answer.grpc_message().contains(LOGS), "{answer:?}");
    assert!(upstream.seen().is_empty());
    assert_eq!(grpc_frame(0, b"").len(), 5);
}
