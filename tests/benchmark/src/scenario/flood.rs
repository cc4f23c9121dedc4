//! A good sender beside a flood of wrong logins, with the proxy on one core: what the flood costs,
//! whether the good sender feels it, and how long somebody waits whose password is not known yet.

use super::{mebibytes, show};
use crate::{
    lab::{self, Lab},
    load::{Connection, Load, Outcome, Target},
    machine::{self, Confined},
    measure::{self, Memory},
    payload::{self, scatter},
    peer::{self, NAMES, Running},
    sender,
    sink::Sink,
    table::Table,
};
use anyhow::Result;
use clap::Args;
use std::{
    borrow::Cow,
    net::Ipv4Addr,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

/// The header that a tunnel in front would set.
const CLIENT_ADDRESS: &str = "CF-Connecting-IP";
/// Where the good sender comes from.
const GOOD_SENDER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// How much, and how long.
#[derive(Args, Clone)]
pub struct Options {
    /// Requests of the good sender, per second
    #[arg(long, default_value_t = 200.0)]
    good_rate: f64,
    /// Wrong logins per second; 0 for as many as are answered
    #[arg(long, default_value_t = 2000.0)]
    flood_rate: f64,
    /// Connections of the flood
    #[arg(long, default_value_t = 32)]
    flood_connections: usize,
    /// How long each phase takes, in seconds
    #[arg(long, default_value_t = 10)]
    phase: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { good_rate: 200.0, flood_rate: 2000.0, flood_connections: 32, phase: 10 }
    }
}

/// Where wrong logins come from.
#[derive(Clone, Copy)]
enum Flood {
    None,
    /// Another address for each: no limit for an address ever holds.
    ChangingAddresses,
    /// One address that nobody else has.
    OneAddress,
    /// The good sender's own address, as behind a shared proxy.
    GoodAddress,
}

const PHASES: [(&str, Flood); 5] = [
    ("quiet", Flood::None),
    ("flood, changing addresses", Flood::ChangingAddresses),
    ("flood, one address", Flood::OneAddress),
    ("flood, the good sender's address", Flood::GoodAddress),
    ("quiet again", Flood::None),
];

/// Runs every phase against one process of each peer, so that what a flood leaves behind shows.
pub fn run(lab: &mut Lab, options: &Options) -> Result<()> {
    let cores = machine::cores()?;
    let [proxy_core, other_cores @ ..] = &cores[..] else { return lab::skip("a flood: no cores") };
    if other_cores.is_empty() {
        return lab::skip("a flood: the proxy needs a core of its own, and there is one in all");
    }
    // The senders, and the sink that they start.
    let _confined = Confined::to(other_cores)?;
    let sink = Sink::start(&lab.folder)?;
    for peer in lab.peers(&NAMES[..1])? {
        let mut running = peer::start(peer.as_ref(), lab, &sink, |setup| {
            setup.client_address = Some(CLIENT_ADDRESS);
            setup.cores = Some(vec![*proxy_core]);
            setup.newcomers = PHASES.len();
        })?;
        println!(
            "\n{} on one core: a good sender with {} requests/s, wrong logins at {} over {} connections",
            peer.name(),
            options.good_rate,
            if options.flood_rate > 0.0 { format!("{}/s", options.flood_rate) } else { "full speed".into() },
            options.flood_connections,
        );
        let mut table = Table::new([
            "phase",
            "p50",
            "p99",
            "p99 to quiet",
            "a first login",
            "CPU",
            "memory",
            "peak",
            "flood answers/s",
        ]);
        let mut quiet_p99 = None;
        // Warm, and its credential known.
        Phase::run(&mut running, options, Flood::None, None)?;
        for (number, (name, flood)) in PHASES.into_iter().enumerate() {
            eprintln!("{}: {name}", peer.name());
            let newcomer = (peer.name() == NAMES[0]).then_some(number);
            let phase = Phase::run(&mut running, options, flood, newcomer)?;
            let Phase { good, flood, first_login, cpu_percent, memory } = phase;
            if let Some(trouble) = good.trouble() {
                lab.failed(format!("{}, {name}, the good sender: {trouble}", peer.name()));
            }
            if flood.good() > 0 {
                lab.failed(format!("{}, {name}: {} wrong logins were let in", peer.name(), flood.good()));
            }
            let p99 = good.latency(99.0);
            let ratio = p99.as_secs_f64() / quiet_p99.get_or_insert(p99).as_secs_f64();
            table.row([
                name.to_owned(),
                show(good.latency(50.0)),
                show(p99),
                format!("{ratio:.2} ×"),
                first_login.unwrap_or("–".into()),
                format!("{cpu_percent:.0} %"),
                mebibytes(memory.resident_bytes),
                mebibytes(memory.peak_bytes),
                answers(&flood),
            ]);
        }
        print!("{table}");
    }
    Ok(())
}

/// What one phase has shown.
struct Phase {
    good: Outcome,
    flood: Outcome,
    first_login: Option<String>,
    cpu_percent: f64,
    memory: Memory,
}

impl Phase {
    fn run(running: &mut Running, options: &Options, flood: Flood, newcomer: Option<usize>) -> Result<Self> {
        let body = payload::logs(1);
        let authorization = sender::basic(sender::USER, sender::PASSWORD);
        let good_request = sender::post(&authorization, &came_from(GOOD_SENDER), &body);
        let good = Load {
            target: &running.target,
            connections: 4,
            rate_hz: Some(options.good_rate),
            duration: Duration::from_secs(options.phase),
            pressure: false,
            request: &|_| Cow::Borrowed(&good_request[..]),
        };
        let wrong = Load {
            connections: options.flood_connections,
            rate_hz: (options.flood_rate > 0.0).then_some(options.flood_rate),
            pressure: true,
            request: &|number| Cow::Owned(wrong_login(flood, number, &body)),
            ..good
        };

        let (began, cpu_before) = (Instant::now(), measure::cpu_time(running.process.id())?);
        let (good, flood, first_login) = thread::scope(|scope| {
            let wrong = match flood {
                Flood::None => None,
                _ => Some(scope.spawn(|| wrong.run())),
            };
            let newcomer = newcomer.map(|number| {
                scope.spawn(move || {
                    thread::sleep(good.duration / 2);
                    log_in(number, good.target)
                })
            });
            let good = good.run();
            (good, wrong.map(joined).unwrap_or_default(), newcomer.map(joined))
        });
        // Of the flood's end too, which comes after the good sender's.
        let (elapsed, cpu) = (began.elapsed(), measure::cpu_time(running.process.id())? - cpu_before);
        machine::check_interrupt()?;
        running.process.check_running()?;

        let cpu_percent = 100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64();
        Ok(Self { good, flood, first_login, cpu_percent, memory: measure::memory(running.process.id())? })
    }
}

/// Logs a user in who has not been there before, so that the password has to be hashed, from an address
/// that nobody else has; and says how long that took, and how it ended if not well.
fn log_in(newcomer: usize, target: &Target) -> String {
    let authorization = sender::basic(&sender::newcomer(newcomer), sender::PASSWORD);
    let address = Ipv4Addr::new(192, 0, 2, 1 + newcomer as u8);
    let request = sender::post(&authorization, &came_from(address), &payload::logs(1));
    let began = Instant::now();
    let answer = Connection::open(target, None).and_then(|mut connection| connection.ask(&request));
    let time = show(began.elapsed());
    match answer {
        Ok(200) => time,
        Ok(status) => format!("{status} after {time}"),
        Err(error) => format!("{error:#} after {time}"),
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The right user with a password that nobody has tried before, so that no cache of wrong ones helps.
fn wrong_login(flood: Flood, number: u64, body: &[u8]) -> Vec<u8> {
    let address = match flood {
        Flood::GoodAddress => GOOD_SENDER,
        Flood::OneAddress | Flood::None => Ipv4Addr::new(203, 0, 113, 9),
        Flood::ChangingAddresses => Ipv4Addr::from_bits(scatter(number) as u32 | 0x0100_0000),
    };
    let authorization = sender::basic(sender::USER, &format!("wrong-{:016x}", scatter(number)));
    sender::post(&authorization, &came_from(address), body)
}

fn came_from(address: Ipv4Addr) -> String {
    format!("{CLIENT_ADDRESS}: {address}\r\n")
}

/// How a flood was answered: `401: 1500, 429: 500`.
fn answers(flood: &Outcome) -> String {
    let per_second = |count: u64| count as f64 / flood.elapsed.as_secs_f64();
    let mut answers: Vec<String> =
        flood.statuses.iter().map(|(status, &count)| format!("{status}: {:.0}", per_second(count))).collect();
    if flood.unanswered > 0 {
        answers.push(format!("none: {:.0}", per_second(flood.unanswered)));
    }
    if answers.is_empty() { "–".into() } else { answers.join(", ") }
}
