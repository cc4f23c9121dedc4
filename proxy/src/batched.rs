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
/// Room that is large enough to be read into, without a buffer between.
const ROOM_BYTES: usize = 32 << 10;
/// Bytes that are gathered before they are written in any case. A peer that does not read makes a connection
/// hold so many, and as many that were read ahead of it at most; an idle one holds none.
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
    let io = Arc::new(Mutex::new(Io {
        inner,
        read: None,
        more_waits: false,
        write: Vec::new(),
        written: 0,
        unflushed: false,
        failed: None,
    }));
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
    /// Whether the last read found more than there was room for.
    more_waits: bool,
    /// What is to be written.
    write: Vec<u8>,
    /// How much of that has been.
    written: usize,
    /// Whether what was written may still be in the inner one, as TLS keeps what the socket did not take.
    unflushed: bool,
    /// A write has failed; whoever speaks here is told with the next read or write.
    failed: Option<io::ErrorKind>,
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
        let mut io = self.flushing.0.lock();
        if io.failed.is_none()
            && let Poll::Ready(Err(error)) = io.poll_write_out(cx)
        {
            io.failed = Some(error.kind());
            cx.waker().wake_by_ref(); // so that it is noticed now
        }
        polled
    }
}

impl<I: Read + Unpin> Io<I> {
    fn poll_read(&mut self, cx: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if let Some(failed) = self.failed {
            return Poll::Ready(Err(failed.into()));
        }
        let reads_ahead = self.more_waits && self.write.is_empty();
        let arrived = match &mut self.read {
            Some(arrived) => arrived,
            // A head, or a frame as large as it may be: straight to where it is wanted.
            None if !reads_ahead || cursor.remaining() >= ROOM_BYTES => {
                let room = cursor.remaining();
                // SAFETY: `ReadBuf` never de-initialises what it is given, and `cursor` is advanced by
                // just what it says was filled.
                let filled = unsafe {
                    let mut fresh = ReadBuf::uninit(cursor.as_mut());
                    ready!(Pin::new(&mut self.inner).poll_read(cx, fresh.unfilled()))?;
                    fresh.filled().len()
                };
                // SAFETY: `filled` bytes were initialised by the read above.
                unsafe { cursor.advance(filled) };
                self.more_waits = filled == room;
                return Poll::Ready(Ok(()));
            }
            None => {
                self.more_waits = false;
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
        if let Some(failed) = self.failed {
            return Poll::Ready(Err(failed.into()));
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.write.len() + total > WRITE_BYTES {
            ready!(self.poll_drain(cx))?;
        }
        if total > WRITE_BYTES {
            self.unflushed = true;
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

    /// Writes what has been gathered, and sees to it that it leaves.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.unflushed = true;
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
        Poll::Ready(Ok(()))
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

    /// Takes everything and keeps it to itself until it has been flushed twice, as TLS over a full socket.
    #[derive(Default)]
    struct Stuffed {
        taken: Vec<u8>,
        flushes: usize,
        left: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuffed {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.taken.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            if self.flushes % 2 == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = std::mem::take(&mut self.taken);
            self.left.lock().extend(taken);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_flush_that_could_not_be_done_is_tried_again() {
        for bytes in [1000, WRITE_BYTES + 1000] {
            let stuffed = Stuffed::default();
            let left = stuffed.left.clone();
            let (mut io, flushing) = batched(stuffed);
            let written = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, &vec![7; bytes])).await.unwrap();
            let connection = flushing.drive(std::future::pending::<()>());
            assert!(timeout(Duration::from_millis(20), connection).await.is_err());
            assert_eq!((written, left.lock().len()), (bytes, bytes));
        }
    }

    #[tokio::test]
    async fn a_failed_write_is_told_to_whoever_speaks_next() {
        let (peer, own) = tokio::io::duplex(1 << 10);
        let (mut io, flushing) = batched(TokioIo::new(own));
        write(&mut io, b"nobody reads this").await;
        drop(peer);
        let connection = flushing.drive(std::future::pending::<()>());
        assert!(timeout(Duration::from_millis(20), connection).await.is_err());
        let failed = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"more")).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe);
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
