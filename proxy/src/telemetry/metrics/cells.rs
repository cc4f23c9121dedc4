//! Numbers that every thread adds to and a scrape sums up.

use super::{super::thread_number, add};
use parking_lot::Mutex;
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

/// Shards: twice the cores, so that the workers hardly ever share one with each other or with a
/// thread that comes along, within what a thousand tenants can have in memory (1.3 kB each).
static SHARDS: LazyLock<usize> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (2 * cores).next_power_of_two().clamp(4, 16)
});

/// One `T` for each few threads, on cache lines of its own.
pub(super) struct Sharded<T>(Box<[Padded<T>]>);

#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self((0..*SHARDS).map(|_| Padded::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// The calling thread's.
    pub(super) fn here(&self) -> &T {
        &self.0[thread_number() & (self.0.len() - 1)].0 // their number is a power of two
    }

    /// All of them, one after the other.
    pub(super) fn fold<S>(&self, start: S, step: impl Fn(S, &T) -> S) -> S {
        self.0.iter().fold(start, |sum, shard| step(sum, &shard.0))
    }
}

/// Upper bounds of all histograms' buckets, in microseconds: 0.5 ms, which a small batch takes on a
/// local network, to 100 s, after which Cloudflare gives up.
pub(super) const BOUNDS_MICROS: [u64; 17] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
];

/// How often a duration fell in which bucket, and their sum. Two additions an observation.
#[derive(Default)]
pub(super) struct Histogram {
    /// Not cumulative; the last one has no upper bound.
    pub(super) buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    pub(super) sum_micros: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, micros: u64) {
        add(&self.buckets[BOUNDS_MICROS.partition_point(|bound| *bound < micros)], 1);
        add(&self.sum_micros, micros);
    }

    pub(super) fn plus(self, other: &Self) -> Self {
        for (sum, cell) in self.buckets.iter().zip(&other.buckets) {
            add(sum, cell.load(Relaxed));
        }
        add(&self.sum_micros, other.sum_micros.load(Relaxed));
        self
    }
}

/// Counts by a key of a small set in the code. A key is found by looking through those that the
/// thread's shard has met, of which there are some twenty.
pub(super) struct Tally<K>(Sharded<Mutex<Vec<(K, u64)>>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Sharded::default())
    }
}

impl<K: Copy + Ord> Tally<K> {
    pub(super) fn add(&self, key: K) {
        let mut counts = self.0.here().lock();
        match counts.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => counts.push((key, 1)),
        }
    }

    /// Every key that was met, with its count.
    pub(super) fn counts(&self) -> Vec<(K, u64)> {
        let mut counts = self.0.fold(Vec::new(), |mut all: Vec<(K, u64)>, shard| {
            all.extend_from_slice(&shard.lock());
            all
        });
        counts.sort_unstable();
        counts.dedup_by(|next, sum| {
            next.0 == sum.0 && {
                sum.1 += next.1;
                true
            }
        });
        counts
    }
}
