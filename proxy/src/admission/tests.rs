//! What holds for three gates together.

use super::*;
use crate::clock::Clock;
use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

const MIB: u64 = 1 << 20;

/// Room for everything.
fn wide() -> GlobalLimits {
    GlobalLimits {
        requests_per_second: None,
        bytes_per_second: None,
        in_flight: u64::MAX,
        in_flight_bytes: u64::MAX,
    }
}

struct Door {
    tenant: Arc<Gate>,
    upstream: Arc<Gate>,
    all: Arc<Gate>,
    clock: Clock,
}

impl Door {
    fn new(tenant: GlobalLimits, upstream: GlobalLimits, all: GlobalLimits) -> Self {
        let clock = Clock::by_hand();
        let gate = |limits: GlobalLimits| Arc::new(Gate::with_clock(&limits, clock.clone()));
        Self { tenant: gate(tenant), upstream: gate(upstream), all: gate(all), clock: clock.clone() }
    }

    fn admit(&self, announced: Option<u64>) -> Result<Permit<'_>, Denial> {
        admit(&self.tenant, &self.upstream, &self.all, announced)
    }

    fn gates(&self) -> [&Arc<Gate>; 3] {
        [&self.tenant, &self.upstream, &self.all]
    }

    fn assert_empty(&self) {
        for gate in self.gates() {
            assert_eq!((gate.in_flight(), gate.in_flight_bytes()), (0, 0));
        }
    }
}

#[test]
fn a_permit_holds_its_place_in_every_gate_until_it_is_dropped() {
    let door = Door::new(wide(), wide(), wide());
    let permit = door.admit(Some(1000)).unwrap();
    for gate in door.gates() {
        assert_eq!((gate.in_flight(), gate.in_flight_bytes()), (1, 1000));
    }
    drop(permit);
    door.assert_empty();
}

#[test]
fn a_denial_names_whose_limit_it_is_and_takes_nothing() {
    let full = [
        (GlobalLimits { in_flight: 0, ..wide() }, Limit::InFlight),
        (GlobalLimits { in_flight_bytes: 999, ..wide() }, Limit::InFlightBytes),
    ];
    for (limits, limit) in full {
        for (position, scope) in [Scope::Tenant, Scope::Upstream, Scope::All].into_iter().enumerate() {
            let mut three = [wide(); 3];
            three[position] = limits;
            let door = Door::new(three[0], three[1], three[2]);
            let denial = door.admit(Some(1000)).unwrap_err();
            assert_eq!((denial.scope, denial.limit), (scope, limit));
            assert!(denial.retry_after >= Duration::from_secs(1));
            door.assert_empty();
            assert_eq!(door.gates()[position].denials(limit), 1);
            assert_eq!(door.gates().iter().map(|gate| gate.denials(limit)).sum::<u64>(), 1);
        }
    }
}

#[test]
fn requests_per_second_with_a_burst_of_one_second() {
    let door = Door::new(GlobalLimits { requests_per_second: Some(200), ..wide() }, wide(), wide());
    let burst = (0..1000).map_while(|_| door.admit(None).ok()).count();
    assert_eq!(burst, 200);
    let denial = door.admit(None).unwrap_err();
    assert_eq!((denial.scope, denial.limit), (Scope::Tenant, Limit::RequestsPerSecond));
    door.clock.advance(denial.retry_after - Duration::from_nanos(1));
    assert!(door.admit(None).is_err(), "not a moment before");
    door.clock.advance(Duration::from_nanos(1));
    drop(door.admit(None).unwrap());
    // Over a long time it is the rate, and a rest saves up one second and no more.
    let mut admitted = 0;
    for _ in 0..10_000 {
        door.clock.advance(Duration::from_millis(1));
        admitted += u32::from(door.admit(None).is_ok());
    }
    assert!((1999..=2001).contains(&admitted), "{admitted}");
    door.clock.advance(Duration::from_secs(3600));
    assert_eq!((0..1000).map_while(|_| door.admit(None).ok()).count(), 200);
    door.assert_empty();
}

#[test]
fn a_refused_request_gives_its_share_of_the_rate_back() {
    let rate = GlobalLimits { requests_per_second: Some(10), ..wide() };
    let door = Door::new(rate, rate, GlobalLimits { in_flight: 1, ..wide() });
    let permit = door.admit(None).unwrap();
    for _ in 0..1000 {
        assert_eq!(door.admit(None).unwrap_err().scope, Scope::All);
    }
    drop(permit);
    assert_eq!((0..100).map_while(|_| door.admit(None).ok()).count(), 9);
}

#[test]
fn bytes_per_second_may_go_into_debt_which_is_paid_off_first() {
    let door = Door::new(GlobalLimits { bytes_per_second: Some(MIB), ..wide() }, wide(), wide());
    let permit = door.admit(None).unwrap();
    permit.charge(5 * MIB);
    let denial = door.admit(None).unwrap_err();
    assert_eq!((denial.scope, denial.limit), (Scope::Tenant, Limit::BytesPerSecond));
    assert_eq!(denial.retry_after, Duration::from_secs(4) + Duration::from_nanos(1));
    door.clock.advance(Duration::from_secs(4));
    assert!(door.admit(None).is_err());
    door.clock.advance(Duration::from_nanos(1));
    door.admit(None).unwrap().charge(1);
    // A rest saves up one second and no more.
    door.clock.advance(Duration::from_secs(3600));
    door.admit(None).unwrap().charge(MIB - 1);
    door.admit(None).unwrap().charge(1);
    assert!(door.admit(None).is_err());
}

#[test]
fn absurd_limits_and_lengths_break_nothing() {
    let absurd = GlobalLimits { requests_per_second: Some(0), bytes_per_second: Some(0), ..wide() };
    let door = Door::new(absurd, wide(), wide());
    let mut permit = door.admit(Some(u64::MAX)).unwrap();
    assert_eq!(door.admit(Some(1)).unwrap_err().limit, Limit::InFlightBytes);
    permit.charge(u64::MAX);
    permit.charge(u64::MAX);
    permit.reserve(u64::MAX).unwrap();
    drop(permit);
    door.assert_empty();
    let fast =
        GlobalLimits { requests_per_second: Some(u64::MAX), bytes_per_second: Some(u64::MAX), ..wide() };
    let door = Door::new(fast, wide(), wide());
    door.admit(None).unwrap().charge(MIB);
    drop(door.admit(None).unwrap());
}

#[test]
fn bytes_are_reserved_in_steps_and_never_twice() {
    let door = Door::new(wide(), wide(), wide());
    let mut permit = door.admit(None).unwrap();
    assert_eq!(permit.bytes(), 0);
    for (total, held) in
        [(1, STEP_BYTES), (STEP_BYTES, STEP_BYTES), (STEP_BYTES + 1, 2 * STEP_BYTES), (5, 2 * STEP_BYTES)]
    {
        permit.reserve(total).unwrap();
        assert_eq!(permit.bytes(), held);
        door.gates().iter().for_each(|gate| assert_eq!(gate.in_flight_bytes(), held));
    }
    // An announced length is taken as it is; what is inflated comes on top.
    let mut announced = door.admit(Some(1000)).unwrap();
    announced.reserve(1000).unwrap();
    assert_eq!(announced.bytes(), 1000);
    announced.reserve(1000 + 3 * STEP_BYTES).unwrap();
    assert_eq!(announced.bytes(), 4 * STEP_BYTES);
    drop((permit, announced));
    door.assert_empty();
}

#[test]
fn near_a_limit_what_is_missing_is_taken_exactly_and_a_denial_changes_nothing() {
    let door = Door::new(wide(), GlobalLimits { in_flight_bytes: 100_000, ..wide() }, wide());
    let mut permit = door.admit(None).unwrap();
    permit.reserve(70_000).unwrap();
    assert_eq!(permit.bytes(), 70_000);
    let denial = permit.reserve(100_001).unwrap_err();
    assert_eq!((denial.scope, denial.limit), (Scope::Upstream, Limit::InFlightBytes));
    door.gates().iter().for_each(|gate| assert_eq!(gate.in_flight_bytes(), 70_000));
    permit.reserve(100_000).unwrap();
}

#[test]
fn an_upstream_that_hangs_uses_up_its_own_permits_only() {
    let hung =
        Door::new(GlobalLimits { in_flight: 10, ..wide() }, GlobalLimits { in_flight: 4, ..wide() }, wide());
    let _waiting: Vec<Permit<'_>> = (0..4).map(|_| hung.admit(Some(10)).unwrap()).collect();
    assert_eq!(hung.admit(Some(10)).unwrap_err().scope, Scope::Upstream);
    let well = Arc::new(Gate::with_clock(&wide(), hung.clock.clone()));
    let through: Vec<Permit<'_>> =
        (0..6).map(|_| admit(&hung.tenant, &well, &hung.all, Some(10)).unwrap()).collect();
    assert_eq!(through.len(), 6);
}

#[test]
fn new_limits_keep_what_is_in_flight() {
    let door = Door::new(GlobalLimits { in_flight: 4, ..wide() }, wide(), wide());
    let mut held: Vec<Permit<'_>> = (0..4).map(|_| door.admit(Some(10)).unwrap()).collect();
    door.tenant.resize(&GlobalLimits { in_flight: 2, requests_per_second: Some(1), ..wide() });
    held.truncate(2);
    assert_eq!(door.admit(None).unwrap_err().limit, Limit::InFlight);
    held.truncate(1);
    held.push(door.admit(None).unwrap());
    door.tenant.resize(&wide());
    held.extend((0..100).map(|_| door.admit(None).unwrap()));
    drop(held);
    door.assert_empty();
}

#[test]
fn each_room_of_settings_makes_a_gate() {
    let limits = [
        Capacity::from(&TenantLimits::default()),
        Capacity::from(&UpstreamLimits::default()),
        Capacity::from(&GlobalLimits::default()),
    ];
    for capacity in limits {
        let gate = Arc::new(Gate::new(capacity));
        drop(admit(&gate, &gate, &gate, Some(1)).unwrap());
        assert_eq!(gate.in_flight(), 0);
    }
}

/// Many threads, tight limits: an observer never sees more than the limit, the rate lets by exactly its
/// burst, and in the end nothing is held.
#[test]
fn never_above_the_limits_and_back_to_nothing() {
    const THREADS: usize = 8;
    let door = Door::new(
        GlobalLimits { in_flight: 5, in_flight_bytes: 10 * STEP_BYTES, ..wide() },
        GlobalLimits { in_flight: 6, in_flight_bytes: 9 * STEP_BYTES, ..wide() },
        GlobalLimits { requests_per_second: Some(20_000), in_flight: 4, ..wide() },
    );
    let (start, ended) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
    let (inside, admitted) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let senders: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (door, start, inside, admitted) = (&door, &start, &inside, &admitted);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..20_000_u64 {
                        let Ok(mut permit) = door.admit((round % 3 == 0).then_some(round)) else { continue };
                        assert!(inside.fetch_add(1, SeqCst) < 4, "more inside than the least limit");
                        admitted.fetch_add(1, SeqCst);
                        for step in 0..4 {
                            if permit.reserve((step + thread as u64) * STEP_BYTES).is_err() {
                                break;
                            }
                        }
                        permit.charge(round);
                        inside.fetch_sub(1, SeqCst);
                    }
                })
            })
            .collect();
        let observer = scope.spawn(|| {
            start.wait();
            while !ended.load(SeqCst) {
                assert!(door.tenant.in_flight() <= 5 && door.tenant.in_flight_bytes() <= 10 * STEP_BYTES);
                assert!(door.upstream.in_flight() <= 6 && door.upstream.in_flight_bytes() <= 9 * STEP_BYTES);
                assert!(door.all.in_flight() <= 4);
            }
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        ended.store(true, SeqCst);
        observer.join().unwrap();
    });
    let admitted = admitted.load(SeqCst);
    assert!(admitted > 0 && admitted <= 20_000, "{admitted}");
    door.assert_empty();
}

#[test]
fn a_rate_shared_by_threads_lets_by_exactly_its_burst() {
    let door = Door::new(GlobalLimits { requests_per_second: Some(500), ..wide() }, wide(), wide());
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    admitted.fetch_add(u64::from(door.admit(None).is_ok()), SeqCst);
                }
            });
        }
    });
    assert_eq!(admitted.load(SeqCst), 500);
    door.assert_empty();
}

#[test]
fn further_upstreams_let_in_all_parts_or_none() {
    let one = GlobalLimits { requests_per_second: Some(1), ..wide() };
    let small = GlobalLimits { in_flight_bytes: 1000, ..wide() };
    let door = Door::new(one, small, wide());
    let [archive, loki, _] = door.gates();

    let shares = share([(&**archive, 10), (loki, 1000)]).unwrap();
    assert_eq!((archive.in_flight(), archive.in_flight_bytes()), (1, 10));
    assert_eq!((loki.in_flight(), loki.in_flight_bytes()), (1, 1000));
    drop(shares);
    door.assert_empty();
    door.clock.advance(std::time::Duration::from_secs(5));

    for _ in 0..3 {
        // The rate of the first is given back each time, or it would be the one to say no.
        let denial = share([(&**archive, 10), (loki, 1001)]).unwrap_err();
        assert_eq!((denial.scope, denial.limit), (Scope::Upstream, Limit::InFlightBytes));
        door.assert_empty();
    }
}

#[test]
fn the_place_at_the_upstream_can_be_given_back_first() {
    let door = Door::new(wide(), wide(), wide());
    let [tenant, upstream, all] = door.gates();
    let mut permit = door.admit(Some(100)).unwrap();
    let share = permit.split_upstream().unwrap();
    assert!(permit.split_upstream().is_none());
    assert_eq!((upstream.in_flight(), upstream.in_flight_bytes()), (1, 100));
    drop(share);
    assert_eq!((upstream.in_flight(), upstream.in_flight_bytes()), (0, 0));
    permit.reserve(STEP_BYTES).unwrap();
    permit.charge(10);
    assert_eq!((tenant.in_flight(), all.in_flight_bytes()), (1, STEP_BYTES));
    assert_eq!(upstream.in_flight_bytes(), 0);
    drop(permit);
    door.assert_empty();
}
