//! Health and metrics, on a private listener.
//!
//! It stays answerable whatever senders do to the others: its connections are few, short and its
//! own. Nothing that it shows is secret, yet it is no door for the world: it has neither TLS nor
//! credentials.

use crate::telemetry::Metrics;
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Connections served at once. 64: some scrapers and probes; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A connection carries one request and has this long for it, so that those who say nothing or do
/// not read cannot keep the others out for longer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request's head: what a browser sends, twice.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After an accept error, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long [`health`] takes at most.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// The private listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens; loopback unless the operator knows better.
    pub bind: SocketAddr,
}

/// What the private listener shows.
#[derive(Clone)]
pub struct Admin {
    /// Whether senders are served.
    pub readiness: Readiness,
    /// Every metric.
    pub metrics: Arc<Metrics>,
}

/// Whether senders are served. Clones tell the same.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

// 0 is what it begins with: starting.
const LISTENING: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Starting: nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every listener is bound and accepts.
    pub fn listening(&self) {
        self.0.store(LISTENING, Ordering::Release);
    }

    /// What is under way is brought to its end, and nothing new is taken.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Acquire) {
            LISTENING => (StatusCode::OK, "ready\n"),
            DRAINING => (StatusCode::SERVICE_UNAVAILABLE, "draining: no new requests are taken\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "starting: not listening yet\n"),
        }
    }
}

/// Serves the private listener for as long as it is polled. Connections that are open when it is
/// dropped go on to their end.
pub async fn serve(listener: TcpListener, admin: Admin) -> Infallible {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, admin.clone(), permit.ok()))),
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: tokio::net::TcpStream,
    admin: Admin,
    _permit: Option<OwnedSemaphorePermit>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let admin = &admin;
        async move { Ok::<_, Infallible>(answer(admin, request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that breaks off or is too slow is its own affair.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

const INDEX: &str = "Tollgate\n\n\
                     /healthz  200 while the process works\n\
                     /readyz   200 while senders are served\n\
                     /metrics  for Prometheus\n";

/// `HEAD` gets the same; hyper leaves the body out.
async fn answer(admin: &Admin, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/" => text(StatusCode::OK, INDEX),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => {
            let (status, reason) = admin.readiness.answer();
            text(status, reason)
        }
        "/metrics" => metrics(Arc::clone(&admin.metrics)).await,
        _ => text(StatusCode::NOT_FOUND, "nothing here; / says what is\n"),
    }
}

/// Gathered off the threads that serve senders: with thousands of series it takes milliseconds.
async fn metrics(metrics: Arc<Metrics>) -> Response<Full<Bytes>> {
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(exposition) => text(StatusCode::OK, exposition),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be gathered");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be gathered; the log says why\n")
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    // The version is that of the exposition format; to everything else it means nothing.
    let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Why a Tollgate does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody answers.
    #[error("no answer from {address}")]
    NoAnswer {
        /// Who was asked.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// It answers, but it does not serve senders.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Asks the Tollgate whose private listener is at `bind` whether it serves senders, for container
/// health checks. Takes 3 s at most, and blocks for that long.
///
/// # Errors
/// [`HealthError`] when it does not.
pub fn health(bind: SocketAddr) -> Result<(), HealthError> {
    let address = SocketAddr::new(reachable(bind.ip()), bind.port());
    let answer = ask_ready(address).map_err(|source| HealthError::NoAnswer { address, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(HealthError::NotReady(
            if body.is_empty() { head } else { body }.trim().escape_debug().to_string(),
        )),
    }
}

/// Where a listener that is bound to every address can be found.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The answer to `GET /readyz`, of which the first kilobytes are enough. HTTP/1.0, so that it ends
/// where the connection does.
fn ask_ready(address: SocketAddr) -> io::Result<String> {
    let deadline = Instant::now() + HEALTH_TIMEOUT;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let (mut answer, mut length) = ([0; 4096], 0);
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut answer[length..]) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A served admin listener, and where.
    fn start(runtime: &tokio::runtime::Runtime) -> (SocketAddr, Admin) {
        let admin = Admin { readiness: Readiness::new(), metrics: Arc::new(Metrics::new()) };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, admin.clone()));
        (address, admin)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// Sends these bytes and reads to the end: status, head and body.
    fn ask(address: SocketAddr, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    #[test]
    fn each_path_has_its_answer() {
        let runtime = runtime();
        let (address, admin) = start(&runtime);
        admin.metrics.reloaded(true);

        assert_eq!(get(address, "/healthz").0, 200);
        let (status, head, body) = get(address, "/metrics");
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.contains("\ntollgate_config_reloads_total{result=\"success\"} 1\n"), "{body}");
        let (status, _, body) = get(address, "/");
        assert!(status == 200 && body.contains("/metrics"));
        assert_eq!(get(address, "/metrics/").0, 404);
        assert_eq!(get(address, "/healthz?verbose").0, 200);

        let (status, head, body) = ask(address, "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(status == 200 && head.contains("content-length: 3") && body.is_empty());
        let (status, head, _) =
            ask(address, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert!(status == 405 && head.contains("allow: get, head"));
    }

    #[test]
    fn ready_is_who_listens_and_does_not_drain() {
        let runtime = runtime();
        let (address, admin) = start(&runtime);
        let not_ready = |health: Result<(), HealthError>| health.unwrap_err().to_string();

        assert_eq!(get(address, "/readyz").0, 503);
        assert_eq!(not_ready(health(address)), "not ready: starting: not listening yet");
        admin.readiness.listening();
        assert_eq!(get(address, "/readyz").0, 200);
        health(address).unwrap();
        admin.readiness.draining();
        assert_eq!(get(address, "/healthz").0, 200);
        assert_eq!(not_ready(health(address)), "not ready: draining: no new requests are taken");
    }

    #[test]
    fn health_says_that_nobody_answers() {
        // Bound, so that no other test has it, but not listening.
        let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = closed.local_addr().unwrap().as_socket().unwrap();
        assert!(matches!(health(address), Err(HealthError::NoAnswer { .. })));
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), Ipv4Addr::LOCALHOST);
        assert_eq!(reachable("::".parse().unwrap()), Ipv6Addr::LOCALHOST);
    }

    #[test]
    fn who_comes_after_the_last_connection_waits_for_a_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let admin = Admin { readiness: Readiness::new(), metrics: Arc::new(Metrics::new()) };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, admin));
            let silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
            let asked = tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            drop(silent);
            assert!(asked.await.unwrap().starts_with("HTTP/1.1 200"));
        });
    }
}
