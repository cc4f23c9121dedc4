//! One connection, from its first byte to its last: which HTTP version, the watch over its
//! phases, the graceful end.

use super::{
    Body, Config, Counters, DRAIN_GRACE, Limits, Service, Workers,
    io::{Io, Stream},
    workers::Streams,
};
use crate::batched::batched;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// What h2 may buffer for one stream before the service reads it. With [`CONNECTION_WINDOW`] it
/// bounds what an unknown sender can make a connection hold.
const STREAM_WINDOW: u32 = 256 << 10;
/// What h2 may buffer for a whole connection: 1 MiB carries 20 MB/s over a 50 ms path.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The largest frame that is taken. Four times the usual: senders that ask (those of Java, Python, C++ and
/// Rust do, those of Go do not) bring most batches in one or two.
const FRAME_BYTES: u32 = 64 << 10;
/// Streams that a peer reset before they were accepted; more ends the connection (rapid reset,
/// CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Bytes that one read asks the kernel for at most, and so the largest piece of a body. Small enough to
/// stay in the core's cache where it is copied on, large enough that a megabyte takes few calls.
const READ_BYTES: usize = 128 << 10;

/// An HTTP/1.1 connection that is idle for longer gives its buffers back, two of 8 KiB, and is only a
/// socket (and its TLS) until bytes arrive.
const PARK_AFTER: Duration = Duration::from_secs(2);

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer's address; an IPv4 address is never written as IPv6.
    Ip(IpAddr),
    /// A peer on a Unix socket; it has no address.
    Unix,
}

/// Milliseconds since the process's first look at the clock, which never goes back.
fn now_millis() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

const NEVER: u64 = u64::MAX;

/// What the listener, the sweep and the service know of an open connection.
#[derive(Debug)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: Peer,
    /// When it is cut, in [`now_millis`]; [`NEVER`] while a request is under way, which has time
    /// limits of its own.
    deadline: AtomicU64,
    /// Whether bytes that arrive now are the beginning of a request head (HTTP/1.1 only).
    awaits_head: AtomicBool,
    /// Answers and bodies that have not ended; until they have, no byte begins a head.
    before_head: AtomicU32,
    is_http2: AtomicBool,
    /// Whether bytes of an answer wait for the peer to read.
    unwritten: AtomicBool,
    /// Whether the task is asked to park, see [`PARK_AFTER`].
    shall_park: AtomicBool,
    /// Requests under way.
    requests: AtomicU32,
    /// What the connection's task is asked to do.
    order: AtomicU8,
    waker: OnceLock<Waker>,
    idle: Duration,
    headers: Duration,
}

/// Orders to a connection's task, in rising severity.
const ORDER_NONE: u8 = 0;
const ORDER_DRAIN: u8 = 1;
const ORDER_CLOSE: u8 = 2;

impl Connection {
    pub(super) fn new(peer: Peer, config: &Config) -> Self {
        let timeouts = &config.timeouts;
        Self {
            peer,
            deadline: AtomicU64::new(now_millis() + timeouts.idle.as_millis() as u64),
            awaits_head: AtomicBool::new(true),
            before_head: AtomicU32::new(0),
            is_http2: AtomicBool::new(false),
            unwritten: AtomicBool::new(false),
            shall_park: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            order: AtomicU8::new(ORDER_NONE),
            waker: OnceLock::new(),
            idle: timeouts.idle,
            headers: timeouts.headers,
        }
    }

    fn expires_in(&self, limit: Duration) {
        self.deadline.store(now_millis().saturating_add(limit.as_millis() as u64), Relaxed);
    }

    /// Bytes arrived: if they begin a request head, its time starts to run. Says whether they do.
    pub(super) fn bytes_arrived(&self) -> bool {
        let begins_head = self.awaits_head.load(Relaxed);
        if begins_head {
            self.awaits_head.store(false, Relaxed);
            self.shall_park.store(false, Relaxed);
            self.expires_in(self.headers);
        }
        begins_head
    }

    /// The connection speaks HTTP/2, where heads have no time of their own: a connection without an
    /// open stream is idle, whatever frames it sends.
    fn speaks_http2(&self) {
        self.is_http2.store(true, Relaxed);
        self.awaits_head.store(false, Relaxed);
        self.expires_in(self.idle);
    }

    fn request_began(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Relaxed);
        self.deadline.store(NEVER, Relaxed);
        RequestGuard { connection: self.clone(), _before_head: BeforeHead::new(self) }
    }

    /// Says whether the order is news.
    fn order(&self, order: u8) -> bool {
        let is_news = self.order.fetch_max(order, SeqCst) < order;
        if is_news {
            self.wake();
        }
        is_news
    }

    /// Whether answers announce the end of the connection.
    pub fn drains(&self) -> bool {
        self.order.load(SeqCst) >= ORDER_DRAIN
    }

    /// Asks the connection to end after the requests under way; while idle it is kept for `grace`,
    /// so that a request that is already on its way is answered, not reset.
    pub(super) fn drain(&self, grace: Duration) {
        self.order(ORDER_DRAIN);
        if self.requests.load(SeqCst) == 0 {
            self.expires_in(grace);
        }
    }

    /// Ends the connection if its time is up: true if it did just now. Parks it if it has been idle.
    pub(super) fn sweep(&self) -> bool {
        let (now, deadline) = (now_millis(), self.deadline.load(Relaxed));
        if deadline <= now {
            // A request that began while a drain looked away has time limits of its own.
            return self.requests.load(SeqCst) == 0 && self.order(ORDER_CLOSE);
        }
        let idle_since = deadline.saturating_sub(self.idle.as_millis() as u64);
        let idle_long = now.saturating_sub(idle_since) >= PARK_AFTER.as_millis() as u64;
        if self.is_idle_http1() && idle_long && !self.shall_park.swap(true, Relaxed) {
            self.wake();
        }
        false
    }

    /// Whether nothing is under way: not a request, not a part of a head, of a body, of an answer.
    fn is_idle_http1(&self) -> bool {
        self.awaits_head.load(Relaxed)
            && !self.is_http2.load(Relaxed)
            && self.requests.load(Relaxed) == 0
            && !self.unwritten.load(Relaxed)
    }

    /// The peer does not read what is written to it, or does again.
    pub(super) fn unwritten(&self, unwritten: bool) {
        if self.unwritten.load(Relaxed) != unwritten {
            self.unwritten.store(unwritten, Relaxed);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Ends the connection, whatever is under way.
    pub(super) fn cut(&self) {
        self.order(ORDER_CLOSE);
    }

    /// Polls a connection to its end, obeying the orders that come meanwhile. `announce_end` is how
    /// its HTTP version says that no further request will be taken.
    async fn drive<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        announce_end: impl Fn(Pin<&mut C>),
        may_park: bool,
    ) -> Driven<C::Output> {
        let mut announced = false;
        poll_fn(|cx| {
            self.waker.get_or_init(|| cx.waker().clone());
            match self.order.load(Relaxed) {
                ORDER_CLOSE => return Poll::Ready(Driven::Closed),
                ORDER_DRAIN if !announced => {
                    announced = true;
                    announce_end(connection.as_mut());
                }
                _ => {}
            }
            match connection.as_mut().poll(cx) {
                Poll::Ready(end) => Poll::Ready(Driven::Ended(end)),
                Poll::Pending if may_park && self.shall_park.load(Relaxed) && self.is_idle_http1() => {
                    Poll::Ready(Driven::Parked)
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// How it went with a connection.
enum Driven<T> {
    /// It ended of itself.
    Ended(T),
    /// It was ordered to close.
    Closed,
    /// It is idle, and shall wait without buffers.
    Parked,
}

/// A request under way on a connection; dropped with its future, also when the sender goes away.
struct RequestGuard {
    connection: Arc<Connection>,
    _before_head: BeforeHead,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let connection = &self.connection;
        if connection.requests.fetch_sub(1, SeqCst) == 1 {
            // A drain that began after the answer was made could not be announced by it.
            let limit = if connection.drains() { DRAIN_GRACE } else { connection.idle };
            connection.expires_in(limit);
        }
    }
}

/// An answer or a body under way: with the last one's end, a head may begin. Counted, because the
/// rest of a body may be read away behind its answer, and its end be noticed when the next request
/// is under way.
pub(super) struct BeforeHead(Arc<Connection>);

impl BeforeHead {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        connection.before_head.fetch_add(1, Relaxed);
        connection.awaits_head.store(false, Relaxed);
        Self(connection.clone())
    }
}

impl Drop for BeforeHead {
    fn drop(&mut self) {
        if self.0.before_head.fetch_sub(1, Relaxed) == 1 {
            self.0.awaits_head.store(!self.0.is_http2.load(Relaxed), Relaxed);
        }
    }
}

/// Serves a connection to its end, and then lets the last answer reach its sender.
pub(super) async fn serve<S: Service>(
    stream: Stream,
    connection: Arc<Connection>,
    limits: Limits,
    service: Arc<S>,
    workers: Workers,
    counters: &Counters,
) {
    let mut io = Io::new(stream, connection.clone());
    let protocol = {
        let sniffing = pin!(io.speaks_http2());
        connection.drive(sniffing, |_| (), false).await
    };
    match protocol {
        Driven::Ended(Ok(true)) => {
            connection.speaks_http2();
            let service = service_fn({
                let connection = connection.clone();
                move |request| answer(request, connection.clone(), service.clone(), false)
            });
            let streams = Streams::new(workers);
            let (io, flushing) = batched(io);
            let http = pin!(flushing.drive(http2_builder(&limits, streams).serve_connection(io, service)));
            connection.drive(http, |http| http.connection().graceful_shutdown(), false).await;
        }
        Driven::Ended(Ok(false)) => {
            serve_http1(&mut io, &connection, &limits, &service, counters).await;
            io.linger().await;
        }
        Driven::Ended(Err(_)) | Driven::Closed | Driven::Parked => {}
    }
}

/// Serves HTTP/1.1, with buffers while there is something to do and without while there is not.
async fn serve_http1<S: Service>(
    io: &mut Io,
    connection: &Arc<Connection>,
    limits: &Limits,
    service: &Arc<S>,
    counters: &Counters,
) {
    let ambiguous = io.watch_heads();
    loop {
        let service = service_fn(|request| {
            let ambiguous = ambiguous.load(Relaxed) && ambiguous.swap(false, Relaxed);
            answer(request, connection.clone(), service.clone(), ambiguous)
        });
        let mut http = http1_builder(limits).serve_connection(&mut *io, service);
        // Nothing to announce here: hyper's own way would close an idle connection under a request
        // that is on its way. `answer` announces it on the next answer.
        match connection.drive(Pin::new(&mut http), |_| (), true).await {
            Driven::Parked => {}
            Driven::Ended(Err(error)) if error.is_parse() => {
                counters.bad_heads.fetch_add(1, Relaxed);
                return;
            }
            Driven::Ended(_) | Driven::Closed => return,
        }
        let rest = http.into_parts().read_buf;
        if !is_blank(&rest) {
            // The beginning of a head that came with the request before it.
            connection.bytes_arrived();
            io.begin_head(rest.into());
            continue;
        }
        let arrival = pin!(io.wait_for_bytes());
        let Driven::Ended(Ok(())) = connection.drive(arrival, |_| (), false).await else { return };
    }
}

/// Whether these bytes are only empty lines, which may stand in front of a head (RFC 9112, 2.2).
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None) // `Connection` keeps the time, which does not end idle connections
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(READ_BYTES));
    builder
}

fn http2_builder(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// One request to one answer.
async fn answer<S: Service>(
    request: Request<Incoming>,
    connection: Arc<Connection>,
    service: Arc<S>,
    ambiguous_length: bool,
) -> Result<Response<S::Answer>, Infallible> {
    let _under_way = connection.request_began();
    let is_http1 = request.version() < Version::HTTP_2;
    let request = request.map(|incoming| Body::new(incoming, &connection));
    // In a box, because hyper keeps room for this future as long as the connection lives.
    let mut response = Box::pin(service.call(request, &connection, ambiguous_length)).await;
    if is_http1 && connection.drains() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
