//! Threads for calls that would hold up others: those that are large, and those of plugins that are slow.
//!
//! Each tenant has a queue of its own, and the queues have their turn one after the other. A tenant gets
//! another thread only while more are idle than it has already: alone it has half of them, and whatever its
//! plugins do, those of the next find a thread, and of the one after that. The threads have the
//! priority of those that serve: their time limits go by the clock, and a call that waited for the
//! processor would be blamed for it.

use parking_lot::{Condvar, Mutex};
use std::{
    collections::{HashMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

/// The threads and what waits for them. They end when it is dropped and nothing waits any more.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work_waiting: Condvar,
    /// Calls of a tenant that may wait.
    waiting_max: usize,
}

#[derive(Default)]
struct State {
    tenants: HashMap<Arc<str>, Tenant>,
    /// Those of whom something waits, the one first whose turn it is.
    turns: VecDeque<Arc<str>>,
    /// Threads that do nothing.
    idle: usize,
    /// The number that the next work gets.
    next: u64,
    has_ended: bool,
}

#[derive(Default)]
struct Tenant {
    waiting: VecDeque<(u64, Work)>,
    running: usize,
}

type Work = Box<dyn FnOnce() + Send>;

/// Work that was submitted. Once this is dropped nobody waits for it: if it has not begun, it is dropped too,
/// with all that it holds, and its place is another's.
#[must_use = "work is withdrawn when this is dropped"]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    tenant: Arc<str>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // What it holds may take a while to drop: not under the lock.
        let _withdrawn = self.shared.state.lock().withdraw(&self.tenant, self.number);
    }
}

/// As much waits for a tenant as may.
#[derive(Debug)]
pub(super) struct Full;

impl Pool {
    /// Starts at least two threads.
    pub(super) fn start(threads: usize, waiting_max: usize) -> io::Result<Self> {
        let threads = threads.max(2);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { idle: threads, ..State::default() }),
            work_waiting: Condvar::new(),
            waiting_max,
        });
        let pool = Self(shared);
        for number in 0..threads {
            let shared = pool.0.clone();
            thread::Builder::new().name(format!("tollgate-plugin-{number}")).spawn(move || shared.run())?;
        }
        Ok(pool)
    }

    /// Has a thread do it, when it is the tenant's turn.
    pub(super) fn submit(
        &self,
        tenant: &Arc<str>,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Ticket, Full> {
        let mut state = self.0.state.lock();
        let State { tenants, turns, next, .. } = &mut *state;
        let queue = tenants.entry(tenant.clone()).or_default();
        if queue.waiting.len() >= self.0.waiting_max {
            return Err(Full);
        }
        if queue.waiting.is_empty() {
            turns.push_back(tenant.clone());
        }
        let number = *next;
        *next += 1;
        queue.waiting.push_back((number, Box::new(work)));
        drop(state);
        self.0.work_waiting.notify_one();
        Ok(Ticket { shared: self.0.clone(), tenant: tenant.clone(), number })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Not joined: a thread may be the last one to let go of the pool.
        self.0.state.lock().has_ended = true;
        self.0.work_waiting.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        while let Some((tenant, work)) = self.next() {
            // What waits for an answer sees that none comes.
            let _panicked = catch_unwind(AssertUnwindSafe(work));
            let mut state = self.state.lock();
            state.idle += 1;
            if let Some(queue) = state.tenants.get_mut(&tenant) {
                queue.running -= 1;
                if queue.running == 0 && queue.waiting.is_empty() {
                    state.tenants.remove(&tenant);
                }
            }
        }
    }

    /// Waits for work of a tenant that may have another thread.
    fn next(&self) -> Option<(Arc<str>, Work)> {
        let mut state = self.state.lock();
        loop {
            if let Some(next) = state.take() {
                if !state.turns.is_empty() {
                    self.work_waiting.notify_one(); // with one call less of a tenant, another of its may begin
                }
                return Some(next);
            }
            if state.has_ended && state.turns.is_empty() {
                return None;
            }
            self.work_waiting.wait(&mut state);
        }
    }
}

impl State {
    fn withdraw(&mut self, tenant: &Arc<str>, number: u64) -> Option<Work> {
        let queue = self.tenants.get_mut(tenant)?;
        let place = queue.waiting.iter().position(|(waiting, _)| *waiting == number)?;
        let (_, work) = queue.waiting.remove(place)?;
        if queue.waiting.is_empty() {
            self.turns.retain(|turn| turn != tenant);
            if queue.running == 0 {
                self.tenants.remove(tenant);
            }
        }
        Some(work)
    }

    fn take(&mut self) -> Option<(Arc<str>, Work)> {
        for _ in 0..self.turns.len() {
            let tenant = self.turns.pop_front()?;
            let Some(queue) = self.tenants.get_mut(&tenant) else { continue };
            let work = if queue.running < self.idle { queue.waiting.pop_front() } else { None };
            if work.is_some() {
                queue.running += 1;
                self.idle -= 1;
            }
            if !queue.waiting.is_empty() {
                self.turns.push_back(tenant.clone());
            }
            if let Some((_, work)) = work {
                return Some((tenant, work));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering::SeqCst},
            mpsc,
        },
        time::Duration,
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_tenant_never_has_all_threads_and_the_others_take_turns() {
        let pool = Pool::start(2, 100).unwrap();
        let [loud, quiet, other] = ["loud", "quiet", "other"].map(Arc::<str>::from);
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (said, heard) = mpsc::channel();
        let (said_running, running) = mpsc::channel();
        let mut tickets = Vec::new();
        for n in 0..10 {
            let (held, said, said_running) = (held.clone(), said.clone(), said_running.clone());
            let work = move || {
                said_running.send(()).unwrap();
                let _ended = held.lock().recv();
                said.send(format!("loud {n}")).unwrap();
            };
            tickets.push(pool.submit(&loud, work).unwrap());
        }
        running.recv_timeout(PATIENCE).unwrap();
        let (begin, _held) = hold_a_thread(&pool, &quiet);
        for n in 0..2 {
            for tenant in [&quiet, &other] {
                let (said, name) = (said.clone(), tenant.clone());
                tickets.push(pool.submit(tenant, move || said.send(format!("{name} {n}")).unwrap()).unwrap());
            }
        }
        begin.wait();
        let order: Vec<_> = (0..4).map(|_| heard.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(order, ["quiet 0", "other 0", "quiet 1", "other 1"]);
        assert!(running.try_recv().is_err(), "the second thread is not for the loud one");
        drop(hold);
        for n in 0..10 {
            assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), format!("loud {n}"));
        }
    }

    #[test]
    fn whatever_tenants_have_threads_there_is_one_for_the_next() {
        let pool = Pool::start(8, 100).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (said, heard) = mpsc::channel();
        let mut tickets = Vec::new();
        for (tenant, threads) in [("a", 4), ("b", 2), ("c", 1), ("d", 1)] {
            for _ in 0..10 {
                let (held, said) = (held.clone(), said.clone());
                let work = move || {
                    said.send(tenant).unwrap();
                    let _ended = held.lock().recv();
                };
                tickets.push(pool.submit(&tenant.into(), work).unwrap());
            }
            for _ in 0..threads {
                assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), tenant);
            }
        }
        assert!(heard.try_recv().is_err(), "all threads are at work");
        drop(hold);
        for _then_the_others in 0..32 {
            heard.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn a_queue_is_bounded_and_a_panic_costs_its_work_only() {
        let pool = Pool::start(2, 3).unwrap();
        let tenant = Arc::from("shop");
        let (begin, _held) = hold_a_thread(&pool, &tenant);
        let done = Arc::new(AtomicUsize::new(0));
        let panicking = || {
            let done = done.clone();
            pool.submit(&tenant, move || panic_after(&done)).ok()
        };
        let queued: Vec<_> = std::iter::from_fn(panicking).collect();
        assert_eq!(queued.len(), 3);
        assert!(pool.submit(&Arc::from("other"), || ()).is_ok());
        begin.wait();
        let (said, heard) = mpsc::channel();
        let _last = loop {
            let said = said.clone();
            match pool.submit(&tenant, move || said.send(()).unwrap()) {
                Ok(ticket) => break ticket,
                Err(Full) => thread::yield_now(),
            }
        };
        heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(done.load(SeqCst), queued.len());
    }

    #[test]
    fn what_nobody_waits_for_gives_its_place_back() {
        let pool = Pool::start(2, 3).unwrap();
        let tenant = Arc::from("shop");
        let (begin, _held) = hold_a_thread(&pool, &tenant);
        let batch = Arc::new(());
        for _ in 0..100 {
            let held = batch.clone();
            let ticket = pool.submit(&tenant, move || drop(held)).unwrap();
            assert_eq!(Arc::strong_count(&batch), 2);
            drop(ticket);
            assert_eq!(Arc::strong_count(&batch), 1, "what it held is gone at once");
        }
        let (said, heard) = mpsc::channel();
        let submit = |n| {
            let said = said.clone();
            pool.submit(&tenant, move || said.send(n).unwrap()).unwrap()
        };
        let [first, second, third] = [1, 2, 3].map(submit);
        drop(second);
        begin.wait();
        assert_eq!([1, 2].map(|_| heard.recv_timeout(PATIENCE).unwrap()), [1, 3]);
        drop((first, third));
        assert!(heard.try_recv().is_err());
    }

    /// Has a thread wait at the barrier that is returned.
    fn hold_a_thread(pool: &Pool, tenant: &Arc<str>) -> (Arc<Barrier>, Ticket) {
        let (barrier, (said, heard)) = (Arc::new(Barrier::new(2)), mpsc::channel());
        let held = barrier.clone();
        let work = move || {
            said.send(()).unwrap();
            held.wait();
        };
        let ticket = pool.submit(tenant, work).unwrap();
        heard.recv_timeout(PATIENCE).unwrap();
        (barrier, ticket)
    }

    fn panic_after(done: &AtomicUsize) {
        done.fetch_add(1, SeqCst);
        panic!("a bug");
    }
}
