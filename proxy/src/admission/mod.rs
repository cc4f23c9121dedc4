//! May it come in now: rates, permits and the memory budget.
//!
//! A denial is a successful decision: it says what was full and when to come back.
//!
//! A request passes three gates before its body is read, its tenant's, its upstream's and the one over
//! all, and holds a [`Permit`] of each until it is dropped. Either all three let it in or none keeps
//! anything of it. Where plugins send parts of a batch to further upstreams, each part passes its upstream's
//! gate with a [`Share`]. There is no lock, no timer and no queue: who does not fit is told so at once.

mod gate;
mod permit;
#[cfg(test)]
mod tests;

pub use gate::{Capacity, Gate};
pub use permit::{Permit, STEP_BYTES, Share, admit, bytes_max, share};

use std::time::Duration;

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Whose limit it is.
    pub scope: Scope,
    /// Which limit.
    pub limit: Limit,
    /// When to try again. For rates it is exact; where others have to end first, a second.
    pub retry_after: Duration,
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The tenant's.
    Tenant,
    /// The upstream's, whoever sends to it.
    Upstream,
    /// That of all tenants together.
    All,
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Requests per second.
    RequestsPerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// Requests in flight.
    InFlight,
    /// Bytes in flight.
    InFlightBytes,
}

impl Scope {
    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Upstream => "upstream",
            Self::All => "all",
        }
    }
}

impl Limit {
    /// Every limit, in the order of documentation and metrics.
    pub const ALL: [Limit; 4] =
        [Limit::RequestsPerSecond, Limit::BytesPerSecond, Limit::InFlight, Limit::InFlightBytes];

    /// The name in configuration, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::InFlight => "in_flight",
            Self::InFlightBytes => "in_flight_bytes",
        }
    }
}

/// Limits of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLimits {
    /// Requests per second, with a burst of one second's worth. 200.
    pub requests_per_second: u64,
    /// Bytes per second as they come on the wire; a budget may go into debt. 8 MiB.
    pub bytes_per_second: u64,
    /// Requests under way. 64.
    pub in_flight: u64,
    /// Bytes held for requests under way, before and after decompression. 64 MiB.
    pub in_flight_bytes: u64,
    /// Bytes of one body on the wire. 4 MiB.
    pub body: u64,
    /// Bytes of one body after decompression. 16 MiB.
    pub decompressed: u64,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            requests_per_second: 200,
            bytes_per_second: 8 << 20,
            in_flight: 64,
            in_flight_bytes: 64 << 20,
            body: 4 << 20,
            decompressed: 16 << 20,
        }
    }
}

/// Limits of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Requests per second; none by default, since the tenants have theirs.
    pub requests_per_second: Option<u64>,
    /// Bytes per second; none by default.
    pub bytes_per_second: Option<u64>,
    /// Requests under way. 256.
    pub in_flight: u64,
    /// Bytes held for requests under way. 256 MiB.
    pub in_flight_bytes: u64,
    /// Bytes of one body as it would be sent; above it 413 at once. 64 MiB, the specification's
    /// recommendation for receivers.
    pub body: u64,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            bytes_per_second: None,
            in_flight: 256,
            in_flight_bytes: 256 << 20,
            body: 64 << 20,
        }
    }
}

/// Limits over all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalLimits {
    /// Requests per second; none by default.
    pub requests_per_second: Option<u64>,
    /// Bytes per second; none by default.
    pub bytes_per_second: Option<u64>,
    /// Requests under way. 10 000.
    pub in_flight: u64,
    /// Bytes held for requests under way, before and after decompression. 512 MiB.
    pub in_flight_bytes: u64,
}

impl Default for GlobalLimits {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            bytes_per_second: None,
            in_flight: 10_000,
            in_flight_bytes: 512 << 20,
        }
    }
}
