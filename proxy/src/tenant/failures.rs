//! How often a key failed lately: a table of fixed size that is exact under a million addresses.
//!
//! Each key has eight counters, one for each seventh of the window and one for the seventh that has
//! just begun. A failure therefore counts for at least the window, never less, and for a seventh of it
//! longer at the most. Entries that count are never evicted: a table that is full says so, and the
//! attempt is refused.
//!
//! An entry is 16 bytes: 40 bits of the key's keyed hash, the time of the last change in sevenths of a
//! window, and the counters. Where in the table it may stand follows from the hash as well (two sets of
//! sixteen places, whichever has more room), so that a full table of strangers is taken for a given
//! key with a probability of 3 in 100 000 000 000. Nobody outside knows the hash's key.

use crate::clock::{Clock, nanoseconds};
use parking_lot::Mutex;
use std::{
    hash::{BuildHasher, Hash, RandomState},
    time::Duration,
};

/// The table. Its memory is 48 MiB, of which the system gives a page only when it is first written.
pub(super) struct Failures {
    shards: Box<[Mutex<Box<[Slot]>>]>,
    hasher: RandomState,
    window: Duration,
    /// A seventh of the window.
    tick_ns: u64,
    clock: Clock,
}

/// An entry as it lies in the table: plain numbers, so that a new table is untouched zero pages.
type Slot = [u64; 2];

const SHARDS: usize = 64;
const SETS_IN_SHARD: usize = 3072;
const SLOTS_IN_SET: usize = 16;
/// Of these, the last are kept for [`Effort::Hash`].
const SLOTS_RESERVED: usize = 2;
/// As many as the bytes of a number.
const BUCKETS: u64 = 8;
const TICK_BITS: u32 = 24;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;

/// How many keys can have failures at once: two for each of a million addresses, and half as many more.
pub(super) const ENTRIES_MAX: usize = SHARDS * SETS_IN_SHARD * SLOTS_IN_SET;
const _: () = assert!(ENTRIES_MAX * size_of::<Slot>() == 48 << 20);

/// A key's keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// One of so many slots, for tables that need not be exact.
    pub(super) fn slot(self, slots: usize) -> usize {
        (self.0 >> 32) as usize % slots
    }
}

/// What an attempt costs us, apart from its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Next to nothing: an unknown token, a header that cannot be read. A flood of these cannot take
    /// the last places of those that cost a hash.
    Nothing,
    /// A slow hash.
    Hash,
}

/// A failure that was counted, to be taken back if it turns out to be none.
#[derive(Debug)]
pub(super) struct Charge {
    key: Key,
    tick: u64,
}

/// Why a failure was not counted, and the attempt has to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The key has had its failures.
    Limited {
        /// When it has one again.
        retry_after: Duration,
    },
    /// No place is left in the table.
    Full {
        /// When some will be.
        retry_after: Duration,
    },
}

impl Failures {
    pub(super) fn new(window: Duration, clock: Clock) -> Self {
        let shard = || Mutex::new(vec![[0; 2]; SETS_IN_SHARD * SLOTS_IN_SET].into_boxed_slice());
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            window,
            // Rounded up, so that seven of them are never less than the window; ten milliseconds at
            // least, so that the 24 bits of a tick last for days.
            tick_ns: nanoseconds(window).div_ceil(BUCKETS - 1).max(10_000_000),
            clock,
        }
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }

    pub(super) fn key(&self, of: impl Hash) -> Key {
        Key(self.hasher.hash_one(of))
    }

    /// Counts a failure, unless the key has had `limit` of them.
    pub(super) fn charge(&self, key: Key, limit: u8, effort: Effort) -> Result<Charge, Refused> {
        let place = Place::of(key);
        let mut shard = self.shards[place.shard].lock();
        // Read under the lock, so that time never runs backwards for an entry.
        let now_ns = self.clock.now_ns();
        let tick = now_ns / self.tick_ns;
        let index = match place.find(&shard, tick) {
            Found::Entry(index) => index,
            Found::Free(free) => free
                .iter()
                .filter(|set| effort == Effort::Hash || set.taken < SLOTS_IN_SET - SLOTS_RESERVED)
                .min_by_key(|set| set.taken)
                .and_then(|set| set.first_free)
                .ok_or(Refused::Full { retry_after: Duration::from_nanos(self.tick_ns) })?,
        };
        let mut entry = Entry::read(shard[index], tick);
        if let Some(free_at) = entry.free_at(tick, limit) {
            return Err(Refused::Limited {
                retry_after: Duration::from_nanos(free_at * self.tick_ns - now_ns),
            });
        }
        entry.counts += ONE << shift(tick);
        shard[index] = entry.write(place.tag, tick);
        Ok(Charge { key, tick })
    }

    /// How long a key has to wait until a failure of it would be counted.
    pub(super) fn wait(&self, key: Key, limit: u8) -> Duration {
        let place = Place::of(key);
        let shard = self.shards[place.shard].lock();
        let now_ns = self.clock.now_ns();
        let tick = now_ns / self.tick_ns;
        let Found::Entry(index) = place.find(&shard, tick) else { return Duration::ZERO };
        let free_at = Entry::read(shard[index], tick).free_at(tick, limit);
        free_at.map_or(Duration::ZERO, |free_at| Duration::from_nanos(free_at * self.tick_ns - now_ns))
    }

    /// Takes a counted failure back.
    pub(super) fn refund(&self, charge: Charge) {
        let place = Place::of(charge.key);
        let mut shard = self.shards[place.shard].lock();
        let tick = self.clock.now_ns() / self.tick_ns;
        if let Found::Entry(index) = place.find(&shard, tick)
            && tick - charge.tick < BUCKETS
        {
            let mut entry = Entry::read(shard[index], tick);
            if entry.count(charge.tick) > 0 {
                entry.counts -= ONE << shift(charge.tick);
                shard[index] = entry.write(place.tag, tick);
            }
        }
    }

    /// How many keys have failures, estimated from one of the shards: keys spread evenly.
    pub(super) fn entries(&self) -> usize {
        let shard = self.shards[0].lock();
        let tick = self.clock.now_ns() / self.tick_ns;
        SHARDS * shard.iter().filter(|slot| Entry::read(**slot, tick).counts != 0).count()
    }
}

/// Where a key may stand.
struct Place {
    tag: u64,
    shard: usize,
    /// The first slot of either set; they may be the same.
    sets: [usize; 2],
}

enum Found {
    Entry(usize),
    Free([Set; 2]),
}

/// The room in a set.
#[derive(Default)]
struct Set {
    taken: usize,
    first_free: Option<usize>,
}

impl Place {
    fn of(Key(hash): Key) -> Self {
        // The low 24 bits choose shard and first set, the other 40 identify; all 64 choose the second.
        let scale = |bits_18: u64| ((bits_18 as usize * SETS_IN_SHARD) >> 18) * SLOTS_IN_SET;
        let mixed = (hash ^ hash >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            tag: hash >> TICK_BITS,
            shard: hash as usize % SHARDS,
            sets: [scale(hash >> 6 & 0x3_ffff), scale(mixed >> 46)],
        }
    }

    fn find(&self, shard: &[Slot], tick: u64) -> Found {
        let mut free = [Set::default(), Set::default()];
        for (set, first) in free.iter_mut().zip(self.sets) {
            for (index, slot) in (first..).zip(&shard[first..first + SLOTS_IN_SET]) {
                if Entry::read(*slot, tick).counts == 0 {
                    set.first_free.get_or_insert(index);
                } else if slot[0] >> TICK_BITS == self.tag {
                    return Found::Entry(index);
                } else {
                    set.taken += 1;
                }
            }
        }
        Found::Free(free)
    }
}

/// The failures of the last eight ticks, one byte for each, where the tick's number modulo eight says.
struct Entry {
    counts: u64,
}

const ONE: u64 = 1;

/// How far to shift for a tick's byte.
fn shift(tick: u64) -> u32 {
    8 * (tick % BUCKETS) as u32
}

impl Entry {
    /// Reads a slot as it stands at a tick: what is older than seven ticks counts no longer.
    fn read([head, counts]: Slot, tick: u64) -> Self {
        let age = tick.wrapping_sub(head) & TICK_MASK;
        if age >= BUCKETS {
            return Self { counts: 0 };
        }
        // So many bytes, up to and with this tick's, still hold what was counted eight ticks ago.
        let stale = ((ONE << (8 * age)) - 1).rotate_left(shift(tick.wrapping_sub(age).wrapping_add(1)));
        Self { counts: counts & !stale }
    }

    fn write(self, tag: u64, tick: u64) -> Slot {
        [tag << TICK_BITS | tick & TICK_MASK, self.counts]
    }

    fn count(&self, tick: u64) -> u64 {
        self.counts >> shift(tick) & 0xff
    }

    /// Never over 255: counting ends at the limit. So no byte ever carries into the next.
    fn total(&self) -> u64 {
        (0..BUCKETS).map(|tick| self.count(tick)).sum()
    }

    /// The tick at which fewer than `limit` failures count, if it is a later one and none is added.
    /// A limit of none is never free; then it is the tick at which nothing counts.
    fn free_at(&self, tick: u64, limit: u8) -> Option<u64> {
        let mut left = self.total();
        if left < u64::from(limit) {
            return None;
        }
        for later in 1..=BUCKETS {
            left -= self.count(tick + later);
            if left < u64::from(limit) {
                return Some(tick + later);
            }
        }
        Some(tick + BUCKETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const WINDOW: Duration = Duration::from_secs(60);

    fn table() -> (Failures, Clock) {
        let clock = Clock::by_hand();
        (Failures::new(WINDOW, clock.clone()), clock)
    }

    #[test]
    fn so_many_and_no_more_and_the_wait_is_true() {
        let (failures, clock) = table();
        let key = failures.key("ann");
        for _ in 0..5 {
            failures.charge(key, 5, Effort::Hash).unwrap();
            clock.advance(Duration::from_secs(7));
        }
        let Err(Refused::Limited { retry_after }) = failures.charge(key, 5, Effort::Hash) else {
            panic!("a sixth failure in a minute");
        };
        clock.advance(retry_after - Duration::from_nanos(1));
        assert!(failures.charge(key, 5, Effort::Hash).is_err(), "not a moment before");
        clock.advance(Duration::from_nanos(1));
        failures.charge(key, 5, Effort::Hash).unwrap();
    }

    /// Against a plain list of times, over random steps: never more than the limit in any window, and
    /// never refused where the window and a seventh hold fewer.
    #[test]
    fn a_sliding_window() {
        let (failures, clock) = table();
        let key = failures.key("ann");
        let limit = 5;
        let mut random = 0x1234_5678_9abc_def1_u64;
        let mut counted: VecDeque<u64> = VecDeque::new();
        let (mut charged, mut refused) = (0, 0);
        for _ in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            clock.advance(Duration::from_millis(random % 20_000));
            let now = clock.now_ns();
            let within =
                |span: Duration| counted.iter().filter(|at| now - **at < span.as_nanos() as u64).count();
            match failures.charge(key, limit, Effort::Hash) {
                Ok(charge) if random & 0x700_0000 == 0 => failures.refund(charge),
                Ok(_) => {
                    charged += 1;
                    assert!(within(WINDOW) < usize::from(limit));
                    counted.push_back(now);
                }
                Err(refusal) => {
                    refused += 1;
                    assert!(within(WINDOW * 8 / 7 + Duration::from_nanos(8)) >= usize::from(limit));
                    let Refused::Limited { retry_after } = refusal else { panic!("there is room") };
                    assert!(
                        retry_after > Duration::ZERO
                            && retry_after <= WINDOW * 8 / 7 + Duration::from_nanos(8)
                    );
                }
            }
        }
        assert!(charged > 1000 && refused > 1000, "{charged} {refused}");
    }

    #[test]
    fn a_refund_gives_back_exactly_what_was_charged() {
        let (failures, clock) = table();
        let key = failures.key("ann");
        let charges: Vec<Charge> = (0..5).map(|_| failures.charge(key, 5, Effort::Hash).unwrap()).collect();
        assert!(failures.charge(key, 5, Effort::Hash).is_err());
        for charge in charges {
            failures.refund(charge);
        }
        assert_eq!(failures.entries_exactly(), 0);
        // A refund that comes after its failure ceased to count takes nothing from later ones.
        let late = failures.charge(key, 5, Effort::Hash).unwrap();
        clock.advance(WINDOW * 8 / 7 + Duration::from_secs(1));
        for _ in 0..5 {
            failures.charge(key, 5, Effort::Hash).unwrap();
        }
        failures.refund(late);
        assert!(failures.charge(key, 5, Effort::Hash).is_err());
    }

    #[test]
    fn entries_that_count_no_longer_make_room() {
        let (failures, clock) = table();
        for address in 0..1000 {
            failures.charge(failures.key(address), 5, Effort::Nothing).unwrap();
        }
        assert_eq!(failures.entries_exactly(), 1000);
        clock.advance(WINDOW * 8 / 7 + Duration::from_nanos(8));
        assert_eq!(failures.entries_exactly(), 0);
    }

    /// Two keys for each of a million addresses, as a flood of unknown tokens makes them.
    #[test]
    fn exact_under_a_million_addresses() {
        let (failures, clock) = table();
        let innocent: Vec<Key> = (0..1000).map(|n| failures.key(("innocent", n))).collect();
        for round in 0..2 {
            for address in 0..1_000_000_u32 {
                for kind in ["address and name", "address"] {
                    let answer = failures.charge(failures.key((kind, address)), 1, Effort::Nothing);
                    if round == 0 {
                        answer.expect("the first failure is let by");
                    } else {
                        assert!(matches!(answer, Err(Refused::Limited { .. })), "the second is not");
                    }
                }
            }
            clock.advance(Duration::from_secs(5));
        }
        assert_eq!(failures.entries_exactly(), 2_000_000);
        for key in innocent {
            failures.charge(key, 1, Effort::Hash).expect("who has not failed is let by");
        }
    }

    #[test]
    fn a_full_table_refuses_and_keeps_places_for_what_costs_a_hash() {
        let (failures, _) = table();
        let fill = |shard: &Mutex<Box<[Slot]>>, slots: usize| {
            let tick = failures.clock.now_ns() / failures.tick_ns;
            for set in shard.lock().chunks_exact_mut(SLOTS_IN_SET) {
                // The tags are ones that no key of this test has.
                set[..slots].fill([u64::MAX << TICK_BITS | tick & TICK_MASK, 0x0101_0101_0101_0101]);
            }
        };
        failures.shards.iter().for_each(|shard| fill(shard, SLOTS_IN_SET - SLOTS_RESERVED));
        let key = failures.key("ann");
        assert!(matches!(failures.charge(key, 5, Effort::Nothing), Err(Refused::Full { .. })));
        failures.charge(key, 5, Effort::Hash).unwrap();
        failures.charge(key, 5, Effort::Nothing).expect("whoever has a place keeps it");
        failures.shards.iter().for_each(|shard| fill(shard, SLOTS_IN_SET));
        let other = failures.key("bob");
        assert!(matches!(failures.charge(other, 5, Effort::Hash), Err(Refused::Full { .. })));
    }

    impl Failures {
        pub(crate) fn entries_exactly(&self) -> usize {
            let tick = self.clock.now_ns() / self.tick_ns;
            let live = |shard: &Mutex<Box<[Slot]>>| {
                shard.lock().iter().filter(|slot| Entry::read(**slot, tick).counts != 0).count()
            };
            self.shards.iter().map(live).sum()
        }
    }
}
