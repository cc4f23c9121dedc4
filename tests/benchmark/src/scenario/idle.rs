//! What a connection costs while nothing is sent over it: memory, after one request each.

use super::{mebibytes, show};
use crate::{
    certificate::Certificate,
    lab::{self, Lab},
    load::Connection,
    machine, measure, payload,
    peer::{self, Running, Tls},
    sender,
    sink::Sink,
    table::Table,
};
use anyhow::Result;
use clap::Args;
use std::{net::Ipv4Addr, thread, time::Duration};

/// Files that a proxy and this program have open besides the senders' connections.
const OTHER_FILES: u64 = 500;
/// Connections from one address of loopback, well below the ports that an address has.
const CONNECTIONS_PER_ADDRESS: usize = 5000;
/// Senders that connect at the same time.
const OPENERS: usize = 8;
/// Time for buffers to be given back before memory is read.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// How many.
#[derive(Args, Clone)]
pub struct Options {
    /// Connections that stay open
    #[arg(long, default_value_t = 10_000)]
    idle_connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { idle_connections: 10_000 }
    }
}

/// Opens connections, one request each, reads the memory, and asks each once more: all must still be good.
pub fn run(lab: &mut Lab, options: &Options) -> Result<()> {
    let (wanted, allowed) = (options.idle_connections as u64 + OTHER_FILES, machine::raise_open_files()?);
    if allowed < wanted {
        return lab::skip(&format!(
            "{} idle connections: {wanted} open files are needed, {allowed} are allowed (ulimit -Hn)",
            options.idle_connections
        ));
    }
    let peers = lab.peers(&["tollgate", "nginx"])?;
    let certificate = Certificate::make(&lab.folder)?;
    let sink = Sink::start(&lab.folder)?;
    let authorization = sender::basic(sender::USER, sender::PASSWORD);
    let request = sender::post(&authorization, "", &payload::logs(1));

    let mut table = Table::new([
        "peer",
        "memory before",
        "with all idle",
        "per connection",
        "CPU per handshake and request",
    ]);
    for peer in &peers {
        eprintln!("{}: opening {} connections", peer.name(), options.idle_connections);
        let tls = Tls::of(&certificate)?;
        let mut running = peer::start(peer.as_ref(), lab, &sink, |setup| setup.tls = Some(tls))?;
        let id = running.process.id();
        let (before, cpu_before) = (measure::memory(id)?, measure::cpu_time(id)?);
        let mut connections = open(&running, options.idle_connections, &request)?;
        let cpu = measure::cpu_time(id)? - cpu_before;
        thread::sleep(SETTLE_TIME);
        let idle = measure::memory(id)?;

        let dead = connections.iter_mut().filter_map(|connection| match connection.ask(&request) {
            Ok(200) => None,
            Ok(status) => Some(format!("status {status}")),
            Err(error) => Some(format!("{error:#}")),
        });
        let dead: Vec<String> = dead.collect();
        if let Some(first) = dead.first() {
            lab.failed(format!(
                "{}: {} idle connections were dead, the first: {first}",
                peer.name(),
                dead.len()
            ));
        }
        running.process.check_running()?;

        let grown = idle.resident_bytes.saturating_sub(before.resident_bytes);
        table.row([
            peer.name().to_owned(),
            mebibytes(before.resident_bytes),
            mebibytes(idle.resident_bytes),
            format!("{:.1} KiB", grown as f64 / 1024.0 / options.idle_connections as f64),
            show(cpu / options.idle_connections as u32),
        ]);
    }
    println!("\n{} idle TLS 1.3 connections, one request made over each", options.idle_connections);
    print!("{table}");
    Ok(())
}

/// Opens so many connections and makes a request over each.
fn open(running: &Running, count: usize, request: &[u8]) -> Result<Vec<Connection>> {
    let open_one = |number: usize| -> Result<Connection> {
        machine::check_interrupt()?;
        let from = Ipv4Addr::new(127, 0, 0, 2 + (number / CONNECTIONS_PER_ADDRESS) as u8);
        let mut connection = Connection::open(&running.target, Some(from))?;
        let status = connection.ask(request)?;
        anyhow::ensure!(status == 200, "connection {number} was answered {status}");
        Ok(connection)
    };
    thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS)
            .map(|opener| {
                scope
                    .spawn(move || (opener..count).step_by(OPENERS).map(open_one).collect::<Result<Vec<_>>>())
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for opener in openers {
            all.extend(opener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}
