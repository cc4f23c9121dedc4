//! Measures Tollgate beside its peers: the proxy's own CPU time per request, in one run, in turns.
//!
//! `README.md` beside this crate says what is measured, how fair it is and how to read it. The way
//! through the code: a [`scenario`] starts a [`sink`] and its [`peer`]s in a [`lab`], sends them
//! [`load`], and reads what that cost off with [`measure`].

// A command-line tool: what it prints is what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod certificate;
mod form;
mod grpc;
mod lab;
mod load;
mod machine;
mod measure;
mod native;
mod payload;
mod peer;
mod process;
mod scenario;
mod sender;
mod sink;
mod table;
mod wire;

use crate::{form::Form, lab::Lab, scenario::Transport};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// As the proxy has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Scenario {
    /// CPU per request over plain HTTP/1.1 (the default)
    Http,
    /// CPU per request over TLS 1.3
    Tls,
    /// CPU per request over gRPC, beside HTTP
    Grpc,
    /// CPU per request that comes as JSON and leaves as protobuf
    Json,
    /// CPU per request that comes and leaves compressed with gzip
    Gzip,
    /// What the first-party plugins cost beside the same done natively, without a network
    Plugins,
    /// CPU per request with plugins, beside the Collector with its processors
    Transform,
    /// A steady good sender on one core, quiet and beside a flood of wrong logins
    Flood(scenario::flood::Options),
    /// Time from exec to the first answer
    Start(scenario::start::Options),
    /// Memory of idle TLS connections that each made one request
    Idle(scenario::idle::Options),
    /// Every scenario, one after the other
    All,
    /// The upstream behind the proxies: reads requests, counts them, answers 200
    #[command(hide = true)]
    Sink,
}

/// What every scenario understands.
#[derive(Args, Clone)]
struct Options {
    /// Which peers, in which order: tollgate, nginx, caddy, collector
    #[arg(long, global = true, value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// How often every peer has its turn
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement takes
    #[arg(long, global = true, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// How long a peer is warmed up before each measurement
    #[arg(long, global = true, default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Keep-alive connections, each with one request under way
    #[arg(long, global = true, default_value_t = 16)]
    connections: usize,
    /// Log records per request
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,100,1000")]
    records: Vec<usize>,
    /// The Collector with its own default of two idle connections to the upstream, rather than as many as help
    #[arg(long, global = true)]
    collector_defaults: bool,
    /// The program to measure as Tollgate; without it, it is built
    #[arg(long, global = true, value_name = "PROGRAM")]
    tollgate: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("seconds, above 0 and at most 3600".into()),
    }
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    if let Some(Scenario::Sink) = arguments.scenario {
        sink::serve()?;
        return Ok(ExitCode::SUCCESS);
    }

    machine::listen_for_interrupts();
    let mut lab = Lab::open(arguments.options)?;
    match arguments.scenario.unwrap_or(Scenario::Http) {
        Scenario::Http => scenario::requests::run(&mut lab, Transport::Plain)?,
        Scenario::Tls => scenario::requests::run(&mut lab, Transport::Tls)?,
        Scenario::Grpc => scenario::requests::run_forms(&mut lab, &[Form::Protobuf, Form::Grpc])?,
        Scenario::Json => scenario::requests::run_forms(&mut lab, &[Form::Protobuf, Form::Json])?,
        Scenario::Gzip => scenario::requests::run_forms(&mut lab, &[Form::Protobuf, Form::Gzip])?,
        Scenario::Plugins => scenario::plugins::run(&mut lab)?,
        Scenario::Transform => scenario::requests::run_transforms(&mut lab)?,
        Scenario::Flood(options) => scenario::flood::run(&mut lab, &options)?,
        Scenario::Start(options) => scenario::start::run(&mut lab, &options)?,
        Scenario::Idle(options) => scenario::idle::run(&mut lab, &options)?,
        Scenario::All => {
            scenario::requests::run(&mut lab, Transport::Plain)?;
            scenario::requests::run(&mut lab, Transport::Tls)?;
            for form in [Form::Grpc, Form::Json, Form::Gzip] {
                scenario::requests::run_forms(&mut lab, &[Form::Protobuf, form])?;
            }
            scenario::plugins::run(&mut lab)?;
            scenario::requests::run_transforms(&mut lab)?;
            scenario::flood::run(&mut lab, &Default::default())?;
            scenario::start::run(&mut lab, &Default::default())?;
            scenario::idle::run(&mut lab, &Default::default())?;
        }
        Scenario::Sink => {}
    }
    Ok(lab.verdict())
}
