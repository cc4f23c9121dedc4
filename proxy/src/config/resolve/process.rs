//! What concerns the process as a whole: threads, drain, log, limits over all tenants, answer headers,
//! failed logins, the private listener.

use super::{
    HOUR, MAX_BYTES, MAX_COUNT, SECOND,
    header::{ANSWER_HEADER, AnswerValue},
    report_larger,
};
use crate::{
    admin, admission,
    config::{
        diagnostic::Diagnostic,
        kind::{Bytes, Count, Fault, Flag, OneOf, Parsed, Time, Word},
        section::{Located, Section},
    },
    telemetry::{LogConfig, LogFormat},
    tenant,
};
use http::{HeaderName, HeaderValue};
use std::{
    net::{IpAddr, SocketAddr},
    num::NonZero,
    thread,
    time::Duration,
};
use tracing::Level;

/// Threads that serve.
pub fn workers(s: &mut Section) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let doc = "Threads that serve; without it one for each core. Read at the start only.";
    s.optional("workers", doc, Count(1..=1024usize)).map_or(cores, |workers| workers.value)
}

/// `[drain]`
pub fn drain(s: &mut Section) -> Duration {
    let doc = "How long requests may take to finish when Tollgate stops, before they are cut off.";
    s.value("timeout", doc, Time(Duration::ZERO..=HOUR), Duration::from_secs(30)).value
}

/// `[log]`
pub fn log(s: &mut Section) -> LogConfig {
    const FORMATS: OneOf<LogFormat> =
        OneOf(&[(Word::Text("json"), LogFormat::Json), (Word::Text("text"), LogFormat::Text)]);
    const LEVELS: OneOf<Level> = OneOf(&[
        (Word::Text("error"), Level::ERROR),
        (Word::Text("warn"), Level::WARN),
        (Word::Text("info"), Level::INFO),
        (Word::Text("debug"), Level::DEBUG),
        (Word::Text("trace"), Level::TRACE),
    ]);
    let default = LogConfig::default();
    LogConfig {
        format: s
            .value("format", "One JSON object a line, or text for people.", FORMATS, default.format)
            .value,
        level: s.value("level", "From which level on events are written.", LEVELS, default.level).value,
        access: s.value("access", "Whether each request has its line.", Flag, default.access).value,
    }
}

/// Limits over all tenants, each with its place.
pub struct Limits {
    /// The limits.
    pub values: admission::GlobalLimits,
    /// The memory budget, to hold those of the tenants against.
    pub in_flight_bytes: Located<u64>,
}

/// `[limits]`
pub fn limits(s: &mut Section) -> Limits {
    let default = admission::GlobalLimits::default();
    let rate = "Requests per second; without it only the tenants' own limits count.";
    let bytes = "Bytes per second on the wire; without it only the tenants' own limits count.";
    let requests_per_second = s.optional("requests_per_second", rate, Count(1..=MAX_COUNT));
    let bytes_per_second = s.optional("bytes_per_second", bytes, Bytes(1..=MAX_BYTES));
    let in_flight = s.value("in_flight", "Requests under way.", Count(1..=MAX_COUNT), default.in_flight);
    let doc = "Memory for bodies of requests under way, before and after decompression.";
    let in_flight_bytes = s.value("in_flight_bytes", doc, Bytes(1..=MAX_BYTES), default.in_flight_bytes);
    let values = admission::GlobalLimits {
        requests_per_second: requests_per_second.map(|rate| rate.value),
        bytes_per_second: bytes_per_second.map(|rate| rate.value),
        in_flight: in_flight.value,
        in_flight_bytes: in_flight_bytes.value,
    };
    Limits { values, in_flight_bytes }
}

/// The headers of every answer, unless they are changed or dropped: those that browsers heed, as a
/// public host has them.
const ANSWER_HEADERS: [(HeaderName, &str); 6] = [
    (http::header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::X_XSS_PROTECTION, "1; mode=block"),
    (http::header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains; preload"),
    (http::header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
];

/// `[headers]`
pub fn answer_headers(s: &mut Section) -> Vec<(HeaderName, HeaderValue)> {
    let doc = "Headers of every answer. A string changes or adds one, `false` drops one. Built in: \
               `X-Frame-Options: SAMEORIGIN`, `X-Content-Type-Options: nosniff`, \
               `X-XSS-Protection: 1; mode=block`, \
               `Strict-Transport-Security: max-age=31536000; includeSubDomains; preload`, \
               `Referrer-Policy: strict-origin-when-cross-origin`, \
               `Permissions-Policy: interest-cohort=()`.";
    let mut headers: Vec<(HeaderName, HeaderValue)> =
        ANSWER_HEADERS.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    for (name, value) in s.map("headers", doc, (ANSWER_HEADER, AnswerValue)) {
        let known = headers.iter().position(|(known, _)| *known == name.value);
        match (known, value.value) {
            (Some(at), Some(value)) => headers[at].1 = value,
            (Some(at), None) => drop(headers.remove(at)),
            (None, Some(value)) => headers.push((name.value, value)),
            (None, None) => s.report(
                Diagnostic::warning(format!("no answer has `{}`", name.value))
                    .at(&name.place, "nothing to drop"),
            ),
        }
    }
    headers
}

/// `[auth.failures]`
pub fn failures(s: &mut Section) -> tenant::FailureLimits {
    let default = tenant::FailureLimits::default();
    let doc = "Wrong logins of one address with one user name in a window; then 429.";
    let events = s.value("events", doc, Count(1..=u8::MAX), default.events);
    let doc = "Wrong logins of one address in a window, whatever the names; then 429.";
    let address_events = s.value("address_events", doc, Count(1..=u8::MAX), default.address_events);
    let window = s.value("window", "How long wrong logins count.", Time(SECOND..=HOUR), default.window);
    let what = "one user of an address may fail more often than the whole address";
    report_larger(s, what, u8::to_string, ("events", &events), ("address_events", &address_events));
    tenant::FailureLimits { events: events.value, address_events: address_events.value, window: window.value }
}

/// `[admin]`
pub fn admin(s: &mut Section) -> Option<Located<SocketAddr>> {
    let bind = s.required("bind", "Where health and metrics are served: a private address.", ADDRESS)?;
    if !bind.value.ip().is_loopback() {
        s.report(
            Diagnostic::warning("the admin listener has no authentication")
                .at(&bind.place, "others than this machine can reach it")
                .help("bind it to 127.0.0.1, or see to it that only your own network can connect"),
        );
    }
    Some(bind)
}

impl From<SocketAddr> for admin::Config {
    fn from(bind: SocketAddr) -> Self {
        Self { bind }
    }
}

/// An address to bind.
const ADDRESS: Parsed<SocketAddr> =
    Parsed { wanted: "an address with a port such as \"127.0.0.1:4319\"", parse: address };

/// Reads an address with a port.
pub fn address(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let fault = Fault::new("this is not an address with a port");
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(fault
            .label("the port is missing")
            .help(format!("such as \"{}\"", SocketAddr::new(ip, 4318))));
    }
    if let Some(port) = text.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok()) {
        return Err(fault.label("the address is missing").help(format!(
            "\"0.0.0.0:{port}\" for every IPv4 address, \"[::]:{port}\" for IPv6 too, \"127.0.0.1:{port}\" for this machine"
        )));
    }
    if let Some((host, port)) =
        text.rsplit_once(':').filter(|(_, port)| port.chars().all(|c| c.is_ascii_digit()))
    {
        if port.parse::<u16>().is_err() {
            return Err(fault.label("a port is a number from 0 to 65535"));
        }
        if host == "localhost" {
            return Err(fault.label("a name").help(format!("for this machine: \"127.0.0.1:{port}\"")));
        }
    }
    Err(fault.label("expected such as \"127.0.0.1:4318\" or \"[::1]:4318\""))
}
