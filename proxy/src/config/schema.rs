//! What the configuration's readers declare, for editors (JSON Schema) and for people (a reference).
//!
//! Both are made by running the readers over nothing, so they cannot say what the readers do not do.

use super::{
    Environment,
    reader::Reader,
    resolve,
    section::{Key, KindShape, Section, Shape},
};
use serde_json::{Map, Value as Json, json};
use std::{
    fmt::{self, Write},
    time::SystemTime,
};

/// The configuration as JSON Schema (draft 2020-12), as editors of TOML take it.
pub fn schema() -> Json {
    let mut schema = object(&keys());
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("Tollgate"));
    Json::Object(schema)
}

/// The configuration as a page of Markdown: every table, every key.
pub fn reference() -> String {
    let mut page = "# Configuration\n\n\
        Every key that Tollgate knows. This page is made from the code that reads them.\n\n\
        Sizes are integers or strings such as `\"4MiB\"` (1024²) and `\"4MB\"` (1000²), durations strings such as \
        `\"1h30m\"`. In any string `${env:NAME}` stands for an environment variable, which has to be set; \
        `$${` is a literal `${`. Paths are relative to the file in which they are written.\n"
        .to_owned();
    let written = write_table(&mut page, "", "", &keys());
    debug_assert!(written.is_ok(), "a String takes everything");
    page
}

fn keys() -> Vec<Key> {
    let nothing = Environment { variable: &|_| None, now: SystemTime::UNIX_EPOCH };
    Section::describe(&mut Reader::new(&nothing), |s| drop(resolve::document(s)))
}

fn object(keys: &[Key]) -> Map<String, Json> {
    let properties: Map<String, Json> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let is_required = |key: &&Key| matches!(key.shape, Shape::Value { required: true, .. });
    let required: Vec<&str> = keys.iter().filter(is_required).map(|key| key.name).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Json::Object(properties));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object.insert("additionalProperties".to_owned(), json!(false));
    object
}

fn property(key: &Key) -> Json {
    let table = |keys: &[Key]| Json::Object(object(keys));
    let mut property = match &key.shape {
        Shape::Value { kind, .. } => kind.schema.clone(),
        Shape::Table(keys) => table(keys),
        Shape::Named(keys) => json!({ "type": "object", "additionalProperties": table(keys) }),
        Shape::List(keys) => json!({ "type": "array", "items": table(keys) }),
        Shape::Either(kind, keys) => json!({ "anyOf": [kind.schema, table(keys)] }),
        Shape::EitherList(kind, keys) => {
            json!({ "type": "array", "items": { "anyOf": [kind.schema, table(keys)] } })
        }
        Shape::Map(kind) => json!({ "type": "object", "additionalProperties": kind.schema }),
        Shape::Tree => json!({ "type": "object" }),
    };
    if let Json::Object(property) = &mut property {
        property.insert("description".to_owned(), json!(key.doc));
        if let Shape::Value { default: Some(default), .. } = &key.shape {
            property.insert("default".to_owned(), default.clone());
        }
    }
    property
}

/// Writes a table's keys, then the tables in it.
fn write_table(page: &mut String, path: &str, doc: &str, keys: &[Key]) -> fmt::Result {
    let rows: Vec<String> = keys.iter().filter_map(row).collect();
    if !rows.is_empty() {
        let title = if path.is_empty() { "At the top".to_owned() } else { format!("`[{path}]`") };
        writeln!(page, "\n## {title}\n")?;
        if !doc.is_empty() {
            writeln!(page, "{doc}\n")?;
        }
        writeln!(page, "| key | meaning | value | default |\n|---|---|---|---|\n{}", rows.join("\n"))?;
    }
    for key in keys {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match &key.shape {
            Shape::Table(keys) | Shape::Either(_, keys) => {
                write_table(page, &below(key.name), key.doc, keys)?
            }
            Shape::Named(keys) => write_table(page, &below(&format!("{}.NAME", key.name)), key.doc, keys)?,
            Shape::List(keys) | Shape::EitherList(_, keys) => {
                write_table(page, &format!("[{}]", below(key.name)), key.doc, keys)?
            }
            Shape::Value { .. } | Shape::Map(_) | Shape::Tree => {}
        }
    }
    Ok(())
}

/// The row of a key that has a value of its own.
fn row(key: &Key) -> Option<String> {
    let wanted = |kind: &KindShape| kind.wanted.replace('|', "\\|");
    let (value, default) = match &key.shape {
        Shape::Value { default: Some(default), kind, .. } => (wanted(kind), format!("`{default}`")),
        Shape::Value { required: true, kind, .. } => (wanted(kind), "required".to_owned()),
        Shape::Value { kind, .. } | Shape::Either(kind, _) => (wanted(kind), String::new()),
        Shape::EitherList(kind, _) => (format!("a list, each {}", wanted(kind)), String::new()),
        Shape::Tree => ("a table of the plugin's own".to_owned(), String::new()),
        Shape::Map(kind) => (format!("a table of names, each with {}", wanted(kind)), String::new()),
        Shape::Table(_) | Shape::Named(_) | Shape::List(_) => return None,
    };
    Some(format!("| `{}` | {} | {value} | {default} |", key.name, key.doc))
}
