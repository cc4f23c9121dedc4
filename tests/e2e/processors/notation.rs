//! Values of OTLP as the corpus writes them: JSON that keeps duplicate keys and tells 1 from 1.0, with
//! `null` for an empty value and `{"$bytes": "00ff"}` for bytes.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::fmt;

const BYTES: &str = "$bytes";

#[track_caller]
pub fn parse(text: &str) -> AnyValue {
    let parsed: Result<Written, _> = serde_json::from_str(text);
    parsed.unwrap_or_else(|error| panic!("no value: {text}: {error}")).0
}

/// What [`parse`] reads. A value that is absent and one that is empty are the same, and so are orders of keys,
/// but for those of equal keys: the Collector puts the last of a map where it removes another.
pub fn render(value: Option<&AnyValue>) -> String {
    let list = |items: Vec<String>| items.join(",");
    match value.and_then(|value| value.value.as_ref()) {
        None => "null".to_owned(),
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => format!("{value:?}"),
        Some(Value::BytesValue(bytes)) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{{\"{BYTES}\":\"{digits}\"}}")
        }
        Some(Value::ArrayValue(array)) => {
            format!("[{}]", list(array.values.iter().map(|value| render(Some(value))).collect()))
        }
        Some(Value::KvlistValue(map)) => {
            let mut pairs: Vec<_> = map.values.iter().collect();
            pairs.sort_by_key(|pair| &pair.key);
            let pair = |pair: &KeyValue| format!("{:?}:{}", pair.key, render(pair.value.as_ref()));
            format!("{{{}}}", list(pairs.into_iter().map(pair).collect()))
        }
        Some(other) => format!("{other:?}"),
    }
}

struct Written(AnyValue);

impl From<Value> for Written {
    fn from(value: Value) -> Self {
        Self(AnyValue { value: Some(value) })
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written(AnyValue::default()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        Ok(Value::BoolValue(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
        Ok(Value::IntValue(value).into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Written, E> {
        i64::try_from(value).map(|value| Value::IntValue(value).into()).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Written, E> {
        Ok(Value::DoubleValue(value).into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Value::StringValue(text.to_owned()).into())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Written, S::Error> {
        let mut values = Vec::new();
        while let Some(Written(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::ArrayValue(ArrayValue { values }).into())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Written, M::Error> {
        let mut values = Vec::new();
        while let Some((key, Written(value))) = map.next_entry::<String, Written>()? {
            if let (BYTES, Some(Value::StringValue(digits))) = (key.as_str(), &value.value) {
                return Ok(Value::BytesValue(bytes(digits).ok_or(M::Error::custom("no bytes"))?).into());
            }
            values.push(KeyValue { key, value: Some(value), ..KeyValue::default() });
        }
        Ok(Value::KvlistValue(KeyValueList { values }).into())
    }
}

/// Hexadecimal digits as bytes.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[test]
fn what_is_read_is_written_again() {
    for text in
        [r#"{"a":1,"a":1.0,"b":null,"c":[true,"x\n",{"d":-2.5}],"e":{"$bytes":"00ff"}}"#, r#""""#, "[]", "{}"]
    {
        assert_eq!(render(Some(&parse(text))), text);
    }
    assert_eq!(render(None), "null");
    assert_eq!(render(Some(&parse(r#"{"b":1,"a":2,"b":3}"#))), r#"{"a":2,"b":1,"b":3}"#);
}
