//! What is done to one row after the other.

use super::{
    Pattern,
    draft::{Draft, attribute_value},
    hash::{HashKey, put_hash},
    place::{Cell, Holds, Variant, locate},
    redact::{Redacted, redact_text, redact_value},
    store::{Span, Store},
    turn::Turn,
    value::{
        self, Raw, Ready, bytes_in, plain_bytes, ready_attribute, ready_attribute_of, ready_field, to_value,
    },
    words::{EditError, Level, Redaction, Target, Value},
};
use crate::{
    Signal,
    wire::{WIRE_LEN, put_varint, varint_bytes},
};
use std::collections::BTreeSet;

/// When a cell is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Where there is none.
    Absent,
    /// Where there is one.
    Present,
}

/// An operation on the rows of a level.
pub(super) enum Op<'o> {
    /// Writes a cell.
    Write {
        target: &'o Target,
        when: When,
        cells: &'o Cells,
    },
    WriteKeys {
        keys: &'o Pattern,
        value: &'o Value,
    },
    Remove {
        target: &'o Target,
    },
    /// Keeps or removes the attributes whose key matches.
    RetainKeys {
        keys: &'o Pattern,
        matching: bool,
    },
    Rename {
        from: &'o str,
        to: &'o str,
    },
    /// Renames or copies.
    RenameKeys {
        keys: &'o Pattern,
        to: &'o str,
        copies: bool,
    },
    Copy {
        from: &'o Target,
        to: &'o Target,
    },
    Hash {
        target: &'o Target,
        key: Option<&'o HashKey>,
    },
    HashKeys {
        keys: &'o Pattern,
        key: Option<&'o HashKey>,
    },
    Redact {
        target: &'o Target,
        redactions: &'o [Redaction],
    },
}

/// Values of a column, for the rows of an operation.
#[derive(Debug)]
pub(super) enum Cells {
    /// The same for all of them.
    Same(Prepared),
    /// One for each; `None` leaves the row as it is.
    Each(Vec<Option<Prepared>>),
}

impl Cells {
    /// How many there are.
    pub(super) fn listed(&self) -> usize {
        match self {
            Cells::Same(_) => 1,
            Cells::Each(cells) => cells.len(),
        }
    }

    /// That of the row of this place among them.
    pub(super) fn get(&self, index: usize) -> Option<&Prepared> {
        match self {
            Cells::Same(cell) => Some(cell),
            Cells::Each(cells) => cells.get(index)?.as_ref(),
        }
    }
}

/// A value in the form that its target wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    ready: Ready,
    /// Of an attribute: its key.
    key: Span,
}

impl Prepared {
    /// As the field of its target holds it.
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }
}

impl When {
    /// Whether a cell that is not there is written.
    pub(super) fn holds_for_absent(self) -> bool {
        self != When::Present
    }
}

/// Writes a value once, as its target holds it in every row.
///
/// # Errors
/// Where the target cannot be, or not hold this.
pub(super) fn prepare(
    store: &mut Store,
    signal: Signal,
    level: Level,
    target: &Target,
    value: &Value,
) -> Result<Prepared, EditError> {
    if let Value::Encoded(content) = value {
        value::check_encoded(content).map_err(EditError::BadArgument)?;
    }
    let cell = Variant::ALL.into_iter().find_map(|variant| locate(signal, level, variant, target));
    match cell {
        None => Err(no_such(signal, level, target)),
        Some(Cell::Attribute(key)) => {
            let ready = ready_attribute(store, key.as_bytes(), value);
            Ok(Prepared { key: key_in(&ready, key.len()), ready })
        }
        Some(Cell::Field(place)) => {
            let ready = ready_field(store, place.holds, value)
                .map_err(|wanted| EditError::BadArgument(format!("{} wants {wanted}", name(target))))?;
            Ok(Prepared { ready, key: Span::default() })
        }
    }
}

/// The same of a text that the store has already; `None` where the target cannot hold it.
pub(super) fn prepare_text(store: &mut Store, cell: Cell<'_>, text: Span) -> Option<Prepared> {
    match cell {
        Cell::Attribute(key) => {
            let key = store.add(key.as_bytes());
            // A part of a text, or of bytes, need not be a text.
            let number = if std::str::from_utf8(store.bytes(text)).is_ok() { 1 } else { 7 };
            let start = store.end();
            put_varint(store.edits(), number << 3 | WIRE_LEN);
            put_varint(store.edits(), text.len() as u64);
            store.copy(text);
            let any = store.since(start);
            Some(Prepared { ready: ready_attribute_of(store, key, any), key })
        }
        Cell::Field(place) => {
            let text = std::str::from_utf8(store.bytes(text)).ok()?.to_owned();
            let number = || text.trim().parse::<i64>().ok().map(Value::Int);
            let value = match place.holds {
                Holds::Varint(_) | Holds::Fixed32 | Holds::Fixed64 => number()?,
                Holds::Number { .. } => number().or_else(|| text.trim().parse().ok().map(Value::Double))?,
                _ => Value::Text(text),
            };
            let ready = ready_field(store, place.holds, &value).ok()?;
            Some(Prepared { ready, key: Span::default() })
        }
    }
}

/// Where the key is in an attribute that was just made.
fn key_in(ready: &Ready, length: usize) -> Span {
    let head = 1 + varint_bytes(length as u64) as u32;
    let start = ready.content.start + head;
    Span { start, end: start + length as u32 }
}

pub(super) fn no_such(signal: Signal, level: Level, target: &Target) -> EditError {
    let of = match (signal, level) {
        (Signal::Logs, Level::Record) => "a log record",
        (Signal::Traces, Level::Record) => "a span",
        (_, Level::Record) => "a data point",
        (_, Level::Resource) => "a resource",
        (_, Level::Scope) => "a scope",
        (_, Level::Metric) => "a metric",
        (_, Level::Event) => "an event",
        (_, Level::Link) => "a link",
        (_, Level::Exemplar) => "an exemplar",
    };
    EditError::Unsupported(format!("{of} has no {}", name(target)))
}

pub(super) fn name(target: &Target) -> String {
    match target {
        Target::Attribute(key) => format!("attribute `{key}`"),
        Target::Field(field) => {
            let mut name = String::new();
            for (place, char) in format!("{field:?}").char_indices() {
                if char.is_ascii_uppercase() && place > 0 {
                    name.push('-');
                }
                name.push(char.to_ascii_lowercase());
            }
            name
        }
    }
}

/// A row, opened, with what an operation needs to know of it.
pub(super) struct Opened<'r> {
    pub draft: &'r mut Draft,
    pub store: &'r mut Store,
    pub turn: &'r mut Turn,
    pub signal: Signal,
    pub level: Level,
    pub variant: Variant,
}

impl Opened<'_> {
    fn locate<'t>(&self, target: &'t Target) -> Option<Cell<'t>> {
        locate(self.signal, self.level, self.variant, target)
    }

    pub(super) fn read(&mut self, target: &Target) -> Result<Option<Raw>, EditError> {
        match self.locate(target) {
            Some(cell) => Ok(self.draft.read(self.store, cell)?),
            None => Ok(None),
        }
    }

    fn is_there(&mut self, cell: Cell<'_>) -> Result<bool, EditError> {
        match cell {
            Cell::Attribute(key) => Ok(self.draft.has(self.store, key.as_bytes())),
            Cell::Field(_) => Ok(self.draft.read(self.store, cell)?.is_some()),
        }
    }

    fn write(&mut self, cell: Cell<'_>, prepared: &Prepared) -> Result<(), EditError> {
        match cell {
            Cell::Attribute(_) => self.draft.set_attribute(self.store, prepared.key, prepared.ready),
            Cell::Field(place) => self.draft.set_field(self.store, place, prepared.ready)?,
        }
        Ok(())
    }

    fn write_text(&mut self, target: &Target, text: &[u8]) -> Result<bool, EditError> {
        let Some(cell) = self.locate(target) else { return Ok(false) };
        let text = self.store.add(text);
        let Some(prepared) = prepare_text(self.store, cell, text) else { return Ok(false) };
        self.write(cell, &prepared)?;
        Ok(true)
    }

    fn remove(&mut self, cell: Cell<'_>) -> Result<(), EditError> {
        match cell {
            Cell::Attribute(key) => self.draft.remove_attribute(self.store, key.as_bytes()),
            Cell::Field(place) => self.draft.remove_field(self.store, place)?,
        }
        Ok(())
    }

    /// Does one operation; `index` is the row's place among its rows. `matches` counts those of redactions.
    pub(super) fn apply(
        &mut self,
        op: &Op<'_>,
        index: usize,
        matches: &mut Vec<u64>,
    ) -> Result<(), EditError> {
        match op {
            Op::Write { target, when, cells } => {
                let (Some(cell), Some(value)) = (self.locate(target), cells.get(index)) else {
                    return Ok(());
                };
                if *when == When::Always || self.is_there(cell)? == (*when == When::Present) {
                    self.write(cell, value)?;
                }
            }
            Op::WriteKeys { keys, value } => {
                for place in self.matching(keys) {
                    let key = self.store.bytes(self.draft.attribute_at(place).key).to_vec();
                    self.turn.fits(self.store, key.len() + bytes_in(value))?;
                    let ready = ready_attribute(self.store, &key, value);
                    self.draft.replace_attribute(place, key_in(&ready, key.len()), ready);
                }
            }
            Op::Remove { target } => {
                if let Some(cell) = self.locate(target) {
                    self.remove(cell)?;
                }
            }
            Op::RetainKeys { keys, matching } => {
                let store = &*self.store;
                self.draft.retain(|key| keys.is_match(store.bytes(key)) == *matching);
            }
            Op::Rename { from, to } => self.rename(from.as_bytes(), to.as_bytes())?,
            Op::RenameKeys { keys, to, copies } => self.rename_keys(keys, to, *copies)?,
            Op::Copy { from, to } => self.copy(from, to)?,
            Op::Hash { target, key } => {
                if let Some(raw) = self.read(target)? {
                    let mut hashed = Vec::new();
                    put_hash(*key, &hashed_bytes(self.store, raw)?, &mut hashed);
                    self.write_text(target, &hashed)?;
                }
            }
            Op::HashKeys { keys, key } => self.hash_keys(keys, *key)?,
            Op::Redact { target, redactions } => {
                matches.resize(redactions.len(), 0);
                self.redact(target, redactions, matches)?;
            }
        }
        Ok(())
    }

    fn matching(&self, keys: &Pattern) -> Vec<usize> {
        self.draft.places(|key| keys.is_match(self.store.bytes(key)))
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), EditError> {
        let Some(place) = self.draft.place_of(self.store, from) else { return Ok(()) };
        if from != to {
            self.rekey(place, to)?;
        }
        Ok(())
    }

    /// Gives an attribute another key; whatever has the old or the new one beside it goes.
    fn rekey(&mut self, place: usize, to: &[u8]) -> Result<(), EditError> {
        let part = self.draft.attribute_at(place);
        let any = attribute_value(self.store, &part)?;
        let from = self.store.bytes(part.key).to_vec();
        let key = self.store.add(to);
        let ready = ready_attribute_of(self.store, key, any);
        self.draft.remove_attribute(self.store, &from);
        self.draft.set_attribute(self.store, key, ready);
        Ok(())
    }

    /// Renames or copies: all at once, so that what one becomes is not taken for another.
    fn rename_keys(&mut self, keys: &Pattern, to: &str, copies: bool) -> Result<(), EditError> {
        let mut done: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut renamed: Vec<(Span, Span)> = Vec::new();
        for place in self.matching(keys) {
            let part = self.draft.attribute_at(place);
            let from = self.store.bytes(part.key);
            let to = keys.replace_first(from, to.as_bytes(), self.turn.room(self.store));
            let to = to.transpose()?.filter(|to| to != from);
            let Some(to) = to.filter(|_| done.insert(from.to_vec())) else { continue };
            let any = attribute_value(self.store, &part)?;
            let key = self.store.add(String::from_utf8_lossy(&to).as_bytes());
            renamed.push((key, any));
        }
        if !copies && !done.is_empty() {
            self.draft.retain(|key| !done.contains(self.store.bytes(key)));
        }
        for (key, any) in renamed {
            self.turn.clock.work(self.draft.fields())?;
            self.turn.fits(self.store, key.len() + any.len())?;
            let ready = ready_attribute_of(self.store, key, any);
            self.draft.set_attribute(self.store, key, ready);
        }
        Ok(())
    }

    fn copy(&mut self, from: &Target, to: &Target) -> Result<(), EditError> {
        let Some(raw) = self.read(from)? else { return Ok(()) };
        if let Some(prepared) = self.prepare_raw(to, raw)?
            && let Some(cell) = self.locate(to)
        {
            self.write(cell, &prepared)?;
        }
        Ok(())
    }

    /// A value of another cell, as this target holds it; `None` where it cannot.
    pub(super) fn prepare_raw(&mut self, to: &Target, raw: Raw) -> Result<Option<Prepared>, EditError> {
        let Some(cell) = self.locate(to) else { return Ok(None) };
        Ok(match (cell, raw) {
            (Cell::Attribute(key), Raw::Any(any)) => {
                let key = self.store.add(key.as_bytes());
                Some(Prepared { ready: ready_attribute_of(self.store, key, any), key })
            }
            (cell, raw) => match (to_value(self.store, raw)?, cell) {
                (Value::Text(text), cell) => {
                    let text = self.store.add(text.as_bytes());
                    prepare_text(self.store, cell, text)
                }
                (value, _) => prepare(self.store, self.signal, self.level, to, &value).ok(),
            },
        })
    }

    fn hash_keys(&mut self, keys: &Pattern, key: Option<&HashKey>) -> Result<(), EditError> {
        for place in self.matching(keys) {
            let part = self.draft.attribute_at(place);
            let any = attribute_value(self.store, &part)?;
            let mut hashed = Vec::new();
            put_hash(key, &hashed_bytes(self.store, Raw::Any(any))?, &mut hashed);
            let hashed = Value::Text(String::from_utf8_lossy(&hashed).into_owned());
            let name = self.store.bytes(part.key).to_vec();
            let ready = ready_attribute(self.store, &name, &hashed);
            self.draft.replace_attribute(place, key_in(&ready, name.len()), ready);
        }
        Ok(())
    }

    fn redact(
        &mut self,
        target: &Target,
        redactions: &[Redaction],
        counts: &mut Vec<u64>,
    ) -> Result<(), EditError> {
        let Some(cell) = self.locate(target) else { return Ok(()) };
        let mut meter = self.turn.meter(self.store);
        let redacted = match self.draft.read(self.store, cell)? {
            Some(Raw::Any(span)) => redact_value(redactions, self.store.bytes(span), counts, &mut meter)?,
            Some(Raw::Text(span) | Raw::Bytes(span)) => {
                redact_text(redactions, &[], self.store.bytes(span), counts, &mut meter)?
            }
            Some(Raw::Int(_) | Raw::Double(_)) | None => Redacted::Kept,
        };
        self.turn.clock = meter.clock;
        match (redacted, cell) {
            (Redacted::Kept, _) => Ok(()),
            (Redacted::Changed(value), Cell::Attribute(key)) => {
                let (key, any) = (self.store.add(key.as_bytes()), self.store.add(&value));
                let ready = ready_attribute_of(self.store, key, any);
                self.draft.set_attribute(self.store, key, ready);
                Ok(())
            }
            (Redacted::Changed(value), Cell::Field(place))
                if matches!(place.holds, Holds::Text | Holds::Any) =>
            {
                let content = self.store.add(&value);
                let ready = Ready { wire_type: WIRE_LEN, content, is_double: false };
                Ok(self.draft.set_field(self.store, place, ready)?)
            }
            // A field that cannot hold what is left of it goes.
            (Redacted::Changed(_) | Redacted::Removed, cell) => self.remove(cell),
        }
    }
}

/// What of a value is hashed.
fn hashed_bytes(store: &Store, raw: Raw) -> Result<Vec<u8>, EditError> {
    Ok(match raw {
        Raw::Text(span) | Raw::Bytes(span) => store.bytes(span).to_vec(),
        Raw::Int(int) => int.to_string().into_bytes(),
        Raw::Double(double) => double.to_string().into_bytes(),
        Raw::Any(span) => plain_bytes(store.bytes(span))?,
    })
}
