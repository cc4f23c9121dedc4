//! The usual edit at its least cost: cells written to every row, few rows having any of them before.

use super::{
    Chosen,
    draft::key,
    op::{Cells, Op, Prepared},
    place::{Cell, Holds, Shape, Variant, Within, locate},
    store::{Span, Store},
    words::Level,
};
use crate::{
    Signal,
    wire::{Fields, Malformed, WIRE_LEN, put_varint, varint_bytes},
};

/// Cells that are written one after the other. A row that has none of them is copied as it is, and they
/// behind it; those that are the same in every row are encoded once.
pub(super) struct Append<'o> {
    writes: Vec<Write<'o>>,
    /// The lengths of attributes' keys, as bits; the last stands for all that are longer.
    lengths: u64,
    /// The numbers of other fields, as bits.
    numbers: u64,
    attributes: u32,
    /// Whether every operation is for every row.
    are_for_all: bool,
    /// The cells as they stand in a row, where every row gets the same.
    encoded: Option<Span>,
}

struct Write<'o> {
    /// Of an attribute.
    key: Option<&'o str>,
    number: u32,
    cells: &'o Cells,
    /// Whether it is written where it is not there.
    is_written: bool,
    /// Its place among the operations.
    op: usize,
}

impl<'o> Append<'o> {
    /// `None` where the operations are others, or one could see what another did. It is for rows of one
    /// variant.
    pub(super) fn of(
        signal: Signal,
        level: Level,
        variant: Variant,
        ops: &[(&'o Op<'o>, &Chosen)],
    ) -> Option<Self> {
        let shape = Shape::of(signal, level, variant);
        if shape.home.is_some() || !shape.children.is_empty() {
            return None;
        }
        let mut append = Self {
            writes: Vec::with_capacity(ops.len()),
            lengths: 0,
            numbers: 0,
            attributes: shape.attributes,
            are_for_all: ops.iter().all(|(_, rows)| matches!(rows, Chosen::All)),
            encoded: None,
        };
        for (place, (op, _)) in ops.iter().enumerate() {
            let Op::Write { target, when, cells } = op else { return None };
            let is_written = when.holds_for_absent();
            let write = match locate(signal, level, variant, target) {
                None => continue, // such rows have no such cell
                Some(Cell::Attribute(key)) => {
                    append.lengths |= length_bit(key.len());
                    Write { key: Some(key), number: shape.attributes, cells, is_written, op: place }
                }
                Some(Cell::Field(field)) => {
                    if field.within != Within::Home || matches!(field.holds, Holds::Number { .. }) {
                        return None;
                    }
                    append.numbers |= 1 << field.number;
                    Write { key: None, number: field.number, cells, is_written, op: place }
                }
            };
            let is_same = |known: &Write<'_>| known.key == write.key && known.number == write.number;
            if append.writes.iter().any(is_same) {
                return None;
            }
            append.writes.push(write);
        }
        Some(append)
    }

    /// Writes a row's field with its cells behind what it has; gives where its content is, or `None` where
    /// there is nothing to write. `index` is the row's place among those of an operation, `None` where the
    /// operation is not for it.
    pub(super) fn put(
        &mut self,
        store: &mut Store,
        number: u32,
        row: Span,
        index: impl Fn(usize) -> Option<usize>,
    ) -> Option<Span> {
        let cells = self.writes.iter().filter(|write| write.is_written).filter_map(|write| {
            let cell = write.cells.get(index(write.op)?)?;
            Some((write.number, cell))
        });
        let length = match self.encoded {
            Some(encoded) => encoded.len(),
            None => cells.clone().map(|(number, cell)| cell_bytes(number, cell)).sum(),
        };
        if length == 0 {
            return None;
        }
        put_varint(store.edits(), u64::from(number) << 3 | WIRE_LEN);
        put_varint(store.edits(), (row.len() + length) as u64);
        let start = store.end();
        store.copy(row);
        let behind = store.end();
        match self.encoded {
            Some(encoded) => store.copy(encoded),
            None => {
                cells.for_each(|(number, cell)| put_cell(store, number, cell));
                let is_same = |write: &Write<'_>| matches!(write.cells, Cells::Same(_));
                if self.are_for_all && self.writes.iter().all(is_same) {
                    self.encoded = Some(store.since(behind));
                }
            }
        }
        Some(store.since(start))
    }

    /// Whether a row has any of the cells.
    #[inline]
    pub(super) fn is_in(&self, store: &Store, row: Span) -> Result<bool, Malformed> {
        let bytes = store.bytes(row);
        for field in Fields::of(bytes) {
            let field = field.map_err(|error| error.after(row.start as usize))?;
            if field.number != self.attributes {
                if field.number < 64 && self.numbers & 1 << field.number != 0 {
                    return Ok(true);
                }
                continue;
            }
            if field.wire_type != WIRE_LEN {
                continue;
            }
            let content = &bytes[field.content];
            let key = key(content).map_err(|error| error.after(row.start as usize))?;
            if self.lengths & length_bit(key.len()) != 0 {
                let key = &content[key];
                if self.writes.iter().any(|write| write.key.is_some_and(|known| known.as_bytes() == key)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn cell_bytes(number: u32, cell: &Prepared) -> usize {
    let (wire_type, content) = (cell.ready().wire_type, cell.ready().content.len());
    let length = if wire_type == WIRE_LEN { varint_bytes(content as u64) } else { 0 };
    varint_bytes(u64::from(number) << 3) + length + content
}

fn put_cell(store: &mut Store, number: u32, cell: &Prepared) {
    let (wire_type, content) = (cell.ready().wire_type, cell.ready().content);
    put_varint(store.edits(), u64::from(number) << 3 | wire_type);
    if wire_type == WIRE_LEN {
        put_varint(store.edits(), content.len() as u64);
    }
    store.copy(content);
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}
