//! Files and environment → each room's resolved configuration. Every mistake is located, and all
//! of them are reported at once.

use crate::{admin, admission, exporter, listener, pipeline, telemetry, tenant};
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// A resolved configuration. It cannot be wrong: nothing checks it again.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that serve; the cores by default. Read at the start only.
    pub workers: usize,
    /// How long a drain may take before connections are cut. 30 s.
    pub drain_timeout: Duration,
    /// How and what is logged. Read at the start only.
    pub log: telemetry::LogConfig,
    /// Limits over all tenants.
    pub limits: admission::GlobalLimits,
    /// The headers of every answer, after changes and drops.
    pub answer_headers: Vec<(HeaderName, HeaderValue)>,
    /// The sockets, each with what it adds to the data path.
    pub listeners: Vec<(listener::Config, pipeline::DoorConfig)>,
    /// Credentials and the failed-login limit.
    pub auth: tenant::Config,
    /// The tenants, credentials apart.
    pub tenants: Vec<pipeline::TenantConfig>,
    /// The destinations.
    pub upstreams: Vec<(exporter::Config, admission::UpstreamLimits)>,
    /// The private listener.
    pub admin: Option<admin::Config>,
}
