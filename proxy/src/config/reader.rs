//! What reading needs beside the tree: where mistakes go, the environment, and the record of where
//! each value came from.

use super::{
    Environment,
    diagnostic::{Diagnostic, Level},
    kind::Kind,
    mask::Mask,
    source::{Node, Place, Source, Value},
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// The state of one reading.
pub struct Reader<'e> {
    /// The environment that `${env:NAME}` and `{ credential = … }` look into.
    pub environment: &'e Environment<'e>,
    /// The files read so far.
    pub sources: Vec<Source>,
    /// What of them may be shown.
    pub masks: Vec<Mask>,
    /// Mistakes found so far.
    pub diagnostics: Vec<Diagnostic>,
    /// Every value that was settled, in the order in which it was.
    pub settings: Vec<Setting>,
    /// Nothing is read: sections only say which keys they know.
    pub describing: bool,
    /// A file could not be read or parsed, so what seems to be missing may well be in it.
    pub incomplete: bool,
    known_files: HashSet<PathBuf>,
    through: Vec<String>,
}

/// A settled value, as `check --print` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The table, such as `tenant.shop.limits`.
    pub section: String,
    /// The key in it.
    pub key: String,
    /// The value as TOML; a secret is masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// Environment variables and files that it was read from.
    pub through: Vec<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Written in the table itself.
    Written(Place),
    /// Written in the named table of defaults.
    Inherited(&'static str, Place),
    /// Made from other values, as said.
    Derived(&'static str),
}

impl<'e> Reader<'e> {
    /// A reader that has read nothing.
    pub fn new(environment: &'e Environment<'e>) -> Self {
        Self {
            environment,
            sources: Vec::new(),
            masks: Vec::new(),
            diagnostics: Vec::new(),
            settings: Vec::new(),
            describing: false,
            incomplete: false,
            known_files: HashSet::new(),
            through: Vec::new(),
        }
    }

    /// Notes a mistake and goes on.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Notes a mistake that leaves a part of the configuration unread.
    pub fn report_fatal(&mut self, diagnostic: Diagnostic) {
        self.incomplete = true;
        self.report(diagnostic);
    }

    /// Whether there was a mistake that stops a start.
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.level() == Level::Error)
    }

    /// Whether a file is met for the first time, under this name or another.
    pub fn is_new(&mut self, path: &Path) -> bool {
        self.known_files.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
    }

    /// Lets diagnostics show a piece.
    pub fn show(&mut self, place: &Place) {
        self.mask(place).show(place.span());
    }

    /// Hides every value of a file that is not TOML.
    pub fn show_nothing_of(&mut self, file: usize) {
        self.mask(&Place { file, start: 0, end: 0 }).show_nothing();
    }

    /// Hides a piece from diagnostics, for good.
    pub fn hide(&mut self, place: &Place) {
        self.mask(place).hide(place.span());
    }

    fn mask(&mut self, place: &Place) -> &mut Mask {
        if self.masks.len() <= place.file {
            self.masks.resize_with(place.file + 1, Mask::default);
        }
        &mut self.masks[place.file]
    }

    /// Reports a value of the wrong type.
    pub fn wrong_type(&mut self, node: &Node, kind: &impl Kind) {
        if let Value::Text(_) = node.value {
            self.show(&node.place);
        }
        self.wrong_type_for(node, &kind.wanted());
    }

    /// Reports a value of the wrong type, where there is no kind to ask what is wanted.
    pub fn wrong_type_for(&mut self, node: &Node, wanted: &str) {
        let title = format!("expected {wanted}");
        self.report(Diagnostic::error(title).at(&node.place, format!("this is {}", node.value)));
    }

    /// The text of a harmless string, with `${env:NAME}` filled in.
    pub fn text(&mut self, node: &Node, kind: &impl Kind) -> Option<String> {
        let Value::Text(text) = &node.value else {
            self.wrong_type(node, kind);
            return None;
        };
        self.show(&node.place);
        self.expand(text, &node.place, None)
    }

    /// Fills in `${env:NAME}`, and `${tenant}` where there is one; `$${` stands for `${`.
    pub fn expand(&mut self, text: &str, place: &Place, tenant: Option<&str>) -> Option<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(escaped) = rest[..at].strip_suffix('$') {
                expanded.push_str(escaped);
                expanded.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            expanded.push_str(&rest[..at]);
            let Some((name, after)) = rest[at + 2..].split_once('}') else {
                self.report(
                    Diagnostic::error("`${` is not closed")
                        .at(place, "the `}` is missing")
                        .help("for a literal `${` write `$${`"),
                );
                return None;
            };
            expanded.push_str(&self.variable(name, place, tenant)?);
            rest = after;
        }
        expanded.push_str(rest);
        Some(expanded)
    }

    fn variable(&mut self, name: &str, place: &Place, tenant: Option<&str>) -> Option<String> {
        let Some(name) = name.strip_prefix("env:") else {
            if let (Some(tenant), "tenant") = (tenant, name) {
                return Some(tenant.to_owned());
            }
            let known = if tenant.is_some() { "`${env:NAME}` and `${tenant}`" } else { "`${env:NAME}`" };
            self.report(
                Diagnostic::error("there is no such variable")
                    .at(place, format!("known here: {known}"))
                    .help("for a literal `${` write `$${`"),
            );
            return None;
        };
        match (self.environment.variable)(name).map(std::ffi::OsString::into_string) {
            Some(Ok(value)) => {
                self.read_through(format!("${{env:{name}}}"));
                return Some(value);
            }
            Some(Err(_)) => self.report(
                Diagnostic::error(format!("the environment variable `{name}` is not UTF-8"))
                    .at(place, "used here"),
            ),
            None => self.report(
                Diagnostic::error(format!("the environment variable `{name}` is not set"))
                    .at(place, "used here"),
            ),
        }
        None
    }

    /// A path as it is meant by the file in which it is written.
    pub fn path_from(&self, place: &Place, path: &str) -> PathBuf {
        let file = self.sources.get(place.file).map_or(Path::new(""), |source| source.path.as_path());
        file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Notes that the value being read comes from a variable or another file.
    pub fn read_through(&mut self, what: String) {
        self.through.push(what);
    }

    /// Whether the value being read comes from a variable or another file.
    pub fn is_read_through(&self) -> bool {
        !self.through.is_empty()
    }

    /// What the value being read comes from.
    pub fn take_through(&mut self) -> Vec<String> {
        std::mem::take(&mut self.through)
    }

    /// Begins a value: what was noted of one that could not be read is forgotten.
    pub fn begin(&mut self) {
        self.through.clear();
    }

    /// Notes where a settled value came from.
    pub fn record(&mut self, section: &str, key: &str, value: String, origin: Origin) {
        let through = self.take_through();
        let (section, key) = (section.to_owned(), key.to_owned());
        self.settings.push(Setting { section, key, value, origin, through });
    }
}
