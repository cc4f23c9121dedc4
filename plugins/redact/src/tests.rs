//! What is found and what is left alone, everywhere; and each key of the configuration.

use serde_json::json;
use tollgate_plugin::test::{self, Instance};

use crate::Redact;

mod config;
mod corpus;
mod places;
mod property;

#[track_caller]
fn redact(config: &str) -> Instance<Redact> {
    Instance::new(config).unwrap()
}

/// What becomes of a text, by all that is configured.
fn redacted(plugin: &mut Instance<Redact>, text: &str) -> String {
    let out = plugin.run(test::logs(json!({}), json!([{ "body": text }]))).unwrap();
    out.records()[0]["body"].as_str().unwrap_or_default().to_owned()
}
