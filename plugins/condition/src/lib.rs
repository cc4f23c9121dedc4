//! `when` in a plugin's configuration: which rows a rule is about.
//!
//! ```toml
//! when = { attribute = "level", equals = "error" }            # of the row itself
//! when = { resource = "service.name", one_of = ["oxygen", "hydrogen"] }
//! when = { field = "body", matches = 'timeout after \d+ ms' }
//! when = { attribute = "user.id", present = false }
//! when = { attribute = "code", at_least = 500, below = 600 }
//! when = { severity_at_least = "warn" }                       # or severity_below
//! when = { signal = "logs" }                                  # or a list
//! when = { all = [{ … }, { … }] }                             # any, not
//! ```
//!
//! A table asks for one place (`attribute`, `field`, or by level: `resource`, `scope`, `metric`, `record`)
//! and tests it; everything that stands in one table must hold. At a level's name the target may be an
//! attribute's key or `@` and the name of a field, such as `@schema_url`. An attribute whose key begins with
//! `@` is written with two, here and at `attribute`.
//!
//! Where a signal has no such field or level, the cell counts as absent.

use serde::{Deserialize, Deserializer};
use tollgate_plugin::{Batch, Field, Level, Pattern, Result, Rows, Signal, Target, Test, Value};

/// Which rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Table")]
pub enum When {
    /// All of these hold. Those of outer levels stand first, so that each narrows what the next looks at.
    All(Vec<When>),
    /// Any of these holds.
    Any(Vec<When>),
    /// This does not hold.
    Not(Box<When>),
    /// The batch carries one of these.
    Signal(Vec<Signal>),
    /// A cell passes a test.
    Cell {
        /// The level, or the row's own.
        level: Option<Level>,
        /// What of the row.
        target: Target,
        /// What it must pass.
        test: Test,
    },
}

impl When {
    /// The rows of a level for which it holds, among these.
    ///
    /// # Errors
    /// The host's; none where [`check`](When::check) had none.
    pub fn rows(&self, batch: &Batch, level: Level, among: Rows) -> Result<Rows> {
        if among.is_empty() {
            return Ok(among);
        }
        match self {
            When::All(conditions) => {
                conditions.iter().try_fold(among, |among, condition| condition.rows(batch, level, among))
            }
            When::Any(conditions) => any(conditions, batch, level, among),
            When::Not(condition) => {
                let all = batch.level(level).rows(&among).indexes();
                let held = condition.rows(batch, level, among)?;
                let held = batch.level(level).rows(&held).indexes();
                Ok(without(all, &held))
            }
            When::Signal(signals) => Ok(only_if(signals.contains(&batch.signal()), among)),
            When::Cell { level: at, target, test } => {
                let at = at.unwrap_or(level);
                if !target.is_in(batch.signal(), at) {
                    return Ok(only_if(matches!(test, Test::Absent), among));
                }
                if at == level {
                    return batch.level(level).rows(&among).target(target).find(test);
                }
                outer(batch, level, at, target, test, among)
            }
        }
    }

    /// The innermost level that it looks at, where a row's own is `own`.
    pub fn innermost(&self, own: Level) -> Level {
        match self {
            When::All(conditions) | When::Any(conditions) => {
                conditions.iter().map(|when| when.innermost(own)).max().unwrap_or(Level::Resource)
            }
            When::Not(condition) => condition.innermost(own),
            When::Signal(_) => Level::Resource,
            When::Cell { level, .. } => level.unwrap_or(own),
        }
    }

    /// Whether rows of this level can be chosen by it: they can by their own cells and those of the rows
    /// around them.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check(&self, level: Level) -> std::result::Result<(), String> {
        match self {
            When::All(conditions) | When::Any(conditions) => {
                conditions.iter().try_for_each(|when| when.check(level))
            }
            When::Not(condition) => condition.check(level),
            When::Signal(_) => Ok(()),
            When::Cell { level: at, target, .. } => {
                let at = at.unwrap_or(level);
                if at > level {
                    return Err(format!(
                        "a {level} is not chosen by its {at}s; the rule's level would be `{at}`"
                    ));
                }
                match target {
                    Target::BuiltIn(field) if !field.is_at(at) => {
                        Err(format!("a {at} has no field `{field}`"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A test of an outer level: what is below the rows that pass it.
fn outer(batch: &Batch, level: Level, at: Level, target: &Target, test: &Test, among: Rows) -> Result<Rows> {
    let (within, narrowed) = match &among {
        Rows::Under(parents) if parents.level == at => (Rows::Only(parents.indexes.clone()), true),
        Rows::Under(parents) if parents.level < at => (among.clone(), true),
        Rows::All => (Rows::All, true),
        Rows::Under(_) | Rows::Only(_) => (Rows::All, false),
    };
    let Rows::Only(passed) = batch.level(at).rows(&within).target(target).find(test)? else {
        return Ok(among);
    };
    let below = Rows::under(at, passed);
    if narrowed || below.is_empty() {
        return Ok(below);
    }
    let below = batch.level(level).rows(&below).indexes();
    let among = batch.level(level).rows(&among).indexes();
    Ok(among.into_iter().filter(|row| below.binary_search(row).is_ok()).collect())
}

/// Each condition looks at what those before it left.
fn any(conditions: &[When], batch: &Batch, level: Level, among: Rows) -> Result<Rows> {
    if let [condition] = conditions {
        return condition.rows(batch, level, among);
    }
    let mut left = batch.level(level).rows(&among).indexes();
    let mut held = Vec::new();
    for condition in conditions {
        let more = condition.rows(batch, level, Rows::Only(left.clone()))?;
        let more = batch.level(level).rows(&more).indexes();
        left.retain(|row| more.binary_search(row).is_err());
        held.extend(more);
    }
    held.sort_unstable();
    Ok(Rows::Only(held))
}

/// Texts are one pattern, and so one question to the host however many they are.
fn one_of(values: Vec<Value>) -> std::result::Result<Vec<Test>, String> {
    let texts: Option<Vec<&str>> = values.iter().map(Value::as_text).collect();
    match texts {
        Some(texts) if texts.len() > 1 => {
            let pattern = Pattern::exactly(texts).map_err(|error| error.message().to_owned())?;
            Ok(vec![Test::from(pattern)])
        }
        _ => Ok(values.into_iter().map(Test::Equals).collect()),
    }
}

fn without(all: Vec<u32>, gone: &[u32]) -> Rows {
    all.into_iter().filter(|row| gone.binary_search(row).is_err()).collect()
}

fn only_if(holds: bool, among: Rows) -> Rows {
    if holds { among } else { Rows::Only(Vec::new()) }
}

/// A severity by name or number, as a log record has it.
#[derive(Clone, Copy, Debug)]
pub struct Severity(pub i64);

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Severity, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::Int(number @ 1..=24) => number,
            Value::Text(name) if name == "trace" => 1,
            Value::Text(name) if name == "debug" => 5,
            Value::Text(name) if name == "info" => 9,
            Value::Text(name) if name == "warn" => 13,
            Value::Text(name) if name == "error" => 17,
            Value::Text(name) if name == "fatal" => 21,
            _ => {
                return Err(serde::de::Error::custom(
                    "a severity is trace, debug, info, warn, error, fatal, or a number from 1 to 24",
                ));
            }
        };
        Ok(Severity(number))
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    all: Option<Vec<When>>,
    any: Option<Vec<When>>,
    not: Option<Box<When>>,

    signal: Option<Signals>,
    severity_at_least: Option<Severity>,
    severity_below: Option<Severity>,

    attribute: Option<Target>,
    field: Option<Field>,
    resource: Option<Target>,
    scope: Option<Target>,
    metric: Option<Target>,
    record: Option<Target>,

    present: Option<bool>,
    equals: Option<Value>,
    one_of: Option<Vec<Value>>,
    matches: Option<Pattern>,
    at_least: Option<f64>,
    below: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "logs, traces, metrics, or a list of them")]
enum Signals {
    One(Signal),
    Several(Vec<Signal>),
}

impl TryFrom<Table> for When {
    type Error = String;

    fn try_from(mut table: Table) -> std::result::Result<When, String> {
        table.check_lists()?;
        let mut conditions = Vec::new();
        if let Some(signals) = table.signal.take() {
            conditions.push(When::Signal(match signals {
                Signals::One(signal) => vec![signal],
                Signals::Several(signals) => signals,
            }));
        }
        conditions.extend(table.cell()?);
        let severity =
            |test| When::Cell { level: Some(Level::Record), target: Field::SeverityNumber.into(), test };
        conditions
            .extend(table.severity_at_least.map(|Severity(number)| severity(Test::AtLeast(number as f64))));
        conditions.extend(table.severity_below.map(|Severity(number)| severity(Test::Below(number as f64))));
        conditions.extend(table.all.take().unwrap_or_default());
        conditions.extend(table.any.take().map(When::Any));
        conditions.extend(table.not.take().map(When::Not));
        match conditions.len() {
            0 => Err("an empty condition: leave `when` out where a rule is about everything".to_owned()),
            1 => Ok(conditions.remove(0)),
            _ => {
                conditions.sort_by_key(When::turn);
                Ok(When::All(conditions))
            }
        }
    }
}

impl When {
    /// When it is its turn among others: from the outside in, and what makes lists of rows last.
    fn turn(&self) -> (u8, Option<Level>) {
        match self {
            When::Signal(_) => (0, None),
            When::Cell { level: Some(level), .. } => (1, Some(*level)),
            When::Cell { level: None, .. } => (2, None),
            When::All(_) => (3, None),
            When::Any(_) | When::Not(_) => (4, None),
        }
    }
}

impl Table {
    /// One of nothing holds for no row: whoever writes it means something else.
    fn check_lists(&self) -> std::result::Result<(), String> {
        let empty_lists = [
            ("signal", matches!(&self.signal, Some(Signals::Several(signals)) if signals.is_empty())),
            ("one_of", self.one_of.as_ref().is_some_and(Vec::is_empty)),
            ("any", self.any.as_ref().is_some_and(Vec::is_empty)),
        ];
        match empty_lists.iter().find(|(_, is_empty)| *is_empty) {
            Some((key, _)) => Err(format!("`{key}` is an empty list: it would hold for no row")),
            None => Ok(()),
        }
    }

    /// One cell, and a condition for each of its tests.
    fn cell(&mut self) -> std::result::Result<Vec<When>, String> {
        if let Some(Target::BuiltIn(field)) = &self.attribute {
            return Err(format!(
                "`@{field}` is a field: `field = \"{field}\"`; an attribute of this name is written `@@{field}`"
            ));
        }
        let mut places = Vec::new();
        places.extend(self.attribute.take().map(|target| (None, target)));
        places.extend(self.field.take().map(|field| (None, Target::BuiltIn(field))));
        places.extend(self.resource.take().map(|target| (Some(Level::Resource), target)));
        places.extend(self.scope.take().map(|target| (Some(Level::Scope), target)));
        places.extend(self.metric.take().map(|target| (Some(Level::Metric), target)));
        places.extend(self.record.take().map(|target| (Some(Level::Record), target)));

        let mut tests = Vec::new();
        tests.extend(self.present.take().map(|is| vec![if is { Test::Present } else { Test::Absent }]));
        tests.extend(self.equals.take().map(|value| vec![Test::Equals(value)]));
        tests.extend(self.one_of.take().map(one_of).transpose()?);
        tests.extend(self.matches.take().map(|pattern| vec![Test::from(pattern)]));
        tests.extend(self.at_least.take().map(|number| vec![Test::AtLeast(number)]));
        tests.extend(self.below.take().map(|number| vec![Test::Below(number)]));

        if places.len() > 1 {
            return Err("one table is about one place; several go into `all = [{ … }, { … }]`".to_owned());
        }
        match (places.pop(), tests.is_empty()) {
            (None, true) => Ok(Vec::new()),
            (None, false) => {
                Err("a test without a place: `attribute`, `field`, `resource`, `scope`, `metric` or `record`"
                    .to_owned())
            }
            (Some(_), true) => {
                Err("a place without a test: `equals`, `one_of`, `matches`, `present`, `at_least` or `below`"
                    .to_owned())
            }
            (Some((level, target)), false) => {
                let cell = |test| When::Cell { level, target: target.clone(), test };
                let either = |mut tests: Vec<Test>| match tests.len() {
                    1 => cell(tests.remove(0)),
                    _ => When::Any(tests.into_iter().map(cell).collect()),
                };
                Ok(tests.into_iter().map(either).collect())
            }
        }
    }
}
