//! A plugin by itself, without tenants and upstreams: for the tools that try one.

use super::{
    Environment,
    diagnostic::Diagnostics,
    kind::{List, Text},
    mask::Mask,
    plugin::{self as places, PluginPlaces},
    reader::Reader,
    resolve::plugin::{ALIAS, Plugins, Use, plugin, usual_cache},
    section::{Located, Section},
    source::{self, Place, Source, Table},
    tree::Tree,
};
use crate::plugin::{self, BuildError, BuildProblem, Limits};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A plugin by itself.
#[derive(Debug)]
pub struct Alone {
    /// It.
    pub plugin: plugin::Config,
    /// The tenant that it is told of.
    pub tenant: Arc<str>,
    /// The names that it may route to.
    pub routes: Vec<String>,
    places: PluginPlaces,
    sources: Vec<Source>,
    masks: Vec<Mask>,
}

/// Where a plugin's own table is.
#[derive(Debug, Clone)]
pub enum Written {
    /// Here: TOML, as it was given for an option of this name.
    Inline(&'static str, String),
    /// In a file that holds nothing else.
    File(PathBuf),
}

/// The folder for compiled plugins where no configuration names one.
pub fn plugin_cache(environment: &Environment) -> Option<PathBuf> {
    usual_cache(environment.variable)
}

/// The tenant of a plugin that has none.
const TENANT: &str = "local";

impl Alone {
    /// A component with its own table, if it has one.
    ///
    /// # Errors
    /// Every mistake in that table.
    pub fn new(
        name: &str,
        component: plugin::Source,
        tenant: Option<&str>,
        config: Option<&Written>,
        routes: Vec<String>,
        environment: &Environment,
    ) -> Result<Self, Diagnostics> {
        let mut reader = Reader::new(environment);
        let table = match config {
            None => Table::default(),
            Some(Written::Inline(option, text)) => {
                source::read_text(Path::new(option), text.clone(), &mut reader)
            }
            Some(Written::File(path)) => source::read_file(path, None, &mut reader).unwrap_or_default(),
        };
        let tree = Tree::read(&table, &Place { file: 0, start: 0, end: 0 }, &mut reader);
        let plugin = plugin::Config {
            name: name.into(),
            component,
            config: tree.json(),
            secrets: tree.secrets(),
            on_failure: None,
            limits: Limits::default(),
        };
        let is_written = config.is_some();
        let places = PluginPlaces {
            config: if is_written { tree.places() } else { Default::default() },
            plugin: None,
            component: None,
            used: None,
        };
        Self::of(reader, Some((plugin, places)), tenant.unwrap_or(TENANT).into(), routes)
    }

    /// What a `plugin.toml` says: the keys of `[plugin.NAME]`, and `tenant` and `routes`. The plugin goes
    /// by the name of the folder.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, Diagnostics> {
        let mut reader = Reader::new(environment);
        let folder =
            path.parent().and_then(|folder| Some(folder.canonicalize().ok()?.file_name()?.to_owned()));
        let name = folder.map_or_else(|| "plugin".to_owned(), |name| name.to_string_lossy().into_owned());
        let name = Located { value: name, place: None };
        let table = source::read_file(path, None, &mut reader).unwrap_or_default();
        let (plugin, tenant, routes) = Section::read_root(&table, &mut reader, |s| {
            const NAME: Text = Text { wanted: "a tenant's name" };
            let tenant = s.optional("tenant", "The tenant that the plugin is told of.", NAME);
            let routes = s.optional("routes", "The names that it may route to.", List(ALIAS));
            (plugin(s, &name), tenant, routes)
        });
        let resolved = Plugins::new(std::slice::from_ref(&plugin)).resolve(&Use::of(name));
        let tenant = tenant.map_or_else(|| TENANT.into(), |tenant| tenant.value.as_str().into());
        let routes = routes.into_iter().flat_map(|routes| routes.value).map(|route| route.value).collect();
        Self::of(reader, resolved, tenant, routes)
    }

    fn of(
        reader: Reader,
        resolved: Option<(plugin::Config, PluginPlaces)>,
        tenant: Arc<str>,
        routes: Vec<String>,
    ) -> Result<Self, Diagnostics> {
        let failed = reader.failed();
        let Reader { diagnostics, sources, masks, .. } = reader;
        match resolved.filter(|_| !failed) {
            Some((plugin, places)) => Ok(Self { plugin, tenant, routes, places, sources, masks }),
            None => Err(Diagnostics::new(diagnostics, &sources, &masks)),
        }
    }

    /// What is wrong with it, shown as any other mistake.
    pub fn locate(&self, problem: BuildProblem) -> Diagnostics {
        let mistake = BuildError { plugin: self.plugin.name.clone(), problem };
        let diagnostic = places::locate(&mistake, &self.tenant, Some(&self.places), true);
        Diagnostics::new(vec![diagnostic], &self.sources, &self.masks)
    }
}
