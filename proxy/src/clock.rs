//! Time as the limits see it: one concrete type, so that tests can set it.

#[cfg(test)]
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering::SeqCst};
use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

/// Monotonic time for limits, and the wall clock for dates that people write.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Set by hand: nanoseconds since the origin, and since 1970.
    #[cfg(test)]
    by_hand: Option<Arc<[AtomicU64; 2]>>,
}

/// Where monotonic time begins: one origin for the whole process, so that every clock agrees.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Self::default()
    }

    /// Nanoseconds since the process began, never going back. A `u64` of them lasts 584 years.
    pub fn now_ns(&self) -> u64 {
        #[cfg(test)]
        if let Some(hand) = &self.by_hand {
            return hand[0].load(SeqCst);
        }
        nanoseconds(ORIGIN.elapsed())
    }

    /// The time of day.
    pub fn wall(&self) -> SystemTime {
        #[cfg(test)]
        if let Some(hand) = &self.by_hand {
            return SystemTime::UNIX_EPOCH + Duration::from_nanos(hand[1].load(SeqCst));
        }
        SystemTime::now()
    }
}

/// A duration in nanoseconds; 584 years at most.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl Clock {
    /// A clock that moves only when told, shared by its clones.
    pub(crate) fn by_hand() -> Self {
        let wall_ns = 1_800_000_000_000_000_000;
        Self { by_hand: Some(Arc::new([AtomicU64::new(1_000_000_007), AtomicU64::new(wall_ns)])) }
    }

    /// Moves both times on.
    pub(crate) fn advance(&self, by: Duration) {
        let hand = self.by_hand.as_ref().expect("a clock set by hand");
        hand.iter().for_each(|time| {
            time.fetch_add(nanoseconds(by), SeqCst);
        });
    }
}
