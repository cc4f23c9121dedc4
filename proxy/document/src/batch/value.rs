//! Values: between the wire, the contract, and the fields that hold them.

use super::{
    place::Holds,
    store::{Span, Store},
    words::Value,
};
use crate::wire::{self, Fields, Malformed, Reader, WIRE_LEN, put_bytes, put_number, put_varint};
use base64::{Engine, prelude::BASE64_STANDARD};

/// How deep messages may be inside each other in what is looked into. Readers of protobuf stop at 100.
pub(super) const DEPTH_MAX: usize = 128;

/// What is deeper.
pub(super) fn too_deep() -> Malformed {
    Malformed::at("values nested too deeply to be looked into", 0)
}

/// A value as it stands in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Raw {
    /// The content of an `AnyValue`.
    Any(Span),
    Text(Span),
    Bytes(Span),
    Int(i64),
    Double(f64),
}

/// A value ready to be put into a field: what stands after its tag and length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub wire_type: u64,
    pub content: Span,
    /// Whether it goes under a number's field for doubles.
    pub is_double: bool,
}

/// What an `AnyValue` holds, its bytes within the content.
pub(super) enum Any<'b> {
    Empty,
    Text(&'b [u8]),
    Boolean(bool),
    Int(i64),
    Double(f64),
    Bytes(&'b [u8]),
    Other,
}

/// Reads the content of an `AnyValue`; the last of its fields counts.
pub(super) fn any(content: &[u8]) -> Result<Any<'_>, Malformed> {
    // Nearly all values are one short text.
    if let [0x0a, length @ 0..0x80, text @ ..] = content
        && text.len() == usize::from(*length)
    {
        return Ok(Any::Text(text));
    }
    let mut found = Any::Empty;
    let mut reader = Reader::new(content);
    while let Some(field) = reader.field() {
        found = match field? {
            (1, wire::Value::Bytes(text)) => Any::Text(text),
            (2, wire::Value::Number(number)) => Any::Boolean(number != 0),
            (3, wire::Value::Number(number)) => Any::Int(number as i64),
            (4, wire::Value::Fixed64(bits)) => Any::Double(f64::from_bits(bits)),
            (7, wire::Value::Bytes(bytes)) => Any::Bytes(bytes),
            (1..=8, _) => Any::Other,
            // What is not known is a value where nothing else is.
            _ if matches!(found, Any::Empty) => Any::Other,
            _ => found,
        };
    }
    Ok(found)
}

/// As the contract says it.
pub(super) fn to_value(store: &Store, raw: Raw) -> Result<Value, Malformed> {
    Ok(match raw {
        Raw::Text(span) => text(store.bytes(span)),
        Raw::Bytes(span) => Value::Bytes(store.bytes(span).to_vec()),
        Raw::Int(int) => Value::Int(int),
        Raw::Double(double) => Value::Double(double),
        Raw::Any(span) => {
            let content = store.bytes(span);
            match any(content)? {
                Any::Empty => Value::Empty,
                Any::Text(bytes) => text(bytes),
                Any::Boolean(is_true) => Value::Boolean(is_true),
                Any::Int(int) => Value::Int(int),
                Any::Double(double) => Value::Double(double),
                Any::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
                Any::Other => Value::Encoded(content.to_vec()),
            }
        }
    })
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Bytes(bytes.to_vec()),
    }
}

/// The text or bytes that a value is.
pub(super) fn bytes_of(store: &Store, raw: Raw) -> Result<Option<&[u8]>, Malformed> {
    Ok(match raw {
        Raw::Text(span) | Raw::Bytes(span) => Some(store.bytes(span)),
        Raw::Any(span) => match any(store.bytes(span))? {
            Any::Text(bytes) | Any::Bytes(bytes) => Some(bytes),
            _ => None,
        },
        Raw::Int(_) | Raw::Double(_) => None,
    })
}

/// What stands for the content of an `AnyValue` where any kind of value is wanted as bytes.
pub(super) fn plain_bytes(content: &[u8]) -> Result<Vec<u8>, Malformed> {
    Ok(match any(content)? {
        Any::Text(bytes) | Any::Bytes(bytes) => bytes.to_vec(),
        Any::Empty => b"null".to_vec(),
        Any::Boolean(is_true) => is_true.to_string().into_bytes(),
        Any::Int(int) => int.to_string().into_bytes(),
        Any::Double(double) => double.to_string().into_bytes(),
        Any::Other => json(content)?,
    })
}

/// The text or bytes that a value is, and where they begin.
pub(super) fn placed(store: &Store, raw: Raw) -> Result<Option<(&[u8], u32)>, Malformed> {
    let (Raw::Text(span) | Raw::Bytes(span) | Raw::Any(span)) = raw else { return Ok(None) };
    let Some(bytes) = bytes_of(store, raw)? else { return Ok(None) };
    let within = bytes.as_ptr() as usize - store.bytes(span).as_ptr() as usize;
    Ok(Some((bytes, span.start + within as u32)))
}

/// The text that a value is, where it is UTF-8.
pub(super) fn text_of(store: &Store, raw: Raw) -> Result<Option<&str>, Malformed> {
    let bytes = match raw {
        Raw::Text(span) => Some(store.bytes(span)),
        Raw::Any(span) => match any(store.bytes(span))? {
            Any::Text(bytes) => Some(bytes),
            _ => None,
        },
        _ => None,
    };
    Ok(bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()))
}

/// The integer that a value is.
pub(super) fn int_of(store: &Store, raw: Raw) -> Result<Option<i64>, Malformed> {
    Ok(match raw {
        Raw::Int(int) => Some(int),
        Raw::Any(span) => match any(store.bytes(span))? {
            Any::Int(int) => Some(int),
            _ => None,
        },
        _ => None,
    })
}

/// The number that a value is.
pub(super) fn double_of(store: &Store, raw: Raw) -> Result<Option<f64>, Malformed> {
    Ok(match raw {
        Raw::Int(int) => Some(int as f64),
        Raw::Double(double) => Some(double),
        Raw::Any(span) => match any(store.bytes(span))? {
            Any::Int(int) => Some(int as f64),
            Any::Double(double) => Some(double),
            _ => None,
        },
        _ => None,
    })
}

/// The JSON of the content of an `AnyValue`: an array, an object; bytes in base64.
pub(super) fn json(content: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    put_json(content, 0, &mut out)?;
    Ok(out)
}

fn put_json(content: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    match any(content)? {
        Any::Empty => out.extend(b"null"),
        Any::Text(text) => put_json_text(text, out),
        Any::Boolean(is_true) => out.extend(is_true.to_string().bytes()),
        Any::Int(int) => out.extend(int.to_string().bytes()),
        Any::Double(double) => out.extend(double.to_string().bytes()),
        Any::Bytes(bytes) => put_json_text(BASE64_STANDARD.encode(bytes).as_bytes(), out),
        Any::Other => return put_json_list(content, depth, out),
    }
    Ok(())
}

fn put_json_list(content: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let is_list = |field: &wire::Part| field.wire_type == WIRE_LEN && matches!(field.number, 5 | 6);
    let lists = messages(content, is_list)?;
    let Some(&(number, _)) = lists.last() else {
        put_json_text(BASE64_STANDARD.encode(content).as_bytes(), out);
        return Ok(());
    };
    let (open, close) = if number == 5 { (b'[', b']') } else { (b'{', b'}') };
    out.push(open);
    // Several of one kind are one.
    for (_, list) in lists.iter().filter(|(of, _)| *of == number) {
        for (_, element) in messages(list, |field| field.wire_type == WIRE_LEN && field.number == 1)? {
            if out.last() != Some(&open) {
                out.push(b',');
            }
            if number == 5 {
                put_json(element, depth + 1, out)?;
                continue;
            }
            let of_pair =
                |number| messages(element, |field| field.wire_type == WIRE_LEN && field.number == number);
            put_json_text(of_pair(1)?.last().map_or(&[], |(_, key)| key), out);
            out.push(b':');
            put_json(
                &of_pair(2)?.iter().flat_map(|(_, part)| *part).copied().collect::<Vec<_>>(),
                depth + 1,
                out,
            )?;
        }
    }
    out.push(close);
    Ok(())
}

/// The fields of a message that are wanted, by number and content.
fn messages(content: &[u8], is_wanted: impl Fn(&wire::Part) -> bool) -> Result<Vec<(u32, &[u8])>, Malformed> {
    let mut found = Vec::new();
    for field in Fields::of(content) {
        let field = field?;
        if is_wanted(&field) {
            found.push((field.number, &content[field.content]));
        }
    }
    Ok(found)
}

fn put_json_text(text: &[u8], out: &mut Vec<u8>) {
    let text = serde_json::Value::String(String::from_utf8_lossy(text).into_owned());
    out.extend(text.to_string().bytes());
}

/// About how many bytes a value takes.
pub(super) fn bytes_in(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) | Value::Encoded(bytes) => bytes.len(),
        _ => 8,
    }
}

/// Appends the content of an `AnyValue`.
pub(super) fn put_any(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Empty => {}
        Value::Text(text) => put_bytes(out, 1, text.as_bytes()),
        Value::Boolean(is_true) => put_number(out, 2, u64::from(*is_true)),
        Value::Int(int) => put_number(out, 3, *int as u64),
        Value::Double(double) => {
            out.push(4 << 3 | 1);
            out.extend(double.to_le_bytes());
        }
        Value::Bytes(bytes) => put_bytes(out, 7, bytes),
        Value::Encoded(content) => out.extend_from_slice(content),
    }
}

/// Checks an encoded `AnyValue` from a plugin: its framing, not deeper.
pub(super) fn check_encoded(content: &[u8]) -> Result<(), String> {
    let mut reader = Reader::new(content);
    while let Some(field) = reader.field() {
        field.map_err(|error| format!("the encoded value is no `AnyValue`: {error}"))?;
    }
    Ok(())
}

/// Writes what an attribute's field holds: a `KeyValue`.
pub(super) fn ready_attribute(store: &mut Store, key: &[u8], value: &Value) -> Ready {
    let start = store.end();
    let out = store.edits();
    put_bytes(out, 1, key);
    let mut content = Vec::new();
    put_any(value, &mut content);
    put_bytes(out, 2, &content);
    Ready { wire_type: wire::WIRE_LEN, content: store.since(start), is_double: false }
}

/// The same, where the content of the `AnyValue` is in the store already.
pub(super) fn ready_attribute_of(store: &mut Store, key: Span, any: Span) -> Ready {
    let start = store.end();
    for (number, part) in [(1, key), (2, any)] {
        put_varint(store.edits(), number << 3 | wire::WIRE_LEN);
        put_varint(store.edits(), part.len() as u64);
        store.copy(part);
    }
    Ready { wire_type: wire::WIRE_LEN, content: store.since(start), is_double: false }
}

/// Writes a value as a field of this kind holds it.
///
/// # Errors
/// What such a field holds.
pub(super) fn ready_field(store: &mut Store, kind: Holds, value: &Value) -> Result<Ready, &'static str> {
    let start = store.end();
    let out = store.edits();
    let mut is_double = false;
    let wire_type = match (kind, value) {
        (Holds::Any, value) => {
            put_any(value, out);
            wire::WIRE_LEN
        }
        (Holds::Text, Value::Text(text)) => {
            out.extend_from_slice(text.as_bytes());
            wire::WIRE_LEN
        }
        (Holds::Id(length), Value::Bytes(id)) if is_id(id, length) => {
            out.extend_from_slice(id);
            wire::WIRE_LEN
        }
        (Holds::Id(length), Value::Text(digits)) => {
            let id = from_hex(digits.as_bytes()).filter(|id| is_id(id, length));
            out.extend(id.ok_or(id_wanted(length))?);
            wire::WIRE_LEN
        }
        (Holds::Varint(max), Value::Int(int)) if (0..=i64::from(max)).contains(int) => {
            put_varint(out, *int as u64);
            0
        }
        (Holds::Fixed64, Value::Int(int)) if *int >= 0 => {
            out.extend(int.to_le_bytes());
            1
        }
        (Holds::Fixed32, Value::Int(int)) if u32::try_from(*int).is_ok() => {
            out.extend((*int as u32).to_le_bytes());
            5
        }
        (Holds::Number { .. }, Value::Int(int)) => {
            out.extend(int.to_le_bytes());
            1
        }
        (Holds::Number { .. }, Value::Double(double)) => {
            is_double = true;
            out.extend(double.to_le_bytes());
            1
        }
        (Holds::Text, _) => return Err("a text"),
        (Holds::Id(length), _) => return Err(id_wanted(length)),
        (Holds::Varint(u32::MAX) | Holds::Fixed32, _) => {
            return Err("an integer of 32 bits, not below 0");
        }
        (Holds::Varint(_), _) => return Err("an integer of 31 bits, not below 0"),
        (Holds::Fixed64, _) => return Err("an integer, not below 0"),
        (Holds::Number { .. }, _) => return Err("an integer or a double"),
    };
    Ok(Ready { wire_type, content: store.since(start), is_double })
}

fn id_wanted(length: usize) -> &'static str {
    match length {
        16 => "a trace's id: 16 bytes or 32 hexadecimal digits, not all zero",
        _ => "a span's id: 8 bytes or 16 hexadecimal digits, not all zero",
    }
}

fn is_id(id: &[u8], length: usize) -> bool {
    id.len() == length && id.iter().any(|byte| *byte != 0)
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs
        .iter()
        .map(|[high, low]| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some((digit(*high)? << 4 | digit(*low)?) as u8)
        })
        .collect()
}
