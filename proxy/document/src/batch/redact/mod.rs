//! Looking into every text of a batch.

mod keys;
mod text;

pub(super) use keys::KeyRedactor;
pub(super) use text::{Redacted, redact_text};

use super::{
    anew::Anew,
    turn::Meter,
    value::{DEPTH_MAX, too_deep},
    words::{EditError, Places, Redaction, Selection},
};
use crate::{
    schema::{Field, Kind, Message},
    wire::{Fields, WIRE_LEN, put_bytes, varint_of},
};

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

/// The number of a text in an `AnyValue`.
const STRING_VALUE: u32 = 1;
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
        message.fields_in(content).any(|field| {
            let Ok((field, known)) = field else { return true };
            let Some(Kind::Message(below)) = known.map(|known| known.kind) else { return false };
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
        let mut anew = Anew::of(content);
        for field in message.fields_in(content) {
            let (field, Some(known)) = field? else { continue };
            if except.contains(&field.number) {
                continue;
            }
            known.check(&field)?;
            let value = &content[field.content];
            // What was an integer is one no more.
            let (number, done) = match (known.kind, field.wire_type) {
                // Where there is one match in a record, most of the record has none.
                (Kind::Message(below), WIRE_LEN) if around.depth > 1 || self.may_match(below, value)? => {
                    (field.number, self.fields(below, value, &[], self.below(message, known, around))?)
                }
                (Kind::String | Kind::Bytes, WIRE_LEN) if self.is_selected(message, known, around) => {
                    (field.number, self.text(value)?)
                }
                (Kind::Int64, 0) if message.is_any_value() && around.values => {
                    (STRING_VALUE, self.integer(value)?)
                }
                _ => continue,
            };
            match done {
                Redacted::Kept => {}
                // What holds the value of an attribute goes with it.
                Redacted::Removed if message.is_key_value() || self.is_value(message) => {
                    return Ok(Redacted::Removed);
                }
                Redacted::Removed => drop(anew.instead_of(&field.whole)),
                Redacted::Changed(value) => {
                    put_bytes(anew.instead_of(&field.whole), u64::from(number), &value);
                }
            }
        }
        Ok(anew.written().map_or(Redacted::Kept, Redacted::Changed))
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
