//! A batch that plugins work on, one after the other.
//!
//! It is the bytes that came, tables of where its rows are, and the bytes that edits made. A row that is
//! edited is written anew, at once for all operations that come one after the other on rows of its level;
//! a row that is not keeps the bytes that it came with, unknown fields included, and a batch without
//! edits is the bytes that came. Nothing is decoded that no operation asks for.
//!
//! The operations are those of the contract (`wit/`), which says what each of them does. Everything
//! happens in the order of the calls.
//!
//! Here is the life of a turn. Which rows are meant is in `rows`; `read` gives their cells, `write` says what
//! they become, and `edit` writes the rows anew; `rewrite` looks into everything at once, and `leave` parts
//! what a plugin discards or routes.

mod anew;
mod append;
mod draft;
mod edit;
mod encode;
mod hash;
mod known;
mod leave;
mod op;
mod pattern;
mod place;
mod read;
mod redact;
mod rewrite;
mod rows;
mod store;
mod table;
mod turn;
mod value;
mod words;
mod write;

pub use hash::HashKey;
pub use pattern::{Check, Pattern, WeakPattern};
pub use words::{
    Action, Capture, Cells, Column, Doubles, EditError, Effects, Exhausted, Extracted, Field, Ints, KeyValue,
    Level, Limits, Places, Redaction, Routed, Rows, Selection, Target, Test, Value,
};

use crate::{Chunks, Document, Signal, schema::Message};
use draft::Draft;
use edit::Pending;
use encode::Encoder;
use rows::Chosen;
use std::fmt;
use store::Store;
use table::{Fate, Row, Tables};
use turn::{Before, Turn};
use words::bad;

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
    /// Fields that are not in these bytes, but in what they were translated from.
    left_out: u64,
}

/// The levels whose rows are part of a record.
const BELOW_RECORDS: [Level; 3] = [Level::Event, Level::Link, Level::Exemplar];

type Edited<T = ()> = Result<T, EditError>;

impl Batch {
    /// A batch as it came, its framing checked.
    pub fn new(document: Document) -> Self {
        let tables = Tables::of(&document);
        let store = Store::new(document.bytes().to_bytes());
        Self {
            signal: document.signal(),
            turn: Turn::unlimited(&store),
            store,
            tables,
            below: Default::default(),
            pending: None,
            destinations: Vec::new(),
            draft: Draft::default(),
            is_changed: false,
            left_out: 0,
        }
    }

    /// Says that what it was translated from has so many fields more, which OTLP does not know. They are
    /// unknown fields of the batch: a turn that removes those changes it, so that what came does not leave.
    pub fn with_left_out(self, fields: u64) -> Self {
        Self { left_out: fields, ..self }
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
            let stays = Document::parse(self.signal, self.staying()).map_err(EditError::from);
            let stays = self.finished(stays)?;
            self.become_of(&stays);
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

    // What it is.

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
        self.store.held() as u64
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

    // In a turn, as a whole.

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

    /// Takes another batch in its place. It is read down to its last value: what is broken in it is nobody
    /// else's fault later.
    pub fn replace(&mut self, otlp: Vec<u8>) -> Edited {
        let no_batch =
            |error: &dyn fmt::Display| bad(format!("this is no batch of {}: {error}", self.signal));
        let otlp = bytes::Bytes::from(otlp);
        let document = Document::parse(self.signal, otlp.clone()).map_err(|error| no_batch(&error))?;
        if let Some(request) = Message::request(self.signal) {
            known::check(request, &otlp, 0).map_err(|error| no_batch(&error))?;
        }
        self.settle()?;
        self.turn.fits(&self.store, usize::try_from(document.rows_bytes()).unwrap_or(usize::MAX))?;
        self.hand_out(otlp.len())?;
        self.remember();
        let left = self.part();
        let left = self.finished(left)?;
        let old = self.become_of(&document);
        self.turn.replaced(old);
        self.turn.left = left;
        Ok(())
    }

    /// Takes another document in place of its own, whose bytes it gives.
    fn become_of(&mut self, document: &Document) -> Store {
        self.tables = Tables::of(document);
        self.below = Default::default();
        std::mem::replace(&mut self.store, Store::made(document.bytes().to_bytes()))
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

    fn encode(&self, fate: Fate) -> Chunks {
        encode(self.signal, &self.store, &self.tables, fate)
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

/// The rows of one fate as a request of their own; what came, where nothing was edited.
fn encode(signal: Signal, store: &Store, tables: &Tables, fate: Fate) -> Chunks {
    // What is left of an edited row may be no bytes at all.
    let is_edited = store.edited() > 0 || tables.is_container_edited() || tables.known_only;
    if fate == Fate::Stay && tables.all_stay() && !is_edited {
        return store.base().clone().into();
    }
    bytes::Bytes::from(Encoder::new(signal, store, tables, fate).encode()).into()
}

#[cfg(test)]
mod tests;
