//! Compiled patterns, shared by all tenants.
//!
//! A pattern is a program that nothing changes, and takes milliseconds and hundreds of kilobytes to make:
//! a thousand tenants with the same `redact` have its patterns once.

use crate::plugin::document::{Check, Pattern, WeakPattern};
use parking_lot::Mutex;
use std::collections::HashMap;

/// What is compiled at present, for as long as a plugin has it.
#[derive(Default)]
pub(in crate::plugin) struct Patterns(Mutex<HashMap<Key, WeakPattern>>);

/// The expression, its check and how many bytes it may take.
type Key = (String, u8, u32);

impl Patterns {
    /// A pattern that somebody has already, or one that is compiled now.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub(super) fn compile(&self, expression: &str, check: Check, bytes_max: u32) -> Result<Pattern, String> {
        let key = (expression.to_owned(), check as u8, bytes_max);
        if let Some(known) = self.0.lock().get(&key).and_then(WeakPattern::upgrade) {
            return Ok(known);
        }
        // Not below the lock, since others may wait for other patterns.
        let pattern = Pattern::compile(expression, check, bytes_max as usize)?;
        let mut known = self.0.lock();
        known.retain(|_, known| known.upgrade().is_some());
        known.insert(key, pattern.downgrade());
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_pattern_is_compiled_once_while_somebody_has_it() {
        let patterns = Patterns::default();
        let compile = |expression, check| patterns.compile(expression, check, 1 << 20).unwrap();
        let one = compile("a+", Check::None);
        assert!(compile("a+", Check::None).is(&one));
        assert!(!compile("a+", Check::Luhn).is(&one), "what it must satisfy is another thing");
        assert!(!patterns.compile("a+", Check::None, 1 << 19).unwrap().is(&one), "and its limit");
        assert!(patterns.compile("(", Check::None, 1 << 20).is_err());
        drop(one);
        compile("b", Check::None);
        assert_eq!(patterns.0.lock().len(), 1, "what nobody has is forgotten");
    }
}
