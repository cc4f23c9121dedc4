//! What is done to each batch, prepared when the instance starts.

use tollgate_plugin::{Batch, Error, HashKey, Pattern, Places, Redaction, Result, Selection, count, escape};

use crate::builtin::{self, Builtin};
use crate::config::{self, Config, Key, KeySet, UnknownFields};

/// Values that went because of their key.
const DENIED: &str = "redacted_denied_keys";
/// Fields that went because nobody knows them.
const UNKNOWN: &str = "removed_unknown_fields";

/// Calls to the host, in this order.
#[derive(Debug)]
pub struct Plan {
    drops_unknown_fields: bool,
    denied: Option<(Pattern, tollgate_plugin::Action)>,
    /// Patterns that are looked for in the same places.
    passes: Vec<Pass>,
}

/// Patterns, the counter of each, and where they are looked for.
#[derive(Debug)]
struct Pass {
    redactions: Vec<Redaction>,
    counters: Vec<String>,
    selection: Selection,
}

impl Plan {
    pub fn new(config: &Config) -> Result<Plan> {
        let actions = Actions::new(config)?;
        let mut everywhere = Pass::of(Selection::of(places(&config.places)));
        let mut addresses = Pass::of(Selection::of(places(&config.places) - Places::VERSIONS));

        for (place, custom) in config.custom.iter().enumerate() {
            let at = format!("/custom/{place}");
            check_name(&custom.name, &config.custom[..place])
                .map_err(|error| error.at(at.clone() + "/name"))?;
            let action = actions.of(&custom.name, custom.action.as_ref(), &at)?;
            let pattern = Pattern::checked(&custom.pattern, custom.check());
            everywhere.push(&custom.name, pattern.map_err(|error| error.at(at + "/pattern"))?, action);
        }
        for name in Builtin::ALL {
            let mut chosen = config.patterns.iter().enumerate().filter(|(_, choice)| choice.name == *name);
            let Some((place, choice)) = chosen.next() else { continue };
            if let Some((again, _)) = chosen.next() {
                return Err(Error::config(
                    format!("/patterns/{again}"),
                    format!("`{}` is there already", name.name()),
                ));
            }
            let at = format!("/patterns/{place}");
            let action = actions.of(name.name(), choice.action.as_ref(), &at)?;
            // Four numbers are a version where the key says so, and in the version of a scope.
            let pass = if *name == Builtin::Ipv4 { &mut addresses } else { &mut everywhere };
            for (expression, check) in name.expressions() {
                let pattern = Pattern::checked(&expression, check).map_err(|error| error.at(at.as_str()))?;
                pass.push(name.name(), pattern, action.clone());
            }
        }

        let allowed = key_expressions(&config.allow_keys, "");
        let versions: Vec<String> =
            allowed.iter().cloned().chain([builtin::VERSION_KEYS.to_owned()]).collect();
        everywhere.except(keys(&allowed, "/allow_keys")?);
        if !addresses.is_empty() {
            addresses.except(keys(&versions, "/allow_keys")?);
        }
        let denied = keys(&key_expressions(&config.deny_keys, "(?i)"), "/deny_keys")?;
        let plan = Plan {
            drops_unknown_fields: config.unknown_fields == UnknownFields::Drop,
            denied: match denied {
                Some(keys) => {
                    Some((keys, actions.of("redacted", Some(&config.deny_action), "/deny_action")?))
                }
                None => None,
            },
            passes: [everywhere, addresses].into_iter().filter(|pass| !pass.is_empty()).collect(),
        };
        match plan.denied.is_none() && plan.passes.is_empty() && !plan.drops_unknown_fields {
            true => Err(Error::config("", "nothing is looked for: no pattern, no key and no unknown field")),
            false => Ok(plan),
        }
    }

    pub fn run(&self, batch: &Batch) -> Result<()> {
        if self.drops_unknown_fields {
            counted(UNKNOWN, batch.remove_unknown_fields()?);
        }
        if let Some((keys, action)) = &self.denied {
            counted(DENIED, batch.redact_keys(*keys, action)?);
        }
        for Pass { redactions, counters, selection } in &self.passes {
            let matches = batch.redact(redactions, selection)?;
            counters.iter().zip(matches).for_each(|(counter, matches)| counted(counter, matches));
        }
        Ok(())
    }
}

/// Counters show what happened: one that never did is not there.
fn counted(counter: &str, amount: u64) {
    if amount > 0 {
        count(counter, amount);
    }
}

impl Pass {
    fn of(selection: Selection) -> Pass {
        Pass { redactions: Vec::new(), counters: Vec::new(), selection }
    }

    fn push(&mut self, name: &str, pattern: Pattern, action: tollgate_plugin::Action) {
        self.redactions.push(Redaction::new(pattern, action));
        self.counters.push(format!("redacted_{}", name.replace('-', "_")));
    }

    fn except(&mut self, keys: Option<Pattern>) {
        if let Some(keys) = keys {
            self.selection = self.selection.except_keys(keys);
        }
    }

    fn is_empty(&self) -> bool {
        self.redactions.is_empty()
    }
}

/// Makes the host's actions of those that are written.
struct Actions<'c> {
    usual: &'c config::Action,
    hash_key: Option<HashKey>,
}

impl Actions<'_> {
    fn new(config: &Config) -> Result<Actions<'_>> {
        let hash_key = match (&config.hash_key, &config.previous_hash_key) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err(Error::config("/previous_hash_key", "there is no `hash_key` that came after it"));
            }
            (Some(key), None) => {
                Some(HashKey::new(key.as_bytes(), None).map_err(|error| error.at("/hash_key"))?)
            }
            (Some(key), Some(previous)) => {
                HashKey::new(key.as_bytes(), None).map_err(|error| error.at("/hash_key"))?;
                let both = HashKey::new(key.as_bytes(), Some(previous.as_bytes()));
                Some(both.map_err(|error| error.at("/previous_hash_key"))?)
            }
        };
        Ok(Actions { usual: &config.action, hash_key })
    }

    /// Of a pattern: its own, or the usual one. `at` is where it would be written.
    fn of(&self, name: &str, own: Option<&config::Action>, at: &str) -> Result<tollgate_plugin::Action> {
        Ok(match own.unwrap_or(self.usual) {
            config::Action::Mask(text) => tollgate_plugin::Action::Mask(text.replace("{name}", name)),
            config::Action::Remove => tollgate_plugin::Action::Remove,
            config::Action::Truncate(characters) => tollgate_plugin::Action::Truncate(*characters),
            config::Action::Hash => match self.hash_key {
                Some(key) => tollgate_plugin::Action::hash(key),
                None => {
                    let at = if own.is_some() { at } else { "/action" };
                    return Err(Error::config(at, "a hash needs a key: `hash_key`, of at least 16 bytes"));
                }
            },
        })
    }
}

/// A name that makes a readable counter, and no other pattern has.
fn check_name(name: &str, before: &[config::Custom]) -> Result<()> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_word) {
        return Err(Error::failed("a name is made of a to z, 0 to 9, `-` and `_`"));
    }
    let is_built_in = Builtin::ALL.iter().any(|builtin| builtin.name() == name);
    if is_built_in || before.iter().any(|custom| custom.name == name) {
        return Err(Error::failed(format!("there is a pattern `{name}` already")));
    }
    Ok(())
}

fn places(written: &config::Places) -> Places {
    let config::Places { attributes, keys, integers, bodies, names, versions, texts } = *written;
    [
        (attributes, Places::ATTRIBUTE_VALUES),
        (keys, Places::ATTRIBUTE_KEYS),
        (integers, Places::INTEGERS),
        (bodies, Places::BODIES),
        (names, Places::NAMES),
        (versions, Places::VERSIONS),
        (texts, Places::TEXTS),
    ]
    .into_iter()
    .filter(|(is_on, _)| *is_on)
    .fold(Places::empty(), |places, (_, place)| places | place)
}

/// An expression for each key. `flags` are those of keys that are written out.
fn key_expressions(keys: &[Key], flags: &str) -> Vec<String> {
    let expression = |key: &Key| match key {
        Key::Exactly(key) => format!("{flags}^{}$", escape(key)),
        Key::Pattern(pattern) => pattern.clone(),
        Key::Set(KeySet::Credentials) => builtin::CREDENTIAL_KEYS.to_owned(),
    };
    keys.iter().map(expression).collect()
}

/// One pattern of all expressions; a mistake is at the one that has it.
fn keys(expressions: &[String], at: &str) -> Result<Option<Pattern>> {
    if expressions.is_empty() {
        return Ok(None);
    }
    let all = expressions.iter().map(|expression| format!("(?:{expression})")).collect::<Vec<_>>().join("|");
    let pattern = Pattern::new(&all).map_err(|error| {
        let alone = |(place, expression): (usize, &String)| {
            Pattern::new(expression).err().map(|error| (place, error))
        };
        match expressions.iter().enumerate().find_map(alone) {
            Some((place, error)) => error.at(format!("{at}/{place}")),
            None => error.at(at),
        }
    })?;
    Ok(Some(pattern))
}
