//! Every file in `config/`: what it is for reads it without a complaint.

use crate::kit::{
    Folder, has,
    real::{on_path, repository, run, said, write_certificate},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Secrets for every example, as systemd and Compose would hand them over.
fn secrets() -> Folder {
    let folder = Folder::create();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a secret");
    write("oxygen.hash", include_str!("kit/secret.hash"));
    write("warehouse.hash", &format!("sha256:{}\n", "5a".repeat(32)));
    write_certificate(folder.path(), "edge", &["otlp.example.com"]);
    fs::copy(folder.path().join("edge.pem"), folder.path().join("home-ca.pem")).expect("an authority");
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            folder if folder.is_dir() => all.extend(files(&folder)),
            file => all.push(file),
        }
    }
    all.sort();
    all
}

#[test]
fn every_example_is_good() {
    let secrets = secrets();
    let examples = files(&repository("config"));
    let examples: Vec<_> =
        examples.iter().filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let output = run(Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["check", "--config"])
            .arg(example)
            .env_remove("TOLLGATE_CONFIG")
            .env("CREDENTIALS_DIRECTORY", secrets.path()));
        assert!(output.status.success(), "{}: {}", example.display(), said(&output));
        assert!(output.stderr.is_empty(), "{}, a warning: {}", example.display(), said(&output));
    }
}

/// What Alloy's processors did is done, as the cases of relabel show.
#[test]
fn the_blogs_labels_are_those_that_are_tested() {
    let table = |path: &str| {
        let text = fs::read_to_string(repository(path)).expect("a file");
        text.parse::<toml::Table>().expect("TOML")
    };
    let blog = table("config/blog.toml");
    let label = blog["plugin"]["label"].as_table().expect("a plugin");
    let tested = table("plugins/relabel/cases/alloy/plugin.toml");
    assert_eq!((&label["component"], &label["config"]), (&tested["component"], &tested["config"]));
    let plugins = blog["tenant"]["shop"]["plugins"].as_array().expect("a list");
    assert!(plugins.contains(&"label".into()), "{plugins:?}");
}

#[test]
fn the_unit_lets_plugins_run() {
    let unit = fs::read_to_string(repository("config/systemd/tollgate.service")).expect("the unit");
    assert!(unit.lines().any(|line| line == "CacheDirectory=tollgate"));
    // What is compiled becomes executable: under this, no plugin loads.
    assert!(!unit.lines().any(|line| line.starts_with("MemoryDenyWriteExecute")));
}

#[test]
fn the_readme_names_every_example() {
    let folder = repository("config");
    let readme = fs::read_to_string(folder.join("README.md")).expect("config/README.md");
    for entry in fs::read_dir(&folder).expect("config").flatten() {
        let name = entry.file_name().display().to_string();
        assert!(name == "README.md" || readme.contains(&format!("`{name}")), "config/README.md lacks {name}");
    }
}

#[test]
fn systemd_understands_the_unit() {
    let Some(analyze) = on_path("systemd-analyze") else {
        eprintln!("SKIPPED: systemd-analyze is missing"); // even in CI, which may run in a container
        return;
    };
    let folder = Folder::create();
    let unit = fs::read_to_string(repository("config/systemd/tollgate.service")).expect("the unit");
    let path = folder.path().join("tollgate.service");
    // The program has to be there; the manual page need not be.
    let unit = unit.replace("/usr/bin/tollgate", env!("CARGO_BIN_EXE_tollgate"));
    fs::write(&path, unit).expect("writing the unit");
    let output = run(Command::new(analyze).args(["verify", "--man=no"]).arg(&path));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    // systemd before 253 does not know this type; the unit says what to write there.
    let ours = complaints.lines().filter(|line| line.contains("tollgate.service"));
    let ours: Vec<_> = ours.filter(|line| !line.ends_with("ignoring: notify-reload")).collect();
    assert!(output.status.success() && ours.is_empty(), "{}", said(&output));
}

/// Reads every YAML file, and holds the compose files against the others.
const CHECK_YAML: &str = r#"
import pathlib, sys, yaml
config = pathlib.Path(sys.argv[1])
for path in sorted([*config.rglob("*.yaml"), *config.rglob("*.yml")]):
    assert any(yaml.safe_load_all(path.read_text())), path
compose = yaml.safe_load((config / "compose/compose.yaml").read_text())
services, here = compose["services"], config / "compose"
for name, service in services.items():
    assert "image" in service, name
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (here / source).exists(), (name, volume)
        else:
            assert source in compose["volumes"], (name, volume)
    for secret in service.get("secrets", []):
        assert secret in compose["secrets"], (name, secret)
door = services["tollgate"]
assert (here / door["build"]["context"] / door["build"]["dockerfile"]).exists()
assert door["healthcheck"]["test"][:3] == ["CMD", "tollgate", "health"]
# One socket, under one name, for all three.
toml = (here / "tollgate.toml").read_text()
tunnel = yaml.safe_load((config / "cloudflared/config.yml").read_text())
socket = tunnel["ingress"][0]["service"]
assert f'bind = "{socket}"' in toml, socket
assert f'bind = "{socket}"' in (config / "blog.toml").read_text(), socket
folder = socket.removeprefix("unix:").rsplit("/", 1)[0]
for name in ["cloudflared", "tollgate"]:
    assert f"socket:{folder}" in services[name]["volumes"], name
dockerfile = (here / "Dockerfile").read_text()
cache = next(line.split("=", 1)[1] for line in dockerfile.splitlines() if line.startswith("ENV CACHE_DIRECTORY="))
assert f"cache:{cache}" in door["volumes"] and f"/out{cache} {cache}" in dockerfile, cache
assert door["user"].split(":")[1] == "65532" and "group = 65532" in toml
assert 'bind = "' + door["healthcheck"]["test"][-1] + '"' in toml
"#;

#[test]
fn the_yaml_files_fit_together() {
    let python = repository("target/clients/python/bin/python");
    if !has("target/clients/python (tests/clients/python/install)", python.exists()) {
        return;
    }
    let output = run(Command::new(python).arg("-c").arg(CHECK_YAML).arg(repository("config")));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn docker_compose_understands_the_file() {
    let compose = |arguments: &[&str]| {
        let file = repository("config/compose/compose.yaml");
        Command::new("docker")
            .args(["compose", "-f"])
            .arg(file)
            .args(arguments)
            .env("TUNNEL_TOKEN", "x")
            .output()
    };
    if !compose(&["version"]).is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: docker compose is missing"); // even in CI: the test above reads the file
        return;
    }
    let output = compose(&["config", "--quiet"]).expect("docker compose");
    assert!(output.status.success(), "{}", said(&output));
}
