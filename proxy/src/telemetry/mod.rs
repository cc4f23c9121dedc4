//! Every metric and log event by name, in one place. Every room may know this one.

pub mod events;

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
