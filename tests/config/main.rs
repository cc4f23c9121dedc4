//! The configuration, case by case: adding one is adding a file.
//!
//! - `broken/NAME.toml` is read and has to say exactly what `NAME.expected` says.
//! - `good/NAME.toml` is read without a word; `NAME.expected` shows its tenants as resolved.
//!
//! - `located/NAME.toml` is read, and what its plugins say (`# says: …`) has to be shown as `NAME.expected`
//!   does.
//!
//! A first line `# environment: NAME=value …` sets variables. `files/` holds what the cases refer to;
//! its keys guard nothing. The clock stands at 2090-01-01. `UPDATE_EXPECT=1 cargo test` writes what is
//! said now; read the difference before it is committed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tollgate::{
    config::{self, Diagnostics, Environment, Loaded},
    plugin::{BuildError, BuildProblem, LoadError, LoadProblem, OnFailure, Source},
};

/// 2090-01-01T00:00:00Z
const NOW_SECONDS: u64 = 3_786_912_000;

/// What stands in the cases for something secret, and must never be printed.
const SECRETS: [&str; 5] =
    ["8675309", "hunter2", "c2VjcmV0c2VjcmV0", "ZAgcfl7p92ldGxad68LJZdL17lhWy", "5ec2e75ec2e7"];

const CASES: &str = "../tests/config";

fn load(path: &Path, first_line: &str) -> Result<Loaded, Diagnostics> {
    let variables: HashMap<&str, &str> = first_line
        .strip_prefix("# environment: ")
        .map(|list| list.split(' ').filter_map(|pair| pair.split_once('=')).collect())
        .unwrap_or_default();
    let variable = |name: &str| variables.get(name).map(OsString::from);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
    config::load(&[path.to_owned()], &Environment { variable: &variable, now })
}

/// Every case of a folder, in order, with its first line.
fn cases(folder: &str) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(Path::new(CASES).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            (path, text.lines().next().unwrap_or_default().to_owned())
        })
        .collect()
}

/// Holds texts against the files that say what they should be, and says all differences at once.
#[derive(Default)]
struct Expectations(Vec<String>);

impl Expectations {
    fn check(&mut self, path: &Path, said: &str) {
        let said = said
            .replace(&format!("{CASES}/broken/"), "")
            .replace(&format!("{CASES}/good/"), "")
            .replace(&format!("{CASES}/located/"), "");
        let said = said.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(path, &said).unwrap();
        }
        let expected = fs::read_to_string(path).unwrap_or_default();
        if said != expected {
            self.0.push(format!("{}\n--- expected\n{expected}\n--- said\n{said}", path.display()));
        }
    }

    fn assert_met(self) {
        assert!(self.0.is_empty(), "{} differ:\n\n{}", self.0.len(), self.0.join("\n\n"));
    }
}

#[test]
fn every_mistake_is_shown_as_expected() {
    let mut expectations = Expectations::default();
    let cases = cases("broken");
    assert!(cases.len() >= 60, "cases are missing");
    for (path, first_line) in cases {
        let said = match load(&path, &first_line) {
            Err(mistakes) => mistakes,
            Ok(loaded) => loaded.warnings,
        };
        let name = path.display();
        assert!(!said.is_empty(), "{name} is meant to be wrong, and nothing is said");
        for secret in SECRETS {
            assert!(!said.render(true).contains(secret), "{name} shows a secret");
        }
        expectations.check(&path.with_extension("expected"), &said.to_string());
    }
    expectations.assert_met();
}

#[test]
fn every_good_file_is_read_without_a_word() {
    let mut expectations = Expectations::default();
    for (path, first_line) in cases("good") {
        let loaded = load(&path, &first_line).unwrap_or_else(|said| panic!("{}\n{said}", path.display()));
        assert!(loaded.warnings.is_empty(), "{}\n{}", path.display(), loaded.warnings);
        let tenants = loaded.config.tenants.iter();
        let printed: Vec<String> =
            tenants.filter_map(|tenant| config::print::tenant(&loaded, &tenant.name)).collect();
        let printed = printed.join("\n");
        for secret in SECRETS {
            assert!(!printed.contains(secret), "{} prints a secret", path.display());
        }
        expectations.check(&path.with_extension("expected"), &printed);
    }
    expectations.assert_met();
}

#[test]
fn what_plugins_say_of_their_configuration_is_located() {
    let mut expectations = Expectations::default();
    for (path, first_line) in cases("located") {
        let loaded = load(&path, &first_line).unwrap_or_else(|said| panic!("{}\n{said}", path.display()));
        let text = fs::read_to_string(&path).unwrap();
        let says: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# says: "))
            .map(|line| said(line, &loaded))
            .collect();
        assert!(!says.is_empty(), "{} says nothing", path.display());
        let loose = loaded.locate(&says, false);
        let strict = loaded.locate(&says, true);
        assert_eq!(strict.errors(), says.len());
        let unavailable = |(_, said): &&(_, BuildError)| matches!(said.problem, BuildProblem::Load(_));
        assert_eq!(loose.errors(), says.len() - says.iter().filter(unavailable).count());
        for secret in SECRETS {
            assert!(!strict.render(true).contains(secret), "{} shows a secret", path.display());
        }
        expectations.check(&path.with_extension("expected"), &loose.to_string());
    }
    expectations.assert_met();
}

/// What the plugin of a tenant says.
fn said(line: &str, loaded: &Loaded) -> (Arc<str>, BuildError) {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (what, tenant, plugin) = (word(), word(), word());
    let rest = word();
    let problem = match what {
        "config" => {
            let (pointer, message) = rest.split_once(' ').unwrap();
            let tenant = loaded.config.tenants.iter().find(|known| &*known.name == tenant).unwrap();
            let plugin = tenant.plugins.iter().find(|known| &*known.name == plugin).unwrap();
            let message = message.replace("\\n", "\n");
            let message = plugin.secrets.printable(message.as_bytes(), 512);
            BuildProblem::Config { pointer: pointer.to_owned(), message }
        }
        "destination" => {
            let known = vec!["archive".to_owned(), "spare".to_owned()];
            BuildProblem::Destination { name: rest.to_owned(), known }
        }
        "unavailable" => {
            let problem = LoadProblem::Unreadable(std::io::Error::other(rest));
            BuildProblem::Load(LoadError { source_name: "own.wasm".to_owned(), problem })
        }
        other => panic!("unknown {other}"),
    };
    (tenant.into(), BuildError { plugin: plugin.into(), problem })
}

#[test]
fn plugins_arrive_as_their_tenants_have_them() {
    let path = Path::new(CASES).join("good/plugins.toml");
    let text = fs::read_to_string(&path).unwrap();
    let config = load(&path, text.lines().next().unwrap()).unwrap().config;
    assert_eq!(config.plugin_cache, None);
    let token = fs::read_to_string(Path::new(CASES).join("files/token")).unwrap();
    let own = serde_json::json!({
        "patterns": ["email", "card-number"],
        "hash_key": "hunter2hunter2hunter2",
        "region": "eu",
        "since": "2026-01-01T00:00:00Z",
        "share": 0.25,
        "places": [{ "level": "record", "keys": ["a", "b"] }, token.trim()],
        "keys": { "allow": ["id"], "deny": [] },
    });
    let blog = config.tenants.iter().find(|tenant| &*tenant.name == "blog").unwrap();
    assert_eq!(blog.plugins[0].config, own);
    let shop = config.tenants.iter().find(|tenant| &*tenant.name == "shop").unwrap();
    let mut merged = own;
    merged["patterns"] = serde_json::json!(["email"]);
    merged["hash_key"] = token.trim().into();
    merged["keys"]["allow"] = serde_json::json!(["shop"]);
    merged["keys.of.senders"] = serde_json::json!({ "file": "kept", "$credential": 1 });
    assert_eq!(shop.plugins[0].config, merged);
    assert_eq!(shop.plugins[1].config, serde_json::json!({}));
    assert!(matches!(&shop.plugins[1].component, Source::File(path) if path.ends_with("files/own.wasm")));
    assert!(!format!("{config:?}").contains("hunter2"), "a secret is shown");
}

#[test]
fn the_cache_is_where_the_system_wants_it() {
    let path = Path::new(CASES).join("good/minimal.toml");
    let cache =
        |variables: &str| load(&path, &format!("# environment: {variables}")).unwrap().config.plugin_cache;
    let all = "CACHE_DIRECTORY=/var/cache/tollgate:/other XDG_CACHE_HOME=/xdg HOME=/home/ann";
    assert_eq!(cache(all), Some("/var/cache/tollgate".into()));
    assert_eq!(cache("XDG_CACHE_HOME=/xdg HOME=/home/ann"), Some("/xdg/tollgate".into()));
    assert_eq!(cache("HOME=/home/ann"), Some("/home/ann/.cache/tollgate".into()));
    assert_eq!(cache("HOME="), None);
}

#[test]
fn values_arrive_in_the_rooms() {
    let path = Path::new(CASES).join("good/design.toml");
    let config = load(&path, "").unwrap().config;

    let (tunnel, door) = &config.listeners[1];
    assert_eq!(&*tunnel.name, "tunnel");
    assert!(matches!(&tunnel.bind, tollgate::listener::Bind::Unix { mode: 0o660, group: Some(65532), .. }));
    assert!(door.client.trust_unix);
    assert_eq!(door.answer_within, Some(Duration::from_secs(85)));
    assert_eq!(door.path_aliases, ["/otlp"]);
    assert_eq!(config.listeners[0].0.limits.connections, 10_000);
    assert!(config.listeners[0].0.tls.is_some());

    let names: Vec<&str> = config.auth.credentials.iter().map(|credential| &*credential.name).collect();
    assert_eq!(names, ["blog", "oxygen", "2026-12", "token-1"]);
    assert!(config.auth.credentials[2].expires.is_some());

    let shop = &config.tenants[1];
    assert_eq!(shop.upstreams.logs.as_deref(), Some("loki"));
    assert_eq!(shop.upstreams.profiles, None);
    assert_eq!(shop.upstream_headers[0].0, "x-scope-orgid");
    assert_eq!(shop.upstream_headers[0].1, "shop");
    assert_eq!(shop.limits.bytes_per_second, 8 << 20);
    let plugins: Vec<&str> = shop.plugins.iter().map(|plugin| &*plugin.name).collect();
    assert_eq!(plugins, ["label", "redact", "split"]);
    assert_eq!(shop.plugins[1].on_failure, Some(OnFailure::Reject));
    assert_eq!(shop.plugins[1].limits.memory, 64 << 20);
    assert_eq!(shop.plugins[1].config["patterns"], serde_json::json!(["email", "card-number"]));
    assert!(shop.plugins[1].config["hash_key"].is_string());
    assert_eq!(shop.routes, [("archive".into(), "s3-gateway".into())]);

    let upstream = |name: &str| config.upstreams.iter().find(|(known, _)| &*known.name == name).unwrap();
    let (loki, limits) = upstream("loki");
    assert_eq!((&*loki.address, loki.port, &*loki.path_prefix), ("loki-gateway", 3100, "/otlp"));
    assert_eq!(loki.host, "loki-gateway:3100");
    assert_eq!(limits.body, 4 << 20);
    let (alloy, _) = upstream("alloy");
    assert_eq!((&*alloy.address, alloy.port), ("192.168.1.35", 443));
    assert_eq!(alloy.host, "alloy.home.example.com");
    assert_eq!(alloy.tls.as_ref().unwrap().server_name.to_str(), "alloy.home.example.com");
    assert_eq!(alloy.headers[0].1, "Basic b3h5Z2VuOmh1bnRlcjI=");
    assert!(alloy.headers[0].1.is_sensitive());

    let answers: Vec<(&str, &str)> =
        config.answer_headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(
        answers,
        [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("x-xss-protection", "1; mode=block"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("permissions-policy", "interest-cohort=()"),
        ]
    );
}

#[test]
fn several_files_make_one_configuration() {
    let file = |name: &str| Path::new(CASES).join("good/parts").join(name);
    let environment = Environment { variable: &|_| None, now: SystemTime::UNIX_EPOCH };
    let loaded = config::load(&[file("one.toml"), file("two.toml")], &environment).unwrap();
    assert_eq!(loaded.files.len(), 2);
    assert_eq!(loaded.config.tenants.len(), 1);

    let said = config::load(&[file("one.toml")], &environment).unwrap_err().to_string();
    assert!(said.contains("there is no tenant"), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let environment = Environment { variable: &|_| None, now: SystemTime::UNIX_EPOCH };
    let said = config::load(&["nowhere/tollgate.toml".into()], &environment).unwrap_err();
    assert_eq!(
        said.to_string().trim_end(),
        "error: cannot read the configuration file nowhere/tollgate.toml\n \
         |\n = note: No such file or directory (os error 2)"
    );
}

#[test]
fn colours_are_for_terminals() {
    let said = load(&Path::new(CASES).join("broken/many.toml"), "").unwrap_err();
    assert!(said.render(true).contains("\u{1b}["));
    assert!(!said.render(false).contains('\u{1b}'));
}

#[test]
fn the_reference_is_what_the_code_reads() {
    let mut expectations = Expectations::default();
    expectations.check(Path::new("../docs/configuration.md"), &config::reference());
    expectations.assert_met();
}

#[test]
fn the_schema_knows_what_the_code_reads() {
    let schema = config::schema();
    let at = |path: &str| schema.pointer(path).unwrap_or_else(|| panic!("{path} is missing"));
    assert_eq!(at("/$schema"), "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(at("/additionalProperties"), false);
    let tenant = "/properties/tenant/additionalProperties/properties";
    assert_eq!(at(&format!("{tenant}/limits/properties/body/default")), "4MiB");
    assert_eq!(at(&format!("{tenant}/credentials/items/additionalProperties")), false);
    assert_eq!(
        at("/properties/defaults/properties/tenant/properties/limits/properties/in_flight/default"),
        64
    );
    assert_eq!(at("/properties/listener/additionalProperties/required/0"), "bind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// Whatever a file holds, reading it ends with a configuration or with located mistakes.
    #[test]
    fn no_file_can_make_it_panic(
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = fs::read(Path::new(CASES).join("good/everything.toml")).unwrap();
        if flips.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let folder = scratch();
        let path = folder.join("tollgate.toml");
        fs::write(&path, bytes).unwrap();
        match load(&path, "") {
            Ok(loaded) => drop(loaded.warnings.render(true)),
            Err(said) => {
                prop_assert!(said.errors() > 0);
                let text = said.render(true);
                for secret in SECRETS {
                    prop_assert!(!text.contains(secret), "shows a secret:\n{}", text);
                }
            }
        }
    }
}

/// A folder of this process's own.
fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
