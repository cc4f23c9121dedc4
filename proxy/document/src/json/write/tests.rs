use super::super::{
    tests::{ALL_KINDS, batches, decode},
    to_protobuf,
};
use super::*;
use proptest::prelude::*;
use serde_json::json;

const NO_LIMIT: u64 = u64::MAX;

fn write(signal: Signal, protobuf: &[u8]) -> Result<String, String> {
    let json = to_json(signal, &Bytes::copy_from_slice(protobuf).into(), NO_LIMIT, |_| Ok(()));
    json.map(|json| String::from_utf8(json.into()).unwrap()).map_err(|why| why.to_string())
}

/// A field of bytes; short enough for a length of one byte.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 0x80);
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

/// Writes one record of these bytes; gives what is written for it.
fn record(signal: Signal, record: &[u8]) -> Result<String, String> {
    let (resource, scope, records) = match signal {
        Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        Signal::Traces => ("resourceSpans", "scopeSpans", "spans"),
        _ => ("resourceMetrics", "scopeMetrics", "metrics"),
    };
    let json = write(signal, &field(1, &field(2, &field(2, record))))?;
    let before = format!(r#"{{"{resource}":[{{"{scope}":[{{"{records}":["#);
    Ok(json.strip_prefix(&before).unwrap().strip_suffix("]}]}]}").unwrap().to_owned())
}

/// A log record with this body.
fn body(value: &[u8]) -> Result<String, String> {
    record(Signal::Logs, &field(5, value))
}

#[test]
fn every_kind_is_written_as_the_specification_wants_it() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "{}"),
        (b"\x09\x01\0\0\0\0\0\0\0", r#"{"timeUnixNano":"1"}"#),
        (b"\x09\0\0\0\0\0\0\0\0", r#"{"timeUnixNano":"0"}"#),
        (b"\x10\x09", r#"{"severityNumber":9}"#),
        (b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", r#"{"severityNumber":-1}"#),
        (b"\x1a\x04a\"\n\\", r#"{"severityText":"a\"\n\\"}"#),
        (b"\x52\x08\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74", r#"{"spanId":"eee19b7ec3c1b174"}"#),
        (b"\x52\x01\x0f", r#"{"spanId":"0f"}"#),
        (b"\x2a\x02\x10\x01", r#"{"body":{"boolValue":true}}"#),
        (b"\x2a\x02\x18\x05", r#"{"body":{"intValue":"5"}}"#),
        (b"\x2a\x04\x3a\x02\xfb\xff", r#"{"body":{"bytesValue":"+/8="}}"#),
        (b"\x2a\0\x32\0\x32\x03\x0a\x01k", r#"{"body":{},"attributes":[{},{"key":"k"}]}"#),
    ];
    for (bytes, json) in cases {
        assert_eq!(record(Signal::Logs, bytes).as_deref(), Ok(json), "{bytes:?}");
    }
    for (double, json) in [
        (1.0, "1.0"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        let value = [&[0x21], &double.to_le_bytes()[..]].concat();
        assert_eq!(body(&value), Ok(format!(r#"{{"body":{{"doubleValue":{json}}}}}"#)));
    }
}

#[test]
fn protobufs_other_ways_to_say_it_are_understood() {
    let cases: [(&[u8], serde_json::Value); 8] = [
        (b"\x10\x09\x10\x0a", json!({"severityNumber": 10})),
        (b"\xa2\x06\x01x\x10\x09", json!({"severityNumber": 9})), // field 100 is not known
        (b"\xa3\x06\x08\x01\xa4\x06\x10\x09", json!({"severityNumber": 9})), // nor as a group
        // the elements of a list, with another field in between
        (
            b"\x32\x03\x0a\x01a\x10\x09\x32\x03\x0a\x01b",
            json!({"severityNumber": 9, "attributes": [{"key": "a"}, {"key": "b"}]}),
        ),
        // a oneof that is set twice
        (b"\x2a\x04\x10\x01\x18\x05", json!({"body": {"intValue": "5"}})),
        (b"\x2a\x04\x18\x05\x18\x06", json!({"body": {"intValue": "6"}})),
        // the parts of one message
        (b"\x2a\x02\x18\x05\x2a\x02\x18\x06\x2a\0", json!({"body": {"intValue": "6"}})),
        // the parts of a list, with another choice in between
        (
            b"\x2a\x10\x2a\x02\x0a\x00\x18\x05\x2a\x04\x0a\x02\x10\x01\x2a\x02\x0a\0",
            json!({"body": {"arrayValue": {"values": [{"boolValue": true}, {}]}}}),
        ),
    ];
    for (bytes, expected) in cases {
        let json = record(Signal::Logs, bytes).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), expected, "{bytes:?}");
    }
    let list = |elements: &[u8]| field(5, &field(5, elements));
    let parts = [list(&field(1, b"")), list(&field(1, b"\x10\x01"))].concat();
    let json = r#"{"body":{"arrayValue":{"values":[{},{"boolValue":true}]}}}"#;
    assert_eq!(record(Signal::Logs, &parts).as_deref(), Ok(json));
}

#[test]
fn numbers_of_a_list_are_read_packed_and_one_by_one() {
    let double = |number: f64| number.to_le_bytes();
    let packed = field(7, &[double(1.5), double(-2.0)].concat());
    let single = [&[0x39][..], &double(3.0)].concat();
    let point = [packed, single].concat();
    let json = record(Signal::Metrics, &field(9, &field(1, &point)));
    assert_eq!(json.as_deref(), Ok(r#"{"histogram":{"dataPoints":[{"explicitBounds":[1.5,-2.0,3.0]}]}}"#));
    let buckets = [field(2, b"\x01\xac\x02"), b"\x10\x03".to_vec(), b"\x08\x03".to_vec()].concat();
    let json = record(Signal::Metrics, &field(10, &field(1, &field(8, &buckets))));
    let expected = r#"{"exponentialHistogram":{"dataPoints":[{"positive":{"bucketCounts":["1","300","3"],"offset":-2}}]}}"#;
    assert_eq!(json.as_deref(), Ok(expected));
}

#[test]
fn what_cannot_be_written_is_refused_with_its_place() {
    let at = "resourceLogs[0].scopeLogs[0].logRecords[0]";
    let cases: [(&[u8], &str); 7] = [
        (b"\x1a\x02a\xff", ".severityText: not UTF-8 at byte 1 of the text"),
        (b"\x18\x01", ".severityText: another wire type than this field has"),
        (b"\x32\0\x30\x01", ".attributes[1]: another wire type than this field has"),
        (b"\x32\x05\x0a\x03ab", ": a length beyond the end"),
        (b"\x2a\x02\x0a\x01", ".body: a length beyond the end"),
        (b"\x09\x01", ": a value beyond the end"),
        (b"\0", ": a field number that cannot be"),
    ];
    for (bytes, message) in cases {
        assert_eq!(record(Signal::Logs, bytes), Err(format!("{at}{message}")), "{bytes:?}");
    }
    let half = field(7, &[0; 12]);
    let error = record(Signal::Metrics, &field(9, &field(1, &half))).unwrap_err();
    assert!(error.ends_with("explicitBounds[1]: another wire type than this field has"), "{error}");
    assert!(write(Signal::Profiles, b"").is_err());
}

#[test]
fn values_may_be_inside_each_other_up_to_a_bound() {
    // a length of five bytes everywhere, so that they need no care
    let wrap = |number: u8, content: &[u8]| {
        let mut length = (content.len() as u64) | 0x8_0000_0000;
        let mut bytes = vec![number << 3 | 2];
        for _ in 0..5 {
            bytes.push(length as u8 & 0x7f | 0x80);
            length >>= 7;
        }
        *bytes.last_mut().unwrap() &= 0x7f;
        bytes[5] = 0;
        bytes.extend_from_slice(content);
        bytes
    };
    let nested = |depth: usize| {
        let value = (1..depth).fold(vec![0x18, 5], |value, _| wrap(5, &wrap(1, &value)));
        wrap(1, &wrap(2, &wrap(2, &wrap(5, &value))))
    };
    let json = write(Signal::Logs, &nested(ANY_VALUE_DEPTH_MAX)).unwrap();
    assert!(to_protobuf(Signal::Logs, json.as_bytes(), NO_LIMIT, |_| Ok(())).is_ok());
    for depth in [ANY_VALUE_DEPTH_MAX + 1, 1000] {
        let error = write(Signal::Logs, &nested(depth)).unwrap_err();
        assert!(error.ends_with("values[0]: more than 28 values inside each other"), "{error}");
    }
}

#[test]
fn what_is_written_is_asked_for_and_limited() {
    let record = field(5, &field(1, "\u{1}".repeat(100).as_bytes()));
    let protobuf: Chunks = Bytes::from(field(1, &field(2, &field(2, &record)))).into();
    let length = to_json(Signal::Logs, &protobuf, NO_LIMIT, |_| Ok(())).unwrap().len() as u64;
    for limit in [0, 1, length - 1, length] {
        let json = to_json(Signal::Logs, &protobuf, limit, |total| {
            assert!(total <= limit);
            Ok(())
        });
        match json {
            Ok(json) => assert_eq!(json.len() as u64, limit),
            Err(refusal) => {
                assert!(limit < length);
                assert_eq!(refusal, Untranslated::TooLarge { limit });
            }
        }
    }
    let refused = to_json(Signal::Logs, &protobuf, NO_LIMIT, |_| Err(NoRoom));
    assert_eq!(refused, Err(Untranslated::NoRoom));
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(batch in batches(ALL_KINDS)) {
        let signal = batch.signal();
        let json = write(signal, &batch.encode()).unwrap();
        let (bytes, leniencies) = to_protobuf(signal, json.as_bytes(), NO_LIMIT, |_| Ok(()))
            .map_err(|refusal| TestCaseError::fail(format!("{}: {json}", refusal)))?;
        // compared as bytes: NaN is not the same as itself
        prop_assert_eq!(decode(signal, &bytes).encode(), batch.encode(), "{}", json);
        prop_assert_eq!(leniencies, super::super::Leniencies::default());
    }

    #[test]
    fn parts_in_any_order_come_to_what_prost_makes_of_them(batches in prop::collection::vec(batches(ALL_KINDS), 1..4)) {
        // Concatenated, two messages are one that is merged: the same at every level.
        let signal = batches[0].signal();
        let same = batches.iter().filter(|batch| batch.signal() == signal);
        let records: Vec<u8> = same.flat_map(|batch| inner(2, &inner(2, &inner(1, &batch.encode())))).collect();
        let wrapped = long(1, &long(2, &long(2, &records)));
        let json = write(signal, &wrapped).unwrap();
        let (bytes, _) = to_protobuf(signal, json.as_bytes(), NO_LIMIT, |_| Ok(())).unwrap();
        prop_assert_eq!(decode(signal, &bytes).encode(), decode(signal, &wrapped).encode(), "{}", json);
    }

    #[test]
    fn no_bytes_make_the_writer_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for signal in Signal::ALL {
            let _ = write(signal, &bytes);
            let _ = write(signal, &long(1, &long(2, &long(2, &bytes))));
        }
    }
}

/// The contents of a field, put together.
fn inner(wanted: u64, bytes: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let mut contents = Vec::new();
    while let Some(Ok((number, value))) = reader.field() {
        if let (true, Value::Bytes(content)) = (number == wanted, value) {
            contents.extend_from_slice(content);
        }
    }
    contents
}

/// As [`field`], of any length.
fn long(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}
