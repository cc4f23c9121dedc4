//! `builtin:route`: sends records to named destinations, samples them, discards them.
//!
//! Every key is described in this plugin's README. Rules are asked in their order, and the first that matches
//! a record has it. So each rule looks only at what those before it left; records that no rule wanted take
//! the tenant's own upstream.

use std::collections::BTreeSet;

use serde::Deserialize;
use tollgate_condition::When;
use tollgate_plugin::{
    Batch, DEFAULT_DESTINATION, Field, Level, Plugin, Registration, Result, Rows, Setup, Verdict,
};

use crate::sample::{Ratio, WithoutTraceId};

mod sample;
#[cfg(test)]
mod tests;

tollgate_plugin::export!(Route);

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    rules: Vec<Rule>,
    /// Whether a record without a trace id is in every sample, or in none.
    #[serde(default)]
    without_trace_id: WithoutTraceId,
}

/// Which records, and what becomes of them.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Rule {
    when: Option<When>,
    /// Of these, only those in the sample, or only those out of it.
    sample: Option<Sample>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Sample {
    In(Ratio),
    OutOf(Ratio),
}

#[derive(Debug)]
enum Fate {
    Discard,
    To(Vec<String>),
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    when: Option<When>,
    sample: Option<Ratio>,
    to: Option<Destinations>,
    #[serde(default)]
    discard: bool,
    keep: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a destination, or a list of them")]
enum Destinations {
    One(String),
    Several(Vec<String>),
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<Rule, String> {
        let Written { when, sample, to, discard, keep } = written;
        if let Some(when) = &when {
            when.check(Level::Record)?;
        }
        let (sample, fate) = match (to, discard, keep) {
            (Some(to), false, None) => (sample.map(Sample::In), Fate::To(to.names()?)),
            (None, true, None) => (sample.map(Sample::In), Fate::Discard),
            (None, false, Some(ratio)) if sample.is_none() => (Some(Sample::OutOf(ratio)), Fate::Discard),
            _ => {
                return Err(
                    "a rule has one of `to`, `discard = true` and `keep`, which goes without `sample`"
                        .to_owned(),
                );
            }
        };
        Ok(Rule { when, sample, fate })
    }
}

impl Destinations {
    fn names(self) -> std::result::Result<Vec<String>, String> {
        let names = match self {
            Destinations::One(name) => vec![name],
            Destinations::Several(names) => names,
        };
        if names.is_empty() {
            return Err(
                "`to` names no destination; `discard = true` says that nothing is to be kept".to_owned()
            );
        }
        Ok(names)
    }
}

/// The rules, and the level that they are decided at: the innermost that one of them looks at, so that
/// batches of many records cost nothing where only their resources are asked.
struct Route {
    rules: Vec<Rule>,
    level: Level,
    without_trace_id: WithoutTraceId,
}

impl Plugin for Route {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<Route> {
        let Config { rules, without_trace_id } = config;
        let level = rules.iter().map(Rule::level).max().unwrap_or(Level::Resource);
        Ok(Route { rules, level, without_trace_id })
    }

    fn registration(&self) -> Registration {
        let names: BTreeSet<&str> = self.rules.iter().flat_map(Rule::destinations).collect();
        Registration::default().destinations(names.into_iter().filter(|name| *name != DEFAULT_DESTINATION))
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        // Metrics have a level more than the other signals; a rule that asks it finds nothing there.
        let level = if self.level.is_in(batch.signal()) { self.level } else { Level::Record };
        let mut left = Rows::All;
        for rule in &self.rules {
            let matched = match &rule.when {
                Some(when) => when.rows(batch, level, left.clone())?,
                None => left.clone(),
            };
            let matched = match rule.sample {
                Some(sample) => self.sampled(batch, matched, sample)?,
                None => matched,
            };
            if matched.is_empty() {
                continue;
            }
            match &rule.fate {
                Fate::Discard => batch.level(level).rows(&matched).discard()?,
                Fate::To(destinations) => batch.level(level).rows(&matched).route_to(destinations)?,
            }
            if rule.when.is_none() && rule.sample.is_none() {
                break;
            }
            left = without(batch, level, &left, &matched);
            if left.is_empty() {
                break;
            }
        }
        Ok(Verdict::Forward)
    }
}

impl Route {
    /// Of these records, those in the sample or out of it.
    fn sampled(&self, batch: &Batch, rows: Rows, sample: Sample) -> Result<Rows> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let is_in = |ratio: Ratio, trace_id: Option<&[u8]>| ratio.takes(trace_id, self.without_trace_id);
        let wanted = |trace_id| match sample {
            Sample::In(ratio) => is_in(ratio, trace_id),
            Sample::OutOf(ratio) => !is_in(ratio, trace_id),
        };
        if !Field::TraceId.is_in(batch.signal(), Level::Record) {
            return Ok(if wanted(None) { rows } else { Rows::Only(Vec::new()) });
        }
        let records = batch.records().rows(&rows);
        let trace_ids = records.field(Field::TraceId).bytes()?;
        let indexes = records.indexes();
        let chosen = indexes.into_iter().zip(trace_ids.cells()).filter(|(_, trace_id)| wanted(*trace_id));
        Ok(chosen.map(|(row, _)| row).collect())
    }
}

impl Rule {
    fn level(&self) -> Level {
        if self.sample.is_some() {
            return Level::Record;
        }
        self.when.as_ref().map_or(Level::Resource, |when| when.innermost(Level::Record))
    }

    fn destinations(&self) -> impl Iterator<Item = &str> {
        match &self.fate {
            Fate::Discard => [].iter(),
            Fate::To(names) => names.iter(),
        }
        .map(String::as_str)
    }
}

fn without(batch: &Batch, level: Level, rows: &Rows, gone: &Rows) -> Rows {
    let gone = batch.level(level).rows(gone).indexes();
    let rows = batch.level(level).rows(rows).indexes();
    rows.into_iter().filter(|row| gone.binary_search(row).is_err()).collect()
}
