//! Attributes as nearly every sender writes them: nine tenths of most batches are
//! `{"key":"…","value":{"stringValue":"…"}}`, without blanks and without escapes. Whoever recognises that
//! knows every length before the first byte is written.

use super::lexer::Lexer;
use crate::wire::{put_bytes, put_number, put_varint, varint_bytes};

/// An attribute of the usual form.
pub(super) struct Attribute<'j> {
    key: &'j str,
    value: Value<'j>,
}

enum Value<'j> {
    Text(&'j str),
    Integer(i64),
}

/// Fields of `KeyValue` and `AnyValue`.
const KEY: u64 = 1;
const VALUE: u64 = 2;
const STRING_VALUE: u64 = 1;
const INT_VALUE: u64 = 3;
/// A tag of these has one byte.
const TAG_BYTES: usize = 1;

impl<'j> Attribute<'j> {
    /// Reads one whose brace is passed. Where it is not of the usual form, nothing is read.
    #[inline]
    pub(super) fn read(json: &mut Lexer<'j>) -> Option<Self> {
        json.attempt(|json| {
            json.pass_text("\"key\":\"")?;
            let key = json.plain_string()?;
            json.pass_text(",\"value\":{\"")?;
            let value = if json.pass_text("stringValue\":\"").is_some() {
                Value::Text(json.plain_string()?)
            } else {
                json.pass_text("intValue\":\"")?;
                Value::Integer(integer(json.plain_string()?)?)
            };
            json.pass_text("}}")?;
            Some(Self { key, value })
        })
    }

    /// How many bytes it has, without what stands before it.
    #[inline]
    pub(super) fn length(&self) -> usize {
        let key = if self.key.is_empty() { 0 } else { prefixed(self.key.len()) };
        key + prefixed(self.value.length())
    }

    /// Writes so many bytes.
    #[inline]
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        if !self.key.is_empty() {
            put_bytes(bytes, KEY, self.key.as_bytes());
        }
        put_varint(bytes, VALUE << 3 | 2);
        put_varint(bytes, self.value.length() as u64);
        match self.value {
            Value::Text(text) => put_bytes(bytes, STRING_VALUE, text.as_bytes()),
            Value::Integer(integer) => put_number(bytes, INT_VALUE, integer as u64),
        }
    }
}

impl Value<'_> {
    #[inline]
    fn length(&self) -> usize {
        match self {
            Value::Text(text) => prefixed(text.len()),
            Value::Integer(integer) => TAG_BYTES + varint_bytes(*integer as u64),
        }
    }
}

/// So many bytes with tag and length.
#[inline]
fn prefixed(length: usize) -> usize {
    TAG_BYTES + varint_bytes(length as u64) + length
}

/// As few digits as cannot be too many.
#[inline]
fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let is_usual = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let magnitude =
        is_usual.then(|| digits.bytes().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))?;
    Some(if is_negative { -magnitude } else { magnitude })
}
