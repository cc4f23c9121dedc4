//! Which address is really calling.
//!
//! Forwarding headers are believed only from a trusted peer; everybody else is who the socket says.

use std::net::IpAddr;

/// How a listener finds the client behind its peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Networks whose forwarding headers are believed.
    pub trusted_networks: Vec<ipnet::IpNet>,
    /// Whether peers on a Unix socket are trusted (`"unix"` in `trusted_proxies`).
    pub trust_unix: bool,
    /// The header that names the client.
    pub header: Header,
}

/// The header a trusted proxy names the client in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Header {
    /// `CF-Connecting-IP` and others of one address, by lower-case name.
    Single(http::HeaderName),
    /// `X-Forwarded-For`, read from the right over trusted hops. The default.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), read from the right over trusted hops.
    Forwarded,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer's address.
    Ip(IpAddr),
    /// A peer on a Unix socket; it has no address.
    Unix,
}
