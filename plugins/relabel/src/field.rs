//! What fields hold, as the contract says: a value that one can never take is a mistake in the configuration,
//! not a failure in each batch.

use std::fmt;

use tollgate_plugin::{Field, Target, Value};

/// What a field holds, wherever it is.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    Any,
    Text,
    Int {
        min: i64,
        max: i64,
    },
    Time,
    /// An integer or a double.
    Number,
    TraceId,
    SpanId,
}

impl Holds {
    fn of(field: Field) -> Holds {
        use Field::*;
        match field {
            Body => Holds::Any,
            Name | Version | SchemaUrl | SeverityText | EventName | TraceState | StatusMessage | Unit
            | Description => Holds::Text,
            SeverityNumber => Holds::Int { min: 1, max: 24 },
            Kind => Holds::Int { min: 0, max: 5 },
            StatusCode => Holds::Int { min: 0, max: 2 },
            Flags => Holds::Int { min: 0, max: u32::MAX as i64 },
            TimeUnixNano | ObservedTimeUnixNano | StartTimeUnixNano | EndTimeUnixNano => Holds::Time,
            Number => Holds::Number,
            TraceId => Holds::TraceId,
            SpanId | ParentSpanId => Holds::SpanId,
        }
    }

    /// Whether it can be this value. Those of a configuration are never bytes.
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Holds::Any, _) | (Holds::Text, Value::Text(_)) => true,
            (Holds::Int { min, max }, Value::Int(int)) => (min..=max).contains(int),
            (Holds::Time, Value::Int(int)) => *int >= 0,
            (Holds::Number, Value::Int(_) | Value::Double(_)) => true,
            (Holds::TraceId, Value::Text(digits)) => is_id(digits, 32),
            (Holds::SpanId, Value::Text(digits)) => is_id(digits, 16),
            _ => false,
        }
    }

    /// Whether a value of the other can be one of it. A text may be written as anything, and numbers are
    /// looked at when they are there.
    fn takes_some(self, from: Holds) -> bool {
        let is_number = |holds| matches!(holds, Holds::Int { .. } | Holds::Time | Holds::Number);
        self == Holds::Any
            || matches!(from, Holds::Any | Holds::Text)
            || (is_number(self) && is_number(from))
            || self == from
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holds::Any => f.write_str("any value"),
            Holds::Text => f.write_str("a text"),
            Holds::Int { min, max } => write!(f, "an integer from {min} to {max}"),
            Holds::Time => f.write_str("nanoseconds since 1970, an integer not below 0"),
            Holds::Number => f.write_str("a number"),
            Holds::TraceId => f.write_str("a trace's id: 32 hexadecimal digits, not all zero"),
            Holds::SpanId => f.write_str("a span's id: 16 hexadecimal digits, not all zero"),
        }
    }
}

fn is_id(digits: &str, length: usize) -> bool {
    digits.len() == length
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && digits.bytes().any(|digit| digit != b'0')
}

/// Whether a target can be given this value: an attribute any.
pub fn check_value(target: &Target, value: &Value) -> Result<(), String> {
    match target {
        Target::BuiltIn(field) if !Holds::of(*field).takes(value) => {
            Err(format!("`@{field}` holds {}", Holds::of(*field)))
        }
        _ => Ok(()),
    }
}

/// Whether what one target holds can be in another.
pub fn check_copy(from: &Target, to: &Target) -> Result<(), String> {
    match (from, to) {
        (Target::BuiltIn(from), Target::BuiltIn(to)) if !Holds::of(*to).takes_some(Holds::of(*from)) => {
            Err(format!("`@{from}` is never what `@{to}` holds: {}", Holds::of(*to)))
        }
        _ => Ok(()),
    }
}

/// Whether a target can hold a hash.
pub fn check_hash(target: &Target) -> Result<(), String> {
    match target {
        Target::BuiltIn(field) if !matches!(Holds::of(*field), Holds::Any | Holds::Text) => Err(format!(
            "a hash is a text, and `@{field}` holds none: `copy` it to an attribute and hash that"
        )),
        _ => Ok(()),
    }
}
