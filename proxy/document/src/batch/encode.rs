//! A batch, or a part of it, as bytes: one walk that says what goes where, then one copy.

use super::{
    place::METRIC_DATA,
    store::{Span, Store},
    table::{Fate, Row, Tables},
    words::Level,
};
use crate::{
    Chunks, Signal,
    schema::Message,
    wire::{Fields, WIRE_LEN, put_varint, varint_bytes},
};

/// The rows of one fate as a request of their own.
pub(super) struct Encoder<'b> {
    signal: Signal,
    store: &'b Store,
    tables: &'b Tables,
    fate: Fate,
    pieces: Vec<Piece>,
    /// The first rows that were not looked at yet, by level.
    next: [usize; 4],
}

/// A piece of what is written.
enum Piece {
    Copy(Span),
    /// The tag and the length of what follows.
    Head {
        number: u32,
        length: usize,
    },
}

/// What goes where.
pub(super) struct Plan {
    pieces: Vec<Piece>,
    bytes: usize,
}

/// Shorter pieces cost less copied than sent on their own.
const PIECE_MIN: usize = 4 << 10;

impl Plan {
    /// As pieces of the store, and what is between them.
    pub(super) fn chunks(self, store: Store) -> Chunks {
        let (base, edits) = store.into_parts();
        let bytes = |span: Span| match (span.start as usize).checked_sub(base.len()) {
            None => base.slice(span.start as usize..span.end as usize),
            Some(start) => edits.slice(start..start + span.len()),
        };
        let mut chunks = Chunks::default();
        let is_large = |piece: &Piece| matches!(piece, Piece::Copy(span) if span.len() >= PIECE_MIN);
        let mut small = Vec::new();
        if !self.pieces.iter().any(is_large) {
            small.reserve_exact(self.bytes);
        }
        for piece in self.pieces {
            match piece {
                Piece::Copy(span) if span.len() >= PIECE_MIN => {
                    chunks.push(std::mem::take(&mut small).into());
                    chunks.push(bytes(span));
                }
                Piece::Copy(span) => small.extend_from_slice(&bytes(span)),
                Piece::Head { number, length } => put_head(&mut small, number, length),
            }
        }
        chunks.push(small.into());
        debug_assert_eq!(chunks.len(), self.bytes);
        chunks
    }
}

fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number) << 3 | WIRE_LEN);
    put_varint(out, length as u64);
}

/// What was planned of a message.
struct Planned {
    bytes: usize,
    /// Whether it has rows below it, and any of them is in.
    rows: u32,
    rows_in: u32,
}

impl<'b> Encoder<'b> {
    pub(super) fn new(signal: Signal, store: &'b Store, tables: &'b Tables, fate: Fate) -> Self {
        Self { signal, store, tables, fate, pieces: Vec::new(), next: [0; 4] }
    }

    /// Writes it.
    pub(super) fn encode(self) -> Vec<u8> {
        let store = self.store;
        let plan = self.plan();
        let mut out = Vec::with_capacity(plan.bytes);
        for piece in &plan.pieces {
            match *piece {
                Piece::Copy(span) => out.extend_from_slice(store.bytes(span)),
                Piece::Head { number, length } => put_head(&mut out, number, length),
            }
        }
        debug_assert_eq!(out.len(), plan.bytes);
        out
    }

    /// Says what goes where.
    pub(super) fn plan(mut self) -> Plan {
        let whole = Span { start: 0, end: self.store.base().len() as u32 };
        let mut bytes = 0;
        for field in Fields::of(self.store.bytes(whole)).map_while(Result::ok) {
            if field.number == 1 && field.wire_type == WIRE_LEN {
                let row = self.take(Level::Resource);
                bytes += self.container(Level::Resource, 1, row);
            } else if !self.tables.known_only {
                // What is new in the request is about all that is in it, as what is new in a resource is.
                bytes += self.copy(span(0, &field.whole));
            }
        }
        Plan { pieces: self.pieces, bytes }
    }

    /// Takes the next row of a level.
    fn take(&mut self, level: Level) -> usize {
        let next = &mut self.next[level as usize];
        *next += 1;
        *next - 1
    }

    /// Plans to copy bytes; gives how many.
    fn copy(&mut self, span: Span) -> usize {
        match self.pieces.last_mut() {
            Some(Piece::Copy(last)) if last.end == span.start => last.end = span.end,
            _ => self.pieces.push(Piece::Copy(span)),
        }
        span.len()
    }

    /// Plans a row with what is below it; gives how many bytes its field has.
    fn container(&mut self, level: Level, number: u32, row: usize) -> usize {
        let Some(entry) = self.tables.rows(level).get(row).copied() else { return 0 };
        let head = self.pieces.len();
        self.pieces.push(Piece::Head { number, length: 0 });
        let planned = self.content(level, row, &entry);
        let is_in = match planned.rows {
            0 => self.tables.fate(level, row) == self.fate,
            _ => planned.rows_in > 0,
        };
        if !is_in {
            self.pieces.truncate(head);
            return 0;
        }
        self.message(head, number, planned.bytes, entry.content(), entry.whole())
    }

    /// Puts the head before what was planned of a message; gives how many bytes its field has. One that
    /// nothing was done to stays as it came, whatever way its length is written.
    fn message(&mut self, head: usize, number: u32, length: usize, content: Span, whole: Span) -> usize {
        let is_as_it_came = match self.pieces[head + 1..] {
            [] => content.is_empty(),
            [Piece::Copy(copied)] => copied == content,
            _ => false,
        };
        if is_as_it_came {
            self.pieces.truncate(head);
            return self.copy(whole);
        }
        self.pieces[head] = Piece::Head { number, length };
        head_bytes(number, length) + length
    }

    fn content(&mut self, level: Level, row: usize, entry: &Row) -> Planned {
        let own = self.tables.own(level, row as u32);
        let mut planned = Planned { bytes: own.map_or(0, |own| self.copy(own)), rows: 0, rows_in: 0 };
        let children: &[u32] = if level == Level::Metric { METRIC_DATA } else { &[2] };
        for field in Fields::of(self.store.bytes(entry.content())).map_while(Result::ok) {
            if field.wire_type == WIRE_LEN && children.contains(&field.number) {
                let (content, whole) = (span(entry.start, &field.content), span(entry.start, &field.whole));
                self.child(level, field.number, content, whole, &mut planned);
            } else if own.is_none() {
                planned.bytes += self.copy(span(entry.start, &field.whole));
            }
        }
        planned
    }

    fn child(&mut self, level: Level, number: u32, content: Span, whole: Span, planned: &mut Planned) {
        match level {
            Level::Metric => self.data(number, content, whole, planned),
            Level::Scope if self.signal != Signal::Metrics => self.record(planned),
            _ => {
                let below = if level == Level::Scope { Level::Metric } else { Level::Scope };
                let row = self.take(below);
                let bytes = self.container(below, number, row);
                planned.bytes += bytes;
                planned.rows += 1;
                planned.rows_in += u32::from(bytes > 0);
            }
        }
    }

    fn record(&mut self, planned: &mut Planned) {
        let row = self.take(Level::Record);
        planned.rows += 1;
        if self.tables.fate(Level::Record, row) == self.fate
            && let Some(entry) = self.tables.records.get(row)
        {
            planned.rows_in += 1;
            planned.bytes += self.copy(entry.whole());
        }
    }

    /// The message in a metric that holds its data points.
    fn data(&mut self, number: u32, content: Span, whole: Span, planned: &mut Planned) {
        let head = self.pieces.len();
        self.pieces.push(Piece::Head { number, length: 0 });
        let known = self.tables.known_only.then(|| data_message(number)).flatten();
        let mut points = Planned { bytes: 0, rows: 0, rows_in: 0 };
        for field in Fields::of(self.store.bytes(content)).map_while(Result::ok) {
            if field.wire_type == WIRE_LEN && field.number == 1 {
                self.record(&mut points);
            } else if known.is_none_or(|known| known.knows(field.number)) {
                points.bytes += self.copy(span(content.start, &field.whole));
            }
        }
        planned.bytes += self.message(head, number, points.bytes, content, whole);
        planned.rows += points.rows;
        planned.rows_in += points.rows_in;
    }
}

/// The message in a field of a metric that holds its data points.
fn data_message(number: u32) -> Option<&'static Message> {
    Message::record(Signal::Metrics)?.below(number)
}

/// How many fields there are that are not known, neither in a row nor in anything that is. What is in a
/// metric that was discarded does not count.
pub(super) fn unknown_outside_rows(signal: Signal, store: &Store, tables: &Tables) -> u64 {
    let fields = |bytes| Fields::of(bytes).map_while(Result::ok);
    let unknown = |bytes, message: Option<&'static Message>| {
        fields(bytes).filter(|field| message.is_some_and(|message| !message.knows(field.number))).count()
    };
    let in_request = unknown(store.base(), Message::request(signal));
    let metrics = tables.metrics.iter().enumerate();
    let metrics = metrics.filter(|(row, _)| tables.fate(Level::Metric, *row) != Fate::Discard);
    let in_metrics = metrics.flat_map(|(_, metric)| {
        let content = store.bytes(metric.content());
        let data = fields(content).filter(|field| METRIC_DATA.contains(&field.number));
        data.map(|field| unknown(&content[field.content], data_message(field.number)))
    });
    (in_request + in_metrics.sum::<usize>()) as u64
}

fn head_bytes(number: u32, length: usize) -> usize {
    varint_bytes(u64::from(number) << 3) + varint_bytes(length as u64)
}

fn span(base: u32, range: &std::ops::Range<usize>) -> Span {
    Span { start: base + range.start as u32, end: base + range.end as u32 }
}
