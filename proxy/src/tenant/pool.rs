//! Few threads for slow hashes: a bounded queue, and identical work in flight done once.
//!
//! Own threads rather than the runtime's: their number is the limit on hashes at once, they run at a
//! lower priority than the data path, and work once begun ends whether or not its sender waits.

use parking_lot::{Condvar, Mutex};
use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How much waits for a thread; beyond it is [`Full`]. At 25 ms a hash and one thread the last in the
/// queue waits for 1.6 s, less than any sender's time limit.
pub(super) const WAITING_MAX: usize = 64;

/// How many hashes run at once: half the cores, since a flood of logins must leave room for the
/// senders that are in.
pub(super) fn threads_max() -> usize {
    (thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
}

/// What makes work identical.
pub(super) type Key = ([u8; 32], u64);

/// The threads and what waits for them. Dropping it ends them when the queue is empty.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work_waiting: Condvar,
    threads_max: usize,
    waiting_max: usize,
    /// How long work took lately, in nanoseconds, to say when a full queue will have room.
    work_ns: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Waiting or under way.
    in_flight: HashMap<Key, Arc<watch::Sender<bool>>>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Job {
    key: Key,
    work: Box<dyn FnOnce() -> bool + Send>,
    done: Arc<watch::Sender<bool>>,
}

/// The queue is full.
#[derive(Debug)]
pub(super) struct Full {
    /// When it should have room.
    pub(super) retry_after: Duration,
}

/// The work was given up: the machine is out of threads or memory.
#[derive(Debug)]
pub(super) struct GivenUp;

/// A place among those who wait for some work. Work that nobody waits for any longer is not begun.
pub(super) struct Ticket(watch::Receiver<bool>);

impl Ticket {
    pub(super) async fn done(mut self) -> Result<(), GivenUp> {
        self.0.wait_for(|done| *done).await.map(drop).map_err(|_| GivenUp)
    }
}

impl Pool {
    pub(super) fn new(threads_max: usize, waiting_max: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            work_waiting: Condvar::new(),
            threads_max,
            waiting_max,
            work_ns: AtomicU64::new(0),
        }))
    }

    /// Waits along with identical work in flight, if there is any.
    pub(super) fn join(&self, key: &Key) -> Option<Ticket> {
        self.0.state.lock().in_flight.get(key).map(|done| Ticket(done.subscribe()))
    }

    /// Queues work, or joins identical work. It says whether it came to an end; what it found out, it
    /// has to leave somewhere itself.
    pub(super) fn submit(
        &self,
        key: Key,
        work: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<Ticket, Full> {
        let mut state = self.0.state.lock();
        if let Some(done) = state.in_flight.get(&key) {
            return Ok(Ticket(done.subscribe()));
        }
        if state.waiting.len() >= self.0.waiting_max + state.idle {
            return Err(Full { retry_after: self.0.queue_time() });
        }
        let (done, ticket) = watch::channel(false);
        let done = Arc::new(done);
        state.in_flight.insert(key, done.clone());
        state.waiting.push_back(Job { key, work: Box::new(work), done });
        if state.waiting.len() > state.idle && state.threads < self.0.threads_max {
            self.0.clone().spawn(&mut state);
        }
        drop(state);
        self.0.work_waiting.notify_one();
        Ok(Ticket(ticket))
    }

    /// How much work waits for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.0.state.lock().waiting.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.work_waiting.notify_all();
    }
}

impl Shared {
    /// Adds a thread. Where the system has none left, those there are go on; if there are none at
    /// all, what waits is given up.
    fn spawn(self: Arc<Self>, state: &mut State) {
        let shared = self.clone();
        let thread = thread::Builder::new().name("tollgate-hash".into()).spawn(move || shared.run());
        match thread {
            Ok(_) => state.threads += 1,
            Err(_) if state.threads == 0 => {
                state.waiting.clear();
                state.in_flight.clear();
            }
            Err(_) => {}
        }
    }

    fn run(&self) {
        lower_priority();
        while let Some(Job { key, work, done }) = self.next() {
            let begun = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
            let took_ns = crate::clock::nanoseconds(begun.elapsed());
            self.work_ns.store((self.work_ns.load(Relaxed) + took_ns) / 2, Relaxed);
            // Gone from the map before it is said: who comes later finds what the work left.
            self.state.lock().in_flight.remove(&key);
            if ended {
                done.send_replace(true);
            }
        }
    }

    /// Waits for work that somebody waits for.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            match state.waiting.pop_front() {
                Some(job) if job.done.receiver_count() > 0 => return Some(job),
                Some(job) => drop(state.in_flight.remove(&job.key)),
                None if state.closed => return None,
                None => {
                    state.idle += 1;
                    self.work_waiting.wait(&mut state);
                    state.idle -= 1;
                }
            }
        }
    }

    /// How long the queue as it stands will take.
    fn queue_time(&self) -> Duration {
        let works = (self.waiting_max / self.threads_max.max(1)) as u64;
        Duration::from_nanos(self.work_ns.load(Relaxed).saturating_mul(works)).max(Duration::from_secs(1))
    }
}

/// The lowest priority that still has a share of a busy machine (1.5 % against one that serves). Beside a
/// flood of wrong logins on one core a good sender's p99 was 1.1 to 1.9 ms at 10, and 1.2 ms at 19, of
/// 0.5 to 0.9 ms in quiet. `SCHED_IDLE` gave 0.7 ms, but would let nobody log in while neighbours are busy.
#[cfg(target_os = "linux")]
const NICENESS: libc::c_int = 19;

/// Hashing yields to serving. Only on Linux does a thread have a priority of its own.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: setpriority takes plain numbers; 0 is the calling thread. If it fails, nothing changes.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    fn key(n: u8) -> Key {
        ([n; 32], 0)
    }

    /// Work that lasts until it is told to end; says when it begins.
    fn held() -> (impl FnOnce() -> bool + Send, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (begun, has_begun) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let work = move || {
            begun.send(()).ok();
            may_end.recv().ok();
            true
        };
        (work, has_begun, end)
    }

    #[tokio::test]
    async fn identical_work_is_done_once() {
        let pool = Pool::new(1, 8);
        let (work, has_begun, end) = held();
        let plug = pool.submit(key(0), work).unwrap();
        has_begun.recv().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let mut tickets: Vec<Ticket> = (0..100)
            .map(|_| {
                let count = count.clone();
                pool.submit(key(1), move || count.fetch_add(1, SeqCst) < 100).unwrap()
            })
            .collect();
        tickets.extend(pool.join(&key(1)));
        assert_eq!(tickets.len(), 101);
        assert_eq!(pool.waiting(), 1);
        end.send(()).unwrap();
        plug.done().await.unwrap();
        for ticket in tickets {
            ticket.done().await.unwrap();
        }
        assert_eq!(count.load(SeqCst), 1);
        assert!(pool.join(&key(1)).is_none(), "nothing stays in flight");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_frees_itself() {
        let pool = Pool::new(1, 2);
        let (work, has_begun, end) = held();
        let plug = pool.submit(key(0), work).unwrap();
        has_begun.recv().unwrap();
        let waiting = [pool.submit(key(1), || true).unwrap(), pool.submit(key(2), || true).unwrap()];
        let full = pool.submit(key(3), || true).err().expect("no room for a third");
        assert!(full.retry_after >= Duration::from_secs(1));
        assert!(pool.submit(key(2), || true).is_ok(), "identical work takes no room");
        end.send(()).unwrap();
        plug.done().await.unwrap();
        for ticket in waiting {
            ticket.done().await.unwrap();
        }
        pool.submit(key(3), || true).unwrap().done().await.unwrap();
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_begun_but_what_is_begun_ends() {
        let pool = Pool::new(1, 8);
        let (work, has_begun, end) = held();
        let plug = pool.submit(key(0), work).unwrap();
        has_begun.recv().unwrap();
        drop(plug);
        let count = Arc::new(AtomicUsize::new(0));
        let counting = count.clone();
        drop(pool.submit(key(1), move || counting.fetch_add(1, SeqCst) == 0).unwrap());
        let last = pool.submit(key(2), || true).unwrap();
        end.send(()).unwrap();
        last.done().await.unwrap();
        assert_eq!(count.load(SeqCst), 0);
        assert!(pool.0.state.lock().in_flight.is_empty());
    }

    #[tokio::test]
    async fn a_panic_or_failure_gives_up_that_work_only() {
        let pool = Pool::new(1, 8);
        assert!(pool.submit(key(1), || panic!("a bug in a hash")).unwrap().done().await.is_err());
        assert!(pool.submit(key(2), || false).unwrap().done().await.is_err());
        pool.submit(key(1), || true).unwrap().done().await.unwrap();
    }
}
