//! Looking into every text of a batch.

use super::{
    pattern::Pattern,
    turn::Meter,
    value::{Any, DEPTH_MAX, any, plain_bytes, too_deep},
    words::{Action, EditError, Level, Places, Redaction, Selection},
};
use crate::{
    schema::{Field, Kind, Message},
    wire::{Fields, WIRE_LEN, put_bytes, put_varint, varint_of},
};
use std::ops::Range;

/// What became of a text, a value or a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redacted {
    Kept,
    Changed(Vec<u8>),
    /// It goes, and with it the attribute that holds it.
    Removed,
}

/// A text in which matches were replaced.
#[derive(Default)]
struct Text {
    text: Vec<u8>,
    /// What actions wrote: it is nobody's match any more, whatever it looks like. In order, apart.
    written: Vec<Range<usize>>,
}

impl Text {
    /// Adds a part of another, of which so much was written.
    fn copy(&mut self, (text, written): (&[u8], &[Range<usize>]), part: Range<usize>) {
        let first = written.partition_point(|written| written.end <= part.start);
        for written in written[first..].iter().take_while(|written| written.start < part.end) {
            let range = written.start.max(part.start)..written.end.min(part.end);
            let end = self.text.len() + range.end - part.start;
            self.mark(end - range.len()..end);
        }
        self.text.extend_from_slice(&text[part]);
    }

    /// Adds what an action writes.
    fn write(&mut self, part: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(part);
        self.mark(start..self.text.len());
    }

    fn mark(&mut self, range: Range<usize>) {
        match self.written.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.written.push(range),
        }
    }
}

/// Puts what is to become of matches in a text into effect: each redaction on what those before it left,
/// and all of them again until nothing matches, for what was taken out may have stood between the parts
/// of a match. What they wrote is not looked into, unless a match reaches beyond it. `is_live`: of each
/// redaction, whether it may match in the text as it is; none is for all of them.
pub(super) fn redact_text(
    redactions: &[Redaction],
    is_live: &[bool],
    text: &[u8],
    counts: &mut [u64],
    meter: &mut Meter,
) -> Result<Redacted, EditError> {
    let mut redacted: Option<Text> = None;
    let mut again = true;
    while again {
        again = false;
        for (place, (redaction, count)) in redactions.iter().zip(&mut *counts).enumerate() {
            if redacted.is_none() && is_live.get(place) == Some(&false) {
                continue;
            }
            let before: (&[u8], &[_]) = match &redacted {
                Some(redacted) => (&redacted.text, &redacted.written),
                None => (text, &[]),
            };
            meter.clock.work(before.0.len())?;
            if !redaction.pattern.may_match(before.0) {
                continue;
            }
            let Some((found, after)) = replace(redaction, before, meter)? else { continue };
            *count += found;
            if matches!(redaction.action, Action::Remove) {
                return Ok(Redacted::Removed);
            }
            again = true;
            redacted = Some(after);
        }
    }
    Ok(match redacted {
        Some(redacted) if redacted.text != text => Redacted::Changed(as_valid(redacted.text, text)),
        _ => Redacted::Kept,
    })
}

/// A pattern may match a part of a character; but what was UTF-8 stays UTF-8, or its receiver refuses the
/// whole batch.
fn as_valid(redacted: Vec<u8>, before: &[u8]) -> Vec<u8> {
    match String::from_utf8(redacted) {
        Ok(text) => text.into_bytes(),
        Err(error) if std::str::from_utf8(before).is_ok() => {
            String::from_utf8_lossy(error.as_bytes()).into_owned().into_bytes()
        }
        Err(error) => error.into_bytes(),
    }
}

/// Replaces the matches of one redaction, and says how many there were; `None` if none.
fn replace(
    redaction: &Redaction,
    before: (&[u8], &[Range<usize>]),
    meter: &mut Meter,
) -> Result<Option<(u64, Text)>, EditError> {
    let (text, written) = before;
    let is_written = |start, end| {
        let first = written.partition_point(|written: &Range<usize>| written.end < end);
        written.get(first).is_some_and(|written| written.start <= start)
    };
    let mut after = Text::default();
    let (mut found, mut copied, mut from) = (0, 0, 0);
    while from < text.len()
        && let Some((start, end)) = redaction.pattern.find_at(text, from, &mut meter.clock)?
    {
        // Finding one may take a look at all that is left, whose square is more than anybody has time for.
        meter.clock.work(text.len() - from)?;
        // Nothing is no secret.
        from = if start == end { end + 1 } else { end };
        if start == end || is_written(start, end) {
            continue;
        }
        found += 1;
        let mut by = Vec::new();
        act(&redaction.action, &text[start..end], &mut by, meter)?;
        meter.make(start - copied)?;
        after.copy(before, copied..start);
        after.write(&by);
        copied = end;
    }
    if found == 0 {
        return Ok(None);
    }
    after.copy(before, copied..text.len());
    Ok(Some((found, after)))
}

/// Appends what an action makes of a match.
fn act(action: &Action, found: &[u8], out: &mut Vec<u8>, meter: &mut Meter) -> Result<(), EditError> {
    let before = out.len();
    match action {
        Action::Mask(mask) => {
            meter.make(mask.len())?;
            out.extend_from_slice(mask.as_bytes());
            return Ok(());
        }
        Action::Hash(key) => key.put(found, out),
        Action::Remove => {}
        Action::Truncate(characters) => {
            let kept = first_characters(found, *characters as usize);
            out.extend_from_slice(kept);
            if kept.len() < found.len() {
                out.extend_from_slice("…".as_bytes());
            }
        }
    }
    meter.make(out.len() - before)
}

/// The beginning of a text; what is no UTF-8 counts as one character a byte.
fn first_characters(text: &[u8], characters: usize) -> &[u8] {
    let is_first = |byte: &u8| byte & 0xc0 != 0x80;
    let end = text.iter().enumerate().filter(|(_, byte)| is_first(byte)).nth(characters);
    &text[..end.map_or(text.len(), |(place, _)| place)]
}

/// Does the same in all texts of a value.
pub(super) fn redact_value(
    redactions: &[Redaction],
    value: &[u8],
    counts: &mut Vec<u64>,
    meter: &mut Meter,
) -> Result<Redacted, EditError> {
    let places = Places { attribute_values: true, ..Places::default() };
    let selection = Selection { places, only_keys: None, except_keys: None };
    let mut redactor = Redactor::new(redactions, &selection, std::mem::take(counts), *meter);
    let redacted = redactor.value(value);
    (*counts, *meter) = (redactor.counts, redactor.meter);
    redacted
}

/// In front of an integer in an `AnyValue`: field 3, a varint.
const INTEGER_TAG: u8 = 0x18;

/// Goes through messages and puts redactions into effect in their texts.
pub(super) struct Redactor<'r> {
    redactions: &'r [Redaction],
    selection: &'r Selection,
    /// How many digits an integer has at least that may match; `None` where integers are not looked at.
    digits_min: Option<usize>,
    /// Of each redaction, whether it may match in the row that is looked into.
    is_live: Vec<bool>,
    /// How many matches each redaction had.
    pub counts: Vec<u64>,
    pub meter: Meter,
}

/// Where a message is.
#[derive(Clone, Copy, Default)]
struct Around {
    depth: usize,
    /// Whether values below are looked into: those of a body, or of attributes that were selected.
    values: bool,
    /// Whether keys have a say in that.
    in_attributes: bool,
    /// Whether a key said that nothing below is looked into.
    is_excepted: bool,
}

impl<'r> Redactor<'r> {
    pub(super) fn new(
        redactions: &'r [Redaction],
        selection: &'r Selection,
        counts: Vec<u64>,
        meter: Meter,
    ) -> Self {
        let digits_min = match selection.places.integers {
            true => redactions.iter().filter_map(|redaction| redaction.pattern.digits_min()).min(),
            false => None,
        };
        let is_live = vec![true; redactions.len()];
        Self { redactions, selection, digits_min, is_live, counts, meter }
    }

    /// Whether anything in a row may match; the redactions that may are then those that are looked for.
    pub(super) fn turn_to(&mut self, message: &'static Message, content: &[u8]) -> Result<bool, EditError> {
        self.meter.clock.work(content.len().saturating_mul(self.redactions.len()))?;
        let may_hold_integer =
            self.digits_min.is_some_and(|digits| self.may_hold_integer(message, content, digits));
        let mut any = false;
        for (redaction, is_live) in self.redactions.iter().zip(&mut self.is_live) {
            *is_live = redaction.pattern.may_match_within(content)
                || may_hold_integer && redaction.pattern.digits_min().is_some();
            any |= *is_live;
        }
        Ok(any)
    }

    /// Whether anything in a message of the row may match.
    #[inline]
    fn may_match(&mut self, message: &'static Message, content: &[u8]) -> Result<bool, EditError> {
        self.meter.clock.work(content.len().saturating_mul(self.redactions.len()))?;
        let may_match =
            |(redaction, is_live): (&Redaction, &bool)| *is_live && redaction.pattern.may_match(content);
        Ok(self.redactions.iter().zip(&self.is_live).any(may_match)
            || self.digits_min.is_some_and(|digits| self.may_hold_integer(message, content, digits)))
    }

    /// Whether an integer in this message may match.
    fn may_hold_integer(&self, message: &'static Message, content: &[u8], digits_min: usize) -> bool {
        // One of so many digits has so many bytes; all but the last have the highest bit set.
        let smallest = 10u64.saturating_pow(digits_min.saturating_sub(1) as u32);
        let more = match smallest {
            0..128 => return true,
            smallest => (63 - smallest.leading_zeros() as usize) / 7,
        };
        if message.is_any_value() {
            return self.value_may_hold_integer(content, more);
        }
        let mut expected = 0;
        Fields::of(content).any(|field| {
            let Ok(field) = field else { return true };
            let Some(place) = message.by_number(u64::from(field.number), expected) else { return false };
            expected = place;
            let Kind::Message(below) = message.fields[place].kind else { return false };
            let value = &content[field.content];
            match only_value(below, value) {
                // As nearly every attribute is: one key, one value.
                Some(value) => self.value_may_hold_integer(value, more),
                None => self.may_hold_integer_anywhere(value, more),
            }
        })
    }

    /// The same of a value, which mostly has one field.
    fn value_may_hold_integer(&self, value: &[u8], more: usize) -> bool {
        match value {
            [0x0a, length @ 0..0x80, text @ ..] if text.len() == usize::from(*length) => false,
            [INTEGER_TAG, varint @ ..] if varint_of(varint).is_some() => {
                varint.len() > more && self.may_be_integer(varint)
            }
            _ => self.may_hold_integer_anywhere(value, more),
        }
    }

    /// The same of bytes of any shape.
    fn may_hold_integer_anywhere(&self, bytes: &[u8], more: usize) -> bool {
        // The tag of an integer, as it is always written and as it may be.
        memchr::memchr2_iter(INTEGER_TAG, INTEGER_TAG | 0x80, bytes).any(|place| {
            let value = &bytes[place + 1..];
            if bytes[place] != INTEGER_TAG {
                return value.first().is_some_and(|byte| byte & 0x7f == 0);
            }
            value.get(more - 1).is_some_and(|byte| *byte >= 0x80) && self.may_be_integer(value)
        })
    }

    /// Whether the integer that these bytes begin with may match.
    fn may_be_integer(&self, varint: &[u8]) -> bool {
        let mut value = 0;
        for (place, byte) in varint.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if *byte < 0x80 {
                break;
            }
        }
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value as i64).as_bytes();
        self.redactions.iter().any(|redaction| redaction.pattern.may_match_short(digits))
    }

    /// Looks into the fields of one message, but for those under some numbers. `None`: nothing changed.
    pub(super) fn message(
        &mut self,
        message: &'static Message,
        content: &[u8],
        except: &[u32],
    ) -> Result<Option<Vec<u8>>, EditError> {
        match self.fields(message, content, except, Around::default())? {
            Redacted::Kept => Ok(None),
            Redacted::Changed(content) => Ok(Some(content)),
            Redacted::Removed => Ok(Some(Vec::new())),
        }
    }

    /// Looks into a value, whatever the selection.
    fn value(&mut self, content: &[u8]) -> Result<Redacted, EditError> {
        if !self.may_match(Message::any_value(), content)? {
            return Ok(Redacted::Kept);
        }
        self.fields(Message::any_value(), content, &[], Around { values: true, ..Around::default() })
    }

    fn fields(
        &mut self,
        message: &'static Message,
        content: &[u8],
        except: &[u32],
        mut around: Around,
    ) -> Result<Redacted, EditError> {
        if around.depth > DEPTH_MAX {
            return Err(too_deep().into());
        }
        if message.is_key_value() {
            around = self.below_key(content, around)?;
        }
        let mut changed: Option<Vec<u8>> = None;
        let (mut copied, mut expected) = (0, 0);
        for field in Fields::of(content) {
            let field = field?;
            let number = u64::from(field.number);
            if except.contains(&field.number) {
                continue;
            }
            let Some(place) = message.by_number(number, expected) else { continue };
            expected = place;
            let known = &message.fields[place];
            let value = &content[field.content.clone()];
            let done = match (known.kind, field.wire_type) {
                // Where there is one match in a record, most of the record has none.
                (Kind::Message(below), WIRE_LEN) if around.depth > 1 || self.may_match(below, value)? => {
                    self.fields(below, value, &[], self.below(message, known, around))?
                }
                (Kind::String | Kind::Bytes, WIRE_LEN) if self.is_selected(message, known, around) => {
                    self.text(value)?
                }
                (Kind::Int64, 0) if message.is_any_value() && around.values => {
                    match self.integer(value)? {
                        Redacted::Changed(text) => {
                            let out = changed.get_or_insert_default();
                            out.extend_from_slice(&content[copied..field.whole.start]);
                            put_bytes(out, 1, &text); // an integer no more
                            copied = field.whole.end;
                            continue;
                        }
                        done => done,
                    }
                }
                _ => Redacted::Kept,
            };
            match done {
                Redacted::Kept => continue,
                // What holds the value of an attribute goes with it.
                Redacted::Removed if message.is_key_value() || self.is_value(message) => {
                    return Ok(Redacted::Removed);
                }
                Redacted::Removed => {
                    let out = changed.get_or_insert_default();
                    out.extend_from_slice(&content[copied..field.whole.start]);
                }
                Redacted::Changed(value) => {
                    let out = changed.get_or_insert_default();
                    out.extend_from_slice(&content[copied..field.whole.start]);
                    put_varint(out, number << 3 | WIRE_LEN);
                    put_varint(out, value.len() as u64);
                    out.extend_from_slice(&value);
                }
            }
            copied = field.whole.end;
        }
        Ok(match changed {
            None => Redacted::Kept,
            Some(mut out) => {
                out.extend_from_slice(&content[copied..]);
                Redacted::Changed(out)
            }
        })
    }

    /// Whether a message is a value, or a list of values.
    fn is_value(&self, message: &'static Message) -> bool {
        message.is_any_value() || message.is_array_value()
    }

    /// What holds below a field of a message.
    fn below(&self, message: &'static Message, field: &Field, around: Around) -> Around {
        let depth = around.depth + 1;
        let Kind::Message(below) = field.kind else { return Around { depth, ..around } };
        if below.is_key_value() && !around.in_attributes && !message.is_key_value_list() {
            // The attributes of something.
            let values = self.selection.places.attribute_values && self.selection.only_keys.is_none();
            return Around { depth, values, in_attributes: true, is_excepted: false };
        }
        if below.is_any_value() && !around.in_attributes && around.depth == 0 {
            return Around { depth, values: self.selection.places.bodies, ..around };
        }
        Around { depth, ..around }
    }

    /// What holds below this key.
    fn below_key(&self, key_value: &[u8], around: Around) -> Result<Around, EditError> {
        let Selection { only_keys, except_keys, places } = self.selection;
        if only_keys.is_none() && except_keys.is_none() {
            return Ok(around);
        }
        let key = last(key_value, 1)?.unwrap_or_default();
        let only = around.in_attributes
            && places.attribute_values
            && only_keys.as_ref().is_some_and(|keys| keys.is_match(key));
        let is_excepted = around.is_excepted || except_keys.as_ref().is_some_and(|keys| keys.is_match(key));
        Ok(Around { values: (around.values || only) && !is_excepted, is_excepted, ..around })
    }

    fn is_selected(&self, message: &'static Message, field: &Field, around: Around) -> bool {
        let places = &self.selection.places;
        if message.is_any_value() {
            return around.values;
        }
        match field.name {
            "key" | "idKeys" | "descriptionKeys" => places.attribute_keys,
            "name" | "eventName" => places.names,
            "version" => places.versions,
            _ => places.texts,
        }
    }

    fn text(&mut self, text: &[u8]) -> Result<Redacted, EditError> {
        redact_text(self.redactions, &self.is_live, text, &mut self.counts, &mut self.meter)
    }

    fn integer(&mut self, varint: &[u8]) -> Result<Redacted, EditError> {
        match varint_of(varint) {
            Some(value) if self.selection.places.integers => self.text((value as i64).to_string().as_bytes()),
            _ => Ok(Redacted::Kept),
        }
    }
}

/// The content of the only value that an attribute has, or of a value itself, where it is written as usual.
fn only_value<'b>(message: &'static Message, content: &'b [u8]) -> Option<&'b [u8]> {
    if message.is_any_value() {
        return Some(content);
    }
    if !message.is_key_value() {
        return None;
    }
    let [0x0a, key @ 0..0x80, rest @ ..] = content else { return None };
    match rest.get(usize::from(*key)..)? {
        [0x12, length @ 0..0x80, value @ ..] if value.len() == usize::from(*length) => Some(value),
        [0x12, low, high @ 0..0x80, value @ ..]
            if *low >= 0x80 && value.len() == usize::from(low & 0x7f) | usize::from(*high) << 7 =>
        {
            Some(value)
        }
        _ => None,
    }
}

/// The last bytes that a message has under a number.
fn last(content: &[u8], number: u32) -> Result<Option<&[u8]>, EditError> {
    let mut found = None;
    for field in Fields::of(content) {
        let field = field?;
        if field.number == number && field.wire_type == WIRE_LEN {
            found = Some(&content[field.content]);
        }
    }
    Ok(found)
}

/// Puts an action into effect on whole values, wherever their key matches.
pub(super) struct KeyRedactor<'r> {
    pub keys: &'r Pattern,
    pub action: &'r Action,
    /// How many values there were.
    pub count: u64,
    pub meter: Meter,
}

impl KeyRedactor<'_> {
    /// Looks into the fields of one message, but for those under some numbers. `None`: nothing changed.
    pub(super) fn message(
        &mut self,
        message: &'static Message,
        content: &[u8],
        except: &[u32],
        depth: usize,
    ) -> Result<Option<Vec<u8>>, EditError> {
        if depth > DEPTH_MAX {
            return Err(too_deep().into());
        }
        let mut changed: Option<Vec<u8>> = None;
        let (mut copied, mut expected) = (0, 0);
        for field in Fields::of(content) {
            let field = field?;
            if field.wire_type != WIRE_LEN || except.contains(&field.number) {
                continue;
            }
            let Some(place) = message.by_number(u64::from(field.number), expected) else { continue };
            expected = place;
            let Kind::Message(below) = message.fields[place].kind else { continue };
            let value = &content[field.content.clone()];
            let is_meant = below.is_key_value()
                && self.keys.is_match(last(value, 1)?.unwrap_or_default())
                && last(value, 2)?.is_some();
            let after = match is_meant {
                true => self.key_value(value)?,
                false => match self.message(below, value, &[], depth + 1)? {
                    Some(after) => Some(after),
                    None => continue,
                },
            };
            let out = changed.get_or_insert_default();
            out.extend_from_slice(&content[copied..field.whole.start]);
            if let Some(after) = after {
                put_bytes(out, u64::from(field.number), &after);
            }
            copied = field.whole.end;
        }
        Ok(changed.map(|mut out| {
            out.extend_from_slice(&content[copied..]);
            out
        }))
    }

    /// A key and its value. `None`: both go.
    fn key_value(&mut self, content: &[u8]) -> Result<Option<Vec<u8>>, EditError> {
        self.count += 1;
        if matches!(self.action, Action::Remove) {
            return Ok(None);
        }
        let mut out = Vec::new();
        for field in Fields::of(content) {
            let field = field?;
            if field.number != 2 {
                out.extend_from_slice(&content[field.whole]);
            }
        }
        let value = last(content, 2)?.unwrap_or_default();
        // What is cut off somewhere in bytes may be no text.
        let number = match (self.action, any(value)?) {
            (Action::Truncate(_), Any::Bytes(_)) => 7,
            _ => 1,
        };
        let mut after = Vec::new();
        act(self.action, &plain_bytes(value)?, &mut after, &mut self.meter)?;
        let mut any = Vec::new();
        put_bytes(&mut any, number, &after);
        put_bytes(&mut out, 2, &any);
        Ok(Some(out))
    }
}

/// Whether everything in a request can be read, down to the last value.
pub(super) fn check(message: &'static Message, content: &[u8], depth: usize) -> Result<(), EditError> {
    // Values are that deep in their rows, and rows in a request so much deeper.
    const ROWS: usize = Level::ALL.len();
    if depth > DEPTH_MAX + ROWS {
        return Err(too_deep().into());
    }
    let mut expected = 0;
    for field in Fields::of(content) {
        let field = field?;
        let Some(place) = message.by_number(u64::from(field.number), expected) else { continue };
        expected = place;
        if let (Kind::Message(below), WIRE_LEN) = (message.fields[place].kind, field.wire_type) {
            check(below, &content[field.content], depth + 1)?;
        }
    }
    Ok(())
}

/// Removes the fields that a message does not know, and counts them. `None`: there are none.
pub(super) fn without_unknown_fields(
    message: &'static Message,
    content: &[u8],
    except: &[u32],
    count: &mut u64,
    depth: usize,
) -> Result<Option<Vec<u8>>, EditError> {
    if depth > DEPTH_MAX {
        return Err(too_deep().into());
    }
    let mut changed: Option<Vec<u8>> = None;
    let (mut copied, mut expected) = (0, 0);
    for field in Fields::of(content) {
        let field = field?;
        if except.contains(&field.number) {
            continue;
        }
        let known = message.by_number(u64::from(field.number), expected);
        let (value, number) = match known.map(|place| (place, message.fields[place].kind)) {
            Some((place, Kind::Message(below))) if field.wire_type == WIRE_LEN => {
                expected = place;
                let value = &content[field.content.clone()];
                match without_unknown_fields(below, value, &[], count, depth + 1)? {
                    None => continue,
                    Some(value) => (value, field.number),
                }
            }
            Some((place, _)) => {
                expected = place;
                continue;
            }
            None => {
                *count += 1;
                let out = changed.get_or_insert_default();
                out.extend_from_slice(&content[copied..field.whole.start]);
                copied = field.whole.end;
                continue;
            }
        };
        let out = changed.get_or_insert_default();
        out.extend_from_slice(&content[copied..field.whole.start]);
        put_bytes(out, u64::from(number), &value);
        copied = field.whole.end;
    }
    Ok(changed.map(|mut out| {
        out.extend_from_slice(&content[copied..]);
        out
    }))
}
