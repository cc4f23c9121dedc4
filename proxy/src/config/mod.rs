//! Files and environment → each room's resolved configuration. Every mistake is located, and all
//! of them are reported at once.
//!
//! ```text
//! source      files → one tree, every key and value with its place
//! section     the tree → values, each key declared once; kind, secret, tree: what a value can be
//! resolve     values → each room's settings, held against each other
//! diagnostic  what went wrong on the way, printed like a compiler's; mask keeps secrets out of it
//! schema      the same declarations as JSON Schema and as a reference
//! plugin      what plugins say of their own tables, led back to where it is written
//! alone       a plugin without the rest, for the tools that try one
//! print       a tenant as resolved, each value with where it came from
//! ```

mod alone;
mod diagnostic;
mod kind;
mod mask;
mod plugin;
pub mod print;
mod reader;
mod resolve;
mod schema;
mod secret;
mod section;
mod source;
mod tree;

pub use alone::{Alone, Written, plugin_cache};
pub use diagnostic::{Diagnostic, Diagnostics, Level};
pub use schema::{reference, schema};

use crate::{admin, admission, exporter, listener, pipeline, telemetry, tenant};
use http::{HeaderName, HeaderValue};
use mask::Mask;
use plugin::{Places, PluginPlaces};
use reader::{Reader, Setting};
use section::Section;
use source::Source;
use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A resolved configuration. It cannot be wrong: nothing checks it again.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that serve; the cores by default. Read at the start only.
    pub workers: usize,
    /// How long a drain may take before connections are cut. 30 s.
    pub drain_timeout: Duration,
    /// How and what is logged. Read at the start only.
    pub log: telemetry::LogConfig,
    /// Limits over all tenants.
    pub limits: admission::GlobalLimits,
    /// The headers of every answer, after changes and drops.
    pub answer_headers: Vec<(HeaderName, HeaderValue)>,
    /// The sockets, each with what it adds to the data path.
    pub listeners: Vec<(listener::Config, pipeline::DoorConfig)>,
    /// Credentials and the failed-login limit.
    pub auth: tenant::Config,
    /// The tenants, credentials apart.
    pub tenants: Vec<pipeline::TenantConfig>,
    /// The destinations.
    pub upstreams: Vec<(exporter::Config, admission::UpstreamLimits)>,
    /// The folder for compiled plugins. Read at the start only.
    pub plugin_cache: Option<PathBuf>,
    /// The private listener.
    pub admin: Option<admin::Config>,
}

/// What a configuration depends on beside its files.
pub struct Environment<'e> {
    /// The environment variables.
    pub variable: &'e dyn Fn(&str) -> Option<OsString>,
    /// The time, for what expires.
    pub now: SystemTime,
}

impl Environment<'static> {
    /// The process's own.
    pub fn of_process() -> Self {
        Self { variable: &|name| std::env::var_os(name), now: SystemTime::now() }
    }
}

/// A configuration that can be used, and what is to be said of it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is probably not as it was meant.
    pub warnings: Diagnostics,
    /// The files that it was read from, those included among them; secrets and certificates are not.
    pub files: Vec<PathBuf>,
    sources: Vec<Source>,
    masks: Vec<Mask>,
    settings: Vec<Setting>,
    places: Places,
}

/// Reads the files of a configuration, and what they include, and resolves them.
///
/// # Errors
/// Every mistake in them at once. Where a file cannot be read or is not TOML, only such mistakes:
/// what seems to be missing may well be in it.
pub fn load(paths: &[PathBuf], environment: &Environment) -> Result<Loaded, Diagnostics> {
    let mut reader = Reader::new(environment);
    let tree = source::read_files(paths, &mut reader);
    let found_in_files = reader.diagnostics.len();
    let document = Section::read_root(&tree, &mut reader, resolve::document);
    let (config, places) = document.resolve(&mut reader);
    if reader.incomplete {
        // They were read on only to know which of their values may be shown.
        reader.diagnostics.truncate(found_in_files);
    }
    let failed = reader.failed();
    let diagnostics = Diagnostics::new(reader.diagnostics, &reader.sources, &reader.masks);
    if failed {
        return Err(diagnostics);
    }
    let files = reader.sources.iter().map(|source| source.path.clone()).collect();
    Ok(Loaded {
        config,
        warnings: diagnostics,
        files,
        sources: reader.sources,
        masks: reader.masks,
        settings: reader.settings,
        places,
    })
}
