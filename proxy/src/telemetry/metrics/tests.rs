use super::{
    super::{AccessLog, LogFormat},
    table::{Family, LABELS},
    *,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// An exposition, read back: every sample by what stands before its value.
struct Exposition(BTreeMap<String, f64>);

impl Exposition {
    /// Reads a text of format 0.0.4 and checks what `promtool check metrics` would of its syntax:
    /// HELP and TYPE once, before and next to the samples, names and labels well formed, no series
    /// twice, histograms complete and cumulative.
    fn read(text: &str) -> Self {
        let (mut samples, mut families, mut kind) = (BTreeMap::new(), BTreeSet::new(), "");
        let (mut name, mut bucket) = ("", (String::new(), 0.0));
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                (name, _) = help.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "{name} twice");
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            } else if let Some(declared) = line.strip_prefix("# TYPE ") {
                kind = declared.strip_prefix(name).unwrap().trim();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap();
                let (sample, labels) = series.split_once('{').unwrap_or((series, "}"));
                let suffix = sample.strip_prefix(name).expect("samples stand below their HELP");
                match kind {
                    "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                    _ => assert_eq!(suffix, "", "{line}"),
                }
                check_labels(labels);
                if suffix == "_bucket" {
                    let others = labels.split(",le=").next().unwrap().split("le=").next().unwrap();
                    assert!(bucket.0 != others || bucket.1 <= value, "not cumulative: {line}");
                    bucket = (others.to_owned(), value);
                } else if suffix == "_count" {
                    assert_eq!(bucket.1, value, "+Inf is the last bucket and the count: {line}");
                }
                assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
            }
        }
        Self(samples)
    }

    fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }
}

/// `a="b",c="d"}` with `\\`, `\"` and `\n` as the only escapes.
fn check_labels(mut rest: &str) {
    while !rest.starts_with('}') {
        let (name, value) = rest.split_once("=\"").expect("name=\"");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => assert!(['\\', '"', 'n'].contains(&chars.next().unwrap().1)),
                _ => {}
            }
        };
        rest = value[end + 1..].trim_start_matches(',');
    }
    assert_eq!(rest, "}");
}

fn ended(outcome: Outcome) -> Access<'static> {
    let steps = Steps {
        auth: Some(Duration::from_micros(3)),
        export: Some(Duration::from_millis(2)),
        total: Duration::from_micros(2_500),
        ..Steps::default()
    };
    Access { outcome, bytes: 100, bytes_inflated: 1_000, steps, ..Access::new("public", "1", "POST") }
}

#[test]
fn a_request_counts_where_it_belongs() {
    let metrics = Metrics::new();
    let shop = metrics.tenant("shop");
    metrics.ended(shop.signal(Signal::Logs), &ended(Outcome::Delivered));
    metrics.ended(shop.signal(Signal::Logs), &ended(Outcome::Failed));
    let refusal = Some(Refused { by: "tenant", reason: "unknown" });
    metrics.ended(metrics.strangers().signal(None), &Access { refusal, ..ended(Outcome::Refused) });
    shop.body_lost();

    let shown = Exposition::read(&metrics.render());
    let get = |series| shown.get(series);
    assert_eq!(
        get("tollgate_requests_total{tenant=\"shop\",signal=\"logs\",outcome=\"delivered\"}"),
        Some(1.0)
    );
    assert_eq!(get("tollgate_requests_total{tenant=\"shop\",signal=\"logs\",outcome=\"failed\"}"), Some(1.0));
    assert_eq!(
        get("tollgate_requests_total{tenant=\"shop\",signal=\"logs\",outcome=\"aborted\"}"),
        Some(0.0)
    );
    assert_eq!(get("tollgate_requests_total{tenant=\"shop\",signal=\"traces\",outcome=\"delivered\"}"), None);
    assert_eq!(get("tollgate_requests_total{tenant=\"\",signal=\"\",outcome=\"refused\"}"), Some(1.0));
    assert_eq!(get("tollgate_refusals_total{room=\"tenant\",reason=\"unknown\"}"), Some(1.0));
    assert_eq!(get("tollgate_request_bytes_total{tenant=\"shop\",signal=\"logs\"}"), Some(200.0));
    assert_eq!(get("tollgate_request_inflated_bytes_total{tenant=\"shop\",signal=\"logs\"}"), Some(2_000.0));
    assert_eq!(
        get("tollgate_request_seconds_bucket{tenant=\"shop\",signal=\"logs\",le=\"0.001\"}"),
        Some(0.0)
    );
    assert_eq!(
        get("tollgate_request_seconds_bucket{tenant=\"shop\",signal=\"logs\",le=\"0.0025\"}"),
        Some(2.0)
    );
    assert_eq!(get("tollgate_request_seconds_sum{tenant=\"shop\",signal=\"logs\"}"), Some(0.005));
    assert_eq!(get("tollgate_step_seconds_count{step=\"auth\"}"), Some(3.0));
    assert_eq!(get("tollgate_step_seconds_count{step=\"decode\"}"), Some(0.0));
    assert_eq!(get("tollgate_body_lost_total{tenant=\"shop\"}"), Some(1.0));
}

#[test]
fn a_duration_beyond_the_last_bound_is_counted_too() {
    let metrics = Metrics::new();
    let slow = Steps { total: Duration::from_secs(500), ..Steps::default() };
    let shop = metrics.tenant("shop");
    metrics.ended(shop.signal(Signal::Logs), &Access { steps: slow, ..ended(Outcome::Failed) });
    let shown = Exposition::read(&metrics.render());
    let get = |le| {
        shown.get(&format!("tollgate_request_seconds_bucket{{tenant=\"shop\",signal=\"logs\",le=\"{le}\"}}"))
    };
    assert_eq!((get("100"), get("+Inf")), (Some(0.0), Some(1.0)));
}

fn records(metrics: &Metrics, state: &str) -> f64 {
    let series = format!("tollgate_records_total{{tenant=\"shop\",signal=\"logs\",state=\"{state}\"}}");
    Exposition::read(&metrics.render()).get(&series).unwrap_or_default()
}

#[test]
fn every_record_is_settled_once() {
    let metrics = Metrics::new();
    let tenant = metrics.tenant("shop");
    let logs = tenant.signal(Signal::Logs);
    logs.records_in(10).delivered(3, 0);
    logs.records_in(9).delivered(1, 6);
    logs.records_in(20).refused();
    logs.records_in(40).failed();
    drop(logs.records_in(80));
    logs.records_in(5).delivered(u64::MAX, 1); // an upstream that rejects more than it was sent
    assert_eq!(records(&metrics, "in"), 164.0);
    assert_eq!(records(&metrics, "delivered"), 9.0);
    assert_eq!(records(&metrics, "discarded"), 6.0);
    assert_eq!(records(&metrics, "refused"), 29.0);
    assert_eq!(records(&metrics, "failed"), 120.0);

    let under_way = logs.records_in(1);
    assert_eq!(records(&metrics, "in"), 165.0);
    under_way.delivered(0, 0);
    assert_eq!(records(&metrics, "delivered"), 10.0);
}

#[test]
fn no_scrape_sees_more_records_leave_than_come() {
    let metrics = Metrics::new();
    let tenant = metrics.tenant("shop");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..20_000 {
                        tenant.signal(Signal::Logs).records_in(n % 7).delivered(n % 3, n % 2);
                    }
                })
            })
            .collect();
        let scraper = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let shown = Exposition::read(&metrics.render());
                let get = |state| {
                    let labels = format!("{{tenant=\"shop\",signal=\"logs\",state=\"{state}\"}}");
                    shown.get(&format!("tollgate_records_total{labels}")).unwrap_or_default()
                };
                assert!(get("in") >= get("delivered") + get("discarded") + get("refused") + get("failed"));
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::Relaxed);
        scraper.join().unwrap();
    });
    let settled = ["delivered", "discarded", "refused", "failed"].map(|state| records(&metrics, state));
    assert_eq!(records(&metrics, "in"), settled.iter().sum::<f64>());
}

#[test]
fn a_request_to_an_upstream_counts_by_its_outcome() {
    let metrics = Metrics::new();
    let alloy = metrics.upstream("alloy");
    alloy.ended("delivered", Duration::from_secs(1));
    alloy.ended("busy", Duration::from_secs(2));
    thread::scope(|scope| scope.spawn(|| alloy.ended("busy", Duration::ZERO)).join().unwrap());

    let shown = Exposition::read(&metrics.render());
    assert_eq!(
        shown.get("tollgate_upstream_requests_total{upstream=\"alloy\",outcome=\"delivered\"}"),
        Some(1.0)
    );
    assert_eq!(shown.get("tollgate_upstream_requests_total{upstream=\"alloy\",outcome=\"busy\"}"), Some(2.0));
    assert_eq!(shown.get("tollgate_upstream_seconds_sum{upstream=\"alloy\"}"), Some(3.0));
}

#[test]
fn a_removed_tenant_is_shown_once_more_and_a_kept_one_counts_on() {
    let metrics = Metrics::new();
    let count = |metrics: &Metrics| {
        let series = "tollgate_requests_total{tenant=\"shop\",signal=\"logs\",outcome=\"delivered\"}";
        Exposition::read(&metrics.render()).get(series)
    };
    let old = metrics.tenant("shop");
    metrics.ended(old.signal(Signal::Logs), &ended(Outcome::Delivered));
    let new = metrics.tenant("shop"); // a reload
    drop(old);
    metrics.ended(new.signal(Signal::Logs), &ended(Outcome::Delivered));
    assert_eq!(count(&metrics), Some(2.0));
    assert_eq!(count(&metrics), Some(2.0));
    drop(new); // another, without it
    assert_eq!(count(&metrics), Some(2.0));
    assert_eq!(count(&metrics), None);
    assert!(!metrics.render().contains("shop"));
}

#[test]
fn a_plugin_counts_for_its_tenant_and_goes_with_it() {
    let metrics = Metrics::new();
    let series = |name: &str, labels: &str| {
        let series = format!("tollgate_plugin_{name}{{plugin=\"redact\",tenant=\"shop\"{labels}}}");
        Exposition::read(&metrics.render()).get(&series)
    };
    let (redact, route) = (metrics.plugin("redact", "shop"), metrics.plugin("route", "shop"));
    redact.called("forwarded", Duration::from_millis(2));
    redact.called("failed", Duration::from_secs(1));
    redact.was_busy();
    let waiting = [redact.wait(), redact.wait()];
    assert_eq!(series("calls_waiting", ""), Some(2.0));
    drop(waiting);
    redact.failed("time");
    redact.records(5, 3, 2);
    redact.log_lines_dropped(7);
    redact.instances_made(2);
    redact.instances_made(-1);
    redact.memory_changed(0, 1_000);
    redact.memory_changed(1_000, 400);
    for (counter, amount) in [("email", 2), ("iban", 1), ("beyond", 1), ("email", 2)] {
        redact.count(counter, amount, 2);
    }
    assert_eq!(series("calls_total", ",outcome=\"forwarded\""), Some(1.0));
    assert_eq!(series("calls_total", ",outcome=\"busy\""), Some(1.0));
    assert_eq!(series("calls_waiting", ""), Some(0.0));
    assert_eq!(series("failures_total", ",kind=\"time\""), Some(1.0));
    assert_eq!(series("seconds_count", ""), Some(2.0));
    let records = |effect| series("records_total", &format!(",effect=\"{effect}\""));
    assert_eq!(["changed", "discarded", "routed"].map(records), [Some(5.0), Some(3.0), Some(2.0)]);
    assert_eq!(series("log_lines_dropped_total", ""), Some(7.0));
    assert_eq!(series("counts_dropped_total", ""), Some(1.0));
    assert_eq!(series("instances", ""), Some(1.0));
    assert_eq!(series("memory_bytes", ""), Some(400.0));
    let counter = |counter| series("counter_total", &format!(",counter=\"{counter}\""));
    assert_eq!(["email", "iban", "beyond"].map(counter), [Some(4.0), Some(1.0), None]);

    drop(redact);
    assert_eq!(series("instances", ""), Some(1.0), "shown once more");
    assert_eq!(series("instances", ""), None);
    assert!(metrics.render().contains("plugin=\"route\""));
    drop(route);
    metrics.render();
    assert!(!metrics.render().contains("shop"));
}

#[test]
fn sources_are_asked_and_the_same_series_are_added_up() {
    struct Gates;
    impl Source for Gates {
        fn samples(&self, out: &mut Samples) {
            out.put(Metric::TenantInFlightRequests, &[("tenant", "odd \"name\"\\\n")], 2.0);
            out.put(Metric::Logins, &[("result", "cached")], 7.0);
        }
    }
    let metrics = Metrics::new();
    metrics.attach(Arc::new(Gates));
    metrics.attach(Arc::new(Gates));
    let shown = Exposition::read(&metrics.render());
    assert_eq!(
        shown.get("tollgate_tenant_in_flight_requests{tenant=\"odd \\\"name\\\"\\\\\\n\"}"),
        Some(4.0)
    );
    assert_eq!(shown.get("tollgate_logins_total{result=\"cached\"}"), Some(14.0));
}

#[test]
#[should_panic(expected = "tollgate_connections")]
fn labels_that_the_table_does_not_have_are_found_by_tests() {
    Samples::default().put(Metric::Connections, &[("tenant", "shop")], 1.0);
}

#[test]
fn reloads_and_the_process_are_shown() {
    let metrics = Metrics::new();
    metrics.reloaded(true);
    metrics.reloaded(false);
    metrics.reloaded(false);
    let shown = Exposition::read(&metrics.render());
    assert_eq!(shown.get("tollgate_config_reloads_total{result=\"success\"}"), Some(1.0));
    assert_eq!(shown.get("tollgate_config_reloads_total{result=\"failure\"}"), Some(2.0));
    assert!(shown.get("tollgate_config_last_reload_success_timestamp_seconds") > Some(1.6e9));
    assert_eq!(shown.get("tollgate_build_info{version=\"0.1.0\"}"), Some(1.0));
    if cfg!(target_os = "linux") {
        assert!(shown.get("process_resident_memory_bytes") > Some(1e6));
        assert!(shown.get("process_open_fds") > Some(2.0));
        assert!(shown.get("process_start_time_seconds") > Some(1.6e9));
        assert!(shown.get("process_cpu_seconds_total").is_some());
    }
}

#[test]
fn the_table_keeps_to_prometheus_naming() {
    let mut names = BTreeSet::new();
    for family in Metric::ALL.iter().map(|metric| metric.family()) {
        assert!(names.insert(family.name), "{} twice", family.name);
        assert!(family.name.starts_with("tollgate_") || family.name.starts_with("process_"));
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.kind != Kind::Histogram || family.name.ends_with("_seconds"));
        for label in family.labels {
            assert!(LABELS.iter().any(|(name, _)| name == label), "what does {label} say?");
        }
    }
    for (label, _) in LABELS {
        assert!(Metric::ALL.iter().any(|metric| metric.family().labels.contains(label)), "{label} unused");
    }
}

#[test]
fn the_document_is_made_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, document()).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == document(), "docs/metrics.md is not up to date: UPDATE_EXPECT=1 cargo test -p tollgate");
}

/// docs/metrics.md.
fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         <!-- Made from proxy/src/telemetry/metrics/table.rs: UPDATE_EXPECT=1 cargo test -p tollgate -->\n\n\
         `GET /metrics` on the `[admin]` listener answers in the Prometheus text format 0.0.4.\n\n\
         Label values come from the configuration or from small sets in the code, never from a sender, so the \
         number of series is bounded by the configuration. The series of a tenant's signal appear with its first \
         request, those of a refusal or of an upstream's outcome when it first comes up. Those of a tenant, plugin or \
         upstream that a reload removes are shown once more, in the first \
         scrape after its last request, and are then gone; if it comes back, they begin at zero.\n\n",
    );
    let bounds: Vec<String> =
        cells::BOUNDS_MICROS.iter().map(|micros| (*micros as f64 / 1e6).to_string()).collect();
    writeln!(text, "The buckets of all histograms end at {} seconds.", bounds.join(", ")).unwrap();
    let mut section = "";
    for Family { name, kind, labels, help, section: of } in Metric::ALL.iter().map(|metric| metric.family()) {
        if *of != section {
            section = of;
            writeln!(text, "\n## {of}\n\n| metric | type | labels | meaning |\n|---|---|---|---|").unwrap();
        }
        let kind = format!("{kind:?}").to_lowercase();
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    text.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
    for (label, values) in LABELS {
        writeln!(text, "| `{label}` | {values} |").unwrap();
    }
    text
}

/// Prints what one request costs: `cargo test -p tollgate --release -- --ignored --nocapture what_a_request_costs`.
#[test]
#[ignore = "a measurement"]
fn what_a_request_costs() {
    const REQUESTS: u32 = 500_000;
    let sink = log::Sink::start(std::io::sink(), 4 << 20).unwrap();
    let log = AccessLog::new(Arc::clone(&sink), LogFormat::Json);
    let metrics = Metrics::new();
    let (tenant, upstream) = (metrics.tenant("shop"), metrics.upstream("alloy"));
    let access = Access {
        cf_ray: Some(b"8f2c1e0b7d4a9c33-FRA"),
        client: Some([203, 0, 113, 7].into()),
        tenant: Some("shop"),
        credential: Some("oxygen"),
        signal: Some(Signal::Logs),
        encoding: Some(crate::otlp::Encoding::Protobuf),
        compression: Some(crate::otlp::Compression::Gzip),
        status: Some(200),
        records: 100,
        upstream: Some("alloy"),
        upstream_status: Some(200),
        steps: Steps {
            read: Some(Duration::from_micros(812)),
            decode: Some(Duration::from_micros(61)),
            ..ended(Outcome::Delivered).steps
        },
        ..ended(Outcome::Delivered)
    };
    let count = || {
        let logs = tenant.signal(Signal::Logs);
        logs.records_in(100).delivered(0, 0);
        upstream.ended("delivered", Duration::from_micros(2_310));
        metrics.ended(logs, &access);
    };
    let write = || log.write(&Access { time: SystemTime::now(), ..access.clone() });
    let measure = |what: &str, threads: u32, request: &(dyn Fn() + Sync)| {
        let cpu = || {
            let before = cpu_nanos();
            (0..REQUESTS).for_each(|_| request());
            (cpu_nanos() - before) / u64::from(REQUESTS)
        };
        let each: Vec<u64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(cpu)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        println!("{what}: {each:?} ns of CPU, by thread");
    };
    for threads in [1, 2, 4] {
        measure("metrics", threads, &count);
        measure("access line", threads, &write);
    }
    println!("lines dropped: {}", sink.lines_dropped());
}

/// CPU time of this thread so far, which other load on the machine does not change.
fn cpu_nanos() -> u64 {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedule.split(' ').next().unwrap().parse().unwrap()
}
