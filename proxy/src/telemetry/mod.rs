//! What an operator sees: every metric, access-log field and log event by name, in one place.
//!
//! Every room may know this one; this one knows the words of `otlp` and no other room. It promises
//! that being seen costs a request next to nothing: no look-up, no allocation, no lock that two
//! cores fight for and no system call. A line that cannot be written is dropped and counted, and
//! a scrape asks the rooms for what they keep themselves.

pub mod access;
pub mod events;
pub mod log;
pub mod metrics;

pub use access::{Access, AccessLog, Steps};
pub use log::LogGuard;
pub use metrics::{Metric, Metrics, Samples, Source};

/// How and what is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// From which level on events are written: `error`, `warn`, `info`, `debug`, `trace`.
    pub level: tracing::Level,
    /// Whether each request has its line.
    pub access: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: tracing::Level::INFO, access: true }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outcome {
    /// The upstream took the batch, or all of it but what its partial success names.
    Delivered,
    /// There was nothing to deliver: an empty batch.
    Answered,
    /// Tollgate said no.
    Refused,
    /// The upstream could not be reached, or did not take the batch.
    Failed,
    /// The sender went away before it had its answer. What a request counts as until it says
    /// otherwise, so that one whose future is dropped counts as what it is.
    #[default]
    Aborted,
}

impl Outcome {
    /// Every outcome, in the order of documentation and metrics.
    pub const ALL: [Outcome; 5] =
        [Outcome::Delivered, Outcome::Answered, Outcome::Refused, Outcome::Failed, Outcome::Aborted];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Aborted => "aborted",
        }
    }
}

/// A number for each thread, given out in turn: which shard of a log or a counter is the thread's.
/// Threads of the same shard are correct, only slower.
pub fn thread_number() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}
