//! A batch that plugins work on, one after the other.
//!
//! It is the bytes that came, tables of where its rows are, and the bytes that edits made. A row that is
//! edited is written anew, at once for all operations that come one after the other on rows of its level;
//! a row that is not keeps the bytes that it came with, unknown fields included, and a batch without
//! edits is the bytes that came. Nothing is decoded that no operation asks for.
//!
//! The operations are those of the contract (`wit/`), which says what each of them does. Everything
//! happens in the order of the calls.

mod append;
mod draft;
mod encode;
mod hash;
mod op;
mod pattern;
mod place;
mod redact;
mod store;
mod table;
mod value;
mod words;

pub use hash::HashKey;
pub use pattern::{Check, Pattern};
pub use words::{
    Action, Capture, Cells, Column, Doubles, EditError, Effects, Exhausted, Extracted, Field, Ints, KeyValue,
    Level, Limits, Places, Redaction, Routed, Rows, Selection, Target, Test, Value,
};

use crate::{
    Chunks, Document, Signal,
    schema::Message,
    wire::{WIRE_LEN, put_varint},
};
use append::Append;
use draft::{Draft, attribute_value, peek};
use encode::Encoder;
use op::{Cells as CellsOf, Op, Opened, When, no_such, prepare, prepare_text};
use place::{Shape, Variant, child_field, has_level, locate};
use redact::{KeyRedactor, Redactor, without_unknown_fields};
use std::time::Instant;
use store::{Span, Store};
use table::{Fate, Row, Tables, below_records, shape};
use value::{Raw, bytes_of, double_of, int_of, text_of, to_value};
use words::{bad, unsupported};

/// A batch of logs, traces or metrics.
pub struct Batch {
    signal: Signal,
    store: Store,
    tables: Tables,
    /// Rows below the records, as far as they were asked for, and since when: [`Batch::edit`] moves them.
    below: [Option<Vec<Row>>; 3],
    /// Operations on the rows of one level that are still to be done.
    pending: Option<Pending>,
    /// The destinations that rows are routed to, in sets.
    destinations: Vec<Vec<String>>,
    draft: Draft,
    turn: Turn,
    /// Whether an earlier turn changed it.
    is_changed: bool,
}

/// A plugin's turn.
struct Turn {
    /// What the batch was when it began, once something changes.
    before: Option<Before>,
    edited_before: usize,
    /// How far edits may go, in bytes, with what was handed out.
    bytes_max: u64,
    handed_out: u64,
    deadline: Option<Instant>,
    steps: u32,
}

struct Before {
    /// The bytes, where others took their place.
    store: Option<Store>,
    tables: Tables,
}

impl Before {
    /// How many of the records that stay were changed since.
    fn changed_records(&self, tables: &Tables) -> u64 {
        let stays = |row: &usize| tables.fate(Level::Record, *row) == Fate::Stay;
        let staying = (0..tables.records.len()).filter(stays);
        match &self.store {
            Some(_) => staying.count() as u64, // nobody knows which
            None => {
                staying.filter(|&row| tables.records[row].field != self.tables.records[row].field).count()
                    as u64
            }
        }
    }
}

/// Writes that wait for others on the same level, so that a row is written once for all of them.
struct Pending {
    level: Level,
    writes: Vec<Write>,
}

struct Write {
    target: Target,
    when: When,
    cells: CellsOf,
    rows: Chosen,
}

/// Rows, by their indexes in order.
#[derive(Debug, Clone)]
enum Chosen {
    All,
    Some(Vec<u32>),
}

/// How many rows are done between two looks at the clock.
const STEPS: u32 = 256;
/// How far addresses reach, with room for one more value.
const ADDRESSES_MAX: u64 = 2 << 30;
/// How many writes wait at most.
const PENDING_MAX: usize = 64;

type Edited<T = ()> = Result<T, EditError>;

impl Batch {
    /// A batch as it came, its framing checked.
    pub fn new(document: Document) -> Self {
        let signal = document.signal();
        let bytes = document.into_bytes().to_bytes();
        let tables = Tables::of(signal, &bytes.clone().into()).unwrap_or_default();
        Self {
            signal,
            store: Store::new(bytes),
            tables,
            below: Default::default(),
            pending: None,
            destinations: Vec::new(),
            draft: Draft::default(),
            turn: Turn::unlimited(0),
            is_changed: false,
        }
    }

    // The turns of plugins.

    /// A plugin's turn begins.
    pub fn begin(&mut self, limits: Limits) {
        self.turn = Turn {
            bytes_max: limits.bytes.min(ADDRESSES_MAX.saturating_sub(u64::from(self.store.end()))),
            deadline: Some(limits.deadline),
            ..Turn::unlimited(self.store.edited())
        };
    }

    /// Its turn ends, and what it did counts. What it discarded or routed is gone for the next one.
    ///
    /// # Errors
    /// What was left to be done may meet the limits, or find the batch broken: then the turn is to be
    /// undone.
    pub fn commit(&mut self) -> Edited<Effects> {
        self.settle()?;
        let mut effects = Effects::default();
        self.drop_marked()?;
        let is_changed = self.turn.before.as_ref().is_some_and(|before| {
            effects.changed = before.changed_records(&self.tables);
            effects.changed > 0 || before.store.is_some() || before.tables.owns != self.tables.owns
        });
        if !is_changed {
            self.store.truncate(self.turn.edited_before);
        }
        self.is_changed |= is_changed;
        if !self.tables.all_stay() {
            self.take_leave(&mut effects)?;
        }
        self.turn = Turn::unlimited(self.store.edited());
        Ok(effects)
    }

    /// Its turn ends as if it had not been.
    pub fn undo(&mut self) {
        self.pending = None;
        if let Some(before) = self.turn.before.take() {
            if let Some(store) = before.store {
                self.store = store;
            }
            self.tables = before.tables;
            self.below = Default::default();
        }
        self.store.truncate(self.turn.edited_before);
        self.destinations.clear();
        self.turn = Turn::unlimited(self.store.edited());
    }

    /// What it carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// How many log records, spans or data points there are.
    pub fn records(&self) -> u64 {
        let rows = 0..self.tables.records.len();
        match self.tables.fates[Level::Record as usize].is_empty() {
            true => rows.len() as u64,
            false => rows.filter(|row| self.tables.fate(Level::Record, *row) == Fate::Stay).count() as u64,
        }
    }

    /// Whether a turn that ended changed anything. If not, [`Batch::message`] is the bytes that came.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// How many bytes it holds beside those that came.
    pub fn bytes_held(&self) -> u64 {
        self.store.edited() as u64
    }

    /// The batch as it is now, between turns.
    pub fn message(&self) -> Chunks {
        self.encode(Fate::Stay)
    }

    /// The same, where the batch is not needed any more: what edits made is not copied again.
    pub fn into_message(self) -> Chunks {
        if !self.is_changed {
            return self.store.base().clone().into();
        }
        let plan = Encoder::new(self.signal, &self.store, &self.tables, Fate::Stay).plan();
        plan.chunks(self.store)
    }

    fn encode(&self, fate: Fate) -> Chunks {
        let is_whole = fate == Fate::Stay && self.tables.all_stay();
        if is_whole && self.store.edited() == 0 {
            return self.store.base().clone().into();
        }
        bytes::Bytes::from(Encoder::new(self.signal, &self.store, &self.tables, fate).encode()).into()
    }

    /// Parts from what was discarded or routed.
    fn take_leave(&mut self, effects: &mut Effects) -> Edited {
        let fates = |fate| {
            let rows = 0..self.tables.records.len();
            rows.filter(|row| self.tables.fate(Level::Record, *row) == fate).count() as u64
        };
        effects.discarded = fates(Fate::Discard);
        let all = self.tables.records.len() as u64;
        for (set, destinations) in self.destinations.iter().enumerate() {
            let fate = Fate::Route(set as u16);
            let records = fates(fate);
            let message = if records == all && self.is_whole(fate) {
                // All of it goes there: what came, where nothing was edited.
                let tables = Tables { fates: Default::default(), ..self.tables.clone() };
                whole(self.signal, &self.store, &tables)
            } else {
                self.encode(fate)
            };
            if !message.is_empty() {
                effects.routed.push(Routed { destinations: destinations.clone(), message, records });
            }
        }
        let is_gone = |row| self.tables.fate(Level::Resource, row) != Fate::Stay;
        let rest = match fates(Fate::Stay) == 0 && (0..self.tables.resources.len()).all(is_gone) {
            true => bytes::Bytes::new(),
            false => self.encode(Fate::Stay).to_bytes(),
        };
        self.destinations.clear();
        self.become_of(rest)?;
        self.is_changed = true;
        Ok(())
    }

    /// Whether every resource has this fate, its records with it.
    fn is_whole(&self, fate: Fate) -> bool {
        (0..self.tables.resources.len()).all(|row| self.tables.fate(Level::Resource, row) == fate)
    }

    fn below_level(&self, level: Level) -> Level {
        match level {
            Level::Resource => Level::Scope,
            Level::Scope if self.signal == Signal::Metrics => Level::Metric,
            _ => Level::Record,
        }
    }

    /// Takes other bytes in place of its own.
    fn become_of(&mut self, bytes: bytes::Bytes) -> Edited {
        self.tables = Tables::of(self.signal, &bytes.clone().into())?;
        self.store = Store::new(bytes);
        self.below = Default::default();
        Ok(())
    }

    // 1. Many rows at once.

    /// Gives cells a value.
    ///
    /// # Errors
    /// As all operations: what is wrong with the arguments, or the turn's limits; [`EditError`].
    pub fn set(&mut self, column: &Column, value: &Value, rows: &Rows) -> Edited {
        self.write(column, value, rows, When::Always)
    }

    /// Gives cells a value where they are not there.
    pub fn insert(&mut self, column: &Column, value: &Value, rows: &Rows) -> Edited {
        self.write(column, value, rows, When::Absent)
    }

    /// Gives cells a value where they are there.
    pub fn update(&mut self, column: &Column, value: &Value, rows: &Rows) -> Edited {
        self.write(column, value, rows, When::Present)
    }

    /// Gives every attribute whose key matches a value.
    pub fn update_keys(&mut self, level: Level, keys: &Pattern, value: &Value, rows: &Rows) -> Edited {
        if let Value::Encoded(content) = value {
            value::check_encoded(content).map_err(EditError::BadArgument)?;
        }
        self.edit(level, rows, Op::WriteKeys { keys, value }).map(drop)
    }

    /// Removes cells.
    pub fn remove(&mut self, column: &Column, rows: &Rows) -> Edited {
        self.check_target(column.level, &column.target)?;
        self.edit(column.level, rows, Op::Remove { target: &column.target }).map(drop)
    }

    /// Removes every attribute whose key matches.
    pub fn remove_keys(&mut self, level: Level, keys: &Pattern, rows: &Rows) -> Edited {
        self.edit(level, rows, Op::RetainKeys { keys, matching: false }).map(drop)
    }

    /// Removes every attribute whose key does not match.
    pub fn keep_keys(&mut self, level: Level, keys: &Pattern, rows: &Rows) -> Edited {
        self.edit(level, rows, Op::RetainKeys { keys, matching: true }).map(drop)
    }

    /// Renames an attribute.
    pub fn rename(&mut self, level: Level, key: &str, to: &str, rows: &Rows) -> Edited {
        self.edit(level, rows, Op::Rename { from: key, to }).map(drop)
    }

    /// Renames every attribute whose key matches.
    pub fn rename_keys(&mut self, level: Level, keys: &Pattern, to: &str, rows: &Rows) -> Edited {
        self.edit(level, rows, Op::RenameKeys { keys, to, copies: false }).map(drop)
    }

    /// Copies a cell within a row, or from the row above it.
    pub fn copy(&mut self, source: &Column, to: &Column, rows: &Rows) -> Edited {
        self.check_target(source.level, &source.target)?;
        self.check_target(to.level, &to.target)?;
        if source.level == to.level {
            let op = Op::Copy { from: &source.target, to: &to.target };
            return self.edit(to.level, rows, op).map(drop);
        }
        self.copy_down(source, to, rows)
    }

    /// Copies every attribute whose key matches.
    pub fn copy_keys(&mut self, level: Level, keys: &Pattern, to: &str, rows: &Rows) -> Edited {
        self.edit(level, rows, Op::RenameKeys { keys, to, copies: true }).map(drop)
    }

    /// Replaces cells by their hash.
    pub fn hash(&mut self, column: &Column, key: Option<&HashKey>, rows: &Rows) -> Edited {
        self.check_target(column.level, &column.target)?;
        self.edit(column.level, rows, Op::Hash { target: &column.target, key }).map(drop)
    }

    /// Replaces every attribute whose key matches by its hash.
    pub fn hash_keys(&mut self, level: Level, keys: &Pattern, key: Option<&HashKey>, rows: &Rows) -> Edited {
        self.edit(level, rows, Op::HashKeys { keys, key }).map(drop)
    }

    /// Writes groups of a pattern's first match to other targets.
    pub fn extract(
        &mut self,
        source: &Column,
        pattern: &Pattern,
        into: &[Capture],
        rows: &Rows,
    ) -> Edited<Extracted> {
        let level = source.level;
        let group = |capture: &'_ Capture| {
            self.check_target(level, &capture.to)?;
            pattern
                .group(&capture.group)
                .ok_or_else(|| bad(format!("the pattern has no group `{}`", capture.group)))
        };
        let groups: Vec<usize> = into.iter().map(group).collect::<Result<_, _>>()?;
        let chosen = self.scan_before(source, rows)?;
        let mut cells: Vec<Vec<Option<op::Prepared>>> = vec![Vec::new(); into.len()];
        let mut done = Extracted::default();
        let mut texts = Vec::with_capacity(into.len());
        for row in chosen.iter(self.rows(level)?.len() as u32) {
            self.step()?;
            let entry = self.row(level, row)?;
            texts.clear();
            if let Some(raw) = self.peek(level, row, &entry, &source.target)?
                && let Some((text, at)) = value::placed(&self.store, raw)?
                && pattern.may_match(text)
                && let Some(captures) = pattern.captures(text)
            {
                done.matched += 1;
                let span = |found: regex::bytes::Match<'_>| Span {
                    start: at + found.start() as u32,
                    end: at + found.end() as u32,
                };
                texts.extend(groups.iter().map(|group| captures.get(*group).map(span)));
            }
            for (place, capture) in into.iter().enumerate() {
                let text = texts.get(place).copied().flatten();
                let cell = locate(self.signal, level, entry.variant, &capture.to);
                let prepared = match (text, cell) {
                    (Some(text), Some(cell)) => prepare_text(&mut self.store, cell, text),
                    _ => None,
                };
                done.invalid += u32::from(text.is_some() && prepared.is_none());
                cells[place].push(prepared);
            }
            self.check_bytes()?;
        }
        for (capture, cells) in into.iter().zip(cells) {
            self.wait(level, &capture.to, When::Always, CellsOf::Each(cells), chosen.clone())?;
        }
        Ok(done)
    }

    /// Replaces matches in all the texts of the batch; gives how many matches each redaction had.
    pub fn redact(&mut self, redactions: &[Redaction], selection: &Selection) -> Edited<Vec<u64>> {
        self.settle()?;
        let mut redactor = Redactor::new(redactions, selection);
        self.rewrite(&mut |message, content, except| {
            // Most rows hold nothing of what every match has.
            if !redactor.turn_to(message, content) {
                return Ok(None);
            }
            redactor.message(message, content, except)
        })?;
        Ok(redactor.counts)
    }

    /// Puts an action into effect on whole values, wherever their key matches; gives how many there were.
    pub fn redact_keys(&mut self, keys: &Pattern, action: &Action) -> Edited<u64> {
        self.settle()?;
        let mut redactor = KeyRedactor { keys, action, count: 0 };
        self.rewrite(&mut |message, content, except| match keys.may_match_within(content) {
            true => redactor.message(message, content, except, 0),
            false => Ok(None),
        })?;
        Ok(redactor.count)
    }

    /// Replaces matches in one column.
    pub fn redact_cells(
        &mut self,
        column: &Column,
        redactions: &[Redaction],
        rows: &Rows,
    ) -> Edited<Vec<u64>> {
        self.check_target(column.level, &column.target)?;
        let op = Op::Redact { target: &column.target, redactions };
        let mut matches = self.edit(column.level, rows, op)?;
        matches.resize(redactions.len(), 0); // without rows, nobody counted
        Ok(matches)
    }

    /// Removes fields that are not known; gives how many there were.
    pub fn remove_unknown_fields(&mut self) -> Edited<u64> {
        self.settle()?;
        let mut count = 0;
        self.rewrite(&mut |message, content, except| {
            without_unknown_fields(message, content, except, &mut count, 0)
        })?;
        Ok(count)
    }

    /// The rows in which a cell passes a test.
    pub fn find(&mut self, column: &Column, test: &Test, rows: &Rows) -> Edited<Vec<u32>> {
        let mut found = Vec::new();
        self.scan(column, rows, |store, row, raw| {
            let passes = match (test, raw) {
                (Test::Present, raw) => raw.is_some(),
                (Test::Absent, raw) => raw.is_none(),
                (_, None) => false,
                (Test::Equals(Value::Text(wanted)), Some(raw)) => {
                    text_of(store, raw)? == Some(wanted.as_str())
                }
                (Test::Equals(wanted), Some(raw)) => to_value(store, raw)? == *wanted,
                (Test::Matches(pattern), Some(raw)) => {
                    bytes_of(store, raw)?.is_some_and(|text| pattern.is_match(text))
                }
                (Test::AtLeast(limit), Some(raw)) => {
                    double_of(store, raw)?.is_some_and(|number| number >= *limit)
                }
                (Test::Below(limit), Some(raw)) => {
                    double_of(store, raw)?.is_some_and(|number| number < *limit)
                }
            };
            if passes {
                found.push(row);
            }
            Ok(())
        })?;
        self.hand_out(found.len() * size_of::<u32>())?;
        Ok(found)
    }

    /// Takes rows out of the batch.
    pub fn discard(&mut self, level: Level, rows: &Rows) -> Edited {
        self.settle()?;
        let rows = self.choose(level, rows)?;
        self.mark(level, rows, Fate::Discard)
    }

    /// Sends rows elsewhere. Which names there are is for the caller to know.
    pub fn route(&mut self, level: Level, rows: &Rows, destinations: &[String]) -> Edited {
        if matches!(level, Level::Event | Level::Link | Level::Exemplar) {
            return Err(unsupported(format!("a route for each {}", level.name())));
        }
        if destinations.is_empty() {
            return Err(bad("a route without a destination"));
        }
        self.settle()?;
        let rows = self.choose(level, rows)?;
        let mut names = destinations.to_vec();
        names.sort_unstable();
        names.dedup();
        let known = self.destinations.iter().position(|known| *known == names);
        let set = known.unwrap_or_else(|| {
            self.destinations.push(names);
            self.destinations.len() - 1
        });
        let set = u16::try_from(set).map_err(|_| bad("too many sets of destinations"))?;
        self.mark(level, rows, Fate::Route(set))
    }

    // 2. A column at a time.

    /// The cells that are texts.
    pub fn read_text(&mut self, column: &Column, rows: &Rows) -> Edited<Cells> {
        self.read_cells(column, rows, |store, raw| Ok(text_of(store, raw)?.map(str::as_bytes)))
    }

    /// The cells that are texts, each on its own.
    pub fn read_texts(&mut self, column: &Column, rows: &Rows) -> Edited<Vec<Option<String>>> {
        self.read_each(column, rows, |store, raw| Ok(text_of(store, raw)?.map(str::to_owned)))
    }

    /// The cells that are bytes or texts.
    pub fn read_bytes(&mut self, column: &Column, rows: &Rows) -> Edited<Cells> {
        self.read_cells(column, rows, bytes_of)
    }

    /// The cells that are integers.
    pub fn read_ints(&mut self, column: &Column, rows: &Rows) -> Edited<Ints> {
        let cells = self.read_each(column, rows, int_of)?;
        Ok(Ints {
            present: cells.iter().map(Option::is_some).collect(),
            values: cells.into_iter().map(Option::unwrap_or_default).collect(),
        })
    }

    /// The cells that are numbers.
    pub fn read_doubles(&mut self, column: &Column, rows: &Rows) -> Edited<Doubles> {
        let cells = self.read_each(column, rows, double_of)?;
        Ok(Doubles {
            present: cells.iter().map(Option::is_some).collect(),
            values: cells.into_iter().map(Option::unwrap_or_default).collect(),
        })
    }

    /// The cells, whatever they are.
    pub fn read_values(&mut self, column: &Column, rows: &Rows) -> Edited<Vec<Option<Value>>> {
        self.read_each(column, rows, |store, raw| to_value(store, raw).map(Some))
    }

    /// Sets cells to texts.
    pub fn write_text(&mut self, column: &Column, cells: &Cells, rows: &Rows) -> Edited {
        if !cells.offsets.len().is_multiple_of(2) {
            return Err(bad("two offsets for each cell are wanted"));
        }
        let texts = cells.iter().map(|cell| {
            let text = cell.map_err(|()| bad("an offset beyond the data"))?;
            let utf8 = |text: &[u8]| match std::str::from_utf8(text) {
                Ok(text) => Ok(Value::Text(text.to_owned())),
                Err(_) => Err(bad("a text that is no UTF-8")),
            };
            text.map(utf8).transpose()
        });
        let values = texts.collect::<Result<Vec<_>, _>>()?;
        self.write_each(column, values, rows)
    }

    /// Sets cells to texts, each on its own.
    pub fn write_texts(&mut self, column: &Column, cells: Vec<Option<String>>, rows: &Rows) -> Edited {
        self.write_each(column, cells.into_iter().map(|cell| cell.map(Value::Text)).collect(), rows)
    }

    /// Sets cells to integers.
    pub fn write_ints(&mut self, column: &Column, cells: &Ints, rows: &Rows) -> Edited {
        let values = present(&cells.values, &cells.present, Value::Int)?;
        self.write_each(column, values, rows)
    }

    /// Sets cells to doubles.
    pub fn write_doubles(&mut self, column: &Column, cells: &Doubles, rows: &Rows) -> Edited {
        let values = present(&cells.values, &cells.present, Value::Double)?;
        self.write_each(column, values, rows)
    }

    /// Sets cells.
    pub fn write_values(&mut self, column: &Column, cells: Vec<Option<Value>>, rows: &Rows) -> Edited {
        self.write_each(column, cells, rows)
    }

    // 3. One cell at a time.

    /// A cell, if it is there.
    pub fn get_cell(&mut self, level: Level, row: u32, target: &Target) -> Edited<Option<Value>> {
        self.check_target(level, target)?;
        self.open(level, row)?;
        let variant = self.row(level, row)?.variant;
        let Some(cell) = locate(self.signal, level, variant, target) else { return Ok(None) };
        let value = match self.draft.read(&mut self.store, cell)? {
            Some(raw) => Some(to_value(&self.store, raw)?),
            None => None,
        };
        self.hand_out(value.as_ref().map_or(0, bytes_in))?;
        Ok(value)
    }

    /// Sets a cell.
    pub fn set_cell(&mut self, level: Level, row: u32, target: &Target, value: &Value) -> Edited {
        let column = Column { level, target: target.clone() };
        self.write(&column, value, &Rows::Only(vec![row]), When::Always)
    }

    /// Removes a cell.
    pub fn remove_cell(&mut self, level: Level, row: u32, target: &Target) -> Edited {
        self.remove(&Column { level, target: target.clone() }, &Rows::Only(vec![row]))
    }

    /// All attributes of a row.
    pub fn attributes(&mut self, level: Level, row: u32) -> Edited<Vec<KeyValue>> {
        self.open(level, row)?;
        let parts: Vec<_> = self.draft.attributes().copied().collect();
        let mut attributes = Vec::with_capacity(parts.len());
        let mut bytes = 0;
        for part in parts {
            let any = attribute_value(&mut self.store, &part)?;
            let key = String::from_utf8_lossy(self.store.bytes(part.key)).into_owned();
            bytes += part.content.len();
            attributes.push(KeyValue { key, value: to_value(&self.store, Raw::Any(any))? });
        }
        self.hand_out(bytes)?;
        Ok(attributes)
    }

    // 4. The whole batch.

    /// How many rows a level has.
    pub fn count(&mut self, level: Level) -> Edited<u32> {
        self.settle()?;
        Ok(self.rows(level)?.len() as u32)
    }

    /// For each row of a level, the row that it belongs to.
    pub fn parents(&mut self, level: Level) -> Edited<Vec<u32>> {
        self.settle()?;
        if level == Level::Resource {
            return Ok(Vec::new());
        }
        let parents: Vec<u32> = self.rows(level)?.iter().map(|row| row.parent).collect();
        self.hand_out(parents.len() * size_of::<u32>())?;
        Ok(parents)
    }

    /// The batch as it is now.
    pub fn to_otlp(&mut self) -> Edited<Vec<u8>> {
        self.settle()?;
        let tables = self.tables.clone();
        self.drop_marked()?;
        let bytes = self.encode(Fate::Stay).to_bytes();
        (self.tables, self.below) = (tables, Default::default());
        self.hand_out(bytes.len())?;
        Ok(bytes.into())
    }

    /// Takes another batch in its place.
    pub fn replace(&mut self, otlp: Vec<u8>) -> Edited {
        let document = Document::parse(self.signal, bytes::Bytes::from(otlp))
            .map_err(|error| bad(format!("this is no batch of {}: {error}", self.signal)))?;
        self.settle()?;
        if !self.tables.all_stay() {
            return Err(unsupported("`replace` after `discard` or `route`"));
        }
        let bytes = document.into_bytes().to_bytes();
        self.hand_out(bytes.len())?;
        self.remember();
        let old = self.store.clone();
        self.become_of(bytes)?;
        if let Some(before) = &mut self.turn.before {
            before.store.get_or_insert(old);
        }
        Ok(())
    }

    // How rows are found.

    /// Which rows are meant.
    fn choose(&mut self, level: Level, rows: &Rows) -> Edited<Chosen> {
        let count = self.rows(level)?.len();
        match rows {
            Rows::All => Ok(Chosen::All),
            Rows::Only(indexes) => {
                let mut indexes = indexes.clone();
                if !indexes.is_sorted_by(|a, b| a < b) {
                    indexes.sort_unstable();
                    indexes.dedup();
                }
                match indexes.last() {
                    Some(&last) if last as usize >= count => Err(no_row(level, last, count)),
                    _ => Ok(Chosen::Some(indexes)),
                }
            }
            Rows::Under(upper, indexes) => {
                let above = self.above(level, *upper)?;
                let count = self.rows(*upper)?.len();
                let mut is_in = vec![false; count];
                for &index in indexes {
                    *is_in.get_mut(index as usize).ok_or_else(|| no_row(*upper, index, count))? = true;
                }
                let under = above.iter().enumerate().filter(|(_, above)| is_in[**above as usize]);
                Ok(Chosen::Some(under.map(|(row, _)| row as u32).collect()))
            }
        }
    }

    /// For each row of a level, the row of an upper level that it is below.
    fn above(&mut self, level: Level, upper: Level) -> Edited<Vec<u32>> {
        let mut at = level;
        let mut above: Vec<u32> = (0..self.rows(level)?.len() as u32).collect();
        while at != upper {
            let Some(next) = self.level_above(at) else {
                return Err(bad(format!("no {} is below a {}", level.name(), upper.name())));
            };
            let rows = self.rows(at)?;
            above.iter_mut().for_each(|row| *row = rows[*row as usize].parent);
            at = next;
        }
        Ok(above)
    }

    fn level_above(&self, level: Level) -> Option<Level> {
        match level {
            Level::Resource => None,
            Level::Scope => Some(Level::Resource),
            Level::Metric => Some(Level::Scope),
            Level::Record if self.signal == Signal::Metrics => Some(Level::Metric),
            Level::Record => Some(Level::Scope),
            Level::Event | Level::Link | Level::Exemplar => Some(Level::Record),
        }
    }

    /// The rows of a level; those below records are looked up once.
    fn rows(&mut self, level: Level) -> Edited<&[Row]> {
        if !has_level(self.signal, level) {
            return Ok(&[]);
        }
        let place = match level {
            Level::Event => 0,
            Level::Link => 1,
            Level::Exemplar => 2,
            _ => return Ok(self.tables.rows(level)),
        };
        if self.below[place].is_none() {
            self.below[place] = Some(below_records(self.signal, level, &self.store, &self.tables.records)?);
        }
        Ok(self.below[place].as_deref().unwrap_or_default())
    }

    fn row(&mut self, level: Level, row: u32) -> Edited<Row> {
        let rows = self.rows(level)?;
        let count = rows.len();
        rows.get(row as usize).copied().ok_or_else(|| no_row(level, row, count))
    }

    /// Opens a row for reading.
    fn open(&mut self, level: Level, row: u32) -> Edited {
        self.settle()?;
        let entry = self.row(level, row)?;
        self.step()?;
        self.load(level, row, &entry)
    }

    fn load(&mut self, level: Level, row: u32, entry: &Row) -> Edited {
        let content = self.tables.own(level, row).unwrap_or(entry.content());
        Ok(self.draft.load(&self.store, content, &shape(self.signal, level, entry))?)
    }

    fn check_target(&self, level: Level, target: &Target) -> Edited {
        if !has_level(self.signal, level) {
            return Ok(()); // it has no rows of which anything could be asked
        }
        let is_there = |variant| locate(self.signal, level, variant, target).is_some();
        if Variant::ALL.into_iter().any(is_there) { Ok(()) } else { Err(no_such(self.signal, level, target)) }
    }

    // How they are read.

    fn scan(
        &mut self,
        column: &Column,
        rows: &Rows,
        mut see: impl FnMut(&Store, u32, Option<Raw>) -> Edited,
    ) -> Edited {
        let level = column.level;
        let chosen = self.scan_before(column, rows)?;
        let count = self.rows(level)?.len() as u32;
        for row in chosen.iter(count) {
            self.step()?;
            let entry = self.row(level, row)?;
            let raw = self.peek(level, row, &entry, &column.target)?;
            see(&self.store, row, raw)?;
        }
        Ok(())
    }

    /// Makes sure that a column can be read as it is by now, and says which rows of it are meant.
    fn scan_before(&mut self, column: &Column, rows: &Rows) -> Edited<Chosen> {
        let Column { level, target } = column;
        self.check_target(*level, target)?;
        let touches = |pending: &Pending| {
            pending.level != *level || pending.writes.iter().any(|write| write.target == *target)
        };
        if self.pending.as_ref().is_some_and(touches) {
            self.settle()?;
        }
        self.choose(*level, rows)
    }

    fn peek(&mut self, level: Level, row: u32, entry: &Row, target: &Target) -> Edited<Option<Raw>> {
        let Some(cell) = locate(self.signal, level, entry.variant, target) else { return Ok(None) };
        let content = self.tables.own(level, row).unwrap_or(entry.content());
        let shape = shape(self.signal, level, entry);
        Ok(peek(&mut self.store, &mut self.draft, content, &shape, cell)?)
    }

    fn read_cells(
        &mut self,
        column: &Column,
        rows: &Rows,
        read: impl Fn(&Store, Raw) -> Result<Option<&[u8]>, crate::document::Malformed>,
    ) -> Edited<Cells> {
        let mut cells = Cells::default();
        let room = self.turn.room(&self.store);
        self.scan(column, rows, |store, _, raw| {
            let cell = match raw {
                Some(raw) => read(store, raw)?,
                None => None,
            };
            match cell {
                None => cells.offsets.extend([Cells::ABSENT; 2]),
                Some(bytes) => {
                    let start = cells.data.len() as u32;
                    cells.data.extend_from_slice(bytes);
                    cells.offsets.extend([start, cells.data.len() as u32]);
                }
            }
            if cells.data.len() as u64 > room { Err(EditError::Exhausted(Exhausted::Bytes)) } else { Ok(()) }
        })?;
        self.hand_out(cells.data.len() + cells.offsets.len() * size_of::<u32>())?;
        Ok(cells)
    }

    fn read_each<T>(
        &mut self,
        column: &Column,
        rows: &Rows,
        read: impl Fn(&Store, Raw) -> Result<Option<T>, crate::document::Malformed>,
    ) -> Edited<Vec<Option<T>>> {
        let mut cells = Vec::new();
        let mut bytes = 0u64;
        let room = self.turn.room(&self.store);
        self.scan(column, rows, |store, _, raw| {
            let cell = match raw {
                Some(raw) => {
                    bytes += match raw {
                        Raw::Any(span) | Raw::Text(span) | Raw::Bytes(span) => span.len() as u64,
                        Raw::Int(_) | Raw::Double(_) => 8,
                    };
                    read(store, raw)?
                }
                None => None,
            };
            cells.push(cell);
            if bytes > room { Err(EditError::Exhausted(Exhausted::Bytes)) } else { Ok(()) }
        })?;
        self.hand_out(usize::try_from(bytes).unwrap_or(usize::MAX) + cells.len() * size_of::<Option<T>>())?;
        Ok(cells)
    }

    // How they are written.

    fn write(&mut self, column: &Column, value: &Value, rows: &Rows, when: When) -> Edited {
        let level = column.level;
        if !has_level(self.signal, level) {
            return Ok(());
        }
        let rows = self.choose(level, rows)?;
        let cell = prepare(&mut self.store, self.signal, level, &column.target, value)?;
        self.check_bytes()?;
        self.wait(level, &column.target, when, CellsOf::Same(cell), rows)
    }

    /// Notes a write that is to be done with those that come before and after it.
    fn wait(&mut self, level: Level, target: &Target, when: When, cells: CellsOf, rows: Chosen) -> Edited {
        let is_joined = |pending: &Pending| pending.level == level && pending.writes.len() < PENDING_MAX;
        if !self.pending.as_ref().is_some_and(is_joined) {
            self.settle()?;
        }
        self.remember();
        let write = Write { target: target.clone(), when, cells, rows };
        self.pending.get_or_insert_with(|| Pending { level, writes: Vec::new() }).writes.push(write);
        Ok(())
    }

    fn write_each(&mut self, column: &Column, values: Vec<Option<Value>>, rows: &Rows) -> Edited {
        let Column { level, target } = column;
        self.check_target(*level, target)?;
        let chosen = self.choose(*level, rows)?;
        let count = chosen.iter(self.rows(*level)?.len() as u32).count();
        if values.len() != count {
            return Err(bad(format!("{} cells for {count} rows", values.len())));
        }
        let mut cells = Vec::with_capacity(values.len());
        for value in &values {
            let prepared = |value| prepare(&mut self.store, self.signal, *level, target, value);
            cells.push(value.as_ref().map(prepared).transpose()?);
            self.check_bytes()?;
        }
        self.wait(*level, target, When::Always, CellsOf::Each(cells), chosen)
    }

    fn copy_down(&mut self, source: &Column, to: &Column, rows: &Rows) -> Edited {
        self.settle()?;
        let above = self.above(to.level, source.level)?;
        let mut raws = Vec::new();
        self.scan(source, &Rows::All, |_, _, raw| {
            raws.push(raw);
            Ok(())
        })?;
        let chosen = self.choose(to.level, rows)?;
        let mut cells = Vec::new();
        for row in chosen.iter(above.len() as u32) {
            let entry = self.row(to.level, row)?;
            let raw = above.get(row as usize).and_then(|above| raws.get(*above as usize)).copied().flatten();
            let mut opened = Opened {
                draft: &mut self.draft,
                store: &mut self.store,
                signal: self.signal,
                level: to.level,
                variant: entry.variant,
            };
            cells.push(match raw {
                Some(raw) => opened.prepare_raw(&to.target, raw)?,
                None => None,
            });
            self.check_bytes()?;
        }
        self.wait(to.level, &to.target, When::Always, CellsOf::Each(cells), chosen)
    }

    /// Does one operation on rows, and with it the writes that wait. Gives how many matches redactions had.
    fn edit(&mut self, level: Level, rows: &Rows, op: Op<'_>) -> Edited<Vec<u64>> {
        let chosen = self.choose(level, rows)?;
        let pending = self.pending.take_if(|pending| pending.level == level);
        self.settle()?;
        let writes: Vec<(Op<'_>, &Chosen)> = pending.iter().flat_map(Pending::ops).collect();
        let ops: Vec<(&Op<'_>, &Chosen)> =
            writes.iter().map(|(op, rows)| (op, *rows)).chain([(&op, &chosen)]).collect();
        self.edit_rows(level, &ops)
    }

    /// Does the writes that wait.
    fn settle(&mut self) -> Edited {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let writes: Vec<(Op<'_>, &Chosen)> = pending.ops().collect();
        let ops: Vec<(&Op<'_>, &Chosen)> = writes.iter().map(|(op, rows)| (op, *rows)).collect();
        self.edit_rows(pending.level, &ops).map(drop)
    }

    /// Does operations, each on its rows; every row is written once.
    fn edit_rows(&mut self, level: Level, ops: &[(&Op<'_>, &Chosen)]) -> Edited<Vec<u64>> {
        self.remember();
        let mut matches = Vec::new();
        let mut moved = Vec::new();
        let count = self.rows(level)?.len() as u32;
        let all = Chosen::all_of(ops.iter().map(|(_, rows)| *rows), count);
        if matches!(all, Chosen::All) && level == Level::Record {
            self.store.expect(self.store.base().len() / 4 * 5);
        }
        let mut append: Option<(Variant, Option<Append<'_>>)> = None;
        for row in all.iter(count) {
            self.step()?;
            let entry = self.row(level, row)?;
            if level == Level::Record {
                let (_, append) = match &mut append {
                    Some(append) if append.0 == entry.variant => append,
                    append => {
                        append.insert((entry.variant, Append::of(self.signal, level, entry.variant, ops)))
                    }
                };
                if let Some(append) = append
                    && !append.is_in(&self.store, entry.content())?
                {
                    let index = |op: usize| ops[op].1.index_of(row);
                    let (number, field) = (self.record_field(), self.store.end());
                    let put = append.put(&mut self.store, number, entry.content(), index);
                    if let Some(Span { start, end }) = put {
                        self.move_record(row, Row { field, start, end, ..entry });
                        self.check_bytes()?;
                    }
                    continue;
                }
            }
            self.load(level, row, &entry)?;
            let mut opened = Opened {
                draft: &mut self.draft,
                store: &mut self.store,
                signal: self.signal,
                level,
                variant: entry.variant,
            };
            for (op, rows) in ops {
                if let Some(index) = rows.index_of(row) {
                    opened.apply(op, index, &mut matches)?;
                }
            }
            if self.draft.is_changed() {
                self.put_back(level, row, &entry, &mut moved);
                self.check_bytes()?;
            }
        }
        self.move_below(level, &moved)?;
        Ok(matches)
    }

    /// Writes an edited row, and notes where it is now.
    fn put_back(&mut self, level: Level, row: u32, entry: &Row, moved: &mut Vec<(u32, Span)>) {
        let field = self.store.end();
        match level {
            Level::Resource | Level::Scope | Level::Metric => {
                self.draft.put(&mut self.store);
                self.tables.set_own(level, row, self.store.since(field));
            }
            Level::Record => {
                let number = self.record_field();
                put_varint(self.store.edits(), u64::from(number) << 3 | WIRE_LEN);
                put_varint(self.store.edits(), self.draft.bytes() as u64);
                let start = self.store.end();
                self.draft.put(&mut self.store);
                self.move_record(row, Row { field, start, end: self.store.end(), ..*entry });
            }
            Level::Event | Level::Link | Level::Exemplar => {
                self.draft.put(&mut self.store);
                moved.push((row, self.store.since(field)));
            }
        }
    }

    fn record_field(&self) -> u32 {
        if self.signal == Signal::Metrics { 1 } else { 2 }
    }

    fn move_record(&mut self, row: u32, to: Row) {
        self.tables.records[row as usize] = to;
        self.below = Default::default();
    }

    /// Puts edited rows below records into their records.
    fn move_below(&mut self, level: Level, moved: &[(u32, Span)]) -> Edited {
        if moved.is_empty() {
            return Ok(());
        }
        let rows = self.rows(level)?.to_vec();
        for group in moved.chunk_by(|(a, _), (b, _)| rows[*a as usize].parent == rows[*b as usize].parent) {
            let parent = rows[group[0].0 as usize].parent;
            self.put_below(level, parent, &rows, |row| {
                group.iter().find(|(moved, _)| *moved == row).map(|(_, to)| Some(*to))
            })?;
            self.check_bytes()?;
        }
        Ok(())
    }

    /// Writes a record anew with other rows below it: `to` gives each row's new content, `None` to keep
    /// it, or `Some(None)` to leave it out.
    fn put_below(
        &mut self,
        level: Level,
        parent: u32,
        rows: &[Row],
        to: impl Fn(u32) -> Option<Option<Span>>,
    ) -> Edited {
        self.step()?;
        let record = self.tables.records[parent as usize];
        let number = child_field(self.signal, level, record.variant).unwrap_or_default();
        let first = rows.partition_point(|row| row.parent < parent);
        let mut pieces = Vec::new();
        let mut copied = record.start;
        let below = rows.iter().enumerate().skip(first).take_while(|(_, row)| row.parent == parent);
        for (index, row) in below {
            let Some(to) = to(index as u32) else { continue };
            pieces.push((None, Span { start: copied, end: row.field }));
            copied = row.end;
            pieces.extend(to.map(|to| (Some(number), to)));
        }
        pieces.push((None, Span { start: copied, end: record.end }));
        let mut content = Vec::new();
        for (number, span) in pieces {
            if let Some(number) = number {
                put_varint(&mut content, u64::from(number) << 3 | WIRE_LEN);
                put_varint(&mut content, span.len() as u64);
            }
            content.extend_from_slice(self.store.bytes(span));
        }
        self.put_record(parent, &record, &content);
        Ok(())
    }

    fn put_record(&mut self, row: u32, record: &Row, content: &[u8]) {
        let number = self.record_field();
        let field = self.store.end();
        crate::wire::put_bytes(self.store.edits(), u64::from(number), content);
        let end = self.store.end();
        let start = end - content.len() as u32;
        self.tables.records[row as usize] = Row { field, start, end, ..*record };
        // Where rows below other records are stays true, but not below this one.
        self.below = Default::default();
    }

    /// Hands every row down to the records to a function with the message that it is; the fields that are
    /// rows themselves are not its business. What it gives back is the row from then on.
    fn rewrite(
        &mut self,
        change: &mut impl FnMut(&'static Message, &[u8], &[u32]) -> Edited<Option<Vec<u8>>>,
    ) -> Edited {
        let Some(request) = Message::request(self.signal) else { return Ok(()) };
        self.remember();
        let resource = request.below(1);
        let scope = resource.and_then(|message| message.below(2));
        let below_scope = scope.and_then(|message| message.below(2));
        let (metric, record) = match self.signal {
            Signal::Metrics => (below_scope, None),
            _ => (None, below_scope),
        };
        for (level, message) in [(Level::Resource, resource), (Level::Scope, scope), (Level::Metric, metric)]
        {
            let Some(message) = message else { continue };
            for row in 0..self.tables.rows(level).len() as u32 {
                self.step()?;
                self.rewrite_container(level, row, message, change)?;
            }
        }
        for row in 0..self.tables.records.len() as u32 {
            self.step()?;
            let entry = self.tables.records[row as usize];
            let data = match entry.variant {
                Variant::Plain => 5,
                Variant::Histogram => 9,
                Variant::ExponentialHistogram => 10,
                Variant::Summary => 11,
            };
            let point = || metric.and_then(|metric| metric.below(data)?.below(1));
            let Some(message) = record.or_else(point) else { continue };
            if let Some(content) = change(message, self.store.bytes(entry.content()), &[])? {
                self.put_record(row, &entry, &content);
                self.check_bytes()?;
            }
        }
        Ok(())
    }

    fn rewrite_container(
        &mut self,
        level: Level,
        row: u32,
        message: &'static Message,
        change: &mut impl FnMut(&'static Message, &[u8], &[u32]) -> Edited<Option<Vec<u8>>>,
    ) -> Edited {
        let entry = self.row(level, row)?;
        let children = Shape::of(self.signal, level, entry.variant).children;
        // Its own fields, without the rows in between.
        let own = match self.tables.own(level, row) {
            Some(own) => self.store.bytes(own).to_vec(),
            None => {
                let content = self.store.bytes(entry.content());
                let mut own = Vec::new();
                for field in crate::wire::Fields::of(content) {
                    let field = field?;
                    if !children.contains(&field.number) {
                        own.extend_from_slice(&content[field.whole]);
                    }
                }
                own
            }
        };
        if let Some(changed) = change(message, &own, children)? {
            let own = self.store.add(&changed);
            self.tables.set_own(level, row, own);
            self.check_bytes()?;
        }
        Ok(())
    }

    /// Marks rows, and the records and rows below them, with what is to become of them.
    fn mark(&mut self, level: Level, rows: Chosen, fate: Fate) -> Edited {
        self.remember();
        let count = self.rows(level)?.len();
        if matches!(level, Level::Event | Level::Link | Level::Exemplar) {
            rows.iter(count as u32).for_each(|row| self.tables.set_fate(level, count, row, fate));
            return Ok(());
        }
        let mut chosen: Vec<u32> = rows.iter(count as u32).collect();
        let mut level = level;
        loop {
            let count = self.tables.rows(level).len();
            for &row in &chosen {
                self.tables.set_fate(level, count, row, fate);
            }
            if level == Level::Record {
                return Ok(());
            }
            let mut is_in = vec![false; count];
            chosen.iter().for_each(|row| is_in[*row as usize] = true);
            level = self.below_level(level);
            let below = self.tables.rows(level).iter().enumerate();
            chosen = below.filter(|(_, row)| is_in[row.parent as usize]).map(|(row, _)| row as u32).collect();
        }
    }

    /// Takes what was discarded below records out of them. Only then: rows keep their numbers for a
    /// whole turn.
    fn drop_marked(&mut self) -> Edited {
        for level in [Level::Event, Level::Link, Level::Exemplar] {
            let fates = std::mem::take(&mut self.tables.fates[level as usize]);
            let is_marked = |row: u32| fates.get(row as usize) == Some(&Fate::Discard);
            let rows = match fates.is_empty() {
                true => continue,
                false => self.rows(level)?.to_vec(),
            };
            let mut parents: Vec<u32> = rows
                .iter()
                .enumerate()
                .filter(|(row, _)| is_marked(*row as u32))
                .map(|(_, row)| row.parent)
                .collect();
            parents.dedup();
            for parent in parents {
                self.put_below(level, parent, &rows, |row| is_marked(row).then_some(None))?;
                self.check_bytes()?;
            }
        }
        Ok(())
    }

    // The turn's limits.

    /// Keeps what the batch was, before something changes.
    fn remember(&mut self) {
        if self.turn.before.is_none() {
            self.turn.before = Some(Before { store: None, tables: self.tables.clone() });
        }
    }

    /// Counts a row that something is done to, and looks at the clock now and then.
    #[inline]
    fn step(&mut self) -> Edited {
        self.turn.steps += 1;
        if self.turn.steps.is_multiple_of(STEPS)
            && self.turn.deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(EditError::Exhausted(Exhausted::Time));
        }
        Ok(())
    }

    fn hand_out(&mut self, bytes: usize) -> Edited {
        self.turn.handed_out += bytes as u64;
        self.check_bytes()
    }

    fn check_bytes(&self) -> Edited {
        if self.turn.used(&self.store) > self.turn.bytes_max {
            return Err(EditError::Exhausted(Exhausted::Bytes));
        }
        Ok(())
    }
}

impl Turn {
    fn unlimited(edited_before: usize) -> Self {
        Self {
            before: None,
            edited_before,
            bytes_max: ADDRESSES_MAX,
            handed_out: 0,
            deadline: None,
            steps: 0,
        }
    }

    fn used(&self, store: &Store) -> u64 {
        store.edited().saturating_sub(self.edited_before) as u64 + self.handed_out
    }

    fn room(&self, store: &Store) -> u64 {
        self.bytes_max.saturating_sub(self.used(store))
    }
}

impl Pending {
    fn ops(&self) -> impl Iterator<Item = (Op<'_>, &Chosen)> {
        self.writes.iter().map(|write| {
            let Write { target, when, cells, rows } = write;
            (Op::Write { target, when: *when, cells }, rows)
        })
    }
}

impl Chosen {
    fn iter(&self, count: u32) -> impl Iterator<Item = u32> + '_ {
        let (all, some) = match self {
            Chosen::All => (0..count, &[][..]),
            Chosen::Some(rows) => (0..0, &rows[..]),
        };
        all.chain(some.iter().copied())
    }

    /// A row's place among them.
    fn index_of(&self, row: u32) -> Option<usize> {
        match self {
            Chosen::All => Some(row as usize),
            Chosen::Some(rows) => rows.binary_search(&row).ok(),
        }
    }

    /// All that are in any of these.
    fn all_of<'c>(several: impl Iterator<Item = &'c Chosen> + Clone, count: u32) -> Chosen {
        if several.clone().any(|rows| matches!(rows, Chosen::All)) {
            return Chosen::All;
        }
        let mut rows: Vec<u32> = several.flat_map(|rows| rows.iter(count)).collect();
        rows.sort_unstable();
        rows.dedup();
        Chosen::Some(rows)
    }
}

fn whole(signal: Signal, store: &Store, tables: &Tables) -> Chunks {
    if store.edited() == 0 {
        return store.base().clone().into();
    }
    bytes::Bytes::from(Encoder::new(signal, store, tables, Fate::Stay).encode()).into()
}

fn no_row(level: Level, row: u32, count: usize) -> EditError {
    bad(format!("there is no {} {row}: there are {count}", level.name()))
}

fn present<T: Copy>(values: &[T], present: &[bool], value: fn(T) -> Value) -> Edited<Vec<Option<Value>>> {
    if values.len() != present.len() {
        return Err(bad("as many values as marks of presence are wanted"));
    }
    Ok(values.iter().zip(present).map(|(&number, is_there)| is_there.then(|| value(number))).collect())
}

fn bytes_in(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) | Value::Encoded(bytes) => bytes.len(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests;
