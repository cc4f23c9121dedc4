//! Tier 4: the whole batch in protobuf, for what nothing else does.
//!
//! A record that repeats the one before it is dropped, and that one counts them in `repeated`. Rows that are
//! compared with each other as a whole are nothing that operators or columns express.
//!
//! ```toml
//! [plugin.dedup]
//! component = "plugins/rust_otlp.wasm"
//! config = { at_least = 2 }
//! ```
//!
//! This tier has its price: the batch is decoded and encoded (some 3 µs a record), what the message types of
//! this build do not know is lost, and the host takes the records for changed all of them and checks the
//! result as if a sender had sent it. So it first looks whether there is something to do.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use serde::Deserialize;
use tollgate_plugin::{Batch, Error, Plugin, Registration, Result, Setup, Signal, Verdict};

tollgate_plugin::export!(Dedup);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How many records alike become one.
    at_least: usize,
}

struct Dedup {
    at_least: usize,
}

impl Plugin for Dedup {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<Dedup> {
        if config.at_least < 2 {
            return Err(Error::config("/at_least", "at least 2: one record repeats nothing"));
        }
        Ok(Dedup { at_least: config.at_least })
    }

    fn registration(&self) -> Registration {
        Registration::default().signals([Signal::Logs])
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        if !has_repetitions(batch)? {
            return Ok(Verdict::Forward);
        }
        let mut request =
            ExportLogsServiceRequest::decode(batch.to_otlp()?.as_slice()).map_err(Error::failed)?;
        for resource in &mut request.resource_logs {
            for scope in &mut resource.scope_logs {
                scope.log_records = self.collapse(std::mem::take(&mut scope.log_records));
            }
        }
        batch.replace(&request.encode_to_vec())?;
        Ok(Verdict::Forward)
    }
}

impl Dedup {
    fn collapse(&self, records: Vec<LogRecord>) -> Vec<LogRecord> {
        let mut collapsed = Vec::with_capacity(records.len());
        for run in records.chunk_by(is_repeated) {
            match run {
                [first, ..] if run.len() >= self.at_least => {
                    let mut first = first.clone();
                    first.attributes.push(repeated(run.len()));
                    collapsed.push(first);
                }
                few => collapsed.extend_from_slice(few),
            }
        }
        collapsed
    }
}

/// A cheap look by columns: bodies that stand twice in a row.
fn has_repetitions(batch: &Batch) -> Result<bool> {
    let bodies = batch.records().body().texts()?;
    let pairs = bodies.cells().zip(bodies.cells().skip(1));
    Ok(pairs.into_iter().any(|(one, next)| one.is_some() && one == next))
}

/// They say the same, whenever they said it.
fn is_repeated(one: &LogRecord, next: &LogRecord) -> bool {
    one.body == next.body
        && one.severity_number == next.severity_number
        && one.attributes == next.attributes
        && one.trace_id == next.trace_id
}

fn repeated(times: usize) -> KeyValue {
    KeyValue {
        key: "repeated".to_owned(),
        value: Some(AnyValue { value: Some(Value::IntValue(times as i64)) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_plugin::test;

    use super::*;

    #[test]
    fn repetitions_become_one_record() {
        let records =
            json!([{ "body": "a" }, { "body": "b" }, { "body": "b" }, { "body": "b" }, { "body": "a" }]);
        let out = test::run::<Dedup>("at_least = 2", test::logs(json!({}), records)).unwrap();

        let out: Vec<_> =
            out.records().iter().map(|r| (r["body"].clone(), r["attributes"]["repeated"].clone())).collect();
        assert_eq!(out, [(json!("a"), json!(null)), (json!("b"), json!(3)), (json!("a"), json!(null))]);
    }

    #[test]
    fn what_repeats_nothing_stays_as_it_came() {
        let records = json!([{ "body": "a" }, { "body": "b" }]);
        let out = test::run::<Dedup>("at_least = 2", test::logs(json!({}), records)).unwrap();
        assert_eq!(out.changed, 0);
        assert_eq!(out.records().len(), 2);
    }
}
