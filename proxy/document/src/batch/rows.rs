//! Which rows are meant: how a plugin's choice of rows becomes indexes, and where a row is.

use super::{
    BELOW_RECORDS, Batch, Edited,
    place::has_level,
    table::{Fate, Row, below_records},
    words::{EditError, Level, Rows, bad},
};
use crate::Signal;

/// Rows, by their indexes in order.
#[derive(Debug, Clone)]
pub(super) enum Chosen {
    All,
    Some(Vec<u32>),
}

impl Batch {
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

    /// Which rows are meant.
    pub(super) fn choose(&mut self, level: Level, rows: &Rows) -> Edited<Chosen> {
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
    pub(super) fn above(&mut self, level: Level, upper: Level) -> Edited<Vec<u32>> {
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
    pub(super) fn rows(&mut self, level: Level) -> Edited<&[Row]> {
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

    pub(super) fn row(&mut self, level: Level, row: u32) -> Edited<Row> {
        let rows = self.rows(level)?;
        let count = rows.len();
        rows.get(row as usize).copied().ok_or_else(|| no_row(level, row, count))
    }

    /// Those of the rows that were not discarded in this turn.
    pub(super) fn living(&mut self, level: Level, chosen: Chosen) -> Edited<Chosen> {
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
    pub(super) fn is_discarded(&self, level: Level, row: u32, entry: &Row) -> bool {
        if !self.turn.discards {
            return false;
        }
        // Down to the records, a mark goes to every row below.
        let is_marked = |level, row| self.tables.fate(level, row as usize) == Fate::Discard;
        is_marked(level, row) || BELOW_RECORDS.contains(&level) && is_marked(Level::Record, entry.parent)
    }
}

impl Chosen {
    pub(super) fn iter(&self, count: u32) -> impl Iterator<Item = u32> + '_ {
        let (all, some) = match self {
            Chosen::All => (0..count, &[][..]),
            Chosen::Some(rows) => (0..0, &rows[..]),
        };
        all.chain(some.iter().copied())
    }

    /// How many rows are listed.
    pub(super) fn listed(&self) -> usize {
        match self {
            Chosen::All => 0,
            Chosen::Some(rows) => rows.len(),
        }
    }

    /// A row's place among them.
    pub(super) fn index_of(&self, row: u32) -> Option<usize> {
        match self {
            Chosen::All => Some(row as usize),
            Chosen::Some(rows) => rows.binary_search(&row).ok(),
        }
    }

    /// All that are in any of these.
    pub(super) fn all_of<'c>(several: impl Iterator<Item = &'c Chosen> + Clone, count: u32) -> Chosen {
        if several.clone().any(|rows| matches!(rows, Chosen::All)) {
            return Chosen::All;
        }
        let mut rows: Vec<u32> = several.flat_map(|rows| rows.iter(count)).collect();
        rows.sort_unstable();
        rows.dedup();
        Chosen::Some(rows)
    }
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
