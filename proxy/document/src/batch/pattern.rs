//! Patterns: a regular expression over bytes, a check beside it, and a scan before it.

use super::{
    turn::Clock,
    words::{EditError, Exhausted},
};
use regex_automata::{
    Anchored, Input, MatchKind, PatternID,
    meta::{self, Regex},
    util::captures::Captures,
};
use regex_syntax::hir::{Class, Hir, HirKind, literal::Extractor};
use std::{
    fmt,
    ops::Range,
    sync::{Arc, Weak},
};

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

/// A regular expression over bytes, so that a text that is no UTF-8 hides nothing from it.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

/// A pattern that is there only as long as somebody else has it.
#[derive(Clone)]
pub struct WeakPattern(Weak<Inner>);

impl WeakPattern {
    /// The pattern, if somebody has it yet.
    pub fn upgrade(&self) -> Option<Pattern> {
        self.0.upgrade().map(Pattern)
    }
}

struct Inner {
    expression: String,
    regex: Regex,
    /// Where there is a check: the same, but of matches that begin at the same byte it finds the longest.
    longest: Option<Regex>,
    check: Check,
    /// The group that is meant, where not the whole match is.
    secret: Option<usize>,
    needs: Needs,
}

/// Longer matches, in bytes, satisfy no check: card numbers and IBANs are far shorter, and what fails a
/// check is tried again from its next byte on, which must not take the square of a text's length.
const CHECKED_MAX: usize = 128;

/// Longer expressions take far more memory while they are read than they ever may compiled.
const EXPRESSION_BYTES_MAX: usize = 64 << 10;

impl Pattern {
    /// Compiles an expression in the syntax of the `regex` crate. `size_max`: bytes that it may take
    /// compiled, and again for the states that it makes while it runs.
    ///
    /// # Errors
    /// What is wrong with it: it is no expression, or too long, or takes too much compiled.
    pub fn compile(expression: &str, check: Check, size_max: usize) -> Result<Self, String> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("it is longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .build()
            .parse(expression)
            .map_err(|error| error.to_string())?;
        let config = meta::Config::new()
            .nfa_size_limit(Some(size_max))
            .hybrid_cache_capacity(size_max)
            .utf8_empty(false);
        let build = |config| {
            Regex::builder().configure(config).build_from_hir(&hir).map_err(|error| {
                let size = error.size_limit();
                size.map_or(error.to_string(), |size| format!("compiled, it takes more than {size} bytes"))
            })
        };
        let regex = build(config.clone())?;
        let secret = regex.group_info().to_index(PatternID::ZERO, SECRET);
        let longest = match (check, secret) {
            (Check::None, _) | (_, Some(_)) => None,
            _ => Some(build(config.clone().match_kind(MatchKind::All))?),
        };
        let needs = Needs::of(&hir, check, config);
        Ok(Self(Arc::new(Inner { expression: expression.to_owned(), regex, longest, check, secret, needs })))
    }

    /// Whether it is this very one, and not merely alike.
    pub fn is(&self, other: &Pattern) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same, which keeps nothing.
    pub fn downgrade(&self) -> WeakPattern {
        WeakPattern(Arc::downgrade(&self.0))
    }

    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        &self.0.expression
    }

    /// Whether it matches somewhere in a text that is short, such as a key.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.is_match_in(text, &mut Clock::endless()).unwrap_or(false)
    }

    /// Whether it matches somewhere.
    pub(super) fn is_match_in(&self, text: &[u8], clock: &mut Clock) -> Result<bool, EditError> {
        Ok(self.may_match(text)
            && match (self.0.check, self.0.secret) {
                (Check::None, None) => self.0.regex.is_match(text),
                _ => self.find_at(text, 0, clock)?.is_some(),
            })
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
    pub(super) fn may_match_short(&self, text: &[u8]) -> bool {
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
    ///
    /// # Errors
    /// The time is over: what fails a check is tried again from its next byte on.
    pub(super) fn find_at(
        &self,
        text: &[u8],
        from: usize,
        clock: &mut Clock,
    ) -> Result<Option<(usize, usize)>, EditError> {
        match (&self.0.longest, self.0.secret) {
            (_, Some(secret)) => self.find_meant(secret, text, from, clock),
            (None, None) => {
                let found = self.0.regex.find(Input::new(text).range(from..));
                Ok(found.map(|found| (found.start(), found.end())))
            }
            (Some(longest), None) => self.find_checked(longest, text, from, clock),
        }
    }

    /// The first match whose group satisfies the check, and where the group is.
    fn find_meant(
        &self,
        secret: usize,
        text: &[u8],
        mut from: usize,
        clock: &mut Clock,
    ) -> Result<Option<(usize, usize)>, EditError> {
        let mut captures = self.0.regex.create_captures();
        while from <= text.len() {
            self.0.regex.captures(Input::new(text).range(from..), &mut captures);
            let Some(whole) = captures.get_match() else { break };
            let whole = whole.range();
            clock.work(whole.end - from)?;
            from = match captures.get_group(secret) {
                // An exception: nothing in it is meant.
                None => whole.end.max(whole.start + 1),
                Some(meant) if self.0.check.holds(&text[meant.range()]) => {
                    return Ok(Some((meant.start, meant.end)));
                }
                // A shorter one may satisfy it; or what fails it begins with one that does, further on.
                Some(_) => match self.shorter_meant(secret, text, whole.clone(), &mut captures) {
                    Some(meant) => return Ok(Some(meant)),
                    None => whole.start + 1,
                },
            };
            clock.work(CHECKED_MAX)?;
        }
        Ok(None)
    }

    /// The group in a shorter match that begins at the same byte, if it satisfies the check.
    fn shorter_meant(
        &self,
        secret: usize,
        text: &[u8],
        whole: Range<usize>,
        captures: &mut Captures,
    ) -> Option<(usize, usize)> {
        let mut until = whole.end.min(whole.start + CHECKED_MAX);
        while let Some(shorter) = until.checked_sub(1).filter(|end| *end > whole.start) {
            let input = Input::new(text).range(whole.start..shorter).anchored(Anchored::Yes);
            self.0.regex.captures(input, captures);
            let found = captures.get_match()?;
            let meant = captures.get_group(secret)?;
            if self.0.check.holds(&text[meant.range()]) {
                return Some((meant.start, meant.end));
            }
            until = found.end();
        }
        None
    }

    /// The first match that satisfies the check: of those that begin at the same byte, the longest. What begins at a byte is looked for in a window around it, so that each byte
    /// is looked at a limited number of times.
    fn find_checked(
        &self,
        longest: &Regex,
        text: &[u8],
        mut from: usize,
        clock: &mut Clock,
    ) -> Result<Option<(usize, usize)>, EditError> {
        while from <= text.len() {
            let until = text.len().min(from + 2 * CHECKED_MAX);
            clock.work(until - from)?;
            let found = self.0.regex.find(Input::new(text).range(from..until));
            from = match found {
                // The match, or a better one, may go on beyond the window.
                _ if until < text.len() && found.is_none_or(|found| found.start() + CHECKED_MAX > until) => {
                    until - CHECKED_MAX
                }
                None => return Ok(None),
                Some(found) => match self.checked_end(longest, text, found.range()) {
                    Some(end) => return Ok(Some((found.start(), end))),
                    // What fails the check may begin with something that passes it, further on.
                    None => found.start() + 1,
                },
            };
        }
        Ok(None)
    }

    /// Where a match ends that begins as the one that was found, and satisfies the check. A card's number
    /// may be followed by more digits that the expression takes for a part of it, so all are tried.
    fn checked_end(&self, longest: &Regex, text: &[u8], found: Range<usize>) -> Option<usize> {
        let Needs { length_min, class, .. } = &self.0.needs;
        let is_in_class = |byte: &u8| class.as_ref().is_none_or(|class| class[usize::from(*byte)]);
        if found.len() == *length_min && !text.get(found.end).is_some_and(is_in_class) {
            // It cannot be shorter, nor longer: as most numbers that are no card.
            return self.0.check.holds(&text[found.clone()]).then_some(found.end);
        }
        let start = found.start;
        let until = text.len().min(start + CHECKED_MAX);
        longer_first(longest, text, start..until, *length_min)
            .find(|end| self.0.check.holds(&text[start..*end]))
    }

    /// The groups of the first match.
    ///
    /// # Errors
    /// As [`Pattern::find_at`].
    pub(super) fn captures(&self, text: &[u8], clock: &mut Clock) -> Result<Option<Captures>, EditError> {
        let (regex, input) = match (&self.0.longest, self.0.secret) {
            (None, Some(secret)) if self.0.check != Check::None => {
                let mut captures = self.0.regex.create_captures();
                self.0.regex.captures(Input::new(text), &mut captures);
                let meant = captures.get_group(secret);
                let holds = meant.is_some_and(|meant| self.0.check.holds(&text[meant.range()]));
                return Ok(holds.then_some(captures));
            }
            (None, _) => (&self.0.regex, Input::new(text)),
            (Some(longest), _) => match self.find_checked(longest, text, 0, clock)? {
                None => return Ok(None),
                Some((start, end)) => (longest, Input::new(text).range(start..end).anchored(Anchored::Yes)),
            },
        };
        let mut captures = regex.create_captures();
        regex.captures(input, &mut captures);
        Ok(captures.is_match().then_some(captures))
    }

    /// A text with the first match replaced; `$1` or `${name}` in the replacement is the text of a group.
    ///
    /// # Errors
    /// What it becomes may have more bytes than there is room for.
    pub(super) fn replace_first(
        &self,
        text: &[u8],
        by: &[u8],
        room: u64,
    ) -> Option<Result<Vec<u8>, Exhausted>> {
        // A key is short.
        let captures = self.captures(text, &mut Clock::endless()).ok()??;
        let matched = captures.get_match()?;
        // Every group is a part of the match.
        let groups = by.iter().filter(|byte| **byte == b'$').count() as u64;
        let most = (text.len() + by.len()) as u64 + groups.saturating_mul(matched.len() as u64);
        if most > room {
            return Some(Err(Exhausted::Bytes));
        }
        let mut replaced = text[..matched.start()].to_vec();
        captures.interpolate_bytes_into(text, by, &mut replaced);
        replaced.extend_from_slice(&text[matched.end()..]);
        Some(Ok(replaced))
    }

    /// The number of a group, by its name or number.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        let groups = self.0.regex.group_info();
        match name.parse::<usize>() {
            Ok(number) => (number < groups.group_len(PatternID::ZERO)).then_some(number),
            Err(_) => groups.to_index(PatternID::ZERO, name),
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
    /// The expression, whatever stands around its matches.
    core: Option<Regex>,
    /// Whether it is sooner looked for in runs of the class than in everything.
    is_in_runs: bool,
    /// What a match of the core must satisfy.
    check: Check,
}

/// Shorter runs are in every record.
const RUN_MIN: usize = 6;
/// What is less rare is in every record too: [`rarity`].
const RARITY_MIN: u32 = 4;
/// Runs of more than letters, digits and a few signs are in every record.
const ASCII_MAX: usize = 72;

impl Needs {
    fn of(hir: &Hir, check: Check, config: meta::Config) -> Self {
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
        // Runs are of what is meant.
        let is_in_runs = is_narrow && !is_around && !is_rare && !begins_with_few(&core);
        // In a run every match is tried, so each must be found.
        let check = if is_in_runs { check } else { Check::None };
        let config = if check == Check::None { config } else { config.match_kind(MatchKind::All) };
        let core = Regex::builder().configure(config).build_from_hir(&core);
        Self {
            literal: literal.map(|bytes| memchr::memmem::Finder::new(&bytes).into_owned()),
            length_min,
            class: is_narrow.then_some(class),
            first,
            core: core.ok(),
            is_in_runs,
            check,
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
                any_run(bytes, class, self.length_min, |run| self.is_met_by_run(core, run))
            }
            (Some(core), _) => core.is_match(bytes),
        }
    }

    /// Whether there is a match in a run that satisfies the check: nine of ten numbers that look like a
    /// card's do not.
    fn is_met_by_run(&self, core: &Regex, run: &[u8]) -> bool {
        if self.check == Check::None || run.len() > CHECKED_MAX {
            return core.is_match(run);
        }
        (0..=run.len() - self.length_min).any(|start| {
            let ends = || longer_first(core, run, start..run.len(), self.length_min);
            self.first[usize::from(run[start])] && ends().any(|end| self.check.holds(&run[start..end]))
        })
    }
}

/// Where the matches end that begin where a range does and end in it, the longest first. `longest` finds the
/// longest of those that begin at the same byte.
fn longer_first<'t>(
    longest: &'t Regex,
    text: &'t [u8],
    range: Range<usize>,
    length_min: usize,
) -> impl Iterator<Item = usize> {
    let mut until = Some(range.end);
    std::iter::from_fn(move || {
        let input = Input::new(text).range(range.start..until?).anchored(Anchored::Yes);
        let end = longest.find(input)?.end();
        until = end.checked_sub(1).filter(|until| *until >= range.start + length_min);
        Some(end)
    })
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
    use proptest::prelude::*;

    fn pattern(expression: &str, check: Check) -> Pattern {
        Pattern::compile(expression, check, 1 << 20).unwrap()
    }

    fn find(pattern: &Pattern, text: &[u8], from: usize) -> Option<(usize, usize)> {
        pattern.find_at(text, from, &mut Clock::endless()).unwrap()
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
        let issued = pattern(r"(?:^|[^0-9])(?<secret>4\d{12}|4\d{15})(?:$|[^0-9])", Check::Luhn);
        assert!(issued.may_match_within(b"\x104111111111111111\x10"));
        assert!(issued.may_match_within(b"04111111111111111"), "the length of a text may look like a digit");
        assert!(!issued.may_match_within(b"\x104111111111111112\x10"));
        let behind = pattern(r"x\d{3}(?<secret>\d{6})", Check::None);
        assert!(behind.may_match_within(b"x000123456"), "what is around it is in no run of it");
    }

    #[test]
    fn an_expression_may_not_be_endless() {
        assert!(Pattern::compile(&"(?x) ".repeat(20_000), Check::None, 1 << 20).is_err());
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
        assert_eq!(find(&card, text, 0), Some((9, 25)));
    }

    #[test]
    fn a_group_named_secret_is_what_is_meant() {
        // What is excepted comes first and does without the group.
        let four =
            pattern(r"(?-u)v\d(?:\.\d)+|(?:^|[^\d.])(?<secret>\d(?:\.\d){3})(?:$|[^\d.])", Check::None);
        assert_eq!(find(&four, b"v1.2.3.4 at 5.6.7.8 8.7.6.5", 0), Some((12, 19)));
        assert_eq!(find(&four, b"v1.2.3.4 at 5.6.7.8 8.7.6.5", 19), Some((20, 27)), "one space for both");
        assert!(!four.is_match(b"v1.2.3.4") && four.is_match(b"1.2.3.4"));
        assert!(!four.may_match(b"any bytes but a run of seven: 1.2.3"));
        let bearer = pattern(r"[Bb]earer (?<secret>\S+)", Check::None);
        assert!(bearer.may_match(b"Bearer x") && !bearer.may_match(b"barer x"));
        let card = pattern(r"x\d+:(?<secret>\d{16})", Check::Luhn);
        assert_eq!(find(&card, b"x1:4111111111111112 x1:4111111111111111", 0), Some((23, 39)));
    }

    #[test]
    fn what_fails_a_check_hides_nothing_in_it() {
        let card = pattern(r"\b(?:\d[ -]?){12,18}\d\b", Check::Luhn);
        let text = b"card 4111 1111 1111 1111 12/27";
        assert_eq!(find(&card, text, 0), Some((5, 24)));
        // But the end of a word is one of the whole text: a longer number is another number.
        assert_eq!(find(&card, b"4111111111111111123", 0), None);
        // Wherever it is in a long text.
        for before in (0..600).step_by(7) {
            let text =
                [&b"12 "[..], &vec![b'x'; before], b" 4111 1111 1111 1111 12/27", &[b'5'; 400]].concat();
            assert_eq!(find(&card, &text, 0), Some((before + 4, before + 23)));
        }
        // Whatever the expression would rather have.
        let either = pattern(r"\d{15}|\d{16}", Check::Luhn);
        assert_eq!(find(&either, b"4111111111111111", 0), Some((0, 16)));
        let group = pattern(r"(\d{6})\d{9}(\d?)", Check::Luhn);
        let captures = group.captures(b"1234567 4111111111111111", &mut Clock::endless()).unwrap().unwrap();
        assert_eq!(captures.get_group(1).map(|group| group.range()), Some(8..14));
    }

    /// By trying everything.
    fn first_checked(expression: &str, check: Check, text: &[u8]) -> Option<(usize, usize)> {
        let plain = Regex::new(expression).unwrap();
        let all =
            (0..text.len()).flat_map(|start| (start + 1..=text.len()).rev().map(move |end| (start, end)));
        all.into_iter().find(|&(start, end)| {
            let ending = format!(r"(?s-u:\A.{{{start}}})(?:{expression})(?s-u:.{{{}}}\z)", text.len() - end);
            plain.is_match(&text[start..end])
                && check.holds(&text[start..end])
                && Regex::builder()
                    .syntax(regex_automata::util::syntax::Config::new().utf8(false))
                    .build(&ending)
                    .unwrap()
                    .is_match(text)
        })
    }

    proptest! {
        #[test]
        fn a_match_that_passes_its_check_is_found(
            text in prop::collection::vec(prop::sample::select(&b"0123456789 -x"[..]), 0..40),
            expression in prop::sample::select(&[r"\b\d{4,7}\b", r"\d{4}|\d{6}", r"(?:\d[ -]?){3,9}\d", r"[0-9x]{5,}?"][..]),
        ) {
            let found = find(&pattern(expression, Check::Luhn), &text, 0);
            prop_assert_eq!(found, first_checked(expression, Check::Luhn, &text));
        }

        #[test]
        fn what_passes_its_check_is_seen_from_afar(
            text in prop::collection::vec(prop::sample::select(&b"0123456789 -x"[..]), 0..60),
            expression in prop::sample::select(&[
                r"\b\d{7,9}\b",
                r"(?:^|[^0-9])(?<secret>\d{8}|[1-4]\d{9})(?:$|[^0-9])",
                r"(?:\d[ -]?){6,9}\d",
                r"x\d{3}(?<secret>\d{6,8}?)",
            ][..]),
            around in any::<[Vec<u8>; 2]>(),
        ) {
            let searched = pattern(expression, Check::Luhn);
            let [before, after] = around;
            let is_seen = searched.may_match_within(&[&before, &text[..], &after].concat());
            prop_assert!(is_seen || find(&searched, &text, 0).is_none());
        }

        #[test]
        fn what_matches_may_match(
            expression in prop::sample::select(SEARCHED),
            before in any::<Vec<u8>>(),
            (filler, seed) in (any::<Vec<u8>>(), any::<u8>()),
            after in any::<Vec<u8>>(),
        ) {
            let searched = pattern(expression, Check::None);
            let sample = SAMPLES[usize::from(seed) % SAMPLES.len()].as_bytes();
            for text in [&filler[..], sample, &[sample, &filler].concat(), &[&filler, sample, &filler].concat()] {
                if searched.0.regex.is_match(text) {
                    prop_assert!(searched.may_match(&[&before, text, &after].concat()));
                    prop_assert!(searched.is_match(text));
                    let is_something = searched.0.regex.find_iter(text).any(|found| !found.is_empty());
                    prop_assert!(!is_something || searched.may_match_short(text));
                }
            }
        }
    }

    const SEARCHED: &[&str] = &[
        r"(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b",
        r"\b(?:\d[ -]?){12,18}\d\b",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*",
        r"(?i)bearer\s+[\w.~+/-]+=*",
        r"(?i)[?&](?:token|key)=[^&\s]*",
        r"\p{Greek}{3,}",
        r"(?i)straße",
        r"(?-u:[\x80-\xff]{2})",
        r"(?s).",
        r"",
        r"a*",
        r"(?:ab){3}|\d{7}x",
        r"^\d{6}$",
        r"(?m)^x{6,}$",
        r"[^0-9]{8}",
        r"\Bsecret\B",
    ];
    const SAMPLES: &[&str] = &[
        "ann@example.com",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "10.0.0.1",
        "eyJhb.eyJzd.sig",
        "Authorization: Bearer abc.def",
        "/p?token=1&x",
        "\u{3b1}\u{3b2}\u{3b3}",
        "STRASSE STRA\u{1e9e}E stra\u{df}e",
        "\u{e9}",
        "ababab",
        "1234567x",
        "123456",
        "a\nxxxxxx\nb",
        "no digits",
        "asecrets",
    ];
}
