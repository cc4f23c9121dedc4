//! A table of which only a plugin knows the meaning: any TOML, as JSON, each value with its place.
//!
//! Dates become strings. In strings `${env:NAME}` is filled in, and wherever a string may stand,
//! `{ file = "path" }` or `{ credential = "name" }` stands for the text of a file. A table that really has
//! the key `file` or `credential` and nothing else is written with a `$`: `{ "$file" = "…" }`; one `$` of
//! such a key is taken away.

use super::{
    diagnostic::Diagnostic,
    kind::Kind,
    reader::Reader,
    secret::{MASKED, REFERENCES, Secret},
    source::{Node, Place, Table, Value},
};
use crate::plugin::Secrets;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A value, and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    place: Place,
    /// What it was read from beside the configuration: files and environment variables.
    through: Vec<String>,
    value: Branch,
}

#[derive(Debug, Clone, PartialEq)]
enum Branch {
    Leaf { value: Json, is_secret: bool },
    List(Vec<Tree>),
    Table(Vec<Twig>),
}

/// A key of a table, and what stands under it.
#[derive(Debug, Clone, PartialEq)]
struct Twig {
    key: String,
    key_place: Place,
    tree: Tree,
}

/// A value that `check --print` shows on a line of its own.
pub struct Line<'t> {
    /// The tables that it is in, from the outermost, each with a dot before it.
    pub tables: String,
    /// Its key.
    pub key: &'t str,
    /// As TOML; secrets are masked.
    pub value: String,
    /// Where it is written.
    pub place: &'t Place,
    /// What it was read from beside the configuration.
    pub through: &'t [String],
}

impl Tree {
    /// Reads a table. Values in it that cannot be taken are reported and left out.
    pub fn read(table: &Table, place: &Place, reader: &mut Reader) -> Self {
        let value = Branch::Table(twigs(table, false, reader));
        Self { place: place.clone(), through: Vec::new(), value }
    }

    /// Lays another tree over this one: tables are merged key by key, anything else is replaced.
    pub fn merged(mut self, over: &Tree) -> Self {
        let (Branch::Table(own), Branch::Table(others)) = (&mut self.value, &over.value) else {
            return over.clone();
        };
        for other in others {
            match own.iter_mut().find(|twig| twig.key == other.key) {
                Some(twig) => {
                    let merged = twig.tree.clone().merged(&other.tree);
                    *twig = Twig { tree: merged, ..other.clone() };
                }
                None => own.push(other.clone()),
            }
        }
        Self { place: over.place.clone(), ..self }
    }

    /// What the plugin gets.
    pub fn json(&self) -> Json {
        match &self.value {
            Branch::Leaf { value, .. } => value.clone(),
            Branch::List(items) => items.iter().map(Tree::json).collect(),
            Branch::Table(twigs) => {
                Json::Object(twigs.iter().map(|twig| (twig.key.clone(), twig.tree.json())).collect())
            }
        }
    }

    /// The place of everything in it, by its JSON pointer (RFC 6901); a table's is that of its key.
    pub fn places(&self) -> BTreeMap<String, Place> {
        let mut places = BTreeMap::new();
        self.place_all(&mut String::new(), &self.place, &mut places);
        places
    }

    fn place_all(&self, pointer: &mut String, place: &Place, places: &mut BTreeMap<String, Place>) {
        places.insert(pointer.clone(), place.clone());
        let mut below = |token: &str, tree: &Tree, place: &Place| {
            let length = pointer.len();
            pointer.push('/');
            pointer.push_str(&pointer_token(token));
            tree.place_all(pointer, place, places);
            pointer.truncate(length);
        };
        match &self.value {
            Branch::Leaf { .. } => {}
            Branch::List(items) => {
                items.iter().enumerate().for_each(|(i, item)| below(&i.to_string(), item, &item.place))
            }
            Branch::Table(twigs) => twigs.iter().for_each(|twig| {
                let is_table = matches!(twig.tree.value, Branch::Table(_));
                below(&twig.key, &twig.tree, if is_table { &twig.key_place } else { &twig.tree.place });
            }),
        }
    }

    /// What of it nobody may see, as a plugin would say it.
    pub fn secrets(&self) -> Secrets {
        let mut texts = Vec::new();
        self.add_secrets(&mut texts);
        Secrets::new(texts)
    }

    fn add_secrets(&self, texts: &mut Vec<String>) {
        match &self.value {
            Branch::Leaf { value: Json::String(text), is_secret: true } => texts.push(text.clone()),
            Branch::Leaf { value: Json::Number(number), is_secret: true } => texts.push(number.to_string()),
            // One of two words is no secret, and stands in many others.
            Branch::Leaf { .. } => {}
            Branch::List(items) => items.iter().for_each(|item| item.add_secrets(texts)),
            Branch::Table(twigs) => twigs.iter().for_each(|twig| twig.tree.add_secrets(texts)),
        }
    }

    /// Every value that is no table, in order.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        self.add_lines("", &mut lines);
        lines
    }

    fn add_lines<'t>(&'t self, tables: &str, lines: &mut Vec<Line<'t>>) {
        let Branch::Table(twigs) = &self.value else { return };
        let is_table = |twig: &&Twig| matches!(&twig.tree.value, Branch::Table(inner) if !inner.is_empty());
        for twig in twigs.iter().filter(|twig| !is_table(twig)) {
            lines.push(Line {
                tables: tables.to_owned(),
                key: &twig.key,
                value: twig.tree.toml(),
                place: &twig.tree.place,
                through: &twig.tree.through,
            });
        }
        for twig in twigs.iter().filter(is_table) {
            twig.tree.add_lines(&format!("{tables}.{}", toml_key(&twig.key)), lines);
        }
    }

    /// As TOML, secrets masked.
    fn toml(&self) -> String {
        match &self.value {
            Branch::Leaf { is_secret: true, .. } => Json::from(MASKED).to_string(),
            Branch::Leaf { value, .. } => value.to_string(),
            Branch::List(items) => {
                format!("[{}]", items.iter().map(Tree::toml).collect::<Vec<_>>().join(", "))
            }
            Branch::Table(twigs) if twigs.is_empty() => "{}".to_owned(),
            Branch::Table(twigs) => {
                let written =
                    twigs.iter().map(|twig| format!("{} = {}", toml_key(&twig.key), twig.tree.toml()));
                format!("{{ {} }}", written.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A key or an index in a JSON pointer.
fn pointer_token(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// A key as TOML has it: bare where it can be.
pub fn toml_key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { Json::from(text).to_string() }
}

fn twigs(table: &Table, is_secret: bool, reader: &mut Reader) -> Vec<Twig> {
    let mut twigs: Vec<Twig> = Vec::with_capacity(table.entries.len());
    for entry in &table.entries {
        let key = unescaped(&entry.key);
        if let Some(first) = twigs.iter().find(|twig| twig.key == key) {
            reader.report(
                Diagnostic::error(format!("`{key}` is set twice"))
                    .at(&entry.key_place, "again here")
                    .also(&first.key_place, "first here"),
            );
            continue;
        }
        let is_secret = is_secret || sounds_secret(key);
        if let Some(tree) = tree(&entry.node, is_secret, reader) {
            twigs.push(Twig { key: key.to_owned(), key_place: entry.key_place.clone(), tree });
        }
    }
    twigs
}

fn tree(node: &Node, is_secret: bool, reader: &mut Reader) -> Option<Tree> {
    let leaf = |value| Branch::Leaf { value, is_secret };
    if is_secret && !matches!(node.value, Value::Table(_) | Value::Array(_)) {
        reader.hide(&node.place);
    }
    reader.begin();
    let value = match &node.value {
        Value::Text(text) if is_secret => leaf(reader.expand(text, &node.place, None)?.into()),
        Value::Text(text) => {
            reader.show(&node.place);
            let value = reader.expand(text, &node.place, None)?.into();
            // What stands in a variable is kept from those who may read the configuration.
            Branch::Leaf { value, is_secret: reader.is_read_through() }
        }
        Value::Table(table) if is_reference(table) => {
            let text = Secret::new("a string").read(node, reader)?;
            Branch::Leaf { value: text.into(), is_secret: true }
        }
        Value::Table(table) => Branch::Table(twigs(table, is_secret, reader)),
        Value::Array(nodes) => {
            Branch::List(nodes.iter().filter_map(|node| tree(node, is_secret, reader)).collect())
        }
        Value::Boolean(value) => leaf((*value).into()),
        Value::Datetime(written) => leaf(written.to_string().into()),
        Value::Integer(number) => match i64::try_from(*number) {
            Ok(number) => leaf(number.into()),
            Err(_) => return not_a_number(node, reader),
        },
        Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => leaf(Json::Number(number)),
            None => return not_a_number(node, reader),
        },
    };
    let through = if matches!(value, Branch::Leaf { .. }) { reader.take_through() } else { Vec::new() };
    Some(Tree { place: node.place.clone(), through, value })
}

fn not_a_number(node: &Node, reader: &mut Reader) -> Option<Tree> {
    reader.report(
        Diagnostic::error("a plugin cannot be given this number")
            .at(&node.place, "expected an integer of 64 bits, or a finite float"),
    );
    None
}

/// `{ file = "…" }` or `{ credential = "…" }`.
fn is_reference(table: &Table) -> bool {
    let [entry] = table.entries.as_slice() else { return false };
    REFERENCES.contains(&entry.key.as_str()) && matches!(entry.node.value, Value::Text(_))
}

/// `$file` is `file`, and `$$file` is `$file`.
fn unescaped(key: &str) -> &str {
    match key.strip_prefix('$') {
        Some(rest) if REFERENCES.contains(&rest.trim_start_matches('$')) => rest,
        _ => key,
    }
}

/// Whether what stands below such a key is better not shown, even where it stands in the open.
fn sounds_secret(key: &str) -> bool {
    const WORDS: [&str; 8] =
        ["secret", "password", "passphrase", "token", "pepper", "salt", "hash_key", "private_key"];
    let key = key.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().any(|word| key.contains(word))
}
