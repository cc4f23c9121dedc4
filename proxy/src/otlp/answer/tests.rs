use super::*;
use crate::otlp::{Compression, EmptyBody};
use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::ExportMetricsServiceResponse,
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message as _;
use std::time::Duration;

const ID: HeaderValue = HeaderValue::from_static("0123456789abcdef");

const PROTOBUF: Protocol = Protocol::Http(Encoding::Protobuf);
const JSON: Protocol = Protocol::Http(Encoding::Json);

fn answers() -> Answers {
    Answers::new(&[(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"))])
}

async fn body(response: Response<AnswerBody>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

fn partial(rejected: u64, message: &str) -> PartialSuccess {
    PartialSuccess { rejected, message: message.to_owned() }
}

#[tokio::test]
async fn full_success_says_nothing_and_has_every_header() {
    for (encoding, expected) in [(Encoding::Protobuf, ""), (Encoding::Json, "{}")] {
        let response = answers().success(Signal::Logs, Protocol::Http(encoding), None, ID);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], encoding.media_type());
        assert_eq!(response.headers()[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(response.headers()[REQUEST_ID], ID);
        assert_eq!(body(response).await, expected);
    }
}

#[test]
fn a_partial_success_is_what_prost_reads_in_every_signal() {
    for (rejected, message) in [(3, "too old"), (0, "a warning"), (u64::from(u32::MAX) + 1, "")] {
        let written = partial(rejected, message);
        let logs = written.encode(Signal::Logs, Encoding::Protobuf);
        let logs = ExportLogsServiceResponse::decode(logs).unwrap().partial_success.unwrap();
        assert_eq!((logs.rejected_log_records as u64, logs.error_message.as_str()), (rejected, message));
        let spans = written.encode(Signal::Traces, Encoding::Protobuf);
        let spans = ExportTraceServiceResponse::decode(spans).unwrap().partial_success.unwrap();
        assert_eq!((spans.rejected_spans as u64, spans.error_message.as_str()), (rejected, message));
        let points = written.encode(Signal::Metrics, Encoding::Protobuf);
        let points = ExportMetricsServiceResponse::decode(points).unwrap().partial_success.unwrap();
        assert_eq!((points.rejected_data_points as u64, points.error_message.as_str()), (rejected, message));
    }
}

#[test]
fn what_is_written_is_read_again() {
    for signal in Signal::ALL {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            for written in [partial(3, "too \"old\"\n"), partial(0, "a warning"), partial(7, "")] {
                let bytes = written.encode(signal, encoding);
                assert_eq!(PartialSuccess::read(encoding, &bytes), Some(written), "{signal} {encoding:?}");
            }
        }
    }
}

#[test]
fn what_prost_writes_is_read() {
    let response = |rejected, message: &str| ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: rejected,
            error_message: message.to_owned(),
        }),
    };
    let read = |response: ExportLogsServiceResponse| {
        PartialSuccess::read(Encoding::Protobuf, &response.encode_to_vec())
    };
    assert_eq!(read(response(2, "no")), Some(partial(2, "no")));
    assert_eq!(read(response(0, "")), None, "set but empty is full success");
    assert_eq!(read(response(-1, "less than none")), Some(partial(0, "less than none")));
    assert_eq!(read(ExportLogsServiceResponse::default()), None);
}

#[test]
fn json_is_read_as_upstreams_write_it() {
    let read = |text: &str| PartialSuccess::read(Encoding::Json, text.as_bytes());
    for text in ["", "{}", "{\"partialSuccess\":{}}", "{\"partialSuccess\":null}", "<html>", "[]", "5"] {
        assert_eq!(read(text), None, "{text}");
    }
    let expected = Some(partial(2, "no"));
    for text in [
        r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}"#,
        r#"{"partialSuccess":{"rejectedSpans":2,"errorMessage":"no"}}"#,
        r#"{"partial_success":{"rejected_data_points":"2","error_message":"no"}}"#,
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert_eq!(read(r#"{"partialSuccess":{"errorMessage":"warning"}}"#), Some(partial(0, "warning")));
}

/// `google.rpc.Status`, as prost would read it.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

fn refusals() -> Vec<Refusal> {
    let wait = Duration::from_millis(1500);
    vec![
        Refusal::UnknownPath("hint"),
        Refusal::Method(Signal::Logs),
        Refusal::ContentType(None),
        Refusal::GrpcWithoutHttp2,
        Refusal::ContentEncoding("br".to_owned()),
        Refusal::BadHead("two hosts"),
        Refusal::Malformed("no JSON: \"quoted\" ü".to_owned()),
        Refusal::TooLarge { limit: 10, decompressed: true },
        Refusal::PluginRejected("no".to_owned()),
        Refusal::PluginFailed { plugin: "redact".into() },
        Refusal::PluginsBusy(wait),
        Refusal::PluginsUnavailable,
        Refusal::TooManyRecords(1_000_000),
        Refusal::SignalRefused { signal: Signal::Profiles, plugin: "redact".into() },
        Refusal::BodyTimeout(wait),
        Refusal::BodyBroken,
        Refusal::BodyLost(EmptyBody::Retry),
        Refusal::NoCredentials,
        Refusal::BadCredentials,
        Refusal::LoginsLimited(wait),
        Refusal::NoUpstream(Signal::Traces),
        Refusal::TenantLimit { limit: "in_flight", retry_after: Duration::ZERO },
        Refusal::Overload { limit: "in_flight", retry_after: wait },
        Refusal::Rejected("its words".repeat(100)),
        Refusal::UpstreamBusy { status: StatusCode::BAD_GATEWAY, retry_after: None, message: String::new() },
        Refusal::UpstreamMisconfigured,
        Refusal::UpstreamFailed("boom".to_owned()),
        Refusal::UpstreamTimeout,
    ]
}

#[tokio::test]
async fn every_refusal_is_a_status_in_both_encodings() {
    for refusal in refusals() {
        let response = answers().refusal(&refusal, PROTOBUF, ID);
        assert_eq!(response.status(), refusal.status());
        assert_eq!(response.headers()[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(response.headers()[REQUEST_ID], ID);
        let status = Status::decode(body(response).await).unwrap();
        assert_eq!(status.code as u32, refusal.code(), "{refusal:?}");
        assert_eq!(status.message, refusal.message(), "{refusal:?}");

        let response = answers().refusal(&refusal, JSON, ID);
        let json: serde_json::Value = serde_json::from_slice(&body(response).await).unwrap();
        assert_eq!(json["code"], refusal.code(), "{refusal:?}");
        assert_eq!(json["message"], &*refusal.message(), "{refusal:?}");

        let is_malformed = matches!(refusal, Refusal::Malformed(_));
        assert_eq!(status.details.len(), usize::from(is_malformed), "{refusal:?}");
        assert_eq!(json.get("details").is_some(), is_malformed, "{refusal:?}");
        if let [any] = &status.details[..] {
            assert_eq!(any.type_url, "type.googleapis.com/google.rpc.BadRequest");
            let bad_request = BadRequest::decode(&any.value[..]).unwrap();
            assert_eq!(bad_request.field_violations[0].description, status.message);
            assert_eq!(json["details"][0]["@type"], any.type_url);
            assert_eq!(json["details"][0]["fieldViolations"][0]["description"], status.message);
        }
    }
}

#[tokio::test]
async fn over_grpc_a_success_is_a_message_and_a_status_behind_it() {
    for partial in [None, Some(partial(3, "too old"))] {
        let expected =
            partial.as_ref().map_or(Bytes::new(), |partial| partial.encode(Signal::Logs, Encoding::Protobuf));
        let response = answers().success(Signal::Logs, Protocol::Grpc, partial.as_ref(), ID);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        assert_eq!(response.headers()[REQUEST_ID], ID);
        assert_eq!(response.body().size_hint().exact(), None);
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap();
        assert_eq!(grpc::Status::read(&trailers).unwrap().code, 0);
        let (message, _) = grpc::unframe(collected.to_bytes().into(), Compression::Identity).unwrap();
        assert_eq!(message.to_bytes(), expected);
    }
}

/// The specification's table: codes that a sender tries again after.
fn is_retried(code: u32, has_retry_info: bool) -> bool {
    match code {
        1 | 4 | 10 | 11 | 14 | 15 => true,
        8 => has_retry_info,
        _ => false,
    }
}

#[tokio::test]
async fn over_grpc_a_refusal_is_trailers_alone_and_says_the_same_of_trying_again() {
    for refusal in refusals() {
        let response = answers().refusal(&refusal, Protocol::Grpc, ID);
        assert_eq!(response.status(), 200);
        assert!(response.body().is_end_stream(), "{refusal:?}");
        let status = grpc::Status::read(response.headers()).unwrap();
        assert_eq!(status.retry_after.is_some(), refusal.is_passing(), "{refusal:?}");
        assert_eq!(
            is_retried(status.code, status.retry_after.is_some()),
            refusal.is_passing(),
            "{refusal:?}"
        );
        assert_eq!(status.message, refusal.message()[..status.message.len()], "{refusal:?}");
        assert!(!status.message.is_empty());
    }
    let unknown = answers().refusal(&Refusal::ContentEncoding("br".to_owned()), Protocol::Grpc, ID);
    assert_eq!(grpc::Status::read(unknown.headers()).unwrap().code, 12);
    assert_eq!(unknown.headers()["grpc-accept-encoding"], "gzip, zstd, deflate");
}

#[test]
fn whoever_may_try_again_is_told_when_and_nobody_else() {
    for refusal in refusals() {
        let response = answers().refusal(&refusal, JSON, ID);
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let passing = matches!(response.status().as_u16(), 429 | 502 | 503 | 504);
        assert_eq!(retry_after.is_some(), passing, "{refusal:?}");
        if let Some(seconds) = retry_after {
            let seconds: u64 = seconds.to_str().unwrap().parse().unwrap();
            assert!(seconds >= 1, "{refusal:?}");
        }
    }
    let limited = Refusal::LoginsLimited(Duration::from_millis(1500));
    let response = answers().refusal(&limited, JSON, ID);
    assert_eq!(response.headers()[header::RETRY_AFTER], "2", "rounded up");
}

#[test]
fn an_upstreams_words_are_found_and_made_harmless() {
    let status = Status { code: 3, message: "line one\nline two\u{1b}[2J".to_owned(), details: Vec::new() };
    let protobuf = status.encode_to_vec();
    assert_eq!(error_message(Some("application/x-protobuf"), &protobuf), "line one line two [2J");
    // Loki: no code, and this type.
    let loki = Status { message: "no org id".to_owned(), ..Default::default() }.encode_to_vec();
    assert_eq!(error_message(Some("application/octet-stream"), &loki), "no org id");
    let json = br#"{"code":3,"message":"in JSON"}"#;
    assert_eq!(error_message(Some("application/json; charset=utf-8"), json), "in JSON");
    assert_eq!(error_message(Some("text/plain; charset=utf-8"), b"plain words\n"), "plain words");
    assert_eq!(error_message(None, b"plain words"), "plain words");
    assert_eq!(error_message(Some("application/json"), b"no JSON"), "no JSON");
    assert_eq!(error_message(None, "ü".repeat(2000).as_bytes()).chars().count(), 512);
}
