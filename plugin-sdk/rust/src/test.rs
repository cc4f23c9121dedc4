//! The test kit: a plugin natively, in `cargo test`, without WebAssembly.
//!
//! ```toml
//! [dev-dependencies]
//! tollgate-plugin = { path = "…", features = ["test"] }
//! ```
//!
//! The batch that the plugin works on is the host's own implementation, so that what passes here does the same
//! in Tollgate; there it has limits of time and memory beside.
//!
//! ```
//! # use serde_json::json;
//! # use tollgate_plugin::{Batch, NoConfig, Plugin, Result, Setup, Verdict, test};
//! # struct Mark;
//! # impl Plugin for Mark {
//! #     type Config = NoConfig;
//! #     fn configure(_: NoConfig, _: &Setup) -> Result<Mark> { Ok(Mark) }
//! #     fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
//! #         batch.records().set("mark", "x")?;
//! #         Ok(Verdict::Forward)
//! #     }
//! # }
//! let out = test::run::<Mark>("", test::logs(json!({}), json!([{ "body": "hello" }])))?;
//! assert_eq!(out.records()[0]["attributes"]["mark"], "x");
//! # Ok::<(), tollgate_plugin::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::component::{self, Setup};
use crate::{Batch, Plugin, Registration, Result, Severity, Signal, Verdict};

pub(crate) mod contract;
mod plain;

pub use plain::{data_points, logs, spans};

/// What [`now_unix_nano`](crate::now_unix_nano) is in a test: 2023-11-14 22:13:20 UTC.
pub const NOW_UNIX_NANO: u64 = 1_700_000_000_000_000_000;

/// Configures a plugin and has it handle one batch. The configuration is the table `config` as TOML, or
/// JSON; the batch a request in OTLP/JSON, as text or as value: [`logs`], [`spans`] and [`data_points`] make
/// one that reads well.
///
/// # Errors
/// What `configure` or `process` said.
///
/// # Panics
/// Where a host would refuse to go on: a batch that is no OTLP, a destination that was not registered.
pub fn run<P: Plugin>(config: &str, batch: impl Into<Request>) -> Result<Outcome> {
    Instance::<P>::new(config)?.run(batch)
}

/// A plugin that was configured, to handle several batches.
#[derive(Debug)]
pub struct Instance<P> {
    plugin: P,
    registration: Registration,
    host: contract::Host,
}

impl<P: Plugin> Instance<P> {
    /// Configures it, for a tenant `test` and under the name `test`. Logs and counters of `configure` are
    /// dropped.
    ///
    /// # Errors
    /// What `configure` said.
    pub fn new(config: &str) -> Result<Instance<P>> {
        let setup = Setup { tenant: "test".to_owned(), plugin: "test".to_owned(), config: as_json(config) };
        let (host, plugin) = contract::during_configure(|| component::configured::<P>(setup));
        let plugin = plugin?;
        Ok(Instance { registration: plugin.registration(), plugin, host })
    }

    /// What the plugin registered.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Has it handle a batch. One of a signal that it did not register passes by.
    ///
    /// # Errors
    /// What `process` said.
    ///
    /// # Panics
    /// As [`run`].
    pub fn run(&mut self, batch: impl Into<Request>) -> Result<Outcome> {
        let Request { signal, json } = batch.into();
        let mut turn = contract::Turn::new(signal, &json, &self.registration);
        let verdict = if self.registration.signals.contains(&signal) {
            turn =
                contract::during_process(&mut self.host, turn, || self.plugin.process(&mut Batch::current()));
            turn.verdict.take().unwrap_or(Ok(Verdict::Forward))?
        } else {
            Verdict::Forward
        };
        Ok(turn.end(verdict))
    }
}

/// What became of a batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// What the plugin answered.
    pub verdict: Verdict,
    /// What goes on to the tenant's own upstream, in OTLP/JSON. What was discarded or routed is not in it, also
    /// where `default` is among the destinations that it was routed to.
    pub batch: Json,
    /// What goes elsewhere.
    pub routed: Vec<Routed>,
    /// How many records were discarded.
    pub discarded: u64,
    /// How many of the records that stay were changed.
    pub changed: u64,
    /// Lines of the log, in order.
    pub logs: Vec<(Severity, String)>,
    /// What was counted.
    pub counters: BTreeMap<String, u64>,
}

/// A part of a batch that goes elsewhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Routed {
    /// Where it goes.
    pub destinations: Vec<String>,
    /// The part, as a request of its own in OTLP/JSON.
    pub batch: Json,
}

impl Outcome {
    /// The records that go on, in the plain form of [`logs`]: attributes as an object, values as they are.
    pub fn records(&self) -> Vec<Json> {
        plain::records(&self.batch)
    }

    /// The resources that go on, in the plain form.
    pub fn resources(&self) -> Vec<Json> {
        plain::resources(&self.batch)
    }

    /// The records that go to exactly these destinations, whatever their order, in the plain form.
    pub fn routed_to(&self, destinations: &[&str]) -> Vec<Json> {
        let wanted: BTreeSet<&str> = destinations.iter().copied().collect();
        let goes_there =
            |part: &&Routed| part.destinations.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted;
        let parts = self.routed.iter().filter(goes_there);
        parts.flat_map(|part| plain::records(&part.batch)).collect()
    }
}

/// A request in OTLP/JSON.
#[derive(Clone, Debug)]
pub struct Request {
    signal: Signal,
    json: Json,
}

impl From<Json> for Request {
    /// # Panics
    /// It has neither `resourceLogs` nor `resourceSpans` nor `resourceMetrics`.
    #[allow(clippy::panic, reason = "a mistake in a test")]
    fn from(json: Json) -> Request {
        let signal = [
            ("resourceLogs", Signal::Logs),
            ("resourceSpans", Signal::Traces),
            ("resourceMetrics", Signal::Metrics),
        ];
        match signal.iter().find(|(key, _)| json.get(key).is_some()) {
            Some((_, signal)) => Request { signal: *signal, json },
            None => panic!("no `resourceLogs`, `resourceSpans` or `resourceMetrics` in {json}"),
        }
    }
}

impl From<&str> for Request {
    /// # Panics
    /// It is no JSON, or none of OTLP's requests.
    #[allow(clippy::panic, reason = "a mistake in a test")]
    fn from(text: &str) -> Request {
        match serde_json::from_str::<Json>(text) {
            Ok(json) => Request::from(json),
            Err(error) => panic!("the batch is no JSON: {error}"),
        }
    }
}

/// A configuration is TOML, as in Tollgate's file, unless it is an object.
#[allow(clippy::panic, reason = "a mistake in a test")]
fn as_json(config: &str) -> String {
    if config.trim_start().starts_with('{') {
        return config.to_owned();
    }
    match toml::from_str::<Json>(config) {
        Ok(json) => json.to_string(),
        Err(error) => panic!("the configuration is no TOML: {error}"),
    }
}
