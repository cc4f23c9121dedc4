//! Values that come from files, and values that nobody may see.
//!
//! A secret is written in place (with `${env:NAME}` if wanted), or stands in a file:
//! `{ file = "path" }` beside the configuration, `{ credential = "name" }` in `$CREDENTIALS_DIRECTORY`
//! as systemd's `LoadCredential=` makes it.

use super::{
    diagnostic::Diagnostic,
    kind::Kind,
    reader::Reader,
    section::unknown,
    source::{Node, Place, Table, Value},
};
pub use crate::plugin::MASKED;
use serde_json::{Value as Json, json};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The largest file that is taken for a secret. A key or a token has a few hundred bytes; what is
/// larger is another file than was meant.
const SECRET_MAX_BYTES: u64 = 64 << 10;

/// The largest certificate file: a bundle of every public authority has a quarter of this.
const CERTIFICATES_MAX_BYTES: u64 = 1 << 20;

/// The keys of a table that stands for the text of a file.
pub const REFERENCES: [&str; 2] = ["file", "credential"];

/// A text that nobody may see.
pub struct Secret {
    /// What is wanted, with its article and an example.
    pub wanted: &'static str,
    /// What `${tenant}` stands for, where it may be used.
    pub tenant: Option<String>,
}

impl Secret {
    /// A secret that knows no `${tenant}`.
    pub const fn new(wanted: &'static str) -> Self {
        Self { wanted, tenant: None }
    }
}

impl Kind for Secret {
    type Value = String;

    fn wanted(&self) -> String {
        format!("{}, or {{ file = \"…\" }}", self.wanted)
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [{ "type": "string" }, from_file_schema()] })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<String> {
        match &node.value {
            Value::Text(text) => {
                reader.hide(&node.place);
                reader.expand(text, &node.place, self.tenant.as_deref())
            }
            Value::Table(table) => {
                let (place, path) = file_of(table, &node.place, reader)?;
                read_text(&path, &place, reader)
            }
            _ => {
                reader.hide(&node.place);
                reader.wrong_type(node, self);
                None
            }
        }
    }

    fn show(&self, _: &String) -> Json {
        json!(MASKED)
    }
}

/// The text of a file that holds nothing but a secret.
pub struct SecretFile;

impl Kind for SecretFile {
    type Value = String;

    fn wanted(&self) -> String {
        "a path such as \"/run/secrets/shop\", or { credential = \"name\" }".to_owned()
    }

    fn schema(&self) -> Json {
        file_schema()
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<String> {
        let (place, path) = path_of(node, self, reader)?;
        read_text(&path, &place, reader)
    }

    fn show(&self, _: &String) -> Json {
        json!(MASKED)
    }
}

/// A file of PEM, such as a certificate or a key.
pub struct PemFile;

/// What a file holds.
pub struct Contents {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Kind for PemFile {
    type Value = Contents;

    fn wanted(&self) -> String {
        "a path such as \"tls/edge.pem\", or { credential = \"name\" }".to_owned()
    }

    fn schema(&self) -> Json {
        file_schema()
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Contents> {
        let (place, path) = path_of(node, self, reader)?;
        let bytes = read_bytes(&path, CERTIFICATES_MAX_BYTES, &place, reader)?;
        Some(Contents { path, bytes })
    }

    fn show(&self, value: &Contents) -> Json {
        json!(value.path.to_string_lossy())
    }
}

fn from_file_schema() -> Json {
    json!({
        "type": "object",
        "properties": {
            "file": { "type": "string", "description": "Path, relative to this configuration file." },
            "credential": { "type": "string", "description": "Name in $CREDENTIALS_DIRECTORY." },
        },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    })
}

fn file_schema() -> Json {
    json!({ "anyOf": [{ "type": "string" }, from_file_schema()] })
}

/// A path, or a table that names a file.
fn path_of(node: &Node, kind: &impl Kind, reader: &mut Reader) -> Option<(Place, PathBuf)> {
    if let Value::Table(table) = &node.value {
        return file_of(table, &node.place, reader);
    }
    let path = reader.text(node, kind)?;
    let path = path_for(&path, &node.place, reader)?;
    Some((node.place.clone(), path))
}

/// The file that `{ file = … }` or `{ credential = … }` names.
fn file_of(table: &Table, place: &Place, reader: &mut Reader) -> Option<(Place, PathBuf)> {
    for entry in &table.entries {
        if !REFERENCES.contains(&entry.key.as_str()) {
            reader.report(unknown(&entry.key, &entry.key_place, "key", &REFERENCES));
            return None;
        }
    }
    let [entry] = table.entries.as_slice() else {
        reader.report(
            Diagnostic::error("expected one of `file` and `credential`")
                .at(place, if table.entries.is_empty() { "neither is here" } else { "both are here" }),
        );
        return None;
    };
    let Value::Text(text) = &entry.node.value else {
        reader.wrong_type_for(&entry.node, "a string");
        return None;
    };
    reader.show(&entry.node.place);
    let place = entry.node.place.clone();
    let text = reader.expand(text, &place, None)?;
    if entry.key == "file" {
        let path = path_for(&text, &place, reader)?;
        return Some((place, path));
    }
    let path = credential(&text, &place, reader)?;
    Some((place, path))
}

/// The path that a text means, unless somebody wrote what should be in the file.
fn path_for(text: &str, place: &Place, reader: &mut Reader) -> Option<PathBuf> {
    let is_content = text.contains('\n')
        || ["-----BEGIN", "$argon2", "$2", "sha256:"].iter().any(|start| text.starts_with(start));
    if is_content {
        reader.hide(place);
        reader.report(Diagnostic::error("expected a path").at(place, "this is what a file should hold"));
        return None;
    }
    Some(reader.path_from(place, text))
}

fn credential(name: &str, place: &Place, reader: &mut Reader) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        reader.report(
            Diagnostic::error("a credential is named without a path")
                .at(place, "")
                .help("for a file elsewhere write { file = \"…\" }"),
        );
        return None;
    }
    let Some(directory) = (reader.environment.variable)("CREDENTIALS_DIRECTORY") else {
        reader.report(
            Diagnostic::error("there is no $CREDENTIALS_DIRECTORY to look into")
                .at(place, "asked for here")
                .help(
                    "systemd sets it for a unit that has `LoadCredential=`; elsewhere write { file = \"…\" }",
                ),
        );
        return None;
    };
    Some(Path::new(&directory).join(name))
}

/// A text file without the line break at its end, which every editor adds.
fn read_text(path: &Path, place: &Place, reader: &mut Reader) -> Option<String> {
    let bytes = read_bytes(path, SECRET_MAX_BYTES, place, reader)?;
    let Ok(text) = String::from_utf8(bytes) else {
        reader.report(
            Diagnostic::error(format!("{} is not UTF-8 text", path.display())).at(place, "read from here"),
        );
        return None;
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        reader.report(Diagnostic::error(format!("{} is empty", path.display())).at(place, "read from here"));
        return None;
    }
    Some(text.to_owned())
}

fn read_bytes(path: &Path, max: u64, place: &Place, reader: &mut Reader) -> Option<Vec<u8>> {
    reader.read_through(path.display().to_string());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    let title = match read {
        Err(error) => {
            let title = format!("cannot read {}", path.display());
            reader.report(Diagnostic::error(title).at(place, "needed here").note(error.to_string()));
            return None;
        }
        Ok(length) if length as u64 > max => format!("{} has more than {} KiB", path.display(), max >> 10),
        Ok(_) => return Some(bytes),
    };
    reader.report(Diagnostic::error(title).at(place, "another file was probably meant"));
    None
}
