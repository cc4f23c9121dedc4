//! Where the rows of a batch are, level by level.

use super::{
    place::{Shape, Variant, child_field},
    store::{Span, Store},
    words::Level,
};
use crate::{
    Document, Signal,
    document::{self, Entry},
    wire::{Fields, Malformed, WIRE_LEN},
};

/// A row: a message in its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// Where its field begins, tag and length included.
    pub field: u32,
    pub start: u32,
    pub end: u32,
    /// The row of the level above that it is in.
    pub parent: u32,
    pub variant: Variant,
}

impl Row {
    pub(super) fn content(&self) -> Span {
        Span { start: self.start, end: self.end }
    }

    pub(super) fn whole(&self) -> Span {
        Span { start: self.field, end: self.end }
    }
}

/// What is to become of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    #[default]
    Stay,
    Discard,
    /// It goes to these destinations.
    Route(u16),
}

/// The rows of every level down to the records; those below are looked up when they are asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub resources: Vec<Row>,
    pub scopes: Vec<Row>,
    pub metrics: Vec<Row>,
    pub records: Vec<Row>,
    /// Of a resource, scope or metric that was edited, by level and row: its own fields, without its
    /// rows.
    pub owns: [Vec<Option<Span>>; 3],
    /// Whether fields that are not known are left out where rows are not: in the request and in the
    /// messages of a metric that hold its data points.
    pub known_only: bool,
    /// Of the levels that have any that does not stay: what becomes of each row.
    pub fates: [Vec<Fate>; Level::ALL.len()],
}

impl Tables {
    /// Finds the rows of a batch.
    pub(super) fn of(document: &Document) -> Self {
        let rows = |level| Vec::with_capacity(document.count(level));
        let mut tables = Self {
            resources: rows(document::Level::Resource),
            scopes: rows(document::Level::Scope),
            metrics: rows(document::Level::Metric),
            records: rows(document::Level::Record),
            ..Self::default()
        };
        document.walk(&mut |level, entry, data| {
            let rows = match level {
                document::Level::Resource => &mut tables.resources,
                document::Level::Scope => &mut tables.scopes,
                document::Level::Metric => &mut tables.metrics,
                document::Level::Record => &mut tables.records,
            };
            let Entry { field, start, end, parent } = entry;
            rows.push(Row { field, start, end, parent, variant: Variant::of_metric_data(data) });
            rows.len() as u32 - 1
        });
        tables
    }

    /// The rows of a level that is not below records.
    pub(super) fn rows(&self, level: Level) -> &[Row] {
        match level {
            Level::Resource => &self.resources,
            Level::Scope => &self.scopes,
            Level::Metric => &self.metrics,
            _ => &self.records,
        }
    }

    /// A container's own fields, where it was edited.
    pub(super) fn own(&self, level: Level, row: u32) -> Option<Span> {
        self.owns.get(level as usize)?.get(row as usize).copied().flatten()
    }

    /// Whether any container was edited.
    pub(super) fn is_container_edited(&self) -> bool {
        self.owns.iter().any(|owns| !owns.is_empty())
    }

    pub(super) fn set_own(&mut self, level: Level, row: u32, own: Span) {
        let count = self.rows(level).len();
        if let Some(owns) = self.owns.get_mut(level as usize) {
            owns.resize(count, None);
            owns[row as usize] = Some(own);
        }
    }

    pub(super) fn fate(&self, level: Level, row: usize) -> Fate {
        self.fates[level as usize].get(row).copied().unwrap_or_default()
    }

    /// The last one counts, but what was discarded stays so.
    pub(super) fn set_fate(&mut self, level: Level, count: usize, row: u32, fate: Fate) {
        let fates = &mut self.fates[level as usize];
        fates.resize(count, Fate::Stay);
        if fates[row as usize] != Fate::Discard {
            fates[row as usize] = fate;
        }
    }

    /// Whether every row stays.
    pub(super) fn all_stay(&self) -> bool {
        self.fates.iter().all(Vec::is_empty)
    }
}

/// Finds the rows of a level below the records.
pub(super) fn below_records(
    signal: Signal,
    level: Level,
    store: &Store,
    records: &[Row],
) -> Result<Vec<Row>, Malformed> {
    let mut rows = Vec::new();
    for (parent, record) in records.iter().enumerate() {
        let Some(number) = child_field(signal, level, record.variant) else { continue };
        for field in Fields::of(store.bytes(record.content())) {
            let field = field.map_err(|error| error.after(record.start as usize))?;
            if field.number == number && field.wire_type == WIRE_LEN {
                rows.push(Row {
                    field: record.start + field.whole.start as u32,
                    start: record.start + field.content.start as u32,
                    end: record.start + field.content.end as u32,
                    parent: parent as u32,
                    variant: Variant::Plain,
                });
            }
        }
    }
    Ok(rows)
}

/// How the message of a row is built.
pub(super) fn shape(signal: Signal, level: Level, row: &Row) -> Shape {
    Shape::of(signal, level, row.variant)
}
