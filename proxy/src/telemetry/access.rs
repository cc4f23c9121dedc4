//! The access log: one line a request, in the form that docs/access-log.md describes.
//!
//! A line is formatted by hand, straight into the log's buffer: it is the one thing that is logged
//! for every request, and a general serialiser with its allocations would cost several times as
//! much. No field of it can hold a credential.

use super::{LogFormat, Outcome, log::Sink, log::timestamp};
use crate::otlp::{Compression, Encoding, Signal};
use std::{
    io::Write,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Bytes of a value from outside that are written. 128: an honest request id or Cf-Ray has at most
/// 36, and a header may have 64 KiB.
const VALUE_BYTES_MAX: usize = 128;
/// Room for a line, taken at once so that the buffer grows once at most. A line has about 450.
const LINE_BYTES: usize = 1024;

/// What is known of a request when it ends. A field that is `None` is left out of the line.
#[derive(Debug, Clone)]
pub struct Access<'a> {
    /// When it ended.
    pub time: SystemTime,
    /// What the request is called in every log.
    pub request_id: &'a str,
    /// Cloudflare's name for the request, as it came.
    pub cf_ray: Option<&'a [u8]>,
    /// The listener's name.
    pub listener: &'a str,
    /// Who is really calling; none: a peer on a Unix socket that named nobody.
    pub client: Option<IpAddr>,
    /// The version that the peer speaks.
    pub protocol: http::Version,
    /// The method.
    pub method: &'a str,
    /// The tenant, once it is known.
    pub tenant: Option<&'a str>,
    /// The name of the credential that was shown, once it has been verified.
    pub credential: Option<&'a str>,
    /// What the path asks for.
    pub signal: Option<Signal>,
    /// How the body is written, once its type has been understood.
    pub encoding: Option<Encoding>,
    /// How the body is compressed, once that has been understood.
    pub compression: Option<Compression>,
    /// The status that the sender got, over gRPC the one that says the same; none if it went away before
    /// there was one.
    pub status: Option<u16>,
    /// The code that a gRPC sender got.
    pub grpc_status: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of the body as they came.
    pub bytes: u64,
    /// Bytes of the body after decompression.
    pub bytes_inflated: u64,
    /// Log records, spans or data points in the batch.
    pub records: u64,
    /// Of them, those that plugins took out, where plugins worked on the batch.
    pub records_discarded: Option<u64>,
    /// Of them, those that plugins sent elsewhere, where plugins worked on the batch.
    pub records_routed: Option<u64>,
    /// How the plugins fared: `name:outcome:µs`, with commas between.
    pub plugins: Option<&'a str>,
    /// The upstream that the batch was sent to.
    pub upstream: Option<&'a str>,
    /// The status that the upstream gave.
    pub upstream_status: Option<u16>,
    /// The code that a gRPC upstream gave.
    pub upstream_grpc_status: Option<u32>,
    /// Where the batch was sent to several upstreams, what became of each part: `upstream:outcome`, with
    /// commas between.
    pub destinations: Option<&'a str>,
    /// How long it took.
    pub steps: Steps,
    /// Which room said no, and why.
    pub refusal: Option<Refused>,
}

/// How long a request took, in each step that it came to and in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    /// Finding out who it is.
    pub auth: Option<Duration>,
    /// Waiting for admission and for the body.
    pub read: Option<Duration>,
    /// Inflating and checking the body.
    pub decode: Option<Duration>,
    /// The plugins' work on it.
    pub transform: Option<Duration>,
    /// Sending it on, until the upstream's answer.
    pub export: Option<Duration>,
    /// From the request's head to its answer.
    pub total: Duration,
}

/// Who said no, and why. Both are words of a small set in the code, never a sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The room: `otlp`, `client`, `tenant`, `admission`, `plugin`, `exporter` ….
    pub by: &'static str,
    /// A short token, as `rate` or `unknown_path`.
    pub reason: &'static str,
}

impl<'a> Access<'a> {
    /// A request of which nothing else is known yet. It ended now and without an answer, until
    /// something else is said.
    pub fn new(listener: &'a str, request_id: &'a str, method: &'a str) -> Self {
        Self {
            time: SystemTime::now(),
            request_id,
            cf_ray: None,
            listener,
            client: None,
            protocol: http::Version::HTTP_11,
            method,
            tenant: None,
            credential: None,
            signal: None,
            encoding: None,
            compression: None,
            status: None,
            grpc_status: None,
            outcome: Outcome::default(),
            bytes: 0,
            bytes_inflated: 0,
            records: 0,
            records_discarded: None,
            records_routed: None,
            plugins: None,
            upstream: None,
            upstream_status: None,
            upstream_grpc_status: None,
            destinations: None,
            steps: Steps::default(),
            refusal: None,
        }
    }
}

/// Writes access lines.
#[derive(Clone)]
pub struct AccessLog(Option<(Arc<Sink>, LogFormat)>);

impl AccessLog {
    /// Lines in this format, into this sink.
    pub fn new(sink: Arc<Sink>, format: LogFormat) -> Self {
        Self(Some((sink, format)))
    }

    /// Writes nothing.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Writes the line of a request.
    pub fn write(&self, access: &Access<'_>) {
        if let Some((sink, format)) = &self.0 {
            sink.line(|out| write_line(out, *format, access));
        }
    }
}

/// One line, its end included.
fn write_line(out: &mut Vec<u8>, format: LogFormat, access: &Access<'_>) {
    out.reserve(LINE_BYTES);
    let json = format == LogFormat::Json;
    // Both begin as `tracing`'s own lines do, so that one rule reads all lines.
    out.extend_from_slice(if json { b"{\"timestamp\":\"" } else { b"" });
    out.extend_from_slice(&timestamp(access.time));
    out.extend_from_slice(if json {
        b"\",\"level\":\"INFO\",\"target\":\"access\""
    } else {
        b"  INFO access:"
    });
    match format {
        LogFormat::Json => write_fields(&mut Line::<true> { out }, access),
        LogFormat::Text => write_fields(&mut Line::<false> { out }, access),
    }
    out.extend_from_slice(if json { b"}\n" } else { b"\n" });
}

/// A field's name with what stands around it, in both formats, so that one copy writes it.
macro_rules! key {
    ($name:literal) => {
        Key { json: concat!(",\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}

/// Every field, in the order of docs/access-log.md.
fn write_fields<const JSON: bool>(line: &mut Line<'_, JSON>, access: &Access<'_>) {
    line.outside(key!("request_id"), Some(access.request_id.as_bytes()));
    line.outside(key!("cf_ray"), access.cf_ray);
    line.text(key!("listener"), Some(access.listener));
    line.client(key!("client"), access.client);
    line.word(key!("protocol"), Some(protocol(access.protocol)));
    line.outside(key!("method"), Some(access.method.as_bytes()));
    line.text(key!("tenant"), access.tenant);
    line.text(key!("credential"), access.credential);
    line.word(key!("signal"), access.signal.map(Signal::name));
    line.word(key!("encoding"), access.encoding.map(Encoding::name));
    line.word(key!("compression"), access.compression.map(Compression::name));
    line.number(key!("status"), access.status.map(u64::from));
    line.number(key!("grpc_status"), access.grpc_status.map(u64::from));
    line.word(key!("outcome"), Some(access.outcome.name()));
    line.number(key!("bytes"), Some(access.bytes));
    line.number(key!("bytes_inflated"), Some(access.bytes_inflated));
    line.number(key!("records"), Some(access.records));
    line.number(key!("records_discarded"), access.records_discarded);
    line.number(key!("records_routed"), access.records_routed);
    line.text(key!("plugins"), access.plugins);
    line.text(key!("upstream"), access.upstream);
    line.number(key!("upstream_status"), access.upstream_status.map(u64::from));
    line.number(key!("upstream_grpc_status"), access.upstream_grpc_status.map(u64::from));
    line.text(key!("destinations"), access.destinations);
    line.number(key!("auth_us"), access.steps.auth.map(micros));
    line.number(key!("read_us"), access.steps.read.map(micros));
    line.number(key!("decode_us"), access.steps.decode.map(micros));
    line.number(key!("transform_us"), access.steps.transform.map(micros));
    line.number(key!("export_us"), access.steps.export.map(micros));
    line.number(key!("total_us"), Some(micros(access.steps.total)));
    line.word(key!("refused_by"), access.refusal.map(|refused| refused.by));
    line.word(key!("reason"), access.refusal.map(|refused| refused.reason));
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Whole microseconds, saturating.
pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()))
}

struct Key {
    json: &'static str,
    text: &'static str,
}

/// A line under way, in JSON or in text: known when it is compiled, as each key is, so that a key
/// becomes a few stores and not a call.
struct Line<'a, const JSON: bool> {
    out: &'a mut Vec<u8>,
}

impl<const JSON: bool> Line<'_, JSON> {
    #[inline(always)]
    fn key(&mut self, key: Key) {
        self.out.extend_from_slice(if JSON { key.json } else { key.text }.as_bytes());
    }

    #[inline(always)]
    fn number(&mut self, key: Key, number: Option<u64>) {
        if let Some(number) = number {
            self.key(key);
            self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    /// A word of the code, which needs no escape.
    #[inline(always)]
    fn word(&mut self, key: Key, word: Option<&'static str>) {
        if let Some(word) = word {
            self.key(key);
            self.quoted_in_json(|out| out.extend_from_slice(word.as_bytes()));
        }
    }

    /// A name out of the configuration.
    #[inline(always)]
    fn text(&mut self, key: Key, text: Option<&str>) {
        if let Some(text) = text {
            self.key(key);
            self.escaped(text.as_bytes());
        }
    }

    /// Bytes out of a sender's hand: any bytes, and any number of them.
    #[inline(always)]
    fn outside(&mut self, key: Key, bytes: Option<&[u8]>) {
        if let Some(bytes) = bytes {
            self.key(key);
            self.escaped(&bytes[..bytes.len().min(VALUE_BYTES_MAX)]);
        }
    }

    #[inline(always)]
    fn client(&mut self, key: Key, client: Option<IpAddr>) {
        self.key(key);
        self.quoted_in_json(|out| match client {
            None => out.extend_from_slice(b"unix"),
            Some(IpAddr::V4(address)) => {
                for (i, octet) in address.octets().into_iter().enumerate() {
                    out.extend_from_slice(if i > 0 { b"." } else { b"" });
                    out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
                }
            }
            Some(IpAddr::V6(address)) => {
                let _ = write!(out, "{address}"); // a Vec takes everything
            }
        });
    }

    fn quoted_in_json(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if JSON {
            self.out.push(b'"');
        }
        write(self.out);
        if JSON {
            self.out.push(b'"');
        }
    }

    /// In JSON always in quotes; in text where it could be read as something else.
    fn escaped(&mut self, bytes: &[u8]) {
        let plain = bytes.iter().all(|byte| PLAIN[usize::from(*byte)]);
        if plain && (JSON || !bytes.is_empty() && !bytes.iter().any(|byte| b" =".contains(byte))) {
            self.quoted_in_json(|out| out.extend_from_slice(bytes));
        } else {
            self.out.push(b'"');
            escape(self.out, bytes);
            self.out.push(b'"');
        }
    }
}

/// The bytes that stand for themselves in a JSON string: printable ASCII without `"` and `\`.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

/// The inside of a JSON string. What is not UTF-8 becomes U+FFFD. Control characters are escaped,
/// those too that JSON would allow, so that a sender cannot steer the terminal that shows the line.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
                char if char.is_control() => {
                    let _ = write!(out, "\\u{:04x}", u32::from(char)); // a Vec takes everything
                }
                char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::log::tests::Page;
    use std::{collections::BTreeSet, time::UNIX_EPOCH};

    const DOCUMENT: &str = include_str!("../../../docs/access-log.md");

    /// The request of the document's examples.
    fn delivered() -> Access<'static> {
        Access {
            time: UNIX_EPOCH + Duration::from_millis(1_798_761_599_042),
            cf_ray: Some(b"8f2c1e0b7d4a9c33-FRA"),
            client: Some([203, 0, 113, 7].into()),
            protocol: http::Version::HTTP_2,
            tenant: Some("shop"),
            credential: Some("oxygen"),
            signal: Some(Signal::Logs),
            encoding: Some(Encoding::Protobuf),
            compression: Some(Compression::Gzip),
            status: Some(200),
            outcome: Outcome::Delivered,
            bytes: 6_204,
            bytes_inflated: 67_310,
            records: 100,
            upstream: Some("alloy"),
            upstream_status: Some(200),
            steps: Steps {
                auth: Some(Duration::from_micros(2)),
                read: Some(Duration::from_micros(812)),
                decode: Some(Duration::from_micros(61)),
                export: Some(Duration::from_micros(2_310)),
                total: Duration::from_micros(3_190),
                ..Steps::default()
            },
            ..Access::new("tunnel", "5c1f90a2e7b34d68", "POST")
        }
    }

    /// The one that plugins split.
    fn split() -> Access<'static> {
        Access {
            request_id: "5c1f90a2e7b34d6a",
            records_discarded: Some(7),
            records_routed: Some(20),
            plugins: Some("redact:forwarded:48,split:forwarded:9"),
            destinations: Some("alloy:delivered,archive:rejected"),
            steps: Steps {
                transform: Some(Duration::from_micros(60)),
                total: Duration::from_micros(3_260),
                ..delivered().steps
            },
            ..delivered()
        }
    }

    /// The other one.
    fn refused() -> Access<'static> {
        Access {
            signal: Some(Signal::Traces),
            status: Some(429),
            outcome: Outcome::Refused,
            steps: Steps {
                auth: Some(Duration::from_micros(3)),
                total: Duration::from_micros(9),
                ..Steps::default()
            },
            refusal: Some(Refused { by: "tenant", reason: "logins_limited" }),
            time: delivered().time,
            ..Access::new("tunnel", "5c1f90a2e7b34d69", "POST")
        }
    }

    fn line(format: LogFormat, access: &Access<'_>) -> String {
        let mut out = Vec::new();
        write_line(&mut out, format, access);
        String::from_utf8(out).unwrap()
    }

    fn json(access: &Access<'_>) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(&line(LogFormat::Json, access)).unwrap()
    }

    #[test]
    fn the_document_names_every_field_and_no_other() {
        let documented: Vec<&str> =
            DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let everything = Access {
            refusal: refused().refusal,
            grpc_status: Some(0),
            upstream_grpc_status: Some(0),
            ..split()
        };
        let written: BTreeSet<String> = json(&everything).keys().cloned().collect();
        assert_eq!(documented.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>(), written);

        let text = line(LogFormat::Text, &everything);
        let fields: Vec<&str> =
            text.split_whitespace().filter_map(|part| Some(part.split_once('=')?.0)).collect();
        assert_eq!(fields, documented[3..], "after timestamp, level and target, in the same order");
    }

    #[test]
    fn the_documents_examples_are_what_is_written() {
        for access in [delivered(), refused(), split()] {
            for format in [LogFormat::Json, LogFormat::Text] {
                let line = line(format, &access);
                assert!(DOCUMENT.contains(&line), "docs/access-log.md lacks\n{line}");
            }
        }
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let access = Access::new("public", "1", "GET");
        let fields = json(&access);
        for absent in ["cf_ray", "tenant", "signal", "status", "upstream", "auth_us", "reason"] {
            assert!(!fields.contains_key(absent), "{absent}");
        }
        assert_eq!(fields["client"], "unix");
        assert_eq!(fields["outcome"], "aborted");
        let v6 = Access { client: Some("2001:db8::1".parse().unwrap()), ..access };
        assert_eq!(json(&v6)["client"], "2001:db8::1");
    }

    /// What came, cut and mended, comes out again, whatever it was; and it stays one line.
    fn check_escape(bytes: &[u8]) {
        let access = Access { cf_ray: Some(bytes), ..Access::new("public", "1", "GET") };
        let cut = &bytes[..bytes.len().min(VALUE_BYTES_MAX)];
        let expected = String::from_utf8_lossy(cut);
        let written = line(LogFormat::Json, &access);
        assert_eq!(written.trim_end_matches('\n').chars().filter(|char| char.is_control()).count(), 0);
        let fields: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(fields["cf_ray"], *expected);

        let written = line(LogFormat::Text, &access);
        let rest = written.split_once(" cf_ray=").unwrap().1;
        let value = match rest.starts_with('"') {
            true => serde_json::Deserializer::from_str(rest).into_iter().next().unwrap().unwrap(),
            false => rest.split_once(" listener=").unwrap().0.to_owned(),
        };
        assert_eq!(value, expected);
    }

    #[test]
    fn any_bytes_of_a_sender_stay_one_value() {
        check_escape(b"");
        for first in 0..=255 {
            check_escape(&[first]);
            for second in (0..=255).step_by(3) {
                check_escape(&[first, second, b'a']);
            }
        }
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2_000 {
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 48) as usize
            };
            let bytes: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
            check_escape(&bytes);
        }
        check_escape("\u{2028}ü\u{9b}31m€\u{10ffff}\r\n\t".as_bytes());
        check_escape(&[b"x".repeat(127), "ü".into()].concat());
    }

    #[test]
    fn lines_go_into_the_sink_unless_it_is_silent() {
        let page = Page::default();
        let sink = Sink::start(page.clone(), 1 << 20).unwrap();
        AccessLog::new(Arc::clone(&sink), LogFormat::Json).write(&delivered());
        AccessLog::silent().write(&delivered());
        assert!(sink.flush());
        assert_eq!(page.text(), line(LogFormat::Json, &delivered()));
    }
}
