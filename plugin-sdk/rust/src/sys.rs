//! The functions of the contract, wherever the plugin runs: in a host as a component, or natively over the
//! test kit's own batch.

pub(crate) use crate::bindings::tollgate::plugin::types;
#[cfg(any(target_family = "wasm", not(feature = "test")))]
pub(crate) use crate::bindings::tollgate::plugin::{batch, host};
#[cfg(all(not(target_family = "wasm"), feature = "test"))]
pub(crate) use crate::test::contract::{batch, host};
