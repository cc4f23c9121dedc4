//! Upstreams that behave as they are told.

use parking_lot::Mutex;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

/// What an upstream does with a request.
#[derive(Clone)]
pub enum Behaviour {
    /// Reads it and answers: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Reads it and never answers.
    Hang,
    /// Reads it and closes without an answer.
    Close,
    /// Reads only the head and resets the connection.
    Reset,
    /// Answers after the head and closes while the body is still on its way.
    AnswerEarly(u16, Vec<u8>),
    /// Announces a body and sends half of it.
    HalfAnswer,
    /// Writes something that is no HTTP.
    Garbage,
}

impl Behaviour {
    /// 200 as the Collector gives it.
    pub fn ok() -> Self {
        Self::status(200)
    }

    pub fn status(status: u16) -> Self {
        Self::Answer(status, vec![("Content-Type", "application/x-protobuf".into())], Vec::new())
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self::Answer(status, vec![("Content-Type", "text/plain".into())], text.into())
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Seen {
    /// Every header of a name, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// An HTTP/1.1 upstream on a port of its own.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
}

impl Upstream {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State { behaviour: Mutex::new(behaviour), seen: Mutex::default() });
        let serving = state.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let state = serving.clone();
                std::thread::spawn(move || state.serve(stream, connection));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock() = behaviour;
    }

    /// Everything that arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().clone()
    }

    /// The last that arrived.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.state.seen.lock().last().cloned().expect("a request arrived")
    }
}

impl State {
    fn serve(&self, stream: TcpStream, connection: usize) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut writer = stream;
        loop {
            let (target, headers) = read_head(&mut reader)?;
            let behaviour = self.behaviour.lock().clone();
            match &behaviour {
                Behaviour::AnswerEarly(status, body) => {
                    write_answer(&mut writer, *status, &[], body).ok()?;
                    let _ = writer.shutdown(Shutdown::Write);
                    std::thread::sleep(Duration::from_millis(100)); // some of the body is on its way now
                    return None; // unread bytes: the kernel resets
                }
                Behaviour::Reset => {
                    let _ = socket2::SockRef::from(&writer).set_linger(Some(Duration::ZERO));
                    return None;
                }
                _ => {}
            }
            let body = read_body(&mut reader, &headers)?;
            self.seen.lock().push(Seen { target, headers, body, connection });
            match behaviour {
                Behaviour::Answer(status, headers, body) => {
                    write_answer(&mut writer, status, &headers, &body).ok()?;
                }
                Behaviour::Hang => {
                    let _ = reader.read(&mut [0]); // until the other side gives up
                    return None;
                }
                Behaviour::HalfAnswer => {
                    writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").ok()?;
                    return None;
                }
                Behaviour::Garbage => {
                    writer.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").ok()?;
                    return None;
                }
                Behaviour::Close | Behaviour::Reset | Behaviour::AnswerEarly(..) => return None,
            }
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Some((target, headers)),
        }
    }
}

fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> Option<Vec<u8>> {
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn write_answer(
    writer: &mut impl Write,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if status != 204 {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    writer.write_all((head + "\r\n").as_bytes())?;
    writer.write_all(body)
}
