//! Log events that operators and their tools rely on. Their form is documented and kept.

use crate::otlp::Signal;
use std::{
    fmt::{self, Write},
    path::Path,
};

/// A sender failed to log in: target `tollgate::auth`, level WARN, message `login failed`.
///
/// | field | |
/// |---|---|
/// | `address` | the client's address as it is limited by: of IPv6 the network, as `2001:db8:1:2::/64`; or `unix` |
/// | `user` | the user name, empty for tokens; control characters escaped, cut at 128 characters |
/// | `reason` | `unknown_user`, `wrong_password`, `unknown_token`, `expired`, `wrong_door`, `malformed`, `limited` |
/// | `key` | where `limited`: `address_and_user`, `address` or `table_full`; else empty |
/// | `zone` | the `CF-Worker` header, escaped and cut likewise |
/// | `listener` | the listener's name |
///
/// Each failure is one event, but those `limited` are at most one for a key and second.
pub fn login_failed(
    address: &dyn fmt::Display,
    user: &[u8],
    reason: &'static str,
    key: &'static str,
    zone: &[u8],
    listener: &str,
) {
    tracing::warn!(
        target: "tollgate::auth",
        %address,
        // As texts, which stand in quotes in either format, so that neither can pretend to be a field.
        user = escaped(user),
        reason,
        key,
        zone = escaped(zone),
        listener,
        "login failed"
    );
}

/// Zero bytes arrived where a message was meant: a tunnel lost it.
pub fn body_lost(tenant: &str, signal: Signal, listener: &str) {
    tracing::warn!(
        tenant,
        signal = signal.name(),
        listener,
        hint = "cloudflared loses bodies of unknown length over QUIC: run it with --protocol http2",
        "body lost"
    );
}

/// A component is missing or does not load: its tenant is answered 503 until that is mended.
pub fn plugin_unavailable(tenant: &str, plugin: &str, why: &str) {
    tracing::error!(
        tenant,
        plugin,
        why,
        "plugin does not load: its tenant is refused until it is mended and the configuration reloaded"
    );
}

/// An upstream refuses whatever is sent: a mistake that the operator has to mend, while senders keep
/// trying.
pub fn upstream_refuses_us(upstream: &str, words: &str) {
    tracing::error!(
        upstream,
        words,
        "upstream refuses us: its address, path, credentials or tenant are wrong"
    );
}

/// An upstream cannot be reached.
pub fn upstream_unreachable(upstream: &str, error: &str) {
    tracing::warn!(upstream, error, "upstream unreachable");
}

/// An upstream's answer is missing or makes no sense.
pub fn upstream_broken(upstream: &str, error: &str) {
    tracing::warn!(upstream, error, "upstream broken");
}

/// An upstream did not answer in time.
pub fn upstream_timed_out(upstream: &str) {
    tracing::warn!(upstream, "upstream timed out");
}

/// A plugin's own line, printable: target `tollgate::plugin`, the level that it gave, message `plugin says`.
pub fn plugin_said(tenant: &str, plugin: &str, level: tracing::Level, line: &str) {
    macro_rules! say {
        ($level:ident) => {
            tracing::event!(target: "tollgate::plugin", tracing::Level::$level, tenant, plugin, line, "plugin says")
        };
    }
    match level {
        tracing::Level::ERROR => say!(ERROR),
        tracing::Level::WARN => say!(WARN),
        tracing::Level::INFO => say!(INFO),
        _ => say!(DEBUG),
    }
}

/// A plugin failed on a batch: target `tollgate::plugin`, level WARN, message `plugin failed`. One a second
/// for a plugin and tenant; `tollgate_plugin_failures_total` counts them all.
///
/// | field | |
/// |---|---|
/// | `tenant`, `plugin` | their names in the configuration |
/// | `kind` | `trap`, `time`, `memory`, `limit`, `error`, as in the metric |
/// | `cause` | what happened, with the plugin's last words: what it logged as an error or wrote to stderr in that call |
pub fn plugin_failed(tenant: &str, plugin: &str, kind: &'static str, cause: &str) {
    tracing::warn!(target: "tollgate::plugin", tenant, plugin, kind, cause, "plugin failed");
}

/// A plugin refuses a batch: its sender is told so, and not to try again. At most one line a second for each
/// plugin of a tenant; each is counted.
///
/// | field | |
/// |---|---|
/// | `tenant`, `plugin` | their names in the configuration |
/// | `text` | why, in the plugin's words |
pub fn plugin_rejected(tenant: &str, plugin: &str, text: &str) {
    tracing::info!(target: "tollgate::plugin", tenant, plugin, text, "plugin rejected a batch");
}

/// Compiled plugins cannot be kept or read: starts take longer.
pub fn plugin_cache_unusable(folder: &Path, what: &'static str, error: &dyn fmt::Display) {
    tracing::warn!(target: "tollgate::plugin", folder = %folder.display(), %error, "{what}");
}

/// The address space for a pool of memories is not to be had: instances take longer to make.
pub fn plugin_pool_unavailable(error: &dyn fmt::Display) {
    tracing::warn!(
        target: "tollgate::plugin",
        %error,
        hint = "plugins want address space, not memory: see whether it is limited (ulimit -v)",
        "instances of plugins are not pooled"
    );
}

/// A stranger's words, made harmless as those in the log are, and cut.
pub fn printable(words: &[u8], characters_max: usize) -> String {
    Escaped { words, characters_max }.to_string()
}

/// What a stranger wrote, made harmless for a log: no control or direction-changing characters, no
/// more than so many of it.
struct Escaped<'a> {
    words: &'a [u8],
    characters_max: usize,
}

const ESCAPED_CHARACTERS_MAX: usize = 128;

fn escaped(words: &[u8]) -> String {
    printable(words, ESCAPED_CHARACTERS_MAX)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four bytes a character at the most: nothing beyond these is looked at.
        let start = &self.words[..self.words.len().min(4 * self.characters_max)];
        for character in String::from_utf8_lossy(start).chars().take(self.characters_max) {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                    write!(f, "{}", character.escape_unicode())?;
                }
                _ if character.is_control() => write!(f, "{}", character.escape_default())?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_cannot_forge_or_flood_a_log() {
        assert_eq!(escaped(b"ann"), "ann");
        assert_eq!(escaped("Jürgen".as_bytes()), "Jürgen");
        assert_eq!(escaped(b"a\nlogin ok\x1b[2J\\"), "a\\nlogin ok\\u{1b}[2J\\\\");
        assert_eq!(escaped("\u{202e}abc".as_bytes()), "\\u{202e}abc");
        assert_eq!(escaped(&[0xff; 4000]).chars().count(), ESCAPED_CHARACTERS_MAX);
        assert_eq!(escaped(&[b'a'; 4000]).len(), ESCAPED_CHARACTERS_MAX);
    }
}
