//! OTLP/JSON against other readers of JSON and of the same messages. What is accepted is what prost-reflect
//! makes of the JSON's tree by the descriptors; it can be indexed, and comes out as it went in. What prost
//! makes of bytes is what is written of them as JSON.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::sync::LazyLock;
use tollgate::otlp::{
    Chunks, Document, Encoding, Leniency, Refusal, Signal, misposted, to_json, to_protobuf,
};

const LIMIT: u64 = 1 << 20;

static DESCRIPTORS: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).expect("descriptors"));

fuzz_target!(|data: &[u8]| {
    for (signal, name) in [
        (Signal::Logs, "logs.v1.ExportLogsServiceRequest"),
        (Signal::Traces, "trace.v1.ExportTraceServiceRequest"),
        (Signal::Metrics, "metrics.v1.ExportMetricsServiceRequest"),
    ] {
        let name = format!("opentelemetry.proto.collector.{name}");
        let request = DESCRIPTORS.get_message_by_name(&name).expect("a message of the descriptors");
        read(signal, &request, data);
        write(signal, &request, data);
    }
});

fn read(signal: Signal, request: &MessageDescriptor, json: &[u8]) {
    let mut held = 0;
    let read = to_protobuf(signal, json, LIMIT, |total| {
        held = total;
        Ok(())
    });
    assert!(held <= LIMIT);
    let slow = slow(request, json);
    let (bytes, leniencies) = match read {
        Ok(read) => read,
        Err(refusal) => {
            let tree = serde_json::from_slice::<Value>(json);
            assert!(tree.is_err() || !refusal.message().contains("not JSON"), "{}", refusal.message());
            assert!(slow.is_none() || is_stricter(&refusal.message()), "{}", refusal.message());
            return;
        }
    };
    assert!(serde_json::from_slice::<IgnoredAny>(json).is_ok(), "what is read is JSON");
    assert!(bytes.len() as u64 <= LIMIT);
    let decoded =
        DynamicMessage::decode(request.clone(), bytes.clone()).expect("what is written is protobuf");
    // prost-reflect ignores a number in a string where an enum's is wanted
    if let Some(slow) = slow.filter(|_| leniencies.count(Leniency::EnumString) == 0) {
        assert_eq!(slow.encode_to_vec(), decoded.encode_to_vec());
    }
    Document::parse(signal, bytes.clone()).expect("what is written can be indexed");
    let chunks = Chunks::from(bytes.clone());
    assert_eq!(misposted(signal, Encoding::Protobuf, &chunks), None);
    let again = to_json(signal, &chunks, u64::MAX, |_| Ok(())).expect("what was JSON can be JSON again");
    let (again, leniencies) =
        to_protobuf(signal, &again, u64::MAX, |_| Ok(())).expect("what is written is read");
    assert_eq!(again, bytes);
    assert_eq!(leniencies.iter().count(), 0);
}

/// What prost-reflect takes, but OTLP does not, or would lose something: texts that Rust reads as numbers
/// and JSON does not, unused bits in base64, names that no enum has, ids of another length; integers
/// that are rounded to one; a field in two ways of writing its name.
fn is_stricter(message: &str) -> bool {
    let words =
        ["got \"", "integer, got ", "set twice", "set although", "inside each other", "not a JSON object"];
    words.iter().any(|words| message.contains(words))
}

/// By a tree, and by the descriptors. Ids are hex in OTLP, and base64 in the mapping of proto3.
fn slow(request: &MessageDescriptor, json: &[u8]) -> Option<DynamicMessage> {
    let mut tree: Value = serde_json::from_slice(json).ok()?;
    if keys(&tree) < colons(json) || has_rounded(&tree) {
        return None; // a key that is there twice: the tree has forgotten the first
    }
    ids_to_base64(&mut tree);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(request.clone(), tree, &options).ok()
}

/// Whether there is a number that may be an integer which the tree does not have exactly.
fn has_rounded(tree: &Value) -> bool {
    match tree {
        Value::Array(elements) => elements.iter().any(has_rounded),
        Value::Object(fields) => fields.values().any(has_rounded),
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|double| double.abs() >= 9e15)
        }
        _ => false,
    }
}

fn keys(tree: &Value) -> usize {
    match tree {
        Value::Array(elements) => elements.iter().map(keys).sum(),
        Value::Object(fields) => fields.len() + fields.values().map(keys).sum::<usize>(),
        _ => 0,
    }
}

/// The colons of a JSON text that are in no string.
fn colons(json: &[u8]) -> usize {
    let (mut in_string, mut escaped) = (false, false);
    let is_outside = |byte: &&u8| {
        let ends = **byte == b'"' && !escaped;
        escaped = **byte == b'\\' && !escaped;
        in_string ^= ends;
        !in_string && **byte == b':'
    };
    json.iter().filter(is_outside).count()
}

fn ids_to_base64(tree: &mut Value) {
    match tree {
        Value::Array(elements) => elements.iter_mut().for_each(ids_to_base64),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.to_ascii_lowercase().replace('_', "").as_str(), &value) {
                    ("traceid" | "spanid" | "parentspanid", Value::String(text)) => {
                        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
                        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
                        *value = STANDARD.encode(bytes.unwrap_or_default()).into();
                    }
                    _ => ids_to_base64(value),
                }
            }
        }
        _ => {}
    }
}

fn write(signal: Signal, request: &MessageDescriptor, protobuf: &[u8]) {
    let chunks = Chunks::from(Bytes::copy_from_slice(protobuf));
    let decoded = DynamicMessage::decode(request.clone(), protobuf);
    match to_json(signal, &chunks, LIMIT, |_| Ok(())) {
        Ok(json) => {
            let Ok(mut decoded) = decoded else { return };
            drop_unknown(&mut decoded);
            match to_protobuf(signal, &json, u64::MAX, |_| Ok(())) {
                Ok((bytes, _)) => {
                    let again = DynamicMessage::decode(request.clone(), bytes).expect("protobuf");
                    assert_eq!(again.encode_to_vec(), decoded.encode_to_vec());
                }
                // an id's length is not looked at on the way out
                Err(refusal) => assert!(refusal.message().contains("hex digits"), "{}", refusal.message()),
            }
        }
        Err(Refusal::TooLarge { .. }) => {}
        Err(refusal) => {
            assert!(
                decoded.is_err() || refusal.message().contains("inside each other"),
                "{}",
                refusal.message()
            );
        }
    }
}

/// Fields without a name have no place in JSON.
fn drop_unknown(message: &mut DynamicMessage) {
    fn within(value: &mut prost_reflect::Value) {
        match value {
            prost_reflect::Value::Message(message) => drop_unknown(message),
            prost_reflect::Value::List(elements) => elements.iter_mut().for_each(within),
            _ => {}
        }
    }
    let _unknown: Vec<_> = message.take_unknown_fields().collect();
    message.fields_mut().for_each(|(_, value)| within(value));
}
