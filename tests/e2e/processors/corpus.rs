//! The cases, as the files of `tests/processors` describe them; its README says how.

use super::{notation, place::Place};
use crate::kit::real::repository;
use serde::Deserialize;
use std::{collections::BTreeMap, fs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    case: Vec<Case>,
}

/// A configuration of each side, and what becomes of rows under it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// Processors by their types.
    pub collector: toml::Table,
    /// The configurations of built-in plugins by their names.
    pub tollgate: toml::Table,
    /// Where the rows are planted: at each of these places for itself.
    #[serde(rename = "at", default = "records")]
    at: Vec<At>,
    pub rows: Vec<Row>,
}

/// Places that go together, or one.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum At {
    /// As the `attributes` processor knows them.
    Records,
    Resources,
    Scopes,
    #[serde(untagged)]
    One(Place),
}

fn records() -> Vec<At> {
    vec![At::Records]
}

impl Case {
    pub fn places(&self) -> impl Iterator<Item = Place> {
        use Place::*;
        self.at.iter().flat_map(|at| match at {
            At::Records => vec![Log, Span, Gauge, Sum, Histogram, ExponentialHistogram, Summary],
            At::Resources => vec![ResourceOfLogs, ResourceOfSpans, ResourceOfMetrics],
            At::Scopes => vec![ScopeOfLogs, ScopeOfSpans, ScopeOfMetrics],
            At::One(place) => vec![*place],
        })
    }
}

/// What is planted, and what has to arrive.
#[derive(Deserialize)]
#[serde(from = "Written")]
pub struct Row {
    pub sent: String,
    collector: String,
    tollgate: String,
    /// Where the two differ.
    why: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub enum Side {
    Collector,
    Tollgate,
}

impl Row {
    pub fn meant(&self, side: Side) -> &str {
        match side {
            Side::Collector => &self.collector,
            Side::Tollgate => &self.tollgate,
        }
    }
}

/// What arrives of a request that is not handed on.
pub const NOTHING: &str = "nothing arrives";

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "`stays`, or `in` with `both`, or with the rest")]
enum Written {
    Stays { stays: String },
    Alike { r#in: String, both: String },
    Differs { r#in: String, collector: String, tollgate: String, why: String },
}

impl From<Written> for Row {
    fn from(written: Written) -> Self {
        let (sent, collector, tollgate, why) = match written {
            Written::Stays { stays } => (stays.clone(), stays.clone(), stays, None),
            Written::Alike { r#in, both } => (r#in, both.clone(), both, None),
            Written::Differs { r#in, collector, tollgate, why } => (r#in, collector, tollgate, Some(why)),
        };
        Self { sent, collector: normal(&collector), tollgate: normal(&tollgate), why }
    }
}

/// As the other side of a comparison is rendered.
fn normal(written: &str) -> String {
    match written {
        NOTHING => NOTHING.to_owned(),
        _ => notation::render(Some(&notation::parse(written))),
    }
}

/// Every case of every file, in the order of their names.
pub fn read() -> Vec<Case> {
    let entries = fs::read_dir(repository("tests/processors")).expect("the corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let page = fs::read_to_string(repository(PAGE)).expect("the page");
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a file of the corpus");
        let File { reasons, case } =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (key, reason) in &reasons {
            assert!(page.contains(reason), "{PAGE} does not say: {reason}");
            let is_used = case.iter().flat_map(|case| &case.rows).any(|row| row.why.as_ref() == Some(key));
            assert!(is_used, "{}: no row has the reason {key}", path.display());
        }
        for row in case.iter().flat_map(|case| &case.rows) {
            let is_known = row.why.as_ref().is_none_or(|why| reasons.contains_key(why));
            assert!(is_known, "{}: no such reason: {:?}", path.display(), row.why);
            let differs = row.collector != row.tollgate;
            assert_eq!(differs, row.why.is_some(), "{}: a difference has a reason", row.sent);
        }
        cases.extend(case);
    }
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "two cases of one name: {twice:?}");
    cases
}

/// Where those who come from the Collector read every reason.
const PAGE: &str = "docs/from-collector.md";
