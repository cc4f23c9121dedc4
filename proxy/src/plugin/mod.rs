//! Plugins: WebAssembly components that look into, change, discard and route what a tenant sends.
//!
//! This room promises that a plugin can do nothing but that. It has no file, no network and no
//! environment; its memory, its time and everything that it makes the host keep are limited; what it
//! does wrong costs that call and nothing else, and tenants never share an instance. The room knows
//! nothing of requests, of upstreams or of what a sender is told: a [`Chain`] turns a batch into
//! batches, or says why not.
//!
//! ```text
//! chain    a tenant's plugins in order: what becomes of a batch, and where that is found out
//! pool     the threads for calls that would hold up others
//! engine   everything that knows WebAssembly: components, instances, the functions of the contract
//! secret   a plugin's words, without what nobody may see of its configuration
//! ```

mod chain;
#[cfg(feature = "wasm")]
mod engine;
#[cfg(not(feature = "wasm"))]
#[path = "absent.rs"]
mod engine;
mod pool;
mod secret;
#[cfg(test)]
mod tests;

pub use chain::{Begun, BuildError, BuildProblem, Chain, Failure, Note, Routed, Transformed, Turn, Waiting};
pub use engine::{Component, Inspection, inspect};
pub use secret::{MASKED, Secrets};
pub use tollgate_document::Batch;

use crate::{otlp::Signal, telemetry::Metrics};
use chain::Spare;
use parking_lot::Mutex;
use pool::Pool;
use std::{
    borrow::Cow,
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};
use tollgate_document::batch as document;

/// The destination that every plugin has: the tenant's own upstream.
pub const DEFAULT_DESTINATION: &str = "default";

/// A plugin as a tenant uses it.
#[derive(Clone)]
pub struct Config {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it is made of.
    pub component: Source,
    /// Its own configuration, with what the tenant overrides and with secrets in their places.
    pub config: serde_json::Value,
    /// What of it nobody may see.
    pub secrets: Secrets,
    /// What becomes of a batch that it fails on; without a word, [`OnFailure::Reject`].
    pub on_failure: Option<OnFailure>,
    /// What it may use.
    pub limits: Limits,
}

impl Config {
    /// Whether another has the same to do.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.component == other.component && self.config == other.config && self.limits == other.limits
    }
}

impl fmt::Debug for Config {
    /// Never shows the plugin's own configuration, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Config");
        shown.field("name", &self.name).field("component", &self.component).finish_non_exhaustive()
    }
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program itself.
    Builtin(Builtin),
    /// A file.
    File(PathBuf),
}

/// The largest component: ten times one of Python.
const COMPONENT_BYTES_MAX: u64 = 256 << 20;

impl Source {
    /// The component's bytes.
    ///
    /// # Errors
    /// Where its file cannot be read, or is larger than any component.
    pub fn bytes(&self) -> io::Result<Cow<'static, [u8]>> {
        let path = match self {
            Source::Builtin(builtin) => return Ok(Cow::Borrowed(builtin.bytes())),
            Source::File(path) => path,
        };
        let mut bytes = Vec::new();
        File::open(path)?.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB"));
        }
        Ok(Cow::Owned(bytes))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Builtin(builtin) => write!(f, "builtin:{}", builtin.name()),
            Source::File(path) => path.display().fmt(f),
        }
    }
}

/// The plugins that come with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Builtin {
    /// Sets, renames, extracts.
    Relabel,
    /// Masks what nobody should read.
    Redact,
    /// Sends records to where they belong.
    Route,
}

impl Builtin {
    /// All of them, in the order of the documentation.
    pub const ALL: [Builtin; 3] = [Builtin::Relabel, Builtin::Redact, Builtin::Route];

    /// The name in the configuration, after `builtin:`.
    pub const fn name(self) -> &'static str {
        match self {
            Builtin::Relabel => "relabel",
            Builtin::Redact => "redact",
            Builtin::Route => "route",
        }
    }
}

/// What becomes of a batch that a plugin fails on: by a trap, a limit or an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It is refused, and its sender may try again: nothing leaves that the plugin has not seen.
    #[default]
    Reject,
    /// It goes on as it came to the plugin.
    Forward,
}

/// What a plugin says of itself, once it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The signals that it wants to see.
    pub signals: Vec<Signal>,
    /// Whether it has the others refused.
    pub refuses_others: bool,
    /// Where it may route to, beside `default`.
    pub destinations: Vec<String>,
    /// Whether it changes nothing.
    pub is_read_only: bool,
}

/// What a plugin may use. Limits of a call hold for each call; those that say so, for each instance, or
/// for the plugin and tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all memories of an instance. Default 128 MiB: every language fits in, and the heap of
    /// JavaScript in StarlingMonkey, the largest, comes to 104 MiB.
    pub memory: u64,
    /// How long a call may take, the host's work for it included. Default 1 s: a hundred times what a
    /// batch of a hundred records takes in a slow language, and a tenth of what senders wait.
    pub time: Duration,
    /// Elements of all tables of an instance, at most [`Limits::TABLE_ELEMENTS_MAX`]. Default 20 000: QuickJS
    /// has 7 749.
    pub table_elements: u32,
    /// Lines of the log in a second, for the plugin and tenant. Default 100: enough to see what is
    /// wrong, too few to bury what others log.
    pub log_lines: u32,
    /// Bytes of the log in a second, for the plugin and tenant. Default 64 KiB. A line is cut at 1 024
    /// characters.
    pub log_bytes: u32,
    /// Counters, for the plugin and tenant. Default 32: each is a series in the metrics.
    pub counters: u32,
    /// Patterns of an instance, and as many keys for hashes. Default 128.
    pub patterns: u32,
    /// Bytes of one compiled pattern. Default 4 MiB: what classes of Unicode need that are repeated
    /// some dozens of times.
    pub pattern_bytes: u32,
    /// Bytes that a call may write into a batch or take out of it, and the most that it hands over at
    /// once. Default 64 MiB: four times the largest batch by default.
    pub edit_bytes: u64,
    /// Calls after which an instance is replaced, which ends leaks that are slow. Default 10 000: making
    /// one takes 20 µs in Rust and 2 ms in Python.
    pub calls: u32,
    /// Bytes that an instance may have grown by since it was configured before it is replaced. Default
    /// 32 MiB: what a large batch made it take is given back.
    pub growth: u64,
}

impl Limits {
    /// The largest table that there is room for in the memory of all instances, so more is not to be had.
    pub const TABLE_ELEMENTS_MAX: u32 = 100_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            time: Duration::from_secs(1),
            table_elements: 20_000,
            log_lines: 100,
            log_bytes: 64 << 10,
            counters: 32,
            patterns: 128,
            pattern_bytes: 4 << 20,
            edit_bytes: 64 << 20,
            calls: 10_000,
            growth: 32 << 20,
        }
    }
}

/// How the host is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder for compiled components; without one, each start compiles.
    pub cache: Option<PathBuf>,
    /// Threads for calls that are large or slow. At least two, so that one tenant cannot hold all; alone it
    /// may have half of them.
    pub threads: usize,
    /// How many calls of a tenant may wait for these threads. Beyond, they are refused.
    pub queue: usize,
    /// How many instances there may be, of all plugins and tenants. Each takes 4 GiB of address space
    /// for every memory it has, of which only what it touches is real.
    pub instances: u32,
}

impl Default for Settings {
    /// No cache; twice as many threads as cores, so that one tenant may use all cores; 64 waiting calls a
    /// tenant, as many as it may have requests by default; 1 000 instances.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cache: None, threads: (2 * cores).max(4), queue: 64, instances: 1_000 }
    }
}

/// What runs plugins: one for a process. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<HostParts>);

struct HostParts {
    engine: engine::Engine,
    pool: Pool,
    /// Where instances are that might be given up.
    spares: Mutex<Vec<Weak<Spare>>>,
}

impl Host {
    /// Sets up the engine and its threads.
    ///
    /// # Errors
    /// Where the system gives no thread or the processor is not supported.
    pub fn new(settings: &Settings) -> Result<Self, HostError> {
        let engine = engine::Engine::new(settings)?;
        let pool =
            Pool::start(settings.threads, settings.queue).map_err(|error| HostError(error.to_string()))?;
        Ok(Self(Arc::new(HostParts { engine, pool, spares: Mutex::default() })))
    }

    /// Loads a component, compiling it where the cache does not have it. The same content is loaded
    /// once.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with it and what to do.
    pub fn load(&self, source: &Source) -> Result<Component, LoadError> {
        self.0.engine.load(source)
    }

    /// Loads a component so that the cache has it for the next start.
    ///
    /// # Errors
    /// Where it cannot be used, or is not kept.
    pub fn compile(&self, source: &Source) -> Result<(), CompileError> {
        self.0.engine.compile(source)
    }

    /// Has a plugin configured, and says how it registers: whatever it may route to.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn register(&self, tenant: &str, plugin: &Config) -> Result<Registration, BuildProblem> {
        chain::register(self, &tenant.into(), plugin, &Metrics::new())
    }

    /// Gives up instances that nobody used since this was last called: after a burst they would keep their
    /// memory for ever.
    pub fn sweep(&self) {
        for spare in self.spares() {
            spare.give_up(false);
        }
    }

    fn spares(&self) -> Vec<Arc<Spare>> {
        self.0.spares.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Asks for the instances in there when there is no room for others.
    fn watch(&self, spare: &Arc<Spare>) {
        let mut spares = self.0.spares.lock();
        spares.retain(|spare| spare.strong_count() > 0);
        spares.push(Arc::downgrade(spare));
    }

    /// Gives up instances that nobody used since it was last called, or if there are none, all that have
    /// nothing to do. Whether there were any.
    fn make_room(&self) -> bool {
        let spares = self.spares();
        let give_up = |all| spares.iter().map(|spare| spare.give_up(all)).sum::<usize>() > 0;
        give_up(false) || give_up(true)
    }
}

/// Plugins cannot be run here.
#[derive(Debug, thiserror::Error)]
#[error("plugins cannot be run: {0}")]
pub struct HostError(String);

/// A component cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{source_name}: {problem}")]
pub struct LoadError {
    /// The component, as the configuration names it.
    pub source_name: String,
    /// What is wrong.
    pub problem: LoadProblem,
}

/// A component is not in the cache.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It can be used, and was not kept.
    #[error("{source_name}: is compiled, and cannot be kept: {error}")]
    Unkept {
        /// The component, as the configuration names it.
        source_name: String,
        /// Why not.
        error: io::Error,
    },
}

fn version(named: &str) -> String {
    if named.is_empty() { "no version".to_owned() } else { format!("version {named}") }
}

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// Its file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is something else.
    #[error("is {found}, not a WebAssembly component: {hint}")]
    NotAComponent {
        /// What it looks like.
        found: &'static str,
        /// How to make one.
        hint: &'static str,
    },
    /// It is a component, and no plugin.
    #[error(
        "is no plugin: it does not export `tollgate:plugin/handler`. Build it for the world \
         `tollgate:plugin/plugin` of wit/v{}",
        CONTRACT
    )]
    NoContract,
    /// It was made for another version of the contract.
    #[error(
        "was built for {} of the contract `tollgate:plugin`, and this Tollgate speaks {}: \
         build it against wit/v{} of this release, or use the Tollgate that it was built for",
        version(.found),
        CONTRACT_VERSION,
        CONTRACT
    )]
    Contract {
        /// The version that it asks for; empty where it names none.
        found: String,
    },
    /// It needs what no plugin has.
    #[error("imports `{name}`, which plugins do not have: {hint}")]
    Import {
        /// The import.
        name: String,
        /// What there is instead.
        hint: &'static str,
    },
    /// The compiler does not take it.
    #[error("cannot be compiled: {0}")]
    Compile(String),
    /// The system allows no new machine code.
    #[error(
        "cannot be made executable: the system forbids it. Under systemd, take MemoryDenyWriteExecute= out of \
         the unit"
    )]
    Forbidden,
    /// The program was built without plugins.
    #[error("this Tollgate was built without plugins (cargo's feature `wasm`)")]
    Absent,
}

/// The version of the contract that the host speaks, as in wit/v0.1.
pub const CONTRACT_VERSION: &str = "0.1.0";
/// Its folder's name.
const CONTRACT: &str = "0.1";

/// Why a plugin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    /// Of which kind it was.
    pub kind: FailureKind,
    /// What happened, for the operator.
    pub text: String,
}

impl Cause {
    fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// It went beyond [`Limits::edit_bytes`], in a call or with what was left to do after it.
    fn too_many_bytes(edit_bytes: u64) -> Self {
        let most = match edit_bytes {
            0..1024 => format!("{edit_bytes} B"),
            _ => format!("{} KiB", edit_bytes >> 10),
        };
        let text = format!("it wrote or read more than {most} of the batch (limits.edit_bytes)");
        Self::new(FailureKind::Limit, text)
    }
}

/// The kinds of failure of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// It stopped itself or did what it may not.
    Trap,
    /// It took too long.
    Time,
    /// It wanted more memory or larger tables.
    Memory,
    /// It went beyond another limit.
    Limit,
    /// It said that it failed.
    Error,
}

impl FailureKind {
    /// Every kind, in the order of documentation and metrics.
    pub const ALL: [FailureKind; 5] =
        [FailureKind::Trap, FailureKind::Time, FailureKind::Memory, FailureKind::Limit, FailureKind::Error];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Time => "time",
            FailureKind::Memory => "memory",
            FailureKind::Limit => "limit",
            FailureKind::Error => "error",
        }
    }
}
