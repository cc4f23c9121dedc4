//! Tier 3: one cell at a time, for odd work on few rows.
//!
//! Why a span failed often stands in one of its events only. This plugin lifts the last `exception` event's
//! type and message to the span that failed, where a search finds them.
//!
//! ```toml
//! [plugin.failures]
//! component = "plugins/rust_cells.wasm"
//! ```
//!
//! The host finds the rows; then each cell is a call of its own, some tenths of a microsecond. That is nothing
//! for the few spans that fail, and too much for every cell of a large batch: that is what columns are for.

use tollgate_plugin::{Batch, Field, NoConfig, Plugin, Registration, Result, Setup, Signal, Verdict};

tollgate_plugin::export!(Failures);

/// `Span.status.code` of OTLP.
const STATUS_ERROR: i64 = 2;

struct Failures;

impl Plugin for Failures {
    type Config = NoConfig;

    fn configure(NoConfig {}: NoConfig, _: &Setup) -> Result<Failures> {
        Ok(Failures)
    }

    fn registration(&self) -> Registration {
        Registration::default().signals([Signal::Traces])
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        let (spans, events) = (batch.records(), batch.events());
        let failed = spans.field(Field::StatusCode).equal_to(STATUS_ERROR)?;
        if failed.is_empty() {
            return Ok(Verdict::Forward);
        }
        let failed = spans.rows(&failed).indexes();
        let exceptions = events.field(Field::Name).equal_to("exception")?;
        let span_of = events.parents();

        // A later event overwrites what an earlier one said: the last exception is the one that got out.
        for event in events.rows(&exceptions).indexes() {
            let Some(&span) = span_of.get(event as usize) else { continue };
            if failed.binary_search(&span).is_err() {
                continue;
            }
            for key in ["exception.type", "exception.message"] {
                if let Some(value) = events.row(event).get(key)? {
                    spans.row(span).set(key, value)?;
                }
            }
        }
        Ok(Verdict::Forward)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use tollgate_plugin::test;

    use super::*;

    fn span(status: i64, exceptions: &[&str]) -> Json {
        let events: Vec<Json> = exceptions
            .iter()
            .map(|message| json!({ "name": "exception", "attributes": { "exception.message": message } }))
            .collect();
        json!({
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "GET /cart",
            "status": { "code": status }, "events": events,
        })
    }

    #[test]
    fn a_failed_span_says_why() {
        let spans = json!([span(1, &["handled"]), span(2, &["first", "last"]), span(2, &[])]);
        let out = test::run::<Failures>("", test::spans(json!({}), spans)).unwrap();

        let attributes: Vec<Json> = out.records().iter().map(|span| span["attributes"].clone()).collect();
        assert_eq!(attributes, [json!({}), json!({ "exception.message": "last" }), json!({})]);
    }
}
