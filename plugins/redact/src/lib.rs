//! `builtin:redact`: takes personal data and credentials out of telemetry, wherever they stand.
//!
//! Every key and every pattern is described in this plugin's README. The host looks into the texts; what is
//! here says for what, and what becomes of it: the configuration as it is written (`config`), the patterns
//! that are built in (`builtin`), and both made into the calls of a batch when an instance starts (`plan`).

use tollgate_plugin::{Batch, Otherwise, Plugin, Registration, Result, Setup, Signal, Verdict};

use crate::config::Config;
use crate::plan::Plan;

mod builtin;
mod config;
mod plan;
#[cfg(test)]
mod tests;

tollgate_plugin::export!(Redact);

struct Redact {
    /// Those that are looked into.
    signals: Vec<Signal>,
    plan: Plan,
}

impl Plugin for Redact {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<Redact> {
        Ok(Redact { plan: Plan::new(&config)?, signals: config.signals })
    }

    /// A signal that nobody can look into is refused: letting it pass would look as if it had been redacted.
    fn registration(&self) -> Registration {
        Registration { others: Otherwise::Refuse, ..Registration::default() }
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        if self.signals.contains(&batch.signal()) {
            self.plan.run(batch)?;
        }
        Ok(Verdict::Forward)
    }
}
