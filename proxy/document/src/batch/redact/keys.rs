//! Whole values, by their key.

use super::{last, text::act};
use crate::{
    batch::{
        anew::Anew,
        pattern::Pattern,
        turn::Meter,
        value::{Any, DEPTH_MAX, any, plain_bytes, too_deep},
        words::{Action, EditError},
    },
    schema::{Kind, Message},
    wire::{Fields, WIRE_LEN, put_bytes},
};

/// Puts an action into effect on whole values, wherever their key matches.
pub(in crate::batch) struct KeyRedactor<'r> {
    pub keys: &'r Pattern,
    pub action: &'r Action,
    /// How many values there were.
    pub count: u64,
    pub meter: Meter,
}

impl KeyRedactor<'_> {
    /// Looks into the fields of one message, but for those under some numbers. `None`: nothing changed.
    pub(in crate::batch) fn message(
        &mut self,
        message: &'static Message,
        content: &[u8],
        except: &[u32],
        depth: usize,
    ) -> Result<Option<Vec<u8>>, EditError> {
        if depth > DEPTH_MAX {
            return Err(too_deep().into());
        }
        let mut anew = Anew::of(content);
        for field in message.fields_in(content) {
            let (field, Some(known)) = field? else { continue };
            if field.wire_type != WIRE_LEN || except.contains(&field.number) {
                continue;
            }
            let Kind::Message(below) = known.kind else { continue };
            let value = &content[field.content];
            let is_meant = below.is_key_value()
                && self.keys.is_match(last(value, 1)?.unwrap_or_default())
                && last(value, 2)?.is_some();
            let after = match is_meant {
                true => self.key_value(value)?,
                false => match self.message(below, value, &[], depth + 1)? {
                    Some(after) => Some(after),
                    None => continue,
                },
            };
            let out = anew.instead_of(&field.whole);
            if let Some(after) = after {
                put_bytes(out, u64::from(field.number), &after);
            }
        }
        Ok(anew.written())
    }

    /// A key and its value. `None`: both go.
    fn key_value(&mut self, content: &[u8]) -> Result<Option<Vec<u8>>, EditError> {
        self.count += 1;
        if matches!(self.action, Action::Remove) {
            return Ok(None);
        }
        let value = last(content, 2)?.unwrap_or_default();
        // What is cut off somewhere in bytes may be no text.
        let number = match (self.action, any(value)?) {
            (Action::Truncate(_), Any::Bytes(_)) => 7,
            _ => 1,
        };
        let mut after = Vec::new();
        act(self.action, &plain_bytes(value)?, &mut after, &mut self.meter)?;
        let mut any = Vec::new();
        put_bytes(&mut any, number, &after);
        let mut out = Vec::new();
        for field in Fields::of(content) {
            let field = field?;
            if field.number != 2 {
                out.extend_from_slice(&content[field.whole]);
            }
        }
        put_bytes(&mut out, 2, &any);
        Ok(Some(out))
    }
}
