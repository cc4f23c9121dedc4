//! What is written, under a limit.

use super::{NoRoom, Untranslated};
use bytes::Bytes;
use std::io;

/// Bytes that grow in steps, each of them asked for. Once it has said no, nothing of it may be used.
pub(super) struct Output<'h> {
    pub bytes: Vec<u8>,
    limit: usize,
    hold: &'h mut dyn FnMut(u64) -> Result<(), NoRoom>,
    /// What is held beside it, in bytes.
    beside: usize,
    refusal: Option<Untranslated>,
}

/// Who asks for room asks for the longest form that a number may have: so much more than the limit is
/// given, and looked at in the end.
const HEADROOM: usize = 16;

/// There is no room; [`Output::refusal`] says why.
pub(super) struct Full;

impl<'h> Output<'h> {
    /// `guess`: how many bytes it will be, as far as anybody knows.
    pub(super) fn begin(
        guess: usize,
        limit: u64,
        hold: &'h mut dyn FnMut(u64) -> Result<(), NoRoom>,
    ) -> Result<Self, Untranslated> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let guess = guess.min(limit);
        hold(guess as u64).map_err(|NoRoom| Untranslated::NoRoom)?;
        Ok(Self { bytes: Vec::with_capacity(guess), limit, hold, beside: 0, refusal: None })
    }

    /// Makes room for so many bytes more.
    #[inline]
    pub(super) fn room(&mut self, more: usize) -> Result<(), Full> {
        if self.bytes.capacity() - self.bytes.len() >= more { Ok(()) } else { self.grow(more) }
    }

    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), Full> {
        let wanted = self.bytes.len().saturating_add(more);
        let most = self.limit.saturating_add(HEADROOM);
        if wanted > most {
            self.refusal = Some(self.too_large());
            return Err(Full);
        }
        let capacity = wanted.max(self.bytes.capacity().saturating_mul(2)).min(most);
        self.ask(capacity)?;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    fn ask(&mut self, capacity: usize) -> Result<(), Full> {
        (self.hold)((capacity.min(self.limit) + self.beside) as u64).map_err(|NoRoom| {
            self.refusal = Some(Untranslated::NoRoom);
            Full
        })
    }

    /// Asks for so many bytes beside the output, until [`Output::release`] gives them back.
    pub(super) fn hold_beside(&mut self, bytes: usize) -> Result<(), Full> {
        self.beside += bytes;
        if self.bytes.len().saturating_add(self.beside) > self.limit {
            self.refusal = Some(self.too_large());
            return Err(Full);
        }
        self.ask(self.bytes.capacity())
    }

    pub(super) fn release(&mut self, bytes: usize) {
        self.beside -= bytes;
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn too_large(&self) -> Untranslated {
        Untranslated::TooLarge { limit: self.limit as u64 }
    }

    /// Why there is no room.
    pub(super) fn refusal(self) -> Option<Untranslated> {
        self.refusal
    }

    /// All that was written, if it is within the limit.
    pub(super) fn end(self) -> Result<Bytes, Untranslated> {
        if self.bytes.len() > self.limit { Err(self.too_large()) } else { Ok(self.bytes.into()) }
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes).map_err(|Full| io::ErrorKind::OutOfMemory.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
