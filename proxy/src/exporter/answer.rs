//! What an upstream's answer means.

use crate::otlp::{self, Encoding, PartialSuccess, Protocol, grpc};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, response::Parts};
use std::time::{Duration, SystemTime};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken, but for what `partial` says.
    Delivered(Option<PartialSuccess>),
    /// The batch is wrong; the upstream's words.
    Rejected(String),
    /// The batch is larger than the upstream takes.
    TooLarge,
    /// It cannot be taken now.
    Busy {
        /// 429, 502, 503 or 504.
        status: StatusCode,
        /// When the upstream wants to be asked again.
        retry_after: Option<Duration>,
        /// Its words.
        message: String,
    },
    /// The upstream refuses us, whatever we send: the operator has to mend that.
    Misconfigured(String),
    /// The upstream failed for good; its words.
    Failed(String),
    /// No connection, so nothing was sent.
    Unreachable(String),
    /// The answer is missing or makes no sense.
    Broken(String),
    /// No answer in time.
    Timeout,
}

impl Outcome {
    /// The name in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Delivered(None) => "delivered",
            Outcome::Delivered(Some(_)) => "partial",
            Outcome::Rejected(_) => "rejected",
            Outcome::TooLarge => "too_large",
            Outcome::Busy { .. } => "busy",
            Outcome::Misconfigured(_) => "misconfigured",
            Outcome::Failed(_) => "failed",
            Outcome::Unreachable(_) => "unreachable",
            Outcome::Broken(_) => "broken",
            Outcome::Timeout => "timeout",
        }
    }

    /// Every name, for metrics.
    pub const NAMES: [&'static str; 10] = [
        "delivered",
        "partial",
        "rejected",
        "too_large",
        "busy",
        "misconfigured",
        "failed",
        "unreachable",
        "broken",
        "timeout",
    ];
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// What came behind the body.
    pub(super) trailers: Option<HeaderMap>,
}

/// The status that said what became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// An HTTP status.
    Http(StatusCode),
    /// A `google.rpc.Code`.
    Grpc(u32),
}

/// Longest wait that is passed on from an upstream: a sender that waits longer has lost its queue.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

impl Answer {
    /// What it says, in the protocol that the request was sent in.
    pub(super) fn read(&self, protocol: Protocol) -> (Outcome, Status) {
        let http = || Status::Http(self.head.status);
        match protocol {
            Protocol::Http(encoding) => (judge(&self.head, &self.body, encoding), http()),
            Protocol::Grpc => {
                let trailers = self.trailers.as_ref().and_then(grpc::Status::read);
                match trailers.or_else(|| grpc::Status::read(&self.head.headers)) {
                    Some(status) => (judge_grpc(&status, self), Status::Grpc(status.code)),
                    // Not from a gRPC server: a proxy before it, or another server altogether.
                    None if self.head.status.is_success() => {
                        (Outcome::Broken("the answer has no grpc-status".to_owned()), http())
                    }
                    None => (judge(&self.head, &self.body, Encoding::Protobuf), http()),
                }
            }
        }
    }
}

/// Reads a gRPC status. Which codes may be tried again is the specification's table ("OTLP/gRPC
/// response").
fn judge_grpc(status: &grpc::Status, answer: &Answer) -> Outcome {
    use grpc::code::*;
    let words = otlp::printable(&status.message);
    let retry_after = status.retry_after.map(|wait| wait.min(RETRY_AFTER_MAX));
    let busy = |status, message| Outcome::Busy { status, retry_after, message };
    match status.code {
        // What cannot be read is full success too: the status said that the batch was taken.
        OK => {
            let message = grpc::message(&answer.head.headers, &answer.body);
            let partial = message.and_then(|message| PartialSuccess::read(Encoding::Protobuf, &message));
            Outcome::Delivered(partial)
        }
        // The words of grpc-go, and of others after it.
        RESOURCE_EXHAUSTED if words.contains("larger than max") => Outcome::TooLarge,
        RESOURCE_EXHAUSTED if retry_after.is_some() => busy(StatusCode::TOO_MANY_REQUESTS, words),
        // Tempo without a tenant
        UNAVAILABLE if words.contains("no org id") => Outcome::Misconfigured(words),
        CANCELLED | ABORTED | OUT_OF_RANGE | UNAVAILABLE | DATA_LOSS => {
            busy(StatusCode::SERVICE_UNAVAILABLE, words)
        }
        DEADLINE_EXCEEDED => busy(StatusCode::GATEWAY_TIMEOUT, words),
        NOT_FOUND | PERMISSION_DENIED | UNAUTHENTICATED | UNIMPLEMENTED => Outcome::Misconfigured(words),
        INVALID_ARGUMENT | ALREADY_EXISTS | FAILED_PRECONDITION | RESOURCE_EXHAUSTED => {
            Outcome::Rejected(words)
        }
        // UNKNOWN, INTERNAL, and what the protocol does not know: UNKNOWN too
        _ => Outcome::Failed(words),
    }
}

/// Reads an upstream's answer. Each line stands in the table "What the destination said" of
/// docs/senders.md; the words are those of real ones.
fn judge(parts: &Parts, body: &[u8], encoding: Encoding) -> Outcome {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if parts.status.is_success() {
        let answered = match content_type {
            Some(media_type) if media_type.contains("json") => Encoding::Json,
            Some(media_type) if media_type.contains("proto") => Encoding::Protobuf,
            _ => encoding,
        };
        return Outcome::Delivered(PartialSuccess::read(answered, body));
    }
    let words = otlp::error_message(content_type, body);
    match parts.status.as_u16() {
        413 => Outcome::TooLarge,
        // Tempo and the Collector
        400 if words.contains("request body too large") => Outcome::TooLarge,
        400 | 422 => Outcome::Rejected(words),
        // Loki's own gRPC limit: it never will succeed, although 503 says "try again".
        503 if words.contains("larger than max") => Outcome::TooLarge,
        // Tempo without a tenant
        503 if words.contains("no org id") => Outcome::Misconfigured(words),
        429 | 502 | 503 | 504 => {
            let retry_after = retry_after(&parts.headers);
            Outcome::Busy { status: parts.status, retry_after, message: words }
        }
        500 | 501 => Outcome::Failed(words),
        408 | 505.. => Outcome::Broken(words),
        _ => Outcome::Misconfigured(words),
    }
}

/// RFC 9110, 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}
