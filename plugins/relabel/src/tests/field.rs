//! What the plugin says of fields beside what the host does with them, for every field, level and kind of value.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::{Value as Json, json};
use tollgate_plugin::test;
use tollgate_plugin::{Batch, Field, Level, Plugin, Result, Setup, Signal, Value, Verdict};

use crate::Relabel;

/// What the plugin takes, the host takes: nothing fails later that could have been said before. What the host
/// takes, the plugin takes, but for numbers to which the contract gives no meaning.
#[test]
fn what_is_refused_could_not_have_worked() {
    let values = [
        json!("text"),
        json!(""),
        json!("4bf92f3577b34da6a3ce929d0e0e4736"),
        json!("4BF92F3577B34DA6A3CE929D0E0E4736"),
        json!("00000000000000000000000000000000"),
        json!("00f067aa0ba902b7"),
        json!("0000000000000000"),
        json!("+0f067aa0ba902b7"),
        json!("17"),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(5),
        json!(6),
        json!(24),
        json!(25),
        json!(u32::MAX),
        json!(i64::from(u32::MAX) + 1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.0),
        Json::Null,
        json!(["a"]),
        json!({ "a": 1 }),
    ];
    for (level, field) in fields() {
        for value in &values {
            let is_taken = takes(level, json!({ "set": { format!("@{field}"): value } }));
            let works =
                unchecked(json!({ "level": level.name(), "to": field.name(), "set": value })).is_some();
            let is_meant = match (field, value.as_i64()) {
                (Field::SeverityNumber, Some(number)) => (1..=24).contains(&number),
                (Field::Kind, Some(number)) => (0..=5).contains(&number),
                (Field::StatusCode, Some(number)) => (0..=2).contains(&number),
                _ => true,
            };
            assert_eq!(is_taken, works && is_meant, "{level} {field} = {value}");
        }
    }
}

#[test]
fn copies_that_are_refused_could_not_have_worked() {
    let mut changed = BTreeSet::new();
    for (level, from) in fields() {
        for (_, to) in fields().into_iter().filter(|(of, _)| *of == level) {
            let is_taken = takes(level, json!({ "copy": { format!("@{from}"): format!("@{to}") } }));
            let copy = json!({ "level": level.name(), "copy": from.name(), "to": to.name() });
            let changes = unchecked(copy).unwrap() > 0;
            assert!(is_taken || !changes, "{level} {from} to {to}");
            if changes {
                changed.insert(level.name());
            }
        }
    }
    // What changes would have been seen.
    assert!(["record", "link", "exemplar"].iter().all(|level| changed.contains(level)), "{changed:?}");
}

#[test]
fn hashes_that_are_refused_could_not_have_worked() {
    for (level, field) in fields() {
        let is_taken = takes(level, json!({ "hash": format!("@{field}") }));
        let works = unchecked(json!({ "level": level.name(), "to": field.name() })).is_some();
        assert_eq!(is_taken, works, "{level} {field}");
    }
}

/// Whether the plugin takes an edit at a level.
fn takes(level: Level, mut rule: Json) -> bool {
    rule["level"] = json!(level.name());
    test::Instance::<Relabel>::new(&json!({ "rules": [rule] }).to_string()).is_ok()
}

/// The fields that a level has in some signal.
fn fields() -> Vec<(Level, Field)> {
    let all = Level::ALL.iter().flat_map(|level| Field::ALL.iter().map(|field| (*level, *field)));
    all.filter(|(level, field)| Signal::ALL.iter().any(|signal| field.is_in(*signal, *level))).collect()
}

/// How many records the host changes, in batches of all signals that have the field; `None` where it refuses.
fn unchecked(config: Json) -> Option<u64> {
    let mut plugin = test::Instance::<Unchecked>::new(&config.to_string()).unwrap();
    let ids = json!({ "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7" });
    let with_ids = |mut row: Json| {
        row.as_object_mut().unwrap().extend(ids.as_object().unwrap().clone());
        row
    };
    let record = with_ids(json!({
        "body": "17", "severityNumber": 9, "severityText": "17", "eventName": "17", "flags": 1,
        "timeUnixNano": "3", "observedTimeUnixNano": "4",
    }));
    let link = with_ids(json!({ "traceState": "17", "flags": 1 }));
    let span = with_ids(json!({
        "name": "17", "startTimeUnixNano": "3", "endTimeUnixNano": "4", "parentSpanId": "00f067aa0ba902b8",
        "traceState": "18", "kind": 2, "status": { "code": 1, "message": "19" }, "flags": 5,
        "events": [{ "name": "17", "timeUnixNano": "6" }], "links": [link],
    }));
    let exemplar = with_ids(json!({ "timeUnixNano": "6", "asInt": "7" }));
    let point = json!({
        "timeUnixNano": "3", "startTimeUnixNano": "4", "flags": 1, "asInt": "5", "exemplars": [exemplar],
    });
    let batches = [
        test::logs(json!({}), record),
        test::spans(json!({}), json!([span])),
        test::data_points(json!({}), "17", json!([point])),
    ];
    batches.into_iter().map(|batch| plugin.run(batch).ok().map(|out| out.changed)).sum()
}

/// Asks the host as the plugin would without its checks: to set a field, to copy to it, or to hash it.
struct Unchecked(UncheckedConfig);

#[derive(Deserialize)]
struct UncheckedConfig {
    level: Level,
    to: Field,
    copy: Option<Field>,
    #[serde(default, deserialize_with = "some")]
    set: Option<Value>,
}

/// A `null` is a value too.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Plugin for Unchecked {
    type Config = UncheckedConfig;

    fn configure(config: UncheckedConfig, _: &Setup) -> Result<Unchecked> {
        Ok(Unchecked(config))
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        let UncheckedConfig { level, to, copy, set } = &self.0;
        let table = batch.level(*level);
        match (set, copy) {
            _ if !to.is_in(batch.signal(), *level) => {}
            (Some(value), _) => table.set(*to, value)?,
            (None, Some(from)) if from.is_in(batch.signal(), *level) => table.copy(*from, *to)?,
            (None, Some(_)) => {}
            (None, None) => table.target(*to).hash(None)?,
        }
        Ok(Verdict::Forward)
    }
}
