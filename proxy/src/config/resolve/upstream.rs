//! `[upstream.NAME]`: a destination.

use super::{
    HOUR, MAX_BYTES, MAX_COUNT, MILLISECOND, MINUTE,
    header::{REQUEST_HEADER, RequestValue},
    report_larger, tls,
};
use crate::{
    admission::UpstreamLimits,
    config::{
        diagnostic::Diagnostic,
        kind::{Bytes, Count, Fault, Kind, OneOf, Parsed, Time, Word, show_bytes, show_time},
        reader::Reader,
        section::{Located, Section},
        source::{Node, Place, Value},
    },
    exporter::{self, HttpVersion, SendCompression, SendProtocol},
    otlp::{Compression, Encoding, Signal},
};
use http::{HeaderName, uri::Authority};
use serde_json::{Value as Json, json};
use std::{
    fmt::{self, Display},
    time::Duration,
};

/// An upstream as written.
pub struct Upstream {
    /// Its name, for tenants to refer to.
    pub name: Located<String>,
    /// The headers it sets, to hold against those of the tenants.
    pub headers: Vec<Located<HeaderName>>,
    /// What the rooms get, unless something was wrong.
    pub config: Option<(exporter::Config, UpstreamLimits)>,
}

/// Reads one.
pub fn upstream(s: &mut Section, name: &Located<String>) -> Upstream {
    let doc = "Where it is: http:// or https://, a host, a port if it is not the usual one, and what stands before /v1/logs.";
    let endpoint = s.required("endpoint", doc, EndpointKind);
    let doc = "The Host header, and the name that the certificate is checked for. Default: the endpoint's.";
    let host = s.optional("host", doc, HOST);
    let doc = "What is spoken: OTLP over HTTP, or OTLP over gRPC.";
    let protocol = s.value("protocol", doc, PROTOCOL, Protocol::Http);
    let doc = "How batches are written, \"http\" only; \"keep\": as they came.";
    let encoding = s.value("encoding", doc, ENCODING, None);
    let doc = "With \"auto\" over TLS what both sides can, else HTTP/1.1; gRPC: always 2.";
    let http_version = s.value("http_version", doc, HTTP_VERSION, HttpVersion::default());
    let (protocol, http_version) = spoken(s, &protocol, &encoding, &http_version);
    let tls = tls::client(s);
    let doc = "Headers of every request, such as credentials. They replace a sender's of the same name.";
    let headers = s.map("headers", doc, (REQUEST_HEADER, RequestValue::new(None)));
    let doc = "How bodies are compressed; \"keep\": as they came.";
    let compression = s.value("compression", doc, COMPRESSION, SendCompression::default());
    let (connect_timeout, request_timeout) = s.table("timeouts", "Time limits of a request.", timeouts);
    let limits = s.table("limits", "What may be under way to it.", limits);

    let names = headers.iter().map(|(name, _)| name.clone()).collect();
    let config = endpoint.and_then(|endpoint| {
        let host =
            host.or_else(|| Some(Located { value: endpoint.authority()?, place: endpoint.place.clone() }))?;
        let tls = if endpoint.tls {
            tls.resolve(s, &Located { value: host.host().to_owned(), place: host.place.clone() })
        } else {
            tls.refuse(s, &endpoint.place);
            None
        };
        Some(exporter::Config {
            name: name.as_str().into(),
            address: endpoint.value.address,
            port: endpoint.value.port,
            path_prefix: endpoint.value.path_prefix,
            host: host.value,
            tls,
            protocol,
            http_version,
            headers: headers.into_iter().map(|(name, value)| (name.value, value.value)).collect(),
            compression: compression.value,
            connect_timeout,
            request_timeout,
        })
    });
    Upstream { name: name.clone(), headers: names, config: config.map(|config| (config, limits)) }
}

/// gRPC is protobuf over HTTP/2: what says otherwise is a mistake.
fn spoken(
    s: &mut Section,
    protocol: &Located<Protocol>,
    encoding: &Located<Option<Encoding>>,
    http_version: &Located<HttpVersion>,
) -> (SendProtocol, HttpVersion) {
    if protocol.value == Protocol::Http {
        return (encoding.value.map_or(SendProtocol::Keep, SendProtocol::Http), http_version.value);
    }
    let mut report = |title: &str, place: &Option<Place>| {
        s.report(
            Diagnostic::error(title)
                .at(place, "cannot be had with it")
                .also(&protocol.place, "this is OTLP/gRPC")
                .help("drop the one or the other"),
        );
    };
    if encoding.value == Some(Encoding::Json) {
        report("gRPC is always protobuf", &encoding.place);
    }
    if http_version.value == HttpVersion::Http1 {
        report("gRPC needs HTTP/2", &http_version.place);
    }
    (SendProtocol::Grpc, HttpVersion::Http2)
}

fn timeouts(s: &mut Section) -> (Duration, Duration) {
    let doc = "Connecting, TLS handshake included.";
    let connect = s.value("connect", doc, Time(10 * MILLISECOND..=5 * MINUTE), Duration::from_secs(10));
    let doc = "From the first byte sent to the last byte of the answer.";
    let request = s.value("request", doc, Time(100 * MILLISECOND..=HOUR), Duration::from_secs(300));
    let what = "connecting may take longer than the whole request";
    report_larger(s, what, show_time, ("connect", &connect), ("request", &request));
    (connect.value, request.value)
}

fn limits(s: &mut Section) -> UpstreamLimits {
    let default = UpstreamLimits::default();
    let doc = "Requests per second; without it only the tenants' own limits count.";
    let requests_per_second = s.optional("requests_per_second", doc, Count(1..=MAX_COUNT));
    let doc = "Bytes per second; without it only the tenants' own limits count.";
    let bytes_per_second = s.optional("bytes_per_second", doc, Bytes(1..=MAX_BYTES));
    let in_flight = s.value("in_flight", "Requests under way.", Count(1..=MAX_COUNT), default.in_flight);
    let doc = "Memory for bodies of requests under way.";
    let in_flight_bytes = s.value("in_flight_bytes", doc, Bytes(1..=MAX_BYTES), default.in_flight_bytes);
    let doc = "Size of one body as it would be sent; above it 413 at once.";
    let body = s.value("body", doc, Bytes(1..=MAX_BYTES), default.body);
    report_larger(
        s,
        "one body may be larger than all bodies under way together",
        show_bytes,
        ("body", &body),
        ("in_flight_bytes", &in_flight_bytes),
    );
    UpstreamLimits {
        requests_per_second: requests_per_second.map(|rate| rate.value),
        bytes_per_second: bytes_per_second.map(|rate| rate.value),
        in_flight: in_flight.value,
        in_flight_bytes: in_flight_bytes.value,
        body: body.value,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Grpc,
}

const PROTOCOL: OneOf<Protocol> =
    OneOf(&[(Word::Text("http"), Protocol::Http), (Word::Text("grpc"), Protocol::Grpc)]);

const ENCODING: OneOf<Option<Encoding>> = OneOf(&[
    (Word::Text("keep"), None),
    (Word::Text("protobuf"), Some(Encoding::Protobuf)),
    (Word::Text("json"), Some(Encoding::Json)),
]);

const HTTP_VERSION: OneOf<HttpVersion> = OneOf(&[
    (Word::Text("auto"), HttpVersion::Auto),
    (Word::Text("1.1"), HttpVersion::Http1),
    (Word::Text("2"), HttpVersion::Http2),
]);

const COMPRESSION: OneOf<SendCompression> = OneOf(&[
    (Word::Text("keep"), SendCompression::Keep),
    (Word::Text("none"), SendCompression::Always(Compression::Identity)),
    (Word::Text("gzip"), SendCompression::Always(Compression::Gzip)),
    (Word::Text("zstd"), SendCompression::Always(Compression::Zstd)),
]);

const HOST: Parsed<Authority> = Parsed {
    wanted: "a host name such as \"alloy.example.com\"",
    parse: |text| match text.parse::<Authority>() {
        Ok(authority) if !text.contains('@') && port_of(&authority).is_ok() => Ok(authority),
        _ => Err(Fault::new("this is not a host name").label("expected such as \"alloy.example.com\"")),
    },
};

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    tls: bool,
    /// Name or address, an IPv6 one without its brackets.
    address: String,
    port: u16,
    path_prefix: String,
    written: String,
}

impl Endpoint {
    /// Host and port as they were written.
    fn authority(&self) -> Option<Authority> {
        self.written.parse::<http::Uri>().ok()?.authority().cloned()
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

struct EndpointKind;

impl Kind for EndpointKind {
    type Value = Endpoint;

    fn wanted(&self) -> String {
        "a URL such as \"http://alloy:4318\"".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Endpoint> {
        // A URL with `@` holds a password, so it must not be shown, nor quoted.
        if matches!(&node.value, Value::Text(text) if text.contains('@')) {
            reader.hide(&node.place);
        }
        let text = reader.text(node, self)?;
        endpoint(&text).map_err(|fault| reader.report(fault.at(node))).ok()
    }

    fn show(&self, value: &Endpoint) -> Json {
        json!(value.to_string())
    }
}

fn endpoint(text: &str) -> Result<Endpoint, Fault> {
    let fault = || Fault::new("this is not an endpoint");
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(fault().label("it starts with http:// or https://")),
    };
    if rest.is_empty() {
        return Err(fault().label("the host is missing"));
    }
    if rest.contains('@') {
        return Err(fault()
            .label("credentials do not belong here")
            .help("headers = { Authorization = { file = \"…\" } } sends them and keeps them secret"));
    }
    if rest.contains(['?', '#']) {
        return Err(fault().label("no query and no fragment").help("`headers` can carry a key"));
    }
    let uri = text.parse::<http::Uri>().map_err(|error| fault().label(error.to_string()))?;
    let authority = uri.authority().ok_or_else(|| fault().label("the host is missing"))?;
    let port = port_of(authority).map_err(|why| fault().label(why))?;
    let path = uri.path().trim_end_matches('/');
    if let Some((signal, base)) =
        Signal::ALL.iter().find_map(|signal| Some((signal, path.strip_suffix(signal.path())?)))
    {
        let scheme = if tls { "https" } else { "http" };
        return Err(fault()
            .label(format!("`{}` is added by itself", signal.path()))
            .help(format!("\"{scheme}://{authority}{base}\"")));
    }
    if path.contains("//") {
        return Err(fault().label("two slashes in the path"));
    }
    Ok(Endpoint {
        tls,
        address: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: port.unwrap_or(if tls { 443 } else { 80 }),
        path_prefix: path.to_owned(),
        written: text.to_owned(),
    })
}

/// The port, if there is one and it is one.
fn port_of(authority: &Authority) -> Result<Option<u16>, &'static str> {
    let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    match (after_host, authority.port_u16()) {
        _ if authority.host().is_empty() => Err("the host is missing"),
        ("", _) => Ok(None),
        (_, Some(port)) if port > 0 => Ok(Some(port)),
        _ => Err("a port is a number from 1 to 65535"),
    }
}
