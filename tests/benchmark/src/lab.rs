//! Where a run happens: the peers that there are, a folder for their files, and what has failed.

use crate::{
    Options,
    form::Form,
    machine,
    peer::{self, Peer, Setup},
    scenario::Transform,
    sink::Sink,
};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A run.
pub struct Lab {
    /// What the user wants.
    pub options: Options,
    /// Configurations, logs and certificates; kept after the run, for whoever wonders.
    pub folder: PathBuf,
    failures: Vec<String>,
}

impl Lab {
    /// Prepares a run and says where it happens.
    pub fn open(options: Options) -> Result<Self> {
        let folder = repository()?.join("target/benchmark");
        fs::create_dir_all(&folder)?;
        if let Some(peers) = &options.peers
            && let Some(unknown) = peers.iter().find(|name| !peer::NAMES.contains(&name.as_str()))
        {
            bail!("there is no peer \"{unknown}\"; known: {}", peer::NAMES.join(", "));
        }
        eprintln!("{}", machine::description());
        Ok(Self { options, folder, failures: Vec::new() })
    }

    /// The peers to measure: those that the user wants, else a scenario's own choice. One that is not
    /// there is skipped, loudly.
    pub fn peers(&self, usual: &[&str]) -> Result<Vec<Box<dyn Peer>>> {
        let usual = || usual.iter().map(|&name| name.to_owned()).collect();
        let mut peers = Vec::new();
        for name in &self.options.peers.clone().unwrap_or_else(usual) {
            match peer::find(name, &self.options) {
                Ok(peer) => peers.push(peer),
                // Without Tollgate there is nothing to compare; a run that was to measure it has failed.
                Err(error) if name == peer::NAMES[0] => return Err(error),
                Err(error) => skip(&format!("{name}: {error:#}"))?,
            }
        }
        if peers.is_empty() {
            bail!("there is no peer to measure");
        }
        for peer in &peers {
            eprintln!("{}: {}", peer.name(), peer.version()?);
        }
        Ok(peers)
    }

    /// A fresh setup for a peer: ports that were free a moment ago, an empty folder.
    pub fn setup(&self, peer: &dyn Peer, sink: &Sink) -> Result<Setup> {
        let folder = self.folder.join(peer.name());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let [listen, admin] = free_addresses()?;
        Ok(Setup {
            folder,
            listen,
            admin,
            sink: sink.address,
            tls: None,
            form: Form::Protobuf,
            client_address: None,
            transform: Transform::None,
            collector_defaults: self.options.collector_defaults,
            tokens: 0,
            plugins: 0,
            newcomers: 0,
            cores: None,
        })
    }

    /// Notes a lost or failed request: the run goes on, and ends with an error.
    pub fn failed(&mut self, what: String) {
        eprintln!("FAILED: {what}");
        self.failures.push(what);
    }

    /// How the run has ended.
    pub fn verdict(&self) -> ExitCode {
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The root of the repository.
pub fn repository() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().context("the repository")
}

/// Leaves something out, loudly; an error where nothing may be left out.
pub fn skip(what: &str) -> Result<()> {
    if env::var("TOLLGATE_TEST_REQUIRE").is_ok_and(|require| require == "all") {
        bail!("TOLLGATE_TEST_REQUIRE=all, and cannot measure {what}");
    }
    eprintln!("SKIPPED: {what}");
    Ok(())
}

/// Addresses on loopback that nobody listens on, and nobody will before the peer: below the ports that the
/// kernel gives to outgoing connections and to who binds port 0.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    const PORTS: Range<u16> = 16_384..32_768;
    let free = |&address: &SocketAddr| TcpListener::bind(address).is_ok();
    let addresses = PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let addresses: Vec<_> = addresses.filter(free).take(N).collect();
    addresses.try_into().map_err(|_| anyhow!("no port from {PORTS:?} is free"))
}
