//! What is in flight and how fast it comes, for one tenant, one upstream, or all: atomics only.

use super::{GlobalLimits, Limit, TenantLimits, UpstreamLimits};
use crate::clock::Clock;
use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
    time::Duration,
};

/// How much may come in. Made from the limits of a tenant, an upstream or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    requests_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
    in_flight: u64,
    in_flight_bytes: u64,
}

impl From<&TenantLimits> for Capacity {
    fn from(limits: &TenantLimits) -> Self {
        Self {
            requests_per_second: Some(limits.requests_per_second),
            bytes_per_second: Some(limits.bytes_per_second),
            in_flight: limits.in_flight,
            in_flight_bytes: limits.in_flight_bytes,
        }
    }
}

impl From<&UpstreamLimits> for Capacity {
    fn from(limits: &UpstreamLimits) -> Self {
        Self {
            requests_per_second: limits.requests_per_second,
            bytes_per_second: limits.bytes_per_second,
            in_flight: limits.in_flight,
            in_flight_bytes: limits.in_flight_bytes,
        }
    }
}

impl From<&GlobalLimits> for Capacity {
    fn from(limits: &GlobalLimits) -> Self {
        Self {
            requests_per_second: limits.requests_per_second,
            bytes_per_second: limits.bytes_per_second,
            in_flight: limits.in_flight,
            in_flight_bytes: limits.in_flight_bytes,
        }
    }
}

/// Counts what is in flight and how fast it comes. It outlives reloads: [`Gate::resize`] changes its
/// limits, and what is in flight stays counted.
#[derive(Debug)]
pub struct Gate {
    held: Held,
    limits: Limits,
    denials: [AtomicU64; Limit::ALL.len()],
    pub(super) clock: Clock,
}

/// Written by every request, so it has cache lines of its own (two: processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Held {
    requests: AtomicU64,
    bytes: AtomicU64,
    request_rate: Rate,
    byte_rate: Rate,
}

/// Read by every request, written by reloads.
#[derive(Debug)]
#[repr(align(128))]
struct Limits {
    request_ns: AtomicU64,
    bytes_per_second: AtomicU64,
    in_flight: AtomicU64,
    in_flight_bytes: AtomicU64,
}

/// What a limit's absence is written as.
const UNLIMITED: u64 = 0;

/// What rates may save up: one second's worth.
const BURST_NS: u64 = 1_000_000_000;

/// When to try again where something in flight has to end first: nobody knows, but most end at once.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

impl Gate {
    /// A gate of these limits with nothing in flight.
    pub fn new(capacity: impl Into<Capacity>) -> Self {
        Self::with_clock(capacity, Clock::system())
    }

    pub(super) fn with_clock(capacity: impl Into<Capacity>, clock: Clock) -> Self {
        let limits = Limits {
            request_ns: AtomicU64::default(),
            bytes_per_second: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            in_flight_bytes: AtomicU64::default(),
        };
        let gate = Self { held: Held::default(), limits, denials: Default::default(), clock };
        gate.resize(capacity);
        gate
    }

    /// Changes the limits. What is in flight beyond new ones may end, and nothing more comes in
    /// meanwhile.
    pub fn resize(&self, capacity: impl Into<Capacity>) {
        let Capacity { requests_per_second, bytes_per_second, in_flight, in_flight_bytes } = capacity.into();
        // A rate of none would never let anything by; the least there is, is one a second.
        let request_ns = requests_per_second.map_or(UNLIMITED, |rate| BURST_NS / rate.max(1));
        self.limits.request_ns.store(request_ns, Relaxed);
        self.limits.bytes_per_second.store(bytes_per_second.map_or(UNLIMITED, |rate| rate.max(1)), Relaxed);
        self.limits.in_flight.store(in_flight, Relaxed);
        self.limits.in_flight_bytes.store(in_flight_bytes, Relaxed);
    }

    /// Requests in flight now.
    pub fn in_flight(&self) -> u64 {
        self.held.requests.load(Relaxed)
    }

    /// Bytes held now for requests in flight.
    pub fn in_flight_bytes(&self) -> u64 {
        self.held.bytes.load(Relaxed)
    }

    /// The most bytes that may be held: what is larger can never come in.
    pub fn in_flight_bytes_max(&self) -> u64 {
        self.limits.in_flight_bytes.load(Relaxed)
    }

    /// How often this limit was met since the start.
    pub fn denials(&self, limit: Limit) -> u64 {
        self.denials[limit as usize].load(Relaxed)
    }

    /// Takes a request with so many bytes, or nothing.
    pub(super) fn enter(&self, bytes: u64, now_ns: u64) -> Result<(), (Limit, Duration)> {
        let limits = &self.limits;
        if limits.bytes_per_second.load(Relaxed) != UNLIMITED {
            let debt = self.held.byte_rate.debt(now_ns);
            debt.map_err(|wait| self.deny(Limit::BytesPerSecond, wait))?;
        }
        if !take(&self.held.requests, 1, limits.in_flight.load(Relaxed)) {
            return Err(self.deny(Limit::InFlight, IN_FLIGHT_RETRY));
        }
        if let Err(denied) = self.hold(bytes) {
            give_back(&self.held.requests, 1);
            return Err(denied);
        }
        let request_ns = limits.request_ns.load(Relaxed);
        if request_ns != UNLIMITED && !self.held.request_rate.take(request_ns, now_ns) {
            self.leave(bytes);
            let wait = self.held.request_rate.wait(request_ns, now_ns);
            return Err(self.deny(Limit::RequestsPerSecond, wait));
        }
        Ok(())
    }

    /// Undoes [`Gate::enter`], as if it had never been.
    pub(super) fn take_back(&self, bytes: u64) {
        self.leave(bytes);
        let request_ns = self.limits.request_ns.load(Relaxed);
        if request_ns != UNLIMITED {
            self.held.request_rate.give_back(request_ns);
        }
    }

    /// Ends a request that holds so many bytes.
    pub(super) fn leave(&self, bytes: u64) {
        give_back(&self.held.requests, 1);
        self.let_go(bytes);
    }

    /// Takes so many bytes more, or none.
    pub(super) fn hold(&self, bytes: u64) -> Result<(), (Limit, Duration)> {
        if bytes == 0 || take(&self.held.bytes, bytes, self.limits.in_flight_bytes.load(Relaxed)) {
            return Ok(());
        }
        Err(self.deny(Limit::InFlightBytes, IN_FLIGHT_RETRY))
    }

    /// Lets so many bytes go.
    pub(super) fn let_go(&self, bytes: u64) {
        if bytes > 0 {
            give_back(&self.held.bytes, bytes);
        }
    }

    /// Charges the byte budget, into debt if need be.
    pub(super) fn charge(&self, bytes: u64, now_ns: u64) {
        let rate = self.limits.bytes_per_second.load(Relaxed);
        if rate != UNLIMITED {
            let cost_ns = (u128::from(bytes) * u128::from(BURST_NS)).div_ceil(u128::from(rate));
            self.held.byte_rate.charge(u64::try_from(cost_ns).unwrap_or(u64::MAX / 4), now_ns);
        }
    }

    fn deny(&self, limit: Limit, wait: Duration) -> (Limit, Duration) {
        self.denials[limit as usize].fetch_add(1, Relaxed);
        (limit, wait)
    }
}

/// Adds if the sum stays within the limit: no reader ever sees more.
fn take(counter: &AtomicU64, amount: u64, limit: u64) -> bool {
    let within = |held: u64| held.checked_add(amount).filter(|sum| *sum <= limit);
    counter.try_update(AcqRel, Relaxed, within).is_ok()
}

fn give_back(counter: &AtomicU64, amount: u64) {
    counter.fetch_sub(amount, AcqRel);
}

/// A rate, as the time until which all of it is used up (the generic cell rate algorithm): one number,
/// and no timer to fill anything up.
#[derive(Debug, Default)]
struct Rate(AtomicU64);

impl Rate {
    /// Uses so many nanoseconds of it, if the burst allows.
    fn take(&self, cost_ns: u64, now_ns: u64) -> bool {
        let used = |until: u64| Some(until.max(now_ns) + cost_ns).filter(|until| *until <= now_ns + BURST_NS);
        self.0.try_update(AcqRel, Relaxed, used).is_ok()
    }

    /// Undoes [`Rate::take`]. Saturating, since a reload may have changed the cost in between.
    fn give_back(&self, cost_ns: u64) {
        self.0.update(AcqRel, Relaxed, |until| until.saturating_sub(cost_ns));
    }

    /// How long until so much of it can be used.
    fn wait(&self, cost_ns: u64, now_ns: u64) -> Duration {
        let until = self.0.load(Relaxed).max(now_ns) + cost_ns;
        Duration::from_nanos(until.saturating_sub(now_ns + BURST_NS))
    }

    /// Uses so many nanoseconds of it, whatever the burst.
    fn charge(&self, cost_ns: u64, now_ns: u64) {
        self.0.update(AcqRel, Relaxed, |until| until.max(now_ns).saturating_add(cost_ns));
    }

    /// Nothing while there is something left of it, else how long until there is.
    fn debt(&self, now_ns: u64) -> Result<(), Duration> {
        match self.0.load(Relaxed).saturating_sub(now_ns) {
            used if used < BURST_NS => Ok(()),
            used => Err(Duration::from_nanos(used - BURST_NS + 1)),
        }
    }
}
