//! Cells that are written: the same value in many rows, from other cells, or one for each row.

use super::{
    Batch, Chosen, Edited, HashKey, Pattern,
    edit::{PENDING_MAX, PENDING_ROWS_MAX, Pending, Write},
    op::{self, Cells as CellsOf, Op, Opened, When, prepare, prepare_text},
    place::{Cell, Holds, Variant, has_level, locate},
    store::Span,
    value,
    words::{
        Capture, Cells, Column, Doubles, EditError, Extracted, Ints, Level, Redaction, Rows, Target, Value,
        bad, unsupported,
    },
};

impl Batch {
    // Many rows at once.

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
                && let Some(captures) = pattern.captures(text, &mut self.turn.clock)?
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

    // A column at a time.

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

    // One cell at a time.

    /// Sets a cell.
    pub fn set_cell(&mut self, level: Level, row: u32, target: &Target, value: &Value) -> Edited {
        let column = Column { level, target: target.clone() };
        self.write(&column, value, &Rows::Only(vec![row]), When::Always)
    }

    /// Removes a cell.
    pub fn remove_cell(&mut self, level: Level, row: u32, target: &Target) -> Edited {
        self.remove(&Column { level, target: target.clone() }, &Rows::Only(vec![row]))
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
}

fn present<T: Copy>(values: &[T], present: &[bool], value: fn(T) -> Value) -> Edited<Vec<Option<Value>>> {
    if values.len() != present.len() {
        return Err(bad("as many values as marks of presence are wanted"));
    }
    Ok(values.iter().zip(present).map(|(&number, is_there)| is_there.then(|| value(number))).collect())
}
