//! Bodies: read under limits, inflated under limits, believed in nothing they say of themselves.

use super::{Chunks, Compression, Refusal};
use bytes::Bytes;
use http::Version;
use http_body::Body;
use std::{
    error::Error,
    fmt::Display,
    future::poll_fn,
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// What a buffer begins with, whatever length is announced: a sender has to send to make it grow.
const FIRST_BYTES: usize = 64 << 10;
/// How much a buffer may grow in one step, as a multiple of what has arrived.
const GROWTH: usize = 16;
/// Which pieces of a body are kept as they came, rather than copied. One that is keeps the buffer alive that
/// it was read into, at most four times as large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    bytes_min: usize,
    only_whole: bool,
}

impl Pieces {
    /// Those that are large for how this version of HTTP is read.
    pub fn of(version: Version) -> Self {
        let bytes_min = match version {
            // Frames, most of which have 16 KiB and a buffer of little more.
            Version::HTTP_2 => 8 << 10,
            // Read into up to 128 KiB.
            _ => 32 << 10,
        };
        Self { bytes_min, only_whole: false }
    }

    /// None but one that is the whole body: what is read is in one piece.
    pub fn joined(self) -> Self {
        Self { only_whole: true, ..self }
    }

    fn keeps(self, piece: usize, announced: Option<u64>) -> bool {
        piece >= self.bytes_min && (!self.only_whole || announced == Some(piece as u64))
    }
}

/// Bytes that are inflated between two looks at the limits.
const INFLATE_STEP: usize = 64 << 10;
/// The largest window of a zstd stream, as a power of two: 8 MiB, which RFC 8878 (3.1.1.1.2)
/// recommends every decoder to support. A decoder lives no longer than one call on one thread.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How much of a body is taken, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes on the wire.
    pub wire: u64,
    /// Bytes after decompression.
    pub decompressed: u64,
    /// Time for the whole body.
    pub timeout: Duration,
}

impl BodyLimits {
    /// Refuses an announced length that is too large, before any of it is read.
    ///
    /// # Errors
    /// Too large.
    pub fn check(&self, announced: u64) -> Result<(), Refusal> {
        let limit = self.wire;
        if announced > limit { Err(Refusal::TooLarge { limit, decompressed: false }) } else { Ok(()) }
    }
}

/// Reads a body. `hold` is asked before more than that many bytes are kept.
///
/// # Errors
/// Too large, too slow, ended too early, or what `hold` says. The rest is then read away by the
/// listener, so that the refusal reaches its sender.
pub async fn read<B>(
    mut body: B,
    limits: &BodyLimits,
    pieces: Pieces,
    mut hold: impl FnMut(u64) -> Result<(), Refusal>,
) -> Result<Chunks, Refusal>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let announced = body.size_hint().exact();
    limits.check(announced.unwrap_or(0))?;
    let mut whole = Chunks::default();
    // What is copied: all of it, or the pieces that are too small to keep.
    let mut buffer: Vec<u8> = Vec::new();
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => poll_timer(&mut timer, limits.timeout, cx).map(|()| None),
        });
        let data = match frame.await {
            None => return Err(Refusal::BodyTimeout(limits.timeout)),
            // hyper takes a reset that reports no error (RFC 9113, 8.1) for the end.
            Some(None) if announced.is_some_and(|bytes| bytes != (whole.len() + buffer.len()) as u64) => {
                return Err(Refusal::BodyBroken);
            }
            Some(None) => {
                whole.push(buffer.into());
                return Ok(whole);
            }
            Some(Some(Err(error))) if is_malformed(&error) => {
                return Err(Refusal::Malformed("the chunks of the body cannot be read".to_owned()));
            }
            Some(Some(Err(_gone))) => return Err(Refusal::BodyBroken),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        let total = whole.len() + buffer.len() + data.len();
        limits.check(total as u64)?;
        hold(total as u64)?;
        if pieces.keeps(data.len(), announced) {
            whole.push(std::mem::take(&mut buffer).into());
            whole.push(data);
        } else {
            let left = announced.map_or(total, |announced| announced as usize) - whole.len();
            make_room(&mut buffer, data.len(), left);
            buffer.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            whole.push(buffer.into());
            return Ok(whole); // an announced length is reached: no need to ask again
        }
    }
}

/// Makes room for a piece, and for as much of what is announced as what has arrived makes credible.
fn make_room(buffer: &mut Vec<u8>, piece: usize, announced: usize) {
    let filled = buffer.len() + piece;
    if filled <= buffer.capacity() {
        return;
    }
    let credible = announced.min(FIRST_BYTES.max(filled.saturating_mul(GROWTH)));
    if credible > filled {
        buffer.reserve_exact(credible - buffer.len());
    } else {
        buffer.reserve(piece);
    }
}

/// Whether a body's error is in what its sender wrote; else the sender is gone.
fn is_malformed(error: &(dyn Error + 'static)) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// A timer that is not made before something has to be waited for: most bodies arrive with their
/// heads.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, after: Duration, cx: &mut Context<'_>) -> Poll<()> {
    timer.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(cx)
}

/// Inflates a body. `hold` is asked before more than that many inflated bytes are kept.
///
/// # Errors
/// Too large, not what its name says, or what `hold` says.
pub fn inflate(
    compression: Compression,
    wire: &Chunks,
    limits: &BodyLimits,
    hold: impl FnMut(u64) -> Result<(), Refusal>,
) -> Result<Chunks, Refusal> {
    let limit = limits.decompressed;
    let broken = |what: &dyn Display| {
        Refusal::Malformed(format!("the {} stream is broken: {what}", compression.name()))
    };
    if compression == Compression::Identity {
        let too_large = wire.len() as u64 > limit;
        return if too_large {
            Err(Refusal::TooLarge { limit, decompressed: true })
        } else {
            Ok(wire.clone())
        };
    }
    let wire = wire.to_bytes();
    let mut rest = &wire[..];
    let decoder: &mut dyn Read = match compression {
        Compression::Identity => &mut rest,
        Compression::Gzip => &mut flate2::bufread::MultiGzDecoder::new(&mut rest),
        Compression::Deflate if is_zlib(&wire) => &mut flate2::bufread::ZlibDecoder::new(&mut rest),
        Compression::Deflate => &mut flate2::bufread::DeflateDecoder::new(&mut rest),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(&mut rest).map_err(|error| broken(&error))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| broken(&error))?;
            &mut { decoder }
        }
    };
    let plain: Bytes = drain(decoder, wire.len(), limit, hold)?.map_err(|error| broken(&error))?;
    if rest.is_empty() { Ok(plain.into()) } else { Err(broken(&"there are bytes after its end")) }
}

/// RFC 1950, 2.2: the method is 8 and the first two bytes are a multiple of 31.
fn is_zlib(wire: &[u8]) -> bool {
    matches!(wire, [method, flags, ..]
        if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31))
}

fn drain(
    decoder: &mut dyn Read,
    wire: usize,
    limit: u64,
    mut hold: impl FnMut(u64) -> Result<(), Refusal>,
) -> Result<io::Result<Bytes>, Refusal> {
    // Telemetry shrinks to a fifth or less; a guess that is wrong costs one more growth.
    let mut plain = Vec::with_capacity(wire.saturating_mul(4).clamp(1024, 4 * INFLATE_STEP));
    let mut filled = 0;
    loop {
        if filled == plain.len() {
            let step = if filled == 0 { plain.capacity() } else { filled.max(INFLATE_STEP) };
            // One byte above the limit shows that it is passed; memory is asked for up to the limit.
            let wanted = (filled + step).min(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
            hold((wanted as u64).min(limit))?;
            plain.resize(wanted, 0);
        }
        match decoder.read(&mut plain[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) => return Ok(Err(error)),
        }
        if filled as u64 > limit {
            return Err(Refusal::TooLarge { limit, decompressed: true });
        }
    }
    plain.truncate(filled);
    Ok(Ok(plain.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::{convert::Infallible, io::Write};

    const LIMITS: BodyLimits =
        BodyLimits { wire: 1 << 20, decompressed: 4 << 20, timeout: Duration::from_secs(5) };

    fn gzip(plain: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    fn compressed(compression: Compression, plain: &[u8]) -> Bytes {
        match compression {
            Compression::Identity => plain.to_vec().into(),
            Compression::Gzip => gzip(plain),
            Compression::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap().into()
            }
            Compression::Zstd => zstd::encode_all(plain, 1).unwrap().into(),
        }
    }

    const ALL: [Compression; 4] =
        [Compression::Identity, Compression::Gzip, Compression::Deflate, Compression::Zstd];

    #[test]
    fn what_was_compressed_comes_out_again() {
        let plain: Vec<u8> = (0..300_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for length in [0, 1, 1000, 65_536, plain.len()] {
            for compression in ALL {
                let wire = compressed(compression, &plain[..length]);
                let inflated = inflate(compression, &wire.clone().into(), &LIMITS, |_| Ok(())).unwrap();
                assert!(inflated.to_bytes() == plain[..length], "{compression:?} {length}");
            }
        }
    }

    #[test]
    fn raw_deflate_and_several_gzip_members_are_read() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"raw, raw, raw").unwrap();
        let raw: Bytes = encoder.finish().unwrap().into();
        assert_eq!(
            inflate(Compression::Deflate, &raw.clone().into(), &LIMITS, |_| Ok(())).unwrap().to_bytes(),
            "raw, raw, raw"
        );
        let two: Bytes = [gzip(b"one "), gzip(b"two")].concat().into();
        assert_eq!(
            inflate(Compression::Gzip, &two.clone().into(), &LIMITS, |_| Ok(())).unwrap().to_bytes(),
            "one two"
        );
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_and_never_held() {
        let zeros = vec![0; 64 << 20];
        for compression in [Compression::Gzip, Compression::Deflate, Compression::Zstd] {
            let wire = compressed(compression, &zeros);
            let mut held = 0;
            let refusal = inflate(compression, &wire.clone().into(), &LIMITS, |total| {
                held = held.max(total);
                Ok(())
            });
            let expected = Refusal::TooLarge { limit: LIMITS.decompressed, decompressed: true };
            assert_eq!(refusal.err(), Some(expected), "{compression:?}");
            assert!(held <= 2 * LIMITS.decompressed + (INFLATE_STEP as u64), "{compression:?} held {held}");
        }
    }

    #[test]
    fn memory_that_is_not_given_is_not_used() {
        let full = Refusal::Overload { limit: "memory", retry_after: Duration::from_secs(1) };
        let wire = gzip(&vec![0; 1 << 20]);
        let refusal = inflate(Compression::Gzip, &wire.clone().into(), &LIMITS, |total| {
            if total > 200_000 { Err(full.clone()) } else { Ok(()) }
        });
        assert_eq!(refusal.err(), Some(full));
    }

    #[test]
    fn broken_streams_are_malformed() {
        let good = b"something to compress, something to compress".repeat(20);
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Deflate] {
            let wire = compressed(compression, &good);
            for cut in 0..wire.len() {
                let refusal = inflate(compression, &wire.slice(..cut).into(), &LIMITS, |_| Ok(()));
                // Zero bytes are no stream for gzip; whoever reads the head refuses them before.
                let harmless = cut == 0 && refusal.as_ref().is_ok_and(|plain| plain.is_empty());
                assert!(harmless || matches!(refusal, Err(Refusal::Malformed(_))), "{compression:?} {cut}");
            }
            let trailing: Bytes = [&wire[..], b"trailing"].concat().into();
            let trailed = inflate(compression, &trailing.clone().into(), &LIMITS, |_| Ok(()));
            assert!(matches!(trailed, Err(Refusal::Malformed(_))), "{compression:?}: {trailed:?}");
        }
    }

    #[test]
    fn a_zstd_window_larger_than_ours_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        let wire: Bytes = encoder.finish().unwrap().into();
        assert!(matches!(
            inflate(Compression::Zstd, &wire.clone().into(), &LIMITS, |_| Ok(())),
            Err(Refusal::Malformed(_))
        ));
    }

    fn chunked(chunks: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames: Vec<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_read_whole_and_no_further_than_its_limit() {
        let limits = BodyLimits { wire: 10, ..LIMITS };
        let too_large = Refusal::TooLarge { limit: 10, decompressed: false };
        let read_chunks = async |chunks: &[&'static [u8]]| {
            read(chunked(chunks), &limits, Pieces::of(Version::HTTP_11).joined(), |_| Ok(()))
                .await
                .map(|read| read.to_bytes())
        };
        assert_eq!(read_chunks(&[]).await.unwrap(), "");
        assert_eq!(read_chunks(&[b"01234", b"56789"]).await.unwrap(), "0123456789");
        assert_eq!(read_chunks(&[b"01234", b"56789", b"x"]).await, Err(too_large.clone()));
        let announced = Full::new(Bytes::from_static(b"01234567890"));
        assert_eq!(
            read(announced, &limits, Pieces::of(Version::HTTP_11).joined(), |_| Ok(())).await.err(),
            Some(too_large)
        );
    }

    #[tokio::test]
    async fn large_pieces_stay_as_they_came_and_small_ones_are_joined() {
        const LARGE: &[u8] = &[7; 32 << 10];
        let chunks: [&'static [u8]; 6] = [b"a", b"b", LARGE, LARGE, b"c", b"d"];
        let whole = chunks.concat();
        let http1 = Pieces::of(Version::HTTP_11);
        for (kept, sizes) in [
            (http1, vec![2, LARGE.len(), LARGE.len(), 2]),
            (Pieces::of(Version::HTTP_2), vec![2, LARGE.len(), LARGE.len(), 2]),
            (http1.joined(), vec![whole.len()]),
        ] {
            let read = read(chunked(&chunks), &LIMITS, kept, |_| Ok(())).await.unwrap();
            assert_eq!(read.pieces().map(Bytes::len).collect::<Vec<_>>(), sizes);
            assert_eq!((read.len(), read.to_bytes()), (whole.len(), whole.clone().into()));
        }
    }

    #[tokio::test]
    async fn a_large_body_that_comes_in_one_piece_is_not_copied() {
        for (size, is_kept) in [(32 << 10, true), ((32 << 10) - 1, false)] {
            let body = Bytes::from(vec![7; size]);
            let joined = Pieces::of(Version::HTTP_11).joined();
            let read = read(Full::new(body.clone()), &LIMITS, joined, |_| Ok(())).await.unwrap().to_bytes();
            assert_eq!((read.as_ptr() == body.as_ptr(), read.len()), (is_kept, size));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_timed_out() {
        let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let refusal = read(never, &LIMITS, Pieces::of(Version::HTTP_11), |_| Ok(())).await.err();
        assert_eq!(refusal, Some(Refusal::BodyTimeout(LIMITS.timeout)));
    }
}
