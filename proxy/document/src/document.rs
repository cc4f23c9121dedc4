//! The wire document: a batch as the bytes that came, walked as deep as its records.
//!
//! Nothing is decoded; what nobody edits leaves as the bytes that came, unknown fields included.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/> and the messages of
//! opentelemetry-proto 1.11. The three signals have the same shape down to the record, under the
//! same field numbers; a metric has one or several levels more, down to its data points.

use super::{
    Chunks, Signal,
    wire::{Malformed, Reader, WIRE_LEN},
};
use std::ops::Range;

/// A batch of logs, traces or metrics, its framing checked.
#[derive(Debug, Clone)]
pub struct Document {
    bytes: Chunks,
    signal: Signal,
    /// How many there are of each [`Level`].
    counts: [u32; Level::ALL.len()],
}

/// The levels of a batch, from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Resource,
    Scope,
    Metric,
    Record,
}

impl Level {
    const ALL: [Level; 4] = [Level::Resource, Level::Scope, Level::Metric, Level::Record];
}

/// One message inside the batch: its content, tag and length not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where its field begins, tag and length included.
    pub field: u32,
    pub start: u32,
    pub end: u32,
    /// The row of the parent, one level up.
    pub parent: u32,
}

impl Entry {
    /// Where the message's content is in the document's bytes.
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn below(self, parent: u32) -> Self {
        Self { parent, ..self }
    }
}

impl Document {
    /// Checks the framing of a batch down to its records, and counts what is in it. Keeps nothing but the
    /// counts: a record may be as short as two bytes, and a list of where such are is many times as large
    /// as the batch.
    ///
    /// # Errors
    /// [`Malformed`] says where the framing breaks; nothing of such a batch may be used.
    pub fn parse(signal: Signal, bytes: impl Into<Chunks>) -> Result<Self, Malformed> {
        let bytes = bytes.into();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed { what: "more than 4 GiB", offset: 0 });
        }
        let mut counts = [0; Level::ALL.len()];
        walk(signal, &bytes, &mut |level, _, _| {
            let row = counts[level as usize];
            counts[level as usize] += 1;
            row
        })?;
        Ok(Self { bytes, signal, counts })
    }

    /// What the batch carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// How many log records, spans or data points there are.
    pub fn records(&self) -> u64 {
        u64::from(self.counts[Level::Record as usize])
    }

    /// How many parts of a level there are.
    pub(super) fn count(&self, level: Level) -> usize {
        self.counts[level as usize] as usize
    }

    /// Finds the parts again, as [`walk`] does.
    pub(super) fn walk(&self, found: &mut impl FnMut(Level, Entry, u64) -> u32) {
        let walked = walk(self.signal, &self.bytes, found);
        debug_assert_eq!(walked, Ok(()), "these bytes were walked before");
    }

    /// How much memory it takes at most to know where the parts are while plugins work on them, in bytes: much
    /// more than the batch itself, where its records are tiny.
    pub fn rows_bytes(&self) -> u64 {
        let rows: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        rows * ROW_BYTES
    }

    /// The batch as bytes; those that came, while nothing was edited.
    pub fn bytes(&self) -> &Chunks {
        &self.bytes
    }

    /// The same, where the document is not needed any more.
    pub fn into_bytes(self) -> Chunks {
        self.bytes
    }
}

/// A row of a [`Batch`](crate::Batch), twice, since a turn may be undone; what is to become of it, and the
/// room to grow that lists have.
const ROW_BYTES: u64 = 64;

/// Field numbers on the way down; the same for logs, traces and metrics.
const RESOURCES: u64 = 1;
const SCOPES: u64 = 2;
const RECORDS: u64 = 2;
const DATA_POINTS: u64 = 1;
/// `gauge`, `sum`, `histogram`, `exponential_histogram`, `summary` of a `Metric`.
const METRIC_DATA: [u64; 5] = [5, 7, 9, 10, 11];

/// Walks a batch down to its records. `found` gets every part, its parent's row in it, and the number of
/// the field of a metric that a data point is in; it gives the part's own row.
fn walk(
    signal: Signal,
    bytes: &Chunks,
    found: &mut impl FnMut(Level, Entry, u64) -> u32,
) -> Result<(), Malformed> {
    let mut reader = Reader::over(bytes);
    let whole = Entry { field: 0, start: 0, end: bytes.len() as u32, parent: 0 };
    each_message(&mut reader, whole, &[RESOURCES], |reader, resource, _| {
        let row = found(Level::Resource, resource, 0);
        each_message(reader, resource, &[SCOPES], |reader, scope, _| {
            let row = found(Level::Scope, scope.below(row), 0);
            each_message(reader, scope, &[RECORDS], |reader, record, _| {
                if signal != Signal::Metrics {
                    found(Level::Record, record.below(row), 0);
                    return Ok(());
                }
                let row = found(Level::Metric, record.below(row), 0);
                each_message(reader, record, &METRIC_DATA, |reader, data, number| {
                    each_message(reader, data, &[DATA_POINTS], |_, point, _| {
                        found(Level::Record, point.below(row), number);
                        Ok(())
                    })
                })
            })
        })
    })
}

/// Where the first records are that have something in them, whatever the signal: log records, spans or
/// metrics. They are found as far as the framing is good.
pub(super) fn first_records(bytes: &Chunks, most: usize) -> Vec<Range<usize>> {
    let mut records = Vec::new();
    let enough = Malformed { what: "enough was seen", offset: 0 };
    let mut reader = Reader::over(bytes);
    let whole = Entry { field: 0, start: 0, end: u32::try_from(bytes.len()).unwrap_or(0), parent: 0 };
    let _enough_or_broken = each_message(&mut reader, whole, &[RESOURCES], |reader, resource, _| {
        each_message(reader, resource, &[SCOPES], |reader, scope, _| {
            each_message(reader, scope, &[RECORDS], |_, record, _| {
                if !record.range().is_empty() {
                    records.push(record.range());
                }
                if records.len() == most { Err(enough) } else { Ok(()) }
            })
        })
    });
    records
}

/// Walks the fields of one message, in which the reader stands, and hands on each that is a message
/// under one of these numbers. Whatever of it is not walked is passed over.
fn each_message<'b>(
    reader: &mut Reader<'b>,
    message: Entry,
    fields: &[u64],
    mut found: impl FnMut(&mut Reader<'b>, Entry, u64) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let outer = reader.enter(message.end as usize);
    while !reader.is_at_end() {
        let begin = reader.place() as u32;
        let (field, wire_type) = reader.tag()?;
        if fields.contains(&field) {
            if wire_type != WIRE_LEN {
                return Err(reader.malformed("a message expected, another wire type"));
            }
            let content = reader.length()?;
            let (start, end) = (content.start as u32, content.end as u32);
            found(reader, Entry { field: begin, start, end, parent: 0 }, field)?;
            reader.go_to(content.end);
        } else {
            reader.skip(field, wire_type)?;
        }
    }
    reader.end = outer;
    Ok(())
}

#[cfg(test)]
mod tests;
