//! The upstream behind every proxy: a process of its own that reads each request to its end, counts
//! it, and answers 200. It is the witness that nothing was lost.

use crate::{
    grpc,
    process::Process,
    wire::{self, Head},
};
use anyhow::{Context, Result, bail};
use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Larger than most requests: few system calls here leave more of the machine to the proxy.
const READ_BUFFER_BYTES: usize = 256 * 1024;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// What has arrived so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Requests whose end has come.
    pub requests: u64,
    /// Their bodies.
    pub bytes: u64,
}

/// A running sink, as the benchmark sees it.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
}

impl Sink {
    /// Starts this program a second time, as a sink.
    pub fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg("sink").stdin(OwnedFd::from(listener));
        let process = Process::start("the sink", command, &folder.join("sink.log"), None)?;
        Ok(Self { address, process })
    }

    /// What it has counted since it began.
    pub fn count(&mut self) -> Result<Count> {
        self.process.check_running()?;
        let mut stream = TcpStream::connect(self.address).context("connecting to the sink")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /count HTTP/1.1\r\n\r\n")?;
        let mut stream = BufReader::new(stream);
        wire::read_head(&mut stream)?.context("the sink did not answer")?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((requests, bytes)) = line.trim().split_once(' ') else { bail!("no count: {line:?}") };
        Ok(Count { requests: requests.parse()?, bytes: bytes.parse()? })
    }
}

/// The sink itself: serves the socket that is its standard input until it is stopped.
pub fn serve() -> Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                thread::spawn(move || {
                    if let Err(error) = serve_connection(stream) {
                        eprintln!("connection: {error:#}");
                    }
                });
            }
            Err(error) => {
                eprintln!("accept: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    Ok(())
}

fn count(bytes: u64) {
    BYTES.fetch_add(bytes, Ordering::Relaxed);
    REQUESTS.fetch_add(1, Ordering::Relaxed);
}

fn serve_connection(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 3];
    if stream.peek(&mut first)? == first.len() && first == *b"PRI" {
        return grpc::serve(stream, count);
    }
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
    while let Some(Head { start, body, close }) = wire::read_head(&mut reader)? {
        if start.starts_with("GET /count") {
            let (requests, bytes) = (REQUESTS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
            let count = format!("{requests} {bytes}\n");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", count.len());
            reader.get_mut().write_all(&[head.as_bytes(), count.as_bytes()].concat())?;
            continue;
        }
        let bytes = wire::discard_body(&mut reader, body)?;
        count(bytes);
        reader.get_mut().write_all(ANSWER)?;
        if close {
            break;
        }
    }
    Ok(())
}
