//! Rows that are written anew: operations one after the other on rows of one level, and each row once for
//! all of them.

use super::{
    Batch, Chosen, Edited,
    append::Append,
    op::{Cells as CellsOf, Op, Opened, When},
    place::{Variant, child_field},
    store::Span,
    table::{Row, shape},
    words::{Level, Rows, Target},
};
use crate::{
    Signal,
    wire::{WIRE_LEN, put_varint},
};

/// Writes that wait for others on the same level, so that a row is written once for all of them.
pub(super) struct Pending {
    pub level: Level,
    pub writes: Vec<Write>,
    /// How many rows and values they list.
    pub listed: usize,
}

pub(super) struct Write {
    pub target: Target,
    pub when: When,
    pub cells: CellsOf,
    pub rows: Chosen,
}

/// How many writes wait at most, and how many rows and values they list: 40 bytes each.
pub(super) const PENDING_MAX: usize = 64;
pub(super) const PENDING_ROWS_MAX: usize = 256 << 10;

impl Batch {
    /// Does one operation on rows, and with it the writes that wait. Gives how many matches redactions had.
    pub(super) fn edit(&mut self, level: Level, rows: &Rows, op: Op<'_>) -> Edited<Vec<u64>> {
        let chosen = self.choose(level, rows)?;
        let pending = self.pending.take_if(|pending| pending.level == level);
        self.settle()?;
        let writes: Vec<(Op<'_>, &Chosen)> = pending.iter().flat_map(Pending::ops).collect();
        let ops: Vec<(&Op<'_>, &Chosen)> =
            writes.iter().map(|(op, rows)| (op, *rows)).chain([(&op, &chosen)]).collect();
        self.edit_rows(level, &ops)
    }

    /// Does the writes that wait.
    pub(super) fn settle(&mut self) -> Edited {
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

    pub(super) fn load(&mut self, level: Level, row: u32, entry: &Row) -> Edited {
        let content = self.tables.own(level, row).unwrap_or(entry.content());
        Ok(self.draft.load(&self.store, content, &shape(self.signal, level, entry))?)
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
    pub(super) fn put_below(
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

    pub(super) fn put_record(&mut self, row: u32, record: &Row, content: &[u8]) {
        let number = self.record_field();
        let field = self.store.end();
        crate::wire::put_bytes(self.store.edits(), u64::from(number), content);
        let end = self.store.end();
        let start = end - content.len() as u32;
        self.tables.records[row as usize] = Row { field, start, end, ..*record };
        // Where rows below other records are stays true, but not below this one.
        self.below = Default::default();
    }

    fn record_field(&self) -> u32 {
        if self.signal == Signal::Metrics { 1 } else { 2 }
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
