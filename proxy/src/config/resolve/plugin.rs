//! `[plugin.NAME]`, and how a tenant uses it.

use super::{MAX_BYTES, MAX_COUNT, MILLISECOND, MINUTE};
use crate::{
    config::{
        PluginPlaces,
        diagnostic::Diagnostic,
        kind::{Bytes, Count, Fault, Kind, OneOf, Parsed, Text, Time, Word},
        reader::{Origin, Reader, Setting},
        section::{Either, Located, Section, unknown},
        source::{Node, Value},
        tree::Tree,
    },
    plugin::{self, Builtin, DEFAULT_DESTINATION, Limits, OnFailure, Source},
};
use serde_json::{Map, Value as Json, json};
use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// A plugin as written.
pub struct Plugin {
    /// Its name, for tenants to refer to.
    pub name: Located<String>,
    /// What runs, unless something was wrong with it.
    component: Option<Located<Source>>,
    on_failure: OnFailure,
    limits: Limits,
    /// Its own table.
    config: Option<Tree>,
}

/// A plugin as a tenant names it.
#[derive(Clone)]
pub struct Use {
    /// The plugin's name.
    pub name: Located<String>,
    /// What the tenant lays over the plugin's own table.
    config: Option<Tree>,
}

impl Use {
    /// As it stands in its own table.
    pub fn of(name: Located<String>) -> Self {
        Self { name, config: None }
    }
}

/// Where compiled components are kept.
pub fn cache(s: &mut Section) -> Option<PathBuf> {
    let doc = "The folder for compiled plugins, which saves their compilation at the next start, at most 1 GiB of them; `false`: none. Default: `$CACHE_DIRECTORY` as systemd sets it, else `$XDG_CACHE_HOME/tollgate`, else `~/.cache/tollgate`. Read at the start only.";
    match s.optional("plugin_cache", doc, Cache) {
        Some(cache) => cache.value,
        None => usual_cache(&|name| s.variable(name)),
    }
}

/// Where they are kept unless a configuration says otherwise.
pub fn usual_cache(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd names several with colons between them, where a unit asks for several.
    let of_systemd = folder("CACHE_DIRECTORY").map(|folders| {
        let first = folders.to_string_lossy().split(':').next().map(PathBuf::from);
        first.unwrap_or(folders)
    });
    of_systemd
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("tollgate")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/tollgate")))
}

/// Reads one.
pub fn plugin(s: &mut Section, name: &Located<String>) -> Plugin {
    let doc = "What runs: one that comes with Tollgate, or the path of a WebAssembly component.";
    let component = s.required("component", doc, Component);
    let doc = "What becomes of a batch that it fails on, by a trap, a limit or an error: \"reject\" refuses it with 503, to be sent again; \"forward\" sends on what came to the plugin.";
    let on_failure = s.value("on_failure", doc, ON_FAILURE, OnFailure::default()).value;
    let limits = s.table("limits", "What it may use.", limits);
    let doc = "Its own configuration. Strings in it may be `{ file = \"…\" }` or `{ credential = \"…\" }`; for a table that has just the key `file`, write `{ \"$file\" = \"…\" }`.";
    let config = s.tree("config", doc);
    Plugin { name: name.clone(), component, on_failure, limits, config }
}

fn limits(s: &mut Section) -> Limits {
    let default = Limits::default();
    let doc = "Memory of an instance.";
    let memory = s.value("memory", doc, Bytes(64 << 10..=4 << 30), default.memory);
    let doc = "How long a call may take, Tollgate's work for it included.";
    let time = s.value("time", doc, Time(MILLISECOND..=MINUTE), default.time);
    let doc = "Elements of all tables of an instance.";
    let table_elements =
        s.value("table_elements", doc, Count(1..=Limits::TABLE_ELEMENTS_MAX), default.table_elements);
    let doc = "Lines that it may log in a second. A line is cut at 1024 characters.";
    let log_lines = s.value("log_lines", doc, Count(1..=1_000_000u32), default.log_lines);
    let doc = "Bytes that it may log in a second, of lines as they are cut.";
    let log_bytes = s.value("log_bytes", doc, Bytes(1..=1u32 << 30), default.log_bytes);
    let counters = s.value("counters", "Counters of its own.", Count(1..=10_000u32), default.counters);
    let doc = "Patterns, and as many keys for hashes.";
    let patterns = s.value("patterns", doc, Count(1..=100_000u32), default.patterns);
    let doc = "Size of one compiled pattern.";
    let pattern_bytes = s.value("pattern_bytes", doc, Bytes(1..=1u32 << 30), default.pattern_bytes);
    let doc = "Bytes that a call may write into a batch, or take out of it.";
    let edit_bytes = s.value("edit_bytes", doc, Bytes(1..=MAX_BYTES), default.edit_bytes);
    let doc = "Calls after which an instance is replaced.";
    let calls = s.value("calls", doc, Count(1..=MAX_COUNT as u32), default.calls);
    let doc = "By how much an instance may have grown before it is replaced.";
    let growth = s.value("growth", doc, Bytes(1..=MAX_BYTES), default.growth);
    Limits {
        memory: memory.value,
        time: time.value,
        table_elements: table_elements.value,
        log_lines: log_lines.value,
        log_bytes: log_bytes.value,
        counters: counters.value,
        patterns: patterns.value,
        pattern_bytes: pattern_bytes.value,
        edit_bytes: edit_bytes.value,
        calls: calls.value,
        growth: growth.value,
    }
}

/// Reads which plugins a tenant uses. None twice: metrics and logs tell them apart by name.
pub fn uses(s: &mut Section) -> Vec<Use> {
    const NAME: Text = Text { wanted: "a plugin's name such as \"redact\"" };
    let doc = "The plugins that work on what it sends, in this order: names, or tables such as { use = \"redact\", config.patterns = [\"email\"] }.";
    let list = s.list_of_either("plugins", doc, (NAME, "use"), |s| {
        let name = s.required("use", "The plugin's name.", NAME);
        let doc =
            "Laid over the plugin's own `config`, for this tenant: tables key by key, all else as a whole.";
        let config = s.tree("config", doc);
        Some(Use { name: name?, config })
    });
    let mut uses: Vec<Use> = Vec::new();
    for each in list.into_iter().flatten() {
        let Some(each) = (match each {
            Either::Value(name) => Some(Use { name, config: None }),
            Either::Table(each) => each,
        }) else {
            continue;
        };
        if let Some(first) = uses.iter().find(|first| first.name.value == each.name.value) {
            s.report(
                Diagnostic::error(format!("plugin `{}` is used twice", each.name.value))
                    .at(&each.name.place, "again here")
                    .also(&first.name.place, "first here")
                    .help("give it a second table under another name: metrics and logs go by the name"),
            );
            continue;
        }
        uses.push(each);
    }
    uses
}

/// The plugins by name, to find what tenants use.
pub struct Plugins<'p>(HashMap<&'p str, &'p Plugin>);

impl<'p> Plugins<'p> {
    /// All there are.
    pub fn new(plugins: &'p [Plugin]) -> Self {
        Self(plugins.iter().map(|plugin| (plugin.name.as_str(), plugin)).collect())
    }

    /// What the host gets of a plugin as a tenant uses it, and where its parts are written. `None` where
    /// there is no such plugin, or something was wrong with it.
    pub fn resolve(&self, each: &Use) -> Option<(plugin::Config, PluginPlaces)> {
        let plugin = self.0.get(each.name.as_str())?;
        let component = plugin.component.as_ref()?;
        let config = merged(plugin, each);
        let places = PluginPlaces {
            config: config.as_ref().map(Tree::places).unwrap_or_default(),
            plugin: plugin.name.place.clone(),
            component: component.place.clone(),
            used: each.name.place.clone(),
        };
        let config = plugin::Config {
            name: plugin.name.as_str().into(),
            component: component.value.clone(),
            secrets: config.as_ref().map(Tree::secrets).unwrap_or_default(),
            config: config.map_or_else(|| Json::Object(Map::new()), |config| config.json()),
            on_failure: Some(plugin.on_failure),
            limits: plugin.limits.clone(),
        };
        Some((config, places))
    }

    /// Notes a plugin's own table as a tenant has it, for `check --print`.
    pub fn record(&self, each: &Use, section: &str, reader: &mut Reader) {
        let Some(config) = self.0.get(each.name.as_str()).and_then(|plugin| merged(plugin, each)) else {
            return;
        };
        for line in config.lines() {
            reader.settings.push(Setting {
                section: format!("{section}.config{}", line.tables),
                key: line.key.to_owned(),
                value: line.value,
                origin: Origin::Written(line.place.clone()),
                through: line.through.to_vec(),
            });
        }
    }

    /// Reports a plugin that does not exist.
    pub fn check(&self, each: &Use, reader: &mut Reader) {
        if self.0.contains_key(each.name.as_str()) {
            return;
        }
        let mut names: Vec<&str> = self.0.keys().copied().collect();
        names.sort_unstable();
        let diagnostic = unknown(&each.name, &each.name.place, "plugin", &names);
        reader.report(if names.is_empty() {
            diagnostic.help("there is none: add [plugin.NAME] with `component`")
        } else {
            diagnostic
        });
    }
}

fn merged(plugin: &Plugin, each: &Use) -> Option<Tree> {
    match (plugin.config.clone(), &each.config) {
        (Some(own), Some(over)) => Some(own.merged(over)),
        (own, over) => own.or_else(|| over.clone()),
    }
}

const ON_FAILURE: OneOf<OnFailure> =
    OneOf(&[(Word::Text("reject"), OnFailure::Reject), (Word::Text("forward"), OnFailure::Forward)]);

/// A name that a tenant's plugins may send to.
pub const ALIAS: Parsed<String> = Parsed {
    wanted: "a name for plugins to send to",
    parse: |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text == DEFAULT_DESTINATION {
            Err(Fault::new("`default` is taken").label("it always is the tenant's own upstream"))
        } else if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
            Err(Fault::new("this name cannot be used").label("1 to 64 letters, digits, `.`, `_` or `-`"))
        } else {
            Ok(text.to_owned())
        }
    },
};

/// What runs.
struct Component;

impl Kind for Component {
    type Value = Source;

    fn wanted(&self) -> String {
        let builtins: Vec<String> =
            Builtin::ALL.iter().map(|builtin| format!("\"{BUILTIN}{}\"", builtin.name())).collect();
        format!("{} or a path such as \"plugins/split.wasm\"", builtins.join(", "))
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Source> {
        let text = reader.text(node, self)?;
        let builtins: Vec<String> =
            Builtin::ALL.iter().map(|builtin| format!("{BUILTIN}{}", builtin.name())).collect();
        if let Some(at) = builtins.iter().position(|builtin| *builtin == text) {
            return Some(Source::Builtin(Builtin::ALL[at]));
        }
        let names: Vec<&str> = builtins.iter().map(String::as_str).collect();
        if text.starts_with(BUILTIN) {
            reader.report(unknown(&text, &node.place, "component", &names));
            return None;
        }
        if text.is_empty() || Builtin::ALL.iter().any(|builtin| builtin.name() == text) {
            let label =
                if text.is_empty() { "this is empty" } else { "this would be a file beside this one" };
            reader.report(
                Diagnostic::error("this is not a component")
                    .at(&node.place, label)
                    .help(format!("expected {}", self.wanted())),
            );
            return None;
        }
        Some(Source::File(reader.path_from(&node.place, &text)))
    }

    fn show(&self, value: &Source) -> Json {
        json!(value.to_string())
    }
}

/// What components that the program holds begin with.
const BUILTIN: &str = "builtin:";

/// A folder, or none.
struct Cache;

impl Kind for Cache {
    type Value = Option<PathBuf>;

    fn wanted(&self) -> String {
        "a path such as \"/var/cache/tollgate\", or `false`".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [{ "type": "string" }, { "const": false }] })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Option<PathBuf>> {
        if let Value::Boolean(false) = node.value {
            return Some(None);
        }
        let text = reader.text(node, self)?;
        if text.is_empty() {
            reader.report(
                Diagnostic::error(format!("expected {}", self.wanted()))
                    .at(&node.place, "this is empty")
                    .help("to have none, write plugin_cache = false"),
            );
            return None;
        }
        Some(Some(reader.path_from(&node.place, &text)))
    }

    fn show(&self, value: &Option<PathBuf>) -> Json {
        match value.as_deref().map(Path::to_string_lossy) {
            Some(path) => json!(path),
            None => json!(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_its_place() {
        let environment = crate::config::Environment { variable: &|_| None, now: std::time::UNIX_EPOCH };
        let mut reader = Reader::new(&environment);
        let text = "[config]\n\"a/b~\" = [1, { c = true }]\nt.\"$file\" = \"x\"\n[config.deep]\nkey = 1.5\n";
        let folder = std::env::temp_dir().join(format!("tollgate-tree-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("tree.toml");
        std::fs::write(&file, text).unwrap();
        let table = crate::config::source::read_files(&[file], &mut reader);
        let _ = std::fs::remove_dir_all(&folder);
        let tree = Section::read_root(&table, &mut reader, |s| s.tree("config", "")).unwrap();
        assert!(reader.diagnostics.is_empty());
        assert_eq!(
            tree.json(),
            json!({ "a/b~": [1, { "c": true }], "t": { "file": "x" }, "deep": { "key": 1.5 } })
        );
        let places = tree.places();
        let expected = [
            ("", "[config]"),
            ("/a~1b~0", "[1, {"),
            ("/a~1b~0/0", "1, {"),
            ("/a~1b~0/1", "{ c ="),
            ("/a~1b~0/1/c", "true"),
            ("/deep", "deep]"),
            ("/deep/key", "1.5"),
            ("/t", "t.\"$"),
            ("/t/file", "\"x\""),
        ];
        let found: Vec<(&str, usize)> =
            places.iter().map(|(pointer, place)| (pointer.as_str(), place.start)).collect();
        let expected: Vec<(&str, usize)> =
            expected.iter().map(|(pointer, piece)| (*pointer, text.find(piece).unwrap())).collect();
        assert_eq!(found, expected);
    }
}
