//! Each tenant's plugins, built before the state that they are a part of: that may take seconds, and may
//! fail.

use super::{State, TenantConfig};
use crate::{
    plugin::{BuildError, BuildProblem, Cause, Chain, Config, FailureKind, Host},
    telemetry::Metrics,
};
use std::{collections::HashMap, sync::Arc};

/// The plugins of all tenants, as far as they could be had.
#[derive(Default)]
pub struct Plugins {
    by_tenant: HashMap<Arc<str>, TenantPlugins>,
    mistakes: Vec<(Arc<str>, BuildError)>,
}

/// The plugins of one tenant.
#[derive(Clone, Default)]
pub(super) enum TenantPlugins {
    /// It has none.
    #[default]
    None,
    /// They are ready.
    Ready(Chain),
    /// They cannot be had, so nothing of this tenant may pass.
    Missing,
}

impl Plugins {
    /// Loads and configures them; compiles what was not compiled before, which takes seconds: nobody may
    /// wait for this thread.
    pub fn build(host: &Host, tenants: &[TenantConfig], metrics: &Metrics) -> Self {
        let mut plugins = Self::default();
        let mut given_up = GivenUp::default();
        for tenant in tenants.iter().filter(|tenant| !tenant.plugins.is_empty()) {
            let built = match given_up.for_tenant(tenant) {
                Some(mistake) => Err(vec![mistake]),
                None => {
                    let routes: Vec<&str> = tenant.routes.iter().map(|(alias, _)| &**alias).collect();
                    Chain::build(host, &tenant.name, &tenant.plugins, &routes, metrics)
                }
            };
            let chain = match built {
                Ok(chain) => TenantPlugins::Ready(chain),
                Err(mistakes) => {
                    given_up.note(tenant, &mistakes);
                    let mistakes = mistakes.into_iter().map(|mistake| (tenant.name.clone(), mistake));
                    plugins.mistakes.extend(mistakes);
                    TenantPlugins::Missing
                }
            };
            plugins.by_tenant.insert(tenant.name.clone(), chain);
        }
        plugins
    }

    /// What went wrong, and for whom.
    pub fn mistakes(&self) -> &[(Arc<str>, BuildError)] {
        &self.mistakes
    }

    /// Whether a configuration with them may be used. Only components that do not load may be missing,
    /// only where that stops nobody who is served now, and not at all where one is `strict`.
    pub fn may_serve(&self, now: Option<&State>, strict: bool) -> bool {
        self.mistakes.iter().all(|(tenant, mistake)| match mistake.problem {
            _ if strict => false,
            BuildProblem::Config { .. } | BuildProblem::Destination { .. } => false,
            BuildProblem::Load(_) | BuildProblem::Start(_) | BuildProblem::Full => {
                !now.and_then(|now| now.tenant(tenant)).is_some_and(|tenant| tenant.is_served())
            }
        })
    }

    pub(super) fn of(&self, tenant: &str) -> TenantPlugins {
        self.by_tenant.get(tenant).cloned().unwrap_or_default()
    }
}

/// Plugins that did not start in time. That takes seconds, and everybody waits for them: a tenant that has
/// one with the same to do has the same answer at once.
#[derive(Default)]
struct GivenUp<'t>(Vec<(&'t Config, Cause)>);

impl<'t> GivenUp<'t> {
    fn note(&mut self, tenant: &'t TenantConfig, mistakes: &[BuildError]) {
        for BuildError { plugin, problem } in mistakes {
            let config = tenant.plugins.iter().find(|config| config.name == *plugin);
            if let (BuildProblem::Start(cause), Some(config)) = (problem, config)
                && cause.kind == FailureKind::Time
            {
                self.0.push((config, cause.clone()));
            }
        }
    }

    fn for_tenant(&self, tenant: &TenantConfig) -> Option<BuildError> {
        tenant.plugins.iter().find_map(|config| {
            let (_, cause) = self.0.iter().find(|(other, _)| other.is_same_as(config))?;
            Some(BuildError { plugin: config.name.clone(), problem: BuildProblem::Start(cause.clone()) })
        })
    }
}
