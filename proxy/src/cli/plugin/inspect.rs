//! `tollgate plugin inspect`.

use super::{PluginArgs, bench};
use crate::cli::{EXIT_CONFIGURATION, EXIT_RUNTIME, print, show};
use std::{fmt::Write, process::ExitCode};
use tollgate::{
    plugin::{self, BuildProblem, CONTRACT_VERSION, Inspection, Registration},
    telemetry::events::printable,
};

pub(super) fn inspect(args: &PluginArgs) -> anyhow::Result<ExitCode> {
    let alone = match args.resolve() {
        Ok(alone) => alone,
        Err(mistakes) => {
            show(&mistakes);
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    let component = &args.component;
    let bytes = component.bytes().map_err(|error| anyhow::anyhow!("{component}: cannot be read: {error}"))?;
    let mut text = String::new();
    let mut say = |what: &str, value: &str| {
        let _ = writeln!(text, "{what:<14}{value}"); // a String takes all
    };
    say("component", &component.to_string());
    say("size", &format!("{} KiB", bytes.len().div_ceil(1024)));
    if let Ok(inspection) = plugin::inspect(&bytes) {
        describe(&inspection, &mut say);
    }
    let host = bench::host()?;
    let code = match host.load(component) {
        Err(error) => {
            say("taken", &format!("no: {}", error.problem));
            ExitCode::from(EXIT_RUNTIME)
        }
        Ok(_) => {
            say("taken", "yes");
            match host.register(&alone.tenant, &alone.plugin) {
                Ok(registration) => {
                    register(&registration, &mut say);
                    ExitCode::SUCCESS
                }
                // Nobody said that it can do without.
                Err(BuildProblem::Config { message, .. }) if args.config.is_none() => {
                    say("registers", &format!("only with a configuration (--config): {message}"));
                    ExitCode::SUCCESS
                }
                Err(problem) => {
                    let is_mistake = matches!(problem, BuildProblem::Config { .. });
                    say("registers", if is_mistake { "not with this configuration" } else { "no" });
                    print(text.as_bytes())?;
                    show(&alone.locate(problem));
                    return Ok(ExitCode::from(if is_mistake { EXIT_CONFIGURATION } else { EXIT_RUNTIME }));
                }
            }
        }
    };
    print(text.as_bytes())?;
    Ok(code)
}

fn describe(inspection: &Inspection, say: &mut impl FnMut(&str, &str)) {
    let contract = match inspection.contract.as_deref() {
        None => format!("none (this Tollgate speaks {CONTRACT_VERSION})"),
        Some(CONTRACT_VERSION) => CONTRACT_VERSION.to_owned(),
        Some("") => format!("of no version (this Tollgate speaks {CONTRACT_VERSION})"),
        Some(other) => format!("{other} (this Tollgate speaks {CONTRACT_VERSION})"),
    };
    say("contract", &contract);
    let of = |package: &str| {
        let names = inspection.imports.iter().filter_map(|name| name.strip_prefix(package));
        names.map(|name| name.split('@').next().unwrap_or(name)).collect::<Vec<_>>().join(", ")
    };
    let others =
        inspection.imports.iter().filter(|name| PACKAGES.iter().all(|known| !name.starts_with(known)));
    let others = others.map(String::as_str).collect::<Vec<_>>().join(", ");
    say("imports", &of(PACKAGES[0]));
    let wasi = of(PACKAGES[1]);
    if !wasi.is_empty() {
        say("  of WASI", &format!("{wasi} (there, and empty)"));
    }
    if !others.is_empty() {
        say("  others", &others);
    }
}

/// The packages that a plugin may import from.
const PACKAGES: [&str; 2] = ["tollgate:plugin/", "wasi:"];

fn register(registration: &Registration, say: &mut impl FnMut(&str, &str)) {
    let Registration { signals, refuses_others, destinations, is_read_only } = registration;
    let listed =
        |names: Vec<&str>, none: &str| if names.is_empty() { none.to_owned() } else { names.join(", ") };
    say("signals", &listed(signals.iter().map(|signal| signal.name()).collect(), "none"));
    say("  others", if *refuses_others { "are refused" } else { "pass unseen" });
    // A stranger's component may name anything.
    let destinations: Vec<_> = destinations.iter().map(|name| printable(name.as_bytes(), 128)).collect();
    say("destinations", &listed(destinations.iter().map(String::as_str).collect(), "default alone"));
    say("changes", if *is_read_only { "nothing (read-only)" } else { "batches" });
}
