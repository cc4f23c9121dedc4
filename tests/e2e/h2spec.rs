//! h2spec asks what RFC 9113 and RFC 7541 demand of an HTTP/2 server.

use crate::kit::{
    Behaviour, Folder, Tollgate, Upstream, has,
    real::{peer, repository, run, said, write_certificate},
};
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// The cases that may fail: `h2c` or `tls` or `both`, the case's id, and why.
fn expected(transport: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository("tests/h2spec/expected.txt")).expect("the list");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (over, rest) = line.split_once(' ').expect("transport, case, reason");
            let (case, why) = rest.split_once(' ').expect("case, reason");
            (over == transport || over == "both").then(|| (case.to_owned(), why.to_owned()))
        })
        .collect()
}

/// The ids of all cases and of those that failed, as `generic/3.4/1`: the section, and which of its
/// cases it is.
fn cases(report: &Path) -> (usize, Vec<String>) {
    let text = fs::read_to_string(report).expect("h2spec's report");
    let (mut count, mut failed) = (0, Vec::new());
    let mut numbers = BTreeMap::<String, usize>::new();
    for case in text.split("<testcase").skip(1) {
        let section = case.split("package=\"").nth(1).and_then(|rest| rest.split('"').next());
        let section = section.expect("a case has its section").to_owned();
        let number = numbers.entry(section.clone()).or_default();
        *number += 1;
        count += 1;
        if case.contains("<failure") || case.contains("<error") {
            failed.push(format!("{section}/{number}"));
        }
    }
    (count, failed)
}

#[test]
fn nothing_fails_that_did_not_fail_before() {
    let Some(h2spec) = peer("h2spec") else {
        has("h2spec", false);
        return;
    };
    let upstream = Upstream::start(Behaviour::ok());
    let folder = Folder::create();
    write_certificate(folder.path(), "door", &["localhost"]);
    let tollgate = Tollgate::start_in(
        folder,
        &format!(
            r#"
[listener.h2c]
bind = "127.0.0.1:0"

[listener.tls]
bind = "127.0.0.1:0"
tls = {{ certificate = "door.pem", key = "door.key" }}

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
            upstream.address()
        ),
    );
    for transport in ["h2c", "tls"] {
        let ask = || ask(&h2spec, &tollgate, transport);
        let expected = expected(transport);
        let (mut failed, mut words) = ask();
        println!("{transport}: failed: {failed:?}");
        // Some cases race with the answer to their own request: what fails by a fault fails each time.
        for _ in 1..TRIES {
            if failed.iter().all(|case| expected.contains_key(case)) {
                break;
            }
            let (again, said) = ask();
            failed.retain(|case| again.contains(case));
            words = said;
        }
        let new: Vec<_> = failed.iter().filter(|case| !expected.contains_key(*case)).collect();
        assert!(new.is_empty(), "{transport}: these failed and are not expected to: {new:?}\n{words}");
        for (case, why) in expected.iter().filter(|(case, _)| !failed.contains(case)) {
            println!("{transport}: {case} passed; it was expected to fail: {why}");
        }
    }
    // Whatever it sent, the door is open for others.
    assert_eq!(tollgate.admin("/readyz").status, 200);
}

/// How often a case may be asked.
const TRIES: usize = 4;

/// Asks every case; those that failed, and what h2spec said.
fn ask(h2spec: &Path, tollgate: &Tollgate, transport: &str) -> (Vec<String>, String) {
    let report = tollgate.folder().join(format!("{transport}.xml"));
    let mut command = Command::new(h2spec);
    command.args(["--host", "127.0.0.1", "--path", "/v1/logs", "--timeout", "3"]);
    command.arg("--port").arg(tollgate.address(transport).port().to_string());
    command.arg("--junit-report").arg(&report);
    if transport == "tls" {
        command.args(["--tls", "--insecure"]);
    }
    let output = run(&mut command);
    let (count, failed) = cases(&report);
    assert!(count > 140, "{count} cases only: {}", said(&output));
    (failed, said(&output))
}
