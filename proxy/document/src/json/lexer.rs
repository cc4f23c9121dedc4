//! JSON, token by token.
//!
//! serde_json could do this too; this takes half the time, because a caller that knows what is expected
//! needs no dispatch over what might come, and it hands over a number as it is written, not rounded to a
//! double. A fuzz target holds the two against each other.
//!
//! Source: RFC 8259; a lone surrogate, which its strings may have and Unicode's may not, becomes U+FFFD:
//! JavaScript writes one where it has cut a text, and the rest of the batch is good.

/// How deep lists and objects may nest in what is skipped, as serde_json has it.
const SKIP_DEPTH_MAX: usize = 127;

/// Reads a text from front to back.
pub(super) struct Lexer<'j> {
    text: &'j str,
    at: usize,
    /// The last string that had escapes.
    scratch: String,
    /// How many surrogates had no other half.
    pub(super) lone_surrogates: u64,
}

/// What begins at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Object,
    List,
    String,
    Number,
    True,
    False,
    Null,
}

/// It is no JSON: what was expected where it has come to.
#[derive(Debug)]
pub(super) struct NoJson(pub &'static str);

impl<'j> Lexer<'j> {
    pub(super) fn new(text: &'j str) -> Self {
        Self { text, at: 0, scratch: String::new(), lone_surrogates: 0 }
    }

    /// Line and column of where it has come to.
    pub(super) fn place(&self) -> (usize, usize) {
        let before = &self.text.as_bytes()[..self.at];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        (1 + before.iter().filter(|&&byte| byte == b'\n').count(), 1 + self.at - line_start)
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space; it is not passed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    #[inline]
    fn pass(&mut self, wanted: u8, expected: &'static str) -> Result<(), NoJson> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(NoJson(expected))
        }
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), NoJson> {
        if self.peek().is_none() { Ok(()) } else { Err(NoJson("the end")) }
    }

    /// Reads something that may not be there: then it goes back to where it was.
    #[inline]
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.at;
        let found = read(self);
        if found.is_none() {
            self.at = before;
        }
        found
    }

    /// Passes this text, if it comes next.
    #[inline]
    pub(super) fn pass_text(&mut self, text: &'static str) -> Option<()> {
        let is_next = self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        is_next.then(|| self.at += text.len())
    }

    /// A string without escapes, whose quotation mark is passed.
    #[inline]
    pub(super) fn plain_string(&mut self) -> Option<&'j str> {
        let start = self.at;
        self.pass_plain();
        (self.byte() == Some(b'"')).then(|| {
            self.at += 1;
            &self.text[start..self.at - 1]
        })
    }

    /// How much is left.
    pub(super) fn left(&self) -> usize {
        self.text.len() - self.at
    }

    /// What value comes next. Literals are passed; of everything else the beginning is.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Token, NoJson> {
        let token = match self.peek() {
            Some(b'"') => Token::String,
            Some(b'{') => Token::Object,
            Some(b'[') => Token::List,
            Some(b'-' | b'0'..=b'9') => return Ok(Token::Number),
            Some(b't') => return self.literal("true", Token::True),
            Some(b'f') => return self.literal("false", Token::False),
            Some(b'n') => return self.literal("null", Token::Null),
            _ => return Err(NoJson("a value")),
        };
        self.at += 1;
        Ok(token)
    }

    fn literal(&mut self, word: &'static str, token: Token) -> Result<Token, NoJson> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(token)
        } else {
            Err(NoJson("a value"))
        }
    }

    /// In an object: whether a key comes, which [`Lexer::key`] then reads. `is_first`: none was before.
    #[inline]
    pub(super) fn has_key(&mut self, is_first: bool) -> Result<bool, NoJson> {
        if !self.has_more(b'}', is_first, "a comma or }")? {
            return Ok(false);
        }
        self.pass(b'"', "a key in quotes").map(|()| true)
    }

    /// In a list: whether an element comes.
    #[inline]
    pub(super) fn has_element(&mut self, is_first: bool) -> Result<bool, NoJson> {
        self.has_more(b']', is_first, "a comma or ]")
    }

    #[inline]
    fn has_more(&mut self, end: u8, is_first: bool, expected: &'static str) -> Result<bool, NoJson> {
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !is_first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if is_first => Ok(true),
            _ => Err(NoJson(expected)),
        }
    }

    /// Whether the key is this one, which is then passed, and the colon behind it. It is no more than a
    /// guess that is fast to make: where it says no, [`Lexer::key`] still has to be asked.
    #[inline]
    pub(super) fn pass_key(&mut self, name: &str) -> bool {
        let bytes = &self.text.as_bytes()[self.at..];
        let is_key = bytes.len() > name.len() + 1
            && bytes[name.len()] == b'"'
            && bytes[name.len() + 1] == b':'
            && is_same(&bytes[..name.len()], name.as_bytes());
        if is_key {
            self.at += name.len() + 2;
        }
        is_key
    }

    /// A key, and the colon behind it.
    #[inline]
    pub(super) fn key(&mut self) -> Result<&str, NoJson> {
        let key = self.string_range()?;
        self.pass(b':', "a colon")?;
        Ok(self.string_at(key))
    }

    /// A string, whose quotation mark is passed.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&str, NoJson> {
        let range = self.string_range()?;
        Ok(self.string_at(range))
    }

    #[inline]
    fn string_at(&self, range: Option<(usize, usize)>) -> &str {
        match range {
            Some((start, end)) => &self.text[start..end],
            None => &self.scratch,
        }
    }

    /// Where a string is; nowhere, if it has escapes and is in the scratch therefore.
    #[inline]
    fn string_range(&mut self) -> Result<Option<(usize, usize)>, NoJson> {
        let start = self.at;
        self.pass_plain();
        match self.byte() {
            Some(b'"') => {
                self.at += 1;
                Ok(Some((start, self.at - 1)))
            }
            _ => self.escaped(start).map(|()| None),
        }
    }

    /// Passes what stands for itself in a string.
    #[inline]
    fn pass_plain(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(chunk) = bytes[self.at..].first_chunk() {
            let found = special(u64::from_le_bytes(*chunk));
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while bytes.get(self.at).is_some_and(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    #[cold]
    fn escaped(&mut self, mut start: usize) -> Result<(), NoJson> {
        self.scratch.clear();
        loop {
            self.scratch.push_str(&self.text[start..self.at]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let unescaped = self.escape()?;
                    self.scratch.push(unescaped);
                }
                Some(_) => return Err(NoJson("no control character in a string")),
                None => return Err(NoJson("the end of a string")),
            }
            start = self.at;
            self.pass_plain();
        }
    }

    /// What an escape means, whose backslash is passed.
    fn escape(&mut self) -> Result<char, NoJson> {
        let escape = self.byte();
        let meant = match escape {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.code_unit()?;
                return Ok(self.code_point(unit));
            }
            _ => return Err(NoJson("an escape that JSON has")),
        };
        self.at += 1;
        Ok(meant)
    }

    /// The four hex digits of an escape.
    fn code_unit(&mut self) -> Result<u32, NoJson> {
        let digits = self.text.as_bytes()[self.at..].first_chunk::<4>().ok_or(NoJson("four hex digits"))?;
        let mut unit = 0;
        for &digit in digits {
            unit = unit << 4 | char::from(digit).to_digit(16).ok_or(NoJson("four hex digits"))?;
        }
        self.at += 4;
        Ok(unit)
    }

    /// The character that begins with a code unit; a pair of surrogates is one.
    fn code_point(&mut self, unit: u32) -> char {
        let pair = match unit {
            0xd800..0xdc00 => self.low_surrogate().map(|low| 0x10000 + ((unit - 0xd800) << 10 | low)),
            _ => Some(unit),
        };
        pair.and_then(char::from_u32).unwrap_or_else(|| {
            self.lone_surrogates += 1;
            char::REPLACEMENT_CHARACTER
        })
    }

    /// The second half of a pair, if that is what comes next; else nothing is passed.
    fn low_surrogate(&mut self) -> Option<u32> {
        let before = self.at;
        let has_escape = self.text.as_bytes()[self.at..].starts_with(b"\\u");
        self.at += 2 * usize::from(has_escape);
        let low = has_escape.then(|| self.code_unit().ok()).flatten();
        let low = low.and_then(|unit| unit.checked_sub(0xdc00)).filter(|low| *low < 0x400);
        if low.is_none() {
            self.at = before;
        }
        low
    }

    /// A number, as it is written.
    pub(super) fn number(&mut self) -> Result<&'j str, NoJson> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1, // no digits after a leading zero
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), NoJson> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NoJson("a digit")) }
    }

    /// Passes a value, whatever it is.
    pub(super) fn skip(&mut self) -> Result<(), NoJson> {
        self.skip_within(0)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), NoJson> {
        match self.token()? {
            Token::Object | Token::List if depth == SKIP_DEPTH_MAX => Err(NoJson("less nesting")),
            Token::Object => {
                let mut is_first = true;
                while self.has_key(is_first)? {
                    self.key()?;
                    self.skip_within(depth + 1)?;
                    is_first = false;
                }
                Ok(())
            }
            Token::List => {
                let mut is_first = true;
                while self.has_element(is_first)? {
                    self.skip_within(depth + 1)?;
                    is_first = false;
                }
                Ok(())
            }
            Token::String => self.string().map(drop),
            Token::Number => self.number().map(drop),
            Token::True | Token::False | Token::Null => Ok(()),
        }
    }
}

/// Whether two runs of the same length are the same. Nearly all names have at most 16 bytes, and then it
/// takes no call.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    match one.len() {
        8..=16 => {
            one.first_chunk::<8>() == other.first_chunk() && one.last_chunk::<8>() == other.last_chunk()
        }
        4..8 => one.first_chunk::<4>() == other.first_chunk() && one.last_chunk::<4>() == other.last_chunk(),
        _ => one == other,
    }
}

/// A bit for each of eight bytes that does not stand for itself in a string: a quotation mark, a
/// backslash, a control character. Bits above the lowest may be wrong.
#[inline]
fn special(bytes: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let control = bytes.wrapping_sub(ONES * 0x20) & !bytes;
    (control | zeros(bytes ^ (ONES * b'"' as u64)) | zeros(bytes ^ (ONES * b'\\' as u64))) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_json(text: &str) -> bool {
        let mut lexer = Lexer::new(text);
        lexer.skip().and_then(|()| lexer.end()).is_ok()
    }

    #[test]
    fn what_is_json_is_read_and_nothing_else() {
        for text in [
            "{}",
            " [ ] ",
            "0",
            "-0",
            "-1.5e+10",
            "1E9",
            "\"\"",
            "true",
            "null",
            "[1,2]",
            r#"{"a":{"b":[false]},"a":1}"#,
            r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#,
            "\"0123456é😀789\u{7f}\"",
            "\t\r\n 5\t\r\n ",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "",
            "{",
            "}",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "1e+",
            "0x1",
            "tru",
            "truer",
            "nul",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\\u004\"",
            "\"\\ud800\\",
            "\"a\nb\"",
            "\"01234567\u{1f}\"",
            "1 2",
            "\u{feff}1",
            "'a'",
            "\u{a0}1",
            "NaN",
        ] {
            assert!(!is_json(text), "{text}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(
            is_json(&nested(SKIP_DEPTH_MAX))
                && !is_json(&nested(SKIP_DEPTH_MAX + 1))
                && !is_json(&nested(100_000))
        );
    }

    #[test]
    fn places_are_counted_in_lines_and_columns() {
        let mut lexer = Lexer::new("[\n1,\n ?]");
        assert!(lexer.skip().is_err());
        assert_eq!(lexer.place(), (3, 2));
    }

    proptest! {
        #[test]
        fn strings_are_read_as_serde_json_writes_them(text in any::<String>(), ascii in "[ -~\n\u{0}]{0,40}") {
            for text in [text, ascii] {
                let json = serde_json::to_string(&text).unwrap();
                let mut lexer = Lexer::new(&json);
                prop_assert!(lexer.token().unwrap() == Token::String);
                prop_assert_eq!(lexer.string().unwrap(), &text);
                prop_assert!(lexer.end().is_ok());
            }
        }

        // But for lone surrogates, which it refuses: no escape here is one.
        #[test]
        fn serde_json_takes_the_same(text in r#"(\{|\}|\[|\]|,|:|"a"|"\\u[0-9a-cef][0-9a-f]{3}|"|\\|-?[0-9]{1,3}|\.|e|[+]|true|null| |\n|é){0,12}"#) {
            let value = serde_json::from_str::<serde_json::Value>(&text);
            let is_out_of_range = value.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            prop_assert!(is_out_of_range || is_json(&text) == value.is_ok(), "{}", text);
        }
    }
}
