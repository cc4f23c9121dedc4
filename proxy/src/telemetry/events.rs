//! Log events that operators and their tools rely on. Their form is documented and kept.

use crate::otlp::Signal;
use std::fmt::{self, Write};

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
        user = Escaped(user).to_string(),
        reason,
        key,
        zone = Escaped(zone).to_string(),
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

/// What a stranger wrote, made harmless for a log: no control or direction-changing characters, no
/// more than [`ESCAPED_CHARACTERS_MAX`] of it.
struct Escaped<'a>(&'a [u8]);

const ESCAPED_CHARACTERS_MAX: usize = 128;

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four bytes a character at the most: nothing beyond these is looked at.
        let start = &self.0[..self.0.len().min(4 * ESCAPED_CHARACTERS_MAX)];
        for character in String::from_utf8_lossy(start).chars().take(ESCAPED_CHARACTERS_MAX) {
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
        assert_eq!(Escaped(b"ann").to_string(), "ann");
        assert_eq!(Escaped("Jürgen".as_bytes()).to_string(), "Jürgen");
        assert_eq!(Escaped(b"a\nlogin ok\x1b[2J\\").to_string(), "a\\nlogin ok\\u{1b}[2J\\\\");
        assert_eq!(Escaped("\u{202e}abc".as_bytes()).to_string(), "\\u{202e}abc");
        assert_eq!(Escaped(&[0xff; 4000]).to_string().chars().count(), ESCAPED_CHARACTERS_MAX);
        assert_eq!(Escaped(&[b'a'; 4000]).to_string().len(), ESCAPED_CHARACTERS_MAX);
    }
}
