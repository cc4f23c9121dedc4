//! The configuration as it is written.

use serde::Deserialize;
use tollgate_plugin::{Check, Signal};

use crate::builtin::Builtin;

/// Everything. Nothing need be written: the defaults take what is certain wherever it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Built-in patterns.
    #[serde(default = "Choice::default_list")]
    pub patterns: Vec<Choice>,
    /// The user's own, which come before the built-in ones.
    #[serde(default)]
    pub custom: Vec<Custom>,
    /// What becomes of a match where its pattern says nothing else.
    #[serde(default)]
    pub action: Action,

    /// The key of every `hash`, and the one before it.
    pub hash_key: Option<String>,
    pub previous_hash_key: Option<String>,

    /// Keys whose values go as a whole, whatever they are. They win over `allow_keys`.
    #[serde(default)]
    pub deny_keys: Vec<Key>,
    /// What becomes of these values.
    #[serde(default = "Action::mask_denied")]
    pub deny_action: Action,
    /// Keys below which no pattern is looked for.
    #[serde(default)]
    pub allow_keys: Vec<Key>,

    #[serde(default)]
    pub places: Places,
    #[serde(default)]
    pub unknown_fields: UnknownFields,
    /// The others pass as they are.
    #[serde(default = "all_signals")]
    pub signals: Vec<Signal>,
}

fn all_signals() -> Vec<Signal> {
    Signal::ALL.to_vec()
}

/// `"email"`, or `{ name = "email", action = "hash" }`.
#[derive(Debug, Deserialize)]
#[serde(from = "WrittenChoice")]
pub struct Choice {
    pub name: Builtin,
    pub action: Option<Action>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a pattern's name, or { name = …, action = … }; there are email, card-number, \
    iban, ipv4, ipv6, jwt, bearer, api-key, private-key, url-query, url-password"
)]
enum WrittenChoice {
    Name(Builtin),
    Table(ChoiceTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceTable {
    name: Builtin,
    action: Option<Action>,
}

impl From<WrittenChoice> for Choice {
    fn from(written: WrittenChoice) -> Choice {
        match written {
            WrittenChoice::Name(name) => Choice { name, action: None },
            WrittenChoice::Table(ChoiceTable { name, action }) => Choice { name, action },
        }
    }
}

impl Choice {
    fn default_list() -> Vec<Choice> {
        let certain = Builtin::ALL.iter().filter(|name| name.is_certain());
        certain.map(|name| Choice { name: *name, action: None }).collect()
    }
}

/// `[[custom]]`: a pattern of the user's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// For the mask and the counter.
    pub name: String,
    /// In the syntax of Rust's `regex`; of a group named `secret`, only what it matched.
    pub pattern: String,
    #[serde(default)]
    check: CheckName,
    pub action: Option<Action>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckName {
    #[default]
    None,
    Luhn,
    Iban,
}

impl Custom {
    pub fn check(&self) -> Check {
        match self.check {
            CheckName::None => Check::None,
            CheckName::Luhn => Check::Luhn,
            CheckName::Iban => Check::Iban,
        }
    }
}

/// `"mask"`, `"hash"`, `"remove"`, `{ mask = "***" }` or `{ truncate = 4 }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WrittenAction")]
pub enum Action {
    /// In the text, `{name}` is the pattern's.
    Mask(String),
    Hash,
    Remove,
    Truncate(u32),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "\"mask\", \"hash\", \"remove\", { mask = \"a text\" } or { truncate = characters }"
)]
enum WrittenAction {
    Word(ActionWord),
    Table(ActionTable),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionWord {
    Mask,
    Hash,
    Remove,
}

/// One of them, as every enum is in TOML.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionTable {
    Mask(String),
    Truncate(u32),
}

impl From<WrittenAction> for Action {
    fn from(written: WrittenAction) -> Action {
        match written {
            WrittenAction::Word(ActionWord::Mask) => Action::default(),
            WrittenAction::Word(ActionWord::Hash) => Action::Hash,
            WrittenAction::Word(ActionWord::Remove) => Action::Remove,
            WrittenAction::Table(ActionTable::Mask(text)) => Action::Mask(text),
            WrittenAction::Table(ActionTable::Truncate(characters)) => Action::Truncate(characters),
        }
    }
}

impl Default for Action {
    fn default() -> Action {
        Action::Mask("[{name}]".to_owned())
    }
}

impl Action {
    fn mask_denied() -> Action {
        Action::Mask("[redacted]".to_owned())
    }
}

/// `"password"`, `{ pattern = '_token$' }`, or `{ set = "credentials" }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WrittenKey")]
pub enum Key {
    Exactly(String),
    Pattern(String),
    Set(KeySet),
}

/// Keys that are known to hold something.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySet {
    Credentials,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a key, { pattern = … } or { set = \"credentials\" }")]
enum WrittenKey {
    Exactly(String),
    Table(KeyTable),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyTable {
    Pattern(String),
    Set(KeySet),
}

impl From<WrittenKey> for Key {
    fn from(written: WrittenKey) -> Key {
        match written {
            WrittenKey::Exactly(key) => Key::Exactly(key),
            WrittenKey::Table(KeyTable::Pattern(pattern)) => Key::Pattern(pattern),
            WrittenKey::Table(KeyTable::Set(set)) => Key::Set(set),
        }
    }
}

/// Where patterns are looked for.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Places {
    /// Values of attributes, nested ones too.
    pub attributes: bool,
    /// Their keys.
    pub keys: bool,
    /// Integers among the values.
    pub integers: bool,
    /// Bodies of log records.
    pub bodies: bool,
    /// Names of spans, events, scopes and metrics.
    pub names: bool,
    /// Versions of scopes.
    pub versions: bool,
    /// Every other text.
    pub texts: bool,
}

impl Default for Places {
    /// Everywhere but in keys: they are chosen by programmers, and what is sought by its key must be found.
    fn default() -> Places {
        Places {
            attributes: true,
            keys: false,
            integers: true,
            bodies: true,
            names: true,
            versions: true,
            texts: true,
        }
    }
}

/// What becomes of fields that Tollgate does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    #[default]
    Keep,
    Drop,
}
