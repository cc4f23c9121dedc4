//! A component at work for a tenant: its start, its calls, its end.

use super::{
    Component,
    contract::{self, Otherwise},
    state::{Phase, Role, State, Stopped, Until},
};
use crate::{
    otlp::Signal,
    plugin::{
        Cause, FailureKind, Registration,
        document::{self, Batch},
    },
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use wasmtime::Store;

/// An instance, configured. It does one call at a time.
pub(in crate::plugin) struct Instance {
    store: Store<State>,
    plugin: contract::Plugin,
    calls: u32,
    /// What it had once it was configured.
    memory_bytes_begun: u64,
    /// What the metrics know of its memory.
    memory_bytes_shown: u64,
}

/// What is to become of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plugin) enum Verdict {
    /// It goes on.
    Forward,
    /// It is refused, in these words.
    Reject(String),
}

impl Component {
    /// Makes an instance and has it configured.
    pub(in crate::plugin) fn start(
        &self,
        role: &Arc<Role>,
        until: Until,
    ) -> Result<(Instance, Registration), Stopped> {
        let image = &self.0;
        let state = State::new(role.clone(), until, image.heartbeat.clone());
        let mut store = Store::new(image.pre.engine(), state);
        store.limiter(|state| &mut state.usage);
        store.epoch_deadline_callback(|store| store.data().tick());
        // What a guest hands over at once is copied: here is the limit on that, and on handles that it keeps.
        let handed_over = usize::try_from(role.limits.edit_bytes).unwrap_or(usize::MAX);
        store.set_hostcall_fuel(handed_over.max(HANDED_OVER_MIN));
        store.set_max_component_handles(HANDLES_MAX);
        let plugin = in_turn(&mut store, Phase::Start, until, |store| image.pre.instantiate(store))?;
        role.metrics().instances_made(1);
        let mut instance = Instance { store, plugin, calls: 0, memory_bytes_begun: 0, memory_bytes_shown: 0 };
        let registration = instance.configure(until)?;
        instance.memory_bytes_begun = instance.store.data().usage.memory_bytes;
        Ok((instance, registration))
    }
}

/// Bytes that a guest may hand over at once however few it may write: patterns, names, what it registers.
const HANDED_OVER_MIN: usize = 1 << 20;
/// What of WASI a guest may hold at once: its standard streams, and a few to wait for.
const HANDLES_MAX: usize = 1_000;

impl Instance {
    fn configure(&mut self, until: Until) -> Result<Registration, Stopped> {
        let role = self.store.data().role.clone();
        let setup = role.setup();
        let handler = self.plugin.tollgate_plugin_handler();
        let answer =
            in_turn(&mut self.store, Phase::Configure, until, |store| handler.call_configure(store, &setup));
        self.show_memory();
        let registration = answer?.map_err(|error| match error {
            contract::types::Error::BadConfig(mistake) => Stopped::Mistaken {
                pointer: role.words(&mistake.pointer),
                message: role.words(&mistake.message),
            },
            error => Stopped::Failed(failed(&role, &error)),
        })?;
        let state = self.store.data_mut();
        state.destinations.clone_from(&registration.destinations);
        state.is_read_only = registration.read_only;
        let signals = registration.signals.iter().map(|signal| match signal {
            contract::types::Signal::Logs => Signal::Logs,
            contract::types::Signal::Traces => Signal::Traces,
            contract::types::Signal::Metrics => Signal::Metrics,
        });
        Ok(Registration {
            signals: signals.collect(),
            refuses_others: registration.others == Otherwise::Refuse,
            destinations: registration.destinations,
            is_read_only: registration.read_only,
        })
    }

    /// Has it work on a batch. Where that does not come to an end, the instance is of no use any more, but
    /// for an error of the plugin's own; what was done to the batch is for the caller to undo.
    pub(in crate::plugin) fn process(
        &mut self,
        batch: &mut Option<Batch>,
        until: Until,
    ) -> Result<Verdict, Stopped> {
        self.calls += 1;
        let limits =
            document::Limits { bytes: self.store.data().role.limits.edit_bytes, deadline: until.first() };
        if let Some(batch) = batch {
            batch.begin(limits);
        }
        std::mem::swap(&mut self.store.data_mut().batch, batch);
        let handler = self.plugin.tollgate_plugin_handler();
        let answer = in_turn(&mut self.store, Phase::Process, until, |store| handler.call_process(store));
        std::mem::swap(&mut self.store.data_mut().batch, batch);
        self.show_memory();
        match answer? {
            Ok(contract::Verdict::Forward) => Ok(Verdict::Forward),
            Ok(contract::Verdict::Reject(text)) => {
                Ok(Verdict::Reject(self.store.data().role.words(text.trim())))
            }
            Err(error) => Err(Stopped::Failed(failed(&self.store.data().role, &error))),
        }
    }

    /// Lets go of what it logged and counted in a call; of one that is done again elsewhere, nothing is said.
    pub(in crate::plugin) fn speak(&mut self, counts: bool) {
        self.store.data_mut().speak(counts);
    }

    /// Whether it has done its time.
    pub(in crate::plugin) fn is_worn(&self) -> bool {
        let State { role, usage, .. } = self.store.data();
        self.calls >= role.limits.calls
            || usage.memory_bytes.saturating_sub(self.memory_bytes_begun) > role.limits.growth
    }

    fn show_memory(&mut self) {
        let State { role, usage, .. } = self.store.data();
        role.metrics().memory_changed(self.memory_bytes_shown, usage.memory_bytes);
        self.memory_bytes_shown = usage.memory_bytes;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let metrics = self.store.data().role.metrics();
        metrics.memory_changed(self.memory_bytes_shown, 0);
        metrics.instances_made(-1);
    }
}

fn failed(role: &Role, error: &contract::types::Error) -> Cause {
    let text = match error {
        contract::types::Error::BadConfig(mistake) => format!("{}: {}", mistake.pointer, mistake.message),
        contract::types::Error::BadArgument(text) | contract::types::Error::Failed(text) => text.clone(),
        contract::types::Error::Unsupported(text) => format!("unsupported: {text}"),
    };
    Cause::new(FailureKind::Error, role.words(&text))
}

/// One call of the guest: its time begins, and what it said is kept.
fn in_turn<T>(
    store: &mut Store<State>,
    phase: Phase,
    until: Until,
    call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, Stopped> {
    let state = store.data_mut();
    state.phase = phase;
    state.until = until;
    state.beat();
    // What was denied or complained of in an earlier call is not why this one ends.
    state.usage.forgive();
    state.said.forgive();
    store.set_epoch_deadline(until.ticks());
    // No function of the host panics, whatever the guest passes. Should one do so for a mistake of ours, it
    // costs this call: the batch may be half changed, and the instance is done with.
    let called = catch_unwind(AssertUnwindSafe(|| call(&mut *store)));
    let state = store.data_mut();
    state.phase = Phase::Start;
    let State { streams, said, .. } = state;
    streams.flush(said);
    let result = match called {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(state.stopped(&error)),
        Err(_panic) => Err(Stopped::Broken),
    };
    // Of a batch it is not known yet whether this is what became of it: see `Instance::speak`.
    if phase != Phase::Process {
        state.speak(!matches!(result, Err(Stopped::Interrupted)));
    }
    result
}
