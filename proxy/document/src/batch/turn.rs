//! A plugin's turn: what the batch was before it, and what it may still take.

use super::{
    store::Store,
    table::{Fate, Tables},
    words::{EditError, Effects, Exhausted, Level, Limits},
};
use std::time::Instant;

/// How far addresses reach, with room for one more value.
pub(super) const ADDRESSES_MAX: u64 = 2 << 30;
/// What a row costs, beside its bytes, in bytes that could be looked at in the same time.
const ROW_WORK: usize = 256;
/// How much is done between two looks at the clock: about 0.1 ms.
const WORK_MAX: usize = 128 << 10;

/// A plugin's turn.
pub(super) struct Turn {
    /// What the batch was when it began, once something changes.
    pub before: Option<Before>,
    /// How many bytes of edits there were.
    pub edited_before: usize,
    /// What left before another batch was put in place of this one.
    pub left: Effects,
    /// Why something was begun and not finished: from then on the turn can only be undone.
    pub broken: Option<EditError>,
    /// Whether it discarded any rows.
    pub discards: bool,
    /// How far edits may go, in bytes, with what was handed out.
    bytes_max: u64,
    handed_out: u64,
    pub clock: Clock,
}

pub(super) struct Before {
    /// The bytes, where others took their place.
    pub store: Option<Store>,
    pub tables: Tables,
}

impl Before {
    /// How many of the records that stay were changed since.
    pub(super) fn changed_records(&self, tables: &Tables) -> u64 {
        let stays = |row: &usize| tables.fate(Level::Record, *row) == Fate::Stay;
        let staying = (0..tables.records.len()).filter(stays);
        match &self.store {
            Some(_) => staying.count() as u64, // nobody knows which
            None => {
                staying.filter(|&row| tables.records[row].field != self.tables.records[row].field).count()
                    as u64
            }
        }
    }

    /// Whether anything is not as it was, what leaves included.
    pub(super) fn is_changed(&self, tables: &Tables) -> bool {
        let before = &self.tables;
        self.store.is_some()
            || before.records != tables.records
            || before.owns != tables.owns
            || before.known_only != tables.known_only
    }
}

impl Turn {
    /// One without limits.
    pub(super) fn unlimited(store: &Store) -> Self {
        Self {
            before: None,
            edited_before: store.edited(),
            left: Effects::default(),
            broken: None,
            discards: false,
            bytes_max: ADDRESSES_MAX,
            handed_out: 0,
            clock: Clock::endless(),
        }
    }

    pub(super) fn limited(store: &Store, limits: Limits) -> Self {
        let addresses = ADDRESSES_MAX.saturating_sub(u64::from(store.end()));
        Self {
            bytes_max: limits.bytes.min(addresses),
            clock: Clock { deadline: Some(limits.deadline), worked: 0 },
            ..Self::unlimited(store)
        }
    }

    fn used(&self, store: &Store) -> u64 {
        store.edited().saturating_sub(self.edited_before) as u64 + self.handed_out
    }

    /// How many bytes may still be made.
    pub(super) fn room(&self, store: &Store) -> u64 {
        self.bytes_max.saturating_sub(self.used(store))
    }

    /// Whether what was made so far is within the limit.
    pub(super) fn check(&self, store: &Store) -> Result<(), EditError> {
        if self.used(store) > self.bytes_max { Err(Exhausted::Bytes.into()) } else { Ok(()) }
    }

    /// Whether so many bytes more would be.
    pub(super) fn fits(&self, store: &Store, bytes: usize) -> Result<(), EditError> {
        if bytes as u64 > self.room(store) { Err(Exhausted::Bytes.into()) } else { Ok(()) }
    }

    /// Counts what the plugin gets.
    pub(super) fn hand_out(&mut self, store: &Store, bytes: usize) -> Result<(), EditError> {
        self.handed_out += bytes as u64;
        self.check(store)
    }

    /// Notes that other bytes took the place of these.
    pub(super) fn replaced(&mut self, mut old: Store) {
        // Edits count, though they are not held any more.
        self.handed_out += old.edited().saturating_sub(self.edited_before) as u64;
        if let Some(before) = &mut self.before
            && before.store.is_none()
        {
            old.truncate(self.edited_before);
            before.store = Some(old);
        }
        self.edited_before = 0;
    }

    /// What work may take that does not see the batch.
    pub(super) fn meter(&self, store: &Store) -> Meter {
        Meter { clock: self.clock, room: self.room(store) }
    }
}

/// Counts work, and looks at the time now and then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    deadline: Option<Instant>,
    /// Since the last look.
    worked: usize,
}

impl Clock {
    /// Of work that nobody limits: what is looked at is short.
    pub(super) fn endless() -> Self {
        Self { deadline: None, worked: 0 }
    }

    /// Counts a row of so many bytes.
    #[inline]
    pub(super) fn row(&mut self, bytes: usize) -> Result<(), EditError> {
        self.work(ROW_WORK + bytes)
    }

    /// Counts bytes that are looked at.
    #[inline]
    pub(super) fn work(&mut self, bytes: usize) -> Result<(), EditError> {
        self.worked = self.worked.saturating_add(bytes);
        if self.worked < WORK_MAX {
            return Ok(());
        }
        self.worked = 0;
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Exhausted::Time.into());
        }
        Ok(())
    }
}

/// A clock, and how many bytes may be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter {
    pub clock: Clock,
    room: u64,
}

impl Meter {
    /// Counts bytes that are made.
    pub(super) fn make(&mut self, bytes: usize) -> Result<(), EditError> {
        self.room = self.room.checked_sub(bytes as u64).ok_or(Exhausted::Bytes)?;
        Ok(())
    }
}
