//! Texts that are JSON, such as Pino's lines: their fields become attributes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};
use tollgate_plugin::{Field, Result, Rows, Table, Target, Value, count};

/// Texts that began as an object and were none.
const INVALID: &str = "parse_json_invalid";
/// Fields beyond the limit for one row.
const LEFT_OUT: &str = "parse_json_left_out";

/// A sender must not make a row of a hundred thousand attributes out of one body: each key is a column
/// to write. Oxygen's lines have about 14, the widest of real ones a few dozen.
const FIELDS_MAX: usize = 128;

/// What is parsed, and what becomes of it.
#[derive(Clone, Debug)]
pub struct ParseJson {
    /// The text; by default the body.
    pub from: Target,
    /// Only these of its fields; by default all.
    pub fields: Option<Vec<String>>,
    /// What stands before a field's name in the attribute's key.
    pub prefix: String,
    /// The field that becomes the body.
    pub body: Option<String>,
    /// What becomes of objects in it.
    pub nested: Nested,
    /// Whether an attribute that is there already is replaced.
    pub overwrite: bool,
}

/// What becomes of an object within the object.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Nested {
    /// Its fields become attributes too, `request.method`.
    #[default]
    Dots,
    /// It becomes one attribute, a list of keys and values.
    Whole,
}

impl Default for ParseJson {
    fn default() -> ParseJson {
        ParseJson {
            from: Field::Body.into(),
            fields: None,
            prefix: String::new(),
            body: None,
            nested: Nested::Dots,
            overwrite: true,
        }
    }
}

impl<'de> Deserialize<'de> for ParseJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<ParseJson, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Full {
            from: Target,
            fields: Option<Vec<String>>,
            prefix: String,
            body: Option<String>,
            nested: Nested,
            overwrite: bool,
        }
        impl Default for Full {
            fn default() -> Full {
                let ParseJson { from, fields, prefix, body, nested, overwrite } = ParseJson::default();
                Full { from, fields, prefix, body, nested, overwrite }
            }
        }
        crate::config::text_or_table(
            deserializer,
            "true, the attribute or field to parse, or a table",
            |text| Ok(ParseJson { from: text.parse()?, ..ParseJson::default() }),
            |Full { from, fields, prefix, body, nested, overwrite }| {
                Ok(ParseJson { from, fields, prefix, body, nested, overwrite })
            },
        )
    }
}

impl ParseJson {
    /// Reads the texts as one column, and writes each key as one.
    pub fn run(&self, table: Table<'_>) -> Result<()> {
        let mut columns = Columns::default();
        for (row, text) in &table.target(&self.from).texts()? {
            if !text.trim_start().starts_with('{') {
                continue;
            }
            match serde_json::from_str::<Map<String, Json>>(text) {
                Ok(fields) => self.lift(row, fields, &mut columns),
                Err(_) => columns.invalid += 1,
            }
        }
        columns.write(table, self.overwrite)
    }

    fn lift(&self, row: u32, fields: Map<String, Json>, columns: &mut Columns) {
        let mut left = FIELDS_MAX;
        for (name, value) in fields {
            if self.body.as_ref() == Some(&name) {
                columns.bodies.push((row, value.into()));
            } else if self.fields.as_ref().is_none_or(|fields| fields.contains(&name)) {
                self.lift_field(row, format!("{}{name}", self.prefix), value, columns, &mut left);
            }
        }
    }

    /// serde_json bounds the depth.
    fn lift_field(&self, row: u32, key: String, value: Json, columns: &mut Columns, left: &mut usize) {
        match value {
            Json::Null => {}
            Json::Object(fields) if self.nested == Nested::Dots => {
                for (name, value) in fields {
                    self.lift_field(row, format!("{key}.{name}"), value, columns, left);
                }
            }
            _ if *left == 0 => columns.left_out += 1,
            value => {
                *left -= 1;
                columns.attributes.entry(key).or_default().push((row, value.into()));
            }
        }
    }
}

/// What was found, by key; rows in order.
#[derive(Default)]
struct Columns {
    attributes: BTreeMap<String, Vec<(u32, Value)>>,
    bodies: Vec<(u32, Value)>,
    invalid: u64,
    left_out: u64,
}

impl Columns {
    fn write(self, table: Table<'_>, overwrite: bool) -> Result<()> {
        for (key, mut cells) in self.attributes {
            if !overwrite {
                let rows = cells.iter().map(|(row, _)| *row).collect();
                let absent = table.rows(&rows).attribute(&key).absent()?;
                let absent = table.rows(&absent).indexes();
                cells.retain(|(row, _)| absent.binary_search(row).is_ok());
            }
            write(table, Target::Attribute(key), cells)?;
        }
        write(table, Field::Body.into(), self.bodies)?;
        for (counter, amount) in [(INVALID, self.invalid), (LEFT_OUT, self.left_out)] {
            if amount > 0 {
                count(counter, amount);
            }
        }
        Ok(())
    }
}

/// Texts go as one flat column, which costs a fifth of values.
fn write(table: Table<'_>, target: Target, cells: Vec<(u32, Value)>) -> Result<()> {
    if cells.is_empty() {
        return Ok(());
    }
    let rows: Rows = cells.iter().map(|(row, _)| *row).collect();
    let column = table.rows(&rows).target(target);
    if cells.iter().all(|(_, value)| value.as_text().is_some()) {
        column.write_texts(cells.iter().map(|(_, value)| value.as_text()))
    } else {
        column.write_values(&cells.into_iter().map(|(_, value)| Some(value)).collect::<Vec<_>>())
    }
}
