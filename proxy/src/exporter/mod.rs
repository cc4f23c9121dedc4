//! Send to an upstream: connections, deadline, retry. Reads the upstream's status and says an
//! `Outcome`; knows nothing of what a sender is told.

mod connection;
mod io;

use crate::{
    otlp::{self, Chunks, Compression, Encoding, PartialSuccess, Signal},
    tls,
};
use bytes::Bytes;
use connection::{Failure, Pool};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, response::Parts,
    uri::Authority,
};
use std::{
    io::Write,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
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
    /// Which version is spoken.
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
    /// What the body is written in.
    pub encoding: Encoding,
    /// What the body is compressed with.
    pub compression: Compression,
    /// The body as it is sent.
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

    /// Sends a request and reads what became of it, and the status that said so.
    pub async fn send(&self, export: Export<'_>) -> (Outcome, Option<StatusCode>) {
        let own = Instant::now() + self.config.request_timeout;
        let deadline = export.deadline.map_or(own, |deadline| deadline.min(own));
        let encoding = export.encoding;
        let request = self.request(export);
        let exchange = self.pool.exchange(&self.config, &self.counters, request);
        match tokio::time::timeout_at(deadline.into(), exchange).await {
            Ok(Ok((parts, body))) => (judge(&parts, &body, encoding), Some(parts.status)),
            Ok(Err(Failure::Unsent(why, _))) => (Outcome::Unreachable(why), None),
            Ok(Err(Failure::Broken(why))) => (Outcome::Broken(why), None),
            Err(_) => (Outcome::Timeout, None),
        }
    }

    fn request(&self, export: Export<'_>) -> Request<Chunks> {
        let mut headers = HeaderMap::with_capacity(export.headers.len() + self.config.headers.len() + 4);
        let named = named_by_connection(export.headers);
        for (name, value) in export.headers {
            if is_for_upstreams(name)
                && !self.stripped.contains(name)
                && !named.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()))
            {
                headers.append(name, value.clone());
            }
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(export.encoding.media_type()));
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
    const OTHERS: [&str; 7] = [
        "cdn-loop",
        "keep-alive",
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
        || text.starts_with("x-forwarded-"))
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
        let path = format!("{}{}", self.path_prefix, signal.path());
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

/// Longest wait that is passed on from an upstream: a sender that waits longer has lost its queue.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Reads an upstream's answer. Each line stands in the table "What the upstreams answer" of the
/// documentation; the words are those of real ones.
fn judge(parts: &Parts, body: &[u8], encoding: Encoding) -> Outcome {
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if parts.status.is_success() {
        return Outcome::Delivered(PartialSuccess::read(encoding, body));
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
