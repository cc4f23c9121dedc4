//! `tollgate plugin inspect`, `run` and `test`: what they print, and what they exit with.

use crate::kit::{
    Folder, command,
    real::{repository, said},
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};
use tollgate::plugin::Builtin;

/// `tollgate plugin …`, with this on standard input and a cache that all these tests share.
fn plugin(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command()
        .arg("plugin")
        .args(arguments)
        .env("XDG_CACHE_HOME", repository("target/tools-cache"))
        .env_remove("CACHE_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting tollgate");
    // Who finds a mistake in the arguments does not read on.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input);
    child.wait_with_output().expect("waiting")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn exits(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", said(output));
}

fn example(name: &str) -> Vec<u8> {
    fs::read(repository("tests/examples").join(name)).expect("an example")
}

/// A plugin that does whatever wrong thing it is told, once there are two records.
fn misbehaving() -> &'static str {
    static GUEST: LazyLock<String> = LazyLock::new(|| {
        let target = repository("target/guests");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--locked", "--quiet", "--target", "wasm32-wasip2"]);
        cargo.current_dir(repository("tests/guests/misbehave")).env("CARGO_TARGET_DIR", &target);
        for outer in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            cargo.env_remove(outer);
        }
        let output = cargo.output().expect("cargo");
        assert!(output.status.success(), "{}", said(&output));
        target.join("wasm32-wasip2/release/misbehave.wasm").display().to_string()
    });
    &GUEST
}

#[test]
fn a_component_says_what_it_is() {
    let output = plugin(&["inspect", "builtin:relabel", "--config", "insert.a = 1"], b"");
    exits(&output, 0);
    let text = stdout(&output);
    for line in [
        "component     builtin:relabel\n",
        "contract      0.1.0\n",
        "imports       types, host, batch\n",
        "taken         yes\n",
        "signals       logs, traces, metrics\n",
        "  others      pass unseen\n",
        "destinations  default alone\n",
        "changes       batches\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // From a file it is the same; where it may route to needs no tenant.
    let folder = Folder::create();
    let file = folder.path().join("route.wasm").display().to_string();
    fs::write(&file, Builtin::Route.bytes()).expect("writing");
    let rules = "rules = [{ to = [\"archive\", \"pager\"] }]";
    let output = plugin(&["inspect", &file, "--config", rules], b"");
    exits(&output, 0);
    assert!(stdout(&output).contains("destinations  archive, pager\n"), "{}", said(&output));
    // Without its configuration it says what it wants.
    let output = plugin(&["inspect", &file], b"");
    exits(&output, 0);
    assert!(stdout(&output).contains("only with a configuration (--config): missing field `rules`"));
}

#[test]
fn a_component_that_is_not_taken_says_why_and_what_to_do() {
    let folder = Folder::create();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name).display().to_string();
        fs::write(&path, bytes).expect("writing");
        path
    };
    let core = wat::parse_str("(module)").expect("a module");
    let bare = wat::parse_str("(component)").expect("a component");
    let http = r#"(component
        (import "wasi:http/types@0.2.0" (instance))
        (import "acme:widgets/api" (instance))
        (instance $i) (export "tollgate:plugin/handler@9.9.9" (instance $i)))"#;
    let http = wat::parse_str(http).expect("a component");
    for (file, words) in [
        (write("core.wasm", &core), &["a core WebAssembly module", "wasm-tools component new"][..]),
        (write("bare.wasm", &bare), &["contract      none", "is no plugin", "tollgate:plugin/plugin"]),
        (write("http.wasm", &http), &["contract      9.9.9", "others      acme:widgets/api", "wit/v0.1"]),
        (write("notes.txt", b"notes"), &["name the .wasm file"]),
    ] {
        let output = plugin(&["inspect", &file], b"");
        exits(&output, 1);
        for words in words.iter().chain(&["taken         no: "]) {
            assert!(stdout(&output).contains(words), "{words}: {}", said(&output));
        }
        // To run it, it is refused in the same words.
        let output = plugin(&["run", &file], &example("logs.json"));
        exits(&output, 1);
        assert!(stderr(&output).contains("does not load"), "{}", said(&output));
    }
    exits(&plugin(&["inspect", "no/such.wasm"], b""), 1);
    let giant = write("giant.wasm", b"");
    fs::File::options().write(true).open(&giant).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    let output = plugin(&["inspect", &giant], b"");
    exits(&output, 1);
    assert!(stderr(&output).contains("larger than 256 MiB"), "{}", said(&output));
    let output = plugin(&["inspect", "builtin:relable"], b"");
    exits(&output, 64);
    assert!(stderr(&output).contains("builtin:relabel"), "{}", said(&output));
}

#[test]
fn a_mistake_in_a_plugins_configuration_is_shown_where_it_is() {
    for command in ["inspect", "run"] {
        let output = plugin(&[command, "builtin:relabel", "--config", "set.a = 1\ninsrt.b = 2"], b"");
        exits(&output, 78);
        let text = stderr(&output);
        assert!(text.contains("--config:2:") && text.contains("unknown key `insrt`"), "{text}");
    }
    let folder = Folder::create();
    let file = folder.path().join("relabel.toml");
    fs::write(&file, "set.a = 1\nhash_key = \"hunter2\"\n").expect("writing");
    let at_file = format!("@{}", file.display());
    let output = plugin(&["run", "builtin:relabel", "--config", &at_file], &example("logs.json"));
    exits(&output, 78);
    assert!(stderr(&output).contains(&format!("{}:2:", file.display())), "{}", said(&output));
    assert!(!stderr(&output).contains("hunter2"), "a secret: {}", said(&output));
    let output = plugin(&["run", "builtin:relabel", "--config", "set = "], b"");
    exits(&output, 78);
    assert!(stderr(&output).contains("this is not TOML"), "{}", said(&output));
}

#[test]
fn a_request_comes_out_as_it_went_in_but_for_what_the_plugin_did() {
    let label = ["run", "builtin:relabel", "--config", "insert.by = \"door\""];
    let output = plugin(&label, &example("logs.json"));
    exits(&output, 0);
    let batch: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let record = &batch["resourceLogs"][0]["scopeLogs"][0]["logRecords"][1];
    assert_eq!(record["attributes"], json!([{ "key": "by", "value": { "stringValue": "door" } }]));
    assert!(stderr(&output).contains("2 of 2 records stay"), "{}", said(&output));
    // To protobuf and, with another attribute, through it.
    let protobuf = plugin(&[&label[..], &["--output", "protobuf"]].concat(), &example("logs.json"));
    exits(&protobuf, 0);
    let decoded = ExportLogsServiceRequest::decode(&*protobuf.stdout).expect("protobuf");
    assert_eq!(decoded.resource_logs[0].scope_logs[0].log_records.len(), 2);
    let again = plugin(&["run", "builtin:relabel", "--config", "insert.and = 1"], &protobuf.stdout);
    exits(&again, 0);
    let decoded = ExportLogsServiceRequest::decode(&*again.stdout).expect("protobuf");
    let keys = &decoded.resource_logs[0].scope_logs[0].log_records[1].attributes;
    assert_eq!(keys.iter().map(|attribute| &*attribute.key).collect::<Vec<_>>(), ["by", "and"]);
}

#[test]
fn the_difference_is_readable() {
    let config = "resource.rename = { \"service.name\" = \"app\" }\nset.\"@severity_text\" = \"NOTE\"";
    let output = plugin(&["run", "builtin:relabel", "--diff", "--config", config], &example("logs.json"));
    exits(&output, 0);
    assert_eq!(
        stdout(&output),
        "resource 1\n  - service.name: \"oxygen\"\n  + app: \"oxygen\"\n\
         resource 1 / scope 1 / record 1\n  - @severity_text: \"INFO\"\n  + @severity_text: \"NOTE\"\n\
         resource 1 / scope 1 / record 2\n  - @severity_text: \"ERROR\"\n  + @severity_text: \"NOTE\"\n"
    );
    for (name, row) in [("traces.json", "record 1 / event 1\n"), ("metrics.json", "metric 1 / record 1\n")] {
        let config = "set.new = 1\nevent.set.new = 1";
        let output = plugin(&["run", "builtin:relabel", "--diff", "--config", config], &example(name));
        exits(&output, 0);
        assert!(
            stdout(&output).contains(&format!("resource 1 / scope 1 / {row}  + new: 1\n")),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn what_is_routed_and_discarded_is_told() {
    let rules = "rules = [\n\
        { when = { severity_at_least = \"error\" }, to = \"archive\" },\n\
        { when = { attribute = \"cached\", equals = false }, discard = true }]";
    let run = ["run", "builtin:route", "--config", rules];
    let output = plugin(&run, &example("logs.json"));
    exits(&output, 78);
    assert!(stderr(&output).contains("unknown destination `archive`"), "{}", said(&output));
    assert!(stderr(&output).contains("--routes"), "{}", said(&output));
    let run = [&run[..], &["--routes", "archive,pager"]].concat();
    let output = plugin(&run, &example("logs.json"));
    exits(&output, 0);
    assert!(output.stdout.is_empty(), "{}", said(&output));
    assert!(stderr(&output).contains("0 of 2 records stay, 1 → archive, 1 discarded"), "{}", said(&output));
    let output = plugin(&[&run[..], &["--diff"]].concat(), &example("logs.json"));
    exits(&output, 0);
    assert!(stdout(&output).contains("record 1  discarded\n  - @body: \"GET /products"), "{}", said(&output));
    assert!(stdout(&output).contains("record 2  → archive\n"), "{}", said(&output));
}

#[test]
fn what_is_routed_to_the_own_upstream_too_stays() {
    let rules = "rules = [{ when = { severity_at_least = \"error\" }, to = [\"default\", \"archive\"] },\n\
        { discard = true }]";
    let run = ["run", "builtin:route", "--config", rules, "--routes", "archive"];
    let output = plugin(&run, &example("logs.json"));
    exits(&output, 0);
    let told = "1 of 2 records stays, 1 → archive, default, 1 discarded";
    assert!(stderr(&output).contains(told), "{}", said(&output));
    let left: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let records = &left["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(records.as_array().map(Vec::len), Some(1), "{left}");
}

#[test]
fn the_signal_is_seen_or_said() {
    let run = ["run", "builtin:relabel", "--config", "set.a = 1"];
    for name in ["logs.json", "traces.json", "metrics.json"] {
        let output = plugin(&[&run[..], &["--output", "protobuf"]].concat(), &example(name));
        exits(&output, 0);
        exits(&plugin(&run, &output.stdout), 0);
    }
    for (input, words) in [
        (&b"{}"[..], "say --signal"),
        (b"", "the request is empty"),
        (b"{ \"resourceLogs\": [", "this is no JSON"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"nothing of the kind", "this is no OTLP"),
        (br#"{"resourceLogs":[{"scopeLogs":3}]}"#, "resourceLogs[0].scopeLogs"),
    ] {
        let output = plugin(&run, input);
        exits(&output, 65);
        assert!(stderr(&output).contains(words) || input.starts_with(b"nothing"), "{}", said(&output));
    }
    exits(&plugin(&[&run[..], &["--signal", "logs"]].concat(), b"{}"), 0);
    let output = plugin(&[&run[..], &["--signal", "traces"]].concat(), &example("logs.json"));
    exits(&output, 65);
    assert!(stderr(&output).contains("this is logs and not traces"), "{}", said(&output));
    let output = plugin(&["run", "builtin:relabel", "--config", "severity = true"], &example("traces.json"));
    exits(&output, 0);
    assert!(stderr(&output).contains("does not ask for traces: they pass as they are"), "{}", said(&output));
}

#[test]
fn a_rejection_and_a_failure_end_otherwise() {
    for (action, status, words) in [
        ("reject", 65, "plugin `misbehave` rejects it: no"),
        ("fail", 1, "plugin `misbehave` failed: unsupported: this"),
        ("change half and panic", 1, "plugin `misbehave` failed: "),
        ("panic in configure", 1, "plugin `misbehave` does not load"),
    ] {
        let config = format!("do = {action:?}");
        let output = plugin(&["run", misbehaving(), "--config", &config], &example("logs.json"));
        exits(&output, status);
        assert!(stderr(&output).contains(words), "{words}: {}", said(&output));
        assert!(output.stdout.is_empty() && !stderr(&output).contains('\u{1b}'), "{}", said(&output));
    }
    // What it logs and counts is told.
    let config = "do = \"flood the counters\"";
    let output = plugin(&["run", misbehaving(), "--config", config], &example("logs.json"));
    exits(&output, 0);
    assert!(stderr(&output).contains("counter counter_0: 1\n"), "{}", said(&output));
    let config = "do = \"flood the log\"";
    let output = plugin(&["run", misbehaving(), "--config", config], &example("logs.json"));
    assert!(stderr(&output).contains(" INFO "), "{}", said(&output));
}

/// A folder of cases for `builtin:route`.
fn cases() -> Folder {
    let folder = Folder::create();
    let suite = folder.path().join("errors");
    fs::create_dir(&suite).expect("a folder");
    let text = "component = \"builtin:route\"\nroutes = [\"archive\"]\n\
                config.rules = [{ when = { severity_at_least = \"error\" }, to = [\"default\", \"archive\"] }]\n";
    fs::write(suite.join("plugin.toml"), text).expect("writing");
    fs::write(suite.join("both.in.json"), example("logs.json")).expect("writing");
    folder
}

fn in_folder(folder: &Folder, more: &[&str]) -> Output {
    plugin(&[&["test", &folder.path().display().to_string()], more].concat(), b"")
}

#[test]
fn cases_pass_once_their_expectations_are_written() {
    let folder = cases();
    let output = in_folder(&folder, &[]);
    exits(&output, 1);
    assert!(
        stdout(&output).contains("FAILED  both") && stdout(&output).contains("--update"),
        "{}",
        said(&output)
    );
    exits(&in_folder(&folder, &["--update"]), 0);
    let output = in_folder(&folder, &[]);
    exits(&output, 0);
    assert!(
        stdout(&output).contains("ok      both\n") && stdout(&output).ends_with("1 case passed, 0 failed\n")
    );
    let archived = folder.path().join("errors/both.archive.json");
    let text = fs::read_to_string(&archived).expect("what is archived");
    assert!(text.contains("checkout failed") && !text.contains("GET /products"), "{text}");
    // What means the same is the same: names of the .proto file, numbers of 64 bits that are no texts.
    let text = text
        .replace("resourceLogs", "resource_logs")
        .replace("\"1795262461000000000\"", "1795262461000000000");
    fs::write(&archived, &text).expect("writing");
    exits(&in_folder(&folder, &[]), 0);
    // What does not is shown.
    fs::write(&archived, text.replace("checkout failed", "all is well")).expect("writing");
    let output = in_folder(&folder, &[]);
    exits(&output, 1);
    let lines = [
        "archive: expected (-), and what is (+)",
        "- @body: \"all is well: gateway said no\"",
        "+ @body: \"checkout failed: gateway said no\"",
        "0 cases passed, 1 failed",
    ];
    for line in lines {
        assert!(stdout(&output).contains(line), "{line}: {}", said(&output));
    }
    fs::write(folder.path().join("errors/both.error"), "no\n").expect("writing");
    let output = in_folder(&folder, &[]);
    exits(&output, 1);
    assert!(stdout(&output).contains("- an error: no"), "{}", said(&output));
    // An update leaves nothing of it behind.
    exits(&in_folder(&folder, &["--update"]), 0);
    assert!(!folder.path().join("errors/both.error").exists());
    exits(&in_folder(&folder, &[]), 0);
}

#[test]
fn a_route_that_files_cannot_be_named_by_is_refused() {
    for route in ["in", "out"] {
        let folder = cases();
        let file = folder.path().join("errors/plugin.toml");
        let text = fs::read_to_string(&file).expect("reading").replace("archive", route);
        fs::write(&file, text).expect("writing");
        let output = in_folder(&folder, &["--update"]);
        exits(&output, 1);
        assert!(
            stdout(&output).contains(&format!("no route can be called `{route}` here")),
            "{}",
            said(&output)
        );
        let input = fs::read(folder.path().join("errors/both.in.json")).expect("the request");
        assert_eq!(input, example("logs.json"), "it is as it was");
    }
}

#[test]
fn a_rejection_can_be_expected() {
    let folder = Folder::create();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writing");
    write("plugin.toml", &format!("component = {:?}\nconfig.do = \"fail\"\n", misbehaving()));
    fs::write(folder.path().join("fails.in.json"), example("logs.json")).expect("writing");
    exits(&in_folder(&folder, &["--update"]), 0);
    let error = fs::read_to_string(folder.path().join("fails.error")).expect("the error");
    assert!(error.contains("unsupported: this"), "{error}");
    exits(&in_folder(&folder, &[]), 0);
}

#[test]
fn a_folder_without_cases_is_no_success() {
    let folder = Folder::create();
    exits(&in_folder(&folder, &[]), 64);
    exits(&plugin(&["test", "no/such/folder"], b""), 1);
    fs::write(folder.path().join("plugin.toml"), "component = \"builtin:route\"\nconfg = {}\n")
        .expect("writing");
    let output = in_folder(&folder, &[]);
    exits(&output, 1);
    assert!(stdout(&output).contains("plugin.toml:2:1"), "{}", said(&output));
    fs::write(folder.path().join("plugin.toml"), "component = \"builtin:relabel\"\n").expect("writing");
    let output = in_folder(&folder, &[]);
    exits(&output, 1);
    assert!(stdout(&output).contains("there is no case"), "{}", said(&output));
}

#[test]
fn every_case_of_the_plugins_that_come_with_tollgate_passes() {
    let plugins = repository("plugins");
    let has_cases = |folder: &PathBuf| folder.join("cases").is_dir();
    let folders: Vec<PathBuf> =
        fs::read_dir(plugins).expect("plugins").flatten().map(|entry| entry.path()).collect();
    let cases: Vec<String> = folders
        .into_iter()
        .filter(has_cases)
        .map(|folder: PathBuf| Path::new(&folder).join("cases").display().to_string())
        .collect();
    assert!(cases.len() >= 2, "{cases:?}");
    let mut arguments = vec!["test"];
    arguments.extend(cases.iter().map(String::as_str));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        arguments.push("--update");
    }
    let output = plugin(&arguments, b"");
    assert!(output.status.success(), "{}", said(&output));
}
