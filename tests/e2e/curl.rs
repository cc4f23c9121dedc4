//! The real `curl`, over every kind of HTTP it speaks, with the example requests and with the
//! lines that `tollgate demo` prints.

use crate::kit::{
    Behaviour, Folder, Tollgate, Upstream, eventually, has,
    real::{Running, on_path, repository, run, said, write_certificate},
};
use parking_lot::Mutex;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

struct Setup {
    upstream: Upstream,
    tollgate: Tollgate,
    certificate: PathBuf,
}

/// A listener with TLS and a plain one before one upstream.
fn start() -> Setup {
    let upstream = Upstream::start(Behaviour::ok());
    let folder = Folder::create();
    let certificate = write_certificate(folder.path(), "door", &["localhost"]);
    let config = format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"
tls = {{ certificate = "door.pem", key = "door.key" }}

[listener.plain]
bind = "127.0.0.1:0"

[tenant.shop]
credentials = [{{ user = "oxygen", password_hash = "$SECRET" }}]
upstream = "collector"

[upstream.collector]
endpoint = "http://{}"
"#,
        upstream.address()
    );
    Setup { upstream, tollgate: Tollgate::start_in(folder, &config), certificate }
}

impl Setup {
    /// `curl` with the version and status it saw as the last line of its output.
    fn curl(&self, listener: &str, path: &str, arguments: &[&str]) -> Reply {
        let port = self.tollgate.address(listener).port();
        let scheme = if listener == "door" { "https" } else { "http" };
        let output = run(Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"])
            .args(["--cacert", &self.certificate.display().to_string()])
            .args(["--write-out", "\n%{http_version} %{http_code} %{content_type}"])
            .args(arguments)
            .arg(format!("{scheme}://localhost:{port}{path}")));
        Reply::of(&output)
    }
}

#[derive(Debug)]
struct Reply {
    body: String,
    version: String,
    status: String,
    content_type: String,
}

impl Reply {
    fn of(output: &Output) -> Self {
        assert!(output.status.success(), "{}", said(output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, last) = text.rsplit_once('\n').expect("the line that was asked for");
        let mut words = last.splitn(3, ' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Self { body: body.to_owned(), version: next(), status: next(), content_type: next() }
    }
}

fn has_curl() -> bool {
    has("curl", on_path("curl").is_some())
}

fn file(path: &Path) -> String {
    format!("@{}", path.display())
}

#[test]
fn the_examples_arrive_over_every_version_of_http() {
    if !has_curl() {
        return;
    }
    let setup = start();
    let zipped = Folder::create();
    for (listener, option, version) in [
        ("door", "--http1.1", "1.1"),
        ("door", "--http2", "2"),
        ("plain", "--http1.1", "1.1"),
        ("plain", "--http2-prior-knowledge", "2"),
    ] {
        for signal in ["logs", "traces", "metrics"] {
            let example = repository(&format!("tests/examples/{signal}.json"));
            let sent = fs::read(&example).expect("an example");
            let gzip = run(Command::new("gzip").arg("-c").arg(&example)).stdout;
            let gzip_path = zipped.path().join(signal);
            fs::write(&gzip_path, &gzip).expect("writing the compressed example");
            for (path, body, more) in [
                (&example, &sent, &[][..]),
                (&gzip_path, &gzip, &["-H", "Content-Encoding: gzip"]),
                (&example, &sent, &["-H", "Transfer-Encoding: chunked"]),
            ] {
                let data = file(path);
                let mut arguments =
                    vec![option, "-u", "oxygen:secret", "-H", "Content-Type: application/json"];
                arguments.extend_from_slice(more);
                arguments.extend(["--data-binary", data.as_str()]);
                let reply = setup.curl(listener, &format!("/v1/{signal}"), &arguments);
                let what = format!("{signal} to {listener} with {option} {more:?}: {reply:?}");
                assert_eq!(reply.status, "200", "{what}");
                assert_eq!(reply.version, version, "{what}");
                assert_eq!(reply.content_type, "application/json", "{what}");
                assert_eq!(reply.body, "{}", "{what}");
                let seen = setup.upstream.last();
                assert_eq!(seen.target, format!("/v1/{signal}"));
                assert_eq!(&seen.body, body, "{what}");
            }
        }
    }
    // Four ways, three bodies.
    for (signal, records) in [("logs", 2), ("traces", 2), ("metrics", 3)] {
        let labels = [("signal", signal), ("state", "delivered")];
        eventually("every record counted", || {
            (setup.tollgate.metric("tollgate_records_total", &labels) as u64 == 12 * records).then_some(())
        });
    }
}

#[test]
fn a_large_upload_waits_for_100_continue_and_arrives() {
    if !has_curl() {
        return;
    }
    let setup = start();
    let folder = Folder::create();
    let path = folder.path().join("large.json");
    let filler = "x".repeat(3 << 20); // above 1 MB curl sends `Expect: 100-continue`
    let body = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{filler}"}}}}]}}]}}]}}"#
    );
    fs::write(&path, &body).expect("writing a large body");
    let data = file(&path);
    for option in ["--http1.1", "--http2"] {
        let json = ["-H", "Content-Type: application/json", "--data-binary", &data];
        let good = setup.curl("door", "/v1/logs", &[&[option, "-u", "oxygen:secret"][..], &json].concat());
        assert_eq!(good.status, "200", "{good:?}");
        assert_eq!(setup.upstream.last().body.len(), body.len());
        let seen = setup.upstream.seen().len();
        let bad = setup.curl("door", "/v1/logs", &[&[option, "-u", "oxygen:wrong"][..], &json].concat());
        assert_eq!(bad.status, "401", "{bad:?}");
        let status: serde_json::Value = serde_json::from_str(&bad.body).expect("a Status in JSON");
        assert_eq!(status["code"], 16, "{bad:?}");
        assert_eq!(setup.upstream.seen().len(), seen, "nothing of it went on");
    }
}

#[test]
fn what_curl_does_wrong_is_answered_in_words() {
    if !has_curl() {
        return;
    }
    let setup = start();
    let json = "Content-Type: application/json";
    let cases: [(&str, &[&str], &str, &str); 6] = [
        ("/v1/logs", &["-H", json, "-d", "{}"], "401", "credentials"),
        ("/v1/logs", &["-u", "oxygen:secret"], "405", "POST"),
        ("/v1/logs", &["-u", "oxygen:secret", "-d", "{}"], "415", "application/x-www-form-urlencoded"),
        ("/", &["-u", "oxygen:secret", "-H", json, "-d", "{}"], "404", "/v1/logs"),
        ("/v1/logs", &["-u", "oxygen:secret", "-H", json, "-d", "{"], "400", ""),
        (
            "/v1/logs",
            &["-u", "oxygen:secret", "-H", json, "-H", "Content-Encoding: br", "-d", "{}"],
            "415",
            "br",
        ),
    ];
    for (path, arguments, status, words) in cases {
        for option in ["--http1.1", "--http2"] {
            let reply = setup.curl("door", path, &[&[option], arguments].concat());
            assert_eq!(reply.status, status, "{path} {arguments:?}: {reply:?}");
            let body: serde_json::Value = serde_json::from_str(&reply.body).expect("a Status in JSON");
            let message = body["message"].as_str().expect("a message");
            assert!(message.contains(words), "{path} {arguments:?}: {message}");
        }
    }
}

#[test]
fn the_lines_that_the_demo_prints_do_what_it_says() {
    if !has_curl() {
        return;
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting the demo");
    let printed = Arc::<Mutex<String>>::default();
    let pipes: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
    for pipe in pipes {
        let printed = printed.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                *printed.lock() += &(line + "\n");
            }
        });
    }
    let demo = Running(child);
    let welcome = eventually("the welcome", || {
        let text = printed.lock().clone();
        text.contains("Ctrl-C ends it.").then_some(text)
    });
    let commands = shell_commands(&welcome);
    let [good, bad] = &commands[..] else { panic!("two commands, not {commands:?}") };

    let output = run(Command::new("sh").arg("-c").arg(format!("{good} --max-time 20")));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("HTTP/2 200"), "{}", said(&output));
    eventually("the record", || printed.lock().contains("+ @body: \"hello, door\"").then_some(()));
    let output = run(Command::new("sh").arg("-c").arg(format!("{bad} --max-time 20")));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("HTTP/2 401"), "{}", said(&output));
    eventually("the failed login", || printed.lock().contains("login failed").then_some(()));
    // The demo cleans up when it is told to end.
    let ended = Command::new("kill").arg("-INT").arg(demo.0.id().to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()));
    let folder = std::env::temp_dir().join(format!("tollgate-demo-{}", demo.0.id()));
    eventually("the demo's folder is gone", || (!folder.exists()).then_some(()));
}

/// The commands in a text: each begins with `curl` and ends before an empty line.
fn shell_commands(text: &str) -> Vec<&str> {
    text.split("\n\n").filter(|paragraph| paragraph.starts_with("curl ")).collect()
}
