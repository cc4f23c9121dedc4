//! The command line: what each command prints, and what it exits with.

use crate::kit::{
    Behaviour, Connection, Folder, Request, Tollgate, Upstream, command, eventually, fails_to_start,
    free_address, log_request, tls::hello, tollgate,
};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Child, Output, Stdio},
    sync::Arc,
};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// With this on standard input.
fn tollgate_with(arguments: &[&str], input: &str) -> Output {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting tollgate");
    child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).expect("writing");
    child.wait_with_output().expect("waiting")
}

const CONFIG: &str = r#"
[listener.door]
bind = "127.0.0.1:0"

[defaults.tenant]
upstream = "collector"

[tenant.shop]
credentials = [
  { user = "oxygen", password_hash = "$argon2id$v=19$m=19456,t=2,p=1$qiyGog/mVYwoKDHDxEWW0A$FwLCBwmVSBrNqQlrIUoIe0h5tIBZY1kisGoAc9alNwc" },
  { token_hash = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
]
upstream_headers = { X-Scope-OrgID = "${tenant}", X-Key = { file = "key" } }

[upstream.collector]
endpoint = "http://127.0.0.1:4318"
headers = { Authorization = { file = "key" } }
"#;

/// A folder with a configuration, and the arguments that name it.
fn configured(config: &str) -> (Folder, String) {
    let folder = Folder::create();
    fs::write(folder.path().join("key"), "open-sesame").expect("writing");
    let path = folder.path().join("tollgate.toml");
    fs::write(&path, config).expect("writing");
    (folder, path.display().to_string())
}

#[test]
fn wrong_usage_exits_with_64_and_says_how() {
    for arguments in [
        &[][..],
        &["serve"],
        &["run", "--no-such-option"],
        &["check", "--print"],
        &["demo", "--listen", "nowhere"],
        &["completions", "tcsh"],
        &["hash-password", "--bcrypt", "--token"],
        &["health", "--admin", "localhost"],
    ] {
        let output = tollgate(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_names_every_command_and_every_exit_status() {
    let output = tollgate(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let commands = ["run", "check", "hash-password", "demo", "health", "schema", "completions"];
    for command in commands {
        assert!(text.contains(&format!("\n  {command}")), "{command}:\n{text}");
        let output = tollgate(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(&format!("Usage: tollgate {command}")), "{}", stdout(&output));
        assert!(output.stderr.is_empty());
    }
    for status in ["0 ", "1 ", "64 ", "78 "] {
        assert!(text.contains(status), "{text}");
    }
    assert!(stdout(&tollgate(&["run", "--help"])).contains("SIGHUP"));
    assert!(stdout(&tollgate(&["run", "--help"])).contains("TOLLGATE_CONFIG"));
}

#[test]
fn the_version_is_the_packages() {
    let output = tollgate(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), format!("tollgate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_good_configuration_is_called_good() {
    let (_folder, path) = configured(CONFIG);
    let output = tollgate(&["check", "--config", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "good: 1 listener, 1 tenant, 2 credentials, 1 upstream\n");
    let mut by_environment = command();
    by_environment.arg("check").env("TOLLGATE_CONFIG", &path);
    assert_eq!(by_environment.output().expect("running").status.code(), Some(0));
}

#[test]
fn every_mistake_is_shown_at_once_where_it_is() {
    let bad = CONFIG
        .replace("bind = ", "bindd = ")
        .replace("upstream = \"collector\"", "upstream = \"colector\"")
        .replace("http://127.0.0.1:4318", "ftp://127.0.0.1");
    let (_folder, path) = configured(&bad);
    for command in ["check", "run"] {
        let output = tollgate(&[command, "--config", &path]);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        let text = stderr(&output);
        for (line, words) in [(3, "bindd"), (6, "colector"), (16, "ftp://127.0.0.1")] {
            assert!(text.contains(&format!("{path}:{line}:")), "{words} in line {line}:\n{text}");
            assert!(text.contains(words), "{text}");
        }
        assert!(text.contains("collector"), "what is known instead:\n{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_configuration_that_is_not_there_exits_with_78() {
    for command in ["check", "run", "health"] {
        let output = tollgate(&[command, "--config", "/no/such/tollgate.toml"]);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains("/no/such/tollgate.toml"));
    }
}

#[test]
fn a_port_that_is_taken_exits_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for (key, what) in [("bind = \"127.0.0.1:0\"", "127.0.0.1:0"), ("", "admin")] {
        let config = match what {
            "admin" => format!("{CONFIG}\n[admin]\nbind = \"{address}\""),
            _ => CONFIG.replace(key, &format!("bind = \"{address}\"")),
        };
        let folder = Folder::create();
        fs::write(folder.path().join("key"), "open-sesame").expect("writing");
        let (status, text) = fails_to_start(&folder, &config);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains(&format!("cannot listen on {address}")), "{text}");
    }
}

#[test]
fn a_tenant_is_printed_as_resolved_without_its_secrets() {
    let (_folder, path) = configured(CONFIG);
    let output = tollgate(&["check", "--config", &path, "--print", "shop"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("[tenant.shop]\n"), "{text}");
    assert!(text.contains("upstream = \"collector\""), "{text}");
    assert!(text.contains(&format!("defaults.tenant at {path}:6")), "where it came from:\n{text}");
    assert!(text.contains("# default"), "{text}");
    for secret in ["FwLCBwmVSBrNqQlrIUoIe0h5tIBZY1kisGoAc9alNwc", "open-sesame", "e3b0c44298fc1c149afb"] {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
    let output = tollgate(&["check", "--config", &path, "--print", "shpo"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("there are shop"), "{}", stderr(&output));
}

#[test]
fn a_hashed_password_logs_in() {
    let hash = |arguments: &[&str], input: &str| {
        let output = tollgate_with(&[&["hash-password"], arguments].concat(), input);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let argon2id = hash(&[], "pass phrase ö\n");
    assert!(argon2id.starts_with("$argon2id$v=19$"), "{argon2id}");
    assert_ne!(argon2id, hash(&[], "pass phrase ö\n"), "salted");
    let bcrypt = hash(&["--bcrypt"], "pass phrase ö\r\n");
    assert!(bcrypt.starts_with("$2"), "{bcrypt}");
    let token_text = hash(&["--token"], "");
    let (token, token_hash) = match *token_text.split_whitespace().collect::<Vec<_>>() {
        ["token", token, "token_hash", hash] => (token.to_owned(), hash.to_owned()),
        _ => panic!("{token_text}"),
    };
    assert!(token_hash.starts_with("sha256:"), "{token_hash}");
    assert!(token.len() >= 32, "{token}");

    let upstream = Upstream::start(Behaviour::ok());
    let config = format!(
        r#"
[listener.door]
bind = "127.0.0.1:0"

[defaults.tenant]
upstream = "collector"

[tenant.one]
credentials = [{{ user = "argon", password_hash = "{}" }}]

[tenant.two]
credentials = [{{ user = "bcrypt", password_hash = "{}" }}]

[tenant.three]
credentials = [{{ token_hash = "{token_hash}" }}]

[upstream.collector]
endpoint = "http://{}"
"#,
        argon2id.trim(),
        bcrypt.trim(),
        upstream.address()
    );
    let tollgate = Tollgate::start(&config);
    let request = || Request::post("/v1/logs", log_request("hello"));
    for user in ["argon", "bcrypt"] {
        assert_eq!(tollgate.send(&request().login(user, "pass phrase ö")).status, 200, "{user}");
        assert_eq!(tollgate.send(&request().login(user, "pass phrase o")).status, 401, "{user}");
    }
    let bearer = |token: &str| request().header("Authorization", &format!("Bearer {token}"));
    assert_eq!(tollgate.send(&bearer(&token)).status, 200);
    assert_eq!(tollgate.send(&bearer(&token_hash)).status, 401);
    let log = tollgate.log_text();
    assert!(!log.contains(&token) && !log.contains("pass phrase"), "{log}");
}

#[test]
fn an_empty_password_is_not_hashed() {
    for input in ["", "\n", "\r\n"] {
        let output = tollgate_with(&["hash-password"], input);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("empty"), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let output = tollgate_with(&["hash-password"], &"x".repeat(5000));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

/// A command that runs until it is told to end, and what it has printed.
struct Running {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting tollgate");
        let stdout = child.stdout.take().expect("stdout is piped");
        let printed = Arc::<Mutex<String>>::default();
        let into = printed.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                *into.lock() += &(line + "\n");
            }
        });
        Self { child, printed }
    }

    fn printed(&self) -> String {
        self.printed.lock().clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What follows a mark, up to another.
fn between<'t>(text: &'t str, mark: &str, end: &str) -> &'t str {
    let start = text.find(mark).unwrap_or_else(|| panic!("{mark} is missing: {text}")) + mark.len();
    &text[start..start + text[start..].find(end).unwrap_or_else(|| panic!("{end} is missing: {text}"))]
}

#[test]
fn the_demo_does_what_it_prints() {
    let mut demo = Running::start(&["demo", "--listen", "127.0.0.1:0"]);
    let welcome = eventually("the welcome", || Some(demo.printed()).filter(|text| text.contains("Ctrl-C")));
    let commands: Vec<&str> = welcome.split("curl ").skip(1).collect();
    assert_eq!(commands.len(), 2, "{welcome}");
    let folder = between(&welcome, "for a look or as a beginning: ", "\n").to_owned();
    for (command, status) in commands.into_iter().zip([200, 401]) {
        let certificate = fs::read_to_string(between(command, "--cacert ", " ")).expect("the certificate");
        let (user, password) = between(command, "-u ", " ").split_once(':').expect("credentials");
        let body = between(command, "-d '", "'");
        let address = format!("127.0.0.1:{}", between(command, "https://localhost:", "/"));
        let path = between(command, "https://localhost:", "\n").split_once('/').expect("a path").1;
        // What curl would send; the name is checked, as curl would.
        let mut sender =
            hello().believing(&certificate).alpn(&["http/1.1"]).sender(address.parse().expect("one"));
        let answer = sender.send(&Request::json(&format!("/{path}"), body).login(user, password));
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let printed = eventually("both arrive", || {
        Some(demo.printed()).filter(|text| text.matches("arrived:").count() == 2)
    });
    assert!(printed.contains("arrived: /v1/logs of tenant demo, application/json"), "{printed}");
    assert!(printed.contains("arrived: /archive/v1/logs of tenant demo, application/json"), "{printed}");
    // What the plugins made of it.
    let shown = &printed[printed.find("before (-) and after (+)").expect("the difference")..];
    let lines = [
        "    resource 1\n        service.name: \"oxygen\"\n",
        "      - @body: \"{\"level\":30,\"msg\":\"hello, door\",\"user\":\"anna@example.com\"}\"\n",
        "      + @body: \"hello, door\"\n",
        "      + @severity_text: \"INFO\"\n",
        "      + user: \"[email]\"\n",
        "      + processed_by: \"tollgate\"\n",
        "    resource 1 / scope 1 / record 2  → archive\n",
        "    resource 1 / scope 1 / record 3  discarded\n",
    ];
    for line in lines {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!printed.contains('\u{1b}'), "colours are for terminals: {printed}");
    assert!(fs::metadata(&folder).is_ok());
    let killed = std::process::Command::new("kill").arg(demo.child.id().to_string()).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let status = eventually("the end", || demo.child.try_wait().expect("waiting"));
    assert_eq!(status.code(), Some(0));
    assert!(fs::metadata(&folder).is_err(), "its files are gone with it");
}

#[test]
fn a_demo_whose_port_is_taken_says_which_to_take() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let output = tollgate(&["demo", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("--listen 127.0.0.1:0"), "{}", stderr(&output));
}

#[test]
fn health_says_whether_tollgate_serves() {
    let upstream = Upstream::start(Behaviour::ok());
    let mut running = Tollgate::start(&crate::otlp::config(&upstream));
    let admin = running.admin_address().to_string();
    assert_eq!(tollgate(&["health", "--admin", &admin]).status.code(), Some(0));
    let (_folder, path) = configured(&format!("{CONFIG}\n[admin]\nbind = \"{admin}\""));
    assert_eq!(tollgate(&["health", "--config", &path]).status.code(), Some(0));
    // While it drains, with a request under way, it does not.
    upstream.behave(Behaviour::Hang);
    let mut sender = running.connect();
    let request = Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret");
    sender.write(&request.head()).and_then(|()| sender.write(&request.body)).expect("writing");
    eventually("the request is under way", || (!upstream.seen().is_empty()).then_some(()));
    running.signal("TERM");
    running.wait_for_line("draining");
    let output = tollgate(&["health", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("draining"), "{}", stderr(&output));
    running.signal("TERM");
    running.wait();
    let output = tollgate(&["health", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&admin), "{}", stderr(&output));
    let (_folder, path) = configured(CONFIG);
    let output = tollgate(&["health", "--config", &path]);
    assert_eq!(output.status.code(), Some(78), "no admin listener: {}", stderr(&output));
}

#[test]
fn the_schema_knows_every_key() {
    let output = tollgate(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(schema["$schema"].is_string(), "{schema}");
    let text = stdout(&output);
    let keys = [
        "include",
        "workers",
        "drain",
        "log",
        "limits",
        "headers",
        "listener",
        "bind",
        "mode",
        "group",
        "trusted_proxies",
        "client_ip_header",
        "answer_within",
        "empty_body",
        "path_aliases",
        "tls",
        "certificate",
        "self_signed",
        "timeouts",
        "handshake",
        "connections_per_client",
        "streams",
        "auth",
        "failures",
        "address_events",
        "defaults",
        "tenant",
        "credentials",
        "password_hash",
        "password_hash_file",
        "token_hash",
        "expires",
        "path_prefix",
        "upstream",
        "upstream_headers",
        "requests_per_second",
        "in_flight_bytes",
        "decompressed",
        "endpoint",
        "host",
        "server_name",
        "protocol",
        "http_version",
        "ca",
        "compression",
        "connect",
        "admin",
    ];
    for key in keys {
        assert!(text.contains(&format!("\"{key}\":")), "{key}");
    }
    for table in ["listener", "tenant", "upstream", "admin", "drain", "log"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn completions_are_scripts_for_each_shell() {
    for (shell, mark) in
        [("bash", "complete "), ("zsh", "#compdef tollgate"), ("fish", "complete -c tollgate")]
    {
        let output = tollgate(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = stdout(&output);
        assert!(script.contains(mark) && script.contains("hash-password"), "{shell}:\n{script}");
        let checked =
            std::process::Command::new(shell).args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn();
        if let Ok(mut checking) = checked {
            checking.stdin.take().expect("stdin is piped").write_all(&output.stdout).expect("writing");
            assert!(checking.wait().expect("waiting").success(), "{shell} cannot read its script");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [&["schema"][..], &["completions", "bash"]] {
        let mut child =
            command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("waiting");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_tollgate_that_cannot_write_its_log_serves_on() {
    let upstream = Upstream::start(Behaviour::ok());
    let (folder, path) = configured(&format!("{CONFIG}\n[admin]\nbind = \"127.0.0.1:0\""));
    let port = free_address();
    let config = fs::read_to_string(&path)
        .expect("the configuration")
        .replace("bind = \"127.0.0.1:0\"\n\n[defaults", &format!("bind = \"{port}\"\n\n[defaults"))
        .replace("127.0.0.1:4318", &upstream.address().to_string());
    fs::write(&path, config).expect("writing");
    let mut child = command()
        .args(["run", "--config", &path])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting tollgate");
    drop(child.stderr.take()); // nobody reads: each write fails
    eventually("it listens", || std::net::TcpStream::connect(port).ok());
    let request = Request::post("/v1/logs", log_request("hello")).login("oxygen", "secret");
    for _ in 0..3 {
        assert_eq!(Connection::tcp(port).send(&request).status, 200);
    }
    let killed = std::process::Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let status = eventually("the end", || child.try_wait().expect("waiting"));
    assert_eq!(status.code(), Some(0));
}
