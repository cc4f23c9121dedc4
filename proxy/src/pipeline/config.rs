//! What the data path is told.

use crate::{admission, client, otlp, plugin};
use http::{HeaderName, HeaderValue};
use std::{sync::Arc, time::Duration};

/// What a listener adds to the path of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorConfig {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Whom it believes.
    pub client: client::Config,
    /// The answer is given within this time, for proxies in front that give up. None: only the
    /// upstream's own limit counts.
    pub answer_within: Option<Duration>,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// What zero bytes from a trusted cloudflared get.
    pub empty_body: otlp::EmptyBody,
    /// The pages whose scripts may send.
    pub cors: otlp::Cors,
    /// Prefixes under which the OTLP paths are found too, such as `/otlp`. No slash at the end.
    /// The longest first, so that the first that fits is the one that is meant.
    pub path_aliases: Vec<String>,
}

/// A tenant, credentials apart.
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// The name in the configuration, metrics and logs.
    pub name: Arc<str>,
    /// With it, the tenant's only door is below this prefix. Starts with a slash, has none at the end.
    pub path_prefix: Option<String>,
    /// The upstream of each signal, by name; `None`: the tenant may not send this signal.
    pub upstreams: Upstreams,
    /// What it may use.
    pub limits: admission::TenantLimits,
    /// Headers set for this tenant towards its upstreams; a sender's own of these names are dropped.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
    /// What works on its batches, in this order.
    pub plugins: Vec<plugin::Config>,
    /// The upstreams that its plugins may send to beside its own: the name that they know, and the
    /// upstream's.
    pub routes: Vec<(Arc<str>, Arc<str>)>,
}

/// The upstream of each signal, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upstreams {
    /// Where logs go.
    pub logs: Option<Arc<str>>,
    /// Where traces go.
    pub traces: Option<Arc<str>>,
    /// Where metrics go.
    pub metrics: Option<Arc<str>>,
    /// Where profiles go.
    pub profiles: Option<Arc<str>>,
}

impl Upstreams {
    /// The upstream of a signal.
    pub fn of(&self, signal: otlp::Signal) -> Option<&Arc<str>> {
        match signal {
            otlp::Signal::Logs => self.logs.as_ref(),
            otlp::Signal::Traces => self.traces.as_ref(),
            otlp::Signal::Metrics => self.metrics.as_ref(),
            otlp::Signal::Profiles => self.profiles.as_ref(),
        }
    }
}
