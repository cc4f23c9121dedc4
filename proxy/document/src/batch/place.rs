//! Where in a row's message an attribute or a field is.

use super::words::{Field, Level, Target};
use crate::Signal;

/// Messages of one level that have their fields under different numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// A log record, a span, anything but a data point; and a data point of a gauge or a sum.
    Plain,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl Variant {
    pub(super) const ALL: [Variant; 4] =
        [Variant::Plain, Variant::Histogram, Variant::ExponentialHistogram, Variant::Summary];

    /// Of the data points in this field of a metric.
    pub(super) fn of_metric_data(number: u64) -> Self {
        match number {
            9 => Variant::Histogram,
            10 => Variant::ExponentialHistogram,
            11 => Variant::Summary,
            _ => Variant::Plain,
        }
    }

    /// A field of a metric that has such data points.
    pub(super) fn metric_data(self) -> u32 {
        match self {
            Variant::Plain => 5,
            Variant::Histogram => 9,
            Variant::ExponentialHistogram => 10,
            Variant::Summary => 11,
        }
    }
}

/// How the message of a level is built.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The field that holds the message of which attributes are a part, where there is one around it:
    /// `resource` of `ResourceLogs`.
    pub home: Option<u32>,
    /// The field of the attributes.
    pub attributes: u32,
    /// The fields that are rows of a level below.
    pub children: &'static [u32],
}

/// Fields of a `Metric` that hold data points.
pub(super) const METRIC_DATA: &[u32] = &[5, 7, 9, 10, 11];

impl Shape {
    pub(super) fn of(signal: Signal, level: Level, variant: Variant) -> Self {
        let plain = |attributes| Shape { home: None, attributes, children: &[] };
        match level {
            Level::Resource => Shape { home: Some(1), attributes: 1, children: &[2] },
            Level::Scope => Shape { home: Some(1), attributes: 3, children: &[2] },
            Level::Metric => Shape { home: None, attributes: 12, children: METRIC_DATA },
            Level::Record => match (signal, variant) {
                (Signal::Logs, _) => plain(6),
                (Signal::Traces, _) => plain(9),
                (_, Variant::Plain | Variant::Summary) => plain(7),
                (_, Variant::Histogram) => plain(9),
                (_, Variant::ExponentialHistogram) => plain(1),
            },
            Level::Event => plain(3),
            Level::Link => plain(4),
            Level::Exemplar => plain(7),
        }
    }
}

/// The field of a record that holds the rows of a level below it.
pub(super) fn child_field(signal: Signal, level: Level, variant: Variant) -> Option<u32> {
    match (signal, level, variant) {
        (Signal::Traces, Level::Event, _) => Some(11),
        (Signal::Traces, Level::Link, _) => Some(13),
        (Signal::Metrics, Level::Exemplar, Variant::Plain) => Some(5),
        (Signal::Metrics, Level::Exemplar, Variant::Histogram) => Some(8),
        (Signal::Metrics, Level::Exemplar, Variant::ExponentialHistogram) => Some(11),
        _ => None,
    }
}

/// Whether batches of a signal have rows of a level.
pub(super) fn has_level(signal: Signal, level: Level) -> bool {
    match level {
        Level::Resource | Level::Scope | Level::Record => true,
        Level::Metric | Level::Exemplar => signal == Signal::Metrics,
        Level::Event | Level::Link => signal == Signal::Traces,
    }
}

/// In which message of a row a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// The one that has the attributes.
    Home,
    /// The one around that.
    Shell,
    /// One in this field of it.
    Sub(u32),
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    /// An `AnyValue`.
    Any,
    /// Not more than this.
    Varint(u32),
    Fixed64,
    Fixed32,
    /// An id of so many bytes.
    Id(usize),
    /// A double under one number or an integer under the other, both of 64 bits.
    Number {
        double: u32,
        int: u32,
    },
}

/// A field of a row's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub within: Within,
    pub number: u32,
    pub holds: Holds,
}

/// What a target is in a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'t> {
    Attribute(&'t str),
    Field(Place),
}

/// Where a target is; `None` where such rows do not have it.
pub(super) fn locate(signal: Signal, level: Level, variant: Variant, target: &Target) -> Option<Cell<'_>> {
    match target {
        Target::Attribute(key) => Some(Cell::Attribute(key)),
        Target::Field(field) => place(signal, level, variant, *field).map(Cell::Field),
    }
}

fn place(signal: Signal, level: Level, variant: Variant, field: Field) -> Option<Place> {
    use Field::*;
    const STATUS: Within = Within::Sub(15);
    const ENUM: Holds = Holds::Varint(i32::MAX as u32);
    const UINT32: Holds = Holds::Varint(u32::MAX);
    let home = |number, holds| Some(Place { within: Within::Home, number, holds });
    match (level, signal, field) {
        (Level::Resource | Level::Scope, _, SchemaUrl) => {
            Some(Place { within: Within::Shell, number: 3, holds: Holds::Text })
        }
        (Level::Scope, _, Name) => home(1, Holds::Text),
        (Level::Scope, _, Version) => home(2, Holds::Text),
        (Level::Metric, _, Name) => home(1, Holds::Text),
        (Level::Metric, _, Description) => home(2, Holds::Text),
        (Level::Metric, _, Unit) => home(3, Holds::Text),

        (Level::Record, Signal::Logs, field) => match field {
            TimeUnixNano => home(1, Holds::Fixed64),
            SeverityNumber => home(2, ENUM),
            SeverityText => home(3, Holds::Text),
            Body => home(5, Holds::Any),
            Flags => home(8, Holds::Fixed32),
            TraceId => home(9, Holds::Id(16)),
            SpanId => home(10, Holds::Id(8)),
            ObservedTimeUnixNano => home(11, Holds::Fixed64),
            EventName => home(12, Holds::Text),
            _ => None,
        },
        (Level::Record, Signal::Traces, field) => match field {
            TraceId => home(1, Holds::Id(16)),
            SpanId => home(2, Holds::Id(8)),
            TraceState => home(3, Holds::Text),
            ParentSpanId => home(4, Holds::Id(8)),
            Name => home(5, Holds::Text),
            Field::Kind => home(6, ENUM),
            StartTimeUnixNano => home(7, Holds::Fixed64),
            EndTimeUnixNano => home(8, Holds::Fixed64),
            Flags => home(16, Holds::Fixed32),
            StatusMessage => Some(Place { within: STATUS, number: 2, holds: Holds::Text }),
            StatusCode => Some(Place { within: STATUS, number: 3, holds: ENUM }),
            _ => None,
        },
        (Level::Record, Signal::Metrics, field) => match (field, variant) {
            (StartTimeUnixNano, _) => home(2, Holds::Fixed64),
            (TimeUnixNano, _) => home(3, Holds::Fixed64),
            (Number, Variant::Plain) => home(4, Holds::Number { double: 4, int: 6 }),
            (Flags, Variant::Plain | Variant::Summary) => home(8, UINT32),
            (Flags, Variant::Histogram | Variant::ExponentialHistogram) => home(10, UINT32),
            _ => None,
        },
        (Level::Event, _, TimeUnixNano) => home(1, Holds::Fixed64),
        (Level::Event, _, Name) => home(2, Holds::Text),
        (Level::Link, _, TraceId) => home(1, Holds::Id(16)),
        (Level::Link, _, SpanId) => home(2, Holds::Id(8)),
        (Level::Link, _, TraceState) => home(3, Holds::Text),
        (Level::Link, _, Flags) => home(6, Holds::Fixed32),
        (Level::Exemplar, _, TimeUnixNano) => home(2, Holds::Fixed64),
        (Level::Exemplar, _, Number) => home(3, Holds::Number { double: 3, int: 6 }),
        (Level::Exemplar, _, SpanId) => home(4, Holds::Id(8)),
        (Level::Exemplar, _, TraceId) => home(5, Holds::Id(16)),
        _ => None,
    }
}
