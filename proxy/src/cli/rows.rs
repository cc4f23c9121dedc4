//! A batch as rows that people can read: OTLP/JSON, laid out by resource, scope and record.

use serde_json::{Map, Value};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A row: a resource, a scope, a metric, a record, or what is below it.
pub(super) struct Row {
    /// What it is and the how-manieth, from 1, after the rows around it: `resource 1 / scope 1 / record 2`.
    pub(super) path: String,
    /// Whether it is a log record, a span or a data point, which plugins send one by one.
    pub(super) is_record: bool,
    /// Its fields and attributes, as targets, with their values.
    pub(super) cells: Vec<(String, String)>,
    pub(super) below: Vec<Row>,
    /// The cells of it and of all rows below, each as a hash, in order: what it is recognised by.
    marks: Vec<u64>,
}

/// The lists that rows are in, and what such a row is called. Data points come in metrics of five kinds.
const LISTS: [(&str, &str); 13] = [
    ("resourceLogs", "resource"),
    ("resourceSpans", "resource"),
    ("resourceMetrics", "resource"),
    ("scopeLogs", "scope"),
    ("scopeSpans", "scope"),
    ("scopeMetrics", "scope"),
    ("metrics", "metric"),
    ("logRecords", RECORD),
    ("spans", RECORD),
    ("dataPoints", RECORD),
    ("events", "event"),
    ("links", "link"),
    ("exemplars", "exemplar"),
];
const RECORD: &str = "record";

/// The rows of a batch, outermost first.
pub(super) fn rows(batch: &Value) -> Vec<Row> {
    let mut root = Row {
        path: String::new(),
        is_record: false,
        cells: Vec::new(),
        below: Vec::new(),
        marks: Vec::new(),
    };
    if let Value::Object(fields) = batch {
        root.read(fields, "");
    }
    root.below
}

impl Row {
    fn of(fields: &Value, path: String, is_record: bool) -> Self {
        let mut row = Row { path, is_record, cells: Vec::new(), below: Vec::new(), marks: Vec::new() };
        if let Value::Object(fields) = fields {
            row.read(fields, "");
            for list in ["attributes", "filteredAttributes", "metadata"] {
                row.read_attributes(fields.get(list));
            }
            if let Some(attributes) = fields.get("resource").or(fields.get("scope")) {
                row.read_attributes(attributes.get("attributes"));
            }
        }
        let mark = |cell: &(String, String)| {
            let mut hasher = DefaultHasher::new();
            cell.hash(&mut hasher);
            hasher.finish()
        };
        row.marks = row.cells.iter().map(mark).collect();
        row.marks.extend(row.below.iter().flat_map(|row| &row.marks));
        row.marks.sort_unstable();
        row
    }

    /// Takes up a message's fields: lists of rows, messages that are a part of this row, and cells.
    fn read(&mut self, fields: &Map<String, Value>, prefix: &str) {
        for (name, value) in fields {
            let list = LISTS.iter().find(|(list, _)| list == name);
            match (list, value, name.as_str()) {
                (Some((_, what)), Value::Array(rows), _) => {
                    let gap = if self.path.is_empty() { "" } else { " / " };
                    let path = |number| format!("{}{gap}{what} {number}", self.path);
                    let rows = rows.iter().zip(1..);
                    let rows: Vec<_> =
                        rows.map(|(row, number)| Row::of(row, path(number), *what == RECORD)).collect();
                    self.below.extend(rows);
                }
                (_, _, "attributes" | "filteredAttributes" | "metadata") => {}
                (_, value, "body") => self.cells.push(("@body".to_owned(), any_value(value))),
                (_, Value::Object(fields), "resource" | "scope") => self.read(fields, prefix),
                (_, Value::Object(fields), name) => self.read(fields, &format!("{prefix}{}_", snake(name))),
                (_, _, "asInt" | "asDouble") => self.cells.push(("@number".to_owned(), field(name, value))),
                (_, value, name) => {
                    self.cells.push((format!("@{prefix}{}", snake(name)), field(name, value)));
                }
            }
        }
    }

    fn read_attributes(&mut self, list: Option<&Value>) {
        for attribute in list.and_then(Value::as_array).into_iter().flatten() {
            let key = attribute["key"].as_str().unwrap_or_default();
            let mark = if key.starts_with('@') { "@" } else { "" };
            let is_plain = !key.is_empty() && !key.contains(|c: char| c.is_control() || c.is_whitespace());
            let key = if is_plain { key.escape_debug().to_string() } else { quoted(key) };
            let key = format!("{mark}{key}");
            self.cells.push((key, any_value(&attribute["value"])));
        }
    }

    /// How much two rows have in common: cells, of all rows below too.
    fn likeness(&self, other: &Row) -> usize {
        let (mut one, mut two) = (self.marks.iter().peekable(), other.marks.iter().peekable());
        let mut common = 0;
        while let (Some(left), Some(right)) = (one.peek(), two.peek()) {
            match left.cmp(right) {
                std::cmp::Ordering::Less => drop(one.next()),
                std::cmp::Ordering::Greater => drop(two.next()),
                std::cmp::Ordering::Equal => {
                    common += 1;
                    one.next();
                    two.next();
                }
            }
        }
        common
    }
}

/// Which row of `after` each row of `before` became. Plugins keep the order of rows, so as many rows are the
/// same rows; of fewer, those that have most in common with each other.
pub(super) fn pair<'a>(before: &[&Row], after: &'a [Row]) -> Vec<Option<&'a Row>> {
    /// Beyond, looking takes seconds.
    const COMPARISONS_MAX: usize = 1 << 20;
    if before.len() == after.len() || before.len().saturating_mul(after.len()) > COMPARISONS_MAX {
        return (0..before.len()).map(|row| after.get(row)).collect();
    }
    // The most that rows from here on can have in common, by the numbers of both.
    let width = after.len() + 1;
    let mut best = vec![0; (before.len() + 1) * width];
    let mut paired = vec![false; before.len() * width];
    for row in (0..before.len()).rev() {
        for other in (0..after.len()).rev() {
            let skipped = best[(row + 1) * width + other].max(best[row * width + other + 1]);
            let both = best[(row + 1) * width + other + 1] + 1 + 2 * before[row].likeness(&after[other]);
            best[row * width + other] = skipped.max(both);
            paired[row * width + other] = both >= skipped;
        }
    }
    let mut pairs = vec![None; before.len()];
    let (mut row, mut other) = (0, 0);
    while row < before.len() && other < after.len() {
        if paired[row * width + other] {
            pairs[row] = after.get(other);
            (row, other) = (row + 1, other + 1);
        } else if best[(row + 1) * width + other] >= best[row * width + other + 1] {
            row += 1;
        } else {
            other += 1;
        }
    }
    pairs
}

/// The name of the `.proto` file, as targets have it.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// A field's value; of 64-bit numbers, which are texts in JSON, the number.
fn field(name: &str, value: &Value) -> String {
    let is_number = name.ends_with("UnixNano") || ["asInt", "count", "zeroCount"].contains(&name);
    match value {
        Value::String(text) if is_number => text.clone(),
        Value::String(text) => quoted(text),
        value => value.to_string(),
    }
}

/// A text on one line, harmless for a terminal. Quotes within stay as they are, since bodies are often JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\'' => quoted.push(character),
            character => quoted.extend(character.escape_debug()),
        }
    }
    quoted.push('"');
    quoted
}

/// An `AnyValue` on one line, in quotes what is a text.
fn any_value(value: &Value) -> String {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return "(empty)".to_owned();
    };
    let list = |value: &Value| value["values"].as_array().cloned().unwrap_or_default();
    match (kind.as_str(), value) {
        ("stringValue", Value::String(text)) => quoted(text),
        ("intValue", Value::String(number)) => number.clone(),
        ("bytesValue", Value::String(base64)) => format!("bytes {base64}"),
        ("arrayValue", value) => {
            format!("[{}]", list(value).iter().map(any_value).collect::<Vec<_>>().join(", "))
        }
        ("kvlistValue", value) => {
            let entry = |entry: &Value| {
                format!(
                    "{}: {}",
                    quoted(entry["key"].as_str().unwrap_or_default()),
                    any_value(&entry["value"])
                )
            };
            format!("{{{}}}", list(value).iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        (_, value) => value.to_string(),
    }
}
