//! The contract in other languages than Rust: one plugin, written in each of them in plugins/examples, does
//! the same to the same batch, within the limits that every plugin has by default.
//!
//! tests/languages/install brings what builds them.

use super::*;
use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource};

#[tokio::test]
async fn a_plugin_in_c() {
    does_what_the_others_do(Language::C).await;
}

#[tokio::test]
async fn a_plugin_in_javascript() {
    does_what_the_others_do(Language::JavaScript).await;
}

#[tokio::test]
async fn a_plugin_in_python() {
    does_what_the_others_do(Language::Python).await;
}

/// WASI is not stubbed in what is built here: nobody would see this then.
#[test]
fn a_mistake_in_javascript_says_where_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/languages/mistaken");
    let Some(component) = Language::JavaScript.component_of(&folder) else { return };
    let text = does_not_start_for(&component, json!({}));
    assert!(text.contains("cannot read property 'here' of undefined"), "{text}");
    assert!(text.contains("/stamp.js:4:"), "{text}");
}

#[test]
fn a_mistake_in_python_says_what_it_is() {
    let Some(component) = Language::Python.component() else { return };
    // The plugin takes a table for granted, as it may: there is nothing else in a configuration.
    let text = does_not_start_for(&component, json!(3));
    assert!(text.contains("Python function threw an unexpected exception"), "{text}");
    // The end of the traceback: where, and what.
    assert!(text.contains(", in configure"), "{text}");
    assert!(text.contains("AttributeError: 'int' object has no attribute 'items'"), "{text}");
}

fn does_not_start_for(component: &Path, config: serde_json::Value) -> String {
    let plugins = [stamp(component, &config)];
    let error = Chain::build(&HOST, "shop", &plugins, &["archive"], &Metrics::new()).err();
    error.expect("it does not start")[0].to_string()
}

/// How long calls take, for docs/plugins-other-languages.md: nothing is asserted.
#[tokio::test]
#[ignore = "measures"]
async fn what_calls_take() {
    for language in [Language::C, Language::JavaScript, Language::Python] {
        if let Some(component) = language.component() {
            measure(language, &component).await;
        }
    }
}

/// Keeps what it compiled: Python takes seconds.
static HOST: LazyLock<Host> = LazyLock::new(|| {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/languages/compiled");
    Host::new(&Settings { cache: Some(cache), instances: 50, ..Settings::default() }).unwrap()
});

/// A tenant with the plugin.
struct Stage {
    chain: Chain,
    metrics: Metrics,
}

impl Stage {
    fn new(component: &Path, config: &serde_json::Value) -> Self {
        Self::with(component, config, Limits::default())
    }

    fn with(component: &Path, config: &serde_json::Value, limits: Limits) -> Self {
        let metrics = Metrics::new();
        let plugins = [Config { limits, ..stamp(component, config) }];
        let chain = Chain::build(&HOST, "shop", &plugins, &["archive"], &metrics).unwrap();
        Self { chain, metrics }
    }

    async fn run(&self, batch: Batch) -> Transformed {
        self.chain.run(batch, None).await.unwrap()
    }

    fn metric(&self, name: &str, labels: &str) -> f64 {
        let series = format!("tollgate_plugin_{name}{{plugin=\"stamp\",tenant=\"shop\"{labels}}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or("0").parse().unwrap()
    }
}

async fn does_what_the_others_do(language: Language) {
    let Some(component) = language.component() else { return };
    changes_what_it_should(&component).await;
    without_its_optional_settings_it_only_marks(&component).await;
    says_what_it_did(&component).await;
    says_where_its_configuration_is_wrong(&component);
    keeps_its_memory(&component).await;
}

async fn changes_what_it_should(component: &Path) {
    let config = json!({ "stamp": "tollgate ü", "drop_level": "debug", "archive_level": "error" });
    let (came, expected) = (records(100), Expected::of(records(100), &config));
    assert!(expected.discarded > 0 && !expected.archived.is_empty() && !expected.stay.is_empty());
    let stage = Stage::new(component, &config);
    for _ in 0..3 {
        let done = stage.run(batch_of(came.clone())).await;
        assert_eq!(records_in(&done.batch.unwrap().message()), expected.stay);
        let [routed] = &done.routed[..] else { panic!("{:?}", done.routed) };
        assert_eq!(routed.destinations, ["archive".into()]);
        assert_eq!(records_in(&routed.message), expected.archived);
        assert_eq!(done.discarded, expected.discarded);
    }
    assert_eq!(stage.metric("counter_total", ",counter=\"has_at\""), 3.0 * expected.marked as f64);
}

async fn without_its_optional_settings_it_only_marks(component: &Path) {
    let config = json!({ "stamp": "a \"b\" \\ / \n\u{7f}é€😀" });
    let expected = Expected::of(records(20), &config);
    let stage = Stage::new(component, &config);
    let done = stage.run(batch_of(records(20))).await;
    assert_eq!(records_in(&done.batch.unwrap().message()), expected.stay);
    assert!(done.routed.is_empty() && done.discarded == 0);
    assert_eq!(stage.chain.turn(Signal::Traces), Turn::Skip);

    let done = stage.run(batch_of(Vec::new())).await;
    assert!(done.batch.is_some_and(|batch| batch.records() == 0), "an empty batch is none to stumble over");
}

async fn says_what_it_did(component: &Path) {
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || written.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With one subscriber only, whether an event is wanted is asked of the thread that first meets it,
    // which may be another test's.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let stage = Stage::new(component, &json!({ "stamp": "x" }));
    let deadline = Instant::now() + Duration::from_secs(60);
    // Lines are told where the call was made. On a busy machine that may be in the pool, whose threads have
    // no subscriber; after a second another one is tried here.
    let said = loop {
        assert!(Instant::now() < deadline, "nothing was said here");
        stage.run(batch_of(records(4))).await;
        let text = String::from_utf8(std::mem::take(&mut *lines.0.lock())).unwrap();
        let mut said = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        if let Some(line) = said.find(|line| line["fields"]["message"] == "plugin says") {
            break line;
        }
    };
    assert_eq!(
        (&said["level"], &said["fields"]["line"]),
        (&"INFO".into(), &"2 bodies of checkout hold an @".into())
    );
}

fn says_where_its_configuration_is_wrong(component: &Path) {
    let is_wrong = |config, at: &str, what: &str| {
        let error =
            Chain::build(&HOST, "shop", &[stamp(component, &config)], &["archive"], &Metrics::new()).err();
        let error = error.expect("it does not start").remove(0);
        let BuildProblem::Config { pointer, message } = &error.problem else { panic!("{error}") };
        assert_eq!((&**pointer, &**message), (at, what), "{config}");
    };
    const TEXT: &str = "must be a text that is not empty";
    const NONE: &str = "no such setting; there are stamp, drop_level and archive_level";
    is_wrong(json!({ "stamp": "" }), "/stamp", TEXT);
    is_wrong(json!({}), "/stamp", TEXT);
    is_wrong(json!({ "stamp": "x", "drop_level": 3 }), "/drop_level", TEXT);
    is_wrong(json!({ "stamp": { "stamp": "}\"" }, "drop_level": "x" }), "/stamp", TEXT);
    is_wrong(json!({ "stamp": "x", "a/b~c é": [{}] }), "/a~1b~0c é", NONE);

    let nowhere = stamp(component, &json!({ "stamp": "x", "archive_level": "error" }));
    let error =
        Chain::build(&HOST, "shop", &[nowhere], &[], &Metrics::new()).err().expect("no `archive`").remove(0);
    assert!(error.to_string().contains("routes to `archive`"), "{error}");
}

async fn keeps_its_memory(component: &Path) {
    let stage = Stage::new(component, &json!({ "stamp": "x", "drop_level": "debug" }));
    for _ in 0..200 {
        stage.run(batch_of(records(100))).await;
    }
    let warm = stage.metric("memory_bytes", "");
    for _ in 0..1_000 {
        stage.run(batch_of(records(100))).await;
    }
    let grown = stage.metric("memory_bytes", "") - warm;
    assert!(warm > 0.0 && grown < 1e6, "it had {warm} bytes, and 1000 calls added {grown}");
}

async fn measure(language: Language, component: &Path) {
    let config = json!({ "stamp": "x", "drop_level": "debug", "archive_level": "error" });
    let host = Host::new(&Settings { instances: 20, ..Settings::default() }).unwrap();
    let begun = Instant::now();
    host.load(&Source::File(component.to_owned())).unwrap();
    let compiled = begun.elapsed();
    let median = async |limits: Limits, count| {
        let stage = Stage::with(component, &config, limits);
        let request = bytes_of(records(count));
        let mut took = Vec::new();
        for _ in 0..2_000 {
            let batch = Batch::new(Document::parse(Signal::Logs, request.clone()).unwrap());
            took.push(stage.run(batch).await.notes[0].took);
        }
        took.sort();
        took[took.len() / 2]
    };
    let once = Limits { calls: 1, ..Limits::default() };
    let fresh = median(once, 1).await;
    let (one, hundred) = (median(Limits::default(), 1).await, median(Limits::default(), 100).await);
    let stage = Stage::new(component, &config);
    stage.run(batch_of(records(100))).await;
    eprintln!(
        "{language:?}: {} bytes, compiled in {compiled:?}, {} KiB of memory; a call with 1 record: fresh \
         {fresh:?}, warm {one:?}; with 100 records: {hundred:?}",
        fs::metadata(component).unwrap().len(),
        stage.metric("memory_bytes", "") / 1024.0,
    );
}

/// The plugin of plugins/examples, as a configuration names it.
fn stamp(component: &Path, config: &serde_json::Value) -> Config {
    Config {
        name: "stamp".into(),
        component: Source::File(component.to_owned()),
        config: config.clone(),
        secrets: Secrets::default(),
        on_failure: None,
        limits: Limits::default(),
    }
}

/// What the plugin should do, said once more in Rust.
#[derive(Default)]
struct Expected {
    stay: Vec<LogRecord>,
    archived: Vec<LogRecord>,
    discarded: u64,
    marked: usize,
}

impl Expected {
    fn of(records: Vec<LogRecord>, config: &serde_json::Value) -> Self {
        let mut expected = Expected::default();
        for mut record in records {
            let has_level = |setting: &str| {
                let level = record.attributes.iter().find(|attribute| attribute.key == "level");
                config[setting]
                    .as_str()
                    .is_some_and(|wanted| level.and_then(|level| level.value.clone()) == Some(text(wanted)))
            };
            let (is_dropped, is_archived) = (has_level("drop_level"), has_level("archive_level"));
            set(&mut record, "processed_by", text(config["stamp"].as_str().unwrap()));
            if let Some(AnyValue { value: Some(any_value::Value::StringValue(body)) }) = &record.body
                && body.contains('@')
            {
                expected.marked += 1;
                set(&mut record, "has_at", AnyValue { value: Some(any_value::Value::BoolValue(true)) });
            }
            match (is_dropped, is_archived) {
                (true, _) => expected.discarded += 1,
                (false, true) => expected.archived.push(record),
                (false, false) => expected.stay.push(record),
            }
        }
        expected
    }
}

/// Sets an attribute: the first of the key is edited, and others of it go.
fn set(record: &mut LogRecord, key: &str, value: AnyValue) {
    let mut first = Some(value);
    record.attributes.retain_mut(|attribute| {
        if attribute.key != key {
            return true;
        }
        first.take().map(|value| attribute.value = Some(value)).is_some()
    });
    record.attributes.extend(first.map(|value| attribute(key, value)));
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Records of all kinds: levels that are wanted, others, none and no texts; bodies with and without an @,
/// empty, missing, and of bytes; a stamp that is there already, once and twice.
fn records(count: usize) -> Vec<LogRecord> {
    let record = |n: usize| {
        let mut attributes =
            vec![attribute("n", AnyValue { value: Some(any_value::Value::IntValue(n as i64)) })];
        match n % 7 {
            1 => attributes.push(attribute("level", text("debug"))),
            2 | 5 => attributes.push(attribute("level", text("info"))),
            3 => attributes.push(attribute("level", text("error"))),
            4 => attributes.push(attribute("level", AnyValue { value: Some(any_value::Value::IntValue(3)) })),
            _ => {}
        }
        attributes.extend((0..n % 3).map(|_| attribute("processed_by", text("another"))));
        let body = match n % 6 {
            0 => Some(text(&format!("ann{n}@example.com logged in, ünïcödé 😀"))),
            1 => Some(text("")),
            2 => Some(AnyValue { value: Some(any_value::Value::BytesValue(b"@".to_vec())) }),
            3 => Some(text("@")),
            4 => Some(text(&format!("GET /cart/{n} 200"))),
            _ => None,
        };
        LogRecord { body, attributes, ..LogRecord::default() }
    };
    (0..count).map(record).collect()
}

fn batch_of(log_records: Vec<LogRecord>) -> Batch {
    Batch::new(Document::parse(Signal::Logs, bytes_of(log_records)).unwrap())
}

/// A request of one resource.
fn bytes_of(log_records: Vec<LogRecord>) -> bytes::Bytes {
    let service = attribute("service.name", text("checkout"));
    let resource = Some(Resource { attributes: vec![service], ..Resource::default() });
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}

fn records_in(message: &Chunks) -> Vec<LogRecord> {
    let request = ExportLogsServiceRequest::decode(message.to_bytes()).unwrap();
    let resources = request.resource_logs.into_iter();
    resources.flat_map(|resource| resource.scope_logs).flat_map(|scope| scope.log_records).collect()
}

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy)]
enum Language {
    C,
    JavaScript,
    Python,
}

impl Language {
    /// The plugin of plugins/examples. None, where the tools are missing.
    fn component(self) -> Option<PathBuf> {
        let folder = match self {
            Language::C => "c",
            Language::JavaScript => "javascript",
            Language::Python => "python",
        };
        self.component_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples").join(folder))
    }

    /// The plugin of a folder, built where it was not.
    fn component_of(self, source: &Path) -> Option<PathBuf> {
        /// Two tests may want the same one.
        static BUILDING: Mutex<()> = Mutex::new(());
        let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let tools = house.join("target/languages");
        let tool = tools.join(match self {
            Language::C => "python/bin/python-zig",
            Language::JavaScript => "node/node_modules/.bin/componentize-qjs",
            Language::Python => "python/bin/componentize-py",
        });
        if !has(&tool) {
            return None;
        }
        let _building = BUILDING.lock();
        // What it is made of names it, so that a change of that makes it anew.
        let contract = house.join("wit/v0.1");
        let digest = digest_of(&[source, &contract, &house.join("tests/languages")]);
        let component = tools.join(format!("stamp-{digest}.wasm"));
        if !component.exists() {
            let folder = tools.join(format!("stamp-{digest}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let draft = folder.join("stamp.wasm");
            self.build(&tool, source, &contract, &draft);
            fs::rename(draft, &component).unwrap();
            fs::remove_dir_all(folder).unwrap();
        }
        Some(component)
    }

    /// As docs/plugins-other-languages.md tells. WASI is not stubbed: then nobody would see what a plugin
    /// says when it fails.
    fn build(self, tool: &Path, source: &Path, contract: &Path, component: &Path) {
        let mut command = Command::new(tool);
        match self {
            Language::C => {
                let folder = component.parent().unwrap();
                let module = folder.join("module.wasm");
                bind(contract, folder);
                command.env("ZIG_GLOBAL_CACHE_DIR", folder.parent().unwrap().join("zig"));
                command.args([
                    "cc",
                    "--target=wasm32-wasi",
                    "-mexec-model=reactor",
                    "-Os",
                    "-s",
                    "-Wall",
                    "-Wextra",
                ]);
                command.args(["-Werror", "-Wl,-z,stack-size=65536", "-I"]).arg(folder).arg("-o").arg(&module);
                command.arg(source.join("stamp.c"));
                command.args([folder.join("plugin.c"), folder.join("plugin_component_type.o")]);
                run(command);
                wrap(&module, component);
            }
            Language::JavaScript => {
                command.args(["--sync", "--world", "plugin", "--wit"]).arg(contract).arg("--js");
                command.arg(source.join("stamp.js")).arg("--output").arg(component);
                run(command);
            }
            Language::Python => {
                command.current_dir(source).arg("--wit-path").arg(contract).args(["--world", "plugin"]);
                command.args(["componentize", "stamp", "--output"]).arg(component);
                run(command);
            }
        }
    }
}

/// Whether a tool is there. Without it a test is skipped, loudly; with `TOLLGATE_TEST_REQUIRE=all` its absence
/// is a failure.
fn has(tool: &Path) -> bool {
    let is_there = tool.exists();
    if !is_there {
        let required = std::env::var("TOLLGATE_TEST_REQUIRE").is_ok_and(|required| required == "all");
        let missing = format!("{} (tests/languages/install) is missing", tool.display());
        assert!(!required, "{missing}, and TOLLGATE_TEST_REQUIRE=all");
        eprintln!("SKIPPED: {missing}");
    }
    is_there
}

fn run(mut command: Command) {
    let output = command.output().expect("it can be started");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// What `wit-bindgen c` does.
fn bind(contract: &Path, folder: &Path) {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(contract).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let mut files = wit_bindgen_core::Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files).unwrap();
    for (name, contents) in files.iter() {
        fs::write(folder.join(name), contents).unwrap();
    }
}

/// What `wasm-tools component new` does.
fn wrap(module: &Path, component: &Path) {
    let encoder = wit_component::ComponentEncoder::default().module(&fs::read(module).unwrap()).unwrap();
    fs::write(component, encoder.validate(true).encode().unwrap()).unwrap();
}

/// Of the files in some folders, and of how they are built.
fn digest_of(folders: &[&Path]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(include_bytes!("languages.rs"));
    for folder in folders {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            context.update(&fs::read(file).unwrap());
        }
    }
    context.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
