//! The batch: many rows at once by the host, a column at a time, one cell at a time, or as a whole.

use std::borrow::Cow;

pub use crate::bindings::tollgate::plugin::types::{Capture, Extracted, Test};
use crate::cells::{Bytes, Doubles, Indexes, Ints, Texts, Values};
use crate::redact::{Action, Redaction, Selection};
use crate::value::ToValue;
use crate::{Column, Field, HashKey, KeyValue, Level, Pattern, Result, Rows, Signal, Target, Value, sys};

/// The name of the tenant's own upstream among destinations.
pub const DEFAULT_DESTINATION: &str = "default";

/// The batch that is being processed.
///
/// It stays with the host; this is the plugin's hold on it. Everything happens in the order of the calls, and
/// every call sees what those before it did. Where a key stands several times in a row, reading gives the
/// first; what writes the key edits the first and removes the others. What nothing changed leaves byte for
/// byte as it came.
///
/// A row that was [discarded](Table::discard) has no cells any more: it reads as not there,
/// [`find`](Cells::find) passes over it, and what is done to it does nothing. One that was
/// [routed](Table::route) is read, found and edited as before until `process` returns.
#[derive(Debug)]
pub struct Batch(());

impl Batch {
    pub(crate) fn current() -> Batch {
        Batch(())
    }

    /// What it carries.
    pub fn signal(&self) -> Signal {
        sys::batch::carries()
    }

    /// The rows of a level.
    pub fn level(&self, level: Level) -> Table<'_> {
        Table { level, rows: &Rows::All }
    }

    /// The resources.
    pub fn resources(&self) -> Table<'_> {
        self.level(Level::Resource)
    }

    /// The instrumentation scopes.
    pub fn scopes(&self) -> Table<'_> {
        self.level(Level::Scope)
    }

    /// The metrics: names, units, and as attributes their `metadata`. Only in a batch of metrics.
    pub fn metrics(&self) -> Table<'_> {
        self.level(Level::Metric)
    }

    /// The records: log records, spans, or data points.
    pub fn records(&self) -> Table<'_> {
        self.level(Level::Record)
    }

    /// The spans' events. Only in a batch of traces.
    pub fn events(&self) -> Table<'_> {
        self.level(Level::Event)
    }

    /// The spans' links. Only in a batch of traces.
    pub fn links(&self) -> Table<'_> {
        self.level(Level::Link)
    }

    /// The data points' exemplars. Only in a batch of metrics.
    pub fn exemplars(&self) -> Table<'_> {
        self.level(Level::Exemplar)
    }

    /// The cells of a column that was made before, in `configure`: nothing is allocated for the call.
    pub fn column<'a>(&'a self, column: &'a Column) -> Cells<'a> {
        Cells { column: Cow::Borrowed(column), rows: &Rows::All }
    }

    /// Replaces matches of patterns in all the texts of the batch, and gives how many matches each had. Where
    /// several match the same bytes, the one that stands first has them.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn redact(&self, redactions: &[Redaction], selection: &Selection) -> Result<Vec<u64>> {
        sys::batch::redact(redactions, *selection)
    }

    /// Puts an action into effect on whole values, wherever they stand below a key that matches: attributes at
    /// every level, and what is nested in them or in bodies. Values that are no text become one, unless they
    /// are removed. Gives how many there were.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn redact_keys(&self, keys: Pattern, action: &Action) -> Result<u64> {
        sys::batch::redact_keys(keys.id(), action)
    }

    /// Removes fields that the host does not know, everywhere, and gives how many there were.
    ///
    /// # Errors
    /// None but those of a host that does not have it.
    pub fn remove_unknown_fields(&self) -> Result<u64> {
        sys::batch::remove_unknown_fields()
    }

    /// The batch as it is now, without the rows that were discarded or routed: an
    /// `ExportLogsServiceRequest`, `ExportTraceServiceRequest` or `ExportMetricsServiceRequest` in protobuf.
    ///
    /// # Errors
    /// None but those of a host that does not have it.
    pub fn to_otlp(&self) -> Result<Vec<u8>> {
        sys::batch::to_otlp()
    }

    /// Takes another batch in its place. Row numbers start again; what was routed or discarded before stays
    /// so.
    ///
    /// # Errors
    /// It is not what a sender could have sent.
    pub fn replace(&self, otlp: &[u8]) -> Result<()> {
        sys::batch::replace(otlp)
    }
}

/// Rows of one level: all, or those that [`rows`](Table::rows) chose. What is done to it is done to each row,
/// by the host and in one call.
///
/// A target is the key of an attribute, or a [`Field`]. A field that the level does not have in this signal is
/// [`Unsupported`](crate::Error::Unsupported). A level that the signal does not have is one without rows.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    level: Level,
    rows: &'a Rows,
}

impl<'a> Table<'a> {
    /// Only these rows.
    pub fn rows(self, rows: &'a Rows) -> Table<'a> {
        Table { rows, ..self }
    }

    /// One row, for work on single cells.
    pub fn row(self, index: u32) -> Row {
        Row { level: self.level, index }
    }

    /// How many rows the level has, chosen or not, those that were discarded included.
    pub fn count(self) -> u32 {
        sys::batch::count(self.level)
    }

    /// For each row of the level, the row that it belongs to at the level above.
    pub fn parents(self) -> Vec<u32> {
        sys::batch::parents(self.level)
    }

    /// The indexes of the chosen rows, in order; those that were discarded have theirs still.
    pub fn indexes(self) -> Vec<u32> {
        match Indexes::of(self.level, self.rows) {
            Indexes::All => (0..self.count()).collect(),
            Indexes::Only(indexes) => indexes,
        }
    }

    /// The cells of an attribute.
    pub fn attribute(self, key: impl Into<String>) -> Cells<'a> {
        self.target(Target::Attribute(key.into()))
    }

    /// The cells of a field.
    pub fn field(self, field: Field) -> Cells<'a> {
        self.target(field)
    }

    /// The bodies of log records.
    pub fn body(self) -> Cells<'a> {
        self.field(Field::Body)
    }

    /// The cells of a target.
    pub fn target(self, target: impl Into<Target>) -> Cells<'a> {
        Cells { column: Cow::Owned(target.into().at(self.level)), rows: self.rows }
    }

    /// Gives the target this value, whether it was there or not.
    ///
    /// # Errors
    /// A field that the level does not have, or a value that the field cannot take.
    pub fn set(self, target: impl Into<Target>, value: impl ToValue) -> Result<()> {
        self.target(target).set(value)
    }

    /// Gives the target this value where it is not there.
    ///
    /// # Errors
    /// As [`set`](Table::set).
    pub fn insert(self, target: impl Into<Target>, value: impl ToValue) -> Result<()> {
        self.target(target).insert(value)
    }

    /// Gives the target this value where it is there.
    ///
    /// # Errors
    /// As [`set`](Table::set).
    pub fn update(self, target: impl Into<Target>, value: impl ToValue) -> Result<()> {
        self.target(target).update(value)
    }

    /// Removes the target.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn remove(self, target: impl Into<Target>) -> Result<()> {
        self.target(target).remove()
    }

    /// Renames an attribute. One that has the new key already goes; rows without the old key stay as they
    /// are.
    ///
    /// # Errors
    /// None that a plugin can cause.
    pub fn rename(self, key: &str, to: &str) -> Result<()> {
        sys::batch::rename(self.level, key, to, self.rows)
    }

    /// Copies a target to another of the same row. Rows without it stay as they are.
    ///
    /// # Errors
    /// As [`set`](Table::set).
    pub fn copy(self, from: impl Into<Target>, to: impl Into<Target>) -> Result<()> {
        self.target(to).copy_from(&from.into().at(self.level))
    }

    /// Gives every attribute whose key matches this value.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn update_keys(self, keys: Pattern, value: impl ToValue) -> Result<()> {
        sys::batch::update_keys(self.level, keys.id(), &value.to_value(), self.rows)
    }

    /// Removes every attribute whose key matches.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn remove_keys(self, keys: Pattern) -> Result<()> {
        sys::batch::remove_keys(self.level, keys.id(), self.rows)
    }

    /// Removes every attribute whose key does not match.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn keep_keys(self, keys: Pattern) -> Result<()> {
        sys::batch::keep_keys(self.level, keys.id(), self.rows)
    }

    /// Renames every attribute whose key matches: the match is replaced, and `$1` or `${name}` is the text
    /// of a group.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn rename_keys(self, keys: Pattern, to: &str) -> Result<()> {
        sys::batch::rename_keys(self.level, keys.id(), to, self.rows)
    }

    /// Copies every attribute whose key matches to another key, made as by
    /// [`rename_keys`](Table::rename_keys).
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn copy_keys(self, keys: Pattern, to: &str) -> Result<()> {
        sys::batch::copy_keys(self.level, keys.id(), to, self.rows)
    }

    /// Replaces every attribute whose key matches by its hash, as [`Cells::hash`] does.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn hash_keys(self, keys: Pattern, key: Option<HashKey>) -> Result<()> {
        sys::batch::hash_keys(self.level, keys.id(), key.map(HashKey::id), self.rows)
    }

    /// Takes the rows out of the batch, with all that is below them, for good. They keep their numbers, and
    /// have no cells any more. Their sender is told that they were taken.
    ///
    /// # Errors
    /// None that a plugin can cause.
    pub fn discard(self) -> Result<()> {
        sys::batch::discard(self.level, self.rows)
    }

    /// Sends the rows, with all that is below them, to these destinations instead of the tenant's own
    /// upstream; plugins after this one do not see them. The last call counts, and until `process` returns
    /// they are read and edited as the others. A destination is a name that
    /// [`registration`](crate::Plugin::registration) gave, or [`DEFAULT_DESTINATION`].
    ///
    /// # Errors
    /// A name that was not registered; events, links or exemplars.
    pub fn route<S: Into<String>>(self, destinations: impl IntoIterator<Item = S>) -> Result<()> {
        let destinations: Vec<String> = destinations.into_iter().map(Into::into).collect();
        self.route_to(&destinations)
    }

    /// The same to a list that was made before.
    ///
    /// # Errors
    /// As [`route`](Table::route).
    pub fn route_to(self, destinations: &[String]) -> Result<()> {
        sys::batch::route(self.level, self.rows, destinations)
    }
}

/// The cells of one target in rows of a level.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    column: Cow<'a, Column>,
    rows: &'a Rows,
}

/// By the host, in one call.
impl<'a> Cells<'a> {
    /// Only in these rows.
    pub fn rows(self, rows: &'a Rows) -> Cells<'a> {
        Cells { rows, ..self }
    }

    /// Gives the cells this value, whether they were there or not.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn set(&self, value: impl ToValue) -> Result<()> {
        sys::batch::set(&self.column, &value.to_value(), self.rows)
    }

    /// Gives the cells this value where they are not there.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn insert(&self, value: impl ToValue) -> Result<()> {
        sys::batch::insert(&self.column, &value.to_value(), self.rows)
    }

    /// Gives the cells this value where they are there.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn update(&self, value: impl ToValue) -> Result<()> {
        sys::batch::update(&self.column, &value.to_value(), self.rows)
    }

    /// Removes the cells.
    ///
    /// # Errors
    /// As [`Table::remove`].
    pub fn remove(&self) -> Result<()> {
        sys::batch::remove(&self.column, self.rows)
    }

    /// Copies another cell of the same row here, or of the row above it at an outer level: a resource's
    /// `service.name` to each of its records. Where that is not there, nothing changes.
    ///
    /// # Errors
    /// As [`Table::set`]; a source at an inner level.
    pub fn copy_from(&self, source: &Column) -> Result<()> {
        sys::batch::copy(source, &self.column, self.rows)
    }

    /// Replaces the cells by their hash: 64 hexadecimal digits of SHA-256, so that equal values stay equal and
    /// cannot be read. Without a key, who guesses a value can check the guess. With one, each is as
    /// [`Redaction::hash`] makes it.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn hash(&self, key: Option<HashKey>) -> Result<()> {
        sys::batch::hash(&self.column, key.map(HashKey::id), self.rows)
    }

    /// Takes the first match of a pattern in each text, and writes its groups to targets of the row. A group
    /// that took no part writes nothing; a text that its field cannot take is left out and counted.
    ///
    /// # Errors
    /// A group that the pattern does not have, or a field that the level does not have.
    pub fn extract(&self, pattern: Pattern, into: &[Capture]) -> Result<Extracted> {
        sys::batch::extract(&self.column, pattern.id(), into, self.rows)
    }

    /// Replaces matches of patterns, and gives how many matches each had.
    ///
    /// # Errors
    /// An unknown pattern.
    pub fn redact(&self, redactions: &[Redaction]) -> Result<Vec<u64>> {
        sys::batch::redact_cells(&self.column, redactions, self.rows)
    }

    /// The rows whose cell passes a test, in order. Never one that was discarded.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn find(&self, test: &Test) -> Result<Rows> {
        sys::batch::find(&self.column, test, self.rows).map(Rows::Only)
    }

    /// The rows whose cell is there.
    ///
    /// # Errors
    /// As [`find`](Cells::find).
    pub fn present(&self) -> Result<Rows> {
        self.find(&Test::Present)
    }

    /// The rows whose cell is not there, of those that were not discarded.
    ///
    /// # Errors
    /// As [`find`](Cells::find).
    pub fn absent(&self) -> Result<Rows> {
        self.find(&Test::Absent)
    }

    /// The rows whose cell is this value.
    ///
    /// # Errors
    /// As [`find`](Cells::find).
    pub fn equal_to(&self, value: impl ToValue) -> Result<Rows> {
        self.find(&Test::Equals(value.to_value().into_owned()))
    }

    /// The rows whose cell is a text or bytes in which the pattern matches somewhere.
    ///
    /// # Errors
    /// As [`find`](Cells::find).
    pub fn matching(&self, pattern: Pattern) -> Result<Rows> {
        self.find(&Test::Matches(pattern.id()))
    }

    /// The rows whose cell is a number, and not below this one.
    ///
    /// # Errors
    /// As [`find`](Cells::find).
    pub fn at_least(&self, number: f64) -> Result<Rows> {
        self.find(&Test::AtLeast(number))
    }

    /// The rows whose cell is a number, and below this one.
    ///
    /// # Errors
    /// As [`find`](Cells::find).
    pub fn below(&self, number: f64) -> Result<Rows> {
        self.find(&Test::Below(number))
    }
}

/// As a column, for computing in the plugin: one call reads all cells, one call writes them back.
impl Cells<'_> {
    /// The cells that are texts.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn texts(&self) -> Result<Texts> {
        Texts::new(sys::batch::read_text(&self.column, self.rows)?, self.indexes())
    }

    /// The cells that are bytes, ids among them, or texts.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn bytes(&self) -> Result<Bytes> {
        Ok(Bytes::new(sys::batch::read_bytes(&self.column, self.rows)?, self.indexes()))
    }

    /// The cells that are integers.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn ints(&self) -> Result<Ints> {
        let cells = sys::batch::read_ints(&self.column, self.rows)?;
        Ok(Ints::new(cells.values, cells.present, self.indexes()))
    }

    /// The cells that are numbers.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn doubles(&self) -> Result<Doubles> {
        let cells = sys::batch::read_doubles(&self.column, self.rows)?;
        Ok(Doubles::new(cells.values, cells.present, self.indexes()))
    }

    /// The cells, whatever they are: slower than the others, since each is a value of its own.
    ///
    /// # Errors
    /// A field that the level does not have.
    pub fn values(&self) -> Result<Values> {
        Ok(Values::new(sys::batch::read_values(&self.column, self.rows)?, self.indexes()))
    }

    /// Sets the cells of the rows, in their order, to these texts. `None` leaves a cell as it is.
    ///
    /// # Errors
    /// More or fewer than there are rows; as [`Table::set`].
    pub fn write_texts<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = Option<T>>) -> Result<()> {
        sys::batch::write_text(&self.column, &crate::cells::flat(texts)?, self.rows)
    }

    /// Sets the cells of the rows, in their order, to these integers. `None` leaves a cell as it is.
    ///
    /// # Errors
    /// As [`write_texts`](Cells::write_texts).
    pub fn write_ints(&self, ints: impl IntoIterator<Item = Option<i64>>) -> Result<()> {
        let (values, present) = crate::cells::split(ints);
        sys::batch::write_ints(&self.column, &sys::types::Ints { values, present }, self.rows)
    }

    /// Sets the cells of the rows, in their order, to these doubles. `None` leaves a cell as it is.
    ///
    /// # Errors
    /// As [`write_texts`](Cells::write_texts).
    pub fn write_doubles(&self, doubles: impl IntoIterator<Item = Option<f64>>) -> Result<()> {
        let (values, present) = crate::cells::split(doubles);
        sys::batch::write_doubles(&self.column, &sys::types::Doubles { values, present }, self.rows)
    }

    /// Sets the cells of the rows, in their order, to these values. `None` leaves a cell as it is.
    ///
    /// # Errors
    /// As [`write_texts`](Cells::write_texts).
    pub fn write_values(&self, values: &[Option<Value>]) -> Result<()> {
        sys::batch::write_values(&self.column, values, self.rows)
    }

    /// Reads the texts, and writes back those for which the function gives another one: a part of the old
    /// one, or one of its own.
    ///
    /// ```
    /// # fn process(batch: &tollgate_plugin::Batch) -> tollgate_plugin::Result<()> {
    /// batch.records().attribute("url").edit_texts(|url| Some(url.split_once('?')?.0.into()))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`texts`](Cells::texts) and [`write_texts`](Cells::write_texts).
    pub fn edit_texts(&self, mut edit: impl FnMut(&str) -> Option<Cow<'_, str>>) -> Result<()> {
        let texts = self.texts()?;
        let edited: Vec<_> = texts.cells().map(|text| text.and_then(&mut edit)).collect();
        if edited.iter().all(Option::is_none) {
            return Ok(());
        }
        self.write_texts(edited)
    }

    fn indexes(&self) -> Indexes {
        Indexes::of(self.column.level, self.rows)
    }
}

/// One row: every cell is a call of its own, for small or odd work.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    level: Level,
    index: u32,
}

impl Row {
    /// The cell, or none.
    ///
    /// # Errors
    /// There is no such row, or no such field.
    pub fn get(self, target: impl Into<Target>) -> Result<Option<Value>> {
        sys::batch::get_cell(self.level, self.index, &target.into())
    }

    /// Sets the cell.
    ///
    /// # Errors
    /// There is no such row, or no such field, or the field cannot take the value.
    pub fn set(self, target: impl Into<Target>, value: impl ToValue) -> Result<()> {
        sys::batch::set_cell(self.level, self.index, &target.into(), &value.to_value())
    }

    /// Removes the cell.
    ///
    /// # Errors
    /// There is no such row, or no such field.
    pub fn remove(self, target: impl Into<Target>) -> Result<()> {
        sys::batch::remove_cell(self.level, self.index, &target.into())
    }

    /// All attributes, in order, keys that stand twice included.
    ///
    /// # Errors
    /// There is no such row.
    pub fn attributes(self) -> Result<Vec<KeyValue>> {
        sys::batch::attributes(self.level, self.index)
    }
}

impl Capture {
    /// A group of a pattern (its name, or its number; `0` is the whole match), and where its text goes.
    pub fn new(group: impl Into<String>, to: impl Into<Target>) -> Capture {
        Capture { group: group.into(), to: to.into() }
    }
}

impl From<Pattern> for Test {
    fn from(pattern: Pattern) -> Test {
        Test::Matches(pattern.id())
    }
}
