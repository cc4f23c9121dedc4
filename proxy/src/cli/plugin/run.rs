//! `tollgate plugin run`.

use super::{
    PluginArgs,
    bench::{self, Bench, Outcome, REQUEST_BYTES_MAX, Request},
    cases,
};
use crate::cli::{
    EXIT_CONFIGURATION, EXIT_DATA, EXIT_RUNTIME, counted,
    diff::{self, Look, diff},
    print, show,
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::{
    io::{IsTerminal, Read},
    process::ExitCode,
};
use tollgate::{
    otlp::{Chunks, Encoding, Signal},
    plugin::{BuildProblem, DEFAULT_DESTINATION, Failure, Routed, Transformed},
};
use tracing_subscriber::{Layer, filter::filter_fn, fmt, fmt::format::debug_fn, layer::SubscriberExt};

#[derive(Args)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    plugin: PluginArgs,
    /// What the request carries, where that is not to be seen from it
    #[arg(long, value_enum)]
    signal: Option<Carried>,
    /// The encoding that comes out; without it, the one that went in
    #[arg(long, value_enum)]
    output: Option<Form>,
    /// Show the difference, row by row, in the place of what comes out
    #[arg(long, conflicts_with = "output")]
    diff: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Carried {
    Logs,
    Traces,
    Metrics,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Json,
    Protobuf,
}

impl From<Carried> for Signal {
    fn from(carried: Carried) -> Self {
        match carried {
            Carried::Logs => Signal::Logs,
            Carried::Traces => Signal::Traces,
            Carried::Metrics => Signal::Metrics,
        }
    }
}

impl From<Form> for Encoding {
    fn from(form: Form) -> Self {
        match form {
            Form::Json => Encoding::Json,
            Form::Protobuf => Encoding::Protobuf,
        }
    }
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let alone = match args.plugin.resolve() {
        Ok(alone) => alone,
        Err(mistakes) => {
            show(&mistakes);
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    listen();
    let bench = match Bench::build(&bench::host()?, &alone) {
        Ok(bench) => bench,
        Err(problem) => {
            let (code, hint) = match &problem {
                BuildProblem::Config { .. } => (EXIT_CONFIGURATION, None),
                BuildProblem::Destination { .. } => (EXIT_CONFIGURATION, Some("say --routes with its names")),
                BuildProblem::Load(_) | BuildProblem::Start(_) | BuildProblem::Full => (EXIT_RUNTIME, None),
            };
            show(&alone.locate(problem));
            hint.inspect(|hint| eprintln!("tollgate: {hint}"));
            return Ok(ExitCode::from(code));
        }
    };
    let request = match Request::read(standard_input()?, args.signal.map(Signal::from)) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("tollgate: {error:#}");
            return Ok(ExitCode::from(EXIT_DATA));
        }
    };
    let outcome = bench.run(&request)?;
    for (counter, count) in bench.counters() {
        eprintln!("counter {counter}: {count}");
    }
    let name = &alone.plugin.name;
    match outcome {
        Outcome::Transformed(transformed) => {
            tell(&request, &transformed);
            leave(args, &request, &transformed)
        }
        Outcome::Unseen => {
            eprintln!("plugin `{name}` does not ask for {}: they pass as they are", request.signal);
            match args.diff {
                true => Ok(ExitCode::SUCCESS),
                false => write(args, &request, None),
            }
        }
        Outcome::Refused => {
            eprintln!("tollgate: plugin `{name}` has {} refused, which it cannot look into", request.signal);
            Ok(ExitCode::from(EXIT_DATA))
        }
        Outcome::Failed(failure) => {
            eprintln!("tollgate: {failure}");
            Ok(ExitCode::from(match failure {
                Failure::Rejected { .. } | Failure::Malformed(_) => EXIT_DATA,
                Failure::Failed { .. } | Failure::Late | Failure::Busy { .. } => EXIT_RUNTIME,
            }))
        }
    }
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        eprintln!("tollgate: reads a request from this terminal; `< request.json` reads it from a file");
    }
    let mut bytes = Vec::new();
    input.by_ref().take(REQUEST_BYTES_MAX + 1).read_to_end(&mut bytes).context("reading the request")?;
    anyhow::ensure!(bytes.len() as u64 <= REQUEST_BYTES_MAX, "the request is larger than 256 MiB");
    Ok(bytes)
}

/// Shows the plugin's own log on standard error, and nothing else of the log.
fn listen() {
    let fields = debug_fn(|writer, field, value| match field.name() {
        "line" => write!(writer, "{value:?}"),
        _ => Ok(()),
    });
    let lines = fmt::layer()
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .fmt_fields(fields)
        .with_filter(filter_fn(|event| event.fields().field("line").is_some()));
    // Fails only where there is one already.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}

/// Says what stayed and what went where.
fn tell(request: &Request, transformed: &Transformed) {
    let Transformed { batch, routed, discarded, notes } = transformed;
    let to_own = |routed: &&Routed| routed.destinations.iter().any(|to| &**to == DEFAULT_DESTINATION);
    let also = routed.iter().filter(to_own).map(|routed| routed.records).sum::<u64>();
    let stay = batch.as_ref().map_or(0, |batch| batch.records()) + also;
    let stay_as_they_came = match (stay, is_as_it_came(transformed)) {
        (1, true) => "stays as it came",
        (1, false) => "stays",
        (_, true) => "stay as they came",
        (_, false) => "stay",
    };
    let of = counted(request.records() as usize, "record");
    let mut told = vec![format!("{stay} of {of} {stay_as_they_came}")];
    told.extend(
        routed.iter().map(|routed| format!("{} → {}", routed.records, routed.destinations.join(", "))),
    );
    if *discarded > 0 {
        told.push(format!("{discarded} discarded"));
    }
    let took = notes.iter().map(|note| note.took).sum::<std::time::Duration>();
    eprintln!("{} ({took:.0?})", told.join(", "));
}

/// Prints what stays, or the difference.
fn leave(args: &RunArgs, request: &Request, transformed: &Transformed) -> anyhow::Result<ExitCode> {
    if args.diff {
        let before = diff::to_json(request.signal, &request.message)?;
        let parts = diff::parts(request.signal, transformed)?;
        let look = Look { coloured: std::io::stdout().is_terminal(), ..Look::CHANGES };
        return print(diff(&before, &parts, look).as_bytes());
    }
    match &transformed.batch {
        Some(_) if is_as_it_came(transformed) => write(args, request, None),
        // Routed to several destinations, a record may stay too.
        _ => match &cases::leaving(transformed)[..] {
            [(_, stays), ..] if !stays.is_empty() => write(args, request, Some(stays)),
            _ => Ok(ExitCode::SUCCESS),
        },
    }
}

/// Whether a server would send the bytes that came.
fn is_as_it_came(transformed: &Transformed) -> bool {
    let Transformed { batch, routed, discarded, .. } = transformed;
    routed.is_empty() && *discarded == 0 && batch.as_ref().is_some_and(|batch| !batch.is_changed())
}

/// Prints what became of a request. `None`: it is as it came.
fn write(args: &RunArgs, request: &Request, became: Option<&Chunks>) -> anyhow::Result<ExitCode> {
    let encoding = args.output.map_or(request.encoding, Encoding::from);
    if became.is_none() && encoding == request.encoding {
        return print(&request.wire.to_bytes());
    }
    let message = became.unwrap_or(&request.message);
    match encoding {
        Encoding::Protobuf => print(&message.to_bytes()),
        Encoding::Json => {
            let json = diff::to_json(request.signal, message)?;
            let is_read_by_people = std::io::stdout().is_terminal();
            let text = if is_read_by_people { format!("{json:#}\n") } else { format!("{json}\n") };
            print(text.as_bytes())
        }
    }
}
