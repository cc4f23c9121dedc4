//! Connections to one upstream: made, kept, used again, given up.

use super::{
    Config, Counters, HttpVersion,
    answer::Answer,
    io::{Io, Stream, Upload},
};
use crate::{
    batched::{Flushing, batched},
    otlp::Chunks,
    telemetry,
};
use http::{HeaderMap, HeaderValue, Request, Uri, header, uri::Scheme};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    time::{timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

/// How long an idle connection is used again. Most servers keep theirs for 60 s or longer (nginx
/// 75 s); a connection that the server closes under a request costs the sender a retry.
const IDLE: Duration = Duration::from_secs(45);
/// Idle connections kept by a thread; a burst's others are closed behind it.
const IDLE_MAX: usize = 128;
/// Threads beyond these share.
const SHARDS: usize = 16;
/// How much of an answer is read. An `Export*ServiceResponse` is far smaller.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// How much more of it is read and not kept, for what comes behind.
const ANSWER_BYTES_IGNORED: usize = 4 << 20;
/// Dead HTTP/2 connections are found out by pings, also while idle: the next request would have to
/// wait for two of them otherwise.
const PING: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The upstream cannot have seen the request, which comes back where it may be tried again.
    Unsent(String, Option<Box<Request<Chunks>>>),
    /// The upstream may have seen the request.
    Broken(String),
}

/// The connections to one upstream.
pub(super) struct Pool {
    tls: Option<TlsConnector>,
    /// Idle connections by the thread that made them: their events wake that thread, so it is the one
    /// to use them.
    idle: [Mutex<Vec<(Instant, Http1)>>; SHARDS],
    /// The connection that a thread's requests share, likewise.
    shared: [Shared; SHARDS],
    /// Whether to expect that ALPN settles on HTTP/2: what it did last, and yes before.
    expects_http2: AtomicBool,
}

/// An HTTP/2 connection that several requests share.
#[derive(Default)]
struct Shared {
    sender: Mutex<Option<http2::SendRequest<Chunks>>>,
    /// Held while the connection is made, so that a burst makes one and not one each.
    connecting: tokio::sync::Mutex<Backoff>,
}

impl Shared {
    fn open(&self) -> Option<http2::SendRequest<Chunks>> {
        let mut sender = self.sender.lock();
        if sender.as_ref().is_some_and(|sender| sender.is_closed()) {
            *sender = None;
        }
        sender.clone()
    }
}

/// First pause after a connection that could not be made: long enough for a flood of requests to make
/// a handful of attempts, short enough that a restarted upstream is found at once.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause. A refused sender comes back after five seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Keeps every request from trying again what has just failed.
#[derive(Default)]
struct Backoff {
    pause: Duration,
    /// Until when nothing is tried, and what happened.
    failed: Option<(Instant, String)>,
}

impl Backoff {
    fn check(&self) -> Result<(), String> {
        match &self.failed {
            Some((until, why)) if Instant::now() < *until => Err(why.clone()),
            _ => Ok(()),
        }
    }

    fn note<T>(&mut self, connected: &Result<T, String>) {
        match connected {
            Ok(_) => *self = Self::default(),
            Err(why) => {
                self.pause = (self.pause * 2).clamp(BACKOFF_FIRST, BACKOFF_MAX);
                self.failed = Some((Instant::now() + self.pause, why.clone()));
            }
        }
    }
}

enum Connected {
    Http1(Http1),
    Http2(http2::SendRequest<Chunks>),
}

impl Pool {
    pub(super) fn new(tls: Option<TlsConnector>) -> Self {
        Self {
            tls,
            idle: Default::default(),
            shared: Default::default(),
            expects_http2: AtomicBool::new(true),
        }
    }

    /// Sends a request and reads its answer to the end. Tries a second time, on a new connection, if
    /// the first one turns out to be closed before the upstream can have seen anything.
    pub(super) async fn exchange(
        &self,
        config: &Config,
        counters: &Arc<Counters>,
        request: Box<Request<Chunks>>,
    ) -> Result<Answer, Failure> {
        let request = match self.kept() {
            Some(connected) => match self.exchange_on(connected, config, request).await {
                Err(Failure::Unsent(_, Some(unsent))) => unsent,
                done => return done,
            },
            None => request,
        };
        // In a box: few requests need it, and all would be as large as it.
        let connecting = Box::pin(async {
            if self.will_share(config) {
                self.connect_shared(config, counters).await
            } else {
                self.connect(config, counters).await
            }
        });
        let connected = connecting.await.map_err(|why| Failure::Unsent(why, None))?;
        self.exchange_on(connected, config, request).await
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        for idle in &self.idle {
            let expired: Vec<_> = {
                let mut idle = idle.lock();
                let fresh = idle.partition_point(|(since, _)| since.elapsed() > IDLE);
                idle.drain(..fresh).collect()
            };
            drop(expired); // outside the lock: closing is a system call each
        }
    }

    fn idle(&self) -> &Mutex<Vec<(Instant, Http1)>> {
        &self.idle[telemetry::thread_number() % SHARDS]
    }

    fn shared(&self) -> &Shared {
        &self.shared[telemetry::thread_number() % SHARDS]
    }

    /// The connection that was used last, since the others may yet become superfluous.
    fn kept(&self) -> Option<Connected> {
        if let Some((since, connection)) = self.idle().lock().pop()
            && since.elapsed() <= IDLE
        {
            return Some(Connected::Http1(connection));
        }
        self.shared().open().map(Connected::Http2)
    }

    async fn exchange_on(
        &self,
        connected: Connected,
        config: &Config,
        mut request: Box<Request<Chunks>>,
    ) -> Result<Answer, Failure> {
        match connected {
            Connected::Http1(mut connection) => {
                address_http1(&mut request, config);
                let answer = connection.exchange(request).await?;
                if poll_fn(|cx| Poll::Ready(connection.is_reusable(cx))).await {
                    let mut idle = self.idle().lock();
                    if idle.len() < IDLE_MAX {
                        idle.push((Instant::now(), connection));
                    }
                }
                Ok(answer)
            }
            Connected::Http2(mut sender) => {
                if let Err(error) = sender.ready().await {
                    return Err(Failure::Unsent(error.to_string(), Some(request)));
                }
                address_http2(&mut request, config);
                // Of an early success nothing is known here: the streams' bytes share the connection,
                // and hyper does not say which have left. RFC 9113 has a server that answers without
                // the body reset the stream after its answer.
                let response = sender.try_send_request(*request).await.map_err(failure)?;
                let (head, mut body) = response.into_parts();
                let mut collected = Collected::default();
                poll_fn(|cx| collected.poll(&mut body, cx)).await?;
                Ok(Answer { head, body: collected.bytes.into(), trailers: collected.trailers })
            }
        }
    }

    fn will_share(&self, config: &Config) -> bool {
        match config.http_version {
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.tls.is_some() && self.expects_http2.load(Relaxed),
            HttpVersion::Http1 => false,
        }
    }

    /// Makes the connection that this thread's requests share, or waits for whoever is making it. Right
    /// after a failure nobody tries.
    async fn connect_shared(&self, config: &Config, counters: &Arc<Counters>) -> Result<Connected, String> {
        let shared = self.shared();
        let connecting = timeout(config.connect_timeout, shared.connecting.lock()).await;
        // Not counted as a failure where it takes too long: the one that is waited for is.
        let mut backoff = connecting.map_err(|_| late(config))?;
        if let Some(sender) = shared.open() {
            return Ok(Connected::Http2(sender));
        }
        if !self.will_share(config) {
            drop(backoff); // whoever held it has learnt otherwise
            return self.connect(config, counters).await;
        }
        backoff.check()?;
        let connected = self.connect(config, counters).await;
        backoff.note(&connected);
        if let Ok(Connected::Http2(sender)) = &connected {
            *shared.sender.lock() = Some(sender.clone());
        }
        connected
    }

    async fn connect(&self, config: &Config, counters: &Arc<Counters>) -> Result<Connected, String> {
        let deadline = Instant::now() + config.connect_timeout;
        let connecting = async {
            let tcp = dial(config, deadline).await?;
            match (&self.tls, &config.tls) {
                (Some(connector), Some(material)) => {
                    let tls = connector.connect(material.server_name.clone(), tcp).await?;
                    Ok(Stream::Tls(Box::new(tls)))
                }
                _ => Ok(Stream::Plain(tcp)),
            }
        };
        let stream = timeout_at(deadline.into(), connecting).await.map_err(|_| late(config));
        let stream = stream.and_then(|connected| connected.map_err(|error: io::Error| error.to_string()));
        let stream = stream.inspect_err(|_| {
            counters.connect_failures.fetch_add(1, Relaxed);
        })?;
        let speaks_http2 = match (&stream, config.http_version) {
            (_, HttpVersion::Http2) => true,
            (Stream::Tls(tls), HttpVersion::Auto) => {
                let settled = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                self.expects_http2.store(settled, Relaxed);
                settled
            }
            _ => false,
        };
        let (io, upload) = Io::new(stream, counters.clone());
        if speaks_http2 {
            handshake_http2(io).await.map(Connected::Http2).map_err(|error| error.to_string())
        } else {
            let (sender, connection) =
                http1::Builder::new().handshake(io).await.map_err(|error| error.to_string())?;
            Ok(Connected::Http1(Http1 { sender, connection: Some(Box::pin(connection)), upload }))
        }
    }
}

fn late(config: &Config) -> String {
    format!("no connection within {:?}", config.connect_timeout)
}

/// hyper gives a request back if it has not begun to write it.
fn failure(mut error: TrySendError<Request<Chunks>>) -> Failure {
    let unsent = error.take_message();
    let text = error.into_error().to_string();
    match unsent {
        Some(request) => Failure::Unsent(text, Some(Box::new(request))),
        None => Failure::Broken(text),
    }
}

/// HTTP/2 names the host in its target, HTTP/1.1 in a header.
fn address_http2(request: &mut Request<Chunks>, config: &Config) {
    request.headers_mut().remove(header::HOST);
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    target.scheme = Some(if config.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    target.authority = Some(config.host.clone());
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
}

/// After an attempt in HTTP/2 that came to nothing.
fn address_http1(request: &mut Request<Chunks>, config: &Config) {
    if request.headers().contains_key(header::HOST) {
        return;
    }
    if let Ok(host) = HeaderValue::from_str(config.host.as_str()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    if let Some(path) = path {
        *request.uri_mut() = Uri::from(path);
    }
}

/// Finds the name's addresses, and the first of them that can be connected to.
async fn dial(config: &Config, deadline: Instant) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((config.address.as_str(), config.port)).await?;
    dial_first(&addresses.collect::<Vec<_>>(), deadline).await
}

/// Tries each address in turn. Each has its share of the time that is left, so that one that never
/// answers does not hide those after it.
async fn dial_first(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (address, to_try) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        let share = deadline.saturating_duration_since(Instant::now()) / to_try;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {share:?}")),
        }
    }
    Err(last)
}

async fn handshake_http2(io: Io) -> hyper::Result<http2::SendRequest<Chunks>> {
    let (io, flushing) = batched(io);
    let (sender, connection) = http2::Builder::new(Driver(Arc::new(Mutex::new(Some(flushing)))))
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
        .handshake(io)
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What drives an HTTP/2 connection. The first future that hyper has spawned is the connection's own, while
/// it shakes hands; the others are bodies and those who wait for answers.
#[derive(Clone)]
struct Driver(Arc<Mutex<Option<Flushing<Io>>>>);

impl<F> hyper::rt::Executor<F> for Driver
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        match self.0.lock().take() {
            Some(flushing) => drop(tokio::spawn(flushing.drive(future))),
            None => drop(tokio::spawn(future)),
        }
    }
}

/// One HTTP/1.1 connection, driven by the task that uses it: no task of its own has to be woken for
/// a request and for its answer, and none runs while the connection is idle.
struct Http1 {
    sender: http1::SendRequest<Chunks>,
    connection: Driven,
    upload: Arc<Upload>,
}

impl Http1 {
    async fn exchange(&mut self, request: Box<Request<Chunks>>) -> Result<Answer, Failure> {
        if let Err(error) = poll_fn(|cx| self.poll_ready(cx)).await {
            return Err(Failure::Unsent(error.to_string(), Some(request)));
        }
        let body_bytes = request.body().size_hint().lower();
        self.upload.begin();
        let mut response = pin!(self.sender.try_send_request(*request));
        let connection = &mut self.connection;
        let response = poll_fn(|cx| {
            drive(connection, cx);
            // Only the line above can make it ready, so it need not wake this task, which would run
            // once more behind every answer.
            response.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
        .map_err(failure)?;
        let (head, mut body) = response.into_parts();
        let mut collected = Collected::default();
        poll_fn(|cx| {
            if let Poll::Ready(end) = collected.poll(&mut body, cx) {
                return Poll::Ready(end);
            }
            drive(connection, cx);
            collected.poll(&mut body, cx)
        })
        .await?;
        // A proxy before the collector may say so without having passed anything on. A refusal is one
        // at any time.
        if head.status.is_success() && !self.upload.has_sent(body_bytes) {
            return Err(Failure::Broken("success was answered before the whole batch was sent".to_owned()));
        }
        Ok(Answer { head, body: collected.bytes.into(), trailers: collected.trailers })
    }

    /// Notices what happened while nobody looked: closed by the upstream, or bytes nobody asked for.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        drive(&mut self.connection, cx);
        self.sender.poll_ready(cx)
    }

    /// Whether the next request could be sent now. After an early answer the rest of the body would
    /// have to be sent first, to an upstream that may never read it.
    fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.sender.is_ready() {
            drive(&mut self.connection, cx);
        }
        self.sender.is_ready() && !self.upload.has_failed()
    }
}

/// None once it has ended: only its drop tells the sender, which would wait for ever otherwise.
type Driven = Option<Pin<Box<http1::Connection<Io, Chunks>>>>;

/// Lets a connection read and write.
fn drive(connection: &mut Driven, cx: &mut Context<'_>) {
    if let Some(open) = connection
        && open.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}

/// What has come of an answer behind its head.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    /// How many more there were.
    ignored: usize,
    trailers: Option<HeaderMap>,
}

impl Collected {
    fn poll(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(Failure::Broken(error.to_string()))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                // What matters of an answer stands at its beginning, and in its trailers.
                Ok(data) if self.bytes.len() + data.len() > ANSWER_BYTES_MAX => {
                    self.ignored += data.len();
                    if self.ignored > ANSWER_BYTES_IGNORED {
                        return Poll::Ready(Ok(()));
                    }
                }
                Ok(data) => self.bytes.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::TcpListener;

    #[tokio::test]
    async fn an_address_that_never_answers_does_not_hide_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let good = listener.local_addr().expect("its address");
        // Its queue of connections is full, so the kernel drops what else comes.
        let (silent, silent_address) = bound();
        silent.listen(0).expect("listening");
        let mut queued = Vec::new();
        while let Ok(Ok(tcp)) = timeout(Duration::from_millis(200), TcpStream::connect(silent_address)).await
        {
            queued.push(tcp);
        }
        let deadline = || Instant::now() + Duration::from_secs(1);
        let connected = dial_first(&[silent_address, good], deadline()).await.expect("the second");
        assert_eq!(connected.peer_addr().expect("it"), good);
        let (_closed, refusing) = bound();
        let error = dial_first(&[refusing, silent_address], deadline()).await.expect_err("neither");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = dial_first(&[], deadline()).await.expect_err("none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// A socket that has an address, so that no other test is given it, and does not listen.
    fn bound() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        (socket, address.expect("its address"))
    }
}
