//! Sockets and connections: bind, accept, handshake, HTTP, drain.
//!
//! One path serves plain TCP, TLS and Unix sockets, and it is generic over one service. This room
//! knows nothing of OTLP.

mod bind;
mod body;
mod connection;
mod io;
mod workers;

pub use bind::{BindError, Bound};
pub use body::Body;
pub use connection::{Connection, Peer};
pub use workers::Workers;

use arc_swap::ArcSwap;
use bind::Accepted;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use io::Stream;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch},
    task::unconstrained,
};
use tokio_rustls::TlsAcceptor;

/// What answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// What it answers with.
    type Answer: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static;

    /// Answers a request. `ambiguous_length`: its head gave two lengths, so that whoever is in front
    /// may have read another request than this one; it has to be refused.
    fn call(
        &self,
        request: Request<Body>,
        connection: &Connection,
        ambiguous_length: bool,
    ) -> impl Future<Output = Response<Self::Answer>> + Send;

    /// Whether the peer speaks for others, so that the limit for one client is not for it.
    fn is_proxy(&self, peer: Peer) -> bool;
}

/// One bound socket and how its connections are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name in the configuration, metrics and logs.
    pub name: Arc<str>,
    /// Where to listen.
    pub bind: Bind,
    /// With it, TLS; without it, plain.
    pub tls: Option<crate::tls::ServerMaterial>,
    /// Time limits of a connection.
    pub timeouts: Timeouts,
    /// Size and count limits of a connection.
    pub limits: Limits,
}

impl Config {
    /// Whether one socket serves both.
    pub fn is_same_socket(&self, other: &Config) -> bool {
        match (&self.bind, &other.bind) {
            (Bind::Unix { path: one, .. }, Bind::Unix { path: other, .. }) => one == other,
            // Where the system chose the port, nothing but the name tells two sockets apart.
            (Bind::Tcp(one), Bind::Tcp(two)) => one == two && (one.port() != 0 || self.name == other.name),
            _ => false,
        }
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// Permission bits of the file; 0o660 by default.
        mode: u32,
        /// Group id of the file, if it is not the process's own.
        group: Option<u32>,
    },
}

/// Time limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake, from accept. 10 s: a mobile sender on a bad network needs three round trips.
    pub handshake: Duration,
    /// Request head, from its first byte. 15 s.
    pub headers: Duration,
    /// Request body, from the end of the head. 5 min: what the slowest direct uploads need.
    pub body: Duration,
    /// Between requests. 150 s: cloudflared keeps idle connections for 90 s, and a server that
    /// closes first loses requests.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(15),
            body: Duration::from_secs(300),
            idle: Duration::from_secs(150),
        }
    }
}

/// Size and count limits of a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. 10 000: about 300 MB of memory if all of them are TLS.
    pub connections: usize,
    /// Open connections of one client (an IPv4 address or an IPv6 /64), trusted proxies exempt. 200.
    pub connections_per_client: usize,
    /// Bytes of a request head. 64 KiB: several times what any sender needs.
    pub header_bytes: usize,
    /// HTTP/2 streams open at once on a connection. 128.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, connections_per_client: 200, header_bytes: 64 << 10, streams: 128 }
    }
}

/// Time an idle connection is kept in a drain, for a request that is already on its way.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// How often connections are looked at for time limits; it is also how late a limit may strike.
const SWEEP: Duration = Duration::from_millis(250);
/// Pause after an accept error such as EMFILE, which would otherwise come back at once for ever.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the same complaint about accepting is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What an operator may want to know of a listener, since its start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicUsize,
    /// Connections closed at once because their client had too many.
    pub refused_client: AtomicU64,
    /// Times that accepting waited because the listener had too many.
    pub saturated: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: AtomicU64,
    /// HTTP/1.1 connections that ended with a request head that cannot be read (400, 414, 431).
    pub bad_heads: AtomicU64,
    /// Connections closed by a time limit.
    pub timed_out: AtomicU64,
    /// Errors of `accept` itself, such as too many open files.
    pub accept_errors: AtomicU64,
}

/// A listener at work.
pub struct Listener<S> {
    address: String,
    socket_address: Option<SocketAddr>,
    current: ArcSwap<Current<S>>,
    connections: Mutex<Connections>,
    permits: Arc<Semaphore>,
    workers: Workers,
    stop: watch::Sender<bool>,
    accepts: watch::Sender<bool>,
    /// See [`Counters`].
    pub counters: Arc<Counters>,
}

/// What a reload changes; connections keep what they began with, but the service.
struct Current<S> {
    config: Config,
    acceptor: Option<TlsAcceptor>,
    service: Arc<S>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Arc<Connection>>,
    of_client: HashMap<IpAddr, usize>,
}

impl<S: Service> Listener<S> {
    /// Starts to accept on a bound socket, and to serve on these threads.
    pub fn start(bound: Bound, config: Config, service: S, workers: Workers) -> Arc<Self> {
        let listener = Arc::new(Self {
            permits: Arc::new(Semaphore::new(config.limits.connections)),
            address: bound.to_string(),
            socket_address: bound.socket_address(),
            connections: Mutex::default(),
            workers,
            stop: watch::channel(false).0,
            accepts: watch::channel(true).0,
            counters: Arc::default(),
            current: ArcSwap::from_pointee(Current {
                acceptor: config.tls.as_ref().map(|tls| tls.acceptor()),
                config,
                service: Arc::new(service),
            }),
        });
        tokio::spawn(listener.clone().accept(bound));
        tokio::spawn(listener.clone().sweep());
        listener
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.current.load().config.clone()
    }

    /// The TCP address it listens on: the one the system chose, where port 0 was asked for.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.socket_address
    }

    /// Takes new settings for the same socket: at once for new connections, at their next request
    /// for those that are open. Nothing is closed.
    pub fn reconfigure(&self, config: Config, service: S) {
        let current = self.current.load();
        let acceptor = match (&config.tls, &current.acceptor) {
            (Some(tls), Some(acceptor)) if current.config.tls.as_ref() == Some(tls) => Some(acceptor.clone()),
            (tls, _) => tls.as_ref().map(|tls| tls.acceptor()),
        };
        let (before, now) = (current.config.limits.connections, config.limits.connections);
        self.permits.add_permits(now.saturating_sub(before));
        self.take_permits_away(before.saturating_sub(now));
        self.current.store(Arc::new(Current { config, acceptor, service: Arc::new(service) }));
    }

    /// Those that are in use are taken when they come back, before anybody new gets one.
    fn take_permits_away(&self, count: usize) {
        let permits = self.permits.clone();
        if let Ok(count @ 1..) = u32::try_from(count) {
            tokio::spawn(async move {
                if let Ok(taken) = permits.acquire_many(count).await {
                    taken.forget();
                }
            });
        }
    }

    /// Stops accepting, announces the end to every connection, and waits until all are closed or
    /// `limit` is over; then cuts the rest. Says how many it cut.
    pub async fn drain(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        self.stop.send_replace(true);
        let mut accepts = self.accepts.subscribe();
        let _ = tokio::time::timeout(limit, accepts.wait_for(|&accepts| !accepts)).await;
        for connection in self.connections.lock().open.values() {
            connection.drain(DRAIN_GRACE.min(limit));
        }
        while Instant::now() < deadline && !self.connections.lock().open.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rest = self.connections.lock();
        rest.open.values().for_each(|connection| connection.cut());
        rest.open.len()
    }

    async fn accept(self: Arc<Self>, bound: Bound) {
        let mut stop = self.stop.subscribe();
        let mut complained: Option<Instant> = None;
        loop {
            if self.permits.available_permits() == 0 {
                self.counters.saturated.fetch_add(1, Relaxed);
                complain(&mut complained, || {
                    let limit = self.current.load().config.limits.connections;
                    tracing::warn!(listener = self.address, limit, "connection limit reached, new ones wait");
                });
            }
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => break,
                accepted = self.accept_one(&bound) => accepted,
            };
            match accepted {
                (Ok((stream, peer)), Ok(permit)) => self.spawn(stream, peer, permit),
                (Err(error), _) => {
                    self.counters.accept_errors.fetch_add(1, Relaxed);
                    complain(&mut complained, || {
                        tracing::error!(listener = self.address, %error, "cannot accept a connection, trying on");
                    });
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (_, Err(_closed)) => return,
            }
        }
        // What the kernel has taken already is served before the socket closes. First the runtime is
        // told of it, which a task does not see that never waits; nor does tokio's budget count here.
        tokio::task::yield_now().await;
        while let Some((Ok((stream, peer)), Ok(permit))) =
            unconstrained(self.accept_one(&bound)).now_or_never()
        {
            self.spawn(stream, peer, permit);
        }
        drop(bound);
        self.accepts.send_replace(false);
    }

    /// A permit first: without one the kernel's backlog holds the connection.
    async fn accept_one(
        &self,
        bound: &Bound,
    ) -> (std::io::Result<(Accepted, Peer)>, Result<OwnedSemaphorePermit, AcquireError>) {
        let permit = self.permits.clone().acquire_owned().await;
        (bound.accept().await, permit)
    }

    /// Everything that a connection does, the handshake too, happens in its own task.
    fn spawn(self: &Arc<Self>, stream: Accepted, peer: Peer, permit: OwnedSemaphorePermit) {
        if let Some(registered) = self.register(peer) {
            let listener = self.clone();
            self.workers.spawn(async move {
                if let Ok(stream) = stream.arrive() {
                    listener.serve(stream, registered).await;
                }
                drop(permit);
            });
        }
    }

    /// Puts a connection on the list, unless its client has too many there.
    fn register(self: &Arc<Self>, peer: Peer) -> Option<Registered<S>> {
        let current = self.current.load();
        let client = match peer {
            Peer::Ip(address) if !current.service.is_proxy(peer) => Some(client_key(address)),
            _ => None,
        };
        let connection = Arc::new(Connection::new(peer, &current.config));
        let mut connections = self.connections.lock();
        if let Some(client) = client {
            let of_client = connections.of_client.entry(client).or_default();
            if *of_client >= current.config.limits.connections_per_client {
                self.counters.refused_client.fetch_add(1, Relaxed);
                return None;
            }
            *of_client += 1;
        }
        let id = connections.next;
        connections.next += 1;
        connections.open.insert(id, connection.clone());
        self.counters.accepted.fetch_add(1, Relaxed);
        self.counters.open.fetch_add(1, Relaxed);
        if *self.stop.borrow() {
            connection.drain(DRAIN_GRACE);
        }
        Some(Registered { listener: self.clone(), id, client, connection })
    }

    async fn serve(self: Arc<Self>, stream: Stream, registered: Registered<S>) {
        let current = self.current.load_full();
        let stream = match (&current.acceptor, stream) {
            (Some(acceptor), Stream::Tcp(tcp)) => {
                let handshake = tokio::time::timeout(current.config.timeouts.handshake, acceptor.accept(tcp));
                match handshake.await {
                    Ok(Ok(tls)) => Stream::Tls(Box::new(tls)),
                    failed => {
                        self.counters.failed_handshakes.fetch_add(1, Relaxed);
                        let error = failed.err().map_or("bad handshake", |_| "handshake took too long");
                        tracing::debug!(listener = self.address, peer = ?registered.connection.peer, error);
                        return;
                    }
                }
            }
            (_, stream) => stream,
        };
        let limits = current.config.limits;
        drop(current);
        let service = Arc::new(Latest(self.clone()));
        let workers = self.workers.clone();
        let connection = registered.connection.clone();
        connection::serve(stream, connection, limits, service, workers, &self.counters).await;
    }

    async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let connections = self.connections.lock();
            let overdue = connections.open.values().filter(|connection| connection.sweep()).count();
            self.counters.timed_out.fetch_add(overdue as u64, Relaxed);
            if !*self.accepts.borrow() && connections.open.is_empty() {
                return;
            }
        }
    }
}

/// The service in force at each request, also on a connection that was opened under an older one.
struct Latest<S>(Arc<Listener<S>>);

impl<S: Service> Service for Latest<S> {
    type Answer = S::Answer;

    async fn call(
        &self,
        request: Request<Body>,
        connection: &Connection,
        ambiguous_length: bool,
    ) -> Response<S::Answer> {
        let service = self.0.current.load().service.clone();
        service.call(request, connection, ambiguous_length).await
    }

    fn is_proxy(&self, peer: Peer) -> bool {
        self.0.current.load().service.is_proxy(peer)
    }
}

/// A connection on the list; leaves it on drop.
struct Registered<S> {
    listener: Arc<Listener<S>>,
    id: u64,
    client: Option<IpAddr>,
    connection: Arc<Connection>,
}

impl<S> Drop for Registered<S> {
    fn drop(&mut self) {
        let mut connections = self.listener.connections.lock();
        connections.open.remove(&self.id);
        if let Some(client) = self.client
            && let Some(count) = connections.of_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                connections.of_client.remove(&client);
            }
        }
        self.listener.counters.open.fetch_sub(1, Relaxed);
    }
}

/// One customer of an IPv6 network usually has a /64 to choose addresses from.
fn client_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 64))),
    }
}

fn complain(last: &mut Option<Instant>, complaint: impl FnOnce()) {
    if last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
        *last = Some(Instant::now());
        complaint();
    }
}
