//! OTLP/JSON as far as it is looked into: one JSON object, and how many records it holds.

use super::Signal;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{collections::BTreeMap, fmt};

/// Checks that a body is one JSON object and counts the records in it, in one pass that keeps
/// nothing. Shapes that are no OTLP hold no records; whoever decodes them says what is wrong.
///
/// # Errors
/// What is wrong, with line and column.
pub fn count_records(signal: Signal, body: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the body is not UTF-8 at byte {}", error.valid_up_to()))?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err("the body is not a JSON object".to_owned());
    }
    let mut count = 0;
    let mut json = serde_json::Deserializer::from_str(text);
    Counter { path: path(signal), count: &mut count }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| format!("the body is not JSON: {error}"))?;
    Ok(count)
}

/// Whether a batch holds nothing at all: no fields, or only empty lists.
pub fn is_empty(body: &[u8]) -> bool {
    let lists = serde_json::from_slice::<BTreeMap<String, Vec<IgnoredAny>>>(body);
    lists.is_ok_and(|lists| lists.values().all(Vec::is_empty))
}

/// The names of the lists on the way to a record, outermost first. A step of several names is a
/// choice; the last step's elements are the records.
type Path = &'static [&'static [&'static str]];

fn path(signal: Signal) -> Path {
    match signal {
        Signal::Logs => &[
            &["resourceLogs", "resource_logs"],
            &["scopeLogs", "scope_logs"],
            &["logRecords", "log_records"],
        ],
        Signal::Traces => &[&["resourceSpans", "resource_spans"], &["scopeSpans", "scope_spans"], &["spans"]],
        Signal::Metrics => &[
            &["resourceMetrics", "resource_metrics"],
            &["scopeMetrics", "scope_metrics"],
            &["metrics"],
            &["gauge", "sum", "histogram", "exponentialHistogram", "exponential_histogram", "summary"],
            &["dataPoints", "data_points"],
        ],
        Signal::Profiles => &[&[]], // opaque: no list leads to anything that is counted
    }
}

/// Counts below one value. Lists are walked through at every step, so that `gauge: {dataPoints: []}`
/// and `spans: []` are the same to it.
struct Counter<'c> {
    path: Path,
    count: &'c mut u64,
}

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [names, below @ ..] = self.path else {
            *self.count += 1; // an element of the last list
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(wanted) = map.next_key_seed(IsOneOf(names))? {
            if wanted {
                map.next_value_seed(Counter { path: below, count: self.count })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Counter { path: self.path, count: self.count })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, read only as far as whether it is one of these.
struct IsOneOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for IsOneOf {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsOneOf {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0.contains(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_signal_are_counted() {
        let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{"body":{"stringValue":"}"}}]}]},{"scope_logs":[{"log_records":[{}]}]}]}"#;
        assert_eq!(count_records(Signal::Logs, logs.as_bytes()), Ok(3));
        let spans = r#" {"resourceSpans":[{"resource":{"attributes":[{}]},"scopeSpans":[{"spans":[{"events":[{}]}]}]}]} "#;
        assert_eq!(count_records(Signal::Traces, spans.as_bytes()), Ok(1));
        let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
            {"name":"a","gauge":{"dataPoints":[{},{}]}},{"sum":{"dataPoints":[{}],"isMonotonic":true}},
            {"exponentialHistogram":{"dataPoints":[{}]}},{"name":"none"}]}]}]}"#;
        assert_eq!(count_records(Signal::Metrics, metrics.as_bytes()), Ok(4));
        assert_eq!(count_records(Signal::Profiles, b"{\"resourceProfiles\":[{}]}"), Ok(0));
        assert_eq!(count_records(Signal::Logs, b"{}"), Ok(0));
    }

    #[test]
    fn shapes_that_are_no_otlp_hold_no_records() {
        for body in [r#"{"resourceLogs":5}"#, r#"{"resourceLogs":null}"#, r#"{"resourceSpans":[{}]}"#] {
            assert_eq!(count_records(Signal::Logs, body.as_bytes()), Ok(0), "{body}");
        }
    }

    #[test]
    fn a_batch_is_empty_if_all_of_its_lists_are() {
        for body in ["{}", " { } ", r#"{"resourceLogs":[]}"#, r#"{"resourceSpans":[ ],"other":[]}"#] {
            assert!(is_empty(body.as_bytes()), "{body}");
        }
        for body in ["", "[]", r#"{"resourceLogs":[{}]}"#, r#"{"resourceLogs":[],"a":5}"#, r#"{"a":null}"#] {
            assert!(!is_empty(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn what_is_not_one_json_object_is_refused() {
        for body in ["", "[]", "5", "{", "{}{}", "{} x", "{\"a\":}", "\u{feff}{}", "{\"a\":1,}"] {
            assert!(count_records(Signal::Logs, body.as_bytes()).is_err(), "{body}");
        }
        assert!(count_records(Signal::Logs, b"{\"a\":\"\xff\"}").is_err());
        let deep = format!("{}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert!(count_records(Signal::Logs, deep.as_bytes()).is_err());
    }
}
