//! Senders: threads with blocking sockets, one connection each. They measure how long an answer
//! takes, and note every answer that was not 200 and every request that got none.

use crate::{
    certificate::HOST,
    grpc, machine,
    measure::percentile,
    wire::{self, Head},
};
use anyhow::{Context, Result};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A proxy that has not answered by now has lost the request.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// After so many requests without an answer, one after the other, a sender gives up: the proxy is gone.
const FAILURES_MAX: u32 = 20;

/// A proxy's door.
#[derive(Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What to believe, where it speaks TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// With it, gRPC: the `authorization` of each call.
    pub grpc: Option<String>,
}

/// One keep-alive connection.
pub struct Connection {
    stream: BufReader<Stream>,
    usable: bool,
    grpc: Option<grpc::Connection>,
}

impl Connection {
    /// Connects, from one of this machine's addresses where one is named. TLS shakes hands with the
    /// first request.
    pub fn open(target: &Target, from: Option<Ipv4Addr>) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::from((from, 0)).into())?;
        }
        socket.connect_timeout(&target.address.into(), ANSWER_TIME_MAX)?;
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        let grpc = match &target.grpc {
            Some(authorization) => Some(grpc::Connection::open(stream.try_clone()?, authorization)?),
            None => None,
        };
        let stream = match &target.tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let session = ClientConnection::new(config.clone(), ServerName::try_from(HOST)?)?;
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        Ok(Self { stream: BufReader::with_capacity(2048, stream), usable: true, grpc })
    }

    /// Sends a request and reads the answer to its end.
    pub fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.usable = false;
        if let Some(grpc) = &mut self.grpc {
            let status = grpc.ask(request, ANSWER_TIME_MAX)?;
            self.usable = true;
            return Ok(status);
        }
        self.stream.get_mut().write_all(request).context("writing")?;
        self.stream.get_mut().flush().context("writing")?;
        let head = wire::read_head(&mut self.stream).context("reading")?;
        let head = head.context("closed instead of answering")?;
        let status = head.status()?;
        let Head { body, close, .. } = head;
        wire::discard_body(&mut self.stream, body).context("reading a body")?;
        self.usable = !close;
        Ok(status)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What is sent, and how.
pub struct Load<'a> {
    /// To whom.
    pub target: &'a Target,
    /// Connections, each with one request under way.
    pub connections: usize,
    /// Requests per second over all connections, or as many as are answered.
    pub rate_hz: Option<f64>,
    /// For how long.
    pub duration: Duration,
    /// Whether this is mere pressure on others: they get the senders' core first, and what is overdue in
    /// the end is left unsent.
    pub pressure: bool,
    /// The request with this number.
    pub request: &'a (dyn Fn(u64) -> Cow<'a, [u8]> + Sync),
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// Requests whose sending was begun.
    pub sent: u64,
    /// Answers by their status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
    /// What went wrong first.
    pub first_trouble: Option<String>,
    /// How long it all took.
    pub elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Outcome {
    /// How many were answered 200.
    pub fn good(&self) -> u64 {
        self.statuses.get(&200).copied().unwrap_or(0)
    }

    /// Requests per second that were answered, whatever the answer.
    pub fn answers_per_second(&self) -> f64 {
        self.statuses.values().sum::<u64>() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which so many in a hundred answers came. With a rate it counts from when the
    /// request was due, so that a proxy which holds the senders up does not look faster for it.
    pub fn latency(&self, percent: f64) -> Duration {
        percentile(&self.latencies, percent)
    }

    /// Says what went wrong, where not every request was answered 200.
    pub fn trouble(&self) -> Option<String> {
        if self.good() == self.sent && self.sent > 0 {
            return None;
        }
        let Self { sent, statuses, unanswered, .. } = self;
        let first = self.first_trouble.as_deref().unwrap_or("nothing was sent");
        Some(format!("of {sent} requests {unanswered} without answer, statuses {statuses:?}; first: {first}"))
    }

    fn note(&mut self, answer: Result<u16>, latency: Duration) {
        self.sent += 1;
        match answer {
            Ok(status) => {
                *self.statuses.entry(status).or_default() += 1;
                self.latencies.push(latency);
                if status != 200 {
                    self.first_trouble.get_or_insert_with(|| format!("status {status}"));
                }
            }
            Err(error) => {
                self.unanswered += 1;
                self.first_trouble.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.unanswered += other.unanswered;
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.first_trouble = self.first_trouble.take().or(other.first_trouble);
    }
}

impl Load<'_> {
    /// Sends it all and waits for the last answer.
    pub fn run(&self) -> Outcome {
        let began = Instant::now();
        let mut outcome = Outcome::default();
        thread::scope(|scope| {
            let senders: Vec<_> = (0..self.connections)
                .map(|sender| scope.spawn(move || self.send(sender as u64, began)))
                .collect();
            for sender in senders {
                match sender.join() {
                    Ok(sent) => outcome.merge(sent),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        outcome.elapsed = began.elapsed();
        outcome.latencies.sort_unstable();
        outcome
    }

    /// One sender: it takes every nth request, n being the number of senders.
    fn send(&self, sender: u64, began: Instant) -> Outcome {
        if self.pressure {
            machine::go_last();
        }
        let end = if self.pressure { self.duration } else { self.duration * 2 };
        machine::wake_on_time();

        let mut outcome = Outcome::default();
        let mut connection = None;
        let mut failures = 0;
        for turn in 0.. {
            let number = sender + turn * self.connections as u64;
            let now = began.elapsed();
            let due = self.rate_hz.map_or(now, |rate_hz| Duration::from_secs_f64(number as f64 / rate_hz));
            if due >= self.duration || now >= end || machine::interrupted() {
                break;
            }
            thread::sleep(due.saturating_sub(now));

            let answer = self.ask(&mut connection, &(self.request)(number));
            failures = if answer.is_ok() { 0 } else { failures + 1 };
            outcome.note(answer, began.elapsed() - due);
            if failures == FAILURES_MAX {
                break;
            }
        }
        outcome
    }

    /// Asks over the connection of before, or over a new one where the proxy has ended that in order.
    fn ask(&self, connection: &mut Option<Connection>, request: &[u8]) -> Result<u16> {
        let connection = match connection.take_if(|connection| connection.usable) {
            Some(usable) => connection.insert(usable),
            None => connection.insert(Connection::open(self.target, None).context("connecting")?),
        };
        connection.ask(request)
    }
}
