//! A request's head → which signal, for which door, in which encoding and compression.

use super::{Compression, Encoding, Protocol, Refusal, Signal, grpc};
use http::{HeaderMap, HeaderName, Method, Version, header, request::Parts};
use std::{collections::HashSet, time::Duration};

/// The paths of a listener: where the OTLP paths are found besides the root.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// Prefixes that mean nothing, such as `/otlp`.
    pub aliases: Vec<String>,
    /// Prefixes that are a tenant's own.
    pub tenants: HashSet<String>,
}

/// What a request's head asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// Which kind of batch.
    pub signal: Signal,
    /// The tenant's own prefix, where the path has one.
    pub prefix: Option<&'a str>,
    /// How the message is written, and how it is to be answered.
    pub protocol: Protocol,
    /// How the body is compressed; over gRPC, how the message may be, which says so itself.
    pub compression: Compression,
    /// How long the sender waits, where it says so.
    pub timeout: Option<Duration>,
}

/// What a request is answered in, as far as its `Content-Type` tells; JSON where it tells nothing,
/// because a person may be reading.
pub fn protocol_of(head: &Parts) -> Protocol {
    match content_type(&head.headers) {
        // Nothing else is a call, nor answered as one.
        Some(Ok(Protocol::Grpc)) if head.method != Method::POST => Protocol::Http(Encoding::Json),
        Some(Ok(protocol)) => protocol,
        Some(Err(other)) if other.contains("proto") => Protocol::Http(Encoding::Protobuf),
        _ => Protocol::Http(Encoding::Json),
    }
}

/// Reads the head. Absolute request targets (`POST http://host/v1/logs`) are taken by their path.
///
/// # Errors
/// The refusal for another path, method, media type or compression, or a deadline that is none.
pub fn route<'a>(head: &'a Parts, doors: &Doors) -> Result<Route<'a>, Refusal> {
    let path = head.uri.path();
    let content_type = content_type(&head.headers);
    if content_type == Some(Ok(Protocol::Grpc)) {
        return grpc_route(head, doors);
    }
    let (signal, prefix) = doors.find(path, Signal::path).ok_or_else(|| Refusal::UnknownPath(hint(path)))?;
    if head.method != Method::POST {
        return Err(Refusal::Method(signal));
    }
    let protocol = match content_type {
        Some(Ok(protocol)) => protocol,
        Some(Err(other)) => return Err(Refusal::ContentType(Some(quoted(other)))),
        None => return Err(Refusal::ContentType(None)),
    };
    let compression = compression(&head.headers, &header::CONTENT_ENCODING)?;
    Ok(Route { signal, prefix, protocol, compression, timeout: None })
}

fn grpc_route<'a>(head: &'a Parts, doors: &Doors) -> Result<Route<'a>, Refusal> {
    let path = head.uri.path();
    let hint = "gRPC has the Export methods of LogsService, TraceService and MetricsService";
    let (signal, prefix) = doors.find(path, Signal::grpc_path).ok_or(Refusal::UnknownPath(hint))?;
    if head.method != Method::POST {
        return Err(Refusal::Method(signal));
    }
    if head.version != Version::HTTP_2 {
        return Err(Refusal::GrpcWithoutHttp2);
    }
    let timeout = match head.headers.get(grpc::TIMEOUT) {
        None => None,
        Some(value) => {
            Some(grpc::read_timeout(value).ok_or(Refusal::BadHead("a grpc-timeout that is none"))?)
        }
    };
    let compression = compression(&head.headers, &grpc::ENCODING)?;
    Ok(Route { signal, prefix, protocol: Protocol::Grpc, compression, timeout })
}

impl Doors {
    fn find<'a>(
        &self,
        path: &'a str,
        path_of: impl Fn(Signal) -> &'static str,
    ) -> Option<(Signal, Option<&'a str>)> {
        let (signal, prefix) =
            Signal::ALL.iter().find_map(|&signal| Some((signal, path.strip_suffix(path_of(signal))?)))?;
        let own = self
            .aliases
            .iter()
            .find_map(|alias| prefix.strip_suffix(alias.as_str()))
            .filter(|_| !self.tenants.contains(prefix))
            .unwrap_or(prefix);
        if own.is_empty() {
            Some((signal, None))
        } else {
            self.tenants.contains(own).then_some((signal, Some(own)))
        }
    }
}

/// What a sender that missed the path may have meant.
fn hint(path: &str) -> &'static str {
    if path.starts_with("/opentelemetry.proto.collector.") {
        "this is a path of OTLP/gRPC, whose Content-Type is application/grpc; over HTTP send to /v1/logs, \
         /v1/traces or /v1/metrics"
    } else if path == "/" || path.is_empty() {
        "the path is missing; send to /v1/logs, /v1/traces or /v1/metrics"
    } else if path.ends_with('/') {
        "there is a slash too many at the end"
    } else {
        "send to /v1/logs, /v1/traces or /v1/metrics, below your own prefix if you were given one"
    }
}

/// Refuses what hyper lets pass although two readers may understand it differently (RFC 9112, 3.2 and 6.1):
/// there may be another request in it. `ambiguous_length`: its head gave two lengths.
///
/// # Errors
/// [`Refusal::BadHead`], after which the connection has to end.
pub fn check_framing(head: &Parts, ambiguous_length: bool) -> Result<(), Refusal> {
    if ambiguous_length {
        return Err(Refusal::BadHead("both a Content-Length and a Transfer-Encoding"));
    }
    let hosts = head.headers.get_all(header::HOST).iter().count();
    if hosts > 1 {
        return Err(Refusal::BadHead("more than one Host header"));
    }
    if hosts == 0 && head.uri.authority().is_none() && head.version >= http::Version::HTTP_11 {
        return Err(Refusal::BadHead("the Host header is missing"));
    }
    if let Some(encoding) = head.headers.get(header::TRANSFER_ENCODING)
        && (!encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || head.headers.get_all(header::TRANSFER_ENCODING).iter().count() > 1)
    {
        return Err(Refusal::BadHead("a Transfer-Encoding other than chunked"));
    }
    Ok(())
}

/// `None`: there is none. `Err`: another one.
fn content_type(headers: &HeaderMap) -> Option<Result<Protocol, &str>> {
    let value = headers.get(header::CONTENT_TYPE)?;
    if value == Encoding::Protobuf.media_type() {
        return Some(Ok(Protocol::Http(Encoding::Protobuf))); // nearly all write it so, and it is asked twice
    }
    let media_type = value.to_str().unwrap_or("(not text)").split(';').next().unwrap_or_default().trim();
    let is = |known: &str| media_type.eq_ignore_ascii_case(known);
    Some(match media_type {
        _ if is(Encoding::Protobuf.media_type()) => Ok(Protocol::Http(Encoding::Protobuf)),
        _ if is(Encoding::Json.media_type()) => Ok(Protocol::Http(Encoding::Json)),
        _ if is("application/grpc") || is("application/grpc+proto") => Ok(Protocol::Grpc),
        other => Err(other),
    })
}

/// As much of a sender's words as it needs to recognise them.
fn quoted(words: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    words.chars().take(CHARACTERS_MAX).collect()
}

/// What a header says that a body is compressed with.
pub(super) fn compression(headers: &HeaderMap, name: &HeaderName) -> Result<Compression, Refusal> {
    let mut named = headers.get_all(name).iter();
    let (Some(value), None) = (named.next(), named.next()) else {
        return match headers.contains_key(name) {
            true => Err(Refusal::ContentEncoding("several at once".to_owned())),
            false => Ok(Compression::Identity),
        };
    };
    let name = value.to_str().unwrap_or("(not text)").trim();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name {
        _ if name.is_empty() || is("identity") => Ok(Compression::Identity),
        _ if is("gzip") || is("x-gzip") => Ok(Compression::Gzip),
        _ if is("deflate") => Ok(Compression::Deflate),
        _ if is("zstd") => Ok(Compression::Zstd),
        other => Err(Refusal::ContentEncoding(quoted(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn doors() -> Doors {
        Doors { aliases: vec!["/otlp".into()], tenants: HashSet::from(["/shop".into(), "/a/b".into()]) }
    }

    #[test]
    fn paths_are_found_at_the_root_below_aliases_and_below_tenants() {
        let cases = [
            ("/v1/logs", Some((Signal::Logs, None))),
            ("/v1/traces", Some((Signal::Traces, None))),
            ("/v1/metrics", Some((Signal::Metrics, None))),
            ("/v1development/profiles", Some((Signal::Profiles, None))),
            ("/otlp/v1/logs", Some((Signal::Logs, None))),
            ("/shop/v1/logs", Some((Signal::Logs, Some("/shop")))),
            ("/shop/otlp/v1/logs", Some((Signal::Logs, Some("/shop")))),
            ("/a/b/v1/metrics", Some((Signal::Metrics, Some("/a/b")))),
            ("/otlp/shop/v1/logs", None),
            ("/b/v1/logs", None),
            ("/v1/logs/", None),
            ("/V1/logs", None),
            ("/v1/log", None),
            ("xv1/logs", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(doors().find(path, Signal::path), expected, "{path}");
        }
    }

    fn routed(
        method: &str,
        uri: &str,
        lines: &[(&str, &str)],
    ) -> Result<(Signal, Protocol, Compression), String> {
        let mut request = Request::builder().method(method).uri(uri).header("host", "x");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check_framing(&head, false)
            .and_then(|()| route(&head, &doors()))
            .map(|route| (route.signal, route.protocol, route.compression))
            .map_err(|refusal| refusal.reason().to_owned())
    }

    #[test]
    fn media_types_and_compressions_are_read_in_any_case() {
        let json = ("content-type", "Application/JSON; charset=utf-8");
        let expected = Ok((Signal::Logs, Protocol::Http(Encoding::Json), Compression::Gzip));
        assert_eq!(routed("POST", "/v1/logs", &[json, ("content-encoding", "GZip")]), expected);
        let protobuf = ("content-type", "application/x-protobuf");
        let expected = Ok((Signal::Traces, Protocol::Http(Encoding::Protobuf), Compression::Zstd));
        assert_eq!(
            routed("POST", "http://otlp.example.com/v1/traces", &[protobuf, ("content-encoding", "zstd")]),
            expected
        );
        let expected = Ok((Signal::Traces, Protocol::Http(Encoding::Protobuf), Compression::Identity));
        assert_eq!(routed("POST", "/v1/traces", &[protobuf, ("content-encoding", "identity")]), expected);
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_its_name() {
        let protobuf = ("content-type", "application/x-protobuf");
        type Lines<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, &str, Lines<'_>, &str); 9] = [
            ("GET", "/v1/logs", &[], "method"),
            ("POST", "/v2/logs", &[protobuf], "unknown_path"),
            ("POST", "/v1/logs", &[], "content_type"),
            ("POST", "/v1/logs", &[("content-type", "text/plain")], "content_type"),
            ("POST", "/v1/logs", &[("content-type", "application/grpc")], "unknown_path"),
            ("POST", "/v1/logs", &[protobuf, ("content-encoding", "br")], "content_encoding"),
            ("POST", "/v1/logs", &[protobuf, ("content-encoding", "gzip, gzip")], "content_encoding"),
            ("POST", "/v1/logs", &[protobuf, ("host", "y")], "bad_head"),
            ("POST", "/v1/logs", &[protobuf, ("transfer-encoding", "gzip, chunked")], "bad_head"),
        ];
        for (method, uri, lines, reason) in cases {
            assert_eq!(routed(method, uri, lines), Err(reason.to_owned()), "{method} {uri} {lines:?}");
        }
    }
}
