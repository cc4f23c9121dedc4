//! `tollgate demo`: everything in one process, to try it out.

use super::{serve, sink};
use anyhow::Context;
use clap::Args;
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::net::TcpListener;
use tollgate::{
    config::{self, Config, Environment},
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
        let config = folder.configure(args.listen, collector.local_addr()?)?;
        let log = telemetry::log::init(&config.log).context("starting the log")?;
        let server = match serve::Server::start(config, &log).await {
            Ok(server) => server,
            Err(serve::StartError::Configuration(error) | serve::StartError::Runtime(error)) => {
                return Err(error.context("try --listen 127.0.0.1:0"));
            }
        };
        let address = server.addresses().first().copied().unwrap_or(args.listen);
        println!("{}", welcome(address, &folder));
        tokio::spawn(sink::serve(collector));
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
    fn configure(&self, listen: SocketAddr, collector: SocketAddr) -> anyhow::Result<Config> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let password_hash = hash::argon2id(PASSWORD.as_bytes())?;
        let text = format!(
            r#"log = {{ format = "text", level = "info" }}

[listener.demo]
bind = "{listen}"
tls = {{ self_signed = ["{}", "{}"] }}

[tenant.demo]
credentials = [{{ user = "{USER}", password_hash = "{password_hash}" }}]
upstream = "printer"
upstream_headers = {{ X-Scope-OrgID = "${{tenant}}" }}

[upstream.printer]
endpoint = "http://{collector}"
"#,
            names[0], names[1]
        );
        fs::write(self.config(), text).context("writing the demo's configuration")?;
        fs::write(self.certificate(), Identity::self_signed(&names)?.certificate_pem())
            .context("writing the demo's certificate")?;
        config::load(&[self.config()], &Environment::of_process())
            .map(|loaded| loaded.config)
            .map_err(|mistakes| anyhow::anyhow!("{}", mistakes.render(false)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn welcome(address: SocketAddr, folder: &Folder) -> String {
    let certificate = folder.certificate();
    let curl = |credentials: &str| curl(&certificate, credentials, address.port());
    format!(
        "\
Tollgate listens on https://localhost:{port} for tenant \"{USER}\"; what it lets in is printed here.
Its configuration, for a look or as a beginning: {config}

Send a log record from another terminal (200):

{good}

And one with a wrong password (401, nothing is printed but a log line):

{bad}

Ctrl-C ends it.
",
        port = address.port(),
        config = folder.config().display(),
        good = curl(&format!("{USER}:{PASSWORD}")),
        bad = curl(&format!("{USER}:wrong")),
    )
}

fn curl(certificate: &Path, credentials: &str, port: u16) -> String {
    format!(
        r#"curl -i --cacert {} -u {credentials} -H 'Content-Type: application/json' \
  -d '{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"oxygen"}}}}]}},"scopeLogs":[{{"logRecords":[{{"severityText":"INFO","body":{{"stringValue":"hello, door"}}}}]}}]}}]}}' \
  https://localhost:{port}/v1/logs"#,
        certificate.display()
    )
}
