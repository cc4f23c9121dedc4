//! OTLP/gRPC: paths, the frame around a message, deadlines, and how a status travels.
//!
//! gRPC is HTTP/2 with a convention, and this is all of it that unary calls need. A message stays the
//! bytes that it is: nothing is decoded here.
//!
//! Source: "gRPC over HTTP2" (`doc/PROTOCOL-HTTP2.md` of grpc/grpc), "the protocol" below.

use super::{BodyLimits, Chunks, Compression, Refusal, Signal, inflate, route::compression};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, request::Parts};
use std::time::Duration;
use tollgate_document::wire::{Reader, Value, put_bytes, put_number};

/// The media type of requests and answers.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
/// The compressions of a request's or an answer's messages.
pub const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What compressions a server reads.
pub const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// How long a caller waits.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// A flag, and the length as a big-endian number of 32 bits.
const PREFIX_BYTES: usize = 5;
/// A message of an answer: a partial success with its words. The exporter reads it and keeps its time.
const ANSWER_LIMITS: BodyLimits =
    BodyLimits { wire: 256 << 10, decompressed: 256 << 10, timeout: Duration::MAX };
/// Longest message of a status that is sent: a peer may refuse heads of more than 8 KiB, and it stands there
/// twice.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Binary headers are base64, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `google.rpc.Code`
pub mod code {
    #![allow(missing_docs)]
    pub const OK: u32 = 0;
    pub const CANCELLED: u32 = 1;
    pub const UNKNOWN: u32 = 2;
    pub const INVALID_ARGUMENT: u32 = 3;
    pub const DEADLINE_EXCEEDED: u32 = 4;
    pub const NOT_FOUND: u32 = 5;
    pub const ALREADY_EXISTS: u32 = 6;
    pub const PERMISSION_DENIED: u32 = 7;
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    pub const FAILED_PRECONDITION: u32 = 9;
    pub const ABORTED: u32 = 10;
    pub const OUT_OF_RANGE: u32 = 11;
    pub const UNIMPLEMENTED: u32 = 12;
    pub const INTERNAL: u32 = 13;
    pub const UNAVAILABLE: u32 = 14;
    pub const DATA_LOSS: u32 = 15;
    pub const UNAUTHENTICATED: u32 = 16;
}

/// Takes the one message of a unary call out of its frame; says too whether it is compressed, which
/// each message does for itself.
///
/// # Errors
/// No frame, a cut one, more than one, or a compression that the head does not name.
pub fn unframe(mut body: Chunks, named: Compression) -> Result<(Chunks, Compression), Refusal> {
    let mut prefix = [0; PREFIX_BYTES];
    if !body.take_front(&mut prefix) {
        return Err(no_frame());
    }
    let [flag, length @ ..] = prefix;
    let compression = match flag {
        0 => Compression::Identity,
        1 if named == Compression::Identity => {
            return Err(malformed("the message is compressed, but grpc-encoding does not say how"));
        }
        1 => named,
        _ => return Err(malformed("its flag is neither 0 nor 1")),
    };
    let length = u64::from(u32::from_be_bytes(length));
    match (body.len() as u64).cmp(&length) {
        std::cmp::Ordering::Less => Err(malformed("the message is shorter than its length says")),
        std::cmp::Ordering::Greater => Err(malformed("there is more than one message")),
        std::cmp::Ordering::Equal => Ok((body, compression)),
    }
}

/// A body that is too short for a frame.
pub fn no_frame() -> Refusal {
    malformed("it has less than 5 bytes")
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(format!("the gRPC frame is broken: {what}"))
}

/// The message in the frame of an answer. grpc-go compresses it as the request was, whatever that
/// said it accepts.
pub fn message(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let named = compression(headers, &ENCODING).ok()?;
    let (message, compression) = unframe(body.clone().into(), named).ok()?;
    let plain = inflate(compression, &message, &ANSWER_LIMITS, |_| Ok(())).ok()?;
    Some(plain.to_bytes())
}

/// Puts a message into a frame. `None` where it is longer than a frame can say: 4 GiB.
pub fn frame(mut message: Chunks, is_compressed: bool) -> Option<Chunks> {
    let length = u32::try_from(message.len()).ok()?.to_be_bytes();
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    prefix.push(u8::from(is_compressed));
    prefix.extend_from_slice(&length);
    message.push_front(prefix.into());
    Some(message)
}

/// Reads a `grpc-timeout`: at most eight digits and a unit.
pub fn read_timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes a `grpc-timeout`, to the millisecond.
pub fn write_timeout(left: Duration) -> HeaderValue {
    let text = match left.as_millis() {
        millis @ ..=99_999_999 => format!("{millis}m"),
        millis => format!("{}S", (millis / 1000).min(99_999_999)),
    };
    let mut value = HeaderValue::try_from(text).expect("invariant: digits and a letter are a header value");
    value.set_sensitive(true); // no other call has it: HPACK need not remember it
    value
}

/// A status as gRPC has it: `google.rpc.Status`, of the details those that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `google.rpc.Code`
    pub code: u32,
    /// For people.
    pub message: String,
    /// `google.rpc.RetryInfo`: when to come back.
    pub retry_after: Option<Duration>,
}

impl Status {
    /// Reads it from trailers, or from the head of an answer that has nothing else. `None`: there is
    /// none there.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        // "grpc-status" with something else in it is a broken server's: the protocol calls that UNKNOWN.
        let code = headers.get(STATUS)?.to_str().ok().and_then(|code| code.parse().ok());
        let message = headers.get(MESSAGE).map(|message| percent_decode(message.as_bytes()));
        let details = headers.get(DETAILS).and_then(|details| BASE64.decode(details.as_bytes()).ok());
        Some(Self {
            code: code.unwrap_or(code::UNKNOWN),
            message: message.unwrap_or_default(),
            retry_after: details.as_deref().and_then(retry_info),
        })
    }

    /// Success, as trailers.
    pub fn ok() -> HeaderMap {
        HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
    }

    /// Puts a failure into headers; `details`: the whole `google.rpc.Status`.
    pub fn write(headers: &mut HeaderMap, code: u32, message: &str, details: &[u8]) {
        headers.insert(STATUS, HeaderValue::from(code));
        headers.insert(MESSAGE, percent_encode(message));
        let details = HeaderValue::try_from(BASE64.encode(details));
        headers.insert(DETAILS, details.expect("invariant: base64 is a header value"));
    }
}

/// The type of `RetryInfo` in a status's details.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// Finds the `RetryInfo` in a `google.rpc.Status`.
pub fn retry_info(status: &[u8]) -> Option<Duration> {
    fn bytes(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(message);
        std::iter::from_fn(move || reader.field()?.ok()).filter_map(move |(field, value)| match value {
            Value::Bytes(bytes) if field == wanted => Some(bytes),
            _ => None,
        })
    }
    let info = bytes(status, 3).find(|any| bytes(any, 1).next() == Some(RETRY_INFO.as_bytes()))?;
    let delay = bytes(bytes(info, 2).next()?, 1).next()?;
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(delay);
    while let Some(Ok((field, value))) = reader.field() {
        match (field, value) {
            (1, Value::Number(number)) => seconds = number,
            (2, Value::Number(number)) => nanos = number,
            _ => {}
        }
    }
    // Negative ones are ten bytes long and make no sense.
    let seconds = if seconds > i64::MAX as u64 { 0 } else { seconds };
    Some(Duration::new(seconds, u32::try_from(nanos).unwrap_or(0).min(999_999_999)))
}

/// Writes a `RetryInfo`.
pub fn put_retry_info(out: &mut Vec<u8>, field: u64, wait: Duration) {
    let mut delay = Vec::new();
    put_number(&mut delay, 1, wait.as_secs());
    if wait.subsec_nanos() > 0 {
        put_number(&mut delay, 2, u64::from(wait.subsec_nanos()));
    }
    let mut info = Vec::new();
    put_bytes(&mut info, 1, &delay);
    put_any(out, field, RETRY_INFO, &info);
}

/// Writes a `google.protobuf.Any`, as a status's details are.
pub fn put_any(out: &mut Vec<u8>, field: u64, type_url: &str, message: &[u8]) {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, type_url.as_bytes());
    put_bytes(&mut any, 2, message);
    put_bytes(out, field, &any);
}

/// The protocol's Percent-Encoded: what is not printable ASCII, and the percent sign.
fn percent_encode(message: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).expect("invariant: printable ASCII is a header value")
}

/// What is no percent-encoding stays as it is, as the protocol asks for.
fn percent_decode(value: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match after {
            [high, low, behind @ ..]
                if *byte == b'%'
                    && let (Some(high), Some(low)) = (hex(high), hex(low)) =>
            {
                decoded.push((high * 16 + low) as u8);
                rest = behind;
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The path of `grpc.health.v1.Health/Check`.
const HEALTH_PATH: &str = "/grpc.health.v1.Health/Check";

/// Whether it is one.
pub fn is_health_check(head: &Parts) -> bool {
    head.uri.path() == HEALTH_PATH && head.version == Version::HTTP_2 && head.method == Method::POST
}

/// Longest body of a health check: room for any service's name.
pub const HEALTH_BYTES_MAX: u64 = 256;

/// Answers a `HealthCheckRequest` with a `HealthCheckResponse`. The server as a whole and its own
/// services are known, `None` for others.
pub fn health(request: &[u8], is_serving: bool) -> Option<Bytes> {
    const SERVING: u64 = 1;
    const NOT_SERVING: u64 = 2;
    let mut reader = Reader::new(request);
    let mut service: &[u8] = b"";
    while let Some(Ok((field, value))) = reader.field() {
        if let (1, Value::Bytes(name)) = (field, value) {
            service = name;
        }
    }
    let is_known =
        service.is_empty() || Signal::ALL.iter().any(|signal| signal.grpc_service().as_bytes() == service);
    is_known.then(|| {
        let mut response = Vec::new();
        put_number(&mut response, 1, if is_serving { SERVING } else { NOT_SERVING });
        response.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(bytes: &[u8]) -> Chunks {
        Bytes::copy_from_slice(bytes).into()
    }

    #[test]
    fn a_message_comes_out_of_its_frame() {
        let framed = frame(chunks(b"hello"), true).unwrap();
        assert_eq!(framed.to_bytes(), &b"\x01\0\0\0\x05hello"[..]);
        let (message, compression) = unframe(framed, Compression::Gzip).unwrap();
        assert_eq!((message.to_bytes(), compression), (Bytes::from("hello"), Compression::Gzip));
        // One that is not compressed says so itself, whatever the head names.
        let framed = frame(chunks(b""), false).unwrap();
        let (message, compression) = unframe(framed, Compression::Zstd).unwrap();
        assert!(message.is_empty());
        assert_eq!(compression, Compression::Identity);
    }

    #[test]
    fn a_prefix_may_be_cut_anywhere() {
        let whole = b"\0\0\0\0\x03abc";
        for cut in 0..whole.len() {
            let mut pieces = chunks(&whole[..cut]);
            pieces.push(Bytes::copy_from_slice(&whole[cut..]));
            let (message, _) = unframe(pieces, Compression::Identity).unwrap();
            assert_eq!(message.to_bytes(), "abc", "cut at {cut}");
        }
    }

    #[test]
    fn broken_frames_are_told_apart() {
        let cases: [(&[u8], &str); 6] = [
            (b"\0\0\0\0", "less than 5 bytes"),
            (b"\0\0\0\0\x04abc", "shorter than its length"),
            (b"\0\xff\xff\xff\xffabc", "shorter than its length"),
            (b"\0\0\0\0\x02abc", "more than one message"),
            (b"\x01\0\0\0\x03abc", "grpc-encoding does not say"),
            (b"\x02\0\0\0\x03abc", "neither 0 nor 1"),
        ];
        for (body, words) in cases {
            let refusal = unframe(chunks(body), Compression::Identity).unwrap_err();
            assert!(matches!(&refusal, Refusal::Malformed(text) if text.contains(words)), "{refusal:?}");
        }
    }

    #[test]
    fn an_answers_message_is_inflated_up_to_a_limit() {
        let named = |name| HeaderMap::from_iter([(ENCODING, HeaderValue::from_static(name))]);
        let framed = |message: &[u8]| {
            let compressed = zstd::encode_all(message, 1).unwrap();
            frame(chunks(&compressed), true).unwrap().to_bytes()
        };
        assert_eq!(message(&named("zstd"), &framed(b"hello")).unwrap(), "hello");
        assert_eq!(message(&named("zstd"), &Bytes::from_static(b"\0\0\0\0\x02hi")).unwrap(), "hi");
        assert_eq!(message(&named("zstd"), &framed(&[0; 1 << 20])), None);
        assert_eq!(message(&named("gzip"), &framed(b"hello")), None);
        assert_eq!(message(&named("snappy"), &framed(b"hello")), None);
        assert_eq!(message(&HeaderMap::new(), &framed(b"hello")), None);
    }

    #[test]
    fn timeouts_are_read_in_every_unit_and_written_so_that_they_fit() {
        let read = |text: &'static str| read_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("10S"), Some(Duration::from_secs(10)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(read("0n"), Some(Duration::ZERO));
        for wrong in ["", "S", "10", "-1S", "1.5S", "123456789S", "10s", "10 S", "1SS"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        for wait in [0, 1, 85_000, 99_999_999, 100_000_000, u64::MAX] {
            let wait = Duration::from_millis(wait);
            let written = read_timeout(&write_timeout(wait)).unwrap();
            assert!(
                written <= wait
                    && wait.min(Duration::from_secs(99_999_999)) - written < Duration::from_secs(1)
            );
        }
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let mut details = Vec::new();
        put_number(&mut details, 1, 14);
        put_bytes(&mut details, 3, b"\x0a\x05other");
        put_retry_info(&mut details, 3, Duration::from_millis(2500));
        let mut headers = HeaderMap::new();
        Status::write(&mut headers, 14, "100 % full – später\n", &details);
        assert_eq!(headers[&MESSAGE], "100 %25 full %E2%80%93 sp%C3%A4ter%0A");
        let expected = Status {
            code: 14,
            message: "100 % full – später\n".to_owned(),
            retry_after: Some(Duration::from_millis(2500)),
        };
        assert_eq!(Status::read(&headers), Some(expected));
        assert_eq!(Status::read(&Status::ok()).map(|status| status.code), Some(0));
        assert_eq!(Status::read(&HeaderMap::new()), None);
    }

    #[test]
    fn a_strange_status_is_unknown_and_its_message_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(STATUS, HeaderValue::from_static("fine"));
        headers.insert(MESSAGE, HeaderValue::from_static("50% of %zz %E4"));
        headers.insert(DETAILS, HeaderValue::from_static("!"));
        let status = Status::read(&headers).unwrap();
        assert_eq!((status.code, status.retry_after), (code::UNKNOWN, None));
        assert_eq!(status.message, "50% of %zz \u{fffd}");
    }

    #[test]
    fn health_knows_the_server_and_its_services() {
        let check = |service: &str| {
            let mut request = Vec::new();
            put_bytes(&mut request, 1, service.as_bytes());
            health(&request, true)
        };
        assert_eq!(health(b"", true).unwrap(), &b"\x08\x01"[..]);
        assert_eq!(health(b"", false).unwrap(), &b"\x08\x02"[..]);
        assert!(check("opentelemetry.proto.collector.logs.v1.LogsService").is_some());
        assert!(check("grpc.health.v1.Health").is_none());
    }
}
