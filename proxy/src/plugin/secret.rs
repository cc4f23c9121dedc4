//! What of a plugin's configuration nobody may see, and the plugin's words without it.
//!
//! A plugin quotes what it was given: in what it finds wrong, in its log, in why it rejects a batch. Whatever
//! it says goes through here on its way out. That is against mistakes, not against malice: a plugin that wants
//! to tell a secret can spell it backwards.

use crate::telemetry::events;
use std::{fmt, iter::once, ops::Range, sync::Arc};

/// What is shown instead of a secret.
pub const MASKED: &str = "********";

/// The secrets of a plugin's configuration, in every spelling that its words may have. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[String]>);

/// Shorter texts are not hidden: so few letters are soon tried, and stand in so many words that nothing would
/// be left of them.
const CHARACTERS_MIN: usize = 3;

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({MASKED})")
    }
}

impl Secrets {
    /// These texts, and each line of them: what is shown of a key in PEM is shown line by line.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let mut spellings = Vec::new();
        for text in texts {
            for part in once(text.as_str()).chain(text.lines().map(str::trim)) {
                spellings.extend([part.to_owned(), quoted_by_rust(part), quoted_by_json(part)]);
            }
        }
        spellings.retain(|spelling| spelling.chars().nth(CHARACTERS_MIN - 1).is_some());
        spellings.sort_unstable();
        spellings.dedup();
        Self(spellings.into())
    }

    /// A plugin's words as anybody may read them: without secrets, harmless for a log, and cut.
    ///
    /// They have to come as the plugin said them: a secret that was escaped or cut is not found any more.
    pub fn printable(&self, words: &[u8], characters_max: usize) -> String {
        let bytes_max = 4 * characters_max; // nothing beyond is looked at
        let (start, is_cut) = match words.get(..bytes_max) {
            Some(start) => (start, true),
            None => (words, false),
        };
        events::printable(&self.masked(start, is_cut), characters_max)
    }

    fn masked(&self, words: &[u8], is_cut: bool) -> Vec<u8> {
        let found = self.0.iter().flat_map(|spelling| {
            memchr::memmem::find_iter(words, spelling).map(|start| start..start + spelling.len())
        });
        let begun = self.begun(words).filter(|_| is_cut);
        let mut hidden: Vec<Range<usize>> = found.chain(begun.map(|start| start..words.len())).collect();
        hidden.sort_unstable_by_key(|range| range.start);
        let (mut masked, mut at) = (Vec::with_capacity(words.len()), 0);
        for Range { start, end } in hidden {
            // Those that overlap are one.
            if start >= at {
                masked.extend_from_slice(&words[at..start]);
                masked.extend_from_slice(MASKED.as_bytes());
            }
            at = at.max(end);
        }
        masked.extend_from_slice(&words[at..]);
        masked
    }

    /// Where a secret begins that the words end within.
    fn begun(&self, words: &[u8]) -> Option<usize> {
        let last = words.len().checked_sub(CHARACTERS_MIN)?;
        let begun = self.0.iter().filter_map(|spelling| {
            let first = (words.len() + 1).saturating_sub(spelling.len()); // whole ones are found anyway
            (first..=last).find(|&start| spelling.as_bytes().starts_with(&words[start..]))
        });
        begun.min()
    }
}

/// As `{:?}` writes it, and with it most messages of mistakes.
fn quoted_by_rust(text: &str) -> String {
    unquoted(&format!("{text:?}"))
}

/// As it stands in what the plugin is given.
fn quoted_by_json(text: &str) -> String {
    unquoted(&serde_json::Value::from(text).to_string())
}

fn unquoted(text: &str) -> String {
    text[1..text.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(secrets: &[&str], words: &str) -> String {
        Secrets::new(secrets.iter().map(|&text| text.to_owned())).printable(words.as_bytes(), 64)
    }

    #[test]
    fn a_secret_is_hidden_wherever_it_stands() {
        assert_eq!(said(&["hunter2"], "hunter2, `hunter2`"), "********, `********`");
        assert_eq!(said(&["hunter2"], "hunter3"), "hunter3");
        assert_eq!(said(&[], "hunter2"), "hunter2");
        assert_eq!(said(&["12345"], "no port: 12345"), "no port: ********");
        // The longer of two that begin alike, and both of two that overlap.
        assert_eq!(said(&["hunter", "hunter2"], "a hunter2!"), "a ********!");
        assert_eq!(said(&["abcdef", "defghi"], "abcdefghi."), "********.");
        assert_eq!(said(&["abc", "def"], "abcdef"), "****************");
    }

    #[test]
    fn a_secret_that_is_escaped_is_hidden_before_it_is() {
        let pass = "pa\\ss\u{1b}\"wörd\u{200b}";
        for words in [pass.to_owned(), format!("{pass:?}"), serde_json::Value::from(pass).to_string()] {
            let said = said(&[pass], &words);
            assert_eq!(said.trim_matches('"'), MASKED, "{words}");
        }
    }

    #[test]
    fn every_line_of_a_secret_is_hidden() {
        let pem = "-----BEGIN KEY-----\nMIIEvQ\\/BADANBg\n  kqhkiG9w0BAQEF  \n-----END KEY-----";
        assert_eq!(said(&[pem], &format!("no key: {pem}!")), "no key: ********!");
        assert_eq!(said(&[pem], "line 2: MIIEvQ\\/BADANBg"), "line 2: ********");
        assert_eq!(said(&[pem], "line 3: kqhkiG9w0BAQEF"), "line 3: ********");
        assert_eq!(said(&[pem], &format!("{pem:?}")), "\"********\"");
    }

    #[test]
    fn a_secret_that_is_cut_is_hidden_as_far_as_it_is_there() {
        let secret = "abcdefghijklmnopqrstuvwxyz012345";
        let secrets = Secrets::new([secret.to_owned()]);
        // Of 20 characters, 80 bytes are looked at: where two of 32 are hidden, the cut comes into sight.
        for length in 3..=15 {
            let words = format!("{secret}{secret}{}{secret}", "-".repeat(16 - length));
            let said = secrets.printable(words.as_bytes(), 20);
            assert_eq!(said, format!("{MASKED}{MASKED}{}{MASKED}", "-".repeat(16 - length))[..20]);
            let said = secrets.printable(&words.as_bytes()[..80], 20);
            assert!(!said.contains('a'), "cut by whoever kept no more of it: {said}");
        }
        assert_eq!(secrets.printable(&secret.as_bytes()[..10], 20), secret[..10], "a word of its own");
    }

    #[test]
    fn what_is_too_short_hides_nothing() {
        let words = "a text of which something is left";
        assert_eq!(said(&["", "a", "te", "ö", "x\n\n"], words), words);
        assert_eq!(said(&["tex"], words), "a ********t of which something is left");
    }
}
