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
mod turn;
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
use place::{Cell, Holds, Shape, Variant, child_field, has_level, locate};
use redact::{KeyRedactor, Redactor, without_unknown_fields};
use store::{Span, Store};
use table::{Fate, Row, Tables, below_records, shape};
use turn::{Before, Turn};
use value::{Raw, bytes_in, bytes_of, double_of, int_of, text_of, to_value};
use words::{bad, unsupported};

/// A batch of logs, traces or metrics.
pub struct Batch {
    signal: Signal,
    store: Store,
    tables: Tables,
    /// Rows below the records, as far as they were asked for since a record last moved.
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

/// Writes that wait for others on the same level, so that a row is written once for all of them.
struct Pending {
    level: Level,
    writes: Vec<Write>,
    /// How many rows and values they list.
    listed: usize,
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

/// How many writes wait at most, and how many rows and values they list: 40 bytes each.
const PENDING_MAX: usize = 64;
const PENDING_ROWS_MAX: usize = 256 << 10;
/// How many sets of destinations there are in a turn at most: each is a request of its own.
const DESTINATIONS_MAX: usize = 256;
/// The levels whose rows are part of a record.
const BELOW_RECORDS: [Level; 3] = [Level::Event, Level::Link, Level::Exemplar];

type Edited<T = ()> = Result<T, EditError>;

impl Batch {
    /// A batch as it came, its framing checked.
    pub fn new(document: Document) -> Self {
        let signal = document.signal();
        let bytes = document.into_bytes().to_bytes();
        let tables = Tables::of(signal, &bytes.clone().into()).unwrap_or_default();
        let store = Store::new(bytes);
        Self {
            signal,
            turn: Turn::unlimited(&store),
            store,
            tables,
            below: Default::default(),
            pending: None,
            destinations: Vec::new(),
            draft: Draft::default(),
            is_changed: false,
        }
    }

    // The turns of plugins.

    /// A plugin's turn begins.
    pub fn begin(&mut self, limits: Limits) {
        self.turn = Turn::limited(&self.store, limits);
    }

    /// Its turn ends, and what it did counts. What it discarded or routed is gone for the next one.
    ///
    /// # Errors
    /// What was left to be done may meet the limits, or find the batch broken, or an operation before
    /// did: then the turn is to be undone.
    pub fn commit(&mut self) -> Edited<Effects> {
        self.settle()?;
        let leaving = self.part();
        let mut effects = self.finished(leaving)?;
        let mut is_changed = false;
        if let Some(before) = &self.turn.before {
            effects.changed = before.changed_records(&self.tables);
            is_changed = before.is_changed(&self.tables);
        }
        if !self.tables.all_stay() {
            let stays = self.staying();
            let become_it = self.become_of(stays);
            self.finished(become_it)?;
            is_changed = true;
        } else if !is_changed {
            self.store.truncate(self.turn.edited_before);
        }
        self.is_changed |= is_changed;
        self.destinations.clear();
        self.turn = Turn::unlimited(&self.store);
        Ok(effects)
    }

    /// Its turn ends as if it had not been.
    pub fn undo(&mut self) {
        self.pending = None;
        let replaced = self.turn.before.take().and_then(|before| {
            self.tables = before.tables;
            self.below = Default::default();
            before.store
        });
        match replaced {
            Some(store) => self.store = store,
            None => self.store.truncate(self.turn.edited_before),
        }
        self.destinations.clear();
        self.turn = Turn::unlimited(&self.store);
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
        encode(self.signal, &self.store, &self.tables, fate)
    }

    /// Takes what is discarded below the records out of them, and gives what leaves.
    fn part(&mut self) -> Edited<Effects> {
        self.drop_marked()?;
        let mut effects = std::mem::take(&mut self.turn.left);
        if self.tables.all_stay() {
            return Ok(effects);
        }
        // For each set of destinations: how many records go there, and whether anything does.
        let mut sets = vec![(0, false); self.destinations.len()];
        for level in [Level::Resource, Level::Scope, Level::Metric, Level::Record] {
            let records = u64::from(level == Level::Record);
            for fate in &self.tables.fates[level as usize] {
                match *fate {
                    Fate::Stay => {}
                    Fate::Discard => effects.discarded += records,
                    Fate::Route(set) => {
                        let (routed, is_used) = &mut sets[usize::from(set)];
                        (*routed, *is_used) = (*routed + records, true);
                    }
                }
            }
        }
        // What several have in common is in each of their requests: a resource, a scope.
        let held = (self.store.base().len() + self.store.edited()) as u64;
        let mut room = held.saturating_add(self.turn.room(&self.store));
        let destinations = std::mem::take(&mut self.destinations);
        for (set, (destinations, (records, is_used))) in destinations.into_iter().zip(sets).enumerate() {
            if !is_used {
                continue;
            }
            self.turn.clock.work(held as usize)?;
            let fate = Fate::Route(set as u16);
            let message = match self.are_all(fate) {
                // All of it goes there: what came, where nothing was edited.
                true => {
                    let tables = Tables { fates: Default::default(), ..self.tables.clone() };
                    encode(self.signal, &self.store, &tables, Fate::Stay)
                }
                false => self.encode(fate),
            };
            room = room.checked_sub(message.len() as u64).ok_or(Exhausted::Bytes)?;
            if !message.is_empty() {
                effects.routed.push(Routed { destinations, message, records });
            }
        }
        Ok(effects)
    }

    /// What stays, where not all of it does.
    fn staying(&self) -> bytes::Bytes {
        let is_any = |level: Level| {
            (0..self.tables.rows(level).len()).any(|row| self.tables.fate(level, row) == Fate::Stay)
        };
        match is_any(Level::Record) || is_any(Level::Resource) {
            true => self.encode(Fate::Stay).to_bytes(),
            false => bytes::Bytes::new(),
        }
    }

    /// Whether every row down to the records has this fate.
    fn are_all(&self, fate: Fate) -> bool {
        [Level::Resource, Level::Scope, Level::Metric, Level::Record]
            .into_iter()
            .all(|level| (0..self.tables.rows(level).len()).all(|row| self.tables.fate(level, row) == fate))
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
        self.check_holds_text(column)?;
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
        self.check_target(level, &source.target)?;
        let group = |capture: &'_ Capture| {
            self.check_target(level, &capture.to)?;
            pattern
                .group(&capture.group)
                .ok_or_else(|| bad(format!("the pattern has no group `{}`", capture.group)))
        };
        let groups: Vec<usize> = into.iter().map(group).collect::<Result<_, _>>()?;
        let chosen = self.scan_before(source, rows)?;
        let chosen = self.living(level, chosen)?;
        let count = self.rows(level)?.len() as u32;
        let listed = chosen.iter(count).count().saturating_mul(into.len());
        self.turn.fits(&self.store, listed.saturating_mul(size_of::<Option<op::Prepared>>()))?;
        let mut cells: Vec<Vec<Option<op::Prepared>>> = vec![Vec::new(); into.len()];
        let mut done = Extracted::default();
        let mut texts = Vec::with_capacity(into.len());
        for row in chosen.iter(count) {
            let entry = self.row(level, row)?;
            self.turn.clock.row(entry.content().len())?;
            texts.clear();
            if let Some(raw) = self.peek(level, row, &entry, &source.target)?
                && let Some((text, at)) = value::placed(&self.store, raw)?
                && pattern.may_match(text)
                && let Some(captures) = pattern.captures(text)
            {
                done.matched += 1;
                let span = |found: regex_automata::Span| Span {
                    start: at + found.start as u32,
                    end: at + found.end as u32,
                };
                texts.extend(groups.iter().map(|group| captures.get_group(*group).map(span)));
            }
            for (place, capture) in into.iter().enumerate() {
                let text = texts.get(place).copied().flatten();
                let cell = locate(self.signal, level, entry.variant, &capture.to);
                let prepared = match (text, cell) {
                    (Some(text), Some(cell)) => {
                        // One group may go to many targets.
                        self.turn.fits(&self.store, text.len())?;
                        prepare_text(&mut self.store, cell, text)
                    }
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
        let counts = vec![0; redactions.len()];
        let mut redactor = Redactor::new(redactions, selection, counts, self.turn.meter(&self.store));
        let rewritten = self.rewrite(&mut |message, content, except| {
            // Most rows hold nothing of what every match has.
            if !redactor.turn_to(message, content)? {
                return Ok(None);
            }
            redactor.message(message, content, except)
        });
        self.finished(rewritten)?;
        Ok(redactor.counts)
    }

    /// Puts an action into effect on whole values, wherever their key matches; gives how many there were.
    pub fn redact_keys(&mut self, keys: &Pattern, action: &Action) -> Edited<u64> {
        self.settle()?;
        let mut redactor = KeyRedactor { keys, action, count: 0, meter: self.turn.meter(&self.store) };
        let rewritten = self.rewrite(&mut |message, content, except| {
            redactor.meter.clock.work(content.len())?;
            match keys.may_match_within(content) {
                true => redactor.message(message, content, except, 0),
                false => Ok(None),
            }
        });
        self.finished(rewritten)?;
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
        let rewritten = self.rewrite(&mut |message, content, except| {
            without_unknown_fields(message, content, except, &mut count, 0)
        });
        self.finished(rewritten)?;
        if !self.tables.known_only {
            let outside = encode::unknown_outside_rows(self.signal, &self.store, &self.tables);
            self.tables.known_only = outside > 0;
            count += outside;
        }
        Ok(count)
    }

    /// The rows in which a cell passes a test.
    pub fn find(&mut self, column: &Column, test: &Test, rows: &Rows) -> Edited<Vec<u32>> {
        let mut found = Vec::new();
        let chosen = self.scan_before(column, rows)?;
        let chosen = self.living(column.level, chosen)?;
        self.scan(column, &chosen, |store, row, raw| {
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
        let rows = self.living(level, rows)?;
        if matches!(&rows, Chosen::Some(rows) if rows.is_empty()) {
            return Ok(());
        }
        self.turn.discards = true;
        self.mark(level, rows, Fate::Discard)
    }

    /// Sends rows elsewhere. Which names there are is for the caller to know.
    pub fn route(&mut self, level: Level, rows: &Rows, destinations: &[String]) -> Edited {
        if BELOW_RECORDS.contains(&level) {
            return Err(unsupported(format!("a route for each {}", level.name())));
        }
        if destinations.is_empty() {
            return Err(bad("a route without a destination"));
        }
        self.settle()?;
        let rows = self.choose(level, rows)?;
        let rows = self.living(level, rows)?;
        let mut names = destinations.to_vec();
        names.sort_unstable();
        names.dedup();
        let set = match self.destinations.iter().position(|known| *known == names) {
            Some(set) => set,
            None if self.destinations.len() == DESTINATIONS_MAX => {
                return Err(bad(format!("more than {DESTINATIONS_MAX} sets of destinations")));
            }
            None => {
                self.destinations.push(names);
                self.destinations.len() - 1
            }
        };
        self.mark(level, rows, Fate::Route(set as u16))
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
        let mut bytes = 0;
        let texts = cells.iter().map(|cell| {
            let text = cell.map_err(|()| bad("an offset beyond the data"))?;
            // Many cells may be the same bytes of the data.
            bytes += text.map_or(0, <[u8]>::len);
            self.turn.fits(&self.store, bytes)?;
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
        let Some(variant) = self.open(level, row)? else { return Ok(None) };
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
        if self.open(level, row)?.is_none() {
            return Ok(Vec::new());
        }
        let parts: Vec<_> = self.draft.attributes().copied().collect();
        let mut attributes = Vec::new();
        let mut bytes = 0;
        for part in parts {
            let any = attribute_value(&mut self.store, &part)?;
            let key = String::from_utf8_lossy(self.store.bytes(part.key)).into_owned();
            bytes += part.content.len() + size_of::<KeyValue>();
            self.turn.fits(&self.store, bytes)?;
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
        let dropped = self.drop_marked();
        self.finished(dropped)?;
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
        let bytes = document.into_bytes().to_bytes();
        self.hand_out(bytes.len())?;
        let replaced = self.replace_by(bytes);
        self.finished(replaced)
    }

    fn replace_by(&mut self, bytes: bytes::Bytes) -> Edited {
        self.remember();
        let left = self.part()?;
        let old = std::mem::replace(&mut self.store, Store::new(bytes.clone()));
        self.turn.replaced(old);
        self.become_of(bytes)?;
        self.turn.left = left;
        Ok(())
    }

    // How rows are found.

    /// Which rows are meant.
    fn choose(&mut self, level: Level, rows: &Rows) -> Edited<Chosen> {
        let count = self.rows(level)?.len();
        match rows {
            Rows::All => Ok(Chosen::All),
            Rows::Only(indexes) if indexes.is_sorted_by(|a, b| a < b) => match indexes.last() {
                Some(&last) if last as usize >= count => Err(no_row(level, last, count)),
                _ => Ok(Chosen::Some(indexes.clone())),
            },
            Rows::Only(indexes) => Ok(Chosen::Some(in_order(level, indexes, count)?)),
            Rows::Under(upper, indexes) => {
                let above = self.above(level, *upper)?;
                let count = self.rows(*upper)?.len();
                let is_in = marked(*upper, indexes, count)?;
                let under = above.iter().enumerate().filter(|(_, above)| is_in[**above as usize]);
                Ok(Chosen::Some(under.map(|(row, _)| row as u32).collect()))
            }
        }
    }

    /// For each row of a level, the row of an upper level that it is below; none where the signal does not
    /// have that level, since nothing is below it.
    fn above(&mut self, level: Level, upper: Level) -> Edited<Vec<u32>> {
        let is_upper = upper < level && !BELOW_RECORDS.contains(&upper);
        if is_upper && !has_level(self.signal, upper) {
            return Ok(Vec::new());
        }
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

    /// Those of the rows that were not discarded in this turn.
    fn living(&mut self, level: Level, chosen: Chosen) -> Edited<Chosen> {
        if !self.turn.discards {
            return Ok(chosen);
        }
        let count = self.rows(level)?.len() as u32;
        let mut living = Vec::new();
        for row in chosen.iter(count) {
            let entry = self.row(level, row)?;
            if !self.is_discarded(level, row, &entry) {
                living.push(row);
            }
        }
        Ok(Chosen::Some(living))
    }

    /// Whether a row was discarded in this turn, itself or by a row above it: it has no cells any more.
    fn is_discarded(&self, level: Level, row: u32, entry: &Row) -> bool {
        if !self.turn.discards {
            return false;
        }
        // Down to the records, a mark goes to every row below.
        let is_marked = |level, row| self.tables.fate(level, row as usize) == Fate::Discard;
        is_marked(level, row) || BELOW_RECORDS.contains(&level) && is_marked(Level::Record, entry.parent)
    }

    /// Opens a row for reading; `None` where it was discarded.
    fn open(&mut self, level: Level, row: u32) -> Edited<Option<Variant>> {
        self.settle()?;
        let entry = self.row(level, row)?;
        if self.is_discarded(level, row, &entry) {
            return Ok(None);
        }
        self.turn.clock.row(entry.content().len())?;
        self.load(level, row, &entry)?;
        Ok(Some(entry.variant))
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

    fn check_holds_text(&self, Column { level, target }: &Column) -> Edited {
        let cell = |variant| locate(self.signal, *level, variant, target);
        match Variant::ALL.into_iter().find_map(cell) {
            _ if !has_level(self.signal, *level) => Ok(()),
            Some(Cell::Field(place)) if !matches!(place.holds, Holds::Text | Holds::Any) => {
                Err(unsupported(format!("a hash as {}", op::name(target))))
            }
            _ => Ok(()),
        }
    }

    // How they are read.

    /// Shows the cells of rows that [`Batch::scan_before`] chose. Those that were discarded have none.
    fn scan(
        &mut self,
        column: &Column,
        chosen: &Chosen,
        mut see: impl FnMut(&Store, u32, Option<Raw>) -> Edited,
    ) -> Edited {
        let level = column.level;
        let count = self.rows(level)?.len() as u32;
        for row in chosen.iter(count) {
            let entry = self.row(level, row)?;
            self.turn.clock.row(entry.content().len())?;
            let raw = match self.is_discarded(level, row, &entry) {
                false => self.peek(level, row, &entry, &column.target)?,
                true => None,
            };
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
        let chosen = self.scan_before(column, rows)?;
        self.scan(column, &chosen, |store, _, raw| {
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
        let chosen = self.scan_before(column, rows)?;
        self.scan(column, &chosen, |store, _, raw| {
            bytes += size_of::<Option<T>>() as u64;
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
        self.hand_out(bytes as usize)?;
        Ok(cells)
    }

    // How they are written.

    fn write(&mut self, column: &Column, value: &Value, rows: &Rows, when: When) -> Edited {
        let level = column.level;
        let chosen = self.choose(level, rows)?;
        if !has_level(self.signal, level) {
            return Ok(());
        }
        let cell = prepare(&mut self.store, self.signal, level, &column.target, value)?;
        self.check_bytes()?;
        self.wait(level, &column.target, when, CellsOf::Same(cell), chosen)
    }

    /// Notes a write that is to be done with those that come before and after it.
    fn wait(&mut self, level: Level, target: &Target, when: When, cells: CellsOf, rows: Chosen) -> Edited {
        let listed = rows.listed() + cells.listed();
        let is_joined = |pending: &Pending| {
            pending.level == level
                && pending.writes.len() < PENDING_MAX
                && pending.listed + listed <= PENDING_ROWS_MAX
        };
        if !self.pending.as_ref().is_some_and(is_joined) {
            self.settle()?;
        }
        self.remember();
        let pending = self.pending.get_or_insert_with(|| Pending { level, writes: Vec::new(), listed: 0 });
        pending.listed += listed;
        pending.writes.push(Write { target: target.clone(), when, cells, rows });
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
        self.scan(source, &Chosen::All, |_, _, raw| {
            raws.push(raw);
            Ok(())
        })?;
        let chosen = self.choose(to.level, rows)?;
        let chosen = self.living(to.level, chosen)?;
        let mut cells = Vec::new();
        for row in chosen.iter(above.len() as u32) {
            let entry = self.row(to.level, row)?;
            self.turn.clock.row(0)?;
            let raw = above.get(row as usize).and_then(|above| raws.get(*above as usize)).copied().flatten();
            let mut opened = Opened {
                draft: &mut self.draft,
                store: &mut self.store,
                turn: &mut self.turn,
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
        if let Some(why) = &self.turn.broken {
            return Err(why.clone());
        }
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let writes: Vec<(Op<'_>, &Chosen)> = pending.ops().collect();
        let ops: Vec<(&Op<'_>, &Chosen)> = writes.iter().map(|(op, rows)| (op, *rows)).collect();
        self.edit_rows(pending.level, &ops).map(drop)
    }

    /// Does operations, each on its rows; every row is written once.
    fn edit_rows(&mut self, level: Level, ops: &[(&Op<'_>, &Chosen)]) -> Edited<Vec<u64>> {
        let edited = self.edit_each(level, ops);
        self.finished(edited)
    }

    fn edit_each(&mut self, level: Level, ops: &[(&Op<'_>, &Chosen)]) -> Edited<Vec<u64>> {
        self.remember();
        let mut matches = Vec::new();
        let mut moved = Vec::new();
        let count = self.rows(level)?.len() as u32;
        let all = Chosen::all_of(ops.iter().map(|(_, rows)| *rows), count);
        if matches!(all, Chosen::All) && level == Level::Record {
            self.store.expect(self.store.base().len() / 4 * 5);
        }
        let all = self.living(level, all)?;
        let mut append: Option<(Variant, Option<Append<'_>>)> = None;
        for row in all.iter(count) {
            let entry = self.row(level, row)?;
            self.turn.clock.row(entry.content().len())?;
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
                turn: &mut self.turn,
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
                let place = group.binary_search_by_key(&row, |(moved, _)| *moved).ok()?;
                Some(Some(group[place].1))
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
        let record = self.tables.records[parent as usize];
        self.turn.clock.row(record.content().len())?;
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
        self.empty_marked()?;
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
                self.turn.clock.row(0)?;
                let entry = self.tables.rows(level)[row as usize];
                if !self.is_discarded(level, row, &entry) {
                    self.rewrite_container(level, row, message, change)?;
                }
            }
        }
        for row in 0..self.tables.records.len() as u32 {
            let entry = self.tables.records[row as usize];
            if self.is_discarded(Level::Record, row, &entry) {
                continue;
            }
            self.turn.clock.row(entry.content().len())?;
            let point = || metric.and_then(|metric| metric.below(entry.variant.metric_data())?.below(1));
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
        if BELOW_RECORDS.contains(&level) {
            rows.iter(count as u32).for_each(|row| self.tables.set_fate(level, count, row, fate));
            return Ok(());
        }
        let mut chosen: Vec<u32> = rows.iter(count as u32).collect();
        let mut level = level;
        // Without rows, as of a level that batches of this signal do not have, nothing is below them.
        while !chosen.is_empty() {
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
        Ok(())
    }

    /// Takes what was discarded below records out of them. Only then: rows keep their numbers for a
    /// whole turn.
    fn drop_marked(&mut self) -> Edited {
        for level in BELOW_RECORDS {
            let fates = std::mem::take(&mut self.tables.fates[level as usize]);
            self.put_marked(level, &fates, None)?;
        }
        Ok(())
    }

    /// Empties what was discarded below records, for what looks into whole records.
    fn empty_marked(&mut self) -> Edited {
        for level in BELOW_RECORDS {
            let fates = self.tables.fates[level as usize].clone();
            self.put_marked(level, &fates, Some(Span::default()))?;
        }
        Ok(())
    }

    /// Writes this in place of the rows below records that were discarded, or leaves them out.
    fn put_marked(&mut self, level: Level, fates: &[Fate], content: Option<Span>) -> Edited {
        if fates.is_empty() {
            return Ok(());
        }
        let rows = self.rows(level)?.to_vec();
        let is_marked = |row: u32, entry: &Row| {
            let is_it_already = content.is_some() && entry.content().is_empty();
            fates.get(row as usize) == Some(&Fate::Discard) && !is_it_already
        };
        let marked = rows.iter().enumerate().filter(|(row, entry)| is_marked(*row as u32, entry));
        let mut parents: Vec<u32> = marked.map(|(_, entry)| entry.parent).collect();
        parents.dedup();
        // A record that is discarded goes with all that is in it.
        parents.retain(|parent| self.tables.fate(Level::Record, *parent as usize) != Fate::Discard);
        for parent in parents {
            self.put_below(level, parent, &rows, |row| {
                is_marked(row, &rows[row as usize]).then_some(content)
            })?;
            self.check_bytes()?;
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

    /// Notes what was begun and could not be finished: part of the rows may be edited.
    fn finished<T>(&mut self, done: Edited<T>) -> Edited<T> {
        if let Err(why) = &done {
            self.turn.broken.get_or_insert_with(|| why.clone());
        }
        done
    }

    fn hand_out(&mut self, bytes: usize) -> Edited {
        self.turn.hand_out(&self.store, bytes)
    }

    fn check_bytes(&self) -> Edited {
        self.turn.check(&self.store)
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

    /// How many rows are listed.
    fn listed(&self) -> usize {
        match self {
            Chosen::All => 0,
            Chosen::Some(rows) => rows.len(),
        }
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

/// The rows of one fate as a request of their own; what came, where nothing was edited.
fn encode(signal: Signal, store: &Store, tables: &Tables, fate: Fate) -> Chunks {
    // What is left of an edited row may be no bytes at all.
    let is_edited = store.edited() > 0 || tables.is_container_edited() || tables.known_only;
    if fate == Fate::Stay && tables.all_stay() && !is_edited {
        return store.base().clone().into();
    }
    bytes::Bytes::from(Encoder::new(signal, store, tables, fate).encode()).into()
}

fn no_row(level: Level, row: u32, count: usize) -> EditError {
    bad(format!("there is no {} {row}: there are {count}", level.name()))
}

/// The same rows in order, each once. The list may be far longer than there are rows.
fn in_order(level: Level, indexes: &[u32], count: usize) -> Edited<Vec<u32>> {
    if indexes.len() > count {
        let is_in = marked(level, indexes, count)?;
        return Ok((0..count as u32).filter(|row| is_in[*row as usize]).collect());
    }
    let mut indexes = indexes.to_vec();
    indexes.sort_unstable();
    indexes.dedup();
    match indexes.last() {
        Some(&last) if last as usize >= count => Err(no_row(level, last, count)),
        _ => Ok(indexes),
    }
}

/// For each row, whether it is in a list.
fn marked(level: Level, indexes: &[u32], count: usize) -> Edited<Vec<bool>> {
    let mut is_in = vec![false; count];
    for &index in indexes {
        *is_in.get_mut(index as usize).ok_or_else(|| no_row(level, index, count))? = true;
    }
    Ok(is_in)
}

fn present<T: Copy>(values: &[T], present: &[bool], value: fn(T) -> Value) -> Edited<Vec<Option<Value>>> {
    if values.len() != present.len() {
        return Err(bad("as many values as marks of presence are wanted"));
    }
    Ok(values.iter().zip(present).map(|(&number, is_there)| is_there.then(|| value(number))).collect())
}

#[cfg(test)]
mod tests;
