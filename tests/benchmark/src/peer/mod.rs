//! The proxies that are compared, each with its configuration: the same credential, an access log
//! where it has one, keep-alive to both sides, and nothing that the others do not do. Where a peer
//! can be set up in two ways, it gets the cheaper one.

mod caddy;
mod collector;
mod nginx;
mod tollgate;

use crate::{
    Options,
    certificate::Certificate,
    form::Form,
    lab::{self, Lab},
    load::{Connection, Target},
    machine,
    process::Process,
    scenario::Transform,
    sender,
    sink::Sink,
};
use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Every peer, in the order of a report. The first is what the others are compared with.
pub const NAMES: [&str; 4] = ["tollgate", "nginx", "caddy", "collector"];

/// No peer takes longer to answer for the first time, unless it never will.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A proxy that can be measured.
pub trait Peer {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its program.
    fn program(&self) -> &Path;
    /// How to ask it for its version.
    fn version_argument(&self) -> &'static str;
    /// Writes its configuration and says how to start it in the foreground.
    fn command(&self, setup: &Setup) -> Result<Command>;

    /// Whether it hands on the very bytes that came.
    fn keeps_bytes(&self) -> bool {
        true
    }

    /// What it says of itself, in a line.
    fn version(&self) -> Result<String> {
        let program = self.program();
        let output = Command::new(program).arg(self.version_argument()).output();
        let output = output.with_context(|| format!("asking {} for its version", program.display()))?;
        // nginx says it on standard error.
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or("an unknown version").to_owned())
    }
}

/// What a peer is configured for.
pub struct Setup {
    /// For its files; empty.
    pub folder: PathBuf,
    /// Where it listens for senders.
    pub listen: SocketAddr,
    /// Where it may listen for its operator.
    pub admin: SocketAddr,
    /// Where it forwards to.
    pub sink: SocketAddr,
    /// The certificate that it shows, and the senders' side of it.
    pub tls: Option<Tls>,
    /// What it gets and hands on. The Collector and Tollgate know others than protobuf.
    pub form: Form,
    /// What is done to what it gets. The Collector and Tollgate can do something.
    pub transform: Transform,
    /// Whether the Collector keeps its default of connections.
    pub collector_defaults: bool,
    /// The header that says where a request really comes from. Tollgate only.
    pub client_address: Option<&'static str>,
    /// So many tenants with a bearer token each, instead of one with a password. Tollgate only.
    pub tokens: usize,
    /// So many of these tenants have a plugin each, a component of its own. Tollgate only.
    pub plugins: usize,
    /// So many more users with the same password, who are yet unknown to any cache. Tollgate only.
    pub newcomers: usize,
    /// The cores that it may run on.
    pub cores: Option<Vec<usize>>,
}

/// A certificate on both sides.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Both sides of a certificate.
    pub fn of(certificate: &Certificate) -> Result<Self> {
        Ok(Self {
            certificate: certificate.certificate.clone(),
            key: certificate.key.clone(),
            client: certificate.client()?,
        })
    }
}

/// A peer that has answered.
pub struct Running {
    /// Its process; its workers descend from it.
    pub process: Process,
    /// Its door.
    pub target: Target,
    /// From exec to the first answer.
    pub start_time: Duration,
}

/// Finds a peer, or says how to get it.
pub fn find(name: &str, options: &Options) -> Result<Box<dyn Peer>> {
    Ok(match name {
        "tollgate" => Box::new(tollgate::Tollgate::build(options.tollgate.as_deref())?),
        "nginx" => Box::new(nginx::Nginx { program: program("nginx", "nginx")? }),
        "caddy" => Box::new(caddy::Caddy { program: program("caddy", "caddy")? }),
        "collector" => Box::new(collector::Collector { program: program("otelcol", "collector")? }),
        _ => bail!("there is no peer \"{name}\""),
    })
}

/// A program that `tests/peers/` makes.
fn program(file: &str, script: &str) -> Result<PathBuf> {
    let program = lab::repository()?.join("target/peers/bin").join(file);
    if !program.exists() {
        bail!("{} is missing; tests/peers/{script} makes it", program.display());
    }
    Ok(program)
}

/// Starts a peer in a fresh folder and waits for its first answer, which is part of its start.
pub fn start(peer: &dyn Peer, lab: &Lab, sink: &Sink, change: impl FnOnce(&mut Setup)) -> Result<Running> {
    let mut setup = lab.setup(peer, sink)?;
    change(&mut setup);
    let mut command = peer.command(&setup)?;
    command.stdin(Stdio::null());
    let log = setup.folder.join("output.log");
    let authorization = match setup.tokens {
        0 => sender::basic(sender::USER, sender::PASSWORD),
        tokens => sender::bearer(&sender::token(tokens - 1)),
    };
    let target = Target {
        address: setup.listen,
        tls: setup.tls.as_ref().map(|tls| tls.client.clone()),
        grpc: (setup.form == Form::Grpc).then(|| authorization.clone()),
    };
    let request = setup.form.request(&authorization, &setup.form.body(1)?);

    let began = Instant::now();
    let mut process = Process::start(peer.name(), command, &log, setup.cores.as_deref())?;
    loop {
        process.check_running()?;
        machine::check_interrupt()?;
        // Before it listens a connection is refused; from then on it has to answer.
        if let Ok(mut connection) = Connection::open(&target, None) {
            match connection.ask(&request) {
                Ok(200) => return Ok(Running { process, target, start_time: began.elapsed() }),
                Ok(status) => bail!("{} answers {status}:\n{}", peer.name(), process.last_words()),
                Err(error) => {
                    process.check_running()?;
                    return Err(error.context(format!(
                        "{} does not answer:\n{}",
                        peer.name(),
                        process.last_words()
                    )));
                }
            }
        }
        if began.elapsed() > START_TIME_MAX {
            bail!("{} does not listen after {START_TIME_MAX:?}:\n{}", peer.name(), process.last_words());
        }
        thread::sleep(Duration::from_micros(100));
    }
}
