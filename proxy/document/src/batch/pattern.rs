//! Patterns: a regular expression over bytes, a check beside it, and a scan before it.

use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};
use std::{fmt, sync::Arc};

/// What a match must satisfy beside the expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Nothing.
    #[default]
    None,
    /// The last digit is the check digit of the others (ISO/IEC 7812-1, the Luhn algorithm).
    Luhn,
    /// The number modulo 97 is 1 (ISO 13616, ISO 7064).
    Iban,
}

/// A regular expression over bytes, so that a text that is no UTF-8 hides nothing from it.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    regex: Regex,
    check: Check,
    needs: Needs,
}

impl Pattern {
    /// Compiles an expression in the syntax of the `regex` crate. `size_max`: bytes that it may take
    /// compiled, and again for the states that it makes while it runs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(expression: &str, check: Check, size_max: usize) -> Result<Self, String> {
        let regex = RegexBuilder::new(expression)
            .size_limit(size_max)
            .dfa_size_limit(size_max)
            .build()
            .map_err(|error| error.to_string())?;
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .build()
            .parse(expression)
            .map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Inner { regex, check, needs: Needs::of(&hir) })))
    }

    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        self.0.regex.as_str()
    }

    /// Whether it matches somewhere.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match self.0.check {
            Check::None => self.0.needs.are_met(text) && self.0.regex.is_match(text),
            _ => self.find_at(text, 0).is_some(),
        }
    }

    /// False where no part of these bytes matches, and none of them with something else around it.
    pub(super) fn may_match(&self, bytes: &[u8]) -> bool {
        self.0.needs.are_met(bytes)
    }

    /// False where nothing in this short text matches.
    pub(super) fn may_match_in(&self, text: &[u8]) -> bool {
        self.0.needs.are_met_by(text)
    }

    /// How many digits an integer has at least that it matches; `None` where it matches none.
    pub(super) fn digits_min(&self) -> Option<usize> {
        let needs = &self.0.needs;
        let literal = needs.literal.as_ref().map(|literal| literal.needle()).unwrap_or_default();
        let may_be_digits = literal.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-'));
        may_be_digits.then_some(needs.length_min)
    }

    /// The first match from here on.
    pub(super) fn find_at(&self, text: &[u8], mut from: usize) -> Option<(usize, usize)> {
        loop {
            let found = self.0.regex.find_at(text, from)?;
            if self.0.check.holds(found.as_bytes()) {
                return Some((found.start(), found.end()));
            }
            // What fails the check may begin with something that passes it, further on.
            from = found.start() + 1;
            if from > text.len() {
                return None;
            }
        }
    }

    /// The groups of the first match.
    pub(super) fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        let captures = self.0.regex.captures(text)?;
        let whole = captures.get(0)?;
        self.0.check.holds(whole.as_bytes()).then_some(captures)
    }

    /// The regular expression.
    pub(super) fn regex(&self) -> &Regex {
        &self.0.regex
    }

    /// The number of a group, by its name or number.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        let regex = &self.0.regex;
        match name.parse::<usize>() {
            Ok(number) => (number < regex.captures_len()).then_some(number),
            Err(_) => regex.capture_names().position(|known| known == Some(name)),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?}, {:?})", self.expression(), self.0.check)
    }
}

impl Check {
    fn holds(self, found: &[u8]) -> bool {
        match self {
            Check::None => true,
            Check::Luhn => luhn(found),
            Check::Iban => iban(found),
        }
    }
}

fn luhn(found: &[u8]) -> bool {
    let digits = found.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit })
        .sum();
    sum.is_multiple_of(10)
}

fn iban(found: &[u8]) -> bool {
    let letters: Vec<u8> = found.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    if letters.len() < 5 {
        return false;
    }
    // Country and check digits move to the end; a letter counts as two digits, A as 10.
    let rest = letters[4..].iter().chain(&letters[..4]).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    rest == 1
}

/// What every match has, whatever stands around it. It is looked for in all the bytes of a record at
/// once, before any of its texts is found: most records hold none of it.
struct Needs {
    /// Bytes that are in every match, one after the other.
    literal: Option<memchr::memmem::Finder<'static>>,
    /// Every match is a run of at least so many bytes …
    length_min: usize,
    /// … of these; `None` where it may be any.
    class: Option<Box<[bool; 256]>>,
    /// What every match begins with.
    first: Box<[bool; 256]>,
}

/// Shorter runs are in every record.
const RUN_MIN: usize = 6;
/// Runs of more than letters, digits and a few signs are in every record.
const ASCII_MAX: usize = 72;

impl Needs {
    fn of(hir: &Hir) -> Self {
        let mut class = Box::new([false; 256]);
        add_class(hir, &mut class);
        let length_min = hir.properties().minimum_len().unwrap_or(0);
        let is_narrow =
            length_min >= RUN_MIN && class[..0x80].iter().filter(|is_in| **is_in).count() <= ASCII_MAX;
        Self {
            literal: literal(hir).map(|bytes| memchr::memmem::Finder::new(&bytes).into_owned()),
            length_min,
            class: is_narrow.then_some(class),
            first: {
                let mut first = Box::new([false; 256]);
                add_first(hir, &mut first);
                first
            },
        }
    }

    /// The same of a whole text, which is short.
    fn are_met_by(&self, text: &[u8]) -> bool {
        let starts = (text.len() + 1).saturating_sub(self.length_min);
        text[..starts.min(text.len())].iter().any(|byte| self.first[usize::from(*byte)]) && self.are_met(text)
    }

    #[inline]
    fn are_met(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.length_min
            && self.literal.as_ref().is_none_or(|literal| literal.find(bytes).is_some())
            && self.class.as_ref().is_none_or(|class| has_run(bytes, class, self.length_min))
    }
}

/// Whether there is a run of so many bytes of a class. Looks at each `length`th byte only, as long as
/// none of them is of the class: a run cannot hide between two of them.
#[inline]
fn has_run(bytes: &[u8], class: &[bool; 256], length: usize) -> bool {
    let mut start = 0; // nothing before it is in a run that is long enough
    while start + length <= bytes.len() {
        // Backwards from where a run from `start` on would end: the first byte that is not of the class
        // ends every run before it.
        match bytes[start..start + length].iter().rposition(|byte| !class[usize::from(*byte)]) {
            None => return true,
            Some(place) => start += place + 1,
        }
    }
    false
}

/// Adds the bytes that may be in a match.
fn add_class(hir: &Hir, class: &mut [bool; 256]) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => literal.0.iter().for_each(|byte| class[usize::from(*byte)] = true),
        HirKind::Class(Class::Bytes(bytes)) => bytes
            .ranges()
            .iter()
            .for_each(|range| class[usize::from(range.start())..=usize::from(range.end())].fill(true)),
        HirKind::Class(Class::Unicode(chars)) => {
            for range in chars.ranges() {
                let (start, end) = (u32::from(range.start()), u32::from(range.end()));
                (start..=end.min(0x7f)).for_each(|byte| class[byte as usize] = true);
                if end >= 0x80 {
                    class[0x80..].fill(true); // parts of longer characters
                }
            }
        }
        HirKind::Repetition(repetition) => add_class(&repetition.sub, class),
        HirKind::Capture(capture) => add_class(&capture.sub, class),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| add_class(part, class));
        }
    }
}

/// Adds the bytes that a match may begin with. Whether it may be empty.
fn add_first(hir: &Hir, first: &mut [bool; 256]) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match literal.0.first() {
            Some(byte) => {
                first[usize::from(*byte)] = true;
                false
            }
            None => true,
        },
        HirKind::Class(_) => {
            add_class(hir, first);
            false
        }
        HirKind::Repetition(repetition) => add_first(&repetition.sub, first) || repetition.min == 0,
        HirKind::Capture(capture) => add_first(&capture.sub, first),
        HirKind::Concat(parts) => parts.iter().all(|part| add_first(part, first)),
        HirKind::Alternation(parts) => {
            parts.iter().fold(false, |may_be_empty, part| add_first(part, first) | may_be_empty)
        }
    }
}

/// The rarest bytes that are in every match for sure.
fn literal(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_vec()),
        HirKind::Capture(capture) => literal(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => literal(&repetition.sub),
        HirKind::Concat(parts) => {
            parts.iter().filter_map(literal).max_by_key(|literal| literal.iter().map(rarity).sum::<u32>())
        }
        _ => None,
    }
}

/// How rare a byte is in telemetry, roughly: letters, digits and the signs of paths and JSON are in every
/// record.
fn rarity(byte: &u8) -> u32 {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'/' | b'-' | b'_' | b':' | b' ' | b'"' | b'=' | b',' => 2,
        b'A'..=b'Z' => 3,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(expression: &str, check: Check) -> Pattern {
        Pattern::compile(expression, check, 1 << 20).unwrap()
    }

    #[test]
    fn needs_are_met_by_whatever_matches_and_by_little_else() {
        let email = pattern(r"(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b", Check::None);
        assert!(email.may_match(b"\x0a\x12ann@example.com\x12"));
        assert!(!email.may_match(b"nobody here"));
        let card = pattern(r"\b(?:\d[ -]?){12,18}\d\b", Check::Luhn);
        assert_eq!((card.digits_min(), email.digits_min()), (Some(13), None));
        assert!(card.may_match(b"x4111 1111 1111 1111y"));
        assert!(!card.may_match(b"2026-11-21T17:28:03.123456789Z took 1234567 ns, 1-2-3"));
        let any = pattern("a|b", Check::None);
        assert!(any.may_match(b"whatever"));
    }

    #[test]
    fn a_run_is_found_wherever_it_is() {
        let mut digits = [false; 256];
        digits[b'0' as usize..=b'9' as usize].fill(true);
        for before in 0..30 {
            for length in 0..20 {
                let text = [vec![b'x'; before], vec![b'7'; length], vec![b'x'; 5]].concat();
                assert_eq!(has_run(&text, &digits, 13), length >= 13, "{before} {length}");
            }
        }
    }

    #[test]
    fn checks_hold_for_what_is_valid() {
        for (text, is_valid) in
            [("4111 1111 1111 1111", true), ("4111-1111-1111-1112", false), ("378282246310005", true)]
        {
            assert_eq!(luhn(text.as_bytes()), is_valid, "{text}");
        }
        for (text, is_valid) in [
            ("DE89 3704 0044 0532 0130 00", true),
            ("GB82WEST12345698765432", true),
            ("GB82WEST12345698765433", false),
            ("DE", false),
        ] {
            assert_eq!(iban(text.as_bytes()), is_valid, "{text}");
        }
    }

    #[test]
    fn what_fails_a_check_hides_nothing_behind_it() {
        let card = pattern(r"\d{16}", Check::Luhn);
        let text = b"1234 95954111111111111111";
        assert_eq!(card.find_at(text, 0), Some((9, 25)));
    }
}
