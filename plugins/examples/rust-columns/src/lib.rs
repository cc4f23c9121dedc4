//! Tier 2: a column at a time, computed in the plugin.
//!
//! Spans get `duration_ms` and a `latency.class`, so that slow requests can be found and counted by a label.
//!
//! ```toml
//! [plugin.latency]
//! component = "plugins/rust_columns.wasm"
//! config = { slow_ms = 1000 }
//! ```
//!
//! Two calls read all start and end times, two write the results back; between them it is plain Rust over
//! plain numbers. Take this tier for what no operator of the host computes.

use serde::Deserialize;
use tollgate_plugin::{Batch, Error, Field, Plugin, Registration, Result, Setup, Signal, Verdict, count};

tollgate_plugin::export!(Latency);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// From how many milliseconds on a span is slow.
    slow_ms: i64,
}

struct Latency {
    slow_ms: i64,
}

impl Plugin for Latency {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<Latency> {
        if config.slow_ms < 1 {
            return Err(Error::config("/slow_ms", "at least 1: below, every span would be slow"));
        }
        Ok(Latency { slow_ms: config.slow_ms })
    }

    fn registration(&self) -> Registration {
        Registration::default().signals([Signal::Traces])
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        let spans = batch.records();
        let starts = spans.field(Field::StartTimeUnixNano).ints()?;
        let ends = spans.field(Field::EndTimeUnixNano).ints()?;

        // A span without one of them, or that ends before it starts, gets nothing.
        let durations: Vec<Option<i64>> = starts
            .cells()
            .zip(ends.cells())
            .map(|(start, end)| {
                end?.checked_sub(start?).filter(|nanos| *nanos >= 0).map(|nanos| nanos / 1_000_000)
            })
            .collect();
        let class = |duration_ms: i64| if duration_ms >= self.slow_ms { "slow" } else { "fast" };

        spans.attribute("duration_ms").write_ints(durations.iter().copied())?;
        spans.attribute("latency.class").write_texts(durations.iter().map(|duration| duration.map(class)))?;

        count(
            "slow",
            durations.iter().flatten().filter(|duration| **duration >= self.slow_ms).count() as u64,
        );
        Ok(Verdict::Forward)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use tollgate_plugin::test;

    use super::*;

    fn span(start: u64, end: u64) -> Json {
        json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "GET /cart",
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": end.to_string(),
        })
    }

    #[test]
    fn classifies_spans_by_their_duration() {
        let second = 1_000_000_000;
        let spans = json!([span(second, second + 20_000_000), span(second, 3 * second), span(second, 1)]);
        let out = test::run::<Latency>("slow_ms = 1000", test::spans(json!({}), spans)).unwrap();

        let attributes: Vec<Json> = out.records().iter().map(|span| span["attributes"].clone()).collect();
        assert_eq!(
            attributes,
            [
                json!({ "duration_ms": 20, "latency.class": "fast" }),
                json!({ "duration_ms": 2000, "latency.class": "slow" }),
                json!({}),
            ]
        );
        assert_eq!(out.counters["slow"], 1);
    }
}
