//! As much HTTP/1.1 as a load generator and a sink need of each other: the head of a message, how
//! its body ends, and whether the connection goes on. A stricter reader would only cost CPU beside
//! the proxies, which stand between the two and do know HTTP.

use std::io::{self, BufRead, Error, ErrorKind, Read};

/// More than any head here, and little enough that a peer gone mad is noticed.
const HEAD_BYTES_MAX: u64 = 64 * 1024;

/// What a message says before its body.
pub struct Head {
    /// The request line or the status line.
    pub start: String,
    /// How the body ends.
    pub body: Body,
    /// Whether the connection ends after this message.
    pub close: bool,
}

/// How a body ends.
pub enum Body {
    /// After so many bytes.
    Exactly(u64),
    /// With an empty chunk.
    Chunked,
}

impl Head {
    /// The status of a response.
    pub fn status(&self) -> io::Result<u16> {
        let status = self.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| invalid(format!("no status in {:?}", self.start)))
    }
}

/// Reads a head, or `None` where the other side has closed instead of beginning a message.
pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut from = from.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if !read_line(&mut from, &mut line)? {
        return Ok(None);
    }
    let mut head = Head { close: line.contains("HTTP/1.0"), start: line.clone(), body: Body::Exactly(0) };
    loop {
        if !read_line(&mut from, &mut line)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if line.is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("no header: {line:?}")))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let bytes = value.parse().map_err(|_| invalid(format!("no length: {value:?}")))?;
            head.body = Body::Exactly(bytes);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            head.close |= value.eq_ignore_ascii_case("close");
        }
    }
}

/// Reads a body to its end, keeps nothing of it, and returns how long it was.
pub fn discard_body(from: &mut impl BufRead, body: Body) -> io::Result<u64> {
    match body {
        Body::Exactly(bytes) => discard(from, bytes),
        Body::Chunked => discard_chunks(from),
    }
}

fn discard_chunks(from: &mut impl BufRead) -> io::Result<u64> {
    let mut line = String::new();
    let mut sum = 0;
    loop {
        read_line(&mut from.take(HEAD_BYTES_MAX), &mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid(format!("no chunk: {line:?}")))?;
        if size == 0 {
            break;
        }
        sum += discard(from, size)?;
        discard(from, "\r\n".len() as u64)?;
    }
    // Trailers, and the empty line after them.
    while read_line(&mut from.take(HEAD_BYTES_MAX), &mut line)? && !line.is_empty() {}
    Ok(sum)
}

fn discard(from: &mut impl BufRead, bytes: u64) -> io::Result<u64> {
    let mut left = bytes;
    while left > 0 {
        let ready = from.fill_buf()?.len() as u64;
        if ready == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let taken = ready.min(left);
        from.consume(taken as usize);
        left -= taken;
    }
    Ok(bytes)
}

/// Reads a line without its end; `false` where nothing is left.
fn read_line(from: &mut impl BufRead, line: &mut String) -> io::Result<bool> {
    line.clear();
    if from.read_line(line)? == 0 {
        return Ok(false);
    }
    if !line.ends_with('\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(true)
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_a_chunked_body_and_an_end() {
        let mut wire = &b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: Close\r\n\r\n\
            4\r\nabcd\r\n1;x=y\r\ne\r\n0\r\n\r\n"[..];

        let head = read_head(&mut wire).unwrap().unwrap();
        assert_eq!((head.start.as_str(), head.close), ("POST / HTTP/1.1", false));
        assert_eq!(discard_body(&mut wire, head.body).unwrap(), 3);

        let head = read_head(&mut wire).unwrap().unwrap();
        assert_eq!((head.status().unwrap(), head.close), (200, true));
        assert_eq!(discard_body(&mut wire, head.body).unwrap(), 5);

        assert!(read_head(&mut wire).unwrap().is_none());
    }

    #[test]
    fn a_message_that_breaks_off_is_an_error() {
        assert!(read_head(&mut &b"HTTP/1.1 200 OK\r\ncontent-le"[..]).is_err());
        assert!(discard_body(&mut &b"abc"[..], Body::Exactly(4)).is_err());
        assert!(discard_body(&mut &b"4\r\nab"[..], Body::Chunked).is_err());
    }
}
