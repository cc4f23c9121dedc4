//! Plugins that do everything wrong, one test for each thing. What each of them shows: this call is refused
//! as configured, the next request is served, other tenants do not notice, the host keeps nothing of it, it
//! is counted, and the message says what happened.

#![cfg(feature = "wasm")]

#[path = "../../../tests/guests/built.rs"]
mod guests;
mod languages;
mod properties;

use super::*;
use crate::{
    otlp::{Chunks, Document, Signal},
    telemetry::Metrics,
};
use document::Batch;
use guests::MISBEHAVING;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message;
use serde_json::json;
use std::{
    fs, io,
    path::Path,
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

static HOST: LazyLock<Host> = LazyLock::new(|| {
    Host::new(&Settings { threads: 3, queue: 4, instances: 100, ..Settings::default() }).unwrap()
});

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request of so many log records. With one alone, the guest behaves.
fn logs(records: usize) -> Batch {
    let body = |n| Some(AnyValue { value: Some(any_value::Value::StringValue(format!("line {n}"))) });
    let log_records = (0..records).map(|n| LogRecord { body: body(n), ..LogRecord::default() }).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let bytes = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    Batch::new(Document::parse(Signal::Logs, bytes::Bytes::from(bytes)).unwrap())
}

/// A plugin that does this.
fn plugin(action: &str) -> Config {
    Config {
        name: "odd".into(),
        component: Source::File(MISBEHAVING.clone()),
        config: json!({ "do": action }),
        secrets: Secrets::default(),
        on_failure: None,
        // Nothing that ends takes so long, however busy the machine is.
        limits: Limits { time: Duration::from_secs(60), ..Limits::default() },
    }
}

/// A plugin that does this and does not end.
fn endless(action: &str) -> Config {
    let limits = Limits { time: Duration::from_millis(200), ..Limits::default() };
    Config { limits, ..plugin(action) }
}

/// A tenant's name that no other test has: the tests share the host's threads, and a tenant's queue is short.
fn someone() -> String {
    static TENANTS: AtomicUsize = AtomicUsize::new(0);
    format!("tenant-{}", TENANTS.fetch_add(1, Relaxed))
}

/// A tenant's plugins beside those of others.
struct Scene {
    metrics: Metrics,
    tenant: String,
    chain: Chain,
    other: Chain,
}

impl Scene {
    fn new(config: Config) -> Self {
        Self::at(&HOST, config)
    }

    fn at(host: &Host, config: Config) -> Self {
        let (metrics, tenant) = (Metrics::new(), someone());
        let chain = Chain::build(host, &tenant, &[config], &["archive"], &metrics).unwrap();
        let other = Chain::build(host, &someone(), &[plugin("nothing")], &[], &metrics).unwrap();
        Self { metrics, tenant, chain, other }
    }

    fn metric(&self, name: &str, labels: &str) -> f64 {
        let series = format!("tollgate_plugin_{name}{{plugin=\"odd\",tenant=\"{}\"{labels}}} ", self.tenant);
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or("0").parse().unwrap()
    }

    async fn run(&self, batch: Batch) -> Result<Transformed, Failure> {
        self.chain.run(batch, None).await
    }

    /// What holds after whatever a plugin did.
    async fn is_well(&self) {
        let served = self.run(logs(1)).await.expect("the next request is served");
        assert_eq!(served.batch.unwrap().records(), 1);
        let served = self.other.run(logs(10), None).await.expect("another tenant is served");
        assert_eq!(served.batch.unwrap().records(), 10);
        assert!(self.metric("instances", "") <= 1.0, "no instance is kept that failed");
        assert!(self.metric("memory_bytes", "") < 64e6);
    }
}

/// The failure of a plugin that does this to a batch; refused when that is configured, and otherwise without
/// a trace in the batch.
async fn fails(action: &str) -> Cause {
    fails_with(plugin(action)).await
}

async fn fails_with(config: Config) -> Cause {
    let scene = Scene::new(config.clone());
    let failure = scene.run(logs(3)).await.expect_err("it fails");
    let Failure::Failed { plugin, cause } = failure else { panic!("{failure}") };
    assert_eq!(&*plugin, "odd");
    assert_eq!(scene.metric("failures_total", &format!(",kind=\"{}\"", cause.kind.name())), 1.0);
    assert_eq!(scene.metric("calls_total", ",outcome=\"failed\""), 1.0);
    scene.is_well().await;

    let scene = Scene::new(Config { on_failure: Some(OnFailure::Forward), ..config });
    let came = logs(3).message().to_bytes();
    let passed = scene.run(logs(3)).await.expect("the batch goes on without it");
    assert_eq!(passed.batch.unwrap().message().to_bytes(), came, "what it did is undone");
    assert_eq!(passed.notes[0].outcome, "passed");
    assert_eq!(scene.metric("failures_total", &format!(",kind=\"{}\"", cause.kind.name())), 1.0);
    assert_eq!(scene.metric("calls_total", ",outcome=\"passed\""), 1.0);
    scene.is_well().await;
    cause
}

/// The failure of a plugin that does this when it is configured.
fn does_not_start(action: &str) -> String {
    does_not_start_with(plugin(action))
}

fn does_not_start_with(config: Config) -> String {
    let metrics = Metrics::new();
    let error = Chain::build(&HOST, "shop", &[config], &["archive", "cold"], &metrics);
    let errors = error.err().expect("it does not start");
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(&*error.plugin, "odd");
    error.to_string()
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn an_endless_loop_ends() {
    let cause = fails_with(endless("loop")).await;
    assert_eq!(cause.kind, FailureKind::Time);
    assert_eq!(cause.text, "it took longer than the 200 ms that it had (limits.time)");
}

#[test]
fn an_endless_loop_in_configure_ends() {
    let limits = Limits { time: Duration::from_millis(20), ..Limits::default() };
    let text = does_not_start_with(Config { limits, ..plugin("loop in configure") });
    assert_eq!(
        text,
        "plugin `odd`: does not start: it took longer than the 200 ms that it had (limits.time)"
    );
}

#[tokio::test]
async fn a_flood_of_memory_ends() {
    let limits = Limits { memory: 32 << 20, ..Limits::default() };
    let config = Config { limits, ..plugin("flood") };
    let cause = fails_with(config.clone()).await;
    assert_eq!(cause.kind, FailureKind::Memory);
    assert!(
        cause.text.starts_with("it wanted more than 32768 KiB of memory (limits.memory)"),
        "{}",
        cause.text
    );

    let scene = Scene::new(config);
    let before = resident_bytes();
    for _ in 0..40 {
        scene.run(logs(2)).await.expect_err("it fails each time");
    }
    assert!(resident_bytes() < before + (300 << 20), "1.3 GB were asked for, and given back");
    scene.is_well().await;
}

#[test]
fn a_flood_of_memory_in_configure_ends() {
    let text = does_not_start("flood in configure");
    assert!(text.starts_with("plugin `odd`: does not start: it wanted more than 131072 KiB"), "{text}");
}

/// A component of a core module in text, which has nothing of a language's library. Its memory holds what
/// both functions return: that all is well.
fn from_text(parts: &str) -> PathBuf {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (data (i32.const 0) "\00\00\00\00\40\00\00\00\01")
            {parts}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "tollgate:plugin/handler@0.1.0#configure")
                (param i32 i32 i32 i32 i32 i32) (result i32)
                i32.const 0))"#
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/v0.1")).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    kept(&component)
}

/// A file with this in it, named by what it is.
fn kept(component: &[u8]) -> PathBuf {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, component);
    let name: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = MISBEHAVING.parent().unwrap().join("odd");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.wasm"));
    let draft = folder.join(format!("{name}.{:?}", std::thread::current().id()));
    fs::write(&draft, component).unwrap();
    fs::rename(&draft, &path).unwrap();
    path
}

/// The guest with these bytes of it replaced by as many others.
fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut component = fs::read(&*MISBEHAVING).unwrap();
    let places = memchr::memmem::find_iter(&component, from).collect::<Vec<_>>();
    assert!(!places.is_empty(), "the guest names {from}");
    for place in places {
        component[place..][..to.len()].copy_from_slice(to.as_bytes());
    }
    component
}

#[tokio::test]
async fn a_flood_of_tables_ends() {
    let component = Source::File(from_text(
        r#"(table $flood 0 funcref)
        (func (export "tollgate:plugin/handler@0.1.0#process") (result i32)
            (if (i32.lt_s (table.grow $flood (ref.null func) (i32.const 1)) (i32.const 10)) (then (return (i32.const 16))))
            (loop $more
                (br_if $more (i32.ge_s (table.grow $flood (ref.null func) (i32.const 5000)) (i32.const 0))))
            unreachable)"#,
    ));
    let scene = Scene::new(Config { component, ..plugin("") });
    for _ in 0..10 {
        scene.run(logs(2)).await.expect("its table is small yet");
    }
    let Err(Failure::Failed { cause, .. }) = scene.run(logs(2)).await else { panic!("it should fail") };
    assert_eq!(cause.kind, FailureKind::Memory);
    assert_eq!(cause.text, "it wanted tables of more than 20000 elements (limits.table_elements)");
    scene.run(logs(2)).await.expect("the next request is served by another instance");
    scene.is_well().await;
}

#[test]
fn what_is_no_plugin_says_what_it_is() {
    let says = |component: &[u8], what: &str| {
        let path = kept(component);
        let problem = HOST.load(&Source::File(path.clone())).expect_err("it is not loaded").to_string();
        assert_eq!(problem, format!("{}: {what}", path.display()));
    };
    says(
        b"\0asm\x01\0\0\0",
        "is a core WebAssembly module, not a WebAssembly component: build it for wasm32-wasip2, or wrap it \
         with `wasm-tools component new`",
    );
    says(
        b"(component)",
        "is WebAssembly as text, not a WebAssembly component: turn it into a binary with `wasm-tools parse`",
    );
    says(b"", "is empty, not a WebAssembly component: name the file that the build made");
    says(
        b"\x7fELF",
        "is something else, not a WebAssembly component: name the .wasm file that the build made",
    );
    says(
        b"\0asm\x0d\0\x01\0",
        "is no plugin: it does not export `tollgate:plugin/handler`. Build it for the world \
         `tollgate:plugin/plugin` of wit/v0.1",
    );
    says(
        &patched("tollgate:plugin/handler@0.1.0", "tollgate:plugin/handlor@0.1.0"),
        "is no plugin: it does not export `tollgate:plugin/handler`. Build it for the world \
         `tollgate:plugin/plugin` of wit/v0.1",
    );
    says(
        &patched("@0.1.0", "@0.7.0"),
        "was built for version 0.7.0 of the contract `tollgate:plugin`, and this Tollgate speaks 0.1.0: build \
         it against wit/v0.1 of this release, or use the Tollgate that it was built for",
    );
    let unversioned = r#"(component (instance $i) (export "tollgate:plugin/handler" (instance $i)))"#;
    says(
        &wat::parse_str(unversioned).unwrap(),
        "was built for no version of the contract `tollgate:plugin`, and this Tollgate speaks 0.1.0: build it \
         against wit/v0.1 of this release, or use the Tollgate that it was built for",
    );
    says(
        &patched("tollgate:plugin/host@0.1.0", "tollgate:plugin/hast@0.1.0"),
        "imports `tollgate:plugin/hast@0.1.0`, which plugins do not have: of `tollgate:plugin` there are \
         `host`, `batch` and `types`",
    );
    says(
        &patched("wasi:cli/environment", "acme:cli/environment"),
        "imports `acme:cli/environment@0.2.6`, which plugins do not have: they may import \
         `tollgate:plugin/host`, `tollgate:plugin/batch` and WASI, which is empty",
    );
    let missing = HOST.load(&Source::File("no/such.wasm".into())).err().unwrap().to_string();
    assert!(missing.starts_with("no/such.wasm: cannot be read: "), "{missing}");
}

#[test]
fn the_plugins_that_come_with_the_program_are_good() {
    for builtin in Builtin::ALL.into_iter().filter(|builtin| !builtin.bytes().is_empty()) {
        HOST.load(&Source::Builtin(builtin)).unwrap();
        assert_eq!(inspect(builtin.bytes()).unwrap().contract.as_deref(), Some(CONTRACT_VERSION));
    }
}

#[test]
fn what_is_broken_or_asks_for_another_function_is_not_compiled() {
    let whole = fs::read(&*MISBEHAVING).unwrap();
    for length in [9, 100, whole.len() / 2, whole.len() - 1] {
        let problem = HOST.load(&Source::File(kept(&whole[..length]))).expect_err("it is not loaded");
        assert!(!problem.to_string().is_empty());
    }
    let component = patched("prepare-hash-key", "prepare-hush-key");
    let problem = HOST.load(&Source::File(kept(&component))).err().unwrap().to_string();
    assert!(problem.contains("prepare-hush-key"), "{problem}");
}

#[test]
fn the_outside_of_a_component_is_read() {
    let inspection = inspect(&fs::read(&*MISBEHAVING).unwrap()).unwrap();
    assert_eq!(inspection.contract.as_deref(), Some(CONTRACT_VERSION));
    assert!(inspection.imports.contains(&"tollgate:plugin/batch@0.1.0".to_owned()));
    assert_eq!(inspection.exports, ["tollgate:plugin/handler@0.1.0"]);
}

#[tokio::test]
async fn when_there_is_no_room_instances_that_rest_give_theirs_up() {
    let host = Host::new(&Settings { instances: 3, ..Settings::default() }).unwrap();
    let metrics = Metrics::new();
    let build = |tenant: &str| Chain::build(&host, tenant, &[plugin("nothing")], &[], &metrics);
    let chains: Vec<_> = (0..10).map(|n| build(&format!("tenant {n}")).unwrap()).collect();
    for chain in chains.iter().chain(&chains) {
        chain.run(logs(2), None).await.expect("there is room for one at a time");
    }
}

#[tokio::test]
async fn an_instance_that_registers_differently_is_not_used() {
    let limits = Limits { calls: 1, ..Limits::default() };
    let scene = Scene::new(Config { limits, ..plugin("register differently each time") });
    let mut failed = 0;
    for _ in 0..100 {
        match scene.run(logs(2)).await {
            Ok(_) => {}
            Err(Failure::Failed { cause, .. }) => {
                assert_eq!(cause.text, "its instances register differently for the same configuration");
                failed += 1;
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!((1..100).contains(&failed), "{failed}");
}

#[tokio::test]
async fn deep_recursion_ends() {
    let cause = fails("recurse").await;
    assert_eq!(cause.kind, FailureKind::Trap);
    // The stack of the machine, or the one that the guest keeps in its memory.
    let ends = ["call stack exhausted", "out of bounds memory access"];
    assert!(ends.iter().any(|end| cause.text.contains(end)), "{}", cause.text);
}

#[tokio::test]
async fn a_panic_says_what_it_said() {
    let text = does_not_start("panic in configure");
    assert!(text.contains("unreachable") && text.contains("not like this"), "{text}");
}

#[tokio::test]
async fn the_batch_is_there_in_process_only() {
    for (action, function) in [
        ("look at the batch in configure", "count"),
        ("change the batch in configure", "remove"),
        ("route in configure", "route"),
        ("redact by a pattern in configure", "redact-keys"),
    ] {
        let text = does_not_start(action);
        assert!(text.contains(&format!("it called `batch.{function}` outside `process`")), "{text}");
    }
    let cause = fails("compile a pattern").await;
    assert_eq!(cause.text, "unsupported: `compile-pattern` is for `configure` only");
}

/// What the engine says of it is only told by its words: another version of it may have others.
#[tokio::test]
async fn giant_strings_are_not_taken() {
    let limits = Limits { edit_bytes: 1 << 20, ..Limits::default() };
    for action in ["hand over a giant string", "hand over a giant list"] {
        let cause = fails_with(Config { limits: limits.clone(), ..plugin(action) }).await;
        assert_eq!(cause.kind, FailureKind::Limit, "{action}: {}", cause.text);
        assert_eq!(cause.text, "it handed over more at once than it may write (limits.edit_bytes)");
    }
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_counted() {
    let limits = Limits { time: Duration::from_secs(20), ..Limits::default() };
    let scene = Scene::new(Config { limits, ..plugin("flood the log") });
    scene.run(logs(2)).await.unwrap();
    assert_eq!(scene.metric("log_lines_dropped_total", ""), 100_001.0 - 100.0);
    scene.is_well().await;
}

#[tokio::test]
async fn a_flood_of_counters_is_cut() {
    let scene = Scene::new(plugin("flood the counters"));
    scene.run(logs(2)).await.unwrap();
    let text = scene.metrics.render();
    assert_eq!(text.lines().filter(|line| line.starts_with("tollgate_plugin_counter_total{")).count(), 32);
    assert_eq!(scene.metric("counter_total", ",counter=\"counter_0\""), 1.0);
    assert_eq!(scene.metric("counts_dropped_total", ""), f64::from(10_000 - 32 + 2));
    scene.is_well().await;
}

#[test]
fn patterns_are_limited() {
    let text = does_not_start("compile too many patterns");
    assert!(text.contains("more than 128 patterns (limits.patterns)"), "{text}");
    let limits = Limits { pattern_bytes: 1 << 20, time: Duration::from_secs(1), ..Limits::default() };
    let text = does_not_start_with(Config { limits, ..plugin("compile a pattern that is too large") });
    assert!(text.contains("plugin `odd`: does not start"), "{text}");
    does_not_start("compile what is no pattern");
    does_not_start("give a short key");
}

#[test]
fn a_mistake_in_the_configuration_says_where() {
    let metrics = Metrics::new();
    let config = plugin("refuse the configuration");
    let error = Chain::build(&HOST, "shop", &[config], &[], &metrics).err().unwrap().remove(0);
    let BuildProblem::Config { pointer, message } = &error.problem else { panic!("{error}") };
    assert_eq!(pointer, "/do");
    assert_eq!(message, "no such word; there are `all` and \\u{1b}[2J`none`");
}

#[test]
fn every_plugin_that_cannot_be_used_says_so() {
    let named = |name: &str, config| Config { name: name.into(), ..config };
    let plugins = [
        named("first", plugin("refuse the configuration")),
        named("good", plugin("nothing")),
        named("second", Config { component: Source::File("no/such.wasm".into()), ..plugin("") }),
        named("third", plugin("register an unknown destination")),
    ];
    let errors = Chain::build(&HOST, "shop", &plugins, &[], &Metrics::new()).err().unwrap();
    assert!(
        matches!(
            &errors[..],
            [
                BuildError { plugin: first, problem: BuildProblem::Config { .. } },
                BuildError { plugin: second, problem: BuildProblem::Load(_) },
                BuildError { plugin: third, problem: BuildProblem::Destination { .. } },
            ] if [&**first, second, third] == ["first", "second", "third"]
        ),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_plugin_routes_to_what_it_registered_and_registers_what_there_is() {
    assert_eq!(
        does_not_start("register an unknown destination"),
        "plugin `odd`: routes to `elsewhere`, which is none of the tenant's `routes`; there are `archive`, \
         `cold` and `default`"
    );
    let cause = fails("route to an unknown destination").await;
    assert_eq!(cause.kind, FailureKind::Error);
    assert_eq!(
        cause.text,
        "`elsewhere` is no destination that the plugin registered; there are: `default`, `archive`"
    );
}

#[tokio::test]
async fn who_registers_as_read_only_changes_nothing() {
    let cause = fails("register as read-only, and change").await;
    assert_eq!(cause.text, "unsupported: the plugin registered as read-only");
}

#[tokio::test]
async fn memory_that_leaks_is_given_back() {
    let scene = Scene::new(plugin("leak"));
    let before = resident_bytes();
    for _ in 0..500 {
        scene.run(logs(2)).await.expect("it leaks and does its work");
        assert!(scene.metric("memory_bytes", "") < 40e6);
    }
    assert!(resident_bytes() < before + (300 << 20), "500 MB were leaked");
    scene.is_well().await;
}

#[tokio::test]
async fn an_instance_is_replaced_after_its_calls() {
    let limits = Limits { calls: 10, ..Limits::default() };
    let scene = Scene::new(Config { limits, ..plugin("remember") });
    for _ in 0..25 {
        scene.run(logs(2)).await.unwrap();
    }
    // 1 + 2 + … + 10, twice, and 1 + … + 5.
    assert_eq!(scene.metric("counter_total", ",counter=\"remembered\""), 55.0 + 55.0 + 15.0);
}

#[tokio::test]
async fn there_are_no_files_no_network_and_no_way_out() {
    let cause = fails("exit").await;
    assert_eq!(cause.text, "it ended itself: a plugin returns an error instead");
    let cause = fails("connect").await;
    assert!(cause.text.contains("plugins have no network"), "{}", cause.text);
    fails("open a file").await;
}

#[tokio::test]
async fn what_is_there_of_the_world_is_time_and_chance() {
    let scene = Scene::new(plugin("look around"));
    scene.run(logs(2)).await.unwrap();
    scene.is_well().await;
}

#[tokio::test]
async fn who_waits_holds_no_thread() {
    let begun = Instant::now();
    let scene = Scene::new(plugin("wait"));
    scene.run(logs(2)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3_000));
    scene.is_well().await;
}

#[tokio::test]
async fn a_rejection_is_printable_and_short() {
    let scene = Scene::new(plugin("reject"));
    let Err(Failure::Rejected { text, .. }) = scene.run(logs(2)).await else { panic!("not rejected") };
    assert!(text.starts_with("no\\u{1b}[2J\\n!!!"), "{text}");
    assert!(text.chars().count() < 530 && !text.contains(char::is_control));
    assert_eq!(scene.metric("calls_total", ",outcome=\"rejected\""), 1.0);
    scene.is_well().await;
}

/// A secret of two lines, of which one has to be escaped wherever it is shown.
const TOKEN: &str = "hunter\\2\nsecond line of it";

/// A plugin that does this with a secret of its configuration.
fn telling(action: &str) -> Config {
    let config = json!({ "do": action, "token": TOKEN });
    Config { config, secrets: Secrets::new([TOKEN.to_owned()]), ..plugin(action) }
}

fn has_no_secret(text: &str) {
    for piece in ["hunter", "second"] {
        assert!(!text.contains(piece), "{text}");
    }
}

#[test]
fn what_a_plugin_tells_of_its_secrets_is_masked_when_it_is_configured() {
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
    let text = tracing::subscriber::with_default(subscriber, || {
        // With one subscriber only, whether an event is wanted is asked of the thread that first meets it.
        let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        does_not_start_with(telling("say the token, and refuse it"))
    });
    has_no_secret(&text);
    assert!(text.contains("no good: ********, as \"********\" of {"), "{text}");
    let logged = lines.text();
    has_no_secret(&logged);
    for line in ["the token is ********", "it is ********", "or ********"] {
        assert!(logged.contains(line), "{line}: {logged}");
    }

    let text = does_not_start_with(telling("fail with the token in configure"));
    assert_eq!(text, "plugin `odd`: does not start: unsupported: ********");
    let text = does_not_start_with(telling("panic with the token in configure"));
    has_no_secret(&text);
    assert!(text.contains("no good: ********"), "{text}");
    let text = does_not_start_with(telling("register the token"));
    assert!(text.starts_with("plugin `odd`: routes to `********`, which is none"), "{text}");
}

#[tokio::test]
async fn what_a_plugin_tells_of_its_secrets_is_masked_when_it_works() {
    let scene = Scene::new(telling("reject with the token"));
    let Err(Failure::Rejected { text, .. }) = scene.run(logs(2)).await else { panic!("not rejected") };
    assert_eq!(text, "******** \"********\"");
    let text = fails_with(telling("fail with the token")).await.text;
    assert_eq!(text, format!("{}*******", "x".repeat(505)));
    let text = fails_with(telling("route to the token")).await.text;
    assert!(text.starts_with("`********` is no destination"), "{text}");
    let text = fails_with(telling("panic with the token")).await.text;
    has_no_secret(&text);
    assert!(text.contains("no good: ********"), "{text}");
}

#[tokio::test]
async fn an_error_is_a_failure() {
    let cause = fails("fail").await;
    assert_eq!((cause.kind, &*cause.text), (FailureKind::Error, "unsupported: this\\nand that"));
}

#[tokio::test]
async fn patterns_that_are_not_there_are_refused() {
    let scene = Scene::new(plugin("name patterns that are not there"));
    scene.run(logs(2)).await.unwrap();
    scene.is_well().await;
}

#[tokio::test]
async fn a_batch_that_is_broken_where_nobody_looked_is_refused() {
    let broken = [0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x2a, 0x7f]; // a body that ends before it ends
    let batch = Batch::new(Document::parse(Signal::Logs, bytes::Bytes::from(broken.repeat(2))).unwrap());
    let scene = Scene::new(Config { on_failure: Some(OnFailure::Forward), ..plugin("read the bodies") });
    let failure = scene.run(batch).await.expect_err("it is refused, whatever the plugin does");
    assert!(matches!(failure, Failure::Malformed(_)), "{failure}");
    scene.is_well().await;
}

#[tokio::test]
async fn what_was_half_done_is_undone() {
    let cause = fails("change half and panic").await;
    assert_eq!(cause.kind, FailureKind::Trap);
    assert!(cause.text.contains("mid-batch, on purpose"), "{}", cause.text);
    assert_eq!(fails("change half and fail").await.text, "half of it, on purpose");
    assert_eq!(fails_with(endless("change half and loop")).await.kind, FailureKind::Time);
}

#[tokio::test]
async fn a_failure_tells_the_last_words() {
    let cause = fails("say much and panic").await;
    let at = |words: &str| cause.text.find(words);
    assert!(cause.text.ends_with(": after all that, on purpose"), "{}", cause.text);
    assert_eq!(at("word 3"), None, "{}", cause.text);
    assert!(at("word 4").is_some() && at("word 4") < at("word 5"), "{}", cause.text);
    let last = &cause.text[at("word 6").unwrap()..];
    assert!(last.len() < 400 && last.contains("panicked at"), "{}", cause.text);
}

#[tokio::test]
async fn what_it_complained_of_is_told_with_the_failure_of_that_call() {
    let limits = Limits { log_lines: 1, ..Limits::default() };
    let scene = Scene::new(Config { limits, ..plugin("complain, and end on the second call") });
    scene.run(logs(2)).await.expect("it only complains");
    let Err(Failure::Failed { cause, .. }) = scene.run(logs(2)).await else { panic!("it should fail") };
    assert!(cause.text.ends_with(": this goes wrong and that was call 2"), "{}", cause.text);
    assert!(!cause.text.contains("call 1"), "that one is over: {}", cause.text);
    assert!(!cause.text.contains("backtrace"), "numbers of functions help nobody: {}", cause.text);
}

/// The records of a request in protobuf: what they say, and whether they are marked.
fn read_back(message: &Chunks) -> Vec<(String, bool)> {
    let request = ExportLogsServiceRequest::decode(message.to_bytes()).unwrap();
    let records = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let records = records.flat_map(|scope| scope.log_records);
    let read = records.map(|record| {
        let Some(any_value::Value::StringValue(body)) = record.body.and_then(|body| body.value) else {
            panic!("no body")
        };
        (body, record.attributes.iter().any(|attribute| attribute.key == "marked"))
    });
    read.collect()
}

#[tokio::test]
async fn plugins_work_one_after_the_other_on_what_those_before_left() {
    let chain = |plugins: &[Config]| {
        Chain::build(&HOST, &someone(), plugins, &["archive"], &Metrics::new()).expect("they are good")
    };
    let split = plugin("discard the first and route the last");
    let done = chain(&[plugin("mark"), split.clone()]).run(logs(4), None).await.unwrap();
    let batch = done.batch.unwrap();
    assert!(batch.is_changed());
    let line = |n: usize, marked| (format!("line {n}"), marked);
    assert_eq!(read_back(&batch.message()), [line(1, true), line(2, true)]);
    assert_eq!(done.discarded, 1);
    let [routed] = &done.routed[..] else { panic!("{:?}", done.routed) };
    assert_eq!(routed.destinations, ["archive".into(), "default".into()]);
    assert_eq!(read_back(&routed.message), [line(3, true)]);
    assert_eq!(routed.records, 1);
    assert_eq!(done.notes.iter().map(|note| note.outcome).collect::<Vec<_>>(), ["forwarded", "forwarded"]);

    // One that fails leaves what those before it did, and those after it go on from there.
    let failing = Config { on_failure: Some(OnFailure::Forward), ..plugin("change half and panic") };
    let done = chain(&[plugin("mark"), failing, split.clone()]).run(logs(4), None).await.unwrap();
    assert_eq!(read_back(&done.batch.unwrap().message()), [line(1, true), line(2, true)]);
    assert_eq!(
        done.notes.iter().map(|note| note.outcome).collect::<Vec<_>>(),
        ["forwarded", "passed", "forwarded"]
    );

    // Where nothing stays, nobody is asked any more.
    let done = chain(&[plugin("discard all"), plugin("loop")]).run(logs(4), None).await.unwrap();
    assert!(done.batch.is_none() && done.routed.is_empty());
    assert_eq!((done.discarded, done.notes.len()), (4, 1));
}

#[tokio::test]
async fn rows_that_are_not_there_are_refused() {
    let scene = Scene::new(plugin("name rows that are not there"));
    let done = scene.run(logs(3)).await.unwrap();
    assert_eq!(done.batch.unwrap().message().to_bytes(), logs(3).message().to_bytes());
    assert!(done.routed.is_empty() && done.discarded == 0);
    scene.is_well().await;
}

#[tokio::test]
async fn rubbish_is_no_replacement() {
    let scene = Scene::new(plugin("replace by rubbish"));
    let done = scene.run(logs(3)).await.unwrap();
    assert_eq!(done.batch.unwrap().message().to_bytes(), logs(3).message().to_bytes());
    scene.is_well().await;
}

#[tokio::test]
async fn what_a_call_writes_and_reads_is_limited() {
    let limits = Limits { edit_bytes: 2 << 20, time: Duration::from_secs(20), ..Limits::default() };
    for action in ["write too much", "read too much"] {
        let cause = fails_with(Config { limits: limits.clone(), ..plugin(action) }).await;
        assert_eq!(cause.kind, FailureKind::Limit);
        assert_eq!(cause.text, "it wrote or read more than 2048 KiB of the batch (limits.edit_bytes)");
    }
    let limits = Limits { edit_bytes: 1, ..limits };
    for action in ["mark", "read the bodies"] {
        let cause = fails_with(Config { limits: limits.clone(), ..plugin(action) }).await;
        assert_eq!(cause.kind, FailureKind::Limit);
        assert_eq!(cause.text, "it wrote or read more than 1 B of the batch (limits.edit_bytes)");
    }
}

#[tokio::test]
async fn what_waits_to_be_written_is_limited_too() {
    let limits = Limits { edit_bytes: 16 << 20, time: Duration::from_secs(20), ..Limits::default() };
    let scene = Scene::new(Config { limits: limits.clone(), ..plugin("name the same row over and over") });
    let before = resident_bytes();
    let cause = fails_with(Config { limits, ..plugin("write giant keys") }).await;
    assert_eq!(cause.kind, FailureKind::Limit, "{cause}");
    let _served_or_stopped = scene.run(logs(2)).await;
    let now = resident_bytes();
    assert!(now < before + (200 << 20), "{before} {now}");
    scene.is_well().await;
}

#[tokio::test]
async fn a_million_operations_are_done_or_take_too_long() {
    let limits = Limits { time: Duration::from_secs(30), ..Limits::default() };
    let scene = Scene::new(Config { limits, ..plugin("do a million things") });
    let before = resident_bytes();
    match scene.run(logs(2)).await {
        Ok(done) => assert!(done.batch.unwrap().message().len() < 1_000),
        Err(Failure::Failed { cause, .. }) => {
            assert!([FailureKind::Time, FailureKind::Limit].contains(&cause.kind), "{cause}");
        }
        Err(failure) => panic!("{failure}"),
    }
    assert!(resident_bytes() < before + (400 << 20));
    scene.is_well().await;
}

#[tokio::test]
async fn what_takes_too_long_here_goes_on_elsewhere() {
    let scene = Scene::new(plugin("loop for a while"));
    for calls in 1..=3 {
        let done = scene.run(logs(2)).await.unwrap();
        assert!(done.notes[0].in_pool);
        assert_eq!(scene.metric("calls_total", ",outcome=\"forwarded\""), f64::from(calls));
    }
    let moved = scene.metric("calls_total", ",outcome=\"moved\"");
    assert!((1.0..=2.0).contains(&moved), "after two it is known to be slow, and begun in the pool: {moved}");
}

#[tokio::test]
async fn what_was_made_of_a_batch_that_waits_is_known() {
    let chain = |plugins: &[Config]| {
        Chain::build(&HOST, &someone(), plugins, &["archive"], &Metrics::new()).expect("they are good")
    };
    let (mark, split) = (plugin("mark"), plugin("discard the first and route the last"));
    let done = chain(&[mark.clone(), split.clone()]).run(logs(4), None).await.unwrap();
    let routed = done.routed.iter().map(|routed| routed.message.len()).sum::<usize>();
    let made = (done.batch.unwrap().message().len() + routed) as u64;
    let slow = plugin("loop for a while");
    for (plugins, made) in [(vec![slow.clone()], 0), (vec![mark, split, slow], made)] {
        let chain = chain(&plugins);
        // Where the machine is busy, a fast plugin may be interrupted too.
        let is_known = (0..100).any(|_| match chain.begin(logs(4), None) {
            Ok(Begun::Waits(waiting)) => waiting.bytes_made() == made,
            _ => false,
        });
        assert!(is_known, "{made} bytes were made by those before the slow one");
    }
}

#[tokio::test]
async fn a_slow_plugin_of_one_tenant_delays_nobody_else() {
    // A host of its own, whose threads no other test has.
    let host = Host::new(&Settings { threads: 3, queue: 4, instances: 100, ..Settings::default() }).unwrap();
    let limits = Limits { time: Duration::from_secs(10), ..Limits::default() };
    let scene = Scene::at(&host, Config { limits, ..plugin("loop") });
    let loops: Vec<_> = (0..20)
        .map(|_| {
            let chain = scene.chain.clone();
            tokio::spawn(async move { chain.run(logs(2), None).await })
        })
        .collect();
    // First they have all that they may have.
    let count = |outcome: &str| scene.metric("calls_total", &format!(",outcome=\"{outcome}\""));
    while count("busy") < f64::from(20 - 4 - 2) && count("failed") == 0.0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        scene.other.run(logs(50_000), None).await.expect("another tenant is served");
    }
    let failed = scene.metric("calls_total", ",outcome=\"failed\"");
    assert_eq!(failed, 0.0, "none of the loops has ended, so nothing waited for one");
    let mut full = 0;
    for refused in loops.into_iter().filter(JoinHandle::is_finished) {
        assert!(matches!(refused.await.unwrap(), Err(Failure::Busy { .. })));
        full += 1;
    }
    assert!((20 - 4 - 2..=20 - 4).contains(&full), "its queue holds four, and up to two run: {full}");
    assert_eq!(scene.metric("calls_total", ",outcome=\"busy\""), f64::from(full));
    assert!((2.0..=4.0).contains(&scene.metric("calls_waiting", "")));
}

#[test]
fn many_small_requests_do_not_wait_for_one_instance() {
    let scene = Scene::new(plugin("nothing"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for _ in 0..500 {
                    runtime.block_on(scene.run(logs(2))).unwrap();
                }
            });
        }
    });
    let forwarded = scene.metric("calls_total", ",outcome=\"forwarded\"");
    assert_eq!(forwarded, 2_000.0);
    // One for each thread that called: the four, and those of the pool.
    assert!((1.0..=7.0).contains(&scene.metric("instances", "")));
}

#[tokio::test]
async fn instances_that_nobody_uses_are_given_up() {
    let host = Host::new(&Settings { instances: 10, ..Settings::default() }).unwrap();
    let scene = Scene::at(&host, plugin("nothing"));
    scene.run(logs(2)).await.unwrap();
    host.sweep();
    assert_eq!(scene.metric("instances", ""), 1.0, "it was used since the last time");
    host.sweep();
    assert_eq!((scene.metric("instances", ""), scene.metric("memory_bytes", "")), (0.0, 0.0));
    scene.run(logs(2)).await.expect("there is another one when it is needed");
}

#[tokio::test]
async fn a_call_ends_with_its_request_and_the_plugin_is_not_blamed() {
    let scene = Scene::new(plugin("loop"));
    let in_a_moment = Instant::now() + Duration::from_millis(50);
    for deadline in [in_a_moment, Instant::now()] {
        let ended = scene.chain.run(logs(2), Some(deadline)).await;
        assert!(matches!(ended, Err(Failure::Late)), "{ended:?}");
    }
    // The one that was begun ends by itself a moment later; the other was not.
    while scene.metric("calls_total", ",outcome=\"late\"") < 1.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.metric("failures_total", ",kind=\"time\""), 0.0);
    scene.is_well().await;
}

#[tokio::test]
async fn who_waits_for_a_thread_waits_no_longer_than_there_is_time() {
    // Two loop until the test ends, and have the threads that this tenant may have.
    let host = Host::new(&Settings { threads: 3, queue: 4, instances: 10, ..Settings::default() }).unwrap();
    let limits = Limits { time: Duration::from_secs(10), ..Limits::default() };
    let scene = Scene::at(&host, Config { limits, ..plugin("loop") });
    let loops = [(); 2].map(|()| {
        let chain = scene.chain.clone();
        tokio::spawn(async move { chain.run(logs(2), None).await })
    });
    while scene.metric("calls_total", ",outcome=\"moved\"") < 1.0 || scene.metric("calls_waiting", "") > 0.0 {
        tokio::task::yield_now().await;
    }
    let deadline = Instant::now() + Duration::from_millis(50);
    let late = scene.chain.run(logs(2), Some(deadline)).await;
    assert!(matches!(late, Err(Failure::Late)), "{late:?}");
    assert!(loops.iter().all(|loops| !loops.is_finished()), "nothing else made room");
    assert_eq!(scene.metric("calls_waiting", ""), 0.0, "and it is withdrawn");
}

#[tokio::test]
async fn what_is_replaced_by_nothing_is_taken_out() {
    let scene = Scene::new(plugin("replace by nothing"));
    let done = scene.run(logs(4)).await.unwrap();
    assert!(done.batch.is_none() && done.routed.is_empty(), "there is nothing to send");
    assert_eq!(done.discarded, 4);
    assert_eq!(scene.metric("records_total", ",effect=\"discarded\""), 4.0);
}

#[test]
fn what_signals_a_plugin_does_not_want_pass_or_are_refused() {
    let scene = Scene::new(plugin("nothing"));
    assert_eq!(scene.chain.turn(Signal::Logs), Turn::Run);
    assert_eq!(scene.chain.turn(Signal::Traces), Turn::Skip);
    assert_eq!(scene.chain.turn(Signal::Profiles), Turn::Skip);
    let scene = Scene::new(plugin("refuse other signals"));
    assert_eq!(scene.chain.turn(Signal::Logs), Turn::Run);
    assert_eq!(scene.chain.turn(Signal::Traces), Turn::Refuse("odd".into()));
    let metrics = Metrics::new();
    let none = Chain::build(&HOST, "shop", &[], &[], &metrics).unwrap();
    assert_eq!(none.turn(Signal::Logs), Turn::Skip);
}

#[test]
fn a_start_from_the_cache_does_not_compile() {
    let folder = std::env::temp_dir().join(format!("tollgate-plugin-cache-{}", std::process::id()));
    let settings = Settings { cache: Some(folder.clone()), instances: 10, ..Settings::default() };
    let start = || {
        let host = Host::new(&settings).unwrap();
        let begun = Instant::now();
        host.load(&Source::File(MISBEHAVING.clone())).unwrap();
        begun.elapsed()
    };
    let compiled = start();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let loaded = start();
    eprintln!("compiled in {compiled:?}, loaded in {loaded:?}");
    // What is damaged is compiled again, and what is whole but of another kind too.
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, b"damaged").unwrap();
    start();
    assert!(fs::metadata(&file).unwrap().len() > 1_000, "it is kept again");
    fs::remove_dir_all(&folder).unwrap();
}
