//! Sockets and connections: bind, accept, handshake, HTTP, drain.
//!
//! One path serves plain TCP, TLS and Unix sockets, and it is generic over one service. This room
//! knows nothing of OTLP.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// One bound socket and how its connections are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name in the configuration, metrics and logs.
    pub name: Arc<str>,
    /// Where to listen.
    pub bind: Bind,
    /// With it, TLS; without it, plain.
    pub tls: Option<crate::tls::ServerMaterial>,
    /// Time limits of a connection.
    pub timeouts: Timeouts,
    /// Size and count limits of a connection.
    pub limits: Limits,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// Permission bits of the file; 0o660 by default.
        mode: u32,
        /// Group id of the file, if it is not the process's own.
        group: Option<u32>,
    },
}

/// Time limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake, from accept. 10 s: a mobile sender on a bad network needs three round trips.
    pub handshake: Duration,
    /// Request head, from its first byte. 15 s.
    pub headers: Duration,
    /// Request body, from the end of the head. 5 min: what the slowest direct uploads need.
    pub body: Duration,
    /// Between requests. 150 s: cloudflared keeps idle connections for 90 s, and a server that
    /// closes first loses requests.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(15),
            body: Duration::from_secs(300),
            idle: Duration::from_secs(150),
        }
    }
}

/// Size and count limits of a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. 10 000: about 300 MB of memory if all of them are TLS.
    pub connections: usize,
    /// Open connections of one client (an IPv4 address or an IPv6 /64), trusted proxies exempt. 200.
    pub connections_per_client: usize,
    /// Bytes of a request head. 64 KiB: several times what any sender needs.
    pub header_bytes: usize,
    /// HTTP/2 streams open at once on a connection. 128.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, connections_per_client: 200, header_bytes: 64 << 10, streams: 128 }
    }
}
