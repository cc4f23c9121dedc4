//! What plugins cost: the first-party plugins in the sandbox, beside the same done natively. Nothing of it
//! goes over a network; one thread does it all, in turns.

use super::digits;
use crate::{lab::Lab, machine, measure, native, payload, table::Table};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use tollgate::{
    otlp::{Document, Signal},
    plugin::{Builtin, Chain, Config, Host, Limits, Secrets, Settings, Source},
    telemetry::Metrics,
};
use tollgate_document::Batch;

/// A way to do something to a request.
type Way<'w> = Box<dyn FnMut() + 'w>;

/// Something that plugins do, and the ways to do it that are compared.
struct Work<'w> {
    name: &'static str,
    ways: [Option<Way<'w>>; 3],
}

/// How long one sample takes; the least of a turn counts, since whatever disturbs it makes it longer.
const SAMPLE: Duration = Duration::from_micros(500);

/// Measures them and prints a table for each size.
pub fn run(lab: &mut Lab) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = Host::new(&Settings { cache: Some(lab.folder.join("plugins")), ..Settings::default() })?;
    let metrics = Metrics::new();
    let chain = |plugins: &[(Builtin, Value)]| -> Result<Chain> {
        let plugins: Vec<Config> =
            plugins.iter().map(|(builtin, config)| plugin(*builtin, config.clone())).collect();
        build(&host, "bench", &plugins, &metrics)
    };
    let chains = [
        chain(&[relabel()])?,
        chain(&[redact()])?,
        chain(&[extract()])?,
        chain(&[route()])?,
        chain(&[relabel(), redact(), route()])?,
    ];
    for &records in &lab.options.records.clone() {
        let request = Bytes::from(payload::logs(records));
        let in_sandbox = |chain: &Chain| -> Way<'_> {
            let (chain, request, runtime) = (chain.clone(), request.clone(), &runtime);
            Box::new(move || {
                black_box(runtime.block_on(transform(&chain, &request)).expect("invariant: it was tried"));
            })
        };
        for chain in &chains {
            runtime.block_on(transform(chain, &request)).context("a plugin fails")?;
        }
        fn way<'w, T>(request: &'w Bytes, work: impl Fn(&[u8]) -> T + 'w) -> Way<'w> {
            Box::new(move || {
                black_box(work(black_box(request)));
            })
        }
        let mut works = [
            Work {
                name: "relabel: insert 4",
                ways: [
                    Some(in_sandbox(&chains[0])),
                    Some(way(&request, native::insert)),
                    Some(way(&request, native::decoded_insert)),
                ],
            },
            Work {
                name: "redact: all text, e-mail and card",
                ways: [
                    Some(in_sandbox(&chains[1])),
                    Some(way(&request, native::redact)),
                    Some(way(&request, native::decoded_redact)),
                ],
            },
            Work {
                name: "extract: 2 of the body",
                ways: [
                    Some(in_sandbox(&chains[2])),
                    Some(way(&request, native::extract)),
                    Some(way(&request, native::decoded_extract)),
                ],
            },
            Work {
                name: "route: by the resource",
                ways: [
                    Some(in_sandbox(&chains[3])),
                    Some(way(&request, native::route)),
                    Some(way(&request, native::decoded_route)),
                ],
            },
            Work { name: "relabel, redact, route", ways: [Some(in_sandbox(&chains[4])), None, None] },
        ];
        println!(
            "\nin one thread, requests of {} bytes (log records: {records}), ns a record",
            request.len()
        );
        print!("{}", compare(lab, &mut works, records)?);
    }
    let mut table = Table::new(["a tenant's plugin, idle", "resident"]);
    let usual = (Builtin::Redact, json!({}));
    let kinds =
        [("relabel", relabel()), ("redact, e-mail and card", redact()), ("redact, as it comes", usual)];
    for (name, (builtin, config)) in kinds {
        // A host of its own: what others gave back is not taken again.
        let host = Host::new(&Settings { cache: Some(lab.folder.join("plugins")), ..Settings::default() })?;
        let bytes = instance_bytes(|tenant| {
            build(&host, &format!("tenant-{tenant}"), &[plugin(builtin, config.clone())], &metrics)
        })?;
        table.row([name.to_owned(), format!("{} kB", digits(bytes / 1e3))]);
    }
    println!(
        "\nan instance beside the code and the patterns that all tenants share, after a batch of 100 records"
    );
    print!("{table}");
    Ok(())
}

/// What an instance takes that is kept, in bytes: the growth of resident memory with many of them.
fn instance_bytes(build: impl Fn(usize) -> Result<Chain>) -> Result<f64> {
    const INSTANCES: usize = 100;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let request = Bytes::from(payload::logs(100));
    let start = |tenant: usize| -> Result<Chain> {
        let chain = build(tenant)?;
        runtime.block_on(transform(&chain, &request))?;
        Ok(chain)
    };
    // What the first of them makes is shared.
    let _shared = start(0)?;
    let before = measure::memory(std::process::id())?.resident_bytes;
    let chains = (1..=INSTANCES).map(start).collect::<Result<Vec<_>>>()?;
    let after = measure::memory(std::process::id())?.resident_bytes;
    drop(chains);
    Ok(after.saturating_sub(before) as f64 / INSTANCES as f64)
}

fn build(host: &Host, tenant: &str, plugins: &[Config], metrics: &Metrics) -> Result<Chain> {
    Chain::build(host, tenant, plugins, &["archive"], metrics).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        anyhow!("{}", errors.join("; "))
    })
}

fn plugin(builtin: Builtin, config: Value) -> Config {
    Config {
        name: builtin.name().into(),
        component: Source::Builtin(builtin),
        config,
        on_failure: None,
        limits: Limits::default(),
        secrets: Secrets::default(),
    }
}

async fn transform(chain: &Chain, request: &Bytes) -> Result<usize> {
    let document = Document::parse(Signal::Logs, request.clone())?;
    let transformed = chain.run(Batch::new(document), None).await?;
    let stays = transformed.batch.map_or(0, |batch| batch.into_message().len());
    let routed: usize = transformed.routed.iter().map(|routed| routed.message.len()).sum();
    match stays + routed {
        0 => bail!("nothing came of it"),
        bytes => Ok(bytes),
    }
}

fn compare(lab: &Lab, works: &mut [Work<'_>], records: usize) -> Result<Table> {
    let mut table =
        Table::new(["", "plugin", "wire edit", "plugin / wire", "decode, change, encode", "plugin / decode"]);
    let mut least = vec![[f64::INFINITY; 3]; works.len()];
    for round in 1..=lab.options.rounds {
        eprintln!("round {round} of {}", lab.options.rounds);
        for (work, least) in works.iter_mut().zip(&mut least) {
            for (way, least) in work.ways.iter_mut().zip(least) {
                if let Some(way) = way {
                    *least = least.min(time(way, lab.options.seconds / 10));
                }
            }
            machine::check_interrupt()?;
        }
    }
    for (work, least) in works.iter().zip(least) {
        let [plugin, wire, decoded] = least.map(|ns| ns / records as f64);
        let figure = |ns: f64| if ns.is_finite() { digits(ns) } else { "–".to_owned() };
        let ratio =
            |to: f64| if to.is_finite() { format!("{:.2} ×", plugin / to) } else { "–".to_owned() };
        table.row([
            work.name.to_owned(),
            figure(plugin),
            figure(wire),
            ratio(wire),
            figure(decoded),
            ratio(decoded),
        ]);
    }
    Ok(table)
}

/// The least time of one call, in nanoseconds.
fn time(way: &mut Way<'_>, duration: Duration) -> f64 {
    let began = Instant::now();
    way();
    let once = began.elapsed().max(Duration::from_nanos(50));
    let calls = (SAMPLE.as_nanos() / once.as_nanos()).clamp(1, 10_000) as u32;
    let mut least = f64::INFINITY;
    while began.elapsed() < duration {
        let began = Instant::now();
        (0..calls).for_each(|_| way());
        least = least.min(began.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    least
}

fn relabel() -> (Builtin, Value) {
    let insert: serde_json::Map<_, _> =
        native::INSERTED.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    (Builtin::Relabel, json!({ "insert": insert }))
}

fn redact() -> (Builtin, Value) {
    (Builtin::Redact, json!({ "patterns": ["email", "card-number"] }))
}

fn extract() -> (Builtin, Value) {
    let into: serde_json::Map<_, _> =
        native::TARGETS.iter().map(|(group, key)| ((*group).to_owned(), json!(key))).collect();
    (Builtin::Relabel, json!({ "extract": [{ "from": "body", "pattern": native::EXTRACTED, "into": into }] }))
}

fn route() -> (Builtin, Value) {
    let (key, value) = native::ROUTED_BY;
    let rule = json!({ "when": { "resource": key, "equals": value }, "to": "archive" });
    (Builtin::Route, json!({ "rules": [rule] }))
}
