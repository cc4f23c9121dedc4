//! What an instance has on the host's side, and the limits that it meets there.

use super::{patterns::Patterns, ticker::Heartbeat, wasi::Streams};
use crate::{
    plugin::{
        Cause, Config, FailureKind, Limits, Secrets,
        document::{Batch, Check, Exhausted, HashKey, Pattern},
    },
    telemetry::{events, metrics::PluginMetrics},
};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::{ResourceLimiter, Trap, UpdateDeadline};

/// What a plugin is for: the same for all instances of a tenant's plugin, and what they share.
pub(in crate::plugin) struct Role {
    tenant: Arc<str>,
    plugin: Arc<str>,
    /// As JSON.
    config: String,
    pub(super) secrets: Secrets,
    pub(super) limits: Limits,
    metrics: PluginMetrics,
    /// Held here too, so that what the first instance compiled serves the next, also where none is left.
    patterns: Mutex<Vec<Pattern>>,
    /// Those of all tenants.
    known_patterns: Arc<Patterns>,
    logged: Mutex<Logged>,
}

/// What of a plugin's own words is passed on.
const WORDS_CHARACTERS_MAX: usize = 512;

/// What was logged in the current second.
struct Logged {
    since: Instant,
    lines: u32,
    bytes: u32,
}

impl Role {
    pub(super) fn new(
        tenant: &Arc<str>,
        plugin: &Config,
        known_patterns: Arc<Patterns>,
        metrics: PluginMetrics,
    ) -> Self {
        let Config { name, config, secrets, limits, .. } = plugin;
        Self {
            tenant: tenant.clone(),
            plugin: name.clone(),
            config: if config.is_null() { "{}".to_owned() } else { config.to_string() },
            secrets: secrets.clone(),
            limits: limits.clone(),
            metrics,
            patterns: Mutex::default(),
            known_patterns,
            logged: Mutex::new(Logged { since: Instant::now(), lines: 0, bytes: 0 }),
        }
    }

    pub(super) fn setup(&self) -> super::contract::Setup {
        super::contract::Setup {
            tenant: self.tenant.to_string(),
            plugin: self.plugin.to_string(),
            config: self.config.clone(),
        }
    }

    /// Compiles a pattern, or has what another instance or tenant compiled.
    pub(super) fn pattern(&self, expression: &str, check: Check) -> Result<Pattern, String> {
        let pattern = self.known_patterns.compile(expression, check, self.limits.pattern_bytes)?;
        let mut patterns = self.patterns.lock();
        let is_new = !patterns.iter().any(|held| held.is(&pattern));
        if is_new && patterns.len() < self.limits.patterns as usize {
            patterns.push(pattern.clone());
        }
        Ok(pattern)
    }

    /// The plugin's own words as they are passed on.
    pub(super) fn words(&self, words: &str) -> String {
        self.secrets.printable(words.as_bytes(), WORDS_CHARACTERS_MAX)
    }

    /// Lets go of what an instance said in a call that came to an end.
    fn publish(&self, said: &mut Said) {
        for (counter, amount) in said.counts.drain(..) {
            self.metrics.count(&counter, amount, self.limits.counters as usize);
        }
        self.metrics.counts_dropped(std::mem::take(&mut said.counts_left_out));
        let mut left_out = std::mem::take(&mut said.lines_left_out);
        if !said.lines.is_empty() {
            let mut logged = self.logged.lock();
            if logged.since.elapsed() >= Duration::from_secs(1) {
                *logged = Logged { since: Instant::now(), lines: 0, bytes: 0 };
            }
            for (level, line) in said.lines.drain(..) {
                let bytes = logged.bytes.saturating_add(u32::try_from(line.len()).unwrap_or(u32::MAX));
                if logged.lines < self.limits.log_lines && bytes <= self.limits.log_bytes {
                    logged.lines += 1;
                    logged.bytes = bytes;
                    events::plugin_said(&self.tenant, &self.plugin, level, &line);
                } else {
                    left_out += 1;
                }
            }
        }
        said.bytes = 0;
        self.metrics.log_lines_dropped(left_out);
    }

    pub(super) fn metrics(&self) -> &PluginMetrics {
        &self.metrics
    }
}

/// The host's side of an instance.
pub(super) struct State {
    pub(super) role: Arc<Role>,
    pub(super) phase: Phase,
    pub(super) batch: Option<Batch>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) hash_keys: Vec<HashKey>,
    /// Those that it registered.
    pub(super) destinations: Vec<String>,
    pub(super) is_read_only: bool,
    pub(super) until: Until,
    pub(super) usage: Usage,
    pub(super) said: Said,
    pub(super) streams: Streams,
    heartbeat: Heartbeat,
}

/// What an instance is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: its own start.
    Start,
    Configure,
    Process,
}

impl State {
    pub(super) fn new(role: Arc<Role>, until: Until, heartbeat: Heartbeat) -> Self {
        let usage = Usage::new(&role.limits);
        let said = Said::new(&role.limits, role.secrets.clone());
        Self {
            role,
            phase: Phase::Start,
            batch: None,
            patterns: Vec::new(),
            hash_keys: Vec::new(),
            destinations: Vec::new(),
            is_read_only: false,
            until,
            usage,
            said,
            streams: Streams::default(),
            heartbeat,
        }
    }

    pub(super) fn speak(&mut self, counts: bool) {
        match counts {
            true => self.role.publish(&mut self.said),
            false => self.said.forget(),
        }
    }

    pub(super) fn beat(&self) {
        self.heartbeat.beat();
    }

    /// Asked every few ticks of the engine's clock, while the guest runs.
    pub(super) fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        self.beat();
        self.until.check()?;
        Ok(UpdateDeadline::Continue(self.until.ticks()))
    }

    /// What ended a call when an operator of the document had used up what it was given.
    pub(super) fn exhausted(&self, exhausted: Exhausted) -> Stop {
        match exhausted {
            Exhausted::Time => self.until.check().err().unwrap_or(Stop::Time),
            Exhausted::Bytes => Stop::Bytes,
        }
    }

    /// Why a call did not come to its end.
    pub(super) fn stopped(&mut self, error: &wasmtime::Error) -> Stopped {
        let limits = &self.role.limits;
        let cause = match (error.downcast_ref::<Stop>(), error.downcast_ref::<Trap>()) {
            (Some(Stop::Slice), _) => return Stopped::Interrupted,
            (Some(Stop::Malformed(malformed)), _) => return Stopped::Malformed(malformed.to_string()),
            (Some(Stop::Time), _) => {
                let millis = self.until.given().as_millis();
                Cause::new(
                    FailureKind::Time,
                    format!("it took longer than the {millis} ms that it had (limits.time)"),
                )
            }
            (Some(Stop::Bytes), _) => Cause::too_many_bytes(limits.edit_bytes),
            (Some(stop), _) => Cause::new(FailureKind::Trap, stop.to_string()),
            (None, _) if error.is::<wasmtime::PoolConcurrencyLimitError>() => return Stopped::Full,
            (None, trap) => match self.usage.denied {
                Some(Denied::Memory) => {
                    let most = limits.memory >> 10;
                    Cause::new(
                        FailureKind::Memory,
                        format!("it wanted more than {most} KiB of memory (limits.memory)"),
                    )
                }
                Some(Denied::Table) => {
                    let most = limits.table_elements;
                    Cause::new(
                        FailureKind::Memory,
                        format!("it wanted tables of more than {most} elements (limits.table_elements)"),
                    )
                }
                None => match trap {
                    Some(trap) => Cause::new(FailureKind::Trap, trap.to_string()),
                    None => {
                        // What is around the innermost one says where in the guest, by numbers.
                        let why = error.root_cause().to_string();
                        if why.contains(HANDED_OVER) {
                            let text = "it handed over more at once than it may write (limits.edit_bytes)";
                            Cause::new(FailureKind::Limit, text)
                        } else {
                            Cause::new(FailureKind::Trap, self.role.words(&why))
                        }
                    }
                },
            },
        };
        let words = self.said.last_words();
        let text = if words.is_empty() { cause.text } else { format!("{}: {words}", cause.text) };
        Stopped::Failed(Cause { text, ..cause })
    }
}

/// How wasmtime says that a guest handed over more at once than its store allows; there is no type for it. The
/// test `giant_strings_are_not_taken` fails when it says so otherwise.
const HANDED_OVER: &str = "fuel allocated for hostcalls";

/// Why an instance did not come to the end of a call. But for a mistake, it is of no use any more.
#[derive(Debug)]
pub(in crate::plugin) enum Stopped {
    /// Its slice of a thread that others need is over; it may have more time elsewhere.
    Interrupted,
    /// The engine has no room for another instance.
    Full,
    /// Its configuration is wrong.
    Mistaken {
        /// Where: a JSON pointer.
        pointer: String,
        /// What is wrong.
        message: String,
    },
    /// The batch is broken below its records, where nobody looked before.
    Malformed(String),
    /// It failed.
    Failed(Cause),
    /// The host did: the batch is not to be trusted.
    Broken,
}

/// How the host ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("its time is over")]
    Time,
    #[error("its slice of this thread is over")]
    Slice,
    #[error("it wrote or read more than it may")]
    Bytes,
    #[error("it called `batch.{0}` outside `process`")]
    OutOfTurn(&'static str),
    #[error("the batch is broken: {0}")]
    Malformed(tollgate_document::wire::Malformed),
    #[error("it ended itself: a plugin returns an error instead")]
    Exit,
    #[error("it asked for {0} random bytes at once, and 64 KiB is the most")]
    Random(u64),
}

/// Until when a call may run.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugin) struct Until {
    begun: Instant,
    /// Then it has failed.
    end: Instant,
    /// Then it has to go on elsewhere.
    slice_end: Option<Instant>,
}

impl Until {
    pub(in crate::plugin) fn new(begun: Instant, end: Instant, slice_end: Option<Instant>) -> Self {
        Self { begun, end, slice_end }
    }

    /// The earlier of both.
    pub(in crate::plugin) fn first(&self) -> Instant {
        self.slice_end.map_or(self.end, |slice_end| slice_end.min(self.end))
    }

    pub(in crate::plugin) fn has_slice(&self) -> bool {
        self.slice_end.is_some()
    }

    pub(in crate::plugin) fn is_interrupted(&self) -> bool {
        matches!(self.check(), Err(Stop::Slice))
    }

    fn given(&self) -> Duration {
        self.end.saturating_duration_since(self.begun)
    }

    pub(super) fn check(&self) -> Result<(), Stop> {
        let now = Instant::now();
        if now >= self.end {
            return Err(Stop::Time);
        }
        match self.slice_end {
            Some(slice_end) if now >= slice_end => Err(Stop::Slice),
            _ => Ok(()),
        }
    }

    /// Ticks of the engine's clock until it is worth checking again.
    pub(super) fn ticks(&self) -> u64 {
        let left = self.first().saturating_duration_since(Instant::now());
        let ticks = left.as_nanos() / super::ticker::TICK.as_nanos() + 1;
        u64::try_from(ticks).unwrap_or(u64::MAX).min(super::ticker::TICKS_MAX)
    }
}

/// What an instance uses of memory and tables.
pub(super) struct Usage {
    pub(super) memory_bytes: u64,
    memory_bytes_max: u64,
    table_elements: u64,
    table_elements_max: u64,
    /// By how much it grew last: taken back, where the system did not give it.
    grown_by: u64,
    /// What it was last denied: a guest that is denied memory mostly traps.
    denied: Option<Denied>,
}

#[derive(Clone, Copy)]
enum Denied {
    Memory,
    Table,
}

impl Usage {
    fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory,
            table_elements: 0,
            table_elements_max: limits.table_elements.into(),
            grown_by: 0,
            denied: None,
        }
    }

    pub(super) fn forgive(&mut self) {
        self.denied = None;
    }
}

/// Growth is denied rather than trapped on: a runtime may collect its garbage and try again.
impl ResourceLimiter for Usage {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grown_by = desired.saturating_sub(current) as u64;
        let bytes = self.memory_bytes.saturating_add(self.grown_by);
        let has_room = bytes <= self.memory_bytes_max;
        if has_room {
            self.memory_bytes = bytes;
        } else {
            self.denied = Some(Denied::Memory);
        }
        Ok(has_room)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        if !matches!(self.denied, Some(Denied::Memory)) {
            self.memory_bytes = self.memory_bytes.saturating_sub(self.grown_by);
            self.denied = Some(Denied::Memory);
        }
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grown_by = desired.saturating_sub(current) as u64;
        let elements = self.table_elements.saturating_add(self.grown_by);
        let has_room = elements <= self.table_elements_max;
        if has_room {
            self.table_elements = elements;
        } else {
            self.denied = Some(Denied::Table);
        }
        Ok(has_room)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        if !matches!(self.denied, Some(Denied::Table)) {
            self.table_elements = self.table_elements.saturating_sub(self.grown_by);
            self.denied = Some(Denied::Table);
        }
        Ok(())
    }
}

/// What an instance said in a call: kept until it ends, so that nothing waits for the log.
pub(super) struct Said {
    lines: Vec<(tracing::Level, String)>,
    secrets: Secrets,
    bytes: usize,
    lines_max: usize,
    bytes_max: usize,
    counters_max: usize,
    lines_left_out: u64,
    counts: Vec<(String, u64)>,
    counts_left_out: u64,
    /// The last lines that may say why it failed.
    last_words: Vec<String>,
}

/// A longer line is cut.
pub(super) const LINE_CHARACTERS_MAX: usize = 1024;
/// A panic of Rust says where and what, in two lines. A traceback of Python ends with what, and has where in
/// the lines before.
const LAST_WORDS_MAX: usize = 5;
/// A longer one of them is cut.
const LAST_WORDS_CHARACTERS_MAX: usize = 200;

impl Said {
    fn new(limits: &Limits, secrets: Secrets) -> Self {
        Self {
            lines: Vec::new(),
            secrets,
            bytes: 0,
            lines_max: limits.log_lines as usize,
            bytes_max: limits.log_bytes as usize,
            counters_max: limits.counters as usize,
            lines_left_out: 0,
            counts: Vec::new(),
            counts_left_out: 0,
            last_words: Vec::new(),
        }
    }

    fn forget(&mut self) {
        (self.bytes, self.lines_left_out, self.counts_left_out) = (0, 0, 0);
        self.lines.clear();
        self.counts.clear();
    }

    pub(super) fn log(&mut self, level: tracing::Level, line: &[u8]) {
        if self.lines.len() >= self.lines_max || self.bytes >= self.bytes_max {
            self.lines_left_out += 1;
            return;
        }
        let line = self.printable(line, LINE_CHARACTERS_MAX);
        self.bytes += line.len();
        self.lines.push((level, line));
    }

    /// The same with a line that may say why the call is about to fail: then it is told with the failure.
    pub(super) fn complain(&mut self, level: tracing::Level, line: &[u8]) {
        self.log(level, line);
        if self.last_words.len() == LAST_WORDS_MAX {
            self.last_words.remove(0);
        }
        self.last_words.push(self.printable(line.trim_ascii(), LAST_WORDS_CHARACTERS_MAX));
    }

    /// A call begins: what was complained of before has nothing to do with it.
    pub(super) fn forgive(&mut self) {
        self.last_words.clear();
    }

    /// What was complained of in the call that ends.
    fn last_words(&mut self) -> String {
        std::mem::take(&mut self.last_words).join(" ")
    }

    /// What it says, as anybody may read it.
    fn printable(&self, words: &[u8], characters_max: usize) -> String {
        self.secrets.printable(words, characters_max)
    }

    /// A counter has a name as metrics have, with dots and dashes besides: others are left out.
    pub(super) fn count(&mut self, counter: String, amount: u64) {
        const NAME_BYTES_MAX: usize = 64;
        let is_name = (1..=NAME_BYTES_MAX).contains(&counter.len())
            && counter.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !is_name {
            self.counts_left_out += 1;
        } else if let Some((_, sum)) = self.counts.iter_mut().find(|(known, _)| *known == counter) {
            *sum = sum.saturating_add(amount);
        } else if self.counts.len() < self.counters_max {
            self.counts.push((counter, amount));
        } else {
            self.counts_left_out += 1;
        }
    }
}
