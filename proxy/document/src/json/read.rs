//! OTLP/JSON to protobuf, in one pass: what is read is written, no tree between.
//!
//! The schema's table says what is to be expected; what is there goes straight into one buffer. The path
//! in an error's text is put together while the error returns, so it costs nothing before.

use super::{
    ANY_VALUE_DEPTH_MAX, NoRoom, Step, Untranslated,
    attribute::Attribute,
    lexer::{Lexer, NoJson, Token},
    located,
    number::{double_of, integer_of, put_hex},
    object_text,
    output::{Full, Output},
    request, too_deep,
};
use crate::{
    Encoding, Signal,
    schema::{Field, Kind, Label, Message, WireType},
    wire::{put_varint, varint_bytes},
};
use base64::{Engine, engine::general_purpose};
use bytes::Bytes;
use std::{borrow::Cow, fmt};

/// Translates a batch from OTLP/JSON to protobuf. `hold` is asked before more than that many bytes of
/// protobuf are kept. (Beside them, the longest text that has escapes in it is.)
///
/// Takes what senders really write: see [`Leniency`] for what goes beyond the specification. Whatever
/// would lose data is an error: another type, an integer out of range, an id of another length, a
/// field or a `oneof` that is set twice. `null` is the same as not to be there.
///
/// # Errors
/// More bytes than `limit`, what `hold` says, or what is wrong: the path to it, and what was expected
/// there; line and column, where it is not even JSON.
///
/// Source: the specification, "JSON Protobuf Encoding", and
/// <https://protobuf.dev/programming-guides/json/>, which it refers to.
pub fn to_protobuf(
    signal: Signal,
    json: &[u8],
    limit: u64,
    mut hold: impl FnMut(u64) -> Result<(), NoRoom>,
) -> Result<(Bytes, Leniencies), Untranslated> {
    let request = request(signal, Encoding::Json)?;
    let text = object_text(json).map_err(Untranslated::Malformed)?;
    // Names and punctuation go, lengths come: records of text shrink to two thirds.
    let output = Output::begin(json.len() / 4 * 3 + 64, limit, &mut hold)?;
    let mut reader = Reader {
        json: Lexer::new(text),
        output,
        leniencies: Leniencies::default(),
        values_open: 0,
        depth: 0,
        path: Vec::new(),
    };
    match reader.request(request) {
        Ok(()) => {
            reader.leniencies.counts[Leniency::LoneSurrogate as usize] = reader.json.lone_surrogates;
            Ok((reader.output.end()?, reader.leniencies))
        }
        Err(stop) => Err(reader.untranslated(stop)),
    }
}

/// Something that the specification does not allow a sender to write, or that it makes a receiver drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leniency {
    /// An enum value by its name: "the enum name strings MUST NOT be used".
    EnumName,
    /// An enum value as a number in a string.
    EnumString,
    /// A field by the name of the `.proto` file: "original field names are not valid to use as keys".
    SnakeCase,
    /// A field that is not known, with all that is in it: "receivers MUST ignore" it.
    UnknownField,
    /// Half of a character, as a text has that JavaScript has cut: U+FFFD stands in its place.
    LoneSurrogate,
}

impl Leniency {
    /// Each of them.
    pub const ALL: [Leniency; 5] = [
        Leniency::EnumName,
        Leniency::EnumString,
        Leniency::SnakeCase,
        Leniency::UnknownField,
        Leniency::LoneSurrogate,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Leniency::EnumName => "enum_name",
            Leniency::EnumString => "enum_string",
            Leniency::SnakeCase => "snake_case",
            Leniency::UnknownField => "unknown_field",
            Leniency::LoneSurrogate => "lone_surrogate",
        }
    }
}

/// How often each [`Leniency`] was needed for a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leniencies {
    counts: [u64; Leniency::ALL.len()],
}

impl Leniencies {
    /// How often this one.
    pub fn count(&self, leniency: Leniency) -> u64 {
        self.counts[leniency as usize]
    }

    /// Those that were needed.
    pub fn iter(&self) -> impl Iterator<Item = (Leniency, u64)> {
        let all = Leniency::ALL.into_iter().map(|leniency| (leniency, self.count(leniency)));
        all.filter(|(_, count)| *count > 0)
    }

    fn add(&mut self, leniency: Leniency) {
        self.counts[leniency as usize] += 1;
    }
}

struct Reader<'j, 'h> {
    json: Lexer<'j>,
    output: Output<'h>,
    leniencies: Leniencies,
    /// How many `AnyValue` there are around this place.
    values_open: usize,
    /// How many messages there are around it.
    depth: usize,
    /// Where it went wrong, innermost first.
    path: Vec<Step>,
}

enum Stop {
    Full,
    NoJson(&'static str),
    Wrong(String),
}

impl From<Full> for Stop {
    fn from(Full: Full) -> Self {
        Stop::Full
    }
}

impl From<NoJson> for Stop {
    fn from(NoJson(expected): NoJson) -> Self {
        Stop::NoJson(expected)
    }
}

/// Where a value stands: in a field, or in the list that a field is.
#[derive(Clone, Copy)]
struct Slot {
    field: &'static Field,
    in_list: bool,
}

/// A value that is no list and no object.
#[derive(Clone, Copy)]
enum Scalar<'t> {
    Bool(bool),
    Number(&'t str),
    Text(&'t str),
}

impl Reader<'_, '_> {
    #[cold]
    fn untranslated(self, stop: Stop) -> Untranslated {
        let what = match stop {
            Stop::Full => match self.output.refusal() {
                Some(refusal) => return refusal,
                None => "no room".to_owned(),
            },
            Stop::NoJson(expected) => {
                let (line, column) = self.json.place();
                format!("not JSON: expected {expected} at line {line} column {column}")
            }
            Stop::Wrong(what) => what,
        };
        located(&self.path, &what)
    }

    /// Remembers the way that an error comes from.
    #[cold]
    fn at(&mut self, stop: Stop, step: Step) -> Stop {
        self.path.push(step);
        stop
    }

    /// The whole batch.
    fn request(&mut self, message: &'static Message) -> Result<(), Stop> {
        match self.json.token()? {
            Token::Object => self.fields(message)?,
            _ => return Err(Stop::NoJson("an object")),
        }
        Ok(self.json.end()?)
    }

    /// Reads the fields of one message and writes them, without what stands around them.
    fn fields(&mut self, message: &'static Message) -> Result<(), Stop> {
        let mut seen = 0u32;
        let mut chosen: Option<&Field> = None;
        let mut expected = 0;
        let mut is_first = true;
        while self.json.has_key(is_first)? {
            is_first = false;
            // Fields mostly come in order.
            let found = match message.fields.get(expected) {
                Some(field) if self.json.pass_key(field.name) => Some((expected, false)),
                _ => message.by_name(self.json.key()?),
            };
            let Some((place, is_snake_case)) = found else {
                self.leniencies.add(Leniency::UnknownField);
                self.json.skip()?;
                continue;
            };
            let field = &message.fields[place];
            if is_snake_case {
                self.leniencies.add(Leniency::SnakeCase);
            }
            let is_there =
                self.value(Slot { field, in_list: false })
                    .and_then(|is_there| {
                        if is_there { once(field, seen & 1 << place != 0, &mut chosen) } else { Ok(false) }
                    })
                    .map_err(|stop| self.at(stop, Step::Field(field.name)))?;
            seen |= u32::from(is_there) << place;
            expected = place + 1;
        }
        Ok(())
    }

    /// Reads a value and writes it; whether there was one, not `null`.
    fn value(&mut self, slot: Slot) -> Result<bool, Stop> {
        match self.json.token()? {
            Token::String => self.text(slot)?,
            Token::Object => self.message(slot)?,
            Token::List => self.list(slot)?,
            Token::Number => {
                let number = self.json.number()?;
                self.scalar(slot, Scalar::Number(number))?;
            }
            Token::True => self.scalar(slot, Scalar::Bool(true))?,
            Token::False => self.scalar(slot, Scalar::Bool(false))?,
            Token::Null if slot.in_list => return Err(slot.mismatch("null")),
            Token::Null => return Ok(false),
        }
        Ok(true)
    }

    fn message(&mut self, slot: Slot) -> Result<(), Stop> {
        let (Kind::Message(message), false) = (slot.field.kind, slot.wants_list()) else {
            return Err(slot.mismatch("an object"));
        };
        if message.is_key_value() && slot.in_list && self.attribute(slot.field)? {
            return Ok(());
        }
        if message.is_any_value() {
            self.values_open += 1;
            if self.values_open > ANY_VALUE_DEPTH_MAX {
                return Err(Stop::Wrong(too_deep()));
            }
        }
        let begun = self.begin(slot.field)?;
        self.depth += 1;
        self.fields(message)?;
        self.depth -= 1;
        self.end(begun)?;
        if message.is_any_value() {
            self.values_open -= 1;
        }
        Ok(())
    }

    /// Reads and writes an attribute, if it is of the usual form.
    #[inline]
    fn attribute(&mut self, field: &Field) -> Result<bool, Stop> {
        if self.values_open == ANY_VALUE_DEPTH_MAX {
            return Ok(false);
        }
        let Some(attribute) = Attribute::read(&mut self.json) else { return Ok(false) };
        let length = attribute.length();
        self.output.room(length.saturating_add(TAG_BYTES_MAX + VARINT_BYTES_MAX))?;
        put_head(&mut self.output.bytes, field, length);
        attribute.write(&mut self.output.bytes);
        Ok(true)
    }

    fn list(&mut self, slot: Slot) -> Result<(), Stop> {
        if !slot.wants_list() {
            return Err(slot.mismatch("a list"));
        }
        let field = slot.field;
        let before = self.output.bytes.len();
        let start = if field.is_packed() { Some(self.begin(field)?) } else { None };
        let mut length = 0;
        while self.json.has_element(length == 0)? {
            let element = self.value(Slot { field, in_list: true });
            element.map_err(|stop| self.at(stop, Step::Element(length)))?;
            length += 1;
        }
        match start {
            Some(_) if length == 0 => self.output.bytes.truncate(before),
            Some(start) => self.end(start)?,
            None => {}
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, slot: Slot) -> Result<(), Stop> {
        let text = self.json.string()?;
        if matches!(slot.field.kind, Kind::String) && !slot.wants_list() {
            put_bytes(&mut self.output, slot, text.len(), |bytes| bytes.extend_from_slice(text.as_bytes()))?;
            return Ok(());
        }
        scalar(&mut self.output, &mut self.leniencies, slot, Scalar::Text(text))
    }

    fn scalar(&mut self, slot: Slot, value: Scalar<'_>) -> Result<(), Stop> {
        scalar(&mut self.output, &mut self.leniencies, slot, value)
    }

    /// Begins a message or a packed list, with room for a length that is as long as it probably will be.
    #[inline]
    fn begin(&mut self, field: &Field) -> Result<Begun, Full> {
        self.output.room(TAG_BYTES_MAX + VARINT_BYTES_MAX)?;
        put_tag(&mut self.output.bytes, field, WireType::Len);
        let width = match (self.depth, self.values_open) {
            // Mostly there is one resource with one scope, and all that is left is in them. So it is where
            // values are deep inside each other, and each of them would move all that is in it.
            (0 | 1, _) | (_, 3..) => varint_bytes(self.json.left() as u64 / 8 * 5),
            (2, _) => 2, // records have some hundred bytes
            _ => 1,
        };
        self.output.bytes.extend_from_slice(&[0; VARINT_BYTES_MAX][..width]);
        Ok(Begun { start: self.output.bytes.len(), width })
    }

    #[inline]
    fn end(&mut self, begun: Begun) -> Result<(), Full> {
        let Begun { start, width } = begun;
        let length = self.output.bytes.len() - start;
        let actual = varint_bytes(length as u64);
        if actual != width {
            self.shift(start, length, actual as isize - width as isize)?;
        }
        let mut rest = length;
        let bytes = &mut self.output.bytes[start - width..][..actual];
        for byte in &mut *bytes {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        bytes[actual - 1] &= 0x7f;
        Ok(())
    }

    /// Moves what was written, where its length has not the width that was expected.
    #[cold]
    fn shift(&mut self, start: usize, length: usize, by: isize) -> Result<(), Full> {
        self.output.room(VARINT_BYTES_MAX)?;
        let bytes = &mut self.output.bytes;
        let end = start.saturating_add_signed(by) + length;
        bytes.resize(bytes.len().max(end), 0);
        bytes.copy_within(start..start + length, start.saturating_add_signed(by));
        bytes.truncate(end);
        Ok(())
    }
}

/// Where something begins whose length is not known yet.
struct Begun {
    /// Behind its length.
    start: usize,
    /// Bytes that are there for the length.
    width: usize,
}

/// A field that is there must be the first of its name, and of its `oneof`.
#[inline]
fn once(field: &'static Field, is_second: bool, chosen: &mut Option<&'static Field>) -> Result<bool, Stop> {
    if is_second {
        return Err(Stop::Wrong("set twice".to_owned()));
    }
    if field.label == Label::OneOf
        && let Some(other) = chosen.replace(field)
    {
        return Err(Stop::Wrong(format!("set although {} is set too: only one may be", other.name)));
    }
    Ok(true)
}

/// Field numbers end at 16.
const TAG_BYTES_MAX: usize = 2;
const VARINT_BYTES_MAX: usize = 10;

#[inline]
fn put_tag(bytes: &mut Vec<u8>, field: &Field, wire_type: WireType) {
    put_varint(bytes, u64::from(field.number << 3 | wire_type as u32));
}

/// What stands before bytes.
#[inline]
fn put_head(bytes: &mut Vec<u8>, field: &Field, length: usize) {
    if field.number < 16 && length < 0x80 {
        bytes.extend_from_slice(&[(field.number << 3) as u8 | WireType::Len as u8, length as u8]);
    } else {
        put_tag(bytes, field, WireType::Len);
        put_varint(bytes, length as u64);
    }
}

/// Writes a value into a field that can hold it.
fn scalar(
    output: &mut Output<'_>,
    leniencies: &mut Leniencies,
    slot: Slot,
    value: Scalar<'_>,
) -> Result<(), Stop> {
    let mismatch = || slot.mismatch(value);
    if slot.wants_list() {
        return Err(mismatch());
    }
    let bits = match (slot.field.kind, value) {
        (Kind::Bool, Scalar::Bool(value)) => u64::from(value),
        (Kind::Double, Scalar::Number(text) | Scalar::Text(text)) => {
            double_of(text).ok_or_else(mismatch)?.to_bits()
        }
        (Kind::Bytes, Scalar::Text(text)) => return put_base64(output, slot, text),
        (Kind::Id(length), Scalar::Text(text)) => return put_id(output, slot, length, text),
        (Kind::Enum(names), Scalar::Text(text)) => match names.iter().position(|name| *name == text) {
            Some(number) => {
                leniencies.add(Leniency::EnumName);
                number as u64
            }
            None => {
                leniencies.add(Leniency::EnumString);
                integer_bits(slot.field.kind, text).ok_or_else(mismatch)?
            }
        },
        (kind, Scalar::Number(text) | Scalar::Text(text)) => integer_bits(kind, text).ok_or_else(mismatch)?,
        (_, Scalar::Bool(_)) => return Err(mismatch()),
    };
    Ok(put_number(output, slot, bits)?)
}

/// The integer that a text says as a field of this kind holds it, if it can.
fn integer_bits(kind: Kind, text: &str) -> Option<u64> {
    let integer = integer_of(text)?;
    match kind {
        Kind::Int32 | Kind::Enum(_) => i32::try_from(integer).map(|integer| i64::from(integer) as u64).ok(),
        Kind::Sint32 => i32::try_from(integer).map(|n| u64::from((n << 1 ^ n >> 31) as u32)).ok(),
        Kind::Uint32 | Kind::Fixed32 => u32::try_from(integer).map(u64::from).ok(),
        Kind::Int64 | Kind::Sfixed64 => i64::try_from(integer).map(|integer| integer as u64).ok(),
        Kind::Uint64 | Kind::Fixed64 => u64::try_from(integer).ok(),
        Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Bool | Kind::Double => None,
    }
}

#[inline]
fn put_number(output: &mut Output<'_>, slot: Slot, bits: u64) -> Result<(), Full> {
    if bits == 0 && !slot.keeps_default() {
        return Ok(());
    }
    output.room(TAG_BYTES_MAX + VARINT_BYTES_MAX)?;
    let wire_type = slot.field.kind.wire_type();
    if !slot.in_list {
        put_tag(&mut output.bytes, slot.field, wire_type); // a list of numbers is packed: one tag for all
    }
    match wire_type {
        WireType::I64 => output.bytes.extend_from_slice(&bits.to_le_bytes()),
        WireType::I32 => output.bytes.extend_from_slice(&(bits as u32).to_le_bytes()),
        WireType::Varint | WireType::Len => put_varint(&mut output.bytes, bits),
    }
    Ok(())
}

/// Writes so many bytes with what stands before them.
#[inline]
fn put_bytes(
    output: &mut Output<'_>,
    slot: Slot,
    length: usize,
    put: impl FnOnce(&mut Vec<u8>),
) -> Result<(), Full> {
    if length > 0 || slot.keeps_default() {
        output.room(length.saturating_add(TAG_BYTES_MAX + VARINT_BYTES_MAX))?;
        put_head(&mut output.bytes, slot.field, length);
        put(&mut output.bytes);
    }
    Ok(())
}

fn put_id(output: &mut Output<'_>, slot: Slot, length: usize, text: &str) -> Result<(), Stop> {
    let mut is_id = text.is_empty() || text.len() == 2 * length;
    if is_id {
        put_bytes(output, slot, text.len() / 2, |bytes| is_id = put_hex(text, bytes))?;
    }
    if is_id { Ok(()) } else { Err(slot.mismatch(Scalar::Text(text))) }
}

/// Both alphabets are taken, with padding and without it.
fn put_base64(output: &mut Output<'_>, slot: Slot, text: &str) -> Result<(), Stop> {
    let alphabet = match text.contains(['-', '_']) {
        true => &general_purpose::URL_SAFE_PAD_INDIFFERENT,
        false => &general_purpose::STANDARD_PAD_INDIFFERENT,
    };
    let digits = text.trim_end_matches('=').len();
    let length = digits / 4 * 3 + digits % 4 * 3 / 4;
    let mut decoded = Ok(0);
    put_bytes(output, slot, length, |bytes| {
        let start = bytes.len();
        bytes.resize(start + length, 0);
        decoded = alphabet.decode_slice(text, &mut bytes[start..]);
    })?;
    if decoded == Ok(length) { Ok(()) } else { Err(slot.mismatch(Scalar::Text(text))) }
}

impl Slot {
    #[inline]
    fn wants_list(self) -> bool {
        self.field.label == Label::Repeated && !self.in_list
    }

    /// Whether a default value is written too.
    #[inline]
    fn keeps_default(self) -> bool {
        self.in_list || self.field.label != Label::Plain
    }

    /// The value is none that the field can hold.
    #[cold]
    fn mismatch(self, got: impl fmt::Display) -> Stop {
        let expected: Cow<'static, str> = match self.field.kind {
            _ if self.wants_list() => "a list".into(),
            Kind::Message(_) => "an object".into(),
            Kind::String => "a string".into(),
            Kind::Bytes => "base64".into(),
            Kind::Id(length) => format!("{} hex digits", 2 * length).into(),
            Kind::Bool => "true or false".into(),
            Kind::Double => "a number".into(),
            Kind::Int32 | Kind::Sint32 => "a 32-bit integer".into(),
            Kind::Uint32 | Kind::Fixed32 => "a 32-bit unsigned integer".into(),
            Kind::Int64 | Kind::Sfixed64 => "a 64-bit integer".into(),
            Kind::Uint64 | Kind::Fixed64 => "a 64-bit unsigned integer".into(),
            Kind::Enum(names) => format!("the number of an enum value, 0 to {}", names.len() - 1).into(),
        };
        Stop::Wrong(format!("expected {expected}, got {got}"))
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS_MAX: usize = 40;
        let cut = |text: &'_ str| match text.char_indices().nth(CHARACTERS_MAX) {
            Some((end, _)) => (end, "…"),
            None => (text.len(), ""),
        };
        match self {
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Number(text) => {
                let (end, more) = cut(text);
                write!(f, "{}{more}", &text[..end])
            }
            Scalar::Text(text) => {
                let (end, more) = cut(text);
                write!(f, "{:?}{more}", &text[..end]) // control characters are escaped
            }
        }
    }
}

#[cfg(test)]
mod tests;
