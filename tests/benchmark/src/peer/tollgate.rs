//! Tollgate itself.

use super::{Peer, Setup, Tls};
use crate::{
    form::Form,
    native::INSERTED,
    scenario::Transform,
    sender::{self, PASSWORD_ARGON2, USER},
};
use anyhow::{Context, Result, bail};
use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tollgate::plugin::Builtin;

/// Tollgate with an Argon2id hash, its access log as JSON, and limits that the load does not reach.
pub struct Tollgate {
    program: PathBuf,
}

impl Tollgate {
    /// The given program, or the one of this repository, built with the profile of a release.
    pub fn build(program: Option<&Path>) -> Result<Self> {
        if let Some(program) = program {
            let program = program.canonicalize().with_context(|| program.display().to_string())?;
            return Ok(Self { program });
        }
        // Beside this very program, wherever cargo was told to put that: target/release/tollgate-benchmark.
        let this = env::current_exe()?;
        let (Some(profile), Some(target)) = (this.parent(), this.ancestors().nth(2)) else {
            bail!("{} does not lie in a target folder: name a program with --tollgate", this.display());
        };
        if !profile.ends_with("release") {
            bail!("a debug build is no measure: cargo run --release -p tollgate-benchmark");
        }
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "--release",
            "-p",
            "tollgate",
            "--target-dir",
        ]);
        if !build.arg(target).status().context("starting cargo")?.success() {
            bail!("Tollgate does not build");
        }
        Ok(Self { program: profile.join("tollgate") })
    }
}

impl Peer for Tollgate {
    fn name(&self) -> &'static str {
        "tollgate"
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn version_argument(&self) -> &'static str {
        "--version"
    }

    fn command(&self, setup: &Setup) -> Result<Command> {
        let configuration = setup.folder.join("tollgate.toml");
        fs::write(&configuration, text(setup))?;
        if setup.plugins > 0 {
            self.compile_plugins(setup, &configuration)?;
        }
        let mut command = Command::new(&self.program);
        command.args(["run", "--config"]).arg(configuration);
        Ok(command)
    }
}

impl Tollgate {
    /// Makes the components that a setup names, and compiles those that are not in the cache yet.
    fn compile_plugins(&self, setup: &Setup, configuration: &Path) -> Result<()> {
        fs::create_dir_all(plugins_folder(setup))?;
        for number in 0..setup.plugins {
            // A custom section of a component: it means nothing, and makes another component of it.
            let section = [&[0, 9, 4][..], b"name", &(number as u32).to_le_bytes()].concat();
            fs::write(component(setup, number), [Builtin::Relabel.bytes(), &section].concat())?;
        }
        let mut command = Command::new(&self.program);
        command.args(["plugin", "compile", "--config"]).arg(configuration).stdout(Stdio::null());
        if !command.status()?.success() {
            bail!("the plugins do not compile");
        }
        Ok(())
    }
}

/// Where plugins and what was compiled of them stay from start to start.
fn plugins_folder(setup: &Setup) -> PathBuf {
    setup.folder.with_file_name("plugins")
}

fn component(setup: &Setup, number: usize) -> PathBuf {
    plugins_folder(setup).join(format!("{number}.wasm"))
}

fn text(setup: &Setup) -> String {
    let Setup { listen, admin, sink, tls, client_address, tokens, newcomers, form, transform, .. } = setup;
    let tls = match tls {
        None => String::new(),
        Some(Tls { certificate, key, .. }) => {
            format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}")
        }
    };
    let upstream = match form {
        Form::Protobuf | Form::Gzip => "",
        Form::Json => "encoding = \"protobuf\"",
        Form::Grpc => "protocol = \"grpc\"",
    };
    let client_address = match client_address {
        None => String::new(),
        Some(header) => format!("trusted_proxies = [\"127.0.0.0/8\"]\nclient_ip_header = \"{header}\""),
    };
    let plugins = match transform {
        Transform::None => "",
        Transform::Relabel => "plugins = [\"label\"]",
        Transform::RelabelRedact => "plugins = [\"label\", \"redact\"]",
    };
    let cache = plugins_folder(setup).join("compiled");
    let mut text = format!(
        r#"
plugin_cache = {cache:?}
log = {{ format = "json", level = "info" }}
limits = {{ in_flight_bytes = "512MiB" }}

[listener.bench]
bind = "{listen}"
{tls}
{client_address}
timeouts = {{ idle = "600s" }}
limits = {{ connections = 20_000, connections_per_client = 20_000 }}

[defaults.tenant]
upstream = "sink"
{plugins}

[defaults.tenant.limits]
requests_per_second = 1_000_000
bytes_per_second = "100GiB"
in_flight = 1000
in_flight_bytes = "512MiB"
body = "8MiB"
decompressed = "16MiB"

[upstream.sink]
endpoint = "http://{sink}"
{upstream}
limits = {{ in_flight = 1000, in_flight_bytes = "512MiB" }}

[admin]
bind = "{admin}"
"#
    );
    if *transform != Transform::None {
        text.push_str("\n[plugin.label]\ncomponent = \"builtin:relabel\"\n[plugin.label.config.insert]\n");
        for (key, value) in INSERTED {
            let _ = writeln!(text, "{key:?} = {value:?}");
        }
    }
    if *transform == Transform::RelabelRedact {
        text.push_str(
            r#"
[plugin.redact]
component = "builtin:redact"
config.patterns = ["email", "card-number"]
"#,
        );
    }
    let known = (*tokens == 0).then(|| USER.to_owned());
    for user in known.into_iter().chain((0..*newcomers).map(sender::newcomer)) {
        tenant(&mut text, &user, &format!(r#"user = "{user}", password_hash = "{PASSWORD_ARGON2}""#));
    }
    for number in 0..*tokens {
        let hash = sender::token_hash(&sender::token(number));
        tenant(&mut text, &format!("t{number:06}"), &format!(r#"token_hash = "{hash}""#));
        if number < setup.plugins {
            let _ = writeln!(text, "plugins = [\"p{number}\"]\n[plugin.p{number}]");
            let _ = writeln!(text, "component = {:?}", component(setup, number));
            let _ = writeln!(text, "config.insert = {{ processed_by = \"tollgate\" }}");
        }
    }
    text
}

fn tenant(text: &mut String, name: &str, credential: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\n[tenant.{name}]\ncredentials = [{{ {credential} }}]\n");
}
