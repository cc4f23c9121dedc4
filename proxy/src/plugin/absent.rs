//! In the place of `engine`, in a build without plugins: nothing can be loaded, so the rest is never there.

use super::{
    Builtin, Cause, CompileError, HostError, LoadError, LoadProblem, Registration, Settings, Source,
    document::Batch,
};
use crate::telemetry::metrics::PluginMetrics;
use std::{convert::Infallible, sync::Arc, time::Instant};

/// Loads nothing.
pub(super) struct Engine;

/// There is none.
#[derive(Debug, Clone)]
pub struct Component(Infallible);

pub(super) struct Instance(Infallible);

impl Engine {
    pub(super) fn new(_: &Settings) -> Result<Self, HostError> {
        Ok(Self)
    }

    pub(super) fn load(&self, source: &Source) -> Result<Component, LoadError> {
        Err(LoadError { source_name: source.to_string(), problem: LoadProblem::Absent })
    }

    pub(super) fn role(&self, _: &Arc<str>, _: &super::Config, _: PluginMetrics) -> Role {
        Role
    }

    pub(super) fn compile(&self, source: &Source) -> Result<(), CompileError> {
        self.load(source).map(drop).map_err(CompileError::from)
    }
}

/// A component's outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the contract that it was built for.
    pub contract: Option<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
}

/// Reads nothing.
///
/// # Errors
/// Always.
pub fn inspect(_: &[u8]) -> Result<Inspection, LoadProblem> {
    Err(LoadProblem::Absent)
}

impl Builtin {
    /// It has none.
    pub const fn bytes(self) -> &'static [u8] {
        &[]
    }
}

impl Component {
    pub(super) fn start(&self, _: &Arc<Role>, _: Until) -> Result<(Instance, Registration), Stopped> {
        match self.0 {}
    }
}

impl Instance {
    pub(super) fn process(&mut self, _: &mut Option<Batch>, _: Until) -> Result<Verdict, Stopped> {
        match self.0 {}
    }

    pub(super) fn speak(&mut self, _: bool) {
        match self.0 {}
    }

    pub(super) fn is_worn(&self) -> bool {
        match self.0 {}
    }
}

pub(super) struct Role;

#[allow(dead_code, reason = "nothing makes one")]
pub(super) enum Verdict {
    Forward,
    Reject(String),
}

#[allow(dead_code, reason = "nothing makes one")]
#[derive(Debug)]
pub(super) enum Stopped {
    Interrupted,
    Full,
    Mistaken { pointer: String, message: String },
    Malformed(String),
    Failed(Cause),
    Broken,
}

#[derive(Clone, Copy)]
pub(super) struct Until {
    has_slice: bool,
}

impl Until {
    pub(super) fn new(_: Instant, _: Instant, slice_end: Option<Instant>) -> Self {
        Self { has_slice: slice_end.is_some() }
    }

    pub(super) fn has_slice(&self) -> bool {
        self.has_slice
    }

    pub(super) fn is_interrupted(&self) -> bool {
        false
    }
}
