//! What a plugin is.

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::exports::tollgate::plugin::handler::{Otherwise, Registration, Verdict};
use crate::{Batch, Result, Signal};

/// A plugin: it is configured once, and then handles batch after batch.
///
/// One value lives in each instance, and an instance handles one batch at a time. It may live for many
/// batches or for one: what it remembers may speed it up, and never changes what it does.
pub trait Plugin: Sized + 'static {
    /// The plugin's table `config` in Tollgate's configuration. Give it `#[serde(deny_unknown_fields)]`, so
    /// that a misspelt key is found, and use [`Pattern`](crate::Pattern), [`HashKey`](crate::HashKey),
    /// [`Target`](crate::Target) and [`Value`](crate::Value) in it. Without anything to configure it is
    /// [`NoConfig`].
    type Config: DeserializeOwned;

    /// Takes the configuration and prepares everything that can be prepared: nothing here is counted against
    /// a batch. It may take ten times as long as a call.
    ///
    /// [`Error::config`](crate::Error::config) names the place of a mistake and stops Tollgate's start, as does
    /// what serde finds; [`Error::at`](crate::Error::at) makes such an error of one that the host gave. Any
    /// other error stops it only with `--strict`: else there is a warning, and the tenant's senders get 503.
    fn configure(config: Self::Config, setup: &Setup) -> Result<Self>;

    /// What the plugin wants to see, and where it may route to. By default it sees every signal and routes
    /// nowhere.
    fn registration(&self) -> Registration {
        Registration::default()
    }

    /// Handles a batch. An error undoes what was done to the batch, and `on_failure` in Tollgate's
    /// configuration says whether it is refused, to be sent again, or goes on without this plugin. To refuse
    /// a batch for what is in it, answer [`Verdict::Reject`].
    fn process(&mut self, batch: &mut Batch) -> Result<Verdict>;
}

/// Where an instance works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setup {
    /// The tenant's name.
    pub tenant: String,
    /// The plugin's name in the configuration.
    pub plugin: String,
}

/// The configuration of a plugin that has none: every key in it is a mistake.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl Default for Registration {
    fn default() -> Registration {
        Registration {
            signals: vec![Signal::Logs, Signal::Traces, Signal::Metrics],
            others: Otherwise::Pass,
            destinations: Vec::new(),
            read_only: false,
        }
    }
}

impl Registration {
    /// The same for these signals only. The others pass by.
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Registration {
        self.signals = signals.into_iter().collect();
        self
    }

    /// The same with these destinations to route to. One that a tenant does not have in its `routes` stops
    /// Tollgate's start. `default`, the tenant's own upstream, need not be named.
    pub fn destinations<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Registration {
        self.destinations = names.into_iter().map(Into::into).collect();
        self
    }
}
