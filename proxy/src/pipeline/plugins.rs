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
        // A start may take seconds before it is given up, and everybody waits for it: once is enough.
        let mut given_up: Vec<(&Config, Cause)> = Vec::new();
        for tenant in tenants.iter().filter(|tenant| !tenant.plugins.is_empty()) {
            let known = tenant.plugins.iter().find_map(|config| {
                let (_, cause) = given_up.iter().find(|(other, _)| other.is_same_as(config))?;
                let problem = BuildProblem::Start(cause.clone());
                Some(vec![BuildError { plugin: config.name.clone(), problem }])
            });
            let built = match known {
                Some(mistakes) => Err(mistakes),
                None => {
                    let routes: Vec<&str> = tenant.routes.iter().map(|(alias, _)| &**alias).collect();
                    Chain::build(host, &tenant.name, &tenant.plugins, &routes, metrics)
                }
            };
            let chain = match built {
                Ok(chain) => TenantPlugins::Ready(chain),
                Err(mistakes) => {
                    for mistake in mistakes {
                        if let BuildProblem::Start(cause) = &mistake.problem
                            && cause.kind == FailureKind::Time
                            && let Some(config) =
                                tenant.plugins.iter().find(|config| config.name == mistake.plugin)
                        {
                            given_up.push((config, cause.clone()));
                        }
                        plugins.mistakes.push((tenant.name.clone(), mistake));
                    }
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
