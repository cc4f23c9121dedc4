//! `tollgate run`: binds, serves, reloads and drains.

use super::{EXIT_CONFIGURATION, EXIT_RUNTIME, show};
use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tollgate::{
    admin::{self, Admin, Readiness},
    config::{self, Config, Diagnostics, Environment, Loaded},
    listener::{self, Bound, Listener, Workers},
    pipeline::{Build, Door, Plugins, Scrape, Shared, State, Watch},
    plugin,
    telemetry::{self, LogGuard, Metrics},
};

/// How often idle connections to upstreams are looked over.
const SWEEP: Duration = Duration::from_secs(15);

/// Serves until a signal ends it.
pub(super) fn serve(loaded: Loaded, paths: Vec<PathBuf>, strict: bool) -> anyhow::Result<ExitCode> {
    let log = telemetry::log::init(&loaded.config.log).context("starting the log")?;
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let server = match Server::start(loaded, strict, &log, None).await {
            Ok(server) => server,
            Err(StartError::Mistakes(mistakes)) => {
                show(&mistakes);
                return Ok(ExitCode::from(EXIT_CONFIGURATION));
            }
            Err(StartError::Configuration(error)) => {
                tracing::error!(error = format!("{error:#}"), "cannot start");
                return Ok(ExitCode::from(EXIT_CONFIGURATION));
            }
            Err(StartError::Runtime(error)) => {
                tracing::error!(error = format!("{error:#}"), "cannot start");
                return Ok(ExitCode::from(EXIT_RUNTIME));
            }
        };
        server.until_ended(&paths).await
    });
    // Whatever a task still holds, such as a hash under way, is not waited for.
    runtime.shutdown_background();
    log.flush();
    code
}

/// Looks at what only building shows, as `run` would: plugins are loaded and take their configuration.
pub(super) fn check(loaded: &Loaded, strict: bool) -> anyhow::Result<Diagnostics> {
    let config = &loaded.config;
    let shared = Arc::new(Shared {
        metrics: Arc::new(Metrics::new()),
        access: telemetry::AccessLog::silent(),
        id_prefix: 0,
        next_id: AtomicU64::default(),
        watch: None,
    });
    let plugins = PluginHost::default().build(config, &shared.metrics)?;
    Build { config, shared, plugins: &plugins, previous: None }.build()?;
    Ok(loaded.locate(plugins.mistakes(), strict))
}

/// The thread that accepts, reloads and drains; [`Workers`] serve.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // The default of many systems, 1024, is far below the connections that a listener takes.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")
}

/// What runs plugins, from the first configuration on that has any.
#[derive(Default)]
struct PluginHost(OnceLock<plugin::Host>);

impl PluginHost {
    fn sweep(&self) {
        if let Some(host) = self.0.get() {
            host.sweep();
        }
    }

    /// Builds the plugins of all tenants, which may take seconds.
    fn build(&self, config: &Config, metrics: &Metrics) -> Result<Plugins, plugin::HostError> {
        if config.tenants.iter().all(|tenant| tenant.plugins.is_empty()) {
            return Ok(Plugins::default());
        }
        let host = match self.0.get() {
            Some(host) => host,
            None => {
                let cache = config.plugin_cache.clone();
                let settings = plugin::Settings { cache, ..plugin::Settings::default() };
                let host = plugin::Host::new(&settings)?;
                self.0.get_or_init(|| host)
            }
        };
        Ok(Plugins::build(host, &config.tenants, metrics))
    }
}

/// Says of whom nothing passes for want of a plugin.
fn complain(plugins: &Plugins) {
    for (tenant, mistake) in plugins.mistakes() {
        telemetry::events::plugin_unavailable(tenant, &mistake.plugin, &mistake.problem.to_string());
    }
}

/// Why a start failed: which exit status it gets.
pub(super) enum StartError {
    /// Mistakes in the configuration that only its plugins see.
    Mistakes(Diagnostics),
    Configuration(anyhow::Error),
    Runtime(anyhow::Error),
}

/// Everything at work.
pub(super) struct Server {
    shared: Arc<Shared>,
    plugin_host: Arc<PluginHost>,
    /// A plugin that does not load stops a start and a reload.
    strict: bool,
    state: Arc<ArcSwap<State>>,
    config: Arc<ArcSwap<Config>>,
    listeners: Arc<Mutex<Vec<Arc<Listener<Door>>>>>,
    readiness: Readiness,
    workers: Workers,
}

impl Server {
    /// Binds everything, and serves if all of it could be bound.
    pub(super) async fn start(
        loaded: Loaded,
        strict: bool,
        log: &LogGuard,
        watch: Option<Watch>,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared {
            metrics: Arc::new(Metrics::new()),
            access: log.access(),
            id_prefix: random(),
            next_id: AtomicU64::default(),
            watch,
        });
        let plugin_host = Arc::new(PluginHost::default());
        let plugins = plugin_host.build(&loaded.config, &shared.metrics);
        let plugins = plugins.map_err(|error| StartError::Runtime(error.into()))?;
        if !plugins.may_serve(None, strict) {
            return Err(StartError::Mistakes(loaded.locate(plugins.mistakes(), strict)));
        }
        complain(&plugins);
        let config = loaded.config;
        let build = Build { config: &config, shared: shared.clone(), plugins: &plugins, previous: None };
        let state = Arc::new(build.build().map_err(|error| StartError::Configuration(error.into()))?);
        let bound = bind(config.listeners.iter().map(|(listener, _)| &listener.bind))
            .map_err(|error| StartError::Runtime(error.into()))?;
        let admin = match &config.admin {
            Some(admin) => Some(
                TcpListener::bind(admin.bind)
                    .await
                    .with_context(|| format!("cannot listen on {} (admin)", admin.bind))
                    .map_err(StartError::Runtime)?,
            ),
            None => None,
        };
        let workers =
            Workers::start(config.workers).context("starting the workers").map_err(StartError::Runtime)?;
        let listeners = bound.into_iter().zip(&config.listeners).map(|(bound, (listener, door))| {
            start(bound, listener.clone(), Door::new(door.clone(), state.clone()), &workers)
        });
        let server = Self {
            listeners: Arc::new(Mutex::new(listeners.collect())),
            state: Arc::new(ArcSwap::from(state)),
            config: Arc::new(ArcSwap::from_pointee(config)),
            readiness: Readiness::new(),
            plugin_host,
            strict,
            shared,
            workers,
        };
        server.observe(admin);
        server.readiness.listening();
        Ok(server)
    }

    /// The addresses of the TCP listeners.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.lock().iter().filter_map(|listener| listener.socket_address()).collect()
    }

    fn observe(&self, admin: Option<TcpListener>) {
        self.shared.metrics.attach(Arc::new(Scrape {
            state: self.state.clone(),
            config: self.config.clone(),
            listeners: self.listeners.clone(),
        }));
        if let Some(listener) = admin {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "admin listens");
            }
            let admin = Admin { readiness: self.readiness.clone(), metrics: self.shared.metrics.clone() };
            tokio::spawn(admin::serve(listener, admin));
        }
        let (state, plugin_host) = (self.state.clone(), self.plugin_host.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                state.load_full().sweep();
                plugin_host.sweep();
            }
        });
    }

    /// Reloads and at last drains, as signals say.
    pub(super) async fn until_ended(&self, paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        notify(&[sd_notify::NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    notify_reloading();
                    tokio::select! {
                        () = self.reload(paths) => notify(&[sd_notify::NotifyState::Ready]),
                        // Plugins may take long to load, and who stops does not wait for them.
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                    }
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        notify(&[sd_notify::NotifyState::Stopping]);
        tokio::select! {
            cut = self.drain() => {
                tracing::info!(connections_cut = cut, "ended");
                Ok(ExitCode::SUCCESS)
            }
            _ = terminate.recv() => Ok(ExitCode::from(EXIT_RUNTIME)),
            _ = interrupt.recv() => Ok(ExitCode::from(EXIT_RUNTIME)),
        }
    }

    /// Lets everything under way end, within the drain time. Says how many connections it cut.
    pub(super) async fn drain(&self) -> usize {
        self.readiness.draining();
        let limit = self.config.load().drain_timeout;
        tracing::info!(limit = ?limit, "draining");
        let listeners = std::mem::take(&mut *self.listeners.lock());
        let draining = listeners.iter().map(|listener| listener.drain(limit));
        futures_util::future::join_all(draining).await.into_iter().sum()
    }

    /// Validates, then swaps. A mistake changes nothing.
    async fn reload(&self, paths: &[PathBuf]) {
        let result = match config::load(paths, &Environment::of_process()) {
            Err(mistakes) => Err(anyhow::anyhow!("{}", mistakes.render(false))),
            Ok(loaded) => {
                if !loaded.warnings.is_empty() {
                    tracing::warn!(warnings = loaded.warnings.render(false), "configuration");
                }
                self.take(loaded).await
            }
        };
        self.shared.metrics.reloaded(result.is_ok());
        match result {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "reload failed, the configuration before goes on"
                );
            }
        }
    }

    /// Everything that can fail comes first: plugins, then sockets, then upstreams. Then all is swapped.
    async fn take(&self, loaded: Loaded) -> anyhow::Result<()> {
        let (host, metrics) = (self.plugin_host.clone(), self.shared.metrics.clone());
        // This thread accepts: a compiler may not hold it up.
        let build = move || (host.build(&loaded.config, &metrics), loaded);
        let (plugins, loaded) = tokio::task::spawn_blocking(build).await?;
        let plugins = plugins?;
        if !plugins.may_serve(Some(&self.state.load()), self.strict) {
            anyhow::bail!("{}", loaded.locate(plugins.mistakes(), true).render(false));
        }
        complain(&plugins);
        self.swap(loaded.config, &plugins)
    }

    fn swap(&self, config: Config, plugins: &Plugins) -> anyhow::Result<()> {
        let mut listeners = self.listeners.lock();
        let wanted = |listener: &Listener<Door>| {
            let now = listener.config();
            config.listeners.iter().find(move |(wanted, _)| wanted.is_same_socket(&now))
        };
        let is_new =
            |wanted: &listener::Config| !listeners.iter().any(|now| now.config().is_same_socket(wanted));
        let new: Vec<_> = config.listeners.iter().filter(|(listener, _)| is_new(listener)).cloned().collect();
        let bound = bind(new.iter().map(|(listener, _)| &listener.bind))?;
        for (listener, _) in listeners.iter().filter_map(|listener| wanted(listener)) {
            Bound::permit(&listener.bind)?;
        }
        let before = self.state.load_full();
        let build = Build { config: &config, shared: self.shared.clone(), plugins, previous: Some(&before) };
        let state = Arc::new(build.build()?);

        let (kept, removed): (Vec<_>, Vec<_>) =
            listeners.drain(..).partition(|listener| wanted(listener).is_some());
        for listener in &kept {
            if let Some((wanted, door)) = wanted(listener) {
                listener.reconfigure(wanted.clone(), Door::new(door.clone(), state.clone()));
            }
        }
        let started = bound.into_iter().zip(new).map(|(bound, (listener, door))| {
            start(bound, listener, Door::new(door, state.clone()), &self.workers)
        });
        *listeners = kept.into_iter().chain(started).collect();
        let limit = config.drain_timeout;
        for listener in removed {
            tracing::info!(listener = %listener.config().name, "listener removed");
            tokio::spawn(async move { listener.drain(limit).await });
        }
        self.state.store(state);
        let before = self.config.swap(Arc::new(config));
        warn_of_restart(&before, &self.config.load());
        Ok(())
    }
}

fn bind<'b>(binds: impl Iterator<Item = &'b listener::Bind>) -> Result<Vec<Bound>, listener::BindError> {
    binds.map(Bound::bind).collect()
}

fn start(bound: Bound, config: listener::Config, door: Door, workers: &Workers) -> Arc<Listener<Door>> {
    tracing::info!(listener = %config.name, address = %bound, tls = config.tls.is_some(), "listening");
    Listener::start(bound, config, door, workers.clone())
}

fn warn_of_restart(before: &Config, now: &Config) {
    let changed = [
        ("workers", before.workers != now.workers),
        ("log", before.log != now.log),
        ("admin", before.admin != now.admin),
        ("plugin_cache", before.plugin_cache != now.plugin_cache),
    ];
    for (what, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("a change of `{what}` takes a restart");
    }
}

/// Tells systemd (`Type=notify-reload`); nobody else listens.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

fn notify_reloading() {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        notify(&[sd_notify::NotifyState::Reloading, now]);
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Ids only have to differ; should the system have no randomness, the process number does.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => std::process::id(),
    }
}
