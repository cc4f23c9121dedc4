//! The configuration as it is written, short forms and full ones.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tollgate_condition::When;
use tollgate_plugin::{Error, HashKey, Level, Pattern, Target, Value};

use crate::field;
use crate::json::ParseJson;
use crate::severity::MapSeverity;

/// Everything: what the table itself says is about records, then come the tables of the levels, then rules.
#[derive(Debug, Default)]
pub struct Config {
    /// The key of every `hash`. Without it they have none.
    pub hash_key: Option<HashKey>,
    /// From the outermost level to the innermost, then `rules` as they stand there.
    pub rules: Vec<Rule>,
}

/// What is done to some rows of a level.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands: a JSON pointer.
    pub pointer: String,
    pub level: Level,
    pub when: Option<When>,
    pub edits: Edits,
}

/// What is done to rows, in this order.
///
/// What reads a row and adds to it comes first, so that the rest can rename, remove or hash what it found;
/// severities after what may have found the level that they are made of.
#[derive(Debug, Default)]
pub struct Edits {
    pub parse_json: Option<ParseJson>,
    pub extract: Listed<Extract>,
    pub severity: Option<MapSeverity>,
    pub remove: Listed<Key>,
    pub keep: Option<Keep>,
    pub rename: Entries<Rename>,
    pub copy: Entries<Copy>,
    pub set: Entries<Assign>,
    pub insert: Entries<Assign>,
    pub update: Entries<Update>,
    pub hash: Listed<Hash>,
}

const EDITS: &[&str] = &[
    "parse_json",
    "extract",
    "severity",
    "remove",
    "keep",
    "rename",
    "copy",
    "set",
    "insert",
    "update",
    "hash",
];

impl Edits {
    /// Takes one key of a table, unless it is none of the edits.
    fn take<'de, M: MapAccess<'de>>(&mut self, key: &str, map: &mut M) -> Result<bool, M::Error> {
        match key {
            "parse_json" => self.parse_json = map.next_value::<Switch<ParseJson>>()?.0,
            "extract" => self.extract = map.next_value()?,
            "severity" => self.severity = map.next_value::<Switch<MapSeverity>>()?.0,
            "remove" => self.remove = map.next_value()?,
            "keep" => self.keep = Some(map.next_value()?),
            "rename" => self.rename = map.next_value()?,
            "copy" => self.copy = map.next_value()?,
            "set" => self.set = map.next_value()?,
            "insert" => self.insert = map.next_value()?,
            "update" => self.update = map.next_value()?,
            "hash" => self.hash = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Edits {
    /// What is read and written on the rows themselves, by its name.
    fn targets(&self) -> impl Iterator<Item = &Target> {
        fn named(key: &Key) -> Option<&Target> {
            match key {
                Key::Target(target) => Some(target),
                Key::Pattern(_) => None,
            }
        }
        let extracts = self.extract.elements.iter();
        let extracts = extracts
            .flat_map(|extract| iter::once(&extract.from).chain(extract.into.iter().map(|(_, to)| to)));
        let removed = self.remove.elements.iter().filter_map(named);
        let copies = self.copy.0.iter().filter_map(|copy| match copy {
            Copy::Cell { to, .. } => Some(to),
            Copy::Keys { .. } => None,
        });
        let assigned = self.set.0.iter().chain(&self.insert.0).map(|assign| &assign.target);
        let updated = self.update.0.iter().filter_map(|update| match update {
            Update::Cell(assign) => Some(&assign.target),
            Update::Keys { .. } => None,
        });
        let hashed = self.hash.elements.iter().filter_map(|hash| named(&hash.0));
        extracts.chain(removed).chain(copies).chain(assigned).chain(updated).chain(hashed)
    }
}

impl Config {
    /// What is found wrong when all is read, and has its place deeper than what was read last.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> tollgate_plugin::Result<()> {
        self.rules.iter().try_for_each(|rule| {
            rule.edits.extract.placed().try_for_each(|(place, extract)| {
                extract.check_groups().map_err(|error| error.at(format!("{}/extract{place}", rule.pointer)))
            })
        })
    }
}

impl Rule {
    fn at(level: Level) -> Rule {
        Rule { pointer: String::new(), level, when: None, edits: Edits::default() }
    }

    /// What can only be wrong in a rule as a whole.
    fn check(&self) -> Result<(), String> {
        if let Some(when) = &self.when {
            when.check(self.level)?;
        }
        if self.edits.severity.is_some() && self.level != Level::Record {
            return Err("only records have a severity".to_owned());
        }
        self.edits.copy.0.iter().try_for_each(|copy| match copy {
            Copy::Cell { level: Some(level), .. } if *level > self.level => {
                Err(format!("a {} takes no copy from a {level} below it", self.level))
            }
            _ => Ok(()),
        })?;
        // Rows of one signal may lack what those of another have; what all lack is meant elsewhere.
        self.edits.targets().try_for_each(|target| match target {
            Target::BuiltIn(field) if !field.is_at(self.level) => {
                Err(format!("a {} has no field `{field}`", self.level))
            }
            _ => Ok(()),
        })
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Config, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Config, M::Error> {
                let mut hash_key = None;
                let mut record = Rule::at(Level::Record);
                let mut levels = Vec::new();
                let mut rules: Vec<Rule> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "hash_key" => hash_key = Some(map.next_value()?),
                        "rules" => rules = map.next_value()?,
                        "resource" | "scope" | "metric" | "event" | "link" | "exemplar" => {
                            let level = key.parse().map_err(M::Error::custom)?;
                            let rule = map.next_value_seed(OfLevel(level))?;
                            levels.push(Rule { pointer: format!("/{key}"), ..rule });
                        }
                        _ if record.edits.take(&key, &mut map)? => {}
                        _ => {
                            map.next_value_seed(Unknown {
                                key: &key,
                                beside: "the levels resource, scope, metric, event, link, exemplar; rules; hash_key",
                            })?;
                        }
                    }
                }
                record.check().map_err(M::Error::custom)?;
                levels.push(record);
                levels.sort_by_key(|rule| rule.level);
                let placed = rules.into_iter().enumerate();
                levels
                    .extend(placed.map(|(place, rule)| Rule { pointer: format!("/rules/{place}"), ..rule }));
                Ok(Config { hash_key, rules: levels })
            }
        }
        deserializer.deserialize_map(Table)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule: a table")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Rule, M::Error> {
                let mut rule = Rule::at(Level::Record);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "level" => rule.level = map.next_value()?,
                        "when" => rule.when = Some(map.next_value()?),
                        _ if rule.edits.take(&key, &mut map)? => {}
                        _ => map.next_value_seed(Unknown { key: &key, beside: "level and when" })?,
                    }
                }
                rule.check().map_err(M::Error::custom)?;
                Ok(rule)
            }
        }
        deserializer.deserialize_map(Table)
    }
}

/// A level's own table: edits, and no conditions.
struct OfLevel(Level);

impl<'de> DeserializeSeed<'de> for OfLevel {
    type Value = Rule;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rule, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfLevel {
    type Value = Rule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Rule, M::Error> {
        let mut rule = Rule::at(self.0);
        while let Some(key) = map.next_key::<String>()? {
            if !rule.edits.take(&key, &mut map)? {
                let beside = "nothing else; conditions go into `rules`";
                map.next_value_seed(Unknown { key: &key, beside })?;
            }
        }
        rule.check().map_err(M::Error::custom)?;
        Ok(rule)
    }
}

/// What stands at a key that is not known. Asked for, so that the mistake is located there.
struct Unknown<'k> {
    key: &'k str,
    beside: &'static str,
}

impl<'de> DeserializeSeed<'de> for Unknown<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        let Unknown { key, beside } = self;
        Err(D::Error::custom(format!("unknown key `{key}`; there are {}, and {beside}", EDITS.join(", "))))
    }
}

/// An attribute or a field by its name, or every attribute whose key matches.
#[derive(Clone, Debug)]
pub enum Key {
    Target(Target),
    Pattern(Pattern),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            pattern: Pattern,
        }
        text_or_table(
            deserializer,
            "a key, or { pattern = … }",
            |text| text.parse().map(Key::Target),
            |full: Full| Ok(Key::Pattern(full.pattern)),
        )
    }
}

/// A [`Key`] of what can hold a hash.
#[derive(Clone, Debug)]
pub struct Hash(pub Key);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let key = Key::deserialize(deserializer)?;
        if let Key::Target(target) = &key {
            field::check_hash(target).map_err(D::Error::custom)?;
        }
        Ok(Hash(key))
    }
}

/// The key of an attribute, written as targets are, where a field can not be meant. `instead` is what to do
/// about a field.
pub(crate) fn attribute_key(written: &str, instead: &str) -> Result<String, String> {
    match written.parse() {
        Ok(Target::Attribute(key)) => Ok(key),
        Ok(Target::BuiltIn(_)) => Err(format!(
            "`{written}` is a field, {instead}; an attribute of this name is written `@{written}`"
        )),
        Err(_) => {
            Err(format!("an attribute whose key begins with `@` is written with one more: `@{written}`"))
        }
    }
}

/// The attributes that stay: keys, or a pattern of them.
#[derive(Debug)]
pub struct Keep(pub Pattern);

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keep, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            pattern: Pattern,
        }
        #[derive(Deserialize)]
        #[serde(try_from = "String")]
        struct Kept(String);
        impl TryFrom<String> for Kept {
            type Error = String;

            fn try_from(written: String) -> Result<Kept, String> {
                attribute_key(&written, "and `keep` leaves fields as they are").map(Kept)
            }
        }
        struct KeysOrPattern;
        impl<'de> Visitor<'de> for KeysOrPattern {
            type Value = Keep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of keys, or { pattern = … }")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Keep, S::Error> {
                let mut keys = Vec::new();
                while let Some(Kept(key)) = list.next_element()? {
                    keys.push(key);
                }
                Pattern::exactly(keys).map(Keep).map_err(|error| S::Error::custom(error.message()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Keep, M::Error> {
                Full::deserialize(MapAccessDeserializer::new(map)).map(|full| Keep(full.pattern))
            }
        }
        deserializer.deserialize_any(KeysOrPattern)
    }
}

/// `old = "new"`, or `{ from = "old", to = "new" }`, or `{ pattern = '^http\.', to = "web." }`.
#[derive(Clone, Debug)]
pub enum Rename {
    Key { from: String, to: String },
    Keys { pattern: Pattern, to: String },
}

/// A key before or after.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Renamed(String);

impl TryFrom<String> for Renamed {
    type Error = String;

    fn try_from(written: String) -> Result<Renamed, String> {
        let instead = "whose name stays: `copy` it in one rule and `remove` it in the next";
        attribute_key(&written, instead).map(Renamed)
    }
}

impl Entry for Rename {
    type Value = Renamed;

    fn short(from: &str, Renamed(to): Renamed) -> Result<Rename, String> {
        let Renamed(from) = from.to_owned().try_into()?;
        Ok(Rename::Key { from, to })
    }
}

impl<'de> Deserialize<'de> for Rename {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rename, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            from: Option<Renamed>,
            pattern: Option<Pattern>,
            to: Renamed,
        }
        match Full::deserialize(deserializer)? {
            Full { from: Some(Renamed(from)), pattern: None, to: Renamed(to) } => {
                Ok(Rename::Key { from, to })
            }
            Full { from: None, pattern: Some(pattern), to: Renamed(to) } => Ok(Rename::Keys { pattern, to }),
            _ => Err(D::Error::custom("either `from` or `pattern`")),
        }
    }
}

/// `source = "copy"`, or `{ from = "source", level = "resource", to = "copy" }`, or
/// `{ pattern = '^http\.', to = "web." }`.
#[derive(Clone, Debug)]
pub enum Copy {
    Cell { from: Target, level: Option<Level>, to: Target },
    Keys { pattern: Pattern, to: String },
}

impl Entry for Copy {
    type Value = Target;

    fn short(from: &str, to: Target) -> Result<Copy, String> {
        Copy::cell(from.parse()?, None, to)
    }
}

impl Copy {
    fn cell(from: Target, level: Option<Level>, to: Target) -> Result<Copy, String> {
        field::check_copy(&from, &to)?;
        Ok(Copy::Cell { from, level, to })
    }
}

impl<'de> Deserialize<'de> for Copy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Copy, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            from: Option<Target>,
            level: Option<Level>,
            pattern: Option<Pattern>,
            to: Target,
        }
        match Full::deserialize(deserializer)? {
            Full { from: Some(from), level, pattern: None, to } => {
                Copy::cell(from, level, to).map_err(D::Error::custom)
            }
            Full { from: None, level: None, pattern: Some(pattern), to: Target::Attribute(to) } => {
                Ok(Copy::Keys { pattern, to })
            }
            Full { from: None, level: None, pattern: Some(_), to: Target::BuiltIn(field) } => {
                Err(D::Error::custom(format!(
                    "`@{field}` is a field, and a pattern copies to attributes: one of them as `from` copies to it; \
                     an attribute of this name is written `@@{field}`"
                )))
            }
            _ => Err(D::Error::custom("either `from`, with or without `level`, or `pattern`")),
        }
    }
}

/// `key = "value"`, or `{ key = "key", value = "value" }`.
#[derive(Clone, Debug)]
pub struct Assign {
    pub target: Target,
    pub value: Value,
}

impl Entry for Assign {
    type Value = Value;

    fn short(key: &str, value: Value) -> Result<Assign, String> {
        Assign::new(key.parse()?, value)
    }
}

impl Assign {
    fn new(target: Target, value: Value) -> Result<Assign, String> {
        field::check_value(&target, &value)?;
        Ok(Assign { target, value })
    }
}

impl<'de> Deserialize<'de> for Assign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Assign, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            key: Target,
            value: Value,
        }
        let Full { key, value } = Full::deserialize(deserializer)?;
        Assign::new(key, value).map_err(D::Error::custom)
    }
}

/// `key = "value"`, or `{ key = "key", value = "value" }`, or `{ pattern = '^secret\.', value = "…" }`.
#[derive(Clone, Debug)]
pub enum Update {
    Cell(Assign),
    Keys { pattern: Pattern, value: Value },
}

impl Entry for Update {
    type Value = Value;

    fn short(key: &str, value: Value) -> Result<Update, String> {
        Assign::short(key, value).map(Update::Cell)
    }
}

impl<'de> Deserialize<'de> for Update {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Update, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            key: Option<Target>,
            pattern: Option<Pattern>,
            value: Value,
        }
        match Full::deserialize(deserializer)? {
            Full { key: Some(key), pattern: None, value } => {
                Assign::new(key, value).map(Update::Cell).map_err(D::Error::custom)
            }
            Full { key: None, pattern: Some(pattern), value } => Ok(Update::Keys { pattern, value }),
            _ => Err(D::Error::custom("either `key` or `pattern`")),
        }
    }
}

/// The first match of an expression in a text, and where its groups go: by default each named group into the
/// attribute of its name.
#[derive(Clone, Debug)]
pub struct Extract {
    pub from: Target,
    pub pattern: Pattern,
    pub into: Vec<(String, Target)>,
    expression: String,
}

impl<'de> Deserialize<'de> for Extract {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Extract, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            from: Option<Target>,
            pattern: Expression,
            #[serde(default)]
            into: BTreeMap<String, Target>,
        }
        text_or_table(
            deserializer,
            "an expression, or { from = …, pattern = …, into = … }",
            |text| Extract::new(None, Expression::new(text)?, Vec::new()),
            |full: Full| Extract::new(full.from, full.pattern, full.into.into_iter().collect()),
        )
    }
}

impl Extract {
    fn new(
        from: Option<Target>,
        expression: Expression,
        mut into: Vec<(String, Target)>,
    ) -> Result<Extract, String> {
        if into.is_empty() {
            into = expression.groups.into_iter().map(|group| (group.clone(), group.into())).collect();
        }
        if into.is_empty() {
            return Err("the pattern has no named group, `(?<name>…)`, and there is no `into`".to_owned());
        }
        Ok(Extract {
            from: from.unwrap_or(tollgate_plugin::Field::Body.into()),
            pattern: expression.pattern,
            into,
            expression: expression.written,
        })
    }

    /// Whether the expression may have all groups. It has not more than parentheses, and names stand in it as
    /// they are. The host, which knows, is asked only with a batch.
    fn check_groups(&self) -> tollgate_plugin::Result<()> {
        let most = self.expression.matches('(').count() as u64;
        self.into.iter().try_for_each(|(group, _)| {
            let message = match group.parse::<u64>() {
                Ok(number) if number <= most => return Ok(()),
                Ok(number) => format!(
                    "the pattern has no group {number}: there are at most {most}, and 0 is the whole match"
                ),
                Err(_) if self.expression.contains(&format!("<{group}>")) => return Ok(()),
                Err(_) => format!("the pattern has no group `{group}`: it would be `(?<{group}>…)`"),
            };
            Err(Error::config(format!("/into/{}", group.replace('~', "~0").replace('/', "~1")), message))
        })
    }
}

/// A pattern that still knows its named groups, which the host does not tell.
struct Expression {
    written: String,
    pattern: Pattern,
    groups: Vec<String>,
}

impl Expression {
    fn new(expression: &str) -> Result<Expression, String> {
        let pattern = Pattern::new(expression).map_err(|error| error.message().to_owned())?;
        Ok(Expression { written: expression.to_owned(), pattern, groups: named_groups(expression) })
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expression, D::Error> {
        Expression::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The names of `(?<name>…)` and `(?P<name>…)`, in order.
fn named_groups(expression: &str) -> Vec<String> {
    let mut groups = Vec::new();
    let mut in_class = 0;
    let mut rest = expression;
    while let Some(character) = rest.chars().next() {
        match character {
            '\\' => rest = rest.get(1..).unwrap_or_default(),
            '[' => in_class += 1,
            ']' if in_class > 0 => in_class -= 1,
            '(' if in_class == 0 => {
                let name = rest.strip_prefix("(?<").or_else(|| rest.strip_prefix("(?P<"));
                groups.extend(name.and_then(|name| name.split_once('>')).map(|(name, _)| name.to_owned()));
            }
            _ => {}
        }
        let next = rest.chars().next().map_or(0, char::len_utf8);
        rest = rest.get(next..).unwrap_or_default();
    }
    groups
}

/// A list, or its only element.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    pub elements: Vec<T>,
    /// Whether they were written as a list.
    is_list: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed { elements: Vec::new(), is_list: true }
    }
}

impl<T> Listed<T> {
    fn only(element: T) -> Listed<T> {
        Listed { elements: vec![element], is_list: false }
    }

    /// Each with its place, as a JSON pointer from that of the list.
    fn placed(&self) -> impl Iterator<Item = (String, &T)> {
        self.elements.iter().enumerate().map(|(index, element)| {
            let place = if self.is_list { format!("/{index}") } else { String::new() };
            (place, element)
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listed<T>, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Listed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or its only element")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Listed<T>, S::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                Ok(Listed { elements, is_list: true })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Listed<T>, E> {
                T::deserialize(text.into_deserializer()).map(Listed::only)
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Listed<T>, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Listed::only)
            }
        }
        deserializer.deserialize_any(List(PhantomData))
    }
}

/// What a table of keys and values is short for.
pub trait Entry: Sized {
    type Value;

    fn short(key: &str, value: Self::Value) -> Result<Self, String>;
}

/// The value of a key. What is wrong with the key is located here too.
struct Short<T> {
    key: String,
    entry: PhantomData<T>,
}

impl<'de, T> DeserializeSeed<'de> for Short<T>
where
    T: Entry,
    T::Value: Deserialize<'de>,
{
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::short(&self.key, T::Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A table of keys and values, or a list of full forms, where the order matters or a pattern stands for keys.
#[derive(Clone, Debug)]
pub struct Entries<T>(pub Vec<T>);

impl<T> Default for Entries<T> {
    fn default() -> Entries<T> {
        Entries(Vec::new())
    }
}

impl<'de, T> Deserialize<'de> for Entries<T>
where
    T: Entry + Deserialize<'de>,
    T::Value: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<T>, D::Error> {
        struct TableOrList<T>(PhantomData<T>);
        impl<'de, T> Visitor<'de> for TableOrList<T>
        where
            T: Entry + Deserialize<'de>,
            T::Value: Deserialize<'de>,
        {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of keys and values, or a list of tables")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    entries.push(map.next_value_seed(Short { key, entry: PhantomData })?);
                }
                Ok(Entries(entries))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Entries<T>, S::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(TableOrList(PhantomData))
    }
}

/// `true`, `false`, or a form of its own.
struct Switch<T>(Option<T>);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Switch<T>, D::Error> {
        struct OnOff<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for OnOff<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a name or a table")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Switch<T>, E> {
                Ok(Switch(on.then(T::default)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Switch<T>, E> {
                T::deserialize(text.into_deserializer()).map(|form| Switch(Some(form)))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Switch<T>, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|form| Switch(Some(form)))
            }
        }
        deserializer.deserialize_any(OnOff(PhantomData))
    }
}

/// A text as a short form, or a table as the full one.
pub(crate) fn text_or_table<'de, D, T, F>(
    deserializer: D,
    expected: &'static str,
    short: impl FnOnce(&str) -> Result<T, String>,
    full: impl FnOnce(F) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    F: Deserialize<'de>,
{
    struct Forms<T, F, S, L> {
        expected: &'static str,
        short: S,
        full: L,
        types: PhantomData<(T, F)>,
    }
    impl<'de, T, F, S, L> Visitor<'de> for Forms<T, F, S, L>
    where
        F: Deserialize<'de>,
        S: FnOnce(&str) -> Result<T, String>,
        L: FnOnce(F) -> Result<T, String>,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.short)(text).map_err(E::custom)
        }

        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
            let full = F::deserialize(MapAccessDeserializer::new(map))?;
            (self.full)(full).map_err(M::Error::custom)
        }
    }
    deserializer.deserialize_any(Forms { expected, short, full, types: PhantomData })
}
