//! `tollgate plugin`: what can be done with plugins apart from serving.
//!
//! ```text
//! compile  fills the cache for a configuration
//! inspect  what a component is
//! run      one request through a plugin, to see what it does
//! cases    folders of requests, and what has to become of them
//! bench    a plugin set up for trying it
//! ```

mod bench;
mod cases;
mod compile;
mod inspect;
mod run;

use super::{ConfigArgs, load};
use clap::{Args, Subcommand};
use std::{path::PathBuf, process::ExitCode};
use tollgate::{
    config::{Alone, Diagnostics, Environment, Written},
    plugin::{Builtin, Source},
};

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Compile the plugins of a configuration into its `plugin_cache`, so that the next start need not
    ///
    /// Run it as the user that Tollgate runs as, and with the same program.
    Compile(ConfigArgs),

    /// Say what a component is: its contract, what it imports, and whether this Tollgate takes it
    ///
    /// Exit status 1 if it does not; 78 if it does not take the configuration that it is given.
    Inspect {
        #[command(flatten)]
        plugin: PluginArgs,
    },

    /// Have a plugin work on one request: OTLP in on standard input, OTLP out on standard output
    ///
    /// The request is JSON or protobuf, which is seen from its first byte, and comes out as it went in. What
    /// was routed, discarded, logged and counted is said on standard error. Exit status 65 if the plugin
    /// rejects the request or it is no OTLP, 1 if the plugin fails.
    Run(run::RunArgs),

    /// Test a plugin: requests in files, and what has to become of them
    ///
    /// In the folder, or in folders below it, `plugin.toml` names the component and its configuration.
    /// `NAME.in.json` is a request, `NAME.out.json` what has to stay of it, `NAME.ROUTE.json` what has to go
    /// to a route, and `NAME.error` the message where it is rejected.
    Test {
        /// Where the cases are
        #[arg(required = true)]
        folder: Vec<PathBuf>,
        /// Write what happens now as what has to happen; read the difference before you commit it
        #[arg(long)]
        update: bool,
    },
}

#[derive(Args)]
pub(super) struct PluginArgs {
    /// A WebAssembly component's file, or `builtin:` and the name of a plugin that comes with Tollgate
    #[arg(value_name = "FILE|builtin:NAME", value_parser = component)]
    component: Source,
    /// The plugin's configuration: TOML, or `@` and a file that holds nothing else
    #[arg(long, value_name = "TOML|@FILE")]
    config: Option<String>,
    /// The tenant that the plugin is told of
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The names that it may route to
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    routes: Vec<String>,
}

fn component(text: &str) -> Result<Source, String> {
    let Some(name) = text.strip_prefix("builtin:") else { return Ok(Source::File(text.into())) };
    let builtin = Builtin::ALL.into_iter().find(|builtin| builtin.name() == name);
    let known = || Builtin::ALL.map(|builtin| format!("builtin:{}", builtin.name())).join(", ");
    builtin.map(Source::Builtin).ok_or_else(|| format!("there are {}", known()))
}

impl PluginArgs {
    fn resolve(&self) -> Result<Alone, Diagnostics> {
        let config = self.config.as_ref().map(|config| match config.strip_prefix('@') {
            Some(path) => Written::File(path.into()),
            None => Written::Inline("--config", config.clone()),
        });
        let name = match &self.component {
            Source::Builtin(builtin) => builtin.name().to_owned(),
            Source::File(path) => path
                .file_stem()
                .map_or_else(|| "plugin".to_owned(), |stem| stem.to_string_lossy().into_owned()),
        };
        let (component, tenant) = (self.component.clone(), self.tenant.as_deref());
        let environment = Environment::of_process();
        Alone::new(&name, component, tenant, config.as_ref(), self.routes.clone(), &environment)
    }
}

pub(super) fn plugin(command: PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::Compile(config) => match load(&config) {
            Ok(loaded) => compile::compile(&loaded.config),
            Err(code) => Ok(code),
        },
        PluginCommand::Inspect { plugin } => inspect::inspect(&plugin),
        PluginCommand::Run(args) => run::run(&args),
        PluginCommand::Test { folder, update } => cases::test(&folder, update),
    }
}
