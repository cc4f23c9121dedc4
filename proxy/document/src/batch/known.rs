//! What the schema says of a message, down to its last value: whether it can be read, and what in it is
//! unknown.

use super::{
    anew::Anew,
    value::{DEPTH_MAX, too_deep},
    words::{EditError, Level},
};
use crate::{
    schema::{Kind, Message},
    wire::{Fields, put_bytes},
};

/// Whether everything in a request can be read, down to the last value.
pub(super) fn check(message: &'static Message, content: &[u8], depth: usize) -> Result<(), EditError> {
    // Values are that deep in their rows, and rows in a request so much deeper.
    const ROWS: usize = Level::ALL.len();
    if depth > DEPTH_MAX + ROWS {
        return Err(too_deep().into());
    }
    let mut expected = 0;
    for field in Fields::of(content) {
        let field = field?;
        let Some(place) = message.by_number(u64::from(field.number), expected) else { continue };
        expected = place;
        message.fields[place].check(&field)?;
        if let Kind::Message(below) = message.fields[place].kind {
            check(below, &content[field.content], depth + 1)?;
        }
    }
    Ok(())
}

/// Removes the fields that a message does not know, and counts them. `None`: there are none.
pub(super) fn without_unknown_fields(
    message: &'static Message,
    content: &[u8],
    except: &[u32],
    count: &mut u64,
    depth: usize,
) -> Result<Option<Vec<u8>>, EditError> {
    if depth > DEPTH_MAX {
        return Err(too_deep().into());
    }
    let mut anew = Anew::of(content);
    let mut expected = 0;
    for field in Fields::of(content) {
        let field = field?;
        if except.contains(&field.number) {
            continue;
        }
        let Some(place) = message.by_number(u64::from(field.number), expected) else {
            *count += 1;
            anew.instead_of(&field.whole);
            continue;
        };
        expected = place;
        message.fields[place].check(&field)?;
        if let Kind::Message(below) = message.fields[place].kind
            && let Some(value) =
                without_unknown_fields(below, &content[field.content], &[], count, depth + 1)?
        {
            put_bytes(anew.instead_of(&field.whole), u64::from(field.number), &value);
        }
    }
    Ok(anew.written())
}
