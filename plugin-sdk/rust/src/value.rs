//! Values: from and to Rust's own types, and JSON.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

pub use crate::bindings::tollgate::plugin::types::{KeyValue, Value};

impl Value {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The number, if it is one, integers included.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Value::Int(int) => Some(*int as f64),
            Value::Double(double) => Some(*double),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(boolean) => Some(*boolean),
            _ => None,
        }
    }

    /// The bytes, if it is bytes or a text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            Value::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }
}

/// What can be given as a value: [`Value`] itself, without being copied, and Rust's own types.
pub trait ToValue {
    /// The value.
    fn to_value(&self) -> Cow<'_, Value>;
}

impl ToValue for Value {
    fn to_value(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Cow<'_, Value> {
        (**self).to_value()
    }
}

macro_rules! to_value {
    ($($type:ty: $this:ident => $value:expr,)*) => {$(
        impl ToValue for $type {
            fn to_value(&self) -> Cow<'_, Value> {
                let $this = self;
                Cow::Owned($value)
            }
        }

        impl From<&$type> for Value {
            fn from($this: &$type) -> Value {
                $value
            }
        }
    )*};
}

to_value! {
    str: text => Value::Text(text.to_owned()),
    String: text => Value::Text(text.clone()),
    bool: boolean => Value::Boolean(*boolean),
    i64: int => Value::Int(*int),
    i32: int => Value::Int(i64::from(*int)),
    u32: int => Value::Int(i64::from(*int)),
    f64: double => Value::Double(*double),
    [u8]: bytes => Value::Bytes(bytes.to_vec()),
    Vec<u8>: bytes => Value::Bytes(bytes.clone()),
}

macro_rules! from_owned {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::from(&value)
            }
        }
    )*};
}

from_owned!(bool, i64, i32, u32, f64);

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bytes(bytes)
    }
}

/// `null` becomes [`Value::Empty`]; an array or an object an encoded `AnyValue`; an integer beyond 64 bits a
/// double.
impl From<Json> for Value {
    fn from(json: Json) -> Value {
        match json {
            Json::Null => Value::Empty,
            Json::Bool(boolean) => Value::Boolean(boolean),
            Json::Number(number) => match number.as_i64() {
                Some(int) => Value::Int(int),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text),
            nested @ (Json::Array(_) | Json::Object(_)) => {
                let mut encoded = Vec::new();
                any_value::write(&mut encoded, &nested);
                Value::Encoded(encoded)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Json::deserialize(deserializer).map(Value::from)
    }
}

/// `AnyValue` of opentelemetry-proto, as far as JSON needs it. serde_json bounds the depth.
mod any_value {
    use serde_json::Value as Json;

    const TEXT: u8 = tag(1, LENGTH_DELIMITED);
    const BOOLEAN: u8 = tag(2, VARINT);
    const INT: u8 = tag(3, VARINT);
    const DOUBLE: u8 = tag(4, FIXED64);
    const ARRAY: u8 = tag(5, LENGTH_DELIMITED);
    const KEY_VALUE_LIST: u8 = tag(6, LENGTH_DELIMITED);

    /// `ArrayValue.values` and `KeyValueList.values`.
    const VALUES: u8 = tag(1, LENGTH_DELIMITED);
    const KEY_VALUE_KEY: u8 = tag(1, LENGTH_DELIMITED);
    const KEY_VALUE_VALUE: u8 = tag(2, LENGTH_DELIMITED);

    const VARINT: u8 = 0;
    const FIXED64: u8 = 1;
    const LENGTH_DELIMITED: u8 = 2;

    const fn tag(field: u8, wire_type: u8) -> u8 {
        field << 3 | wire_type
    }

    pub(super) fn write(out: &mut Vec<u8>, json: &Json) {
        match json {
            Json::Null => {}
            Json::Bool(boolean) => out.extend([BOOLEAN, u8::from(*boolean)]),
            Json::Number(number) => match number.as_i64() {
                Some(int) => {
                    out.push(INT);
                    varint(out, int as u64);
                }
                None => {
                    out.push(DOUBLE);
                    out.extend(number.as_f64().unwrap_or(f64::NAN).to_le_bytes());
                }
            },
            Json::String(text) => delimited(out, TEXT, |out| out.extend(text.as_bytes())),
            Json::Array(values) => delimited(out, ARRAY, |out| {
                for value in values {
                    delimited(out, VALUES, |out| write(out, value));
                }
            }),
            Json::Object(entries) => delimited(out, KEY_VALUE_LIST, |out| {
                for (key, value) in entries {
                    delimited(out, VALUES, |out| {
                        delimited(out, KEY_VALUE_KEY, |out| out.extend(key.as_bytes()));
                        delimited(out, KEY_VALUE_VALUE, |out| write(out, value));
                    });
                }
            }),
        }
    }

    fn delimited(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = Vec::new();
        content(&mut inner);
        out.push(tag);
        varint(out, inner.len() as u64);
        out.extend(inner);
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_values() {
        let value = |json: &str| serde_json::from_str::<Value>(json).unwrap();
        assert_eq!(value("null"), Value::Empty);
        assert_eq!(value("true"), Value::Boolean(true));
        assert_eq!(value("-7"), Value::Int(-7));
        assert_eq!(value("18446744073709551615"), Value::Double(18446744073709551615.0));
        assert_eq!(value("1.5"), Value::Double(1.5));
        assert_eq!(value("\"x\""), Value::Text("x".into()));
        // array_value { values { string_value: "a" } values { int_value: 300 } values { } }
        assert_eq!(
            value(r#"["a", 300, null]"#),
            Value::Encoded(vec![0x2a, 12, 0x0a, 3, 0x0a, 1, b'a', 0x0a, 3, 0x18, 0xac, 2, 0x0a, 0])
        );
        // kvlist_value { values { key: "k" value { bool_value: true } } }
        assert_eq!(
            value(r#"{"k": true}"#),
            Value::Encoded(vec![0x32, 9, 0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 0x10, 1])
        );
    }
}
