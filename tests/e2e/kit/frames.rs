//! HTTP/2 frame by frame, so that a test can send what no client library would.

use super::http::Stream;
use std::io::{self, Read, Write};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// RFC 9113, 7.
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` and `GOAWAY`, the increment of `WINDOW_UPDATE`.
    pub fn number(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// A setting's value.
    pub fn setting(&self, wanted: u16) -> Option<u32> {
        self.payload.chunks_exact(6).find_map(|pair| {
            let name = u16::from_be_bytes([pair[0], pair[1]]);
            (name == wanted).then(|| u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
        })
    }
}

/// A frame as it is written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `HEADERS` of a `POST` to `/v1/logs`, its body to follow.
pub fn post(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    let fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "otlp.example.com"),
        (":path", "/v1/logs"),
        ("content-type", "application/x-protobuf"),
    ];
    let mut block = Vec::new();
    for (name, value) in fixed.iter().chain(headers) {
        block.push(0); // a literal that is not to be remembered
        for text in [name, value] {
            assert!(text.len() < 127, "longer texts need a longer length");
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A connection after its preface.
pub struct Frames(Box<dyn Stream>);

impl Frames {
    pub fn over(mut stream: impl Stream + 'static) -> io::Result<Self> {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        stream.flush()?;
        Ok(Self(Box::new(stream)))
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// The next frame; the other side's settings and pings are acknowledged by the way.
    pub fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            self.write(&self::frame(SETTINGS, ACK, 0, &[]))?;
        }
        if frame.kind == PING && frame.flags & ACK == 0 {
            self.write(&self::frame(PING, ACK, 0, &frame.payload))?;
        }
        Ok(frame)
    }

    /// The next frame of which this is so.
    pub fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        loop {
            let frame = self.read()?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }
}
