//! `tollgate plugin compile`.

use crate::cli::{EXIT_CONFIGURATION, EXIT_RUNTIME, print};
use std::{process::ExitCode, time::Instant};
use tollgate::{
    config::Config,
    plugin::{CompileError, Host, Settings, Source},
};

/// Has every component that the tenants of a configuration use in the cache.
pub(super) fn compile(config: &Config) -> anyhow::Result<ExitCode> {
    let Some(cache) = &config.plugin_cache else {
        eprintln!("tollgate: there is no folder to compile into: set `plugin_cache`");
        return Ok(ExitCode::from(EXIT_CONFIGURATION));
    };
    let mut components: Vec<&Source> = Vec::new();
    for plugin in config.tenants.iter().flat_map(|tenant| &tenant.plugins) {
        if !components.contains(&&plugin.component) {
            components.push(&plugin.component);
        }
    }
    let host = Host::new(&Settings { cache: Some(cache.clone()), ..Settings::default() })?;
    let mut code = ExitCode::SUCCESS;
    for component in components {
        let began = Instant::now();
        match host.compile(component) {
            Ok(()) => print(format!("{component}: ready in {:.1?}\n", began.elapsed()).as_bytes())?,
            Err(error) => {
                eprintln!("tollgate: {error}");
                if let CompileError::Unkept { .. } = error {
                    eprintln!("tollgate: `plugin_cache` is {}", cache.display());
                }
                code = ExitCode::from(EXIT_RUNTIME);
                code
            }
        };
    }
    Ok(code)
}
