//! What of a file may be shown in a diagnostic.
//!
//! A value is hidden until a reader that knows it to be harmless shows it. So a hash under a
//! misspelt key, or in a line that is not even TOML, does not reach a terminal or a log either.

use std::{collections::BTreeMap, ops::Range};

/// Which pieces of one file are known to be harmless, and which are known to be secrets.
#[derive(Debug, Default)]
pub struct Mask {
    /// From start to end. A file may have thousands, and each of its tokens is looked up.
    shown: BTreeMap<usize, usize>,
    hidden: Vec<Range<usize>>,
    shows_nothing: bool,
}

impl Mask {
    /// Lets a value be shown.
    pub fn show(&mut self, span: Range<usize>) {
        self.shown.insert(span.start, span.end);
    }

    /// Hides a piece, whatever else is said of it.
    pub fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// Lets no value be shown, whatever else is said. In a text that is not TOML a password may seem to
    /// be where an address should.
    pub fn show_nothing(&mut self) {
        self.shows_nothing = true;
    }

    /// The text with every other value starred out, byte for byte, so that places stay right.
    pub fn apply(&self, text: &str) -> String {
        let mut masked = text.as_bytes().to_vec();
        let mut line_hides = false;
        for token in tokens(text) {
            let hidden = match token.kind {
                TokenKind::Newline => {
                    line_hides = false;
                    continue;
                }
                TokenKind::String | TokenKind::Word => !self.is_shown(&token.span),
                // A comment beside a secret may repeat it, and a line that was commented out may hold one.
                TokenKind::Comment => line_hides || text[token.span.clone()].contains(['=', '$', '"']),
                TokenKind::Harmless => false,
            };
            if hidden {
                line_hides = true;
                star(&mut masked, token.span);
            }
        }
        for span in &self.hidden {
            star(&mut masked, span.clone());
        }
        // Only whole characters were replaced, and by ASCII.
        String::from_utf8(masked).unwrap_or_default()
    }

    fn is_shown(&self, span: &Range<usize>) -> bool {
        !self.shows_nothing
            && self.shown.range(..=span.start).next_back().is_some_and(|(_, end)| span.end <= *end)
    }
}

/// Stars, but for the quotes that say what it is and for the line breaks.
fn star(text: &mut [u8], span: Range<usize>) {
    let end = span.end.min(text.len());
    for byte in &mut text[span.start.min(end)..end] {
        if !matches!(byte, b'"' | b'\'' | b'\n' | b'\r' | b'#') {
            *byte = b'*';
        }
    }
}

struct Token {
    kind: TokenKind,
    span: Range<usize>,
}

enum TokenKind {
    /// A string, quotes included, closed or not.
    String,
    /// A bare word that is not a key, number, date or boolean: a string without its quotes.
    Word,
    Comment,
    Newline,
    Harmless,
}

/// Cuts a text into tokens, forgiving where TOML is not: what is wrong has to be masked as well.
fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let (kind, length) = token(rest, line_before(text, at));
        let span = at..at + length;
        at = span.end;
        Some(Token { kind, span })
    })
}

fn line_before(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    &text[start..at]
}

fn token(rest: &str, line_before: &str) -> (TokenKind, usize) {
    let first = rest.chars().next().unwrap_or('\n');
    match first {
        '\n' => (TokenKind::Newline, 1),
        '#' => (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len())),
        '"' | '\'' => (TokenKind::String, string_length(rest, first)),
        _ if is_between_words(first) => (TokenKind::Harmless, first.len_utf8()),
        _ => {
            let length = rest
                .find(|c| c == '\n' || c == '#' || c == '"' || c == '\'' || is_between_words(c))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            let harmless = is_key(after, line_before) || is_scalar(word);
            (if harmless { TokenKind::Harmless } else { TokenKind::Word }, length)
        }
    }
}

fn is_between_words(c: char) -> bool {
    c.is_whitespace() || matches!(c, '=' | ',' | '[' | ']' | '{' | '}')
}

/// The length of a string with its quotes; of an unclosed one, up to the end of its line or of the file.
fn string_length(rest: &str, quote: char) -> usize {
    let long: String = std::iter::repeat_n(quote, 3).collect();
    if let Some(body) = rest.strip_prefix(&long) {
        return body.find(&long).map_or(rest.len(), |end| end + 6);
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A word is a key in front of `=` (but not behind one), or in a `[header]`.
fn is_key(after: &str, line_before: &str) -> bool {
    let before = line_before.trim();
    let assigned = after.trim_start_matches([' ', '\t']).starts_with('=') && !before.ends_with('=');
    let header = before.starts_with('[') && !before.contains('=');
    assigned || header
}

fn is_scalar(word: &str) -> bool {
    matches!(word, "true" | "false")
        || (word.len() <= 35
            && word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
            && word
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, '_' | '.' | ':' | '-' | '+' | 'T' | 'Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Mask::default().apply(text)
    }

    #[test]
    fn a_value_is_hidden_until_it_is_shown() {
        let text = "user = \"ann\"\nhash = \"$2b$x\"\n";
        let mut mask = Mask::default();
        mask.show(7..12);
        assert_eq!(mask.apply(text), "user = \"ann\"\nhash = \"*****\"\n");
    }

    #[test]
    fn a_known_secret_is_hidden_even_where_it_was_shown() {
        let mut mask = Mask::default();
        mask.show(4..11);
        mask.hide(4..11);
        assert_eq!(mask.apply("a = 1234567"), "a = *******");
    }

    #[test]
    fn a_hash_without_quotes_or_with_one_is_hidden() {
        assert_eq!(masked("hash = $2b$12$abc"), "hash = **********");
        assert_eq!(masked("hash = \"$2b$12\nuser = 1"), "hash = \"******\nuser = 1");
        assert_eq!(masked("{ user = 1, hash = hunter2 }"), "{ user = 1, hash = ******* }");
    }

    #[test]
    fn keys_headers_numbers_and_dates_stay() {
        let text = "[tenant.shop]\na.b = 1_000\nc = 2027-02-01T00:00:00Z\nd = { e = true }\n";
        assert_eq!(masked(text), text);
    }

    #[test]
    fn a_comment_goes_with_the_secret_beside_it() {
        assert_eq!(masked("a = \"x\" # hunter2"), "a = \"*\" #********");
        assert_eq!(masked("a = 1 # hunter2"), "a = 1 # hunter2");
        assert_eq!(masked("# a = hunter2"), "#************");
    }

    #[test]
    fn many_lined_strings_are_hidden_to_their_end() {
        assert_eq!(masked("a = \"\"\"x\ny\"\"\"\nb = 1"), "a = \"\"\"*\n*\"\"\"\nb = 1");
        assert_eq!(masked("a = '''ü"), "a = '''**");
    }
}
