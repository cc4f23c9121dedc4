//! OTLP/JSON: looked into, read, written.
//!
//! The schema's table drives both directions; neither builds a tree. A batch that is passed on as it
//! came is only counted.

mod attribute;
mod lexer;
mod number;
mod output;
mod read;
mod write;

pub use read::{Leniencies, Leniency, to_protobuf};
pub use write::to_json;

use super::{
    Encoding, Signal,
    schema::{Kind, Message},
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{fmt, fmt::Write};

/// Why a batch is not translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// It is not what it says it is; where, and what was expected there.
    #[error("{0}")]
    Malformed(String),
    /// The translation would be larger than this, in bytes.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// What this signal's messages are is not known here.
    #[error("{signal} are not translated from {}", came.name())]
    Signal {
        /// The signal.
        signal: Signal,
        /// What it came in.
        came: Encoding,
    },
    /// Whoever was asked for room had none.
    #[error("no room for the translation")]
    NoRoom,
}

/// There is no room for so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// How many `AnyValue` may be inside each other, in both directions. It is the deepest that both
/// serde_json's 127 levels and the 100 messages of protobuf's readers take wherever the outermost one
/// stands: an exemplar's attribute begins at level 15, and each key-value list in a list adds four.
pub(super) const ANY_VALUE_DEPTH_MAX: usize = 28;

/// Checks that a body is one JSON object and counts the records in it, in one pass that keeps
/// nothing. Shapes that are no OTLP hold no records; whoever decodes them says what is wrong.
///
/// # Errors
/// What is wrong, with line and column.
pub fn count_records(signal: Signal, body: &[u8]) -> Result<u64, String> {
    let text = object_text(body)?;
    let mut count = 0;
    let mut json = serde_json::Deserializer::from_str(text);
    Counter { message: Message::request(signal), path: path(signal), count: &mut count }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| format!("the body is not JSON: {error}"))?;
    Ok(count)
}

/// The text of a body that may be a JSON object.
fn object_text(body: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the body is not UTF-8 at byte {}", error.valid_up_to()))?;
    if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        Ok(text)
    } else {
        Err("the body is not a JSON object".to_owned())
    }
}

/// The message that is translated for a signal.
fn request(signal: Signal, came: Encoding) -> Result<&'static Message, Untranslated> {
    Message::request(signal).ok_or(Untranslated::Signal { signal, came })
}

/// A step on the way to a place in a batch.
enum Step {
    Field(&'static str),
    Element(usize),
}

/// What is wrong, and where; the path begins at the innermost step.
fn located(path: &[Step], what: &str) -> Untranslated {
    let mut text = String::new();
    for step in path.iter().rev() {
        let _ = match step {
            Step::Field(name) if text.is_empty() => write!(text, "{name}"),
            Step::Field(name) => write!(text, ".{name}"),
            Step::Element(index) => write!(text, "[{index}]"),
        };
    }
    let separator = if text.is_empty() { "" } else { ": " };
    Untranslated::Malformed(format!("{text}{separator}{what}"))
}

fn too_deep() -> String {
    format!("more than {ANY_VALUE_DEPTH_MAX} values inside each other")
}

/// The fields on the way to a record, outermost first. A step of several is a choice; the last step's
/// elements are the records.
type Path = &'static [&'static [u32]];

fn path(signal: Signal) -> Path {
    match signal {
        Signal::Logs | Signal::Traces => &[&[1], &[2], &[2]],
        Signal::Metrics => &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]],
        Signal::Profiles => &[&[]], // opaque: no list leads to anything that is counted
    }
}

/// Counts below one value. Lists are walked through at every step, so that `gauge: {dataPoints: []}`
/// and `spans: []` are the same to it.
struct Counter<'c> {
    /// What the value is.
    message: Option<&'static Message>,
    path: Path,
    count: &'c mut u64,
}

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [steps, below @ ..] = self.path else {
            *self.count += 1; // an element of the last list
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(wanted) = map.next_key_seed(Wanted { message: self.message, steps })? {
            if let Some(message) = wanted {
                map.next_value_seed(Counter { message: Some(message), path: below, count: self.count })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Counter { count: &mut *self.count, ..self })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, read only as far as which of these messages it is for.
struct Wanted {
    message: Option<&'static Message>,
    steps: &'static [u32],
}

impl<'de> DeserializeSeed<'de> for Wanted {
    type Value = Option<&'static Message>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Wanted {
    type Value = Option<&'static Message>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let field = self.message.and_then(|message| message.field(key));
        Ok(field.and_then(|field| match field.kind {
            Kind::Message(message) if self.steps.contains(&field.number) => Some(message),
            _ => None,
        }))
    }
}

#[cfg(test)]
pub(super) mod tests;
