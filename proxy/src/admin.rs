//! Health and metrics, on a private listener.

use std::net::SocketAddr;

/// The private listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens; loopback unless the operator knows better.
    pub bind: SocketAddr,
}
