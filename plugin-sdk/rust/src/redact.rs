//! What `redact` looks for, where, and what becomes of it.

pub use crate::bindings::tollgate::plugin::types::{Action, Places, Redaction, Selection};
use crate::{HashKey, Pattern};

impl Action {
    /// Replaces a match by 16 hexadecimal digits of its keyed hash, and while the key has a previous one, by
    /// a `~` and 16 of that after them.
    pub fn hash(key: HashKey) -> Action {
        Action::Hash(key.id())
    }
}

impl Redaction {
    /// Does this to matches.
    pub fn new(pattern: Pattern, action: Action) -> Redaction {
        Redaction { pattern: pattern.id(), action }
    }

    /// Replaces matches by this text.
    pub fn mask(pattern: Pattern, text: impl Into<String>) -> Redaction {
        Redaction { pattern: pattern.id(), action: Action::Mask(text.into()) }
    }

    /// Replaces matches by 16 hexadecimal digits of their keyed hash, and while the key has a previous one,
    /// by a `~` and 16 of that after them.
    pub fn hash(pattern: Pattern, key: HashKey) -> Redaction {
        Redaction { pattern: pattern.id(), action: Action::Hash(key.id()) }
    }

    /// Removes the text or the attribute that holds a match.
    pub fn remove(pattern: Pattern) -> Redaction {
        Redaction { pattern: pattern.id(), action: Action::Remove }
    }

    /// Keeps so many characters of a match, and `…` after them.
    pub fn truncate(pattern: Pattern, characters: u32) -> Redaction {
        Redaction { pattern: pattern.id(), action: Action::Truncate(characters) }
    }
}

impl Selection {
    /// Every text of the batch, keys and integers included.
    pub fn everything() -> Selection {
        Selection::of(Places::all())
    }

    /// The texts in these places.
    pub fn of(places: Places) -> Selection {
        Selection { places, only_keys: None, except_keys: None }
    }

    /// Of the attributes, only those below a key that matches.
    pub fn only_keys(self, keys: Pattern) -> Selection {
        Selection { only_keys: Some(keys.id()), ..self }
    }

    /// Of the attributes, none below a key that matches.
    pub fn except_keys(self, keys: Pattern) -> Selection {
        Selection { except_keys: Some(keys.id()), ..self }
    }
}
