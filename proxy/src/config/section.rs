//! Reading a table, key by key.
//!
//! A room's reader names each key of its table once, with what it means, its kind and its default:
//!
//! ```text
//! let connect = section.value("connect", "Connecting, TLS handshake included.", duration(…), default);
//! ```
//!
//! That one line reads the value, reports what is wrong with it, falls back on the default, notes where
//! it came from, and describes the key for the JSON Schema and the reference. Keys that no line named
//! are unknown, and are reported with the nearest one that is.

use super::{
    diagnostic::Diagnostic,
    kind::Kind,
    reader::{Origin, Reader},
    source::{Entry, Node, Place, Table, Value},
    tree::Tree,
};
use serde_json::Value as Json;
use std::ops::Deref;

/// A value, and where it is written; a default is written nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Option<Place>,
}

impl<T> Located<T> {
    /// Another value of the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), place: self.place }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What a table says of one of its keys.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What its value looks like.
    pub shape: Shape,
}

/// What a value looks like.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A single value.
    Value {
        /// Of this kind.
        kind: KindShape,
        /// What counts without it.
        default: Option<Json>,
        /// Whether it must be there.
        required: bool,
    },
    /// A table of these keys.
    Table(Vec<Key>),
    /// Tables of these keys, each with a name of the user's.
    Named(Vec<Key>),
    /// A list of tables of these keys.
    List(Vec<Key>),
    /// A value of this kind, or a table of these keys.
    Either(KindShape, Vec<Key>),
    /// A list, each a value of this kind or a table of these keys.
    EitherList(KindShape, Vec<Key>),
    /// A table of which only a plugin knows the keys.
    Tree,
    /// A table whose keys are the user's, with values of this kind.
    Map(KindShape),
}

/// A kind, described.
#[derive(Debug, Clone)]
pub struct KindShape {
    /// In words, with an example.
    pub wanted: String,
    /// As JSON Schema.
    pub schema: Json,
}

impl KindShape {
    fn of(kind: &impl Kind) -> Self {
        Self { wanted: kind.wanted(), schema: kind.schema() }
    }
}

/// A single value, or what a table said.
#[derive(Debug, Clone)]
pub enum Either<V, T> {
    /// The value.
    Value(V),
    /// What the table's reader made of it.
    Table(T),
}

/// The table that a table falls back on.
#[derive(Clone, Copy)]
struct Fallback<'t> {
    name: &'static str,
    table: &'t Table,
}

/// The entries of a table whose keys are the user's.
pub type Entries<N, V> = Vec<(Located<N>, Located<V>)>;

/// A table being read.
pub struct Section<'t, 'r, 'e> {
    path: String,
    place: Option<Place>,
    own: Option<&'t Table>,
    fallback: Option<Fallback<'t>>,
    keys: Vec<Key>,
    reader: &'r mut Reader<'e>,
}

impl<'t, 'e> Section<'t, '_, 'e> {
    /// Reads the outermost table.
    pub fn read_root<R>(
        table: &'t Table,
        reader: &mut Reader<'e>,
        read: impl FnOnce(&mut Section<'t, '_, 'e>) -> R,
    ) -> R {
        let root = Section {
            path: String::new(),
            place: None,
            own: Some(table),
            fallback: None,
            keys: Vec::new(),
            reader,
        };
        root.run(read).0
    }

    /// The keys that a reader of the outermost table knows.
    pub fn describe(reader: &mut Reader<'e>, read: impl FnOnce(&mut Section<'t, '_, 'e>)) -> Vec<Key> {
        reader.describing = true;
        let root =
            Section { path: String::new(), place: None, own: None, fallback: None, keys: Vec::new(), reader };
        root.run(read).1
    }

    fn run<R>(mut self, read: impl FnOnce(&mut Section<'t, '_, 'e>) -> R) -> (R, Vec<Key>) {
        let result = read(&mut self);
        self.report_unknown_keys();
        (result, self.keys)
    }

    /// Notes a mistake.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.reader.report(diagnostic);
    }

    /// Where the table begins: its header, or its braces.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Whether a key is written, rightly or not.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Where the value of a key is written.
    pub fn place_of(&self, name: &str) -> Option<Place> {
        self.find(name).map(|(entry, _)| entry.node.place.clone())
    }

    /// Whether a key is left out, or is a table with nothing in it.
    pub fn is_blank(&self, name: &str) -> bool {
        match self.find(name) {
            Some((Entry { node: Node { value: Value::Table(table), .. }, .. }, _)) => {
                table.entries.is_empty()
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Whether the table is there, with nothing in it.
    pub fn is_empty(&self) -> bool {
        self.own.is_some_and(|table| table.entries.is_empty())
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<std::ffi::OsString> {
        (self.reader.environment.variable)(name)
    }

    /// The time at which the configuration is read.
    pub fn now(&self) -> std::time::SystemTime {
        self.reader.environment.now
    }

    /// Notes a value that nobody wrote but that follows from others, for `check --print`.
    pub fn derived(&mut self, table: &str, key: &str, value: &str, why: &'static str) {
        let value = Json::from(value).to_string();
        self.reader.record(&format!("{}.{table}", self.path), key, value, Origin::Derived(why));
    }

    /// A key that may be left out.
    pub fn optional<K: Kind>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        kind: K,
    ) -> Option<Located<K::Value>> {
        self.declare(name, doc, Shape::Value { kind: KindShape::of(&kind), default: None, required: false });
        self.read(name, &kind)
    }

    /// A key that must be there.
    pub fn required<K: Kind>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        kind: K,
    ) -> Option<Located<K::Value>> {
        self.declare(name, doc, Shape::Value { kind: KindShape::of(&kind), default: None, required: true });
        if self.find(name).is_none() {
            self.report(
                Diagnostic::error(format!("`{name}` is missing"))
                    .at(&self.place, format!("needs `{name}`, {}", kind.wanted())),
            );
        }
        self.read(name, &kind)
    }

    /// A key with a default.
    pub fn value<K: Kind>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        kind: K,
        default: K::Value,
    ) -> Located<K::Value> {
        let (shown, written) = (kind.show(&default), kind.write(&default));
        self.declare(
            name,
            doc,
            Shape::Value { kind: KindShape::of(&kind), default: Some(shown), required: false },
        );
        if self.find(name).is_none() && !self.reader.describing {
            self.reader.begin();
            self.reader.record(&self.path, name, written, Origin::Default);
        }
        self.read(name, &kind).unwrap_or(Located { value: default, place: None })
    }

    /// A table, read as an empty one where it is left out.
    pub fn table<R>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'t, '_, 'e>) -> R,
    ) -> R {
        let own = self.own.and_then(|table| table.find(name));
        let own = own.and_then(|entry| self.table_of(&entry.node));
        let fallback = self.fallback.and_then(|fallback| {
            let Value::Table(table) = &fallback.table.find(name)?.node.value else { return None };
            Some(Fallback { table, ..fallback })
        });
        let (result, keys) = self.child(name, own, fallback).run(read);
        self.declare(name, doc, Shape::Table(keys));
        result
    }

    /// A table that means something by being there.
    pub fn optional_table<R>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        read: impl FnOnce(&mut Section<'t, '_, 'e>) -> R,
    ) -> Option<Located<R>> {
        let node = self.own.and_then(|table| table.find(name)).map(|entry| &entry.node);
        let own = node.and_then(|node| self.table_of(node));
        let is_there = own.is_some() || self.reader.describing;
        let (result, keys) =
            if is_there { self.child(name, own, None).run(|s| Some(read(s))) } else { (None, Vec::new()) };
        self.declare(name, doc, Shape::Table(keys));
        Some(Located { value: result?, place: node.map(|node| node.place.clone()) })
    }

    /// Tables with names of the user's, such as `[tenant.NAME]`. What one leaves out may stand in the
    /// table of defaults at `fallback` (two keys from the outermost table on).
    pub fn named<R>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        fallback: Option<(&'static str, [&'static str; 2])>,
        mut read: impl FnMut(&mut Section<'t, '_, 'e>, &Located<String>) -> R,
    ) -> Vec<R> {
        let fallback = fallback.and_then(|(name, path)| {
            let table = path.iter().try_fold(self.own?, |table, key| match &table.find(key)?.node.value {
                Value::Table(table) => Some(table),
                _ => None,
            })?;
            Some(Fallback { name, table })
        });
        let own = self.own.and_then(|table| table.find(name));
        let entries = own.and_then(|entry| self.table_of(&entry.node)).map_or(&[][..], |own| &own.1.entries);
        let (mut results, mut keys) = (Vec::new(), Vec::new());
        for entry in entries {
            self.check_name(entry);
            let Some(own) = self.table_of(&entry.node) else { continue };
            let located = Located { value: entry.key.clone(), place: Some(entry.key_place.clone()) };
            let path = format!("{name}.{}", entry.key);
            results.push(self.child(&path, Some(own), fallback).run(|s| read(s, &located)).0);
        }
        if self.reader.describing {
            let located = Located { value: "NAME".to_owned(), place: None };
            keys = self.child(name, None, None).run(|s| read(s, &located)).1;
        }
        self.declare(name, doc, Shape::Named(keys));
        results
    }

    /// A list of tables; none where something else is written.
    pub fn list<R>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&mut Section<'t, '_, 'e>) -> R,
    ) -> Option<Vec<R>> {
        let (mut results, mut keys) = (Some(Vec::new()), Vec::new());
        match self.find(name).map(|(entry, _)| &entry.node) {
            Some(Node { value: Value::Array(nodes), .. }) => {
                for (index, node) in nodes.iter().enumerate() {
                    let Some(own) = self.table_of(node) else { continue };
                    let path = format!("{name}[{index}]");
                    let result = self.child(&path, Some(own), None).run(&mut read).0;
                    results.get_or_insert_default().push(result);
                }
            }
            Some(node) => {
                self.reader.wrong_type_for(node, "a list of tables such as [{ … }, { … }]");
                results = None;
            }
            None if self.reader.describing => keys = self.child(name, None, None).run(&mut read).1,
            None => {}
        }
        self.declare(name, doc, Shape::List(keys));
        results
    }

    /// A list, each a single value or a table that says more; a single value is one for the table's key
    /// `short_for`. `None` where it is left out, or where something else is written.
    pub fn list_of_either<K: Kind, R>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        (kind, short_for): (K, &str),
        mut read: impl FnMut(&mut Section<'t, '_, 'e>) -> R,
    ) -> Option<Vec<Either<Located<K::Value>, R>>> {
        let (mut results, mut keys) = (None, Vec::new());
        match self.find(name) {
            Some((Entry { node: Node { value: Value::Array(nodes), .. }, .. }, from)) => {
                let mut found = Vec::with_capacity(nodes.len());
                for (index, node) in nodes.iter().enumerate() {
                    let path = format!("{name}[{index}]");
                    if let Value::Table(table) = &node.value {
                        let own = Some((&node.place, table));
                        found.push(Either::Table(self.child(&path, own, None).run(&mut read).0));
                    } else {
                        let section = format!("{}.{path}", self.path);
                        let value = self.read_node(node, &kind, from, (&section, short_for));
                        found.extend(value.map(Either::Value));
                    }
                }
                results = Some(found);
            }
            Some((entry, _)) => {
                let wanted = format!("a list such as [ … ], each {}", kind.wanted());
                self.reader.wrong_type_for(&entry.node, &wanted);
            }
            None if self.reader.describing => keys = self.child(name, None, None).run(&mut read).1,
            None => {}
        }
        self.declare(name, doc, Shape::EitherList(KindShape::of(&kind), keys));
        results
    }

    /// A table of which only a plugin knows the keys.
    pub fn tree(&mut self, name: &'static str, doc: &'static str) -> Option<Tree> {
        self.declare(name, doc, Shape::Tree);
        let (entry, _) = self.find(name)?;
        let (place, table) = self.table_of(&entry.node)?;
        Some(Tree::read(table, place, self.reader))
    }

    /// A single value, or a table that says more.
    pub fn either<K: Kind, R>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        kind: K,
        read: impl FnOnce(&mut Section<'t, '_, 'e>) -> R,
    ) -> Option<Either<Located<K::Value>, R>> {
        let found = self.find(name);
        let table = match found {
            Some((Entry { node: Node { value: Value::Table(table), place }, .. }, _)) => Some((place, table)),
            _ => None,
        };
        let (result, keys) = match table {
            None if !self.reader.describing => (None, Vec::new()),
            own => self.child(name, own, None).run(|s| Some(read(s))),
        };
        self.declare(name, doc, Shape::Either(KindShape::of(&kind), keys));
        match table {
            Some(_) => result.map(Either::Table),
            None => self.read(name, &kind).map(Either::Value),
        }
    }

    /// A table whose keys are the user's. What it lacks of the table of defaults is added.
    pub fn map<N: Kind, V: Kind>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        (names, values): (N, V),
    ) -> Entries<N::Value, V::Value>
    where
        N::Value: PartialEq,
    {
        self.declare(name, doc, Shape::Map(KindShape::of(&values)));
        let own = self.own.and_then(|table| table.find(name));
        let own = own.and_then(|entry| self.table_of(&entry.node)).map(|(_, table)| (table, None));
        let inherited = self.fallback.and_then(|fallback| match &fallback.table.find(name)?.node.value {
            Value::Table(table) => Some((table, Some(fallback.name))),
            _ => None,
        });
        let mut found: Entries<N::Value, V::Value> = Vec::new();
        for (table, from) in own.into_iter().chain(inherited) {
            let own_ones = found.len();
            for entry in &table.entries {
                let Some(key) = self.read_map_key(entry, &names) else { continue };
                let same = found.iter().position(|(known, _)| known.value == key.value);
                if same.is_some_and(|at| from.is_some() && at < own_ones) {
                    continue;
                }
                if let Some((known, _)) = same.and_then(|at| found.get(at)) {
                    let again = Diagnostic::error(format!("`{}` is set twice", entry.key))
                        .at(&entry.key_place, "again here")
                        .also(&known.place, "first here");
                    self.report(again);
                    continue;
                }
                let section = format!("{}.{name}", self.path);
                if let Some(value) = self.read_entry(entry, &values, from, &section) {
                    found.push((key, value));
                }
            }
        }
        found
    }

    fn read_map_key<N: Kind>(&mut self, entry: &Entry, names: &N) -> Option<Located<N::Value>> {
        let node = Node { place: entry.key_place.clone(), value: Value::Text(entry.key.clone()) };
        let value = names.read(&node, self.reader)?;
        Some(Located { value, place: Some(node.place) })
    }

    /// Reads the value of a key, if there is one and it can be read.
    fn read<K: Kind>(&mut self, name: &str, kind: &K) -> Option<Located<K::Value>> {
        let (entry, from) = self.find(name)?;
        let section = self.path.clone();
        self.read_entry(entry, kind, from, &section)
    }

    fn read_entry<K: Kind>(
        &mut self,
        entry: &Entry,
        kind: &K,
        from: Option<&'static str>,
        section: &str,
    ) -> Option<Located<K::Value>> {
        self.read_node(&entry.node, kind, from, (section, &entry.key))
    }

    fn read_node<K: Kind>(
        &mut self,
        node: &Node,
        kind: &K,
        from: Option<&'static str>,
        (section, key): (&str, &str),
    ) -> Option<Located<K::Value>> {
        self.reader.begin();
        let value = kind.read(node, self.reader)?;
        let place = node.place.clone();
        let origin = match from {
            None => Origin::Written(place.clone()),
            Some(table) => Origin::Inherited(table, place.clone()),
        };
        self.reader.record(section, key, kind.write(&value), origin);
        Some(Located { value, place: Some(place) })
    }

    /// The entry of a key, and the table of defaults that it is from, if it is.
    fn find(&self, name: &str) -> Option<(&'t Entry, Option<&'static str>)> {
        if let Some(entry) = self.own.and_then(|table| table.find(name)) {
            return Some((entry, None));
        }
        let fallback = self.fallback?;
        Some((fallback.table.find(name)?, Some(fallback.name)))
    }

    fn table_of<'n>(&mut self, node: &'n Node) -> Option<(&'n Place, &'n Table)> {
        match &node.value {
            Value::Table(table) => Some((&node.place, table)),
            _ => {
                self.reader.wrong_type_for(node, "a table such as { … }");
                None
            }
        }
    }

    fn child<'c>(
        &'c mut self,
        name: &str,
        own: Option<(&Place, &'t Table)>,
        fallback: Option<Fallback<'t>>,
    ) -> Section<'t, 'c, 'e> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let place = own.map(|(place, _)| place.clone()).or_else(|| self.place.clone());
        let own = own.map(|(_, table)| table);
        Section { path, place, own, fallback, keys: Vec::new(), reader: self.reader }
    }

    fn declare(&mut self, name: &'static str, doc: &'static str, shape: Shape) {
        debug_assert!(self.keys.iter().all(|key| key.name != name), "`{name}` is declared twice");
        self.keys.push(Key { name, doc, shape });
    }

    /// Names stand in headers, metrics and paths of logs, so they are plain.
    fn check_name(&mut self, entry: &Entry) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if entry.key.is_empty() || entry.key.len() > 64 || !entry.key.chars().all(plain) {
            self.report(
                Diagnostic::error("this name cannot be used")
                    .at(&entry.key_place, "1 to 64 letters, digits, `.`, `_` or `-`"),
            );
        }
    }

    fn report_unknown_keys(&mut self) {
        let known: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        for entry in self.own.map_or(&[][..], |table| &table.entries) {
            if !known.contains(&entry.key.as_str()) {
                self.reader.report(unknown(&entry.key, &entry.key_place, "key", &known));
            }
        }
    }
}

/// A word that is none of the known ones.
pub fn unknown<'p>(
    word: &str,
    place: impl Into<Option<&'p Place>>,
    what: &str,
    known: &[&str],
) -> Diagnostic {
    let label = nearest(word, known).map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
    let list = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let diagnostic = Diagnostic::error(format!("unknown {what} `{word}`")).at(place, label);
    if list.is_empty() { diagnostic } else { diagnostic.help(format!("known here: {list}")) }
}

/// The known word that was probably meant: a slip or two away, or longer by a piece.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let slips = |near: &str| strsim::damerau_levenshtein(&word, near);
    // A third of the word: fewer would miss slips, more would offer anything for short words.
    let by_slips = known
        .iter()
        .copied()
        .filter(|near| slips(near) <= (near.len() + 1) / 3)
        .min_by_key(|near| slips(near));
    let by_piece = || known.iter().copied().find(|near| word.len() > 2 && near.starts_with(word.as_str()));
    by_slips.or_else(by_piece)
}
