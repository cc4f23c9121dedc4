//! What plugins say of their configuration → the places in the files that it is written in.

use super::{
    Loaded,
    diagnostic::{Diagnostic, Diagnostics},
    section::unknown,
    source::Place,
};
use crate::plugin::{BuildError, BuildProblem, DEFAULT_DESTINATION};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Where the plugins of tenants are written, by the names of both.
pub type Places = HashMap<(Arc<str>, Arc<str>), PluginPlaces>;

/// Where a plugin is written, as one tenant uses it.
#[derive(Debug)]
pub struct PluginPlaces {
    /// Everything in its own table, by its JSON pointer.
    pub config: BTreeMap<String, Place>,
    /// Its name in `[plugin.NAME]`.
    pub plugin: Option<Place>,
    /// Its component.
    pub component: Option<Place>,
    /// Its name in the tenant's list.
    pub used: Option<Place>,
}

impl Loaded {
    /// What building the plugins of tenants brought up, shown as any other mistake: each with the
    /// tenant's name. A component that does not load is a warning, unless it is to stop a start.
    pub fn locate(&self, mistakes: &[(Arc<str>, BuildError)], strict: bool) -> Diagnostics {
        let located = mistakes.iter().map(|(tenant, mistake)| self.locate_one(tenant, mistake, strict));
        Diagnostics::new(located.collect(), &self.sources, &self.masks)
    }

    fn locate_one(&self, tenant: &Arc<str>, mistake: &BuildError, strict: bool) -> Diagnostic {
        let plugin = &mistake.plugin;
        let places = self.places.get(&(tenant.clone(), plugin.clone()));
        locate(mistake, tenant, places, strict)
    }
}

/// What is wrong with a tenant's plugin, at the place where that is written.
pub(super) fn locate(
    mistake: &BuildError,
    tenant: &str,
    places: Option<&PluginPlaces>,
    strict: bool,
) -> Diagnostic {
    let plugin = &mistake.plugin;
    let used = places.and_then(|places| places.used.as_ref());
    let by = format!("used by tenant `{tenant}`");
    match &mistake.problem {
        BuildProblem::Config { pointer, message } => {
            let diagnostic = Diagnostic::error(format!("plugin `{plugin}` cannot use its configuration"));
            match places.and_then(|places| places.of(pointer)) {
                Some(place) => diagnostic.at(place, message).also(used, by),
                None => diagnostic.note(message).also(used, by),
            }
        }
        BuildProblem::Destination { name, known } => {
            let known: Vec<&str> = known.iter().map(String::as_str).chain([DEFAULT_DESTINATION]).collect();
            let title = format!("unknown destination `{name}` of plugin `{plugin}`");
            unknown(name, used, "destination", &known)
                .titled(title)
                .note(format!("it is no name in the `routes` of tenant `{tenant}`"))
        }
        problem @ (BuildProblem::Load(_) | BuildProblem::Start(_) | BuildProblem::Full) => {
            let title = format!("plugin `{plugin}` does not load");
            let diagnostic = match strict {
                true => Diagnostic::error(title),
                false => Diagnostic::warning(title).help(format!(
                    "until it does, all that tenant `{tenant}` sends is refused for now (503); with `--strict` this is \
                     an error"
                )),
            };
            let component = places.and_then(|places| places.component.as_ref());
            diagnostic.at(component, "").also(used, by).note(problem.to_string())
        }
    }
}

impl PluginPlaces {
    /// The place of a JSON pointer into the plugin's table; else of the nearest thing around it, at last
    /// of the plugin itself.
    fn of(&self, pointer: &str) -> Option<&Place> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.config.get(pointer) {
                return Some(place);
            }
            let Some((outer, _)) = pointer.rsplit_once('/') else { return self.plugin.as_ref() };
            pointer = outer;
        }
    }
}
