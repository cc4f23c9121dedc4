//! The threads that serve connections.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Threads with a runtime each.
///
/// A connection lives on one of them, and so do the connections to upstreams that its requests use:
/// nothing of a request wakes another thread. (With one runtime of two threads that steal work from
/// each other, a small request cost a quarter more CPU.) Only an HTTP/2 connection with several streams at
/// once spreads them over all threads.
#[derive(Clone)]
pub struct Workers {
    threads: Arc<[Worker]>,
    next: Arc<AtomicUsize>,
}

struct Worker {
    runtime: Handle,
    /// Its end ends the thread.
    _running: oneshot::Sender<()>,
}

impl Workers {
    /// Starts this many threads, at least one. They end when the last clone is dropped.
    ///
    /// # Errors
    /// Where the system gives no thread or no event queue.
    pub fn start(threads: usize) -> io::Result<Self> {
        let threads = (0..threads.max(1)).map(|number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (running, ended) = oneshot::channel();
            let name = format!("tollgate-{number}");
            thread::Builder::new().name(name).spawn(move || {
                let _ = runtime.block_on(ended);
                runtime.shutdown_background();
            })?;
            Ok(Worker { runtime: handle, _running: running })
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, next: Arc::default() })
    }

    /// Runs a future on the next thread in turn.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Relaxed);
        self.threads[turn % self.threads.len()].runtime.spawn(future);
    }
}

/// What hyper spawns: the streams of one HTTP/2 connection. One alone stays on the connection's own
/// thread, where nobody has to be woken; those beside it are spread, because a tunnel may bring
/// everything on one connection.
#[derive(Clone)]
pub(super) struct Streams {
    workers: Workers,
    open: Arc<AtomicUsize>,
}

impl Streams {
    /// Those of a connection that is served by the thread that it calls from.
    pub(super) fn new(workers: Workers) -> Self {
        Self { workers, open: Arc::default() }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let stream = Open(self.open.clone());
        let is_alone = self.open.fetch_add(1, Relaxed) == 0;
        let future = async move {
            let _stream = stream;
            future.await;
        };
        if is_alone {
            tokio::spawn(future);
        } else {
            self.workers.spawn(future);
        }
    }
}

/// An open stream.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
