//! Fewer system calls for HTTP/2, which reads and writes a frame of 16 KiB at a time and its head apart:
//! a batch of a hundred records took ten reads and as many writes.
//!
//! The h2 crate flushes after every frame. So a flush only says that it may be time; what is gathered is
//! written when the connection has nothing more to say for now, which only the one who polls it knows:
//! [`Flushed`].

use hyper::rt::{self, Read, ReadBuf, ReadBufCursor, Write};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Bytes that one read asks for: more than most batches, and so one read for most.
const READ_BYTES: usize = 128 << 10;
/// Bytes that are gathered before they are written in any case.
const WRITE_BYTES: usize = 128 << 10;

type ReadBuffer = Box<[MaybeUninit<u8>]>;

thread_local! {
    /// A connection has a buffer only while something is in it; these wait for the next that needs one.
    static SPARE_READ: Cell<Option<ReadBuffer>> = const { Cell::new(None) };
    static SPARE_WRITE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Makes a connection's bytes go in batches. The second half drives the connection that speaks over the
/// first.
pub fn batched<I>(inner: I) -> (Batched<I>, Flushing<I>) {
    let io = Arc::new(Mutex::new(Io { inner, read: None, write: Vec::new(), written: 0 }));
    (Batched(io.clone()), Flushing(io))
}

/// A connection whose reads take what has come and whose writes wait for each other.
pub struct Batched<I>(Arc<Mutex<Io<I>>>);

/// Writes what has been gathered.
pub struct Flushing<I>(Arc<Mutex<Io<I>>>);

/// A connection's future that writes whenever it pauses.
pub struct Flushed<C, I> {
    connection: C,
    flushing: Flushing<I>,
}

struct Io<I> {
    inner: I,
    /// What was read and not taken yet.
    read: Option<Arrived>,
    /// What is to be written.
    write: Vec<u8>,
    /// How much of that has been.
    written: usize,
}

struct Arrived {
    buffer: ReadBuffer,
    taken: usize,
    filled: usize,
}

impl<I: Write + Unpin> Flushing<I> {
    /// The future with which this connection is driven.
    pub fn drive<C>(self, connection: C) -> Flushed<C, I> {
        Flushed { connection, flushing: self }
    }
}

impl<C, I> Flushed<C, I> {
    /// The connection itself.
    pub fn connection(self: Pin<&mut Self>) -> Pin<&mut C> {
        // SAFETY: the connection is pinned as long as this is, and never moved out.
        unsafe { self.map_unchecked_mut(|this| &mut this.connection) }
    }
}

impl<C: Future, I: Write + Unpin> Future for Flushed<C, I> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let polled = self.as_mut().connection().poll(cx);
        // A failed write is the connection's to notice, with its next one or by its end.
        let _ = self.flushing.0.lock().poll_write_out(cx);
        polled
    }
}

impl<I: Read + Unpin> Io<I> {
    fn poll_read(&mut self, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let arrived = match &mut self.read {
            Some(arrived) => arrived,
            None => {
                let mut buffer = SPARE_READ.take().unwrap_or_else(|| Box::new_uninit_slice(READ_BYTES));
                let mut fresh = ReadBuf::uninit(&mut buffer);
                let read = Pin::new(&mut self.inner).poll_read(cx, fresh.unfilled());
                let filled = fresh.filled().len();
                if !matches!(read, Poll::Ready(Ok(()))) || filled == 0 {
                    SPARE_READ.set(Some(buffer));
                    return read;
                }
                self.read.insert(Arrived { buffer, taken: 0, filled })
            }
        };
        let taken = (arrived.filled - arrived.taken).min(cursor.remaining());
        let bytes = &arrived.buffer[arrived.taken..][..taken];
        // SAFETY: the bytes up to `filled` were filled by a read, and so initialised.
        cursor.put_slice(unsafe { bytes.assume_init_ref() });
        arrived.taken += taken;
        if arrived.taken == arrived.filled {
            SPARE_READ.set(self.read.take().map(|arrived| arrived.buffer));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Io<I> {
    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.write.len() + total > WRITE_BYTES {
            ready!(self.poll_write_out(cx))?;
        }
        if total > WRITE_BYTES {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        }
        if self.write.capacity() == 0 {
            self.write = SPARE_WRITE.take();
            self.write.reserve_exact(WRITE_BYTES);
        }
        for slice in slices {
            self.write.extend_from_slice(slice);
        }
        Poll::Ready(Ok(total))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.write.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.write[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.written = 0;
        self.write.clear();
        SPARE_WRITE.set(std::mem::take(&mut self.write));
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

impl<I: Read + Unpin> Read for Batched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, cursor)
    }
}

impl<I: Write + Unpin> rt::Write for Batched<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // by `Flushed`
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.0.lock();
        ready!(io.poll_write_out(cx))?;
        Pin::new(&mut io.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioIo;
    use std::{future::poll_fn, time::Duration};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        time::timeout,
    };

    type Own = Batched<TokioIo<DuplexStream>>;

    async fn read(io: &mut Own, room: usize) -> Vec<u8> {
        let mut bytes = vec![0; room];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, buffer.unfilled())).await.unwrap();
        buffer.filled().to_vec()
    }

    #[tokio::test]
    async fn what_arrives_comes_out_in_pieces_of_any_size() {
        let (mut peer, own) = tokio::io::duplex(1 << 20);
        let (mut io, _flushing) = batched(TokioIo::new(own));
        let sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        peer.write_all(&sent).await.unwrap();
        drop(peer);
        let mut got = Vec::new();
        for room in [1, 7, 1000, 200_000].into_iter().cycle() {
            let piece = read(&mut io, room).await;
            if piece.is_empty() {
                break;
            }
            assert!(piece.len() <= room);
            got.extend(piece);
        }
        assert!(got == sent);
        assert!(io.0.lock().read.is_none(), "nothing is held when nothing is there");
    }

    async fn write(io: &mut Own, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, left)).await.unwrap();
            left = &left[written..];
            poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn writes_wait_until_the_connection_pauses_or_they_are_many() {
        let (mut peer, own) = tokio::io::duplex(4 << 20);
        let (mut io, flushing) = batched(TokioIo::new(own));
        write(&mut io, b"head").await;
        write(&mut io, &[1; 16 << 10]).await;
        assert!(timeout(Duration::from_millis(20), peer.read_u8()).await.is_err(), "it has not paused yet");
        for _ in 0..10 {
            write(&mut io, &[2; 16 << 10]).await;
        }
        write(&mut io, &[3; 200 << 10]).await;
        write(&mut io, b"tail").await;
        let mut expected = b"head".to_vec();
        for (byte, kib) in [(1, 16), (2, 160), (3, 200)] {
            expected.extend(vec![byte; kib << 10]);
        }
        expected.extend(b"tail");
        let connection = flushing.drive(std::future::pending::<()>());
        let mut got = vec![0; expected.len()];
        tokio::select! {
            () = connection => unreachable!(),
            read = peer.read_exact(&mut got) => read.map(drop).unwrap(),
        }
        assert!(got == expected);
        assert_eq!(io.0.lock().write.capacity(), 0, "nothing is held when nothing is there");
    }

    #[tokio::test]
    async fn what_waits_is_written_before_the_end() {
        let (mut peer, own) = tokio::io::duplex(1 << 10);
        let (mut io, _flushing) = batched(TokioIo::new(own));
        let writing = async {
            write(&mut io, &[7; 50_000]).await;
            poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(writing, peer.read_to_end(&mut got));
        assert_eq!((read.unwrap(), got), (50_000, vec![7; 50_000]));
    }
}
