//! HTTP/1.1 on a raw socket, so that a test can send what no client library would.

use super::{PATIENCE, basic};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

/// An HTTP/1.1 request, written as it is told.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether `Content-Length` is written.
    pub sized: bool,
}

impl Request {
    /// `POST` of protobuf.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = [("Host", "otlp.example.com"), ("Content-Type", "application/x-protobuf")];
        Self {
            method: "POST".into(),
            target: target.into(),
            headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
            body: body.into(),
            sized: true,
        }
    }

    /// `POST` of JSON.
    pub fn json(target: &str, body: &str) -> Self {
        Self::post(target, body).header("Content-Type", "application/json")
    }

    /// A unary call over gRPC, which needs HTTP/2: the message in its frame.
    pub fn grpc(path: &str, message: &[u8]) -> Self {
        Self::post(path, grpc_frame(0, message))
            .header("Content-Type", "application/grpc")
            .header("TE", "trailers")
    }

    /// Sets a header; replaces one of that name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header, beside one of that name.
    pub fn another(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Leaves a header out.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Basic credentials.
    pub fn login(self, user: &str, password: &str) -> Self {
        self.header("Authorization", &basic(user, password))
    }

    /// The credentials of the tenant `shop`.
    pub fn by_shop(self) -> Self {
        self.login("oxygen", "secret")
    }

    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// The body in chunks, its length not announced.
    pub fn chunked(mut self, chunk: usize) -> Self {
        let mut body = Vec::new();
        for piece in self.body.chunks(chunk.max(1)) {
            body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        self.body = body;
        self.sized = false;
        self.another("Transfer-Encoding", "chunked")
    }

    /// The head alone.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self.sized {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        (head + "\r\n").into_bytes()
    }
}

/// What gRPC puts around a message; flag 1: it is compressed.
pub fn grpc_frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message of a test");
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Every header of a name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The code of a gRPC answer, wherever it stands.
    #[track_caller]
    pub fn grpc_status(&self) -> u32 {
        assert_eq!(self.headers("grpc-status").len(), 1, "{self:?}");
        self.header("grpc-status").and_then(|code| code.parse().ok()).expect("a code")
    }

    pub fn grpc_message(&self) -> &str {
        self.header("grpc-message").unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message of a `google.rpc.Status` in the answer's encoding.
    #[track_caller]
    pub fn status_message(&self) -> String {
        self.rpc_status().1
    }

    /// Code, message and details of a `google.rpc.Status`; the assertion that the body is one.
    #[track_caller]
    pub fn rpc_status(&self) -> (u64, String, String) {
        match self.header("content-type") {
            Some("application/json") => {
                let status: serde_json::Value = serde_json::from_slice(&self.body).expect("a JSON status");
                let message = status["message"].as_str().expect("a message");
                (status["code"].as_u64().expect("a code"), message.to_owned(), status["details"].to_string())
            }
            Some("application/x-protobuf") => {
                let mut status = (0, String::new(), String::new());
                for (number, value) in protobuf_fields(&self.body) {
                    match (number, value) {
                        (1, Field::Number(code)) => status.0 = code,
                        (2, Field::Bytes(text)) => {
                            status.1 = String::from_utf8(text.to_vec()).expect("a UTF-8 message");
                        }
                        (3, Field::Bytes(any)) => status.2 += &String::from_utf8_lossy(any),
                        other => panic!("no Status has this field: {other:?}"),
                    }
                }
                status
            }
            other => panic!("no Status is written in {other:?}: {self:?}"),
        }
    }
}

/// A protobuf field's value.
#[derive(Debug)]
pub enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The fields of a small protobuf message of numbers and bytes.
#[track_caller]
pub fn protobuf_fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        fields.push(match tag & 7 {
            0 => (tag >> 3, Field::Number(value)),
            2 => {
                let (content, rest) = bytes.split_at(value as usize);
                bytes = rest;
                (tag >> 3, Field::Bytes(content))
            }
            other => panic!("wire type {other} is not expected"),
        });
    }
    fields
}

/// A stream of any kind.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection of a sender.
pub struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn tcp(address: SocketAddr) -> Self {
        Self::try_tcp(address).expect("connecting")
    }

    /// To what may not listen yet.
    pub fn try_tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("connecting");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self::over(stream)
    }

    /// Over any stream, such as a TLS one.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends and reads the answer. A broken write does not keep the answer from being read.
    pub fn send(&mut self, request: &Request) -> Answer {
        self.try_send(request).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same, where there may be no answer.
    pub fn try_send(&mut self, request: &Request) -> io::Result<Answer> {
        let written = self.write(&request.head()).and_then(|()| self.write(&request.body));
        self.read_answer()
            .map_err(|error| io::Error::new(error.kind(), format!("{error}; the write: {written:?}")))
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one answer, its body in chunks or as long as `Content-Length` says; interim answers are passed over.
    pub fn read_answer(&mut self) -> io::Result<Answer> {
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
                self.read_more()?;
            };
            let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end);
            let mut lines = head.trim_end().split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
            let status: u16 = status.ok_or_else(|| io::Error::other(format!("no status line: {head}")))?;
            if status < 200 {
                continue;
            }
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
                let body = self.read_chunks()?;
                return Ok(Answer { status, headers, body });
            }
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            while self.buffer.len() < length {
                self.read_more()?;
            }
            let body = self.buffer.drain(..length).collect();
            return Ok(Answer { status, headers, body });
        }
    }

    /// A body in chunks, without trailers.
    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break end + 2;
                }
                self.read_more()?;
            };
            let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            let length = usize::from_str_radix(head.trim_end(), 16).map_err(io::Error::other)?;
            while self.buffer.len() < end + length + 2 {
                self.read_more()?;
            }
            body.extend_from_slice(&self.buffer[end..end + length]);
            self.buffer.drain(..end + length + 2);
            if length == 0 {
                return Ok(body);
            }
        }
    }

    /// Reads a line and the empty one behind it, such as an interim answer.
    #[track_caller]
    pub fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let line = self.buffer.drain(..end + 4).take(end).collect();
                return String::from_utf8(line).expect("text");
            }
            self.read_more().expect("a line");
        }
    }

    /// Reads until the other side closes: everything that came, after what was read before.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        loop {
            match self.read_more() {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the connection is still open after {PATIENCE:?}");
                }
                Err(_closed) => {
                    return String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
                }
            }
        }
    }

    /// Waits for the other side to close, and says whether it did so without another word.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        self.read_to_end().is_empty()
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&piece[..read]);
                Ok(())
            }
        }
    }
}
