//! What is done to a batch of one signal, prepared when the instance starts.

use tollgate_condition::When;
use tollgate_plugin::{
    Batch, Capture, Column, HashKey, Level, Pattern, Result, Rows, Signal, Target, Value, count,
};

use crate::config::{Config, Copy, Edits, Hash, Key, Rename, Rule, Update};
use crate::json::ParseJson;
use crate::severity::MapSeverity;

/// Texts that an `extract` found and that their field could not take: ids of zeros, of a wrong length.
const EXTRACT_INVALID: &str = "extract_invalid";

/// Steps in the order of the rules.
#[derive(Debug)]
pub struct Plan {
    steps: Vec<Step>,
}

/// A rule: which rows, and what is done to them.
#[derive(Debug)]
struct Step {
    level: Level,
    when: Option<When>,
    edits: Vec<Edit>,
}

/// One call to the host, everything that it takes ready.
#[derive(Debug)]
enum Edit {
    ParseJson(ParseJson),
    Extract(Column, Pattern, Vec<Capture>),
    MapSeverity(MapSeverity),
    Remove(Column),
    RemoveKeys(Pattern),
    KeepKeys(Pattern),
    Rename(String, String),
    RenameKeys(Pattern, String),
    Copy(Column, Column),
    CopyKeys(Pattern, String),
    Set(Column, Value),
    Insert(Column, Value),
    Update(Column, Value),
    UpdateKeys(Pattern, Value),
    Hash(Column, Option<HashKey>),
    HashKeys(Pattern, Option<HashKey>),
}

impl Plan {
    /// Levels and fields that the signal does not have are left out: there is nothing to do there.
    pub fn new(config: &Config, signal: Signal) -> Plan {
        let rules = config.rules.iter().filter(|rule| rule.level.is_in(signal));
        let steps = rules.map(|rule| Step {
            level: rule.level,
            when: rule.when.clone(),
            edits: Prepared::of(rule, config.hash_key, signal),
        });
        Plan { steps: steps.filter(|step| !step.edits.is_empty()).collect() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Does it.
    pub fn run(&self, batch: &Batch) -> Result<()> {
        for step in &self.steps {
            let rows = match &step.when {
                Some(when) => when.rows(batch, step.level, Rows::All)?,
                None => Rows::All,
            };
            if !rows.is_empty() {
                step.edits.iter().try_for_each(|edit| edit.run(batch, step.level, &rows))?;
            }
        }
        Ok(())
    }
}

impl Edit {
    fn run(&self, batch: &Batch, level: Level, rows: &Rows) -> Result<()> {
        let table = batch.level(level).rows(rows);
        match self {
            Edit::ParseJson(parse) => parse.run(table),
            Edit::Extract(source, pattern, into) => {
                let extracted = batch.column(source).rows(rows).extract(*pattern, into)?;
                if extracted.invalid > 0 {
                    count(EXTRACT_INVALID, u64::from(extracted.invalid));
                }
                Ok(())
            }
            Edit::MapSeverity(severity) => severity.run(table),
            Edit::Remove(column) => batch.column(column).rows(rows).remove(),
            Edit::RemoveKeys(keys) => table.remove_keys(*keys),
            Edit::KeepKeys(keys) => table.keep_keys(*keys),
            Edit::Rename(from, to) => table.rename(from, to),
            Edit::RenameKeys(keys, to) => table.rename_keys(*keys, to),
            Edit::Copy(source, to) => batch.column(to).rows(rows).copy_from(source),
            Edit::CopyKeys(keys, to) => table.copy_keys(*keys, to),
            Edit::Set(column, value) => batch.column(column).rows(rows).set(value),
            Edit::Insert(column, value) => batch.column(column).rows(rows).insert(value),
            Edit::Update(column, value) => batch.column(column).rows(rows).update(value),
            Edit::UpdateKeys(keys, value) => table.update_keys(*keys, value),
            Edit::Hash(column, key) => batch.column(column).rows(rows).hash(*key),
            Edit::HashKeys(keys, key) => table.hash_keys(*keys, *key),
        }
    }
}

/// Edits as they are being prepared.
struct Prepared {
    signal: Signal,
    level: Level,
    edits: Vec<Edit>,
}

impl Prepared {
    /// The order of effects is here.
    fn of(rule: &Rule, hash_key: Option<HashKey>, signal: Signal) -> Vec<Edit> {
        let Edits { parse_json, extract, severity, remove, keep, rename, copy, set, insert, update, hash } =
            &rule.edits;
        let mut this = Prepared { signal, level: rule.level, edits: Vec::new() };

        if let Some(parse) = parse_json {
            this.parse_json(parse);
        }
        for extract in &extract.elements {
            this.extract(&extract.from, extract.pattern, &extract.into);
        }
        if let Some(severity) = severity.as_ref().filter(|severity| severity.is_in(signal, rule.level)) {
            this.edits.push(Edit::MapSeverity(severity.clone()));
        }
        for key in &remove.elements {
            this.key(key, Edit::Remove, Edit::RemoveKeys);
        }
        this.edits.extend(keep.as_ref().map(|keep| Edit::KeepKeys(keep.0)));
        this.edits.extend(rename.0.iter().map(|rename| match rename.clone() {
            Rename::Key { from, to } => Edit::Rename(from, to),
            Rename::Keys { pattern, to } => Edit::RenameKeys(pattern, to),
        }));
        for copy in &copy.0 {
            this.copy(copy);
        }
        for assign in &set.0 {
            this.cell(&assign.target, |column| Edit::Set(column, assign.value.clone()));
        }
        for assign in &insert.0 {
            this.cell(&assign.target, |column| Edit::Insert(column, assign.value.clone()));
        }
        for update in &update.0 {
            match update.clone() {
                Update::Cell(assign) => {
                    this.cell(&assign.target, |column| Edit::Update(column, assign.value))
                }
                Update::Keys { pattern, value } => this.edits.push(Edit::UpdateKeys(pattern, value)),
            }
        }
        for Hash(key) in &hash.elements {
            this.key(key, |column| Edit::Hash(column, hash_key), |keys| Edit::HashKeys(keys, hash_key));
        }
        this.edits
    }

    fn cell(&mut self, target: &Target, edit: impl FnOnce(Column) -> Edit) {
        if target.is_in(self.signal, self.level) {
            self.edits.push(edit(target.clone().at(self.level)));
        }
    }

    fn key(&mut self, key: &Key, one: impl FnOnce(Column) -> Edit, matching: impl FnOnce(Pattern) -> Edit) {
        match key {
            Key::Target(target) => self.cell(target, one),
            Key::Pattern(pattern) => self.edits.push(matching(*pattern)),
        }
    }

    fn parse_json(&mut self, parse: &ParseJson) {
        let into_body =
            parse.body.is_none() || Target::from(tollgate_plugin::Field::Body).is_in(self.signal, self.level);
        if into_body && parse.from.is_in(self.signal, self.level) {
            self.edits.push(Edit::ParseJson(parse.clone()));
        }
    }

    fn extract(&mut self, from: &Target, pattern: Pattern, into: &[(String, Target)]) {
        let into = into.iter().filter(|(_, to)| to.is_in(self.signal, self.level));
        let into: Vec<Capture> = into.map(|(group, to)| Capture::new(group, to)).collect();
        if !into.is_empty() {
            self.cell(from, |column| Edit::Extract(column, pattern, into));
        }
    }

    fn copy(&mut self, copy: &Copy) {
        match copy.clone() {
            Copy::Cell { from, level, to } => {
                let level = level.unwrap_or(self.level);
                if from.is_in(self.signal, level) {
                    self.cell(&to, |to| Edit::Copy(from.at(level), to));
                }
            }
            Copy::Keys { pattern, to } => self.edits.push(Edit::CopyKeys(pattern, to)),
        }
    }
}
