//! What the schema says of a message, down to its last value: whether it can be read, and what in it is
//! unknown.

use super::{
    anew::Anew,
    value::{DEPTH_MAX, too_deep},
    words::{EditError, Level},
};
use crate::{
    schema::{Kind, Message},
    wire::put_bytes,
};

/// Whether everything in a request can be read, down to the last value.
pub(super) fn check(message: &'static Message, content: &[u8], depth: usize) -> Result<(), EditError> {
    // Values are that deep in their rows, and rows in a request so much deeper.
    const ROWS: usize = Level::ALL.len();
    if depth > DEPTH_MAX + ROWS {
        return Err(too_deep().into());
    }
    for field in message.fields_in(content) {
        let (field, Some(known)) = field? else { continue };
        known.check(&field)?;
        if let Kind::Message(below) = known.kind {
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
    for field in message.fields_in(content) {
        let (field, known) = field?;
        if except.contains(&field.number) {
            continue;
        }
        let Some(known) = known else {
            *count += 1;
            anew.instead_of(&field.whole);
            continue;
        };
        known.check(&field)?;
        if let Kind::Message(below) = known.kind
            && let Some(value) =
                without_unknown_fields(below, &content[field.content], &[], count, depth + 1)?
        {
            put_bytes(anew.instead_of(&field.whole), u64::from(field.number), &value);
        }
    }
    Ok(anew.written())
}
