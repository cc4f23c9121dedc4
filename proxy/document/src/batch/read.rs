//! Cells as they are: found, read a column at a time, or one by one.

use super::{
    Batch, Chosen, Edited, Pending,
    draft::{attribute_value, peek},
    op::no_such,
    place::{Variant, has_level, locate},
    store::Store,
    table::{Row, shape},
    value::{Raw, bytes_in, bytes_of, double_of, int_of, text_of, to_value},
    words::{Cells, Column, Doubles, EditError, Exhausted, Ints, KeyValue, Level, Rows, Target, Test, Value},
};

impl Batch {
    /// The rows in which a cell passes a test.
    pub fn find(&mut self, column: &Column, test: &Test, rows: &Rows) -> Edited<Vec<u32>> {
        let mut found = Vec::new();
        let chosen = self.scan_before(column, rows)?;
        let chosen = self.living(column.level, chosen)?;
        let mut clock = self.turn.clock;
        self.scan(column, &chosen, |store, row, raw| {
            let passes = match (test, raw) {
                (Test::Present, raw) => raw.is_some(),
                (Test::Absent, raw) => raw.is_none(),
                (_, None) => false,
                (Test::Equals(Value::Text(wanted)), Some(raw)) => {
                    text_of(store, raw)? == Some(wanted.as_str())
                }
                (Test::Equals(wanted), Some(raw)) => to_value(store, raw)? == *wanted,
                (Test::Matches(pattern), Some(raw)) => match bytes_of(store, raw)? {
                    Some(text) => pattern.is_match_in(text, &mut clock)?,
                    None => false,
                },
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

    // A column at a time.

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

    // One cell at a time.

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

    // How they are read.

    /// Shows the cells of rows that [`Batch::scan_before`] chose. Those that were discarded have none.
    pub(super) fn scan(
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
    pub(super) fn scan_before(&mut self, column: &Column, rows: &Rows) -> Edited<Chosen> {
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

    pub(super) fn peek(
        &mut self,
        level: Level,
        row: u32,
        entry: &Row,
        target: &Target,
    ) -> Edited<Option<Raw>> {
        let Some(cell) = locate(self.signal, level, entry.variant, target) else { return Ok(None) };
        let content = self.tables.own(level, row).unwrap_or(entry.content());
        let shape = shape(self.signal, level, entry);
        Ok(peek(&mut self.store, &mut self.draft, content, &shape, cell)?)
    }

    fn read_cells(
        &mut self,
        column: &Column,
        rows: &Rows,
        read: impl Fn(&Store, Raw) -> Result<Option<&[u8]>, crate::wire::Malformed>,
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
        read: impl Fn(&Store, Raw) -> Result<Option<T>, crate::wire::Malformed>,
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

    pub(super) fn check_target(&self, level: Level, target: &Target) -> Edited {
        if !has_level(self.signal, level) {
            return Ok(()); // it has no rows of which anything could be asked
        }
        let is_there = |variant| locate(self.signal, level, variant, target).is_some();
        if Variant::ALL.into_iter().any(is_there) { Ok(()) } else { Err(no_such(self.signal, level, target)) }
    }
}
