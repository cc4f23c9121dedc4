//! Batches that were posted to the path of another signal.
//!
//! Down to the record, logs, traces and metrics have the same shape under the same numbers, and JSON's
//! unknown keys are ignored: a batch on the wrong path can be taken for a valid one of nonsense, or of
//! nothing. The records tell, and JSON's outermost key.

use super::{
    Chunks, Encoding, Signal, document,
    schema::{Field, Kind, Message, WireType},
    wire::{Reader, Value},
};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// How many records are looked at.
const RECORDS_MAX: usize = 4;
/// How deep a record is looked into; below, everything is as it should be.
const DEPTH_MAX: usize = 32;
/// Those that can be told from each other.
const KNOWN: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];

/// The signal that a batch is of, if it is not the declared one and there is no doubt.
///
/// Says nothing of a batch that the declared signal's messages could be: unknown fields are allowed there,
/// but no other wire type, no text that is not UTF-8 and no id of another length. The other signal's
/// messages must fit without an unknown field, and those of the third must not.
///
/// It reads no more than the first records, or the first key; all keys, where the first is another
/// signal's.
pub fn misposted(declared: Signal, encoding: Encoding, body: &Chunks) -> Option<Signal> {
    Message::request(declared)?;
    match encoding {
        Encoding::Protobuf => by_records(declared, body),
        Encoding::Json => by_keys(declared, &body.to_bytes()),
    }
}

fn by_records(declared: Signal, body: &Chunks) -> Option<Signal> {
    let records: Vec<_> =
        document::first_records(body, RECORDS_MAX).into_iter().map(|range| body.slice(range)).collect();
    let fits = |signal: Signal, is_declared: bool, depth: usize| {
        let message = Message::record(signal);
        message.is_some_and(|message| records.iter().all(|record| is(message, record, is_declared, depth)))
    };
    // Every batch is asked this: a record's own fields tell, what is inside them is not looked into.
    if records.is_empty() || fits(declared, true, DEPTH_MAX) {
        return None;
    }
    let mut others = KNOWN.into_iter().filter(|&signal| signal != declared && fits(signal, false, 0));
    others.next().filter(|_| others.next().is_none())
}

/// Whether a batch is of this signal and has nothing in it that is not known here.
pub fn is_known(signal: Signal, protobuf: &Chunks) -> bool {
    Message::request(signal).is_some_and(|message| is(message, &protobuf.to_bytes(), false, 0))
}

/// Whether bytes can be this message.
fn is(message: &Message, bytes: &[u8], unknown_fields: bool, depth: usize) -> bool {
    let mut reader = Reader::new(bytes);
    let mut expected = 0;
    while let Some(field) = reader.field() {
        let Ok((number, value)) = field else { return false };
        match message.by_number(number, expected) {
            Some(place) if holds(&message.fields[place], value, unknown_fields, depth) => expected = place,
            None if unknown_fields => {}
            Some(_) | None => return false,
        }
    }
    true
}

/// Whether a field can have this value.
fn holds(field: &Field, value: Value<'_>, unknown_fields: bool, depth: usize) -> bool {
    match (field.kind, value) {
        (Kind::Message(_), Value::Bytes(_)) if depth == DEPTH_MAX => true,
        (Kind::Message(message), Value::Bytes(bytes)) => is(message, bytes, unknown_fields, depth + 1),
        (Kind::String, Value::Bytes(bytes)) => std::str::from_utf8(bytes).is_ok(),
        (Kind::Id(length), Value::Bytes(bytes)) => bytes.is_empty() || bytes.len() == length,
        (kind, Value::Bytes(_)) => field.is_packed() || matches!(kind, Kind::Bytes),
        (kind, Value::Number(_)) => kind.wire_type() == WireType::Varint,
        (kind, Value::Fixed64(_)) => kind.wire_type() == WireType::I64,
        (kind, Value::Fixed32(_)) => kind.wire_type() == WireType::I32,
        (_, Value::Group) => false,
    }
}

fn by_keys(declared: Signal, body: &[u8]) -> Option<Signal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_map(Keys { declared }).ok().flatten()
}

/// The keys of the outermost object: the one other signal that they name.
struct Keys {
    declared: Signal,
}

impl<'de> Visitor<'de> for Keys {
    type Value = Option<Signal>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let names =
                |signal: &Signal| Message::request(*signal).is_some_and(|of| of.field(&key).is_some());
            match KNOWN.iter().copied().find(names) {
                Some(signal) if signal == self.declared || found.is_some_and(|found| found != signal) => {
                    return Err(A::Error::custom("no need to read on"));
                }
                Some(signal) => found = Some(signal),
                None => {}
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::json::tests::{ALL_KINDS, Batch, batches},
        *,
    };
    use bytes::Bytes;
    use proptest::prelude::*;

    fn of_json(declared: Signal, body: &str) -> Option<Signal> {
        misposted(declared, Encoding::Json, &Bytes::copy_from_slice(body.as_bytes()).into())
    }

    fn of_protobuf(declared: Signal, body: &[u8]) -> Option<Signal> {
        misposted(declared, Encoding::Protobuf, &Bytes::copy_from_slice(body).into())
    }

    #[test]
    fn json_is_known_by_its_outermost_key() {
        use Signal::{Logs, Metrics, Profiles, Traces};
        let cases = [
            (Logs, r#"{"resourceSpans":[]}"#, Some(Traces)),
            (Logs, r#" {"new":{"resourceLogs":1},"resource_metrics":[{}]}"#, Some(Metrics)),
            (Traces, r#"{"resourceLogs":[{"a":1}]}"#, Some(Logs)),
            (Logs, r#"{"resourceLogs":[]}"#, None),
            (Logs, r#"{"resource_logs":[]} and no JSON"#, None),
            (Logs, r#"{"resourceSpans":[],"resourceLogs":[]}"#, None),
            (Logs, r#"{"resourceSpans":[],"resourceMetrics":[]}"#, None),
            (Logs, r#"{"resourceSpans":["#, None),
            (Logs, "{}", None),
            (Logs, r#"{"spans":[]}"#, None),
            (Logs, "[]", None),
            (Logs, "", None),
            (Profiles, r#"{"resourceSpans":[]}"#, None),
        ];
        for (declared, body, expected) in cases {
            assert_eq!(of_json(declared, body), expected, "{declared} {body}");
        }
    }

    /// A usual batch of each signal.
    fn usual() -> [Batch; 3] {
        let read = |signal, json: &str| {
            let (bytes, _) =
                crate::to_protobuf(signal, json.as_bytes(), u64::MAX, |_| Ok(())).expect("an example");
            crate::json::tests::decode(signal, &bytes)
        };
        [
            read(Signal::Logs, include_str!("../../../tests/examples/logs.json")),
            read(Signal::Traces, include_str!("../../../tests/examples/traces.json")),
            read(Signal::Metrics, include_str!("../../../tests/examples/metrics.json")),
        ]
    }

    #[test]
    fn usual_batches_are_known_on_every_wrong_path() {
        for batch in usual() {
            for declared in KNOWN {
                let expected = (declared != batch.signal()).then_some(batch.signal());
                assert_eq!(of_protobuf(declared, &batch.encode()), expected, "on the path of {declared}");
                assert_eq!(of_json(declared, &batch.crate_json()), expected, "on the path of {declared}");
            }
            assert_eq!(of_protobuf(Signal::Profiles, &batch.encode()), None);
            let mut pieces = Chunks::default();
            batch.encode().chunks(7).for_each(|piece| pieces.push(Bytes::copy_from_slice(piece)));
            let elsewhere = if batch.signal() == Signal::Logs { Signal::Traces } else { Signal::Logs };
            assert_eq!(misposted(elsewhere, Encoding::Protobuf, &pieces), Some(batch.signal()));
        }
    }

    #[test]
    fn where_there_is_doubt_nothing_is_said() {
        let record = |content: &[u8]| {
            let wrap = |content: &[u8]| [&[0x12, content.len() as u8], content].concat();
            let resource = wrap(&wrap(content));
            [&[0x0a, resource.len() as u8], &resource[..]].concat()
        };
        let cases: [(&[u8], Option<Signal>); 6] = [
            (b"", None),
            (b"\x1a\x01a", None),        // field 3 is text in all of them
            (b"\xa2\x06\x01x", None),    // field 100 is known to none
            (b"\x0a\x7f", None),         // broken
            (b"\x0a\x02\xff\xff", None), // no time, no trace id, no name
            (b"\x0a\x05short\x1a\x01a", Some(Signal::Metrics)), // no time, no trace id, but a name
        ];
        for (content, expected) in cases {
            assert_eq!(of_protobuf(Signal::Logs, &record(content)), expected, "{content:?}");
        }
        for body in [&b""[..], b"\x0a\0", b"\x0a\x02\x12\0", b"not protobuf", b"\x08\x01"] {
            for declared in Signal::ALL {
                assert_eq!(of_protobuf(declared, body), None);
            }
        }
    }

    proptest! {
        #[test]
        fn no_valid_batch_is_taken_for_another(
            batch in batches(ALL_KINDS),
            unknown in prop::collection::vec(17u8..=31, 0..3),
        ) {
            let mut bytes = batch.encode();
            // an empty record before them all, then one of fields that nobody knows yet
            let fields: Vec<u8> = unknown.iter().flat_map(|number| {
                let tag = u16::from(*number) << 3 | 2;
                [tag as u8 & 0x7f | 0x80, (tag >> 7) as u8, 1, b'x']
            }).collect();
            let record = [&[0x12, fields.len() as u8], &fields[..]].concat();
            let scope = [&[0x12, record.len() as u8 + 2, 0x12, 0], &record[..]].concat();
            bytes.splice(0..0, [&[0x0a, scope.len() as u8], &scope[..]].concat());
            prop_assert_eq!(of_protobuf(batch.signal(), &bytes), None);
            prop_assert_eq!(of_protobuf(batch.signal(), &batch.encode()), None);
            prop_assert_eq!(of_json(batch.signal(), &batch.crate_json()), None);
            // and on another path it is taken for nothing but what it is
            for declared in KNOWN {
                let taken = of_protobuf(declared, &batch.encode());
                prop_assert!(taken.is_none_or(|taken| taken == batch.signal()));
            }
        }
    }
}
