//! Files → one tree, in which every key and value knows its place.
//!
//! Several files (given on the command line, or by `include`) make one tree. Tables such as
//! `[tenant.NAME]` gather over the files; anything else that stands in two of them is a mistake,
//! because nobody could say which of the two counts.

use super::{
    diagnostic::Diagnostic,
    kind::{Kind, List, Text},
    reader::Reader,
};
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
    value::Datetime,
};

/// Tables whose entries may be spread over several files.
const GATHERED: [&str; 6] = ["auth", "defaults", "listener", "plugin", "tenant", "upstream"];

/// One file, as read.
pub struct Source {
    /// Its path as it was given: what diagnostics show.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl fmt::Debug for Source {
    /// Never shows the text, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl Source {
    /// Line and column of a byte, both from 1.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the files.
    pub file: usize,
    /// From which byte, and how many.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Place {
    fn new(file: usize, span: Range<usize>) -> Self {
        Self { file, start: span.start, end: span.end }
    }

    /// Its bytes in the file.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A value with its place.
#[derive(Debug)]
pub struct Node {
    /// Where it is written.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value of TOML.
#[derive(Debug)]
pub enum Value {
    /// A string, of any of the four kinds.
    Text(String),
    /// An integer, wide enough that a number out of every range is still a number.
    Integer(i128),
    /// A float; only a plugin's own table takes one.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time or both.
    Datetime(Datetime),
    /// A list.
    Array(Vec<Node>),
    /// A table, however it is written.
    Table(Table),
}

impl fmt::Display for Value {
    /// What it is called in a diagnostic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        })
    }
}

/// A table, in the order of the file.
#[derive(Debug, Default)]
pub struct Table {
    /// Its keys and values.
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub key_place: Place,
    /// The value.
    pub node: Node,
}

impl Table {
    /// The entry of a key.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn take(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }
}

/// How far syntax errors are followed in one file: over a bracket that was never closed a parser
/// stumbles again and again, which says no more than the first time.
const SYNTAX_ERRORS_MAX: usize = 20;

/// Reads files and what they include into one tree. What cannot be read or parsed is reported.
pub fn read_files(paths: &[PathBuf], reader: &mut Reader) -> Table {
    let mut root = Table::default();
    let mut included = Vec::new();
    for path in paths {
        let Some(mut table) = read_file(path, None, reader) else { continue };
        if let Some(include) = table.take("include") {
            included.extend(expand(&include.node, path, reader));
        }
        merge(&mut root, table, &GATHERED, reader);
    }
    for (path, asked_at) in included {
        let Some(mut table) = read_file(&path, Some(&asked_at), reader) else { continue };
        if let Some(include) = table.take("include") {
            reader.report(
                Diagnostic::error("an included file cannot include others")
                    .at(&include.key_place, "only the files given with `--config` can")
                    .also(&asked_at, "this file is included here"),
            );
        }
        merge(&mut root, table, &GATHERED, reader);
    }
    root
}

/// What `include` takes: paths, with `*` and `?`, relative to the including file.
pub const INCLUDE: List<Text> = List(Text { wanted: "a path such as \"tenants.d/*.toml\"" });

/// The files that an `include` names, sorted, each with the place that asked for it.
fn expand(include: &Node, including: &Path, reader: &mut Reader) -> Vec<(PathBuf, Place)> {
    let mut files = Vec::new();
    for pattern in INCLUDE.read(include, reader).unwrap_or_default() {
        let place = pattern.place.unwrap_or_else(|| include.place.clone());
        let directory = including.parent().unwrap_or(Path::new(""));
        let rooted = Path::new(&glob::Pattern::escape(&directory.to_string_lossy())).join(&pattern.value);
        let found = match glob::glob(&rooted.to_string_lossy()) {
            Ok(found) => found,
            Err(error) => {
                reader.report(Diagnostic::error("this pattern cannot be read").at(&place, error.msg));
                continue;
            }
        };
        let before = files.len();
        for file in found {
            match file {
                Ok(path) => files.push((path, place.clone())),
                Err(error) => reader.report(
                    Diagnostic::error(format!("cannot look into {}", error.path().display()))
                        .at(&place, error.error().to_string()),
                ),
            }
        }
        let is_pattern = pattern.value.contains(['*', '?', '[']);
        if files.len() == before && !is_pattern {
            reader.report_fatal(
                Diagnostic::error("there is no such file")
                    .at(&place, format!("looked for {}", directory.join(&pattern.value).display())),
            );
        }
    }
    files
}

/// Reads and parses one file. A file that was read before is skipped: two patterns may match it.
pub fn read_file(path: &Path, asked_at: Option<&Place>, reader: &mut Reader) -> Option<Table> {
    let unreadable = |why: String| {
        Diagnostic::error(format!("cannot read the configuration file {}", path.display()))
            .at(asked_at, "included here")
            .note(why)
    };
    if !reader.is_new(path) {
        return None;
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            reader.report_fatal(unreadable(error.to_string()));
            return None;
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            reader.report_fatal(unreadable(format!("byte {at} is not UTF-8, which TOML has to be")));
            return None;
        }
    };
    Some(read_text(path, text, reader))
}

/// Parses a file's text.
pub fn read_text(path: &Path, text: String, reader: &mut Reader) -> Table {
    let file = reader.sources.len();
    let (tree, mut errors) = DeTable::parse_recoverable(&text);
    let mut table = table(tree.into_inner(), file, reader);
    if !errors.is_empty() {
        // Of what only seems to be there, nothing is shown and nothing is followed.
        reader.show_nothing_of(file);
        table.take("include");
    }
    let source = Source { path: path.to_owned(), text };
    let line = |error: &toml::de::Error| source.position(error.span().map_or(0, |span| span.start)).0;
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    errors.truncate(SYNTAX_ERRORS_MAX);
    errors.dedup_by_key(|error| line(error));
    for error in &errors {
        reader.report_fatal(syntax_error(error, &source.text, file));
    }
    reader.sources.push(source);
    table
}

fn syntax_error(error: &toml::de::Error, text: &str, file: usize) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let end = span.end.min(text.len());
    let place = Place { file, start: span.start.min(end), end };
    let (what, wanted) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
    let is_word = text
        .get(place.span())
        .is_some_and(|piece| piece.starts_with(|c: char| c.is_alphabetic() || c == '$'));
    let is_value = text.get(..place.start).is_some_and(|before| before.trim_end().ends_with(['=', '[', ',']));
    if is_word && is_value {
        let title = "this is not TOML: a string stands in quotes";
        return Diagnostic::error(title).at(&place, "the quotes are missing");
    }
    let label = if wanted.is_empty() { String::new() } else { format!("expected {wanted}") };
    Diagnostic::error(format!("this is not TOML: {what}")).at(&place, label)
}

fn table(parsed: DeTable<'_>, file: usize, reader: &mut Reader) -> Table {
    let mut entries: Vec<Entry> = Vec::with_capacity(parsed.len());
    for (key, value) in parsed {
        let key_place = Place::new(file, key.span());
        reader.show(&key_place);
        let node = node(value, file, reader);
        entries.push(Entry { key: key.into_inner().into_owned(), key_place, node });
    }
    entries.sort_by_key(|entry| entry.key_place.start);
    Table { entries }
}

fn node(parsed: Spanned<DeValue<'_>>, file: usize, reader: &mut Reader) -> Node {
    let place = Place::new(file, parsed.span());
    let value = match parsed.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => Value::Integer(wide(&integer)),
        DeValue::Float(float) => Value::Float(float.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime),
        DeValue::Array(nodes) => {
            Value::Array(nodes.into_iter().map(|value| node(value, file, reader)).collect())
        }
        DeValue::Table(entries) => Value::Table(table(entries, file, reader)),
    };
    Node { place, value }
}

/// The integer, or the largest there is: every range is narrower.
fn wide(integer: &DeInteger<'_>) -> i128 {
    i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX)
}

/// Adds a file's entries to those of the files before it.
fn merge(into: &mut Table, from: Table, gathered: &[&str], reader: &mut Reader) {
    for entry in from.entries {
        let Some(first) = into.entries.iter_mut().find(|first| first.key == entry.key) else {
            into.entries.push(entry);
            continue;
        };
        match (&mut first.node.value, entry.node.value) {
            (Value::Table(first), Value::Table(more)) if gathered.contains(&entry.key.as_str()) => {
                merge(first, more, &[], reader);
            }
            _ => reader.report(
                Diagnostic::error(format!("`{}` is written in two files", entry.key))
                    .at(&entry.key_place, "again here")
                    .also(&first.key_place, "first here")
                    .help("keep it in one of them"),
            ),
        }
    }
}
