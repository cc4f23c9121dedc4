//! Threads for calls that would hold up others: those that are large, and those of plugins that are slow.
//!
//! Each tenant has a queue of its own, and the queues have their turn one after the other. A tenant never
//! has all threads, so that whatever its plugins do, those of the others run. The threads have the
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
    /// Threads that one tenant may have at once.
    running_max: usize,
    /// Calls of a tenant that may wait.
    waiting_max: usize,
}

#[derive(Default)]
struct State {
    tenants: HashMap<Arc<str>, Tenant>,
    /// Those of whom something waits, the one first whose turn it is.
    turns: VecDeque<Arc<str>>,
    has_ended: bool,
}

#[derive(Default)]
struct Tenant {
    waiting: VecDeque<Work>,
    running: usize,
}

type Work = Box<dyn FnOnce() + Send>;

/// As much waits for a tenant as may.
#[derive(Debug)]
pub(super) struct Full;

impl Pool {
    /// Starts at least two threads.
    pub(super) fn start(threads: usize, waiting_max: usize) -> io::Result<Self> {
        let threads = threads.max(2);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work_waiting: Condvar::new(),
            running_max: threads - 1,
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
    pub(super) fn submit(&self, tenant: &Arc<str>, work: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        let mut state = self.0.state.lock();
        let State { tenants, turns, .. } = &mut *state;
        let queue = tenants.entry(tenant.clone()).or_default();
        if queue.waiting.len() >= self.0.waiting_max {
            return Err(Full);
        }
        if queue.waiting.is_empty() {
            turns.push_back(tenant.clone());
        }
        queue.waiting.push_back(Box::new(work));
        drop(state);
        self.0.work_waiting.notify_one();
        Ok(())
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
            if let Some(next) = state.take(self.running_max) {
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
    fn take(&mut self, running_max: usize) -> Option<(Arc<str>, Work)> {
        for _ in 0..self.turns.len() {
            let tenant = self.turns.pop_front()?;
            let Some(queue) = self.tenants.get_mut(&tenant) else { continue };
            let work = if queue.running < running_max { queue.waiting.pop_front() } else { None };
            if work.is_some() {
                queue.running += 1;
            }
            if !queue.waiting.is_empty() {
                self.turns.push_back(tenant.clone());
            }
            if let Some(work) = work {
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
        for n in 0..10 {
            let (held, said, said_running) = (held.clone(), said.clone(), said_running.clone());
            pool.submit(&loud, move || {
                said_running.send(()).unwrap();
                let _ended = held.lock().recv();
                said.send(format!("loud {n}")).unwrap();
            })
            .unwrap();
        }
        running.recv_timeout(PATIENCE).unwrap();
        let begin = hold_a_thread(&pool, &quiet);
        for n in 0..2 {
            for tenant in [&quiet, &other] {
                let (said, name) = (said.clone(), tenant.clone());
                pool.submit(tenant, move || said.send(format!("{name} {n}")).unwrap()).unwrap();
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
    fn a_queue_is_bounded_and_a_panic_costs_its_work_only() {
        let pool = Pool::start(2, 3).unwrap();
        let tenant = Arc::from("shop");
        let begin = hold_a_thread(&pool, &tenant);
        let done = Arc::new(AtomicUsize::new(0));
        let mut queued = 0;
        for _ in 0..10 {
            let done = done.clone();
            queued += usize::from(pool.submit(&tenant, move || panic_after(&done)).is_ok());
        }
        assert_eq!(queued, 3);
        assert!(pool.submit(&Arc::from("other"), || ()).is_ok());
        begin.wait();
        let (said, heard) = mpsc::channel();
        while pool
            .submit(&tenant, {
                let said = said.clone();
                move || said.send(()).unwrap()
            })
            .is_err()
        {
            thread::yield_now();
        }
        heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(done.load(SeqCst), queued);
    }

    /// Has a thread wait at the barrier that is returned.
    fn hold_a_thread(pool: &Pool, tenant: &Arc<str>) -> Arc<Barrier> {
        let (barrier, (said, heard)) = (Arc::new(Barrier::new(2)), mpsc::channel());
        let held = barrier.clone();
        let work = move || {
            said.send(()).unwrap();
            held.wait();
        };
        pool.submit(tenant, work).unwrap();
        heard.recv_timeout(PATIENCE).unwrap();
        barrier
    }

    fn panic_after(done: &AtomicUsize) {
        done.fetch_add(1, SeqCst);
        panic!("a bug");
    }
}
