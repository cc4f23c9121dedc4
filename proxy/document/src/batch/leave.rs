//! Rows that leave: marked while a turn goes on, and parted from the others when it ends.

use super::{
    BELOW_RECORDS, Batch, Chosen, Edited, encode,
    store::Span,
    table::{Fate, Row, Tables},
    words::{Effects, Exhausted, Level, Routed, Rows, bad, unsupported},
};
use crate::Signal;

/// How many sets of destinations there are in a turn at most: each is a request of its own.
pub(super) const DESTINATIONS_MAX: usize = 256;

impl Batch {
    /// Takes rows out of the batch.
    pub fn discard(&mut self, level: Level, rows: &Rows) -> Edited {
        self.settle()?;
        let rows = self.choose(level, rows)?;
        let rows = self.living(level, rows)?;
        if matches!(&rows, Chosen::Some(rows) if rows.is_empty()) {
            return Ok(());
        }
        self.turn.discards = true;
        self.mark(level, rows, Fate::Discard)
    }

    /// Sends rows elsewhere. Which names there are is for the caller to know.
    pub fn route(&mut self, level: Level, rows: &Rows, destinations: &[String]) -> Edited {
        if BELOW_RECORDS.contains(&level) {
            return Err(unsupported(format!("a route for each {}", level.name())));
        }
        if destinations.is_empty() {
            return Err(bad("a route without a destination"));
        }
        self.settle()?;
        let rows = self.choose(level, rows)?;
        let rows = self.living(level, rows)?;
        let mut names = destinations.to_vec();
        names.sort_unstable();
        names.dedup();
        let set = match self.destinations.iter().position(|known| *known == names) {
            Some(set) => set,
            None if self.destinations.len() == DESTINATIONS_MAX => {
                return Err(bad(format!("more than {DESTINATIONS_MAX} sets of destinations")));
            }
            None => {
                self.destinations.push(names);
                self.destinations.len() - 1
            }
        };
        self.mark(level, rows, Fate::Route(set as u16))
    }

    /// Marks rows, and the records and rows below them, with what is to become of them.
    fn mark(&mut self, level: Level, rows: Chosen, fate: Fate) -> Edited {
        self.remember();
        let count = self.rows(level)?.len();
        if BELOW_RECORDS.contains(&level) {
            rows.iter(count as u32).for_each(|row| self.tables.set_fate(level, count, row, fate));
            return Ok(());
        }
        let mut chosen: Vec<u32> = rows.iter(count as u32).collect();
        let mut level = level;
        // Without rows, as of a level that batches of this signal do not have, nothing is below them.
        while !chosen.is_empty() {
            let count = self.tables.rows(level).len();
            for &row in &chosen {
                self.tables.set_fate(level, count, row, fate);
            }
            if level == Level::Record {
                return Ok(());
            }
            let mut is_in = vec![false; count];
            chosen.iter().for_each(|row| is_in[*row as usize] = true);
            level = self.below_level(level);
            let below = self.tables.rows(level).iter().enumerate();
            chosen = below.filter(|(_, row)| is_in[row.parent as usize]).map(|(row, _)| row as u32).collect();
        }
        Ok(())
    }

    fn below_level(&self, level: Level) -> Level {
        match level {
            Level::Resource => Level::Scope,
            Level::Scope if self.signal == Signal::Metrics => Level::Metric,
            _ => Level::Record,
        }
    }

    /// Takes what is discarded below the records out of them, and gives what leaves.
    pub(super) fn part(&mut self) -> Edited<Effects> {
        self.drop_marked()?;
        let mut effects = std::mem::take(&mut self.turn.left);
        if self.tables.all_stay() {
            return Ok(effects);
        }
        // For each set of destinations: how many records go there, and whether anything does.
        let mut sets = vec![(0, false); self.destinations.len()];
        for level in [Level::Resource, Level::Scope, Level::Metric, Level::Record] {
            let records = u64::from(level == Level::Record);
            for fate in &self.tables.fates[level as usize] {
                match *fate {
                    Fate::Stay => {}
                    Fate::Discard => effects.discarded += records,
                    Fate::Route(set) => {
                        let (routed, is_used) = &mut sets[usize::from(set)];
                        (*routed, *is_used) = (*routed + records, true);
                    }
                }
            }
        }
        // What several have in common is in each of their requests: a resource, a scope.
        let held = (self.store.base().len() + self.store.edited()) as u64;
        let mut room = held.saturating_add(self.turn.room(&self.store));
        let destinations = std::mem::take(&mut self.destinations);
        for (set, (destinations, (records, is_used))) in destinations.into_iter().zip(sets).enumerate() {
            if !is_used {
                continue;
            }
            self.turn.clock.work(held as usize)?;
            let fate = Fate::Route(set as u16);
            let message = match self.are_all(fate) {
                // All of it goes there: what came, where nothing was edited.
                true => {
                    let tables = Tables { fates: Default::default(), ..self.tables.clone() };
                    encode(self.signal, &self.store, &tables, Fate::Stay)
                }
                false => self.encode(fate),
            };
            room = room.checked_sub(message.len() as u64).ok_or(Exhausted::Bytes)?;
            if !message.is_empty() {
                effects.routed.push(Routed { destinations, message, records });
            }
        }
        Ok(effects)
    }

    /// Whether every row down to the records has this fate.
    fn are_all(&self, fate: Fate) -> bool {
        [Level::Resource, Level::Scope, Level::Metric, Level::Record]
            .into_iter()
            .all(|level| (0..self.tables.rows(level).len()).all(|row| self.tables.fate(level, row) == fate))
    }

    /// Takes what was discarded below records out of them. Only then: rows keep their numbers for a
    /// whole turn.
    pub(super) fn drop_marked(&mut self) -> Edited {
        for level in BELOW_RECORDS {
            let fates = std::mem::take(&mut self.tables.fates[level as usize]);
            self.put_marked(level, &fates, None)?;
        }
        Ok(())
    }

    /// Empties what was discarded below records, for what looks into whole records.
    pub(super) fn empty_marked(&mut self) -> Edited {
        for level in BELOW_RECORDS {
            let fates = self.tables.fates[level as usize].clone();
            self.put_marked(level, &fates, Some(Span::default()))?;
        }
        Ok(())
    }

    /// Writes this in place of the rows below records that were discarded, or leaves them out.
    fn put_marked(&mut self, level: Level, fates: &[Fate], content: Option<Span>) -> Edited {
        if fates.is_empty() {
            return Ok(());
        }
        let rows = self.rows(level)?.to_vec();
        let is_marked = |row: u32, entry: &Row| {
            let is_it_already = content.is_some() && entry.content().is_empty();
            fates.get(row as usize) == Some(&Fate::Discard) && !is_it_already
        };
        let marked = rows.iter().enumerate().filter(|(row, entry)| is_marked(*row as u32, entry));
        let mut parents: Vec<u32> = marked.map(|(_, entry)| entry.parent).collect();
        parents.dedup();
        // A record that is discarded goes with all that is in it.
        parents.retain(|parent| self.tables.fate(Level::Record, *parent as usize) != Fate::Discard);
        for parent in parents {
            self.put_below(level, parent, &rows, |row| {
                is_marked(row, &rows[row as usize]).then_some(content)
            })?;
            self.check_bytes()?;
        }
        Ok(())
    }
}
