//! What plugins do, done natively: by editing the wire, the least that it can cost, and by decoding into
//! opentelemetry-proto's structures, changing those and encoding them, as most programs do it.

use memchr::memchr;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use prost::Message;
use regex::bytes::Regex;
use std::{ops::Range, sync::LazyLock};

/// What `relabel` inserts.
pub const INSERTED: [(&str, &str); 4] = [
    ("processed_by", "tollgate"),
    ("loki.attribute.labels", "level, shop_id, deployment_id"),
    ("loki.resource.labels", "service.name"),
    ("loki.format", "raw"),
];
/// What `redact` looks for.
pub const EMAIL: &str = r"(?i-u)\b[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*\.[a-z]{2,24}\b";
/// A card number, to be checked by the Luhn algorithm.
pub const CARD: &str = r"(?-u)\b(?:4[0-9]{3}|5[1-5][0-9]{2}|6[0-9]{3}|3[47][0-9]{2})(?:[ -]?[0-9]){9,15}\b";
/// What is extracted of a body.
pub const EXTRACTED: &str = r"(?-u)^(?P<method>[A-Z]+) (?P<route>/[^ ]*) (?P<status>[0-9]{3}) ";
/// Where what is extracted goes.
pub const TARGETS: [(&str, &str); 2] = [("route", "http.route"), ("status", "http.status")];
/// The resource attribute by which `route` decides.
pub const ROUTED_BY: (&str, &str) = ("service.name", "oxygen");

static EMAIL_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(EMAIL));
static CARD_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(CARD));
static EXTRACTED_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(EXTRACTED));

fn regex(expression: &str) -> Regex {
    Regex::new(expression).expect("invariant: the expression is right")
}

// By editing the wire.

/// Inserts attributes into every record that does not have them.
pub fn insert(request: &[u8]) -> Vec<u8> {
    let fields = INSERTED.map(|(key, value)| attribute(key, value.as_bytes()));
    edit_records(request, |record, side| {
        let mut missing = [true; INSERTED.len()];
        for (number, content) in Fields(record) {
            if number == ATTRIBUTES {
                let key = key(content);
                for (missing, (wanted, _)) in missing.iter_mut().zip(INSERTED) {
                    *missing &= key != wanted.as_bytes();
                }
            }
        }
        let start = side.len();
        for (field, _) in fields.iter().zip(missing).filter(|(_, is_missing)| *is_missing) {
            side.extend_from_slice(field);
        }
        Edit::Append(start..side.len())
    })
}

/// Looks for e-mail addresses and card numbers in every text of every record.
pub fn redact(request: &[u8]) -> Vec<u8> {
    edit_records(request, |record, side| {
        let has_secret = Fields(record).any(|(number, content)| match number {
            SEVERITY_TEXT => has_secret(content),
            BODY => text(content).is_some_and(has_secret),
            ATTRIBUTES => value(content).and_then(text).is_some_and(has_secret),
            _ => false,
        });
        if !has_secret {
            return Edit::Keep;
        }
        let start = side.len();
        let redacted = redacted_record(record);
        side.extend(redacted);
        Edit::Replace(start..side.len())
    })
}

/// Takes groups of a pattern out of the body into attributes.
pub fn extract(request: &[u8]) -> Vec<u8> {
    edit_records(request, |record, side| {
        let start = side.len();
        let body = Fields(record).find(|(number, _)| *number == BODY).and_then(|(_, body)| text(body));
        if let Some(captures) = body.and_then(|body| EXTRACTED_REGEX.captures(body)) {
            for (group, key) in TARGETS {
                if let Some(found) = captures.name(group) {
                    side.extend(attribute(key, found.as_bytes()));
                }
            }
        }
        Edit::Append(start..side.len())
    })
}

/// Whether everything goes elsewhere, by an attribute of its resource.
pub fn route(request: &[u8]) -> bool {
    Fields(request).filter(|(number, _)| *number == 1).all(|(_, resource_logs)| {
        Fields(resource_logs).filter(|(number, _)| *number == 1).any(|(_, resource)| {
            Fields(resource).any(|(_, attribute)| {
                key(attribute) == ROUTED_BY.0.as_bytes()
                    && value(attribute).and_then(text) == Some(ROUTED_BY.1.as_bytes())
            })
        })
    })
}

const SEVERITY_TEXT: u64 = 3;
const BODY: u64 = 5;
const ATTRIBUTES: u64 = 6;

fn has_secret(text: &[u8]) -> bool {
    let may_be_card = || {
        let mut run = 0;
        text.iter().any(|byte| {
            run = if matches!(byte, b'0'..=b'9' | b' ' | b'-') { run + 1 } else { 0 };
            run == 13
        })
    };
    memchr(b'@', text).is_some() && EMAIL_REGEX.is_match(text)
        || may_be_card() && CARD_REGEX.find_iter(text).any(|found| luhn(found.as_bytes()))
}

fn redacted(text: &[u8]) -> Vec<u8> {
    let text = EMAIL_REGEX.replace_all(text, &b"[email]"[..]);
    let card = |captures: &regex::bytes::Captures<'_>| match luhn(&captures[0]) {
        true => b"[card-number]".to_vec(),
        false => captures[0].to_vec(),
    };
    CARD_REGEX.replace_all(&text, card).into_owned()
}

fn redacted_record(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.len());
    let mut copied = 0;
    let any = |content: &[u8]| {
        let mut any = Vec::new();
        put_field(&mut any, 1, &redacted(text(content).unwrap_or_default()));
        any
    };
    for (number, content) in Fields(record) {
        let is_text = |content: &[u8]| text(content).is_some_and(has_secret);
        let end = content.as_ptr() as usize - record.as_ptr() as usize + content.len();
        let start = end - content.len() - varint_bytes(content.len()) - 1;
        let changed = match number {
            SEVERITY_TEXT if has_secret(content) => redacted(content),
            BODY if is_text(content) => any(content),
            ATTRIBUTES if value(content).is_some_and(is_text) => {
                let mut attribute = Vec::new();
                put_field(&mut attribute, 1, key(content));
                put_field(&mut attribute, 2, &any(value(content).unwrap_or_default()));
                attribute
            }
            _ => continue,
        };
        out.extend_from_slice(&record[copied..start]);
        put_field(&mut out, number, &changed);
        copied = end;
    }
    out.extend_from_slice(&record[copied..]);
    out
}

fn luhn(found: &[u8]) -> bool {
    let digits = found.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let doubled = |(place, digit): (usize, u32)| match place % 2 {
        0 => digit,
        _ => digit * 2 / 10 + digit * 2 % 10,
    };
    digits.enumerate().map(doubled).sum::<u32>().is_multiple_of(10)
}

/// What is done to a record; ranges are in the side buffer.
enum Edit {
    Keep,
    Append(Range<usize>),
    Replace(Range<usize>),
}

/// Writes a request with its records edited, each length once, each byte copied once.
fn edit_records(request: &[u8], mut edit: impl FnMut(&[u8], &mut Vec<u8>) -> Edit) -> Vec<u8> {
    let mut side = Vec::new();
    let mut edits = Vec::new();
    let mut grown = Vec::new(); // by resource, and by scope within
    for (_, resource) in Fields(request).filter(|(number, _)| *number == 1) {
        let mut scopes = Vec::new();
        let mut more = 0;
        for (_, scope) in Fields(resource).filter(|(number, _)| *number == 2) {
            let mut length = scope.len();
            for (_, record) in Fields(scope).filter(|(number, _)| *number == 2) {
                let edit = edit(record, &mut side);
                let now = match &edit {
                    Edit::Keep => record.len(),
                    Edit::Append(behind) => record.len() + behind.len(),
                    Edit::Replace(with) => with.len(),
                };
                length = length + field_bytes(now) - field_bytes(record.len());
                edits.push((edit, now));
            }
            more += field_bytes(length) as isize - field_bytes(scope.len()) as isize;
            scopes.push(length);
        }
        grown.push((resource.len().wrapping_add_signed(more), scopes));
    }
    if edits.iter().all(|(edit, _)| matches!(edit, Edit::Keep)) {
        return request.to_vec();
    }

    let mut out = Vec::with_capacity(request.len() + side.len() + 64);
    let mut edits = edits.into_iter();
    let mut resources = grown.into_iter();
    rewrite(request, 1, &mut out, |out, resource| {
        let (length, scopes) = resources.next().expect("invariant: counted before");
        put_head(out, 1, length);
        let mut scopes = scopes.into_iter();
        rewrite(resource, 2, out, |out, scope| {
            put_head(out, 2, scopes.next().expect("invariant: counted before"));
            rewrite(scope, 2, out, |out, record| {
                let (edit, length) = edits.next().expect("invariant: counted before");
                put_head(out, 2, length);
                match edit {
                    Edit::Keep => out.extend_from_slice(record),
                    Edit::Append(behind) => {
                        out.extend_from_slice(record);
                        out.extend_from_slice(&side[behind]);
                    }
                    Edit::Replace(with) => out.extend_from_slice(&side[with]),
                }
            });
        });
    });
    out
}

/// Copies a message, but for the fields of one number.
fn rewrite(message: &[u8], number: u64, out: &mut Vec<u8>, mut field: impl FnMut(&mut Vec<u8>, &[u8])) {
    let mut copied = 0;
    for (found, content) in Fields(message) {
        if found == number {
            let end = content.as_ptr() as usize - message.as_ptr() as usize + content.len();
            let start = end - content.len() - varint_bytes(content.len()) - 1;
            out.extend_from_slice(&message[copied..start]);
            field(out, content);
            copied = end;
        }
    }
    out.extend_from_slice(&message[copied..]);
}

/// The fields of a message that are bytes, with their numbers. The messages are those of `payload`: right.
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = (u64, &'b [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let tag = varint(&mut self.0);
            let length = match tag & 7 {
                0 => {
                    varint(&mut self.0);
                    continue;
                }
                1 => 8,
                5 => 4,
                _ => varint(&mut self.0),
            };
            let (content, rest) = self.0.split_at(length);
            self.0 = rest;
            if tag & 7 == 2 {
                return Some((tag as u64 >> 3, content));
            }
        }
        None
    }
}

#[inline]
fn varint(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
        shift += 7;
    }
    value
}

/// The key of an attribute.
fn key(attribute: &[u8]) -> &[u8] {
    Fields(attribute).find(|(number, _)| *number == 1).map_or(&[], |(_, key)| key)
}

fn value(attribute: &[u8]) -> Option<&[u8]> {
    Fields(attribute).find(|(number, _)| *number == 2).map(|(_, value)| value)
}

fn text(any: &[u8]) -> Option<&[u8]> {
    Fields(any).find(|(number, _)| *number == 1).map(|(_, text)| text)
}

fn attribute(key: &str, text: &[u8]) -> Vec<u8> {
    let (mut any, mut attribute, mut field) = (Vec::new(), Vec::new(), Vec::new());
    put_field(&mut any, 1, text);
    put_field(&mut attribute, 1, key.as_bytes());
    put_field(&mut attribute, 2, &any);
    put_field(&mut field, ATTRIBUTES, &attribute);
    field
}

fn put_field(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_head(out, number, content.len());
    out.extend_from_slice(content);
}

fn put_head(out: &mut Vec<u8>, number: u64, length: usize) {
    out.push((number << 3 | 2) as u8);
    let mut length = length;
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn field_bytes(content: usize) -> usize {
    1 + varint_bytes(content) + content
}

fn varint_bytes(value: usize) -> usize {
    (64 - (value as u64 | 1).leading_zeros() as usize).div_ceil(7)
}

// By decoding, changing and encoding.

/// The same as [`insert`].
pub fn decoded_insert(request: &[u8]) -> Vec<u8> {
    decoded(request, |attributes, _| {
        for (key, value) in INSERTED {
            if attributes.iter().all(|attribute| attribute.key != key) {
                attributes.push(text_attribute(key, value));
            }
        }
    })
}

/// The same as [`redact`].
pub fn decoded_redact(request: &[u8]) -> Vec<u8> {
    decoded(request, |attributes, body| {
        let values = attributes.iter_mut().filter_map(|attribute| attribute.value.as_mut());
        for value in values.chain(body) {
            if let Some(Value::StringValue(text)) = &mut value.value
                && has_secret(text.as_bytes())
            {
                *text = String::from_utf8_lossy(&redacted(text.as_bytes())).into_owned();
            }
        }
    })
}

/// The same as [`extract`].
pub fn decoded_extract(request: &[u8]) -> Vec<u8> {
    decoded(request, |attributes, body| {
        let Some(AnyValue { value: Some(Value::StringValue(body)) }) = body else { return };
        if let Some(captures) = EXTRACTED_REGEX.captures(body.as_bytes()) {
            for (group, key) in TARGETS {
                if let Some(found) = captures.name(group) {
                    attributes.push(text_attribute(key, &String::from_utf8_lossy(found.as_bytes())));
                }
            }
        }
    })
}

/// The same as [`route`], with what goes there.
pub fn decoded_route(request: &[u8]) -> Vec<u8> {
    decoded(request, |_, _| {})
}

fn text_attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn decoded(request: &[u8], mut change: impl FnMut(&mut Vec<KeyValue>, Option<&mut AnyValue>)) -> Vec<u8> {
    let mut request = ExportLogsServiceRequest::decode(request).expect("invariant: the payload is a request");
    let scopes = request.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs);
    for record in scopes.flat_map(|scope| &mut scope.log_records) {
        change(&mut record.attributes, record.body.as_mut());
    }
    request.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    #[test]
    fn both_ways_do_the_same() {
        let request = payload::logs(30);
        let decoded = |bytes: Vec<u8>| ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        assert_eq!(decoded(insert(&request)), decoded(decoded_insert(&request)));
        assert_eq!(decoded(redact(&request)), decoded(decoded_redact(&request)));
        assert_eq!(decoded(extract(&request)), decoded(decoded_extract(&request)));
        assert!(route(&request));
    }
}
