//! `tollgate demo`: everything in one process, to try it out.

use super::{
    diff::{self, Look},
    serve, sink,
};
use anyhow::Context;
use clap::Args;
use std::{
    fs,
    io::{IsTerminal, Write},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::net::TcpListener;
use tollgate::{
    config::{self, Environment, Loaded},
    pipeline::{Watch, Watched},
    plugin::Builtin,
    telemetry,
    tenant::hash,
    tls::Identity,
};

const USER: &str = "demo";
const PASSWORD: &str = "tollgate";

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4318")]
    listen: SocketAddr,
}

pub(super) fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let folder = Folder::create()?;
    let runtime = serve::runtime()?;
    runtime.block_on(async {
        let collector = TcpListener::bind("127.0.0.1:0").await.context("starting the demo's collector")?;
        let loaded = folder.configure(args.listen, collector.local_addr()?)?;
        let log = telemetry::log::init(&loaded.config.log).context("starting the log")?;
        let watch: Option<Watch> = has_plugins().then(|| Box::new(show) as Watch);
        let shows = if has_plugins() { sink::Shows::Arrival } else { sink::Shows::Batch };
        let server = match serve::Server::start(loaded, true, &log, watch).await {
            Ok(server) => server,
            Err(serve::StartError::Mistakes(mistakes)) => anyhow::bail!("{}", mistakes.render(false)),
            Err(serve::StartError::Configuration(error) | serve::StartError::Runtime(error)) => {
                return Err(error.context("try --listen 127.0.0.1:0"));
            }
        };
        let address = server.addresses().first().copied().unwrap_or(args.listen);
        println!("{}", welcome(address, &folder));
        tokio::spawn(sink::serve(collector, shows));
        server.until_ended(&[folder.config()]).await
    })
}

/// The demo's files, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("tollgate-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    fn config(&self) -> PathBuf {
        self.0.join("tollgate.toml")
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    /// Writes a configuration like a user's own, and reads it as a user's own is read.
    fn configure(&self, listen: SocketAddr, collector: SocketAddr) -> anyhow::Result<Loaded> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let password_hash = hash::argon2id(PASSWORD.as_bytes())?;
        let text = format!(
            r#"log = {{ format = "text", level = "info" }}
plugin_cache = false

[listener.demo]
bind = "{listen}"
tls = {{ self_signed = ["{}", "{}"] }}

[tenant.demo]
credentials = [{{ user = "{USER}", password_hash = "{password_hash}" }}]
upstream = "printer"
upstream_headers = {{ X-Scope-OrgID = "${{tenant}}" }}
{}
[upstream.printer]
endpoint = "http://{collector}"
"#,
            names[0],
            names[1],
            plugins(collector)
        );
        fs::write(self.config(), text).context("writing the demo's configuration")?;
        fs::write(self.certificate(), Identity::self_signed(&names)?.certificate_pem())
            .context("writing the demo's certificate")?;
        config::load(&[self.config()], &Environment::of_process())
            .map_err(|mistakes| anyhow::anyhow!("{}", mistakes.render(false)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The plugins, as far as the program has them: without, what comes leaves as it came.
fn plugins(collector: SocketAddr) -> String {
    if !has_plugins() {
        return String::new();
    }
    format!(
        r#"plugins = [{}]
routes = {{ archive = "archive" }}
{}
[upstream.archive]
endpoint = "http://{collector}/{ARCHIVE}"
"#,
        names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "),
        PLUGINS
            .iter()
            .filter(|(builtin, ..)| is_there(*builtin))
            .map(|(_, _, text)| *text)
            .collect::<String>(),
    )
}

/// What each of them is, its name and its table.
const PLUGINS: [(Builtin, &str, &str); 3] = [
    (
        Builtin::Relabel,
        "label",
        r#"
[plugin.label]
component = "builtin:relabel"
config.parse_json = { body = "msg" }
config.severity = true
config.insert = { processed_by = "tollgate" }
"#,
    ),
    (
        Builtin::Redact,
        "redact",
        r#"
[plugin.redact]
component = "builtin:redact"
"#,
    ),
    (
        Builtin::Route,
        "split",
        r#"
[plugin.split]
component = "builtin:route"
config.rules = [
  { when = { attribute = "path", equals = "/healthz" }, discard = true },
  { when = { severity_below = "info" }, to = "archive" },
]
"#,
    ),
];

/// Where the demo's collector takes what is archived.
const ARCHIVE: &str = "archive";

fn is_there(builtin: Builtin) -> bool {
    !builtin.bytes().is_empty()
}

fn has_plugins() -> bool {
    names().next().is_some()
}

fn names() -> impl Iterator<Item = &'static str> {
    PLUGINS.iter().filter(|(builtin, ..)| is_there(*builtin)).map(|(_, name, _)| *name)
}

/// Prints a batch before and after its plugins.
fn show(watched: &Watched<'_>) {
    let Watched { tenant, signal, before, after } = watched;
    let coloured = std::io::stdout().is_terminal();
    let text = diff::to_json(*signal, before).and_then(|before| {
        let parts = match after {
            Ok(after) => diff::parts(*signal, after)?,
            Err(failure) => return Ok(format!("{failure}\n")),
        };
        Ok(diff::diff(&before, &parts, Look { whole: true, coloured, ..Look::CHANGES }))
    });
    let text = text.unwrap_or_else(|error| format!("cannot be shown: {error:#}\n"));
    let names = names().collect::<Vec<_>>().join(", ");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "─── {signal} of tenant {tenant}, before (-) and after (+) its plugins {names}");
    for line in text.lines() {
        let _ = writeln!(out, "    {line}");
    }
    let _ = out.flush();
}

fn welcome(address: SocketAddr, folder: &Folder) -> String {
    let certificate = folder.certificate();
    let curl = |credentials: &str| curl(&certificate, credentials, address.port());
    format!(
        "\
Tollgate listens on https://localhost:{port} for tenant \"{USER}\"; {what} is printed here.
Its configuration, for a look or as a beginning: {config}

Send three log records from another terminal (200):

{good}

And with a wrong password (401, nothing is printed but a log line):

{bad}

Ctrl-C ends it.
",
        what = if has_plugins() { "what its plugins make of what it lets in" } else { "what it lets in" },
        port = address.port(),
        config = folder.config().display(),
        good = curl(&format!("{USER}:{PASSWORD}")),
        bad = curl(&format!("{USER}:wrong")),
    )
}

/// Three records as Pino writes them: one with something to hide, one for the archive, one for nobody.
fn curl(certificate: &Path, credentials: &str, port: u16) -> String {
    format!(
        r#"curl -i --cacert {} -u {credentials} -H 'Content-Type: application/json' \
  -d '{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"oxygen"}}}}]}},"scopeLogs":[{{"logRecords":[
    {{"body":{{"stringValue":"{{\"level\":30,\"msg\":\"hello, door\",\"user\":\"anna@example.com\"}}"}}}},
    {{"body":{{"stringValue":"{{\"level\":20,\"msg\":\"cache miss\"}}"}}}},
    {{"body":{{"stringValue":"{{\"level\":30,\"msg\":\"ok\",\"path\":\"/healthz\"}}"}}}}]}}]}}]}}' \
  https://localhost:{port}/v1/logs"#,
        certificate.display()
    )
}
