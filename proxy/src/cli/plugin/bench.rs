//! A plugin set up for trying it, and requests to try it on.

use crate::cli::serve;
use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;
use tollgate::{
    config::{self, Alone, Environment},
    otlp::{self, Chunks, Document, Encoding, Leniency, Signal},
    plugin::{Batch, BuildProblem, Chain, Failure, Host, HostError, Settings, Transformed, Turn},
    telemetry::Metrics,
};

/// The largest request that is read.
pub(super) const REQUEST_BYTES_MAX: u64 = 256 << 20;

/// What runs plugins here, with the cache that a server of this user would have.
pub(super) fn host() -> Result<Host, HostError> {
    let cache = config::plugin_cache(&Environment::of_process());
    Host::new(&Settings { cache, ..Settings::default() })
}

/// A plugin that is ready to work.
pub(super) struct Bench {
    chain: Chain,
    metrics: Metrics,
    name: Arc<str>,
    tenant: Arc<str>,
}

/// How a request fared.
pub(super) enum Outcome {
    /// The plugin does not ask for this signal: it passes as it is.
    Unseen,
    /// The plugin refuses whatever is of this signal.
    Refused,
    /// This came of it.
    Transformed(Box<Transformed>),
    /// Nothing did.
    Failed(Failure),
}

impl Bench {
    pub(super) fn build(host: &Host, alone: &Alone) -> Result<Self, BuildProblem> {
        let metrics = Metrics::new();
        let routes: Vec<&str> = alone.routes.iter().map(String::as_str).collect();
        let plugins = std::slice::from_ref(&alone.plugin);
        let chain = Chain::build(host, &alone.tenant, plugins, &routes, &metrics);
        let chain = chain.map_err(|mut mistakes| mistakes.remove(0).problem)?; // of its one plugin
        Ok(Self { chain, metrics, name: alone.plugin.name.clone(), tenant: alone.tenant.clone() })
    }

    pub(super) fn run(&self, request: &Request) -> anyhow::Result<Outcome> {
        match self.chain.turn(request.signal) {
            Turn::Skip => return Ok(Outcome::Unseen),
            Turn::Refuse(_) => return Ok(Outcome::Refused),
            Turn::Run => {}
        }
        let batch = Batch::new(request.document()?).with_left_out(request.left_out);
        Ok(match serve::runtime()?.block_on(self.chain.run(batch, None)) {
            Ok(transformed) => Outcome::Transformed(Box::new(transformed)),
            Err(failure) => Outcome::Failed(failure),
        })
    }

    /// What the plugin counted, by its own names.
    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        self.metrics.plugin(&self.name, &self.tenant).counters()
    }
}

/// A request.
pub(super) struct Request {
    pub(super) signal: Signal,
    /// How it came.
    pub(super) encoding: Encoding,
    /// It, as it came.
    pub(super) wire: Chunks,
    /// It, in protobuf.
    pub(super) message: Chunks,
    /// Fields of JSON that OTLP does not know, so that the message does not have them.
    left_out: u64,
}

/// Those that plugins see.
const SIGNALS: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];

impl Request {
    /// Reads OTLP. Without a word of its signal, that is seen from what is in it.
    pub(super) fn read(bytes: Vec<u8>, declared: Option<Signal>) -> anyhow::Result<Self> {
        anyhow::ensure!(!bytes.is_empty(), "there is nothing to read: the request is empty");
        if let Some(compression) = compressed(&bytes) {
            anyhow::bail!("this is compressed with {compression}: decompress it first");
        }
        // No request in protobuf begins with a group, as this byte would.
        let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
        let encoding = if is_json { Encoding::Json } else { Encoding::Protobuf };
        let wire = Chunks::from(Bytes::from(bytes));
        let signal = signal(encoding, &wire, declared)?;
        let (message, left_out) = match encoding {
            Encoding::Protobuf => (wire.clone(), 0),
            Encoding::Json => {
                let translated = otlp::to_protobuf(signal, &wire.to_bytes(), u64::MAX, |_| Ok(()));
                let (protobuf, leniencies) =
                    translated.map_err(|why| anyhow::anyhow!("this is no OTLP: {}", why.message()))?;
                (protobuf.into(), leniencies.count(Leniency::UnknownField))
            }
        };
        let request = Self { signal, encoding, wire, message, left_out };
        request.document()?;
        Ok(request)
    }

    fn document(&self) -> anyhow::Result<Document> {
        let parsed = Document::parse(self.signal, self.message.clone());
        parsed.map_err(|why| anyhow::anyhow!("this is no OTLP: {why}"))
    }

    pub(super) fn records(&self) -> u64 {
        self.document().map_or(0, |document| document.records())
    }
}

/// What bytes are compressed with, by how they begin: no request does so in protobuf or JSON.
fn compressed(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        _ => None,
    }
}

fn signal(encoding: Encoding, message: &Chunks, declared: Option<Signal>) -> anyhow::Result<Signal> {
    if let Some(declared) = declared {
        if let Some(found) = otlp::misposted(declared, encoding, message) {
            anyhow::bail!("this is {found} and not {declared}");
        }
        return Ok(declared);
    }
    if encoding == Encoding::Json {
        let batch: Value = serde_json::from_slice(&message.to_bytes()).context("this is no JSON")?;
        if let Some(signal) = by_outermost_key(&batch) {
            return Ok(signal);
        }
    }
    let fits = |signal: &&Signal| otlp::misposted(**signal, encoding, message).is_none();
    let fitting: Vec<_> = SIGNALS.iter().filter(fits).collect();
    match fitting[..] {
        [signal] => Ok(*signal),
        _ => anyhow::bail!("logs, traces or metrics? That cannot be seen from it: say --signal"),
    }
}

/// What names the signal in JSON.
fn by_outermost_key(batch: &Value) -> Option<Signal> {
    let has = |keys: [&str; 2]| keys.iter().any(|key| batch.get(key).is_some());
    SIGNALS.into_iter().find(|signal| match signal {
        Signal::Logs => has(["resourceLogs", "resource_logs"]),
        Signal::Traces => has(["resourceSpans", "resource_spans"]),
        Signal::Metrics => has(["resourceMetrics", "resource_metrics"]),
        Signal::Profiles => false,
    })
}
