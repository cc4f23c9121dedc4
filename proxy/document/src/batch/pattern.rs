//! Patterns: a regular expression over bytes, a check beside it, and a scan before it.

use regex::bytes::{Captures, Match, Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind, literal::Extractor};
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

/// The name of the group that is meant where a pattern has it: the rest is what stands around it.
const SECRET: &str = "secret";

/// Where something begins and ends.
type Span = (usize, usize);

/// A regular expression over bytes, so that a text that is no UTF-8 hides nothing from it.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    regex: Regex,
    check: Check,
    /// The group that is meant, where not the whole match is.
    secret: Option<usize>,
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
        let secret = regex.capture_names().position(|name| name == Some(SECRET));
        Ok(Self(Arc::new(Inner { regex, check, secret, needs: Needs::of(&hir, size_max) })))
    }

    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        self.0.regex.as_str()
    }

    /// Whether it matches somewhere.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match (self.0.check, self.0.secret) {
            (Check::None, None) => self.0.needs.are_met(text) && self.0.regex.is_match(text),
            _ => self.0.needs.are_met(text) && self.find_at(text, 0).is_some(),
        }
    }

    /// False where nothing in this text matches.
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        self.0.needs.are_met(text)
    }

    /// False where no part of these bytes matches, and none of them with something else around it. Looks
    /// closer, since more is saved.
    pub(super) fn may_match_within(&self, bytes: &[u8]) -> bool {
        self.0.needs.are_met_within(bytes)
    }

    /// False where nothing in this short text matches.
    pub(super) fn may_match_in(&self, text: &[u8]) -> bool {
        self.0.needs.are_met_by(text)
    }

    /// How many digits an integer has at least that matches; `None` where no integer does.
    pub(super) fn digits_min(&self) -> Option<usize> {
        let Needs { literal, length_min, first, .. } = &self.0.needs;
        let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        let may_be = literal.as_ref().is_none_or(|literal| literal.needle().iter().all(is_digit))
            && (*length_min == 0 || (0..=u8::MAX).any(|byte| is_digit(&byte) && first[usize::from(byte)]));
        may_be.then_some(*length_min)
    }

    /// The first match from here on: where it is, or where its group `secret` is. What stands around the
    /// group may be around the next match too.
    pub(super) fn find_at(&self, text: &[u8], mut from: usize) -> Option<(usize, usize)> {
        while from <= text.len() {
            let (whole, meant) = self.0.meant_at(text, from)?;
            from = match meant {
                Some((start, end)) if self.0.check.holds(&text[start..end]) => return Some((start, end)),
                // What fails the check may begin with something that passes it, further on.
                Some(_) => whole.0 + 1,
                // An exception: nothing in it is meant.
                None => whole.1.max(whole.0 + 1),
            };
        }
        None
    }

    /// The groups of the first match.
    pub(super) fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        let captures = self.0.regex.captures(text)?;
        let meant = captures.get(self.0.secret.unwrap_or(0))?;
        self.0.check.holds(meant.as_bytes()).then_some(captures)
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

impl Inner {
    /// The first match from here on, and what is meant of it.
    fn meant_at(&self, text: &[u8], from: usize) -> Option<(Span, Option<Span>)> {
        let span = |found: Match<'_>| (found.start(), found.end());
        let Some(secret) = self.secret else {
            let whole = span(self.regex.find_at(text, from)?);
            return Some((whole, Some(whole)));
        };
        let captures = self.regex.captures_at(text, from)?;
        Some((span(captures.get(0)?), captures.get(secret).map(span)))
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
    /// The expression, whatever stands around its matches.
    core: Option<Regex>,
    /// Whether it is sooner looked for in runs of the class than in everything.
    is_in_runs: bool,
}

/// Shorter runs are in every record.
const RUN_MIN: usize = 6;
/// What is less rare is in every record too: [`rarity`].
const RARITY_MIN: u32 = 4;
/// Runs of more than letters, digits and a few signs are in every record.
const ASCII_MAX: usize = 72;

impl Needs {
    fn of(hir: &Hir, size_max: usize) -> Self {
        // Of a pattern that means a group, only matches that have it count.
        let meant = group(hir, SECRET).unwrap_or(hir);
        let mut class = Box::new([false; 256]);
        add_class(meant, &mut class);
        let mut first = Box::new([false; 256]);
        add_first(meant, &mut first);
        let length_min = meant.properties().minimum_len().unwrap_or(0);
        let is_narrow =
            length_min >= RUN_MIN && class[..0x80].iter().filter(|is_in| **is_in).count() <= ASCII_MAX;
        // What is meant is sooner looked for than all of it, unless what is around it is what is rare.
        let (around, within) = (literal(hir), literal(meant));
        let is_around = around.as_deref().map(rarity) > within.as_deref().map(rarity);
        let (literal, core) = if is_around { (around, hir) } else { (within, meant) };
        let core = without_looks(core);
        let is_rare = literal.as_deref().is_some_and(|bytes| rarity(bytes) >= RARITY_MIN);
        let is_in_runs = is_narrow && !is_rare && !begins_with_few(&core);
        let core = RegexBuilder::new(&core.to_string()).size_limit(size_max).dfa_size_limit(size_max).build();
        Self {
            literal: literal.map(|bytes| memchr::memmem::Finder::new(&bytes).into_owned()),
            length_min,
            class: is_narrow.then_some(class),
            first,
            core: core.ok(),
            is_in_runs,
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

    fn are_met_within(&self, bytes: &[u8]) -> bool {
        if !self.are_met(bytes) {
            return false;
        }
        match (&self.core, &self.class) {
            (None, _) => true,
            (Some(core), Some(class)) if self.is_in_runs => {
                any_run(bytes, class, self.length_min, |run| core.is_match(run))
            }
            (Some(core), _) => core.is_match(bytes),
        }
    }
}

/// Whether every match begins with one of a few texts, which are looked for at once.
fn begins_with_few(hir: &Hir) -> bool {
    const TEXTS_MAX: usize = 64;
    const BYTES_MIN: usize = 3;
    let mut beginnings = Extractor::new().extract(hir);
    beginnings.optimize_for_prefix_by_preference();
    beginnings.len().is_some_and(|texts| texts <= TEXTS_MAX)
        && beginnings.min_literal_len().is_some_and(|bytes| bytes >= BYTES_MIN)
}

/// Whether a run of at least so many bytes of a class, as long as it is, passes a test. Looks at each
/// `length`th byte only, as long as none of them is of the class: a run cannot hide between two of them.
#[inline]
fn any_run(bytes: &[u8], class: &[bool; 256], length: usize, test: impl Fn(&[u8]) -> bool) -> bool {
    let is_in = |byte: &u8| class[usize::from(*byte)];
    let mut start = 0; // nothing before it is in a run that is long enough
    while start + length <= bytes.len() {
        // Backwards from where a run from `start` on would end: the first byte that is not of the class
        // ends every run before it.
        match bytes[start..start + length].iter().rposition(|byte| !is_in(byte)) {
            Some(place) => start += place + 1,
            None => {
                let end =
                    start + length + bytes[start + length..].iter().take_while(|byte| is_in(byte)).count();
                if test(&bytes[start..end]) {
                    return true;
                }
                start = end;
            }
        }
    }
    false
}

#[inline]
fn has_run(bytes: &[u8], class: &[bool; 256], length: usize) -> bool {
    any_run(bytes, class, length, |_| true)
}

/// The same expression without what must stand before, behind or between its matches, and without groups.
fn without_looks(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
        HirKind::Capture(capture) => without_looks(&capture.sub),
        HirKind::Repetition(repetition) => Hir::repetition(repetition.with(without_looks(&repetition.sub))),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_looks).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(without_looks).collect()),
    }
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
        HirKind::Concat(parts) => parts.iter().filter_map(literal).max_by_key(|bytes| rarity(bytes)),
        _ => None,
    }
}

/// How rare bytes are in telemetry, roughly: letters, digits and the signs of paths and JSON are in every
/// record.
fn rarity(bytes: &[u8]) -> u32 {
    let of_byte = |byte: &u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'.' | b'/' | b'-' | b'_' | b':' | b' ' | b'"' | b'=' | b',' => 2,
        b'A'..=b'Z' => 3,
        _ => 7,
    };
    bytes.iter().map(of_byte).sum()
}

/// What is in the group of this name.
fn group<'h>(hir: &'h Hir, name: &str) -> Option<&'h Hir> {
    match hir.kind() {
        HirKind::Capture(capture) if capture.name.as_deref() == Some(name) => Some(&capture.sub),
        HirKind::Capture(capture) => group(&capture.sub, name),
        HirKind::Repetition(repetition) => group(&repetition.sub, name),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().find_map(|part| group(part, name))
        }
        _ => None,
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
        let double = b"\x21@\x00\x00 twelve and a half";
        assert!(email.may_match(double) && !email.may_match_within(double));
        assert!(email.may_match_within(b"\x0a\x12ann@example.com\x12"));
        let issued = pattern(r"(?:^|\D)(?<secret>4\d{12})(?:$|\D)", Check::Luhn);
        assert!(issued.may_match_within(b"x4222222222222y") && !issued.may_match_within(b"x1764000000000y"));
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
    #[test]
    fn a_group_named_secret_is_what_is_meant() {
        // What is excepted comes first and does without the group.
        let four =
            pattern(r"(?-u)v\d(?:\.\d)+|(?:^|[^\d.])(?<secret>\d(?:\.\d){3})(?:$|[^\d.])", Check::None);
        assert_eq!(four.find_at(b"v1.2.3.4 at 5.6.7.8 8.7.6.5", 0), Some((12, 19)));
        assert_eq!(four.find_at(b"v1.2.3.4 at 5.6.7.8 8.7.6.5", 19), Some((20, 27)), "one space for both");
        assert!(!four.is_match(b"v1.2.3.4") && four.is_match(b"1.2.3.4"));
        assert!(!four.may_match(b"any bytes but a run of seven: 1.2.3"));
        let bearer = pattern(r"[Bb]earer (?<secret>\S+)", Check::None);
        assert!(bearer.may_match(b"Bearer x") && !bearer.may_match(b"barer x"));
        let card = pattern(r"x\d+:(?<secret>\d{16})", Check::Luhn);
        assert_eq!(card.find_at(b"x1:4111111111111112 x1:4111111111111111", 0), Some((23, 39)));
    }
}
