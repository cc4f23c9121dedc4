//! The words of the contract between host and plugins; `wit/` says more of each.

use super::{HashKey, Pattern};

/// The levels of a batch, from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// A resource with everything that it sent.
    Resource,
    /// An instrumentation scope within a resource.
    Scope,
    /// A metric within a scope; only in metrics.
    Metric,
    /// A log record, a span or a metric's data point.
    Record,
    /// An event of a span.
    Event,
    /// A link of a span.
    Link,
    /// An exemplar of a data point.
    Exemplar,
}

impl Level {
    /// Every level, outermost first.
    pub const ALL: [Level; 7] = [
        Level::Resource,
        Level::Scope,
        Level::Metric,
        Level::Record,
        Level::Event,
        Level::Link,
        Level::Exemplar,
    ];

    /// The name in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Resource => "resource",
            Level::Scope => "scope",
            Level::Metric => "metric",
            Level::Record => "record",
            Level::Event => "event",
            Level::Link => "link",
            Level::Exemplar => "exemplar",
        }
    }
}

/// Fields that a level has by its definition, named as in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the contract says what each of them is")]
pub enum Field {
    Body,
    Name,
    Version,
    SchemaUrl,
    SeverityNumber,
    SeverityText,
    EventName,
    TimeUnixNano,
    ObservedTimeUnixNano,
    StartTimeUnixNano,
    EndTimeUnixNano,
    TraceId,
    SpanId,
    ParentSpanId,
    TraceState,
    Kind,
    StatusCode,
    StatusMessage,
    Flags,
    Unit,
    Description,
    Number,
}

/// The value of an attribute, a body or a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// There, and empty.
    Empty,
    /// A text.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// Bytes, and texts that are no UTF-8.
    Bytes(Vec<u8>),
    /// Anything else: an encoded `AnyValue`.
    Encoded(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

/// An attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    /// Its key; what is no UTF-8 in it is replaced.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// What of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The attribute of this key.
    Attribute(String),
    /// A field that the level has by its definition.
    Field(Field),
}

/// The same target of every row of a level.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// The level.
    pub level: Level,
    /// What of its rows.
    pub target: Target,
}

impl Column {
    /// An attribute's.
    pub fn attribute(level: Level, key: &str) -> Self {
        Self { level, target: Target::Attribute(key.to_owned()) }
    }

    /// A field's.
    pub fn field(level: Level, field: Field) -> Self {
        Self { level, target: Target::Field(field) }
    }
}

/// Which rows of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// All of them.
    All,
    /// Those of these indexes.
    Only(Vec<u32>),
    /// All that are below one of these rows of an upper level.
    Under(Level, Vec<u32>),
}

/// Cells that are texts or bytes, in one buffer. Cell `i` is `data[offsets[2 i] .. offsets[2 i + 1]]`;
/// both offsets are [`Cells::ABSENT`] where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cells {
    /// The texts, one after the other.
    pub data: Vec<u8>,
    /// Where each begins and ends.
    pub offsets: Vec<u32>,
}

impl Cells {
    /// The offset that marks an absent cell.
    pub const ABSENT: u32 = u32::MAX;

    /// The cells in turn. An offset beyond the data makes an error.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Option<&[u8]>, ()>> {
        self.offsets.chunks(2).map(|pair| match *pair {
            [Self::ABSENT, Self::ABSENT] => Ok(None),
            [start, end] if start <= end => self.data.get(start as usize..end as usize).map(Some).ok_or(()),
            _ => Err(()),
        })
    }
}

/// Cells that are integers; `values[i]` counts where `present[i]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ints {
    /// The integers.
    pub values: Vec<i64>,
    /// Whether they are there.
    pub present: Vec<bool>,
}

/// Cells that are doubles; `values[i]` counts where `present[i]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Doubles {
    /// The doubles.
    pub values: Vec<f64>,
    /// Whether they are there.
    pub present: Vec<bool>,
}

/// What is looked for in a column.
#[derive(Debug, Clone)]
pub enum Test {
    /// The cell is there.
    Present,
    /// It is not.
    Absent,
    /// It is this.
    Equals(Value),
    /// It is a text or bytes, and the pattern matches in it.
    Matches(Pattern),
    /// It is a number, and not below this one.
    AtLeast(f64),
    /// It is a number, and below this one.
    Below(f64),
}

/// A group of a pattern, and where its text goes.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Its name or number.
    pub group: String,
    /// Where its text goes.
    pub to: Target,
}

/// What an extraction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Rows in which the pattern matched.
    pub matched: u32,
    /// Texts that their field could not take.
    pub invalid: u32,
}

/// What becomes of a match.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is replaced by this text.
    Mask(String),
    /// It is replaced by its keyed hash.
    Hash(HashKey),
    /// The text or attribute that holds it goes as a whole.
    Remove,
    /// So many characters of it stay.
    Truncate(u32),
}

/// A pattern and what becomes of its matches.
#[derive(Debug, Clone)]
pub struct Redaction {
    /// What is looked for.
    pub pattern: Pattern,
    /// What becomes of it.
    pub action: Action,
}

/// Where texts are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Places {
    /// Values of attributes at every level, nested ones included, and text in bytes.
    pub attribute_values: bool,
    /// Keys of attributes, nested ones included, and those of entity references.
    pub attribute_keys: bool,
    /// Integers among the values.
    pub integers: bool,
    /// Bodies of log records.
    pub bodies: bool,
    /// Names of spans, events, scopes, metrics and of a log record's event.
    pub names: bool,
    /// Versions of scopes.
    pub versions: bool,
    /// Every other text.
    pub texts: bool,
}

impl Places {
    /// Everywhere.
    pub const ALL: Places = Places {
        attribute_values: true,
        attribute_keys: true,
        integers: true,
        bodies: true,
        names: true,
        versions: true,
        texts: true,
    };
}

/// Which texts are looked into.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Where.
    pub places: Places,
    /// Of the attributes, only those below a key that matches.
    pub only_keys: Option<Pattern>,
    /// Of the attributes and of maps in bodies, none below a key that matches.
    pub except_keys: Option<Pattern>,
}

/// What a plugin's turn may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that edits make and that are handed out.
    pub bytes: u64,
    /// When it has to be done.
    pub deadline: std::time::Instant,
}

/// What a plugin's turn did.
#[derive(Debug, Default)]
pub struct Effects {
    /// Records that stay and were changed; not those below a resource, a scope or a metric that was.
    pub changed: u64,
    /// Records that were taken out.
    pub discarded: u64,
    /// What was sent elsewhere.
    pub routed: Vec<Routed>,
}

/// A part of a batch that leaves the pipeline.
#[derive(Debug)]
pub struct Routed {
    /// Where it goes, as the plugin names it.
    pub destinations: Vec<String>,
    /// A request of its own.
    pub message: crate::Chunks,
    /// The records in it.
    pub records: u64,
}

/// Why an operation was not done. After [`EditError::BadArgument`] and [`EditError::Unsupported`] the batch
/// is as it was before it; after the others the turn can only be undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// An index, a level, a pattern or a value that cannot be.
    #[error("{0}")]
    BadArgument(String),
    /// What this level or this signal does not have.
    #[error("{0}")]
    Unsupported(String),
    /// The turn's limits: nothing more is done in it.
    #[error("{0}")]
    Exhausted(Exhausted),
    /// The batch itself is broken below its records; its sender is to be told.
    #[error("{0}")]
    Malformed(crate::wire::Malformed),
}

impl From<crate::wire::Malformed> for EditError {
    fn from(error: crate::wire::Malformed) -> Self {
        EditError::Malformed(error)
    }
}

/// Which of a turn's limits was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Bytes of edits and of what was handed out.
    #[error("the edits of one call take too many bytes")]
    Bytes,
    /// Time.
    #[error("the call takes too long")]
    Time,
}

impl From<Exhausted> for EditError {
    fn from(limit: Exhausted) -> Self {
        EditError::Exhausted(limit)
    }
}

pub(super) fn bad(what: impl Into<String>) -> EditError {
    EditError::BadArgument(what.into())
}

pub(super) fn unsupported(what: impl Into<String>) -> EditError {
    EditError::Unsupported(what.into())
}
