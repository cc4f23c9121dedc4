//! Upstreams that follow a script, connection by connection, over TCP or TLS.

use super::{PATIENCE, Seen, free_address, http::Stream};
use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

type Script = dyn Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync;

/// An upstream of which each connection runs a script, with the connection's number from 0. An error
/// ends the connection like its end does.
pub struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Scripted {
    pub fn start(script: impl Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_on(free_address(), None, script)
    }

    pub fn start_tls(
        tls: Arc<ServerConfig>,
        script: impl Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(free_address(), Some(tls), script)
    }

    pub fn start_on(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port for the upstream");
        let shared = Arc::<Shared>::default();
        let (script, serving): (Arc<Script>, _) = (Arc::new(script), shared.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.stopped.load(SeqCst) {
                    return; // and the port is free
                }
                let number = serving.connections.fetch_add(1, SeqCst);
                serving.sockets.lock().extend(stream.try_clone());
                let (script, shared, tls) = (script.clone(), serving.clone(), tls.clone());
                std::thread::spawn(move || {
                    let socket = stream.try_clone().expect("a second handle");
                    let stream: Box<dyn Stream> = match tls.map(|tls| accept(tls, stream)) {
                        None => Box::new(socket.try_clone().expect("a handle")),
                        Some(Ok(stream)) => Box::new(stream),
                        Some(Err(_)) => return,
                    };
                    let mut peer = Peer { stream, socket, buffer: Vec::new(), shared, number };
                    let _ = script(&mut peer, number);
                    let _ = peer.socket.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, shared }
    }

    /// Answers 200 to every request, for as long as a connection lives.
    pub fn good(peer: &mut Peer, _: usize) -> io::Result<()> {
        loop {
            peer.request()?;
            peer.answer(200, "")?;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that arrived whole.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Ends: the port is closed, and so is every connection.
    pub fn stop(self) -> SocketAddr {
        self.shared.stopped.store(true, SeqCst);
        drop(TcpStream::connect(self.address)); // wakes the thread that accepts
        for socket in self.shared.sockets.lock().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        super::eventually("the port is closed", || TcpStream::connect(self.address).err());
        self.address
    }
}

fn accept(
    tls: Arc<ServerConfig>,
    mut tcp: TcpStream,
) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
    let mut session = ServerConnection::new(tls).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(session, tcp))
}

/// The other end of a connection: Tollgate.
pub struct Peer {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
    number: usize,
}

impl Peer {
    /// Reads a request's head and leaves its body where it is.
    pub fn head(&mut self) -> io::Result<Seen> {
        self.socket.set_read_timeout(Some(2 * PATIENCE))?;
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let mut lines = head.trim_end().split("\r\n");
        let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Ok(Seen { target, headers, body: Vec::new(), connection: self.number })
    }

    /// Reads a whole request, and notes it.
    pub fn request(&mut self) -> io::Result<Seen> {
        let mut seen = self.head()?;
        let length = seen.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while self.buffer.len() < length {
            self.read_more()?;
        }
        seen.body = self.buffer.drain(..length).collect();
        self.shared.seen.lock().push(seen.clone());
        Ok(seen)
    }

    pub fn answer(&mut self, status: u16, body: &str) -> io::Result<()> {
        let length = body.len();
        self.write(
            format!(
                "HTTP/1.1 {status} x\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Closes with a reset.
    pub fn reset(&mut self) -> io::Result<()> {
        socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO))?;
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&piece[..read]);
                Ok(())
            }
        }
    }
}
