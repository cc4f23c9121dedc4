//! What the data path works with: tenants and upstreams as a configuration describes them, with
//! what is carried over from the one before.

use super::{
    TenantConfig,
    plugins::{Plugins, TenantPlugins},
};
use crate::{
    admission::{Capacity, Gate, UpstreamLimits},
    config::Config,
    exporter::Exporter,
    otlp::{Answers, Chunks, Compression, Encoding, Protocol, Refusal, Signal},
    plugin::{Chain, Failure, Transformed, Turn},
    telemetry::{
        AccessLog, Metrics,
        metrics::{TenantMetrics, UpstreamMetrics},
    },
    tenant::Tenants,
    tls,
};
use http::HeaderName;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

/// What outlives every configuration.
pub struct Shared {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access: AccessLog,
    /// What a request's id begins with: another one for each process.
    pub id_prefix: u32,
    /// What it ends with: the next one.
    pub next_id: AtomicU64,
    /// Who wants to see what plugins do.
    pub watch: Option<Watch>,
}

/// Is told of every batch that plugins worked on, before it is sent: by the thread that serves the request.
pub type Watch = Box<dyn Fn(&Watched<'_>) + Send + Sync>;

/// What plugins made of a batch.
pub struct Watched<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// What it carries.
    pub signal: Signal,
    /// As it came, in protobuf.
    pub before: Chunks,
    /// What came of it, or why nothing did.
    pub after: &'a Result<Transformed, Failure>,
}

/// One configuration at work. A reload makes a new one; requests under way end on the old one.
pub struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) answers: Answers,
    pub(super) tenants: Tenants,
    pub(super) all: Arc<Gate>,
    pub(super) by_name: HashMap<Arc<str>, Arc<Tenant>>,
    pub(super) upstreams: Upstreams,
}

/// A tenant at work.
pub struct Tenant {
    pub(super) config: TenantConfig,
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: TenantMetrics,
    pub(super) plugins: TenantPlugins,
    /// The upstreams that its plugins may send to, by the names that they know.
    pub(super) routes: HashMap<Arc<str>, Arc<Upstream>>,
    upstreams: [Option<Arc<Upstream>>; 4],
}

/// An upstream at work.
pub struct Upstream {
    pub(super) exporter: Arc<Exporter>,
    pub(super) limits: UpstreamLimits,
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: UpstreamMetrics,
    pub(super) complaint: Complaint,
}

/// Everything that a state is built from.
pub struct Build<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What outlives it.
    pub shared: Arc<Shared>,
    /// The plugins of its tenants.
    pub plugins: &'a Plugins,
    /// The state before: what is in flight, verified and connected is carried over.
    pub previous: Option<&'a State>,
}

/// Why an upstream cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("upstream {upstream}: {error}")]
pub struct BuildError {
    upstream: Arc<str>,
    error: tls::IdentityError,
}

type Upstreams = HashMap<Arc<str>, Arc<Upstream>>;

impl Build<'_> {
    /// Builds a state. The limits of gates that are carried over change with it, so this comes last
    /// of all that may fail in a reload.
    ///
    /// # Errors
    /// Where an upstream's TLS material cannot be used.
    pub fn build(self) -> Result<State, BuildError> {
        let upstreams = self.upstreams()?;
        let tenants = self.config.tenants.iter().map(|config| {
            let tenant = self.tenant(config, &upstreams);
            (config.name.clone(), Arc::new(tenant))
        });
        Ok(State {
            answers: Answers::new(&self.config.answer_headers),
            tenants: Tenants::new(&self.config.auth, self.previous.map(|previous| &previous.tenants)),
            all: gate(self.previous.map(|previous| &previous.all), &self.config.limits),
            by_name: tenants.collect(),
            upstreams,
            shared: self.shared,
        })
    }

    fn upstreams(&self) -> Result<Upstreams, BuildError> {
        let stripped = self.stripped();
        let mut exporters = Vec::new();
        for (config, limits) in &self.config.upstreams {
            let before = self.previous.and_then(|previous| previous.upstreams.get(&config.name));
            let exporter = match before {
                Some(before) if before.exporter.is_of(config, &stripped) => before.exporter.clone(),
                _ => Arc::new(
                    Exporter::new(config.clone(), stripped.clone())
                        .map_err(|error| BuildError { upstream: config.name.clone(), error })?,
                ),
            };
            exporters.push((before, exporter, limits));
        }
        let upstream =
            |(before, exporter, limits): (Option<&Arc<Upstream>>, Arc<Exporter>, &UpstreamLimits)| {
                let name = exporter.config().name.clone();
                let upstream = Upstream {
                    gate: gate(before.map(|before| &before.gate), limits),
                    metrics: self.shared.metrics.upstream(&name),
                    complaint: Complaint::default(),
                    limits: *limits,
                    exporter,
                };
                (name, Arc::new(upstream))
            };
        Ok(exporters.into_iter().map(upstream).collect())
    }

    /// What any tenant's `upstream_headers` are called. A tenant without one of them must not pass for
    /// another by sending it.
    fn stripped(&self) -> Arc<[HeaderName]> {
        let headers = self.config.tenants.iter().flat_map(|tenant| &tenant.upstream_headers);
        let mut names: Vec<HeaderName> = headers.map(|(name, _)| name.clone()).collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        names.into()
    }

    fn tenant(&self, config: &TenantConfig, upstreams: &Upstreams) -> Tenant {
        let before = self.previous.and_then(|previous| previous.by_name.get(&config.name));
        Tenant {
            gate: gate(before.map(|before| &before.gate), &config.limits),
            metrics: self.shared.metrics.tenant(&config.name),
            plugins: self.plugins.of(&config.name),
            routes: config
                .routes
                .iter()
                .filter_map(|(alias, name)| Some((alias.clone(), upstreams.get(name)?.clone())))
                .collect(),
            upstreams: Signal::ALL
                .map(|signal| config.upstreams.of(signal).and_then(|name| upstreams.get(name)).cloned()),
            config: config.clone(),
        }
    }
}

fn gate<'l, L>(before: Option<&Arc<Gate>>, limits: &'l L) -> Arc<Gate>
where
    Capacity: From<&'l L>,
{
    match before {
        Some(gate) => {
            gate.resize(limits);
            gate.clone()
        }
        None => Arc::new(Gate::new(limits)),
    }
}

impl State {
    pub(super) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.by_name.get(name).map(|tenant| &**tenant)
    }

    /// The prefixes that are tenants' own.
    pub(super) fn prefixes(&self) -> HashSet<String> {
        self.by_name.values().filter_map(|tenant| tenant.config.path_prefix.clone()).collect()
    }

    /// Closes connections to upstreams that have been idle for too long.
    pub fn sweep(&self) {
        self.upstreams.values().for_each(|upstream| upstream.exporter.sweep());
    }
}

impl Tenant {
    pub(super) fn upstream(&self, signal: Signal) -> Option<&Upstream> {
        self.upstreams[signal as usize].as_deref()
    }

    /// The plugins that a batch of this signal passes, if there are any.
    pub(super) fn chain(&self, signal: Signal) -> Result<Option<&Chain>, Refusal> {
        match &self.plugins {
            TenantPlugins::None => Ok(None),
            TenantPlugins::Missing => Err(Refusal::PluginsUnavailable),
            TenantPlugins::Ready(chain) => match chain.turn(signal) {
                Turn::Skip => Ok(None),
                Turn::Run => Ok(Some(chain)),
                Turn::Refuse(plugin) => Err(Refusal::SignalRefused { signal, plugin }),
            },
        }
    }

    /// Whether its batches may pass at all.
    pub(super) fn is_served(&self) -> bool {
        !matches!(self.plugins, TenantPlugins::Missing)
    }
}

impl Upstream {
    pub(super) fn name(&self) -> &str {
        &self.exporter.config().name
    }

    /// Refuses what the upstream never takes.
    pub(super) fn check_size(&self, bytes: u64) -> Result<(), Refusal> {
        let limit = self.limits.body;
        if bytes > limit { Err(Refusal::TooLargeForUpstream(Some(limit))) } else { Ok(()) }
    }

    /// Whether a batch in this encoding and compression leaves as it came.
    pub(super) fn keeps(&self, encoding: Encoding, compression: Compression) -> bool {
        let (protocol, leaves) = self.form_of(encoding, compression);
        protocol.encoding() == encoding && leaves == compression
    }

    /// What a batch in this encoding and compression leaves in.
    pub(super) fn form_of(&self, encoding: Encoding, compression: Compression) -> (Protocol, Compression) {
        self.exporter.form_of(encoding, compression)
    }
}

/// Keeps an upstream that fails for every request from filling the log: one line in a while.
#[derive(Debug, Default)]
pub(super) struct Complaint(Mutex<Option<Instant>>);

/// How often the same upstream is complained about.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

impl Complaint {
    pub(super) fn log(&self, complaint: impl FnOnce()) {
        let mut last = self.0.lock();
        if last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            *last = Some(Instant::now());
            drop(last);
            complaint();
        }
    }
}
