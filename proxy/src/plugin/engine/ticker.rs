//! The engine's clock: an epoch every millisecond, while guests run.

use parking_lot::{Condvar, Mutex};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How exactly a guest is stopped: a fraction of a slice.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// How rarely a guest that runs is looked at.
pub(super) const TICKS_MAX: u64 = 16;
/// Ticks without a guest after which the clock stops: more than [`TICKS_MAX`], so that a guest which
/// runs is seen to.
const IDLE_TICKS_MAX: u32 = 64;

/// The thread that counts. It sleeps for good while no guest runs, so that an idle proxy is idle, and
/// waking it costs a call nothing in a busy one: it reads a flag.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// A guest ran since the last tick.
    beaten: AtomicBool,
    is_asleep: AtomicBool,
    has_ended: Mutex<bool>,
    wake: Condvar,
}

/// Says that a guest runs.
#[derive(Clone)]
pub(super) struct Heartbeat(Arc<Shared>);

impl Heartbeat {
    /// To be called when a call begins, and every [`TICKS_MAX`] ticks while it runs.
    pub(super) fn beat(&self) {
        // Read first: writing would take the cache line from the other cores, each call.
        if !self.0.beaten.load(Relaxed) {
            self.0.beaten.store(true, SeqCst);
            if self.0.is_asleep.load(SeqCst) {
                let _ended = self.0.has_ended.lock();
                self.0.wake.notify_one();
            }
        }
    }
}

impl Ticker {
    pub(super) fn start(tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            beaten: AtomicBool::new(false),
            is_asleep: AtomicBool::new(false),
            has_ended: Mutex::new(false),
            wake: Condvar::new(),
        });
        let running = shared.clone();
        let thread =
            thread::Builder::new().name("tollgate-epochs".into()).spawn(move || running.run(&tick))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn heartbeat(&self) -> Heartbeat {
        Heartbeat(self.shared.clone())
    }
}

impl Shared {
    fn run(&self, tick: &dyn Fn()) {
        let mut idle_ticks = 0;
        let mut has_ended = self.has_ended.lock();
        while !*has_ended {
            if idle_ticks < IDLE_TICKS_MAX {
                self.wake.wait_for(&mut has_ended, TICK);
            } else {
                self.is_asleep.store(true, SeqCst);
                if !self.beaten.load(SeqCst) {
                    self.wake.wait(&mut has_ended);
                }
                self.is_asleep.store(false, SeqCst);
            }
            tick();
            idle_ticks = if self.beaten.swap(false, SeqCst) { 0 } else { idle_ticks + 1 };
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.has_ended.lock() = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
