//! Send to an upstream: connections, deadline, retry. Reads the upstream's status and says an
//! `Outcome`; knows nothing of what a sender is told.

mod answer;
mod connection;
mod io;

pub use answer::{Outcome, Status};

use crate::{
    otlp::{self, Chunks, Compression, Encoding, Protocol, Signal, grpc},
    tls,
};
use bytes::Bytes;
use connection::{Failure, Pool};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, uri::Authority};
use std::{
    io::Write,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

/// One destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name in the configuration, metrics and logs.
    pub name: Arc<str>,
    /// The host name or address that is connected to.
    pub address: String,
    /// The port that is connected to.
    pub port: u16,
    /// In front of `/v1/logs` and the others: empty, or `/otlp` as Loki wants it. No slash at the end.
    pub path_prefix: String,
    /// The `Host` header (`:authority` in HTTP/2): the endpoint's own, or `host`.
    pub host: Authority,
    /// With it, TLS.
    pub tls: Option<tls::ClientMaterial>,
    /// What is spoken.
    pub protocol: SendProtocol,
    /// Which version of HTTP it is spoken over; gRPC: HTTP/2.
    pub http_version: HttpVersion,
    /// Headers of every request, credentials among them. They replace a sender's of the same name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What bodies are compressed with.
    pub compression: SendCompression,
    /// Connecting: the name's addresses in turn, the TLS handshake, and the wait for another request
    /// that makes a connection both can use. 10 s, as Caddy's dial_timeout in the blog.
    pub connect_timeout: Duration,
    /// The whole exchange, from connecting to the last byte of the answer. 5 min.
    pub request_timeout: Duration,
}

/// Which HTTP version an upstream is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// Over TLS what ALPN settles, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// What is spoken with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProtocol {
    /// OTLP/HTTP, in the encoding that a batch came in. The default.
    Keep,
    /// OTLP/HTTP, always in this encoding.
    Http(Encoding),
    /// OTLP/gRPC.
    Grpc,
}

impl SendProtocol {
    /// What a batch that came in this encoding leaves in.
    pub fn of(self, came: Encoding) -> Protocol {
        match self {
            SendProtocol::Keep => Protocol::Http(came),
            SendProtocol::Http(encoding) => Protocol::Http(encoding),
            SendProtocol::Grpc => Protocol::Grpc,
        }
    }
}

/// What an upstream's bodies are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendCompression {
    /// As it came. The default: nothing is compressed twice.
    #[default]
    Keep,
    /// Always this one.
    Always(Compression),
}

impl SendCompression {
    /// What a body that came in this compression leaves in.
    pub fn of(self, came: Compression) -> Compression {
        match self {
            SendCompression::Keep => came,
            SendCompression::Always(compression) => compression,
        }
    }
}

/// One request for an upstream.
#[derive(Debug)]
pub struct Export<'a> {
    /// Which path.
    pub signal: Signal,
    /// What is spoken.
    pub protocol: Protocol,
    /// What the body is compressed with.
    pub compression: Compression,
    /// The message as it is sent, without gRPC's frame.
    pub body: Chunks,
    /// The sender's headers; what is not for an upstream is left out.
    pub headers: &'a HeaderMap,
    /// The tenant's own headers.
    pub tenant_headers: &'a [(HeaderName, HeaderValue)],
    /// For `X-Request-Id`.
    pub request_id: HeaderValue,
    /// When the sender's patience ends.
    pub deadline: Option<Instant>,
}

/// What an operator may want to know of an upstream's connections, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections made.
    pub connects: AtomicU64,
    /// Connections that could not be made.
    pub connect_failures: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
}

/// Sends to one upstream.
pub struct Exporter {
    config: Config,
    uris: [Uri; 4],
    host: HeaderValue,
    pool: Pool,
    stripped: Arc<[HeaderName]>,
    /// See [`Counters`].
    pub counters: Arc<Counters>,
}

impl Exporter {
    /// Connects to nothing yet. A sender's headers that are called as one of `stripped` are not sent,
    /// whoever the sender is: they are what tenants are told apart by.
    ///
    /// # Errors
    /// Where the TLS material cannot be used.
    pub fn new(config: Config, stripped: Arc<[HeaderName]>) -> Result<Self, tls::IdentityError> {
        let alpn: &[&[u8]] = match config.http_version {
            HttpVersion::Auto => &[b"h2", b"http/1.1"],
            HttpVersion::Http1 => &[b"http/1.1"],
            HttpVersion::Http2 => &[b"h2"],
        };
        let connector = config.tls.as_ref().map(|material| material.connector(alpn)).transpose()?;
        let uris = Signal::ALL.map(|signal| config.uri(signal));
        let host = HeaderValue::from_str(config.host.as_str())
            .expect("invariant: an authority holds no character that a header may not");
        Ok(Self { uris, host, pool: Pool::new(connector), stripped, counters: Arc::default(), config })
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it is what [`new`](Self::new) would make of these.
    pub fn is_of(&self, config: &Config, stripped: &[HeaderName]) -> bool {
        self.config == *config && *self.stripped == *stripped
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// What a batch in this encoding and compression leaves in.
    pub fn form_of(&self, encoding: Encoding, compression: Compression) -> (Protocol, Compression) {
        let protocol = self.config.protocol.of(encoding);
        match (protocol, self.config.compression.of(compression)) {
            // What HTTP calls deflate is nothing that gRPC's servers are known to read.
            (Protocol::Grpc, Compression::Deflate) => (protocol, Compression::Gzip),
            form => (protocol, form.1),
        }
    }

    /// Sends a request and reads what became of it, and the status that said so.
    pub async fn send(&self, export: Export<'_>) -> (Outcome, Option<Status>) {
        let now = Instant::now();
        let own = now + self.config.request_timeout;
        let deadline = export.deadline.map_or(own, |deadline| deadline.min(own));
        let protocol = export.protocol;
        let request = match protocol {
            Protocol::Http(encoding) => self.request(export, HeaderValue::from_static(encoding.media_type())),
            Protocol::Grpc => match self.grpc_request(export, deadline.saturating_duration_since(now)) {
                Some(request) => request,
                None => return (Outcome::TooLarge, None),
            },
        };
        let exchange = self.pool.exchange(&self.config, &self.counters, Box::new(request));
        match tokio::time::timeout_at(deadline.into(), exchange).await {
            Ok(Ok(answer)) => {
                let (outcome, status) = answer.read(protocol);
                (outcome, Some(status))
            }
            Ok(Err(Failure::Unsent(why, _))) => (Outcome::Unreachable(why), None),
            Ok(Err(Failure::Broken(why))) => (Outcome::Broken(why), None),
            Err(_) => (Outcome::Timeout, None),
        }
    }

    /// `None` where the message is longer than a frame can be.
    fn grpc_request(&self, mut export: Export<'_>, left: Duration) -> Option<Request<Chunks>> {
        let compression = std::mem::replace(&mut export.compression, Compression::Identity);
        let is_compressed = compression != Compression::Identity;
        export.body = grpc::frame(std::mem::take(&mut export.body), is_compressed)?;
        let mut request = self.request(export, grpc::MEDIA_TYPE);
        let headers = request.headers_mut();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(grpc::TIMEOUT, grpc::write_timeout(left));
        if is_compressed {
            headers.insert(grpc::ENCODING, HeaderValue::from_static(compression.name()));
        }
        Some(request)
    }

    fn request(&self, export: Export<'_>, media_type: HeaderValue) -> Request<Chunks> {
        let mut headers = HeaderMap::with_capacity(
            (export.headers.len() + self.config.headers.len() + 4).min(HEADERS_USUAL),
        );
        let named = named_by_connection(export.headers);
        for (name, value) in export.headers {
            if is_for_upstreams(name)
                && !self.stripped.contains(name)
                && !named.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()))
            {
                headers.append(name, value.clone());
            }
        }
        headers.insert(header::CONTENT_TYPE, media_type);
        if export.compression != Compression::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(export.compression.name()));
        }
        headers.insert(otlp::REQUEST_ID, export.request_id);
        for (name, value) in export.tenant_headers.iter().chain(&self.config.headers) {
            headers.insert(name, value.clone());
        }
        headers.insert(header::HOST, self.host.clone());
        let mut request = Request::new(export.body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uris[export.signal as usize].clone();
        *request.headers_mut() = headers;
        request
    }
}

/// Room that is made for headers at once: far more than any sender has. A map panics at more than some
/// thousand; it grows where it has to.
const HEADERS_USUAL: usize = 64;

/// What a sender says to its next hop, to a tunnel on the way or about itself is not for an
/// upstream; nor is a tenant's name, which is ours to set.
fn is_for_upstreams(name: &HeaderName) -> bool {
    const HOP_BY_HOP: [HeaderName; 6] = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::HOST,
    ];
    const OF_THE_MESSAGE: [HeaderName; 6] = [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::ACCEPT_ENCODING,
        header::EXPECT,
        header::ACCEPT,
    ];
    const OF_THE_SENDER: [HeaderName; 4] =
        [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::FORWARDED];
    const OTHERS: [&str; 9] = [
        "cdn-loop",
        "keep-alive",
        "origin",
        "referer",
        "proxy-connection",
        "true-client-ip",
        "x-real-ip",
        "x-scope-orgid",
        "x-request-id",
    ];
    let text = name.as_str();
    !(HOP_BY_HOP.contains(name)
        || OF_THE_MESSAGE.contains(name)
        || OF_THE_SENDER.contains(name)
        || OTHERS.contains(&text)
        || text.starts_with("cf-")
        || text.starts_with("x-forwarded-")
        || text.starts_with("sec-")
        || text.starts_with("access-control-")
        || text.starts_with("grpc-"))
}

/// RFC 9110, 7.6.1: what `Connection` names ends at this hop. Nearly always nothing: a tunnel says
/// `keep-alive` of every request.
fn named_by_connection(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let options = values.flat_map(|value| value.split(',').map(str::trim));
    let is_header = |option: &&str| !["keep-alive", "close"].iter().any(|no| option.eq_ignore_ascii_case(no));
    options.filter(is_header).collect()
}

impl Config {
    fn uri(&self, signal: Signal) -> Uri {
        let path = match self.protocol {
            SendProtocol::Grpc => signal.grpc_path(),
            SendProtocol::Keep | SendProtocol::Http(_) => signal.path(),
        };
        let path = format!("{}{path}", self.path_prefix);
        path.parse().expect("invariant: the prefix was checked to be a path")
    }
}

/// Compresses a body for an upstream.
///
/// # Errors
/// Those of the compressor; writing to memory has none of its own.
pub fn compress(compression: Compression, plain: &Bytes) -> std::io::Result<Bytes> {
    /// Fast: a fifth of the default's time for a tenth more bytes on telemetry.
    const GZIP_LEVEL: flate2::Compression = flate2::Compression::fast();
    Ok(match compression {
        Compression::Identity => plain.clone(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(plain.len() / 4), GZIP_LEVEL);
            encoder.write_all(plain)?;
            encoder.finish()?.into()
        }
        Compression::Deflate => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::with_capacity(plain.len() / 4), GZIP_LEVEL);
            encoder.write_all(plain)?;
            encoder.finish()?.into()
        }
        Compression::Zstd => zstd::bulk::compress(plain, 1)?.into(),
    })
}
