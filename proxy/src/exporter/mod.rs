//! Send to an upstream: connections, deadline, retry. Reads the upstream's status and says an
//! `Outcome`; knows nothing of what a sender is told.

use crate::{otlp::Compression, tls};
use http::{HeaderName, HeaderValue, uri::Authority};
use std::{sync::Arc, time::Duration};

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
    /// Connecting, TLS handshake included. 10 s, as Caddy's dial_timeout in the blog.
    pub connect_timeout: Duration,
    /// From the first byte sent to the last byte of the answer. 5 min.
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
