//! Bytes in pieces, as they came off the wire.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::{VecDeque, vec_deque},
    convert::Infallible,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

/// The bytes of a body. A large one stays in the pieces that it was read in: one copy less of it, which
/// is a sixth of what passing it on costs.
#[derive(Debug, Clone, Default)]
pub struct Chunks {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Chunks {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a piece to the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Adds a piece to the front.
    pub fn push_front(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_front(piece);
        }
    }

    /// Takes as many bytes from the front as there is room for. False, and nothing is taken, where there
    /// are not that many.
    pub fn take_front(&mut self, room: &mut [u8]) -> bool {
        if self.length < room.len() {
            return false;
        }
        self.length -= room.len();
        let mut filled = 0;
        while filled < room.len()
            && let Some(mut piece) = self.pieces.pop_front()
        {
            let taken = piece.split_to(piece.len().min(room.len() - filled));
            room[filled..][..taken.len()].copy_from_slice(&taken);
            filled += taken.len();
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
        true
    }

    /// The pieces in turn; none of them is empty.
    pub fn pieces(&self) -> vec_deque::Iter<'_, Bytes> {
        self.pieces.iter()
    }

    /// A part of them, which lies within; copied, where it is in several pieces.
    pub(super) fn slice(&self, range: Range<usize>) -> Bytes {
        let mut start = 0; // of the piece
        let mut parts = self.pieces.iter().filter_map(|piece| {
            let within = range.start.max(start)..range.end.min(start + piece.len());
            let part =
                (within.start < within.end).then(|| piece.slice(within.start - start..within.end - start));
            start += piece.len();
            part
        });
        let first = parts.next().unwrap_or_default();
        if first.len() == range.len() {
            return first;
        }
        parts
            .fold(first.to_vec(), |mut all, part| {
                all.extend_from_slice(&part);
                all
            })
            .into()
    }

    /// All in one piece; copied, where there are several.
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces[0].clone(),
            _ => self
                .pieces
                .iter()
                .fold(Vec::with_capacity(self.length), |mut all, piece| {
                    all.extend_from_slice(piece);
                    all
                })
                .into(),
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(bytes);
        chunks
    }
}

/// As the body of a request to an upstream: a frame a piece.
impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.length -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}
