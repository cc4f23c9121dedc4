//! What a plugin asks of its host beside the batch.

use serde::{Deserialize, Deserializer};

pub use crate::bindings::tollgate::plugin::host::Severity;
pub use crate::bindings::tollgate::plugin::types::Check;
use crate::{Result, sys};

/// Writes a line to Tollgate's log, with the plugin's and the tenant's name. Lines beyond the plugin's limit
/// are left out and counted. The macros [`info!`](crate::info) and its siblings format one.
pub fn log(severity: Severity, message: &str) {
    sys::host::log(severity, message);
}

/// Adds to a counter of the plugin: `tollgate_plugin_counter_total{plugin, tenant, counter}`. Its name is a
/// constant of the plugin, never something out of a batch: counters beyond the plugin's limit are left out.
pub fn count(counter: &str, amount: u64) {
    sys::host::count(counter, amount);
}

/// The time, in nanoseconds since 1970, as OTLP has it.
pub fn now_unix_nano() -> u64 {
    sys::host::now()
}

/// A regular expression, compiled and run by the host. It matches bytes, so that a text which is no UTF-8
/// hides nothing.
///
/// Where it has a group named `secret`, this group is what a redaction replaces and what a check looks at; a
/// match without it is an exception and stays: `v\d+\.\d+|(?<secret>\d+\.\d+)` finds 1.2, but not in v1.2.
///
/// Patterns are made in [`configure`](crate::Plugin::configure), and nowhere else. In a configuration one is
/// a text, or a table with a check:
///
/// ```toml
/// pattern = '\d{3}-\d{4}'
/// pattern = { regex = '(?:\d[ -]?){13,19}', check = "luhn" }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(u32);

impl Pattern {
    /// Compiles an expression, in the syntax of Rust's `regex` crate.
    ///
    /// # Errors
    /// What the host says of it: it is no expression, too large, or one too many.
    pub fn new(expression: &str) -> Result<Pattern> {
        Pattern::checked(expression, Check::None)
    }

    /// The same; a match counts only where it satisfies the check.
    ///
    /// # Errors
    /// As [`new`](Pattern::new).
    pub fn checked(expression: &str, check: Check) -> Result<Pattern> {
        sys::host::compile_pattern(expression, check).map(Pattern)
    }

    /// A pattern of exactly these texts, for keys.
    ///
    /// # Errors
    /// As [`new`](Pattern::new).
    pub fn exactly<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Pattern> {
        let alternatives: Vec<String> = texts.into_iter().map(|text| escape(text.as_ref())).collect();
        Pattern::new(&format!("^(?:{})$", alternatives.join("|")))
    }

    pub(crate) fn id(self) -> u32 {
        self.0
    }
}

/// The expression that matches this text and nothing else.
pub fn escape(text: &str) -> String {
    let mut expression = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(character) {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Pattern, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a regular expression, or { regex = …, check = … }")]
        enum Written {
            Plain(String),
            Checked { regex: String, check: CheckName },
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum CheckName {
            None,
            Luhn,
            Iban,
        }
        let (expression, check) = match Written::deserialize(deserializer)? {
            Written::Plain(expression) => (expression, Check::None),
            Written::Checked { regex, check: CheckName::None } => (regex, Check::None),
            Written::Checked { regex, check: CheckName::Luhn } => (regex, Check::Luhn),
            Written::Checked { regex, check: CheckName::Iban } => (regex, Check::Iban),
        };
        Pattern::checked(&expression, check).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// A key for hashes, kept by the host.
///
/// Keys are taken in [`configure`](crate::Plugin::configure), and nowhere else. In a configuration one is a
/// text of at least 16 bytes, or a table that has the one before it too, while that is still wanted. Tollgate
/// reads either from a file or the environment:
///
/// ```toml
/// hash_key = { file = "/run/secrets/pseudonym" }
/// hash_key = { key = { file = "/run/secrets/new" }, previous = { file = "/run/secrets/old" } }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(u32);

impl HashKey {
    /// Takes a key, and the one before it.
    ///
    /// # Errors
    /// One of them is shorter than 16 bytes.
    pub fn new(key: &[u8], previous: Option<&[u8]>) -> Result<HashKey> {
        sys::host::prepare_hash_key(key, previous).map(HashKey)
    }

    pub(crate) fn id(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<HashKey, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a key of at least 16 bytes, or { key = …, previous = … }")]
        enum Written {
            Plain(String),
            Rotating { key: String, previous: Option<String> },
        }
        let (key, previous) = match Written::deserialize(deserializer)? {
            Written::Plain(key) => (key, None),
            Written::Rotating { key, previous } => (key, previous),
        };
        HashKey::new(key.as_bytes(), previous.as_ref().map(String::as_bytes))
            .map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// Writes a line of little importance to Tollgate's log, formatted as by `format!`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)*) => { $crate::log($crate::Severity::Debug, &::std::format!($($message)*)) };
}

/// Writes a line to Tollgate's log, formatted as by `format!`.
#[macro_export]
macro_rules! info {
    ($($message:tt)*) => { $crate::log($crate::Severity::Info, &::std::format!($($message)*)) };
}

/// Writes a warning to Tollgate's log, formatted as by `format!`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)*) => { $crate::log($crate::Severity::Warn, &::std::format!($($message)*)) };
}

/// Writes an error to Tollgate's log, formatted as by `format!`.
#[macro_export]
macro_rules! error {
    ($($message:tt)*) => { $crate::log($crate::Severity::Error, &::std::format!($($message)*)) };
}
