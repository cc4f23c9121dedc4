//! `builtin:relabel`: sets, removes, renames, copies, hashes and extracts attributes and fields.
//!
//! Every key is described in this plugin's README. What is here, from the outside in: the configuration as
//! it is written (`config`), made into a list of steps for each signal when an instance starts (`plan`), so
//! that a batch costs the calls to the host and nothing else. Two steps compute in the plugin, on whole
//! columns: bodies that are JSON (`json`) and severities (`severity`).

use tollgate_plugin::{Batch, Plugin, Registration, Result, Setup, Signal, Verdict};

use crate::config::Config;
use crate::plan::Plan;

mod config;
mod field;
mod json;
mod plan;
mod severity;
#[cfg(test)]
mod tests;

tollgate_plugin::export!(Relabel);

/// A plan for each signal, in the order of [`Signal::ALL`].
struct Relabel {
    plans: Vec<Plan>,
}

impl Plugin for Relabel {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<Relabel> {
        config.check()?;
        Ok(Relabel { plans: Signal::ALL.iter().map(|signal| Plan::new(&config, *signal)).collect() })
    }

    /// Only the signals in which there is something to do.
    fn registration(&self) -> Registration {
        let busy = Signal::ALL.iter().zip(&self.plans).filter(|(_, plan)| !plan.is_empty());
        Registration::default().signals(busy.map(|(signal, _)| *signal))
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        if let Some(plan) = self.plans.get(batch.signal() as usize) {
            plan.run(batch)?;
        }
        Ok(Verdict::Forward)
    }
}
