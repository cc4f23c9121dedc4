//! Messages that are written anew where something in them changes.

use std::ops::Range;

/// A message of which some fields are replaced; the others are copied as they are, those that are not known
/// included. Nothing is written where nothing is replaced.
pub(super) struct Anew<'c> {
    content: &'c [u8],
    written: Option<Vec<u8>>,
    /// How far it is copied, or replaced.
    copied: usize,
}

impl<'c> Anew<'c> {
    pub(super) fn of(content: &'c [u8]) -> Self {
        Self { content, written: None, copied: 0 }
    }

    /// Where a field stands no more: what is put here takes its place. Fields are replaced in order.
    pub(super) fn instead_of(&mut self, field: &Range<usize>) -> &mut Vec<u8> {
        let written = self.written.get_or_insert_default();
        written.extend_from_slice(&self.content[self.copied..field.start]);
        self.copied = field.end;
        written
    }

    /// The message as it is now. `None`: as it was.
    pub(super) fn written(self) -> Option<Vec<u8>> {
        let mut written = self.written?;
        written.extend_from_slice(&self.content[self.copied..]);
        Some(written)
    }
}
