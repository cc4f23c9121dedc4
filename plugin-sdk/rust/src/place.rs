//! Where something is: signals, levels, fields, targets, columns, rows, and their names in a configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

pub use crate::bindings::tollgate::plugin::types::{Column, Field, Level, ParentsAt, Rows, Signal, Target};

/// Gives a set of names, both ways and for serde.
macro_rules! named {
    ($type:ident, $what:literal, { $($variant:ident => $name:literal,)* }) => {
        impl $type {
            /// Every one of them, in the contract's order.
            pub const ALL: &[$type] = &[$($type::$variant),*];

            /// Its name in a configuration.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(name: &str) -> Result<$type, String> {
                match name {
                    $($name => Ok($type::$variant),)*
                    _ => Err(format!(
                        concat!("no ", $what, " `{}`; there are {}"),
                        name,
                        [$($name),*].join(", "),
                    )),
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                parsed(deserializer)
            }
        }
    };
}

fn parsed<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

named!(Signal, "signal", {
    Logs => "logs",
    Traces => "traces",
    Metrics => "metrics",
});

named!(Level, "level", {
    Resource => "resource",
    Scope => "scope",
    Metric => "metric",
    Record => "record",
    Event => "event",
    Link => "link",
    Exemplar => "exemplar",
});

named!(Field, "field", {
    Body => "body",
    Name => "name",
    Version => "version",
    SchemaUrl => "schema_url",
    SeverityNumber => "severity_number",
    SeverityText => "severity_text",
    EventName => "event_name",
    TimeUnixNano => "time_unix_nano",
    ObservedTimeUnixNano => "observed_time_unix_nano",
    StartTimeUnixNano => "start_time_unix_nano",
    EndTimeUnixNano => "end_time_unix_nano",
    TraceId => "trace_id",
    SpanId => "span_id",
    ParentSpanId => "parent_span_id",
    TraceState => "trace_state",
    Kind => "kind",
    StatusCode => "status_code",
    StatusMessage => "status_message",
    Flags => "flags",
    Unit => "unit",
    Description => "description",
    Number => "number",
});

impl Level {
    /// Whether a batch of this signal has this level.
    pub const fn is_in(self, signal: Signal) -> bool {
        match self {
            Level::Resource | Level::Scope | Level::Record => true,
            Level::Metric | Level::Exemplar => matches!(signal, Signal::Metrics),
            Level::Event | Level::Link => matches!(signal, Signal::Traces),
        }
    }

    /// The level around it, in a batch of this signal.
    pub const fn above(self, signal: Signal) -> Option<Level> {
        match self {
            Level::Resource => None,
            Level::Scope => Some(Level::Resource),
            Level::Metric => Some(Level::Scope),
            Level::Record if matches!(signal, Signal::Metrics) => Some(Level::Metric),
            Level::Record => Some(Level::Scope),
            Level::Event | Level::Link | Level::Exemplar => Some(Level::Record),
        }
    }
}

impl Field {
    /// Whether this level has the field in a batch of any signal: else whoever names it there means something
    /// else.
    pub fn is_at(self, level: Level) -> bool {
        Signal::ALL.iter().any(|signal| self.is_in(*signal, level))
    }

    /// Whether this level has the field, in a batch of this signal. Where it has not, the host's functions
    /// are [`Unsupported`](crate::Error::Unsupported).
    pub const fn is_in(self, signal: Signal, level: Level) -> bool {
        use Field::*;
        match (level, signal) {
            (Level::Resource, _) => matches!(self, SchemaUrl),
            (Level::Scope, _) => matches!(self, Name | Version | SchemaUrl),
            (Level::Metric, Signal::Metrics) => matches!(self, Name | Unit | Description),
            (Level::Record, Signal::Logs) => matches!(
                self,
                Body | SeverityNumber
                    | SeverityText
                    | EventName
                    | TimeUnixNano
                    | ObservedTimeUnixNano
                    | TraceId
                    | SpanId
                    | Flags
            ),
            (Level::Record, Signal::Traces) => matches!(
                self,
                Name | StartTimeUnixNano
                    | EndTimeUnixNano
                    | TraceId
                    | SpanId
                    | ParentSpanId
                    | TraceState
                    | Kind
                    | StatusCode
                    | StatusMessage
                    | Flags
            ),
            (Level::Record, Signal::Metrics) => {
                matches!(self, TimeUnixNano | StartTimeUnixNano | Flags | Number)
            }
            (Level::Event, Signal::Traces) => matches!(self, Name | TimeUnixNano),
            (Level::Link, Signal::Traces) => matches!(self, TraceId | SpanId | TraceState | Flags),
            (Level::Exemplar, Signal::Metrics) => matches!(self, TimeUnixNano | TraceId | SpanId | Number),
            (Level::Metric | Level::Event | Level::Link | Level::Exemplar, _) => false,
        }
    }
}

impl Target {
    /// Whether this level has the target, in a batch of this signal: an attribute always, where there is
    /// such a level.
    pub fn is_in(&self, signal: Signal, level: Level) -> bool {
        match self {
            Target::Attribute(_) => level.is_in(signal),
            Target::BuiltIn(field) => field.is_in(signal, level),
        }
    }

    /// The same target at a level.
    pub fn at(self, level: Level) -> Column {
        Column { level, target: self }
    }
}

impl From<&str> for Target {
    fn from(key: &str) -> Target {
        Target::Attribute(key.to_owned())
    }
}

impl From<String> for Target {
    fn from(key: String) -> Target {
        Target::Attribute(key)
    }
}

impl From<&String> for Target {
    fn from(key: &String) -> Target {
        Target::Attribute(key.clone())
    }
}

impl From<Field> for Target {
    fn from(field: Field) -> Target {
        Target::BuiltIn(field)
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Target {
        target.clone()
    }
}

/// In a configuration a target is a text: the key of an attribute, or `@` and the name of a field, such as
/// `@body` or `@trace_id`. An attribute whose key begins with `@` is written with two.
impl FromStr for Target {
    type Err = String;

    fn from_str(written: &str) -> Result<Target, String> {
        match written.strip_prefix('@') {
            Some(key) if key.starts_with('@') => Ok(Target::Attribute(key.to_owned())),
            Some(field) => match field.parse() {
                Ok(field) => Ok(Target::BuiltIn(field)),
                Err(error) => Err(format!("{error}; an attribute of this name is written `@{written}`")),
            },
            None => Ok(Target::Attribute(written.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
        parsed(deserializer)
    }
}

impl Column {
    /// The attribute of this key, at a level.
    pub fn attribute(level: Level, key: impl Into<String>) -> Column {
        Target::Attribute(key.into()).at(level)
    }

    /// A field of a level.
    pub fn field(level: Level, field: Field) -> Column {
        Target::BuiltIn(field).at(level)
    }
}

impl Rows {
    /// Everything below these rows of an upper level.
    pub fn under(level: Level, indexes: impl IntoIterator<Item = u32>) -> Rows {
        Rows::Under(ParentsAt { level, indexes: indexes.into_iter().collect() })
    }

    /// Whether there is certainly none: what is done to them is then not worth a call.
    pub fn is_empty(&self) -> bool {
        match self {
            Rows::All => false,
            Rows::Only(indexes) | Rows::Under(ParentsAt { indexes, .. }) => indexes.is_empty(),
        }
    }
}

impl From<Vec<u32>> for Rows {
    fn from(indexes: Vec<u32>) -> Rows {
        Rows::Only(indexes)
    }
}

impl FromIterator<u32> for Rows {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Rows {
        Rows::Only(indexes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_written_as_texts() {
        assert_eq!("user.id".parse(), Ok(Target::from("user.id")));
        assert_eq!("@trace_id".parse(), Ok(Target::from(Field::TraceId)));
        assert_eq!("@@timestamp".parse(), Ok(Target::from("@timestamp")));
        let error = "@traceid".parse::<Target>().unwrap_err();
        assert!(error.starts_with("no field `traceid`; there are body, name,"), "{error}");
        assert!(error.ends_with("; an attribute of this name is written `@@traceid`"), "{error}");
    }
}
