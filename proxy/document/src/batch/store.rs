//! The bytes of a batch: those that came, and those that edits made.

use bytes::Bytes;

/// A part of a [`Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Both in one row of addresses: first what came, then what edits made. Nothing in it ever changes;
/// edits only add to the end.
#[derive(Debug, Clone)]
pub(super) struct Store {
    base: Bytes,
    /// Whether the base took the place of what came.
    is_made: bool,
    edits: Vec<u8>,
}

impl Store {
    /// Of what came.
    pub(super) fn new(base: Bytes) -> Self {
        Self { base, is_made: false, edits: Vec::new() }
    }

    /// Of what takes the place of what came.
    pub(super) fn made(base: Bytes) -> Self {
        Self { is_made: true, ..Self::new(base) }
    }

    /// How many bytes it has beside those that came.
    pub(super) fn held(&self) -> usize {
        self.edits.len() + if self.is_made { self.base.len() } else { 0 }
    }

    /// What came.
    pub(super) fn base(&self) -> &Bytes {
        &self.base
    }

    /// How many bytes edits made.
    pub(super) fn edited(&self) -> usize {
        self.edits.len()
    }

    /// Forgets the edits after the first so many bytes of them.
    pub(super) fn truncate(&mut self, edited: usize) {
        self.edits.truncate(edited);
    }

    /// The address of the next byte.
    pub(super) fn end(&self) -> u32 {
        (self.base.len() + self.edits.len()) as u32
    }

    #[inline]
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        let (start, end) = (span.start as usize, span.end as usize);
        match start.checked_sub(self.base.len()) {
            None => &self.base[start..end],
            Some(start) => &self.edits[start..end - self.base.len()],
        }
    }

    /// Where bytes are written.
    #[inline]
    pub(super) fn edits(&mut self) -> &mut Vec<u8> {
        &mut self.edits
    }

    /// Everything written since an address.
    pub(super) fn since(&self, start: u32) -> Span {
        Span { start, end: self.end() }
    }

    /// Makes room for so many bytes.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.edits.reserve(bytes);
    }

    /// Both, what came and what edits made.
    pub(super) fn into_parts(self) -> (Bytes, Bytes) {
        (self.base, self.edits.into())
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Span {
        let start = self.end();
        self.edits.extend_from_slice(bytes);
        self.since(start)
    }

    /// Adds a copy of a part.
    #[inline]
    pub(super) fn copy(&mut self, span: Span) {
        let (start, end) = (span.start as usize, span.end as usize);
        match start.checked_sub(self.base.len()) {
            None => self.edits.extend_from_slice(&self.base[start..end]),
            Some(start) => self.edits.extend_from_within(start..end - self.base.len()),
        }
    }
}
