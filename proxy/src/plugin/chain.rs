//! A tenant's plugins in order: what becomes of a batch, and where that is found out.

use super::{
    Cause, Component, Config, DEFAULT_DESTINATION, FailureKind, Host, LoadError, OnFailure, Registration,
    document::{Batch, EditError, Exhausted},
    engine::{Instance, Role, Stopped, Until, Verdict},
    pool::Full,
};
use crate::{
    clock::nanoseconds,
    otlp::{Chunks, Signal},
    telemetry::{
        events,
        metrics::{Metrics, PluginMetrics},
    },
};
use parking_lot::Mutex;
use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout_at};

/// How long all calls of a request may take together on the thread that serves it and others: what none of
/// these notices. Beyond, it is undone and begun again on a thread of the pool.
const SLICE: Duration = Duration::from_millis(4);

/// Batches up to this size are worked on where their request is: 350 records, which take a fast plugin
/// 0.1 ms. Larger ones go to the pool at once, where waking a thread is small beside them.
const SMALL_BYTES: u64 = 256 << 10;

/// For how long a plugin counts as slow after it was.
const SLOW_FOR: Duration = Duration::from_secs(1);

/// An instance may take this much longer to be configured than for a call: it compiles patterns.
const CONFIGURE_TIMES: u32 = 10;

/// When a sender whose request found the queue full may try again. A place is free as soon as one call ends,
/// which for plugins that are not broken takes a fraction of it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The plugins of a tenant, in order, ready to work. Cheap to clone.
#[derive(Clone)]
pub struct Chain(Arc<Parts>);

struct Parts {
    host: Host,
    tenant: Arc<str>,
    plugins: Vec<Arc<Plugin>>,
}

/// What is to be done with a batch of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: no plugin wants to see it.
    Skip,
    /// [`Chain::run`] it.
    Run,
    /// Refuse it: this plugin cannot look into it, and says that what it has not looked into must not
    /// pass.
    Refuse(Arc<str>),
}

/// What came of a batch.
pub struct Transformed {
    /// What goes to the tenant's own upstream; none, where nothing stays.
    pub batch: Option<Batch>,
    /// What goes elsewhere.
    pub routed: Vec<Routed>,
    /// Records that were taken out.
    pub discarded: u64,
    /// What each plugin did, in order.
    pub notes: Vec<Note>,
}

impl fmt::Debug for Transformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, routed, discarded, notes } = self;
        f.debug_struct("Transformed")
            .field("records", &batch.as_ref().map(Batch::records))
            .field("routed", routed)
            .field("discarded", discarded)
            .field("notes", notes)
            .finish()
    }
}

/// Records on their way to where a plugin sent them.
#[derive(Debug)]
pub struct Routed {
    /// Names of the tenant's `routes`, or `default`.
    pub destinations: Vec<Arc<str>>,
    /// They, as a request in protobuf.
    pub message: Chunks,
    /// How many they are.
    pub records: u64,
}

/// What a plugin did with a batch, for the access log.
#[derive(Debug, Clone)]
pub struct Note {
    /// Its name.
    pub plugin: Arc<str>,
    /// `forwarded`, or `passed` where it failed and the batch went on without it.
    pub outcome: &'static str,
    /// How long it took, waiting for a thread not included.
    pub took: Duration,
    /// Whether it ran on a thread of the pool.
    pub in_pool: bool,
}

/// A batch does not go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The plugin refuses it: its sender must not send it again.
    #[error("plugin `{plugin}` rejects it: {text}")]
    Rejected {
        /// The plugin's name.
        plugin: Arc<str>,
        /// Its words, printable, 512 characters at the most.
        text: String,
    },
    /// The plugin failed: the sender may try again.
    #[error("plugin `{plugin}` failed: {cause}")]
    Failed {
        /// The plugin's name.
        plugin: Arc<str>,
        /// For the operator, and not for the sender.
        cause: Cause,
    },
    /// The batch is broken below its records, where nobody looked before a plugin did: its sender must not
    /// send it again.
    #[error("{0}")]
    Malformed(String),
    /// The request's own time was over before every plugin had its turn: nobody waits for it any more.
    #[error("the request's time is over")]
    Late,
    /// As many calls wait for the tenant's plugins as may.
    #[error("too many calls wait for plugins")]
    Busy {
        /// When there should be room.
        retry_after: Duration,
    },
}

/// A tenant's plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {problem}")]
pub struct BuildError {
    /// Its name.
    pub plugin: Arc<str>,
    /// Why.
    pub problem: BuildProblem,
}

/// Why a tenant's plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildProblem {
    /// Its component cannot.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its configuration is wrong.
    #[error("{message} (at `{pointer}` of its configuration)")]
    Config {
        /// Where: a JSON pointer into the plugin's configuration; empty for all of it.
        pointer: String,
        /// What is wrong, in the plugin's words.
        message: String,
    },
    /// It fails to start.
    #[error("does not start: {0}")]
    Start(Cause),
    /// It would route to what the tenant does not have.
    #[error(
        "routes to `{name}`, which is none of the tenant's `routes`; there {}",
        known_destinations(known)
    )]
    Destination {
        /// What it named.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no room for an instance.
    #[error("there is no room for another instance beside those at work")]
    Full,
}

fn known_destinations(known: &[String]) -> String {
    if known.is_empty() {
        return format!("are none, only `{DEFAULT_DESTINATION}`");
    }
    let known: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
    format!("are {} and `{DEFAULT_DESTINATION}`", known.join(", "))
}

impl Chain {
    /// Loads and configures a tenant's plugins.
    ///
    /// # Errors
    /// Every plugin that cannot be used, and why: at least one.
    pub fn build(
        host: &Host,
        tenant: &str,
        plugins: &[Config],
        routes: &[&str],
        metrics: &Metrics,
    ) -> Result<Self, Vec<BuildError>> {
        let tenant: Arc<str> = tenant.into();
        let (mut built, mut mistakes) = (Vec::with_capacity(plugins.len()), Vec::new());
        for config in plugins {
            match Plugin::build(host, &tenant, config, routes, metrics) {
                Ok(plugin) => built.push(plugin),
                Err(problem) => mistakes.push(BuildError { plugin: config.name.clone(), problem }),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self(Arc::new(Parts { host: host.clone(), tenant, plugins: built })))
    }

    /// What is to be done with batches of a signal.
    pub fn turn(&self, signal: Signal) -> Turn {
        let is_wanted = |plugin: &&Arc<Plugin>| plugin.wants(signal);
        let refuses = |plugin: &&Arc<Plugin>| !plugin.wants(signal) && plugin.registration.refuses_others;
        match self.0.plugins.iter().find(refuses) {
            Some(plugin) => Turn::Refuse(plugin.name.clone()),
            None if self.0.plugins.iter().any(|plugin| is_wanted(&plugin)) => Turn::Run,
            None => Turn::Skip,
        }
    }

    /// Has the plugins work on a batch, until `deadline` at the latest.
    ///
    /// # Errors
    /// [`Failure`] says why the batch does not go on; nothing of it has.
    pub async fn run(&self, batch: Batch, deadline: Option<Instant>) -> Result<Transformed, Failure> {
        match self.begin(batch, deadline)? {
            Begun::Done(transformed) => Ok(transformed),
            Begun::Waits(waiting) => waiting.go_on().await,
        }
    }

    /// The same as far as it goes on this thread, which others wait for.
    ///
    /// # Errors
    /// As of [`Chain::run`].
    pub fn begin(&self, batch: Batch, deadline: Option<Instant>) -> Result<Begun<'_>, Failure> {
        let mut journey = Journey::new(batch, deadline);
        let slice_end = Instant::now() + SLICE;
        Ok(match self.0.advance(&mut journey, Some(slice_end))? {
            Progress::Done => Begun::Done(journey.into()),
            Progress::Elsewhere => Begun::Waits(Waiting { chain: self, journey }),
        })
    }
}

/// How far a batch came on the thread of its request.
pub enum Begun<'c> {
    /// Past all plugins.
    Done(Transformed),
    /// It is large, or a plugin is slow: it goes on in the pool.
    Waits(Waiting<'c>),
}

/// A batch that has to wait for a thread of the pool, with what plugins made of it before.
pub struct Waiting<'c> {
    chain: &'c Chain,
    journey: Journey,
}

impl Waiting<'_> {
    /// How many bytes plugins made so far, which are held as long as it waits.
    pub fn bytes_made(&self) -> u64 {
        let Journey { batch, routed, .. } = &self.journey;
        let routed = routed.iter().map(|routed| routed.message.len() as u64).sum::<u64>();
        routed + batch.as_ref().map_or(0, Batch::bytes_held)
    }

    /// Has the plugins that are left work on it, as [`Chain::run`] does.
    ///
    /// # Errors
    /// As of [`Chain::run`]; and where the queue is full, or the time over before it is its turn.
    pub async fn go_on(self) -> Result<Transformed, Failure> {
        let Self { chain: Chain(parts), mut journey } = self;
        let deadline = journey.deadline;
        let (answer, answered) = oneshot::channel();
        let plugin = &parts.plugins[journey.next];
        let waiting = plugin.metrics.wait();
        let worker = parts.clone();
        let work = move || {
            drop(waiting);
            let result = worker.advance(&mut journey, None).map(|_| journey.into());
            let _went_away = answer.send(result);
        };
        let busy = || {
            plugin.metrics.was_busy();
            Failure::Busy { retry_after: RETRY_AFTER }
        };
        // Where the sender goes away meanwhile, this is dropped, and with it what waits.
        let _ticket = parts.host.0.pool.submit(&parts.tenant, work).map_err(|Full| busy())?;
        let answered = match deadline {
            Some(deadline) => timeout_at(deadline.into(), answered).await.map_err(|_| Failure::Late)?,
            None => answered.await,
        };
        answered.unwrap_or_else(|_| Err(busy()))
    }
}

/// A batch on its way past the plugins.
struct Journey {
    batch: Option<Batch>,
    signal: Signal,
    bytes: u64,
    deadline: Option<Instant>,
    /// The plugin whose turn it is.
    next: usize,
    routed: Vec<Routed>,
    discarded: u64,
    notes: Vec<Note>,
}

impl Journey {
    fn new(batch: Batch, deadline: Option<Instant>) -> Self {
        Self {
            signal: batch.signal(),
            bytes: batch.message().len() as u64, // as it came, so nothing is encoded
            batch: Some(batch),
            deadline,
            next: 0,
            routed: Vec::new(),
            discarded: 0,
            notes: Vec::new(),
        }
    }

    /// How many records there are still.
    fn records(&self) -> u64 {
        self.batch.as_ref().map_or(0, Batch::records)
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn end(&self, begun: Instant, time: Duration) -> Instant {
        let end = later(begun, time);
        self.deadline.map_or(end, |deadline| deadline.min(end))
    }
}

impl From<Journey> for Transformed {
    fn from(Journey { batch, routed, discarded, notes, .. }: Journey) -> Self {
        Self { batch, routed, discarded, notes }
    }
}

/// A time limit may be as large as somebody writes it; a day is for ever.
fn later(begun: Instant, time: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    begun + time.min(DAY)
}

/// How far a batch came.
enum Progress {
    /// Past all plugins.
    Done,
    /// It has to go on in the pool.
    Elsewhere,
}

impl Parts {
    /// Takes a batch past the plugins, as far as may be here: with an end of the slice, on a thread that
    /// others wait for.
    fn advance(&self, journey: &mut Journey, slice_end: Option<Instant>) -> Result<Progress, Failure> {
        while let Some(plugin) = self.plugins.get(journey.next) {
            if journey.batch.is_none() {
                break;
            }
            if plugin.wants(journey.signal) {
                if journey.is_late() {
                    return Err(Failure::Late);
                }
                let is_here = slice_end.is_none_or(|end| journey.bytes <= SMALL_BYTES && plugin.fits(end));
                if !is_here {
                    return Ok(Progress::Elsewhere);
                }
                if let Progress::Elsewhere = plugin.call(self, journey, slice_end)? {
                    return Ok(Progress::Elsewhere);
                }
            }
            journey.next += 1;
        }
        Ok(Progress::Done)
    }
}

/// A tenant's plugin.
struct Plugin {
    name: Arc<str>,
    component: Component,
    role: Arc<Role>,
    registration: Registration,
    destinations: Vec<Arc<str>>,
    on_failure: OnFailure,
    time: Duration,
    edit_bytes: u64,
    spare: Arc<Spare>,
    pace: Pace,
    metrics: PluginMetrics,
    /// When a failure or a rejection was last logged, in milliseconds since the process began.
    complained_at_ms: AtomicU64,
}

/// Instances that have nothing to do. There are never more than threads that can call them.
#[derive(Default)]
pub(super) struct Spare {
    instances: Mutex<Vec<Instance>>,
    /// Since somebody last looked for instances to be given up.
    was_used: AtomicBool,
}

impl Spare {
    /// The one that was used last: its memory is the warmest.
    fn take(&self) -> Option<Instance> {
        self.instances.lock().pop()
    }

    fn put(&self, instance: Instance) {
        self.was_used.store(true, Relaxed);
        self.instances.lock().push(instance);
    }

    /// Gives up its instances, where nobody used them for a while or `all` are wanted. How many there were.
    pub(super) fn give_up(&self, all: bool) -> usize {
        if self.was_used.swap(false, Relaxed) && !all {
            return 0;
        }
        let instances = std::mem::take(&mut *self.instances.lock());
        instances.len()
    }
}

/// How fast a plugin is.
#[derive(Default)]
struct Pace {
    /// Calls in a row that took longer than a slice. One alone may have waited for the processor.
    slow_calls: AtomicU64,
    /// Until when it counts as slow, in milliseconds since the process began.
    slow_until_ms: AtomicU64,
    /// How long it took to make its last instance, in nanoseconds.
    start_ns: AtomicU64,
}

/// Milliseconds since the process began.
fn now_ms() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(ORIGIN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Pace {
    fn is_slow(&self) -> bool {
        let until = self.slow_until_ms.load(Relaxed);
        until != 0 && now_ms() < until
    }

    fn was_fast(&self) {
        // Mostly it is so already, and other threads have it at hand.
        if self.slow_calls.load(Relaxed) != 0 {
            self.slow_calls.store(0, Relaxed);
        }
    }

    fn was_slow(&self) {
        if self.slow_calls.fetch_add(1, Relaxed) == 0 {
            return;
        }
        self.slow_until_ms.store(now_ms() + SLOW_FOR.as_millis() as u64, Relaxed);
    }
}

/// What a call came to.
enum Called {
    Forwarded { changed: u64, discarded: u64, routed: Vec<Routed> },
    Rejected(String),
}

/// The first instance of a plugin.
struct First {
    component: Component,
    role: Arc<Role>,
    instance: Instance,
    registration: Registration,
    metrics: PluginMetrics,
    /// How long it took to make.
    took: Duration,
}

impl First {
    fn start(
        host: &Host,
        tenant: &Arc<str>,
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Self, BuildProblem> {
        let component = host.load(&config.component)?;
        let metrics = metrics.plugin(&config.name, tenant);
        let role = Arc::new(host.0.engine.role(tenant, config, metrics.clone()));
        let begun = Instant::now();
        let until = Until::new(begun, later(begun, config.limits.time.saturating_mul(CONFIGURE_TIMES)), None);
        let started = start(host, &component, &role, until);
        let (instance, registration) = started.map_err(|stopped| match stopped {
            Stopped::Mistaken { pointer, message } => BuildProblem::Config { pointer, message },
            Stopped::Failed(cause) => BuildProblem::Start(cause),
            Stopped::Full => BuildProblem::Full,
            Stopped::Interrupted | Stopped::Malformed(_) | Stopped::Broken => BuildProblem::Start(broken()),
        })?;
        Ok(Self { component, role, instance, registration, metrics, took: begun.elapsed() })
    }
}

/// How a plugin registers.
pub(super) fn register(
    host: &Host,
    tenant: &Arc<str>,
    config: &Config,
    metrics: &Metrics,
) -> Result<Registration, BuildProblem> {
    First::start(host, tenant, config, metrics).map(|first| first.registration)
}

impl Plugin {
    fn build(
        host: &Host,
        tenant: &Arc<str>,
        config: &Config,
        routes: &[&str],
        metrics: &Metrics,
    ) -> Result<Arc<Self>, BuildProblem> {
        let First { component, role, instance, registration, metrics, took } =
            First::start(host, tenant, config, metrics)?;
        let is_known = |name: &String| name == DEFAULT_DESTINATION || routes.contains(&name.as_str());
        if let Some(name) = registration.destinations.iter().find(|name| !is_known(name)) {
            return Err(BuildProblem::Destination {
                name: config.secrets.printable(name.as_bytes(), 128),
                known: routes.iter().map(|&route| route.to_owned()).collect(),
            });
        }
        let default = Arc::from(DEFAULT_DESTINATION);
        let named = registration.destinations.iter().map(|name| Arc::from(name.as_str()));
        let plugin = Self {
            name: config.name.clone(),
            component,
            role,
            destinations: named.chain([default]).collect(),
            registration,
            on_failure: config.on_failure.unwrap_or_default(),
            time: config.limits.time,
            edit_bytes: config.limits.edit_bytes,
            spare: Arc::default(),
            pace: Pace::default(),
            metrics,
            complained_at_ms: AtomicU64::new(0),
        };
        plugin.pace.start_ns.store(nanoseconds(took), Relaxed);
        plugin.spare.put(instance);
        host.watch(&plugin.spare);
        Ok(Arc::new(plugin))
    }

    fn wants(&self, signal: Signal) -> bool {
        self.registration.signals.contains(&signal)
    }

    /// Whether a call should be tried on a thread that others wait for: most take a fraction of the slice.
    fn fits(&self, slice_end: Instant) -> bool {
        !self.pace.is_slow() && Instant::now() + SLICE / 8 < slice_end
    }

    fn call(
        &self,
        parts: &Parts,
        journey: &mut Journey,
        slice_end: Option<Instant>,
    ) -> Result<Progress, Failure> {
        let begun = Instant::now();
        let came = journey.records();
        let called = self.attempt(parts, journey, begun, slice_end);
        let took = begun.elapsed();
        match called {
            // Those before it left it little of the slice.
            Err(Stopped::Interrupted) if took <= SLICE / 2 => {}
            Err(Stopped::Interrupted) => self.pace.was_slow(),
            _ if took <= SLICE => self.pace.was_fast(),
            _ if journey.bytes <= SMALL_BYTES => self.pace.was_slow(),
            _ => {}
        }
        let in_pool = slice_end.is_none();
        let outcome = match called {
            Ok(Called::Forwarded { changed, discarded, routed }) => {
                let elsewhere = routed.iter().map(|routed| routed.records).sum::<u64>();
                let stay = journey.records();
                // What another batch in its place does not have is taken out too.
                let discarded = discarded.max(came.saturating_sub(elsewhere + stay));
                self.metrics.records(changed, discarded, elsewhere);
                journey.discarded += discarded;
                journey.routed.extend(routed);
                if stay == 0 && discarded + elsewhere > 0 {
                    journey.batch = None;
                }
                "forwarded"
            }
            Ok(Called::Rejected(text)) => {
                self.metrics.called("rejected", took);
                if self.may_complain() {
                    events::plugin_rejected(&parts.tenant, &self.name, &text);
                }
                return Err(Failure::Rejected { plugin: self.name.clone(), text });
            }
            Err(Stopped::Interrupted) => {
                self.undo(journey);
                self.metrics.called("moved", took);
                return Ok(Progress::Elsewhere);
            }
            Err(Stopped::Malformed(text)) => {
                self.metrics.called("malformed", took);
                return Err(Failure::Malformed(text));
            }
            Err(Stopped::Failed(cause))
                if cause.kind == FailureKind::Time && took < self.time && journey.is_late() =>
            {
                self.metrics.called("late", took);
                return Err(Failure::Late);
            }
            Err(stopped) => {
                let is_whole = !matches!(stopped, Stopped::Broken);
                let cause = self.cause(stopped);
                self.metrics.failed(cause.kind.name());
                if self.may_complain() {
                    events::plugin_failed(&parts.tenant, &self.name, cause.kind.name(), &cause.text);
                }
                if !is_whole || self.on_failure == OnFailure::Reject {
                    self.metrics.called("failed", took);
                    return Err(Failure::Failed { plugin: self.name.clone(), cause });
                }
                self.undo(journey);
                "passed"
            }
        };
        self.metrics.called(outcome, took);
        journey.notes.push(Note { plugin: self.name.clone(), outcome, took, in_pool });
        Ok(Progress::Done)
    }

    fn undo(&self, journey: &mut Journey) {
        if let Some(batch) = &mut journey.batch {
            batch.undo();
        }
    }

    fn attempt(
        &self,
        parts: &Parts,
        journey: &mut Journey,
        begun: Instant,
        slice_end: Option<Instant>,
    ) -> Result<Called, Stopped> {
        let mut instance = match self.spare.take() {
            Some(instance) => instance,
            None => {
                let end = journey.end(begun, self.time.saturating_mul(CONFIGURE_TIMES));
                self.start_another(&parts.host, Until::new(begun, end, slice_end))?
            }
        };
        let begun = Instant::now();
        let until = Until::new(begun, journey.end(begun, self.time), slice_end);
        let verdict = instance.process(&mut journey.batch, until);
        let is_good = match &verdict {
            Ok(_) => true,
            Err(Stopped::Failed(cause)) => cause.kind == FailureKind::Error, // it said so itself
            Err(_) => false,
        };
        let called = verdict.and_then(|verdict| match verdict {
            Verdict::Reject(text) => Ok(Called::Rejected(text)),
            Verdict::Forward => self.commit(journey, until),
        });
        instance.speak(!matches!(called, Err(Stopped::Interrupted)));
        if is_good && !instance.is_worn() {
            self.spare.put(instance);
        }
        called
    }

    fn start_another(&self, host: &Host, until: Until) -> Result<Instance, Stopped> {
        if until.has_slice() && self.pace.start_ns.load(Relaxed) > nanoseconds(SLICE / 2) {
            return Err(Stopped::Interrupted);
        }
        let begun = Instant::now();
        let (instance, registration) = start(host, &self.component, &self.role, until)?;
        self.pace.start_ns.store(nanoseconds(begun.elapsed()), Relaxed);
        if registration != self.registration {
            let text = "its instances register differently for the same configuration";
            return Err(Stopped::Failed(Cause::new(FailureKind::Trap, text)));
        }
        Ok(instance)
    }

    fn commit(&self, journey: &mut Journey, until: Until) -> Result<Called, Stopped> {
        let Some(batch) = &mut journey.batch else { return Err(Stopped::Broken) };
        let effects = batch.commit().map_err(|error| {
            let (kind, text) = match error {
                EditError::Malformed(malformed) => return Stopped::Malformed(malformed.to_string()),
                EditError::Exhausted(Exhausted::Time) if until.is_interrupted() => {
                    return Stopped::Interrupted;
                }
                EditError::Exhausted(Exhausted::Time) => (FailureKind::Time, "it took too long".to_owned()),
                EditError::Exhausted(Exhausted::Bytes) => {
                    return Stopped::Failed(Cause::too_many_bytes(self.edit_bytes));
                }
                EditError::BadArgument(text) | EditError::Unsupported(text) => (FailureKind::Error, text),
            };
            Stopped::Failed(Cause::new(kind, text))
        })?;
        let routed = effects.routed.into_iter().map(|routed| Routed {
            destinations: routed.destinations.iter().filter_map(|name| self.destination(name)).collect(),
            message: routed.message,
            records: routed.records,
        });
        let routed = routed.collect();
        Ok(Called::Forwarded { changed: effects.changed, discarded: effects.discarded, routed })
    }

    fn destination(&self, name: &str) -> Option<Arc<str>> {
        self.destinations.iter().find(|known| ***known == *name).cloned()
    }

    fn cause(&self, stopped: Stopped) -> Cause {
        match stopped {
            Stopped::Failed(cause) => cause,
            Stopped::Mistaken { pointer, message } => Cause::new(
                FailureKind::Error,
                format!("it does not take its configuration any more: {message} (at `{pointer}`)"),
            ),
            Stopped::Full => Cause::new(FailureKind::Limit, BuildProblem::Full.to_string()),
            Stopped::Interrupted | Stopped::Malformed(_) | Stopped::Broken => broken(),
        }
    }

    /// Whether a failure or a rejection is logged: one a second, since each is counted, and each request says
    /// which plugin it was.
    fn may_complain(&self) -> bool {
        let now_ms = now_ms() + 1;
        let last_ms = self.complained_at_ms.load(Relaxed);
        let is_due = last_ms == 0 || now_ms >= last_ms + 1_000;
        is_due && self.complained_at_ms.compare_exchange(last_ms, now_ms, Relaxed, Relaxed).is_ok()
    }
}

fn broken() -> Cause {
    Cause::new(FailureKind::Trap, "the host failed: this is a mistake in Tollgate, please report it")
}

/// Makes an instance. Where there is no room, others that nobody uses give theirs up.
fn start(
    host: &Host,
    component: &Component,
    role: &Arc<Role>,
    until: Until,
) -> Result<(Instance, Registration), Stopped> {
    match component.start(role, until) {
        Err(Stopped::Full) if host.make_room() => component.start(role, until),
        started => started,
    }
}
