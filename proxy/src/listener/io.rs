//! The bytes of a connection: which protocol they speak, when they arrive, whether they carry a
//! request whose length can be read in two ways, and how they end.

use super::connection::Connection;
use hyper::rt;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

/// How long a sender may go on writing after its last answer. Go's transport (cloudflared) loses an
/// answer when a write fails before it is read; after 2 s it has been read.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read away in that time. cloudflared stops an upload that was answered after at most
/// 3 MB; nobody else needs more.
const LINGER_BYTES: usize = 4 << 20;
/// How every HTTP/2 connection begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket of any kind that a listener accepts.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! each {
    ($self:expr, $stream:ident => $do:expr) => {
        match $self {
            Stream::Tcp($stream) => $do,
            Stream::Unix($stream) => $do,
            Stream::Tls($stream) => $do,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A connection's stream as hyper sees it.
pub(super) struct Io {
    stream: Stream,
    connection: Arc<Connection>,
    /// What was read to find the protocol out, until hyper has read it again.
    sniffed: Vec<u8>,
    ended: bool,
    shut_down: bool,
    heads: Option<Heads>,
}

impl Io {
    pub(super) fn new(stream: Stream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, sniffed: Vec::new(), ended: false, shut_down: false, heads: None }
    }

    /// Whether the connection speaks HTTP/2: by ALPN, or else by its first bytes. An end before
    /// that is `Err`.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        if let Stream::Tls(stream) = &self.stream
            && let Some(protocol) = stream.get_ref().1.alpn_protocol()
        {
            return Ok(protocol == b"h2");
        }
        let mut first = [0; PREFACE.len()];
        let mut filled = 0;
        while filled < first.len() && first[..filled] == PREFACE[..filled] {
            match self.stream.read(&mut first[filled..]).await? {
                0 => {
                    self.ended = true;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                read => filled += read,
            }
            self.connection.bytes_arrived();
        }
        self.sniffed = first[..filled].to_vec();
        Ok(first == *PREFACE)
    }

    /// Waits for the first byte of the next request, and keeps it for hyper.
    pub(super) async fn wait_for_bytes(&mut self) -> io::Result<()> {
        let mut first = [0; 1];
        if self.stream.read(&mut first).await? == 0 {
            self.ended = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.connection.bytes_arrived();
        self.begin_head(first.to_vec());
        Ok(())
    }

    /// These bytes, read already, begin a head; hyper gets them first.
    pub(super) fn begin_head(&mut self, bytes: Vec<u8>) {
        self.sniffed = bytes;
        if let Some(heads) = &mut self.heads {
            heads.begin();
        }
    }

    /// From now on the bytes are HTTP/1.1's: heads are looked at as they arrive. The flag that
    /// comes back is raised by a head whose length can be read in two ways.
    pub(super) fn watch_heads(&mut self) -> Arc<AtomicBool> {
        let ambiguous = Arc::new(AtomicBool::new(false));
        self.heads = Some(Heads::new(ambiguous.clone()));
        ambiguous
    }

    /// Half-closes, and reads on for a moment, so that the last answer is not lost to a sender that
    /// is still writing: closing at once would reset the connection under it.
    pub(super) async fn linger(mut self) {
        let until_end = async {
            if !self.shut_down && self.stream.shutdown().await.is_err() {
                return;
            }
            let mut rest = vec![0; 16 << 10];
            let mut left = LINGER_BYTES;
            while left > 0 && !self.ended {
                // What TLS would make of these bytes no longer matters.
                let read = match &mut self.stream {
                    Stream::Tls(stream) => stream.get_mut().0.read(&mut rest).await,
                    plain => plain.read(&mut rest).await,
                };
                match read {
                    Ok(0) | Err(_) => return,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
            // No more is read, but the socket stays: a sender that is held up in its write reads the
            // answer meanwhile, where a reset would fail the write and lose it.
            std::future::pending().await
        };
        if !self.ended {
            let _ = tokio::time::timeout(LINGER, until_end).await;
        }
    }
}

impl rt::Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if !io.sniffed.is_empty() {
            let length = io.sniffed.len().min(cursor.remaining());
            cursor.put_slice(&io.sniffed[..length]);
            io.observe_sniffed(length);
            return Poll::Ready(Ok(()));
        }
        // SAFETY: `ReadBuf` never de-initialises what it is given, and `cursor` is advanced by just
        // what it says was filled.
        let filled = unsafe {
            let mut buf = ReadBuf::uninit(cursor.as_mut());
            ready!(Pin::new(&mut io.stream).poll_read(cx, &mut buf))?;
            let filled = buf.filled().len();
            if filled == 0 {
                io.ended = true;
            } else {
                let begins_head = io.connection.bytes_arrived();
                if let Some(heads) = &mut io.heads {
                    if begins_head {
                        heads.begin();
                    }
                    heads.look(buf.filled());
                }
            }
            filled
        };
        // SAFETY: `filled` bytes were initialised by the read above.
        unsafe { cursor.advance(filled) };
        Poll::Ready(Ok(()))
    }
}

impl Io {
    fn observe_sniffed(&mut self, length: usize) {
        if let Some(heads) = &mut self.heads {
            heads.look(&self.sniffed[..length]);
        }
        self.sniffed.drain(..length);
    }
}

impl rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let written = Pin::new(&mut io.stream).poll_write(cx, buf);
        io.connection.unwritten(written.is_pending());
        written
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let written = Pin::new(&mut io.stream).poll_write_vectored(cx, bufs);
        io.connection.unwritten(written.is_pending());
        written
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let flushed = Pin::new(&mut io.stream).poll_flush(cx);
        io.connection.unwritten(flushed.is_pending());
        flushed
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        ready!(Pin::new(&mut io.stream).poll_shutdown(cx))?;
        io.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

/// Looks for heads that name both a `Content-Length` and a `Transfer-Encoding`.
///
/// hyper reads such a request by its chunks alone, hides the length and closes the connection
/// after it, which RFC 9112 (6.1) allows; a front that reads it by its length could still be
/// fooled, so it is refused. hyper does not tell, so the head is looked at on its way in. Requests
/// pipelined behind another one are not seen here; for them hyper's way holds.
struct Heads {
    ambiguous: Arc<AtomicBool>,
    /// The head that is being read; a body is not looked at.
    head: Option<Head>,
}

impl Heads {
    fn new(ambiguous: Arc<AtomicBool>) -> Self {
        Self { ambiguous, head: Some(Head::default()) }
    }

    fn begin(&mut self) {
        self.head = Some(Head::default());
    }

    fn look(&mut self, arrived: &[u8]) {
        if let Some(head) = &mut self.head
            && head.ends_in(arrived)
        {
            if head.has_length && head.has_encoding {
                self.ambiguous.store(true, Relaxed);
            }
            self.head = None;
        }
    }
}

/// How much of a line is kept: the longest name that is looked for, and its colon.
const LINE_BYTES: usize = b"transfer-encoding:".len();

/// What is known of a head so far. Each byte is looked at once, however small the pieces are: who
/// sends them is not known yet.
#[derive(Default)]
struct Head {
    /// Whether a line came that is not empty.
    has_begun: bool,
    has_length: bool,
    has_encoding: bool,
    /// The beginning of the line that has not ended yet, and how much of it there is.
    line: [u8; LINE_BYTES],
    filled: usize,
}

impl Head {
    /// Reads field names, line by line. True: the head's end came.
    fn ends_in(&mut self, arrived: &[u8]) -> bool {
        let mut rest = arrived;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (piece, behind) = rest.split_at(end + 1);
            self.keep(piece);
            if self.ends_with_line() {
                return true;
            }
            rest = behind;
        }
        self.keep(rest);
        false
    }

    /// Keeps of a piece of a line what its name needs.
    fn keep(&mut self, piece: &[u8]) {
        let taken = piece.len().min(LINE_BYTES - self.filled);
        self.line[self.filled..][..taken].copy_from_slice(&piece[..taken]);
        self.filled += taken;
    }

    /// A line ended. True: it is the empty one behind a head.
    fn ends_with_line(&mut self) -> bool {
        let line = &self.line[..std::mem::take(&mut self.filled)];
        match line {
            // hyper passes over empty lines in front of a head (RFC 9112, 2.2).
            b"\r\n" | b"\n" => return self.has_begun,
            [b'c' | b'C', ..] => self.has_length |= names(line, b"content-length"),
            [b't' | b'T', ..] => self.has_encoding |= names(line, b"transfer-encoding"),
            _ => {}
        }
        self.has_begun = true;
        false
    }
}

fn names(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ambiguous(pieces: &[&str]) -> bool {
        let ambiguous = Arc::new(AtomicBool::new(false));
        let mut heads = Heads::new(ambiguous.clone());
        for piece in pieces {
            heads.look(piece.as_bytes());
        }
        ambiguous.load(Relaxed)
    }

    #[test]
    fn a_head_with_two_lengths_is_ambiguous() {
        let both = "POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\nTransfer-encoding: chunked\r\n\r\n";
        assert!(is_ambiguous(&[both]));
        for cut in 1..both.len() - 1 {
            assert!(is_ambiguous(&[&both[..cut], &both[cut..]]), "cut at {cut}");
            assert!(
                is_ambiguous(&["\r\n\n", &both[..cut], &both[cut..]]),
                "cut at {cut}, behind empty lines"
            );
        }
        assert!(is_ambiguous(&[&format!("\r\n\r\n{both}")]));
    }

    #[test]
    fn a_head_of_one_byte_pieces_is_read_as_a_whole_one() {
        let long = "x".repeat(1000);
        let both = format!(
            "\r\nPOST /{long} HTTP/1.1\r\nX-Long: {long}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
        );
        let one = both.replace("Content-Length", "Content-Lengths");
        let pieces = |head: &str| -> Vec<String> { head.chars().map(String::from).collect() };
        let is_ambiguous =
            |head: &str| is_ambiguous(&pieces(head).iter().map(String::as_str).collect::<Vec<_>>());
        assert!(is_ambiguous(&both));
        assert!(!is_ambiguous(&one));
    }

    #[test]
    fn one_length_is_not_ambiguous_whatever_the_body_says() {
        assert!(!is_ambiguous(&[
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nTransfer-Encoding: chunked\r\n\r\n"
        ]));
        assert!(!is_ambiguous(&[
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 5\r\n\r\n"
        ]));
    }

    #[test]
    fn bytes_of_a_body_are_not_looked_at() {
        let body = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(!is_ambiguous(&["POST / HTTP/1.1\r\n\r\n", body]));
    }
}
