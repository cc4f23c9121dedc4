//! The commands, their help, and what they exit with.

mod demo;
mod diff;
mod password;
mod plugin;
mod rows;
mod serve;
mod sink;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::{
    collections::HashSet,
    io::{IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};
use tollgate::config::{self, Diagnostics, Environment, Loaded};

/// `sysexits.h`: the command was used incorrectly.
const EXIT_USAGE: u8 = 64;
/// `sysexits.h`: the input was not as it should be.
const EXIT_DATA: u8 = 65;
/// `sysexits.h`: something was found in a configuration.
const EXIT_CONFIGURATION: u8 = 78;
/// Anything that went wrong while running.
const EXIT_RUNTIME: u8 = 1;

const ABOUT: &str = "The public door for OpenTelemetry data";
const LONG_ABOUT: &str = "\
The public door for OpenTelemetry data: takes OTLP over HTTP from authenticated senders, holds each
tenant to its limits, and forwards to the collector behind it.

Start with `tollgate demo`, which needs nothing else. Then write a configuration
(`tollgate schema` helps your editor), look it over with `tollgate check`, and run it.";
const AFTER_HELP: &str = "\
Exit status: 0 all went well · 1 failed while running · 64 wrong usage · 65 wrong input · 78 a mistake in the configuration";

#[derive(Parser)]
#[command(name = "tollgate", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, as a configuration says
    ///
    /// SIGHUP reads the configuration, its certificates and its secrets again and swaps them in
    /// without dropping a request; a mistake in them changes nothing and is logged. SIGTERM or SIGINT
    /// stops accepting, lets requests end within the drain time, and exits; a second one exits at once.
    ///
    /// A plugin whose component is missing or does not load stops only the tenants that use it, with 503
    /// and an error in the log; with --strict it stops the start.
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        strict: StrictArgs,
    },

    /// Look a configuration over: just as `run` would, but without listening
    ///
    /// Plugins are loaded and take their configuration.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        strict: StrictArgs,
        /// Print a tenant as resolved, each value with where it came from; secrets are masked
        #[arg(long, value_name = "TENANT")]
        print: Option<String>,
    },

    /// Hash a password for `password_hash`, or make a bearer token
    ///
    /// Reads the password from a prompt, or from standard input if that is no terminal.
    HashPassword(password::PasswordArgs),

    /// Try it out: a door, a tenant and a collector that prints what arrives, all in one
    Demo(demo::DemoArgs),

    /// Look at plugins, try them, test them
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),

    /// Ask a running Tollgate whether it serves: exit status 0 if so
    ///
    /// For container health checks, where there is no curl. The admin listener is asked, of which the
    /// address is taken from the configuration or from --admin.
    Health {
        #[command(flatten)]
        config: ConfigArgs,
        /// The admin listener's address; the configuration is not read then
        #[arg(long, value_name = "ADDRESS:PORT")]
        admin: Option<SocketAddr>,
    },

    /// Print the JSON schema of the configuration, for editors
    ///
    /// With taplo or Even Better TOML, put `#:schema ./tollgate.schema.json` into the first line of
    /// a configuration.
    Schema,

    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration, one TOML file or several
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "TOLLGATE_CONFIG",
        value_delimiter = ',',
        default_value = "/etc/tollgate/tollgate.toml"
    )]
    config: Vec<PathBuf>,
}

#[derive(Args)]
struct StrictArgs {
    /// A plugin that does not load is a mistake, not just a warning
    #[arg(long)]
    strict: bool,
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tollgate: {error:#}");
            ExitCode::from(EXIT_RUNTIME)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config, strict } => match load(&config) {
            Ok(loaded) => serve::serve(loaded, config.config, strict.strict),
            Err(code) => Ok(code),
        },
        Command::Check { config, strict, print } => match load(&config) {
            Ok(loaded) => check(&loaded, strict.strict, print.as_deref()),
            Err(code) => Ok(code),
        },
        Command::HashPassword(args) => password::hash_password(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Plugin(command) => plugin::plugin(command),
        Command::Health { config, admin } => health(&config, admin),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&config::schema()).context("printing the schema")?;
            print(format!("{schema}\n").as_bytes())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut script);
            print(&script)
        }
    }
}

/// Reads the configuration and shows what is to be said of it.
fn load(args: &ConfigArgs) -> Result<Loaded, ExitCode> {
    match config::load(&args.config, &Environment::of_process()) {
        Ok(loaded) => {
            show(&loaded.warnings);
            Ok(loaded)
        }
        Err(mistakes) => {
            show(&mistakes);
            Err(ExitCode::from(EXIT_CONFIGURATION))
        }
    }
}

fn show(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        eprint!("{}", diagnostics.render(std::io::stderr().is_terminal()));
    }
}

fn check(loaded: &Loaded, strict: bool, tenant: Option<&str>) -> anyhow::Result<ExitCode> {
    match serve::check(loaded, strict) {
        Ok(said) => {
            show(&said);
            if said.errors() > 0 {
                return Ok(ExitCode::from(EXIT_CONFIGURATION));
            }
        }
        Err(error) => {
            eprintln!("tollgate: {error:#}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    }
    if let Some(name) = tenant {
        let Some(text) = config::print::tenant(loaded, name) else {
            let known: Vec<_> = loaded.config.tenants.iter().map(|tenant| &*tenant.name).collect();
            eprintln!("tollgate: there is no tenant {name:?}; there are {}", known.join(", "));
            return Ok(ExitCode::from(EXIT_USAGE));
        };
        return print(text.as_bytes());
    }
    let config = &loaded.config;
    let plugins = config.tenants.iter().flat_map(|tenant| &tenant.plugins).map(|plugin| &plugin.name);
    let plugins = match plugins.collect::<HashSet<_>>().len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "plugin")),
    };
    print(
        format!(
            "good: {}, {}, {}, {}{plugins}\n",
            counted(config.listeners.len(), "listener"),
            counted(config.tenants.len(), "tenant"),
            counted(config.auth.credentials.len(), "credential"),
            counted(config.upstreams.len(), "upstream"),
        )
        .as_bytes(),
    )
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn health(args: &ConfigArgs, admin: Option<SocketAddr>) -> anyhow::Result<ExitCode> {
    let address = match admin {
        Some(address) => address,
        None => {
            let Ok(loaded) =
                config::load(&args.config, &Environment::of_process()).map_err(|mistakes| show(&mistakes))
            else {
                return Ok(ExitCode::from(EXIT_CONFIGURATION));
            };
            let Some(admin) = loaded.config.admin else {
                eprintln!("tollgate: the configuration has no [admin] listener to ask");
                return Ok(ExitCode::from(EXIT_CONFIGURATION));
            };
            admin.bind
        }
    };
    tollgate::admin::health(address)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints; a reader that has seen enough (`| head`) is no error.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("printing"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
