//! Matches in one text, and what becomes of them.

use crate::batch::{
    turn::Meter,
    words::{Action, EditError, Redaction},
};
use std::ops::Range;

/// What became of a text, a value or a message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::batch) enum Redacted {
    Kept,
    Changed(Vec<u8>),
    /// It goes, and with it the attribute that holds it.
    Removed,
}

/// A text in which matches were replaced.
#[derive(Default)]
struct Text {
    text: Vec<u8>,
    /// What actions wrote: it is nobody's match any more, whatever it looks like. In order, apart.
    written: Vec<Range<usize>>,
}

impl Text {
    /// Adds a part of another, of which so much was written.
    fn copy(&mut self, (text, written): (&[u8], &[Range<usize>]), part: Range<usize>) {
        let first = written.partition_point(|written| written.end <= part.start);
        for written in written[first..].iter().take_while(|written| written.start < part.end) {
            let range = written.start.max(part.start)..written.end.min(part.end);
            let end = self.text.len() + range.end - part.start;
            self.mark(end - range.len()..end);
        }
        self.text.extend_from_slice(&text[part]);
    }

    /// Adds what an action writes.
    fn write(&mut self, part: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(part);
        self.mark(start..self.text.len());
    }

    fn mark(&mut self, range: Range<usize>) {
        match self.written.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.written.push(range),
        }
    }
}

/// Puts what is to become of matches in a text into effect: each redaction on what those before it left,
/// and all of them again until nothing matches, for what was taken out may have stood between the parts
/// of a match. What they wrote is not looked into, unless a match reaches beyond it. `is_live`: of each
/// redaction, whether it may match in the text as it is; none is for all of them.
pub(in crate::batch) fn redact_text(
    redactions: &[Redaction],
    is_live: &[bool],
    text: &[u8],
    counts: &mut [u64],
    meter: &mut Meter,
) -> Result<Redacted, EditError> {
    let mut redacted: Option<Text> = None;
    let mut again = true;
    while again {
        again = false;
        for (place, (redaction, count)) in redactions.iter().zip(&mut *counts).enumerate() {
            if redacted.is_none() && is_live.get(place) == Some(&false) {
                continue;
            }
            let before: (&[u8], &[_]) = match &redacted {
                Some(redacted) => (&redacted.text, &redacted.written),
                None => (text, &[]),
            };
            meter.clock.work(before.0.len())?;
            if !redaction.pattern.may_match(before.0) {
                continue;
            }
            let Some((found, after)) = replace(redaction, before, meter)? else { continue };
            *count += found;
            if matches!(redaction.action, Action::Remove) {
                return Ok(Redacted::Removed);
            }
            again = true;
            redacted = Some(after);
        }
    }
    Ok(match redacted {
        Some(redacted) if redacted.text != text => Redacted::Changed(as_valid(redacted.text, text)),
        _ => Redacted::Kept,
    })
}

/// A pattern may match a part of a character; but what was UTF-8 stays UTF-8, or its receiver refuses the
/// whole batch.
fn as_valid(redacted: Vec<u8>, before: &[u8]) -> Vec<u8> {
    match String::from_utf8(redacted) {
        Ok(text) => text.into_bytes(),
        Err(error) if std::str::from_utf8(before).is_ok() => {
            String::from_utf8_lossy(error.as_bytes()).into_owned().into_bytes()
        }
        Err(error) => error.into_bytes(),
    }
}

/// Replaces the matches of one redaction, and says how many there were; `None` if none.
fn replace(
    redaction: &Redaction,
    before: (&[u8], &[Range<usize>]),
    meter: &mut Meter,
) -> Result<Option<(u64, Text)>, EditError> {
    let (text, written) = before;
    let is_written = |start, end| {
        let first = written.partition_point(|written: &Range<usize>| written.end < end);
        written.get(first).is_some_and(|written| written.start <= start)
    };
    let mut after = Text::default();
    let (mut found, mut copied, mut from) = (0, 0, 0);
    while from < text.len()
        && let Some((start, end)) = redaction.pattern.find_at(text, from, &mut meter.clock)?
    {
        // Finding one may take a look at all that is left, whose square is more than anybody has time for.
        meter.clock.work(text.len() - from)?;
        // Nothing is no secret.
        from = if start == end { end + 1 } else { end };
        if start == end || is_written(start, end) {
            continue;
        }
        found += 1;
        let mut by = Vec::new();
        act(&redaction.action, &text[start..end], &mut by, meter)?;
        meter.make(start - copied)?;
        after.copy(before, copied..start);
        after.write(&by);
        copied = end;
    }
    if found == 0 {
        return Ok(None);
    }
    after.copy(before, copied..text.len());
    Ok(Some((found, after)))
}

/// Appends what an action makes of a match.
pub(super) fn act(
    action: &Action,
    found: &[u8],
    out: &mut Vec<u8>,
    meter: &mut Meter,
) -> Result<(), EditError> {
    let before = out.len();
    match action {
        Action::Mask(mask) => {
            meter.make(mask.len())?;
            out.extend_from_slice(mask.as_bytes());
            return Ok(());
        }
        Action::Hash(key) => key.put(found, out),
        Action::Remove => {}
        Action::Truncate(characters) => {
            let kept = first_characters(found, *characters as usize);
            out.extend_from_slice(kept);
            if kept.len() < found.len() {
                out.extend_from_slice("…".as_bytes());
            }
        }
    }
    meter.make(out.len() - before)
}

/// The beginning of a text; what is no UTF-8 counts as one character a byte.
fn first_characters(text: &[u8], characters: usize) -> &[u8] {
    let is_first = |byte: &u8| byte & 0xc0 != 0x80;
    let end = text.iter().enumerate().filter(|(_, byte)| is_first(byte)).nth(characters);
    &text[..end.map_or(text.len(), |(place, _)| place)]
}
