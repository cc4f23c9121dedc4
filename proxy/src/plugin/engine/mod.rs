//! Everything that knows WebAssembly.
//!
//! ```text
//! inspect   what a component says of itself, before anything of it is compiled
//! cache     compiled components on disk
//! instance  a component at work for a tenant: its start, its calls, its end
//! patterns  compiled patterns, which all tenants share
//! state     what an instance has on the host's side, and its limits
//! contract  the functions that it may call, in the words of the document
//! wasi      what its language's library expects: there, and empty
//! ticker    the clock by which guests are stopped
//! ```

mod cache;
mod contract;
mod inspect;
mod instance;
mod patterns;
mod state;
mod ticker;
mod wasi;

pub use inspect::{Inspection, inspect};
pub(super) use instance::{Instance, Verdict};
pub(super) use state::{Role, Stopped, Until};

use super::{
    CompileError, Config as PluginConfig, HostError, Limits, LoadError, LoadProblem, Settings, Source,
};
use crate::telemetry::{events, metrics::PluginMetrics};
use cache::{Cache, Digest};
use parking_lot::Mutex;
use patterns::Patterns;
use state::State;
use std::{collections::HashMap, io, sync::Arc};
use ticker::{Heartbeat, Ticker};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{Component as Compiled, Linker},
};

/// The compiler, the memory of all instances and the clock by which they are stopped.
pub(super) struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
    /// By content, while somebody uses them.
    loaded: Mutex<HashMap<Digest, std::sync::Weak<Image>>>,
    patterns: Arc<Patterns>,
    ticker: Ticker,
}

/// A component that was loaded. Cheap to clone; all instances share the code and what of the memory they
/// do not write to.
#[derive(Clone)]
pub struct Component(Arc<Image>);

struct Image {
    pre: contract::PluginPre<State>,
    heartbeat: Heartbeat,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn new(settings: &Settings) -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError(format!("{error:#}"));
        let engine = allocate(settings).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        contract::add_to_linker(&mut linker).map_err(failed)?;
        let cache = settings.cache.as_deref().map(|folder| Cache::new(folder, &engine));
        let counted = engine.clone();
        let ticker =
            Ticker::start(move || counted.increment_epoch()).map_err(|error| HostError(error.to_string()))?;
        Ok(Self { engine, linker, cache, loaded: Mutex::default(), patterns: Arc::default(), ticker })
    }

    pub(super) fn load(&self, source: &Source) -> Result<Component, LoadError> {
        let bytes = source.bytes().map_err(LoadProblem::from);
        let loaded = bytes.and_then(|bytes| self.load_bytes(&bytes));
        loaded.map_err(|problem| LoadError { source_name: source.to_string(), problem })
    }

    /// What a tenant's instances of a plugin share.
    pub(super) fn role(&self, tenant: &Arc<str>, plugin: &PluginConfig, metrics: PluginMetrics) -> Role {
        Role::new(tenant, plugin, self.patterns.clone(), metrics)
    }

    /// Loads a component, if only to have it in the cache.
    pub(super) fn compile(&self, source: &Source) -> Result<(), CompileError> {
        let bytes = source.bytes().map_err(LoadProblem::from);
        let made = bytes.and_then(|bytes| self.make(&cache::digest_of(&bytes), &bytes));
        let (_, kept) = made.map_err(|problem| LoadError { source_name: source.to_string(), problem })?;
        kept.map_err(|error| CompileError::Unkept { source_name: source.to_string(), error })
    }

    fn load_bytes(&self, bytes: &[u8]) -> Result<Component, LoadProblem> {
        let digest = cache::digest_of(bytes);
        if let Some(image) = self.loaded.lock().get(&digest).and_then(std::sync::Weak::upgrade) {
            return Ok(Component(image));
        }
        let (image, kept) = self.make(&digest, bytes)?;
        if let (Some(cache), Err(error)) = (&self.cache, kept) {
            cache.unkept(&error);
        }
        let image = Arc::new(image);
        let mut loaded = self.loaded.lock();
        loaded.retain(|_, image| image.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&image));
        Ok(Component(image))
    }

    /// What is loaded of a component, and whether the cache has it from now on.
    fn make(&self, digest: &Digest, bytes: &[u8]) -> Result<(Image, io::Result<()>), LoadProblem> {
        inspect::check(bytes)?;
        if let Some(compiled) = self.load_kept(digest) {
            return Ok((self.link(&compiled)?, Ok(())));
        }
        let failed = |error: wasmtime::Error| LoadProblem::Compile(format!("{error:#}"));
        let compiled = Compiled::from_binary(&self.engine, bytes).map_err(|error| {
            let is_forbidden = format!("{error:#}").contains("make memory executable");
            if is_forbidden { LoadProblem::Forbidden } else { failed(error) }
        })?;
        let kept = match &self.cache {
            Some(cache) => cache.keep(digest, &compiled.serialize().map_err(failed)?),
            None => Err(io::Error::other("there is no folder for it")),
        };
        Ok((self.link(&compiled)?, kept))
    }

    fn load_kept(&self, digest: &Digest) -> Option<Compiled> {
        let cache = self.cache.as_ref()?;
        let code = cache.load(digest)?;
        // SAFETY: the code is what `make` made of this component with this engine, as the cache's key
        // says, and nobody else could write it: see `cache`.
        let compiled = unsafe { Compiled::deserialize(&self.engine, code) };
        compiled.inspect_err(|error| cache.unused(error)).ok()
    }

    fn link(&self, compiled: &Compiled) -> Result<Image, LoadProblem> {
        let failed = |error: wasmtime::Error| LoadProblem::Compile(format!("{error:#}"));
        let mut linker = self.linker.clone();
        wasi::define(&mut linker, compiled).map_err(failed)?;
        let pre = linker.instantiate_pre(compiled).and_then(contract::PluginPre::new).map_err(failed)?;
        Ok(Image { pre, heartbeat: self.ticker.heartbeat() })
    }
}

/// An engine whose instances have their memory from a pool: 5 µs rather than 15 for one that comes and goes.
///
/// Every memory has 4 GiB of address space, so that the code needs no check of its bounds. Where the system
/// does not give that much (a limit on address space, a processor with 39 bits of it), memories are mapped
/// as they are needed.
fn allocate(settings: &Settings) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // Calls cost a third of what they do with it, and the contract has nothing that waits.
    config.concurrency_support(false);
    let mut pool = PoolingAllocationConfig::new();
    let instances = settings.instances.max(1);
    pool.total_component_instances(instances)
        // Of Rust one has 3 or 4 within, one memory and one or two tables; of JavaScript, 3 memories.
        .total_core_instances(instances.saturating_mul(8))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(4))
        .max_core_instances_per_component(100)
        .max_memories_per_component(16)
        .max_tables_per_component(64)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_memory_size(4 << 30)
        .table_elements(Limits::TABLE_ELEMENTS_MAX as usize);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        // What an instance wrote is set back in place, and the next one finds its pages there. Without
        // this call of the kernel (Linux 6.7) keeping pages costs more than it saves.
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(256 << 10).table_keep_resident(16 << 10);
    }
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    wasmtime::Engine::new(&config).or_else(|error| {
        events::plugin_pool_unavailable(&error);
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(16 << 20);
        wasmtime::Engine::new(&config)
    })
}

impl super::Builtin {
    /// The component, as it was built with the program.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            super::Builtin::Relabel => include_bytes!(concat!(env!("OUT_DIR"), "/relabel.wasm")),
            super::Builtin::Redact => include_bytes!(concat!(env!("OUT_DIR"), "/redact.wasm")),
            super::Builtin::Route => include_bytes!(concat!(env!("OUT_DIR"), "/route.wasm")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Builtin, tests::Lines};

    #[test]
    fn what_was_kept_and_does_not_load_is_compiled_again_and_said() {
        let folder = std::env::temp_dir().join(format!("tollgate-engine-cache-{}", std::process::id()));
        let settings = Settings { cache: Some(folder.clone()), instances: 1, ..Settings::default() };
        let source = Source::Builtin(Builtin::Route);
        let engine = Engine::new(&settings).unwrap();
        let digest = cache::digest_of(Builtin::Route.bytes());
        engine.cache.as_ref().unwrap().keep(&digest, b"whole, and no code").unwrap();
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            // With one subscriber only, whether an event is wanted is asked of the thread that first meets it.
            let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
            engine.load(&source).unwrap();
        });
        assert!(lines.text().contains("a compiled plugin is not used"), "{}", lines.text());
        assert!(engine.load_kept(&digest).is_some(), "it is kept again");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
