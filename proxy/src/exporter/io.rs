//! The bytes towards an upstream.

use super::Counters;
use hyper::rt;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A connected stream.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream whose failed writes are kept secret from hyper.
///
/// An upstream that refuses a large body answers and closes while the body is still on its way.
/// hyper would report the failed write and forget the answer, and a final "too large" would become
/// a retry. So the rest of the body is taken and dropped, and hyper goes on to read the answer.
pub(super) struct Io {
    stream: Stream,
    upload: Arc<Upload>,
    counters: Arc<Counters>,
}

/// How far a request got. What hyper was told was written is no proof of it: see [`Io`].
#[derive(Debug, Default)]
pub(super) struct Upload {
    failed: AtomicBool,
    /// Bytes that the stream took.
    written: AtomicU64,
    /// As many of them as have left our buffers, TLS's among them. hyper flushes only what it has
    /// written to the end, so these never end within what it had to say.
    flushed: AtomicU64,
}

impl Upload {
    /// A request begins. Over HTTP/1.1 only, where nothing of the one before is left.
    pub(super) fn begin(&self) {
        self.written.store(0, Relaxed);
        self.flushed.store(0, Relaxed);
    }

    /// Whether so many bytes of the request have left.
    pub(super) fn has_sent(&self, bytes: u64) -> bool {
        self.flushed.load(Relaxed) >= bytes
    }

    /// Whether a write failed, after which nothing more leaves.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
    }
}

impl Io {
    /// What comes back is told of every write.
    pub(super) fn new(stream: Stream, counters: Arc<Counters>) -> (Self, Arc<Upload>) {
        counters.connects.fetch_add(1, Relaxed);
        counters.open.fetch_add(1, Relaxed);
        let upload = Arc::<Upload>::default();
        (Self { stream, upload: upload.clone(), counters }, upload)
    }

    fn written(&self, result: io::Result<usize>, wanted: usize) -> usize {
        match result {
            Ok(written) if written > 0 || wanted == 0 => {
                self.upload.written.fetch_add(written as u64, Relaxed);
                written
            }
            Ok(_) | Err(_) => {
                self.upload.failed.store(true, Relaxed);
                wanted
            }
        }
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $do:expr) => {
        match &mut $self.stream {
            Stream::Plain($stream) => $do,
            Stream::Tls($stream) => $do,
        }
    };
}

impl rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: `ReadBuf` never de-initialises what it is given, and `cursor` is advanced by just
        // what it says was filled.
        let filled = unsafe {
            let mut buf = ReadBuf::uninit(cursor.as_mut());
            ready!(each!(self, stream => Pin::new(stream).poll_read(cx, &mut buf)))?;
            buf.filled().len()
        };
        // SAFETY: `filled` bytes were initialised by the read above.
        unsafe { cursor.advance(filled) };
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.upload.has_failed() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = ready!(each!(self, stream => Pin::new(stream).poll_write(cx, buf)));
        Poll::Ready(Ok(self.written(result, buf.len())))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        if self.upload.has_failed() {
            return Poll::Ready(Ok(wanted));
        }
        let result = ready!(each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs)));
        Poll::Ready(Ok(self.written(result, wanted)))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.upload.has_failed() {
            return Poll::Ready(Ok(()));
        }
        match ready!(each!(self, stream => Pin::new(stream).poll_flush(cx))) {
            Ok(()) => self.upload.flushed.store(self.upload.written.load(Relaxed), Relaxed),
            Err(_) => self.upload.failed.store(true, Relaxed),
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
