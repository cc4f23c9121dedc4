//! The protobuf wire format: read without decoding, written a field at a time.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>

use super::Chunks;
use bytes::Bytes;
use std::ops::Range;

/// How deep groups (deprecated, unknown to OTLP) may nest in what is skipped: protobuf's own limit.
pub const GROUP_DEPTH_MAX: usize = 100;
/// Field numbers end here (29 bits).
const FIELD_MAX: u64 = (1 << 29) - 1;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is no protobuf message of this signal: {what} at byte {offset}")]
pub struct Malformed {
    pub(super) what: &'static str,
    pub(super) offset: usize,
}

impl Malformed {
    pub(super) fn at(what: &'static str, offset: usize) -> Self {
        Self { what, offset }
    }

    /// The same, so many bytes further on.
    pub(super) fn after(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }

    /// What is wrong, without the place.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }
}

const WIRE_VARINT: u64 = 0;
const WIRE_I64: u64 = 1;
/// Wire type of bytes, texts and messages.
pub const WIRE_LEN: u64 = 2;
const WIRE_GROUP_START: u64 = 3;
const WIRE_GROUP_END: u64 = 4;
const WIRE_I32: u64 = 5;

/// Reads the wire format from front to back. Never beyond its end, whatever the bytes say.
pub struct Reader<'b> {
    /// What is left of the piece that is being read.
    piece: &'b [u8],
    later: std::collections::vec_deque::Iter<'b, Bytes>,
    /// How far it has come, from the beginning of the first piece.
    at: usize,
    /// Where the message ends that is being read.
    pub end: usize,
}

impl<'b> Reader<'b> {
    /// From the beginning of these bytes to their end.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { piece: bytes, later: Default::default(), at: 0, end: bytes.len() }
    }

    /// The same over bytes in pieces.
    pub fn over(bytes: &'b Chunks) -> Self {
        Self { piece: &[], later: bytes.pieces(), at: 0, end: bytes.len() }
    }

    /// What is wrong where the reader is.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.at }
    }

    /// From now on the end is this one. Gives the end before.
    pub fn enter(&mut self, end: usize) -> usize {
        std::mem::replace(&mut self.end, end)
    }

    /// How far it has come.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Whether there is nothing more to read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// Goes forward; the place is not beyond the last piece's end.
    pub fn go_to(&mut self, place: usize) {
        let mut distance = place - self.at;
        self.at = place;
        while distance > self.piece.len()
            && let Some(piece) = self.later.next()
        {
            distance -= self.piece.len();
            self.piece = piece;
        }
        self.piece = &self.piece[distance.min(self.piece.len())..];
    }

    fn byte(&mut self) -> Option<u8> {
        if self.is_at_end() {
            return None;
        }
        while self.piece.is_empty() {
            self.piece = self.later.next()?;
        }
        let (&byte, rest) = self.piece.split_first()?;
        self.piece = rest;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all tags and most lengths have one byte.
        match self.piece.split_first() {
            Some((&byte, rest)) if byte < 0x80 && !self.is_at_end() => {
                self.piece = rest;
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let begin = self.at;
        let at_begin = |what| Malformed { what, offset: begin };
        let mut value = 0;
        for i in 0..10 {
            let Some(byte) = self.byte() else { break };
            if i == 9 && byte > 1 {
                return Err(at_begin("a number of more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(at_begin("a number without end"))
    }

    /// The next field's number and wire type.
    #[inline]
    pub fn tag(&mut self) -> Result<(u64, u64), Malformed> {
        let tag = self.varint()?;
        let field = tag >> 3;
        if field == 0 || field > FIELD_MAX {
            return Err(self.malformed("a field number that cannot be"));
        }
        Ok((field, tag & 7))
    }

    /// The length of what follows, and so where it is.
    #[inline]
    pub fn length(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.varint()?;
        if length > (self.end - self.at) as u64 {
            return Err(self.malformed("a length beyond the end"));
        }
        Ok(self.at..self.at + length as usize)
    }

    fn skip_bytes(&mut self) -> Result<(), Malformed> {
        let content = self.length()?;
        self.go_to(content.end);
        Ok(())
    }

    fn fixed(&mut self, width: usize) -> Result<(), Malformed> {
        if self.end - self.at < width {
            return Err(self.malformed("a value beyond the end"));
        }
        self.go_to(self.at + width);
        Ok(())
    }

    /// Passes over the value of a field.
    pub fn skip(&mut self, field: u64, wire_type: u64) -> Result<(), Malformed> {
        match wire_type {
            WIRE_VARINT => self.varint().map(drop),
            WIRE_I64 => self.fixed(8),
            WIRE_LEN => self.skip_bytes(),
            WIRE_I32 => self.fixed(4),
            WIRE_GROUP_START => self.skip_group(field),
            WIRE_GROUP_END => Err(self.malformed("the end of a group that never began")),
            _ => Err(self.malformed("a wire type that does not exist")),
        }
    }

    /// Skips a group without recursion, so that no input can exhaust the stack.
    fn skip_group(&mut self, field: u64) -> Result<(), Malformed> {
        let mut open = vec![field];
        while let Some(&innermost) = open.last() {
            let (field, wire_type) = self.tag()?;
            match wire_type {
                WIRE_GROUP_START if open.len() == GROUP_DEPTH_MAX => {
                    return Err(self.malformed("groups nested too deeply"));
                }
                WIRE_GROUP_START => open.push(field),
                WIRE_GROUP_END if field == innermost => drop(open.pop()),
                WIRE_GROUP_END => return Err(self.malformed("the end of another group")),
                _ => self.skip(field, wire_type)?,
            }
        }
        Ok(())
    }

    /// The bytes of a number of fixed width, in a message that lies in one piece.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.piece.first_chunk().copied();
        self.fixed(N)?;
        bytes.ok_or_else(|| self.malformed("a value beyond the end"))
    }

    /// The next number of a packed list.
    pub fn number(&mut self) -> Option<Result<u64, Malformed>> {
        (!self.is_at_end()).then(|| self.varint())
    }

    /// The next field of a message that lies in one piece, such as an upstream's answer: its number
    /// and its value.
    pub fn field(&mut self) -> Option<Result<(u64, Value<'b>), Malformed>> {
        (!self.is_at_end()).then(|| {
            let (field, wire_type) = self.tag()?;
            let value = match wire_type {
                WIRE_VARINT => Value::Number(self.varint()?),
                WIRE_LEN => {
                    // In one piece: such a message is never read over several.
                    let content = self.length()?;
                    let (bytes, _) = self.piece.split_at(content.len());
                    self.go_to(content.end);
                    Value::Bytes(bytes)
                }
                WIRE_I64 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
                WIRE_I32 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
                other => {
                    self.skip(field, other)?;
                    Value::Group
                }
            };
            Ok((field, value))
        })
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub enum Value<'b> {
    /// A varint.
    Number(u64),
    /// 64 bits, little-endian.
    Fixed64(u64),
    /// 32 bits, little-endian.
    Fixed32(u32),
    /// Bytes, a text or a message.
    Bytes(&'b [u8]),
    /// Deprecated and unknown to OTLP: passed over.
    Group,
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a varint has.
#[inline]
pub fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a field that is a number.
#[inline]
pub fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

/// Appends a field that is bytes, a text or a message.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A field of a message that lies in one piece.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// Its wire type; a group's is 3.
    pub wire_type: u64,
    /// All of it, the tag included.
    pub whole: Range<usize>,
    /// Its value; of bytes, texts and messages, what is in them.
    pub content: Range<usize>,
}

/// The fields of a message that lies in one piece, with where they are.
pub struct Fields<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Fields<'b> {
    /// Those of these bytes. After an error there are no more.
    pub fn of(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A field as nearly all are: a tag of one byte, a length of one or two.
    #[inline]
    fn short(&self) -> Option<Part> {
        let bytes = self.bytes.get(self.at..)?;
        let [tag @ 8..0x80, rest @ ..] = bytes else { return None };
        let wire_type = u64::from(tag & 7);
        let (head, length) = match (wire_type, rest) {
            (WIRE_LEN, [length @ 0..0x80, ..]) => (2, usize::from(*length)),
            (WIRE_LEN, [low, high @ 0..0x80, ..]) => (3, usize::from(low & 0x7f) | usize::from(*high) << 7),
            (WIRE_VARINT, [0..0x80, ..]) => (1, 1),
            (WIRE_I64, _) => (1, 8),
            (WIRE_I32, _) => (1, 4),
            _ => return None,
        };
        let start = self.at + head;
        let end = start + length;
        (end <= self.bytes.len()).then(|| Part {
            number: u32::from(tag >> 3),
            wire_type,
            whole: self.at..end,
            content: start..end,
        })
    }

    #[cold]
    fn any(&mut self) -> Result<Part, Malformed> {
        let start = self.at;
        let mut reader = Reader::new(&self.bytes[start..]);
        let mut field = || -> Result<Part, Malformed> {
            let (number, wire_type) = reader.tag()?;
            let content = if wire_type == WIRE_LEN {
                let content = reader.length()?;
                reader.go_to(content.end);
                content
            } else {
                let value = reader.at;
                reader.skip(number, wire_type)?;
                value..reader.at
            };
            Ok(Part {
                number: number as u32,
                wire_type,
                whole: start..start + reader.at,
                content: start + content.start..start + content.end,
            })
        };
        field().map_err(|error| error.after(start))
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Part, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let field = match self.short() {
            Some(field) => Ok(field),
            None => self.any(),
        };
        self.at = field.as_ref().map_or(self.bytes.len(), |field| field.whole.end);
        Some(field)
    }
}

/// The varint that these bytes are.
pub fn varint_of(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(bytes);
    reader.varint().ok().filter(|_| reader.is_at_end())
}
