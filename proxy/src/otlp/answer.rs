//! Answers: made here in what the sender speaks, whatever an upstream said in its own.

use super::{Encoding, Protocol, Refusal, Signal, grpc};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use serde_json::json;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tollgate_document::wire::{Reader, Value, put_bytes, put_number};

/// What an upstream took only in part, or took with a warning (`Export*PartialSuccess`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Records it refused; 0 with a message is a warning.
    pub rejected: u64,
    /// Why.
    pub message: String,
}

/// The header of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a body may be compressed with.
const COMPRESSIONS: HeaderValue = HeaderValue::from_static("gzip, zstd, deflate");
const CHALLENGE_BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"tollgate\", charset=\"UTF-8\"");
const CHALLENGE_BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"tollgate\"");

impl PartialSuccess {
    /// Reads an upstream's `Export*ServiceResponse`. Full success is `None`, also where
    /// `partial_success` is set but empty, as Tempo and the Collector answer. What cannot be read is
    /// full success too: the status said that the batch was taken.
    pub fn read(encoding: Encoding, body: &[u8]) -> Option<Self> {
        let partial = match encoding {
            Encoding::Protobuf => Self::read_protobuf(body),
            Encoding::Json => Self::read_json(body),
        }?;
        (partial != Self::default()).then_some(partial)
    }

    fn read_protobuf(body: &[u8]) -> Option<Self> {
        let mut partial = Self::default();
        let mut response = Reader::new(body);
        while let Some(Ok((field, value))) = response.field() {
            let (1, Value::Bytes(bytes)) = (field, value) else { continue };
            let mut message = Reader::new(bytes);
            while let Some(Ok(field)) = message.field() {
                match field {
                    (1, Value::Number(rejected)) => {
                        partial.rejected = i64::try_from(rejected).unwrap_or(0).unsigned_abs();
                    }
                    (2, Value::Bytes(text)) => partial.message = String::from_utf8_lossy(text).into_owned(),
                    _ => {}
                }
            }
        }
        Some(partial)
    }

    fn read_json(body: &[u8]) -> Option<Self> {
        let response: serde_json::Value = serde_json::from_slice(body).ok()?;
        let partial = response.get("partialSuccess").or_else(|| response.get("partial_success"))?;
        let mut read = Self::default();
        for (name, value) in partial.as_object()? {
            if name.starts_with("rejected") {
                let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
                read.rejected = number.unwrap_or(0);
            } else if name.starts_with("error") {
                read.message = value.as_str().unwrap_or_default().to_owned();
            }
        }
        Some(read)
    }

    fn encode(&self, signal: Signal, encoding: Encoding) -> Bytes {
        match encoding {
            Encoding::Protobuf => {
                let mut message = Vec::new();
                if self.rejected > 0 {
                    put_number(&mut message, 1, self.rejected);
                }
                put_bytes(&mut message, 2, self.message.as_bytes());
                let mut response = Vec::new();
                put_bytes(&mut response, 1, &message);
                response.into()
            }
            Encoding::Json => {
                let rejected = match signal {
                    Signal::Logs => "rejectedLogRecords",
                    Signal::Traces => "rejectedSpans",
                    Signal::Metrics => "rejectedDataPoints",
                    Signal::Profiles => "rejectedProfiles",
                };
                let mut partial = json!({ "errorMessage": self.message });
                if self.rejected > 0 {
                    partial[rejected] = json!(self.rejected.to_string());
                }
                json!({ "partialSuccess": partial }).to_string().into()
            }
        }
    }
}

/// Reads the message of an upstream's `google.rpc.Status`, or its plain text, made [`printable`].
pub fn error_message(content_type: Option<&str>, body: &[u8]) -> String {
    let is = |part: &str| content_type.is_some_and(|value| value.contains(part));
    let text = if is("json") {
        let status = serde_json::from_slice::<serde_json::Value>(body).ok();
        status.and_then(|status| Some(status.get("message")?.as_str()?.to_owned()))
    } else if is("protobuf") || is("octet-stream") {
        status_message(body)
    } else {
        None
    };
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    printable(&text)
}

/// An upstream's words, cut to 512 characters and with nothing in them that could break a line.
pub fn printable(words: &str) -> String {
    const CHARACTERS_MAX: usize = 512;
    let printable = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(CHARACTERS_MAX).collect()
}

fn status_message(body: &[u8]) -> Option<String> {
    let mut status = Reader::new(body);
    while let Some(field) = status.field() {
        if let (2, Value::Bytes(text)) = field.ok()? {
            return Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    None
}

/// An answer's bytes, and over gRPC what follows them.
#[derive(Debug, Default)]
pub struct AnswerBody {
    data: Bytes,
    trailers: Option<Box<HeaderMap>>,
}

impl From<Bytes> for AnswerBody {
    fn from(data: Bytes) -> Self {
        Self { data, trailers: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.trailers {
            // A length is no part of gRPC's answers.
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.data.len() as u64),
        }
    }
}

/// Makes answers; knows the headers that each of them carries.
#[derive(Debug, Clone)]
pub struct Answers {
    every: HeaderMap,
}

impl Answers {
    /// `every`: the headers of each answer.
    pub fn new(every: &[(HeaderName, HeaderValue)]) -> Self {
        let mut every: HeaderMap = every.iter().cloned().collect();
        // They have their places from the beginning, else the map of each answer would have to grow.
        for own in [header::CONTENT_TYPE, REQUEST_ID] {
            every.insert(own, HeaderValue::from_static(""));
        }
        Self { every }
    }

    /// 200: everything arrived, or as much as `partial` says.
    pub fn success(
        &self,
        signal: Signal,
        protocol: Protocol,
        partial: Option<&PartialSuccess>,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        let message = match (partial, protocol.encoding()) {
            (Some(partial), encoding) => partial.encode(signal, encoding),
            (None, Encoding::Protobuf) => Bytes::new(),
            (None, Encoding::Json) => Bytes::from_static(b"{}"),
        };
        match protocol {
            Protocol::Http(encoding) => self.http(StatusCode::OK, encoding, message, request_id),
            Protocol::Grpc => self.grpc_success(message, request_id),
        }
    }

    /// A message over gRPC, and that it is all.
    pub fn grpc_success(&self, message: Bytes, request_id: HeaderValue) -> Response<AnswerBody> {
        let framed = grpc::frame(message.into(), false);
        let framed = framed.expect("invariant: what is answered is shorter than 4 GiB");
        self.grpc(
            AnswerBody { data: framed.to_bytes(), trailers: Some(Box::new(grpc::Status::ok())) },
            request_id,
        )
    }

    /// The refusal as a `google.rpc.Status` in the sender's encoding; over gRPC as its status.
    pub fn refusal(
        &self,
        refusal: &Refusal,
        protocol: Protocol,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        match protocol {
            Protocol::Http(encoding) => self.http_refusal(refusal, encoding, request_id),
            Protocol::Grpc => self.grpc_refusal(refusal, request_id),
        }
    }

    /// An answer without a body.
    pub fn no_content(&self, request_id: HeaderValue) -> Response<AnswerBody> {
        let mut response = self.response(AnswerBody::default(), HeaderValue::from_static(""), request_id);
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    }

    fn http_refusal(
        &self,
        refusal: &Refusal,
        encoding: Encoding,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        let body = match encoding {
            Encoding::Protobuf => status_protobuf(refusal, &refusal.message(), refusal.code(), None),
            Encoding::Json => status_json(refusal),
        };
        let mut response = self.http(refusal.status(), encoding, body, request_id);
        let headers = response.headers_mut();
        if let Some(wait) = refusal.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        match refusal {
            Refusal::NoCredentials | Refusal::BadCredentials => {
                headers.append(header::WWW_AUTHENTICATE, CHALLENGE_BASIC);
                headers.append(header::WWW_AUTHENTICATE, CHALLENGE_BEARER);
            }
            // Where this request ends, two readers may disagree: there is no next one behind it.
            Refusal::BadHead(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Refusal::Method(_) => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Refusal::ContentEncoding(_) => {
                headers.insert(header::ACCEPT_ENCODING, COMPRESSIONS);
            }
            _ => {}
        }
        response
    }

    /// Trailers alone, as the protocol calls an answer without a message.
    fn grpc_refusal(&self, refusal: &Refusal, request_id: HeaderValue) -> Response<AnswerBody> {
        let code = refusal.grpc_code();
        let mut response = self.grpc(AnswerBody::default(), request_id);
        let headers = response.headers_mut();
        let message = refusal.message();
        let message = &message[..message.floor_char_boundary(grpc::MESSAGE_BYTES_MAX)];
        let details = status_protobuf(refusal, message, code, refusal.retry_after());
        grpc::Status::write(headers, code, message, &details);
        match refusal {
            Refusal::ContentEncoding(_) => {
                headers.insert(grpc::ACCEPT_ENCODING, COMPRESSIONS);
            }
            Refusal::BadHead(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    fn http(
        &self,
        status: StatusCode,
        encoding: Encoding,
        body: Bytes,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        let media_type = HeaderValue::from_static(encoding.media_type());
        let mut response = self.response(AnswerBody::from(body), media_type, request_id);
        *response.status_mut() = status;
        response
    }

    fn grpc(&self, body: AnswerBody, request_id: HeaderValue) -> Response<AnswerBody> {
        self.response(body, grpc::MEDIA_TYPE, request_id)
    }

    fn response(
        &self,
        body: AnswerBody,
        media_type: HeaderValue,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        let mut response = Response::new(body);
        let mut headers = self.every.clone();
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(REQUEST_ID, request_id);
        *response.headers_mut() = headers;
        response
    }
}

const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// What of the request is wrong: a malformed body's answer carries `google.rpc.BadRequest` details, as
/// the specification asks for.
fn violation(refusal: &Refusal) -> Option<&'static str> {
    matches!(refusal, Refusal::Malformed(_)).then_some("body")
}

/// `google.rpc.Status`; with `retry_after`, a `google.rpc.RetryInfo` among its details.
fn status_protobuf(refusal: &Refusal, message: &str, code: u32, retry_after: Option<Duration>) -> Bytes {
    let mut status = Vec::with_capacity(message.len() + 16);
    put_number(&mut status, 1, u64::from(code));
    put_bytes(&mut status, 2, message.as_bytes());
    if let Some(field) = violation(refusal) {
        let mut detail = Vec::new();
        put_bytes(&mut detail, 1, field.as_bytes());
        put_bytes(&mut detail, 2, message.as_bytes());
        let mut bad_request = Vec::new();
        put_bytes(&mut bad_request, 1, &detail);
        grpc::put_any(&mut status, 3, BAD_REQUEST, &bad_request);
    }
    if let Some(wait) = retry_after {
        grpc::put_retry_info(&mut status, 3, wait);
    }
    status.into()
}

fn status_json(refusal: &Refusal) -> Bytes {
    let message = refusal.message();
    let mut status = json!({ "code": refusal.code(), "message": message });
    if let Some(field) = violation(refusal) {
        status["details"] = json!([{
            "@type": BAD_REQUEST,
            "fieldViolations": [{ "field": field, "description": message }],
        }]);
    }
    status.to_string().into()
}

#[cfg(test)]
mod tests;
