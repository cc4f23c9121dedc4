//! Protobuf to OTLP/JSON, field by field from the bytes, no tree between.
//!
//! A message is walked once to see whether its fields come as JSON wants them, each once and the
//! elements of a list one after the other, as every encoder writes them. Then they are written as
//! they come. Protobuf also allows other orders and several values of one field: then the message is
//! walked once more for each field that is in it.

use super::{
    ANY_VALUE_DEPTH_MAX, NoRoom, Step, Untranslated, located,
    output::{Full, Output},
    request, too_deep,
};
use crate::{
    Chunks, Encoding, Signal,
    schema::{Field, Kind, Label, Message, WireType},
    wire::{Malformed, Reader, Value},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::borrow::Cow;

/// Translates a batch from protobuf to OTLP/JSON. `hold` is asked before more than that many bytes of
/// JSON are kept.
///
/// Fields that are not known are left out: JSON has no place for a field without a name. The last of
/// several values of a field wins, several parts of one message are merged, as protobuf wants it.
///
/// # Errors
/// More bytes than `limit`, what `hold` says, or what is wrong and where: broken framing, another wire
/// type, a string that is not UTF-8, values nested too deeply.
///
/// Source: the specification, "JSON Protobuf Encoding": names in lowerCamelCase, ids in hex, enum
/// values as numbers, 64-bit integers as strings.
pub fn to_json(
    signal: Signal,
    protobuf: &Chunks,
    limit: u64,
    mut hold: impl FnMut(u64) -> Result<(), NoRoom>,
) -> Result<Bytes, Untranslated> {
    let request = request(signal, Encoding::Protobuf)?;
    let protobuf = protobuf.to_bytes();
    let output = Output::begin(protobuf.len() / 2 * 3 + 64, limit, &mut hold)?;
    let mut writer = Writer { output, values_open: 0, path: Vec::new() };
    match writer.message(request, &protobuf) {
        Ok(()) => writer.output.end(),
        Err(Stop::Full) => Err(writer.output.refusal().unwrap_or_else(|| located(&writer.path, "no room"))),
        Err(Stop::Wrong(what)) => Err(located(&writer.path, &what)),
    }
}

struct Writer<'h> {
    output: Output<'h>,
    /// How many `AnyValue` there are around this place.
    values_open: usize,
    /// Where it went wrong, innermost first.
    path: Vec<Step>,
}

enum Stop {
    Full,
    Wrong(Cow<'static, str>),
}

impl From<Full> for Stop {
    fn from(Full: Full) -> Self {
        Stop::Full
    }
}

impl From<Malformed> for Stop {
    fn from(error: Malformed) -> Self {
        Stop::Wrong(error.what().into())
    }
}

/// What is in a message.
struct Shape {
    /// The places of its fields, as bits.
    seen: u32,
    /// The field of its `oneof` that was set last.
    chosen: Option<usize>,
    /// Whether JSON can be written in the order of the bytes.
    in_order: bool,
}

impl Shape {
    /// Looks at the fields of a message, not into them.
    fn of(message: &Message, bytes: &[u8]) -> Result<Self, Stop> {
        let mut shape = Shape { seen: 0, chosen: None, in_order: true };
        let mut last = usize::MAX;
        let mut fields = Fields::of(message, bytes);
        while let Some((place, field, _)) = fields.next()? {
            if shape.seen & 1 << place != 0 && !(place == last && field.label == Label::Repeated) {
                shape.in_order = false;
            }
            if field.label == Label::OneOf && shape.chosen.replace(place).is_some() {
                shape.in_order = false;
            }
            shape.seen |= 1 << place;
            last = place;
        }
        Ok(shape)
    }
}

/// The known fields of a message: place in the table, field, value.
struct Fields<'m, 'b> {
    message: &'m Message,
    reader: Reader<'b>,
    expected: usize,
}

impl<'m, 'b> Fields<'m, 'b> {
    fn of(message: &'m Message, bytes: &'b [u8]) -> Self {
        Self { message, reader: Reader::new(bytes), expected: 0 }
    }

    #[inline]
    fn next(&mut self) -> Result<Option<(usize, &'m Field, Value<'b>)>, Malformed> {
        while let Some(read) = self.reader.field() {
            let (number, value) = read?;
            let Some(place) = self.message.by_number(number, self.expected) else { continue };
            let field = &self.message.fields[place];
            self.expected = place + usize::from(field.label != Label::Repeated);
            return Ok(Some((place, field, value)));
        }
        Ok(None)
    }
}

impl Writer<'_> {
    fn message(&mut self, message: &'static Message, bytes: &[u8]) -> Result<(), Stop> {
        if message.is_any_value() {
            self.values_open += 1;
            if self.values_open > ANY_VALUE_DEPTH_MAX {
                return Err(Stop::Wrong(too_deep().into()));
            }
        }
        let shape = Shape::of(message, bytes)?;
        self.output.put(b"{")?;
        if shape.in_order {
            self.fields_as_they_come(message, bytes)?;
        } else {
            self.fields_in_turn(message, bytes, &shape)?;
        }
        self.output.put(b"}")?;
        if message.is_any_value() {
            self.values_open -= 1;
        }
        Ok(())
    }

    fn fields_as_they_come(&mut self, message: &'static Message, bytes: &[u8]) -> Result<(), Stop> {
        let mut list: Option<(usize, usize)> = None; // the one that is being written, and its length
        let mut fields = Fields::of(message, bytes);
        while let Some((place, field, value)) = fields.next()? {
            if let Some((other, _)) = list
                && other != place
            {
                self.output.put(b"]")?;
                list = None;
            }
            if field.label != Label::Repeated {
                self.name(field)?;
                self.value(field, value).map_err(|stop| self.at(stop, [Step::Field(field.name)]))?;
                continue;
            }
            if list.is_none() {
                self.name(field)?;
                self.output.put(b"[")?;
            }
            let (_, length) = list.get_or_insert((place, 0));
            self.elements(field, value, length)?;
        }
        if list.is_some() {
            self.output.put(b"]")?;
        }
        Ok(())
    }

    fn fields_in_turn(&mut self, message: &'static Message, bytes: &[u8], shape: &Shape) -> Result<(), Stop> {
        for (place, field) in message.fields.iter().enumerate() {
            let is_there = shape.seen & 1 << place != 0;
            if !is_there || field.label == Label::OneOf && shape.chosen != Some(place) {
                continue;
            }
            self.name(field)?;
            if field.label == Label::Repeated {
                self.output.put(b"[")?;
                let mut length = 0;
                let mut fields = Fields::of(message, bytes);
                while let Some((other, _, value)) = fields.next()? {
                    if other == place {
                        self.elements(field, value, &mut length)?;
                    }
                }
                self.output.put(b"]")?;
            } else {
                self.last(message, bytes, place).map_err(|stop| self.at(stop, [Step::Field(field.name)]))?;
            }
        }
        Ok(())
    }

    /// Writes what a field comes to that may be there several times although it is no list.
    fn last(&mut self, message: &'static Message, bytes: &[u8], wanted: usize) -> Result<(), Stop> {
        let field = &message.fields[wanted];
        let mut last = None;
        let mut merged = Vec::new(); // parts of one message merge by being put together
        let mut held = 0;
        let mut fields = Fields::of(message, bytes);
        while let Some((place, other, value)) = fields.next()? {
            if place != wanted {
                if field.label == Label::OneOf && other.label == Label::OneOf {
                    last = None; // another choice was made in between
                    merged.clear();
                }
                continue;
            }
            if let (Kind::Message(_), Some(Value::Bytes(before)), Value::Bytes(part)) =
                (field.kind, last, value)
            {
                if held == 0 {
                    held = bytes.len();
                    self.output.hold_beside(held)?;
                    merged.reserve_exact(held);
                }
                if merged.is_empty() {
                    merged.extend_from_slice(before);
                }
                merged.extend_from_slice(part);
            }
            last = Some(value);
        }
        match last {
            Some(Value::Bytes(_)) if !merged.is_empty() => self.value(field, Value::Bytes(&merged))?,
            Some(value) => self.value(field, value)?,
            None => {}
        }
        self.output.release(held);
        Ok(())
    }

    /// Writes one element of a list, or a packed run of them.
    fn elements(&mut self, field: &'static Field, value: Value<'_>, length: &mut usize) -> Result<(), Stop> {
        let mut put = |value| {
            self.comma()?;
            let step = [Step::Element(*length), Step::Field(field.name)];
            *length += 1;
            self.value(field, value).map_err(|stop| self.at(stop, step))
        };
        let Value::Bytes(run) = value else { return put(value) };
        match field.kind.wire_type() {
            WireType::Len => put(value),
            WireType::I64 => {
                let (numbers, rest) = run.as_chunks();
                numbers.iter().try_for_each(|bytes| put(Value::Fixed64(u64::from_le_bytes(*bytes))))?;
                if rest.is_empty() { Ok(()) } else { put(Value::Bytes(rest)) } // which is refused
            }
            WireType::I32 => {
                let (numbers, rest) = run.as_chunks();
                numbers.iter().try_for_each(|bytes| put(Value::Fixed32(u32::from_le_bytes(*bytes))))?;
                if rest.is_empty() { Ok(()) } else { put(Value::Bytes(rest)) }
            }
            WireType::Varint => {
                let mut reader = Reader::new(run);
                while let Some(number) = reader.number() {
                    put(Value::Number(number?))?;
                }
                Ok(())
            }
        }
    }

    /// Writes one value.
    fn value(&mut self, field: &'static Field, value: Value<'_>) -> Result<(), Stop> {
        match (field.kind, value) {
            (Kind::Message(message), Value::Bytes(bytes)) => self.message(message, bytes),
            (Kind::String, Value::Bytes(bytes)) => {
                let text = std::str::from_utf8(bytes).map_err(|error| {
                    Stop::Wrong(format!("not UTF-8 at byte {} of the text", error.valid_up_to()).into())
                })?;
                self.json(text)
            }
            (Kind::Bytes, Value::Bytes(bytes)) => self.base64(bytes),
            (Kind::Id(_), Value::Bytes(bytes)) => self.hex(bytes),
            (Kind::Bool, Value::Number(number)) => self.json(&(number != 0)),
            (Kind::Double, Value::Fixed64(bits)) => self.double(f64::from_bits(bits)),
            (Kind::Int32 | Kind::Enum(_), Value::Number(number)) => self.json(&(number as i32)),
            (Kind::Sint32, Value::Number(number)) => {
                let zigzag = number as u32;
                self.json(&((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)))
            }
            (Kind::Uint32, Value::Number(number)) => self.json(&(number as u32)),
            (Kind::Fixed32, Value::Fixed32(number)) => self.json(&number),
            (Kind::Int64, Value::Number(number)) => self.quoted(number as i64),
            (Kind::Sfixed64, Value::Fixed64(number)) => self.quoted(number as i64),
            (Kind::Uint64, Value::Number(number)) | (Kind::Fixed64, Value::Fixed64(number)) => {
                self.quoted(number)
            }
            _ => Err(Stop::Wrong("another wire type than this field has".into())),
        }
    }

    fn comma(&mut self) -> Result<(), Full> {
        let is_first = matches!(self.output.bytes.last(), Some(b'{' | b'['));
        if is_first { Ok(()) } else { self.output.put(b",") }
    }

    fn name(&mut self, field: &Field) -> Result<(), Full> {
        self.comma()?;
        self.output.room(field.name.len() + 3)?;
        let bytes = &mut self.output.bytes;
        bytes.push(b'"');
        bytes.extend_from_slice(field.name.as_bytes());
        bytes.extend_from_slice(b"\":");
        Ok(())
    }

    /// As serde_json writes it. Doubles are written so that they are read as the same.
    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        serde_json::to_writer(&mut self.output, value).map_err(|_| Stop::Full)
    }

    fn double(&mut self, double: f64) -> Result<(), Stop> {
        match double {
            _ if double.is_nan() => self.json("NaN"),
            f64::INFINITY => self.json("Infinity"),
            f64::NEG_INFINITY => self.json("-Infinity"),
            _ => self.json(&double),
        }
    }

    fn quoted(&mut self, number: impl itoa::Integer) -> Result<(), Stop> {
        self.output.put(b"\"")?;
        self.output.put(itoa::Buffer::new().format(number).as_bytes())?;
        Ok(self.output.put(b"\"")?)
    }

    fn hex(&mut self, id: &[u8]) -> Result<(), Stop> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.output.room(id.len().saturating_mul(2).saturating_add(2))?;
        let bytes = &mut self.output.bytes;
        bytes.push(b'"');
        bytes.extend(id.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| DIGITS[half as usize]));
        bytes.push(b'"');
        Ok(())
    }

    fn base64(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let length = bytes.len().div_ceil(3).saturating_mul(4);
        self.output.room(length.saturating_add(2))?;
        let output = &mut self.output.bytes;
        output.push(b'"');
        let start = output.len();
        output.resize(start + length, 0);
        let written = STANDARD.encode_slice(bytes, &mut output[start..]).unwrap_or(0);
        output.truncate(start + written);
        output.push(b'"');
        Ok(())
    }

    /// Remembers the way that an error comes from; the innermost step first.
    #[cold]
    fn at<const N: usize>(&mut self, stop: Stop, steps: [Step; N]) -> Stop {
        self.path.extend(steps);
        stop
    }
}

#[cfg(test)]
mod tests;
