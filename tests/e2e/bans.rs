//! `config/fail2ban` and `config/crowdsec`, with the real fail2ban and CrowdSec, on lines that the
//! real binary wrote.

use crate::kit::{
    Connection, Folder, Request, free_port, has,
    real::{Running, repository, run, said, wait_for_port},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Failures that are enough for a ban.
const MANY: usize = 25;

/// Who failed to log in, and how often it may be counted.
const STRANGER: &str = "203.0.113.7";
const NETWORK: &str = "2001:db8:1:2::/64";
const WORKERS: &str = "2a06:98c0:3600::103";
const FORGER: &str = "192.0.2.1";
/// An honest sender whose credential has expired: never counted.
const EXPIRED: &str = "198.51.100.66";

/// User names that try to end their field, to have 198.51.100.1 banned or not to be counted.
const FORGED: [&str; 5] = [
    r#"x address=198.51.100.1 user="" reason="wrong_password""#,
    r#"x" reason="expired" address=198.51.100.1 user="#,
    r#"x","reason":"expired","address":"198.51.100.1","user":""#,
    "x\n{\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"level\":\"WARN\",\"message\":\"login failed\",\"address\":\"198.51.100.1\"",
    r"x\",
];

/// Programs that `tests/clients/bans/install` unpacked.
fn unpacked(program: &str) -> Option<PathBuf> {
    let path = repository("target/clients/bans");
    has("target/clients/bans (tests/clients/bans/install)", path.join(program).exists()).then_some(path)
}

/// What Tollgate logs in a format while strangers knock at its door.
fn log(format: &str, folder: &Folder) -> String {
    let (port, log) = (free_port(), folder.path().join(format!("{format}.log")));
    let config = folder.path().join(format!("{format}.toml"));
    let text = format!(
        r#"
log = {{ format = "{format}" }}

[listener.door]
bind = "127.0.0.1:{port}"
trusted_proxies = ["127.0.0.1"]
client_ip_header = "CF-Connecting-IP"

[tenant.shop]
credentials = [
  {{ user = "oxygen", password_hash = "{SECRET}" }},
  {{ user = "gone", password_hash = "{SECRET}", expires = 2026-01-01 }},
]
upstream = "collector"

[upstream.collector]
endpoint = "http://127.0.0.1:1"
"#,
        SECRET = include_str!("kit/secret.hash").trim_ascii_end(),
    );
    fs::write(&config, text).expect("writing the configuration");
    let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(File::create(&log).expect("the log"))
        .spawn();
    let mut process = Running(child.expect("starting tollgate"));
    wait_for_port(port, &mut process);

    let mut door = Connection::tcp(([127, 0, 0, 1], port).into());
    let mut knock = |address: &str, user: &str, password: &str| {
        let request = Request::json("/v1/logs", "{}").header("CF-Connecting-IP", address);
        door.send(&request.header("CF-Worker", "shop.example").login(user, password)).status
    };
    for number in 0..MANY {
        assert_eq!(knock(STRANGER, &format!("user-{number}"), "wrong"), 401);
        assert_eq!(knock(&format!("2001:db8:1:2::{number:x}"), &format!("user-{number}"), "wrong"), 401);
        assert_eq!(knock(WORKERS, &format!("user-{number}"), "wrong"), 401);
    }
    for user in FORGED {
        assert_eq!(knock(FORGER, user, "wrong"), 401);
    }
    for _ in 0..3 {
        assert_eq!(knock(EXPIRED, "gone", "secret"), 401);
    }
    assert_eq!(knock(STRANGER, "oxygen", "secret"), 200, "an empty batch, and the password is right");

    let ended = Command::new("kill").arg(process.0.id().to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()));
    process.0.wait().expect("the end");
    fs::read_to_string(log).expect("the log")
}

/// The lines as syslog and the journal hand them on.
fn as_syslog(log: &str) -> String {
    log.lines().map(|line| format!("Nov 21 12:00:00 door tollgate[4711]: {line}\n")).collect()
}

#[test]
fn fail2ban_bans_whom_it_should() {
    let Some(unpacked) = unpacked("usr/bin/fail2ban-regex") else { return };
    let folder = Folder::create();
    for format in ["json", "text"] {
        let log = log(format, &folder);
        // The journal's lines have no date of their own in front, which fail2ban would cut out.
        let journal: String = log.lines().map(|line| format!("door tollgate[4711]: {line}\n")).collect();
        for (kind, lines) in [("file", log), ("journal", journal)] {
            let path = folder.path().join(format!("{format}-{kind}"));
            fs::write(&path, &lines).expect("writing the log");
            let counts = fail2ban_counts(&unpacked, &path);
            let expected = [(STRANGER, MANY), (NETWORK, MANY), (WORKERS, MANY), (FORGER, FORGED.len())];
            let expected = expected.map(|(address, count)| (address.to_owned(), count));
            assert_eq!(counts, BTreeMap::from(expected), "{format}, {kind}:\n{lines}");
        }
    }
    let jail = fs::read_to_string(repository("config/fail2ban/jail.d/tollgate.conf")).expect("the jail");
    let ignored = jail.lines().find(|line| line.starts_with("ignoreip")).expect("ignoreip");
    assert!(ignored.contains(WORKERS), "{ignored}");
}

/// How many failures fail2ban's own filter counts for each address.
fn fail2ban_counts(unpacked: &Path, log: &Path) -> BTreeMap<String, usize> {
    let output = run(Command::new("python3")
        .arg(unpacked.join("usr/bin/fail2ban-regex"))
        .env("PYTHONPATH", unpacked.join("usr/lib/python3/dist-packages"))
        .arg("--config")
        .arg(unpacked.join("etc/fail2ban"))
        .args(["--out", "ip"])
        .arg(log)
        .arg(repository("config/fail2ban/filter.d/tollgate.conf")));
    assert!(output.status.success(), "{}", said(&output));
    let mut counts = BTreeMap::new();
    for address in String::from_utf8_lossy(&output.stdout).lines() {
        *counts.entry(address.to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn crowdsec_bans_whom_it_should() {
    let Some(unpacked) = unpacked("usr/bin/crowdsec") else { return };
    let folder = Folder::create();
    for format in ["json", "text"] {
        let log = log(format, &folder);
        // As a file with the label `tollgate`, and as syslog or the journal hand it on.
        for (label, lines) in [("tollgate", log.clone()), ("syslog", as_syslog(&log))] {
            let overflows = crowdsec_overflows(&unpacked, label, &lines);
            let mut expected = vec![
                format!("Ip {STRANGER} performed 'tollgate/login-bf'"),
                format!("Range {NETWORK} performed 'tollgate/login-bf-ipv6'"),
            ];
            expected.sort();
            assert_eq!(overflows, expected, "{format}, {label}:\n{lines}");
        }
    }
}

/// Runs CrowdSec over a log: what its scenarios found, as it says it.
fn crowdsec_overflows(unpacked: &Path, label: &str, log: &str) -> Vec<String> {
    let folder = Folder::create();
    let at = folder.path();
    let hub = unpacked.join("usr/share/crowdsec/hub");
    for name in [
        "data",
        "hub",
        "notifications",
        "parsers/s00-raw",
        "parsers/s01-parse",
        "parsers/s02-enrich",
        "scenarios",
        "patterns",
    ] {
        fs::create_dir_all(at.join(name)).expect("a folder");
    }
    let copy = |from: PathBuf, to: &str| {
        fs::copy(&from, at.join(to)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    copy(hub.join("parsers/s00-raw/crowdsecurity/syslog-logs.yaml"), "parsers/s00-raw/syslog-logs.yaml");
    copy(
        hub.join("parsers/s02-enrich/crowdsecurity/dateparse-enrich.yaml"),
        "parsers/s02-enrich/dateparse.yaml",
    );
    copy(repository("config/crowdsec/parsers/s01-parse/tollgate.yaml"), "parsers/s01-parse/tollgate.yaml");
    copy(repository("config/crowdsec/scenarios/tollgate-bf.yaml"), "scenarios/tollgate-bf.yaml");
    for file in fs::read_dir(unpacked.join("etc/crowdsec/patterns")).expect("CrowdSec's patterns").flatten() {
        copy(file.path(), &format!("patterns/{}", file.file_name().display()));
    }
    for name in ["profiles.yaml", "simulation.yaml"] {
        copy(unpacked.join("etc/crowdsec").join(name), name);
    }
    // An empty hub: nothing is installed but what stands above.
    fs::write(
        at.join("hub/.index.json"),
        r#"{"parsers":{"_":{}},"scenarios":{"_":{}},"collections":{"_":{}},"postoverflows":{"_":{}}}"#,
    )
    .expect("the hub's index");
    fs::write(at.join("credentials.yaml"), "").expect("credentials");
    fs::write(at.join("acquis.yaml"), "").expect("acquisitions");
    fs::write(at.join("log"), log).expect("the log");
    let config = format!(
        r#"
common: {{ daemonize: false, log_media: stdout, log_level: info, working_dir: "{at}" }}
config_paths:
  config_dir: {at}
  data_dir: {at}/data
  simulation_path: {at}/simulation.yaml
  hub_dir: {at}/hub
  index_path: {at}/hub/.index.json
  notification_dir: {at}/notifications
crowdsec_service: {{ acquisition_path: {at}/acquis.yaml, parser_routines: 1 }}
cscli: {{ output: human }}
db_config: {{ type: sqlite, db_path: {at}/data/crowdsec.db }}
api:
  client: {{ credentials_path: {at}/credentials.yaml }}
  server: {{ listen_uri: "127.0.0.1:{port}", profiles_path: {at}/profiles.yaml }}
prometheus: {{ enabled: false }}
"#,
        at = at.display(),
        port = free_port(),
    );
    let config_path = at.join("config.yaml");
    fs::write(&config_path, config).expect("CrowdSec's configuration");
    let output = run(Command::new(unpacked.join("usr/bin/cscli"))
        .arg("-c")
        .arg(&config_path)
        .args(["machines", "add", "test", "--auto", "-f"])
        .arg(at.join("credentials.yaml")));
    assert!(output.status.success(), "{}", said(&output));
    let output = run(Command::new("timeout")
        .arg("60")
        .arg(unpacked.join("usr/bin/crowdsec"))
        .arg("-c")
        .arg(&config_path)
        .args(["-type", label, "-dsn"])
        .arg(format!("file://{}", at.join("log").display())));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Acquisition is finished"), "{}", said(&output));
    let found = text.lines().filter_map(|line| line.split("msg=\"").nth(1)?.split(" (").next());
    let mut found: Vec<String> =
        found.filter(|line| line.contains(" performed ")).map(str::to_owned).collect();
    found.sort();
    found
}
