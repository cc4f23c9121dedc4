//! Write plugins for Tollgate in Rust.
//!
//! A plugin is a WebAssembly component that Tollgate runs over batches of OpenTelemetry data: it changes,
//! redacts, discards and routes them. This crate makes one out of a type and a trait:
//!
//! ```
//! use serde::Deserialize;
//! use tollgate_plugin::{Batch, Plugin, Result, Setup, Verdict};
//!
//! tollgate_plugin::export!(Mark);
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     mark: String,
//! }
//!
//! struct Mark(String);
//!
//! impl Plugin for Mark {
//!     type Config = Config;
//!
//!     fn configure(config: Config, _: &Setup) -> Result<Mark> {
//!         Ok(Mark(config.mark))
//!     }
//!
//!     fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
//!         batch.records().set("processed_by", &self.0)?;
//!         Ok(Verdict::Forward)
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component, and `docs/plugins.md` leads from an empty
//! folder to a running plugin.
//!
//! # The batch
//!
//! It stays with the host, as the bytes that came. A plugin sees it as tables: the rows of one of seven levels
//! ([`resources`](Batch::resources), [`scopes`](Batch::scopes), [`metrics`](Batch::metrics),
//! [`records`](Batch::records), [`events`](Batch::events), [`links`](Batch::links),
//! [`exemplars`](Batch::exemplars)). A *record* is a log record, a span or a data point. What a row has are
//! attributes, by their keys, and fields by OTLP's definition: [`Field`].
//!
//! There are four ways to work on it, from the cheapest to the dearest. Begin with the first, and go on where
//! it does not do what you want; they mix freely, since every call sees what those before it did.
//!
//! **Operators**: the host does the work on many rows in one call.
//!
//! ```
//! # use tollgate_plugin::{Batch, Column, Level, Pattern, Redaction, Result, Rows, Selection};
//! # fn process(batch: &Batch, email: Pattern) -> Result<()> {
//! let records = batch.records();
//! records.set("processed_by", "tollgate")?;
//! records.rename("userid", "user.id")?;
//! records.attribute("service").copy_from(&Column::attribute(Level::Resource, "service.name"))?;
//!
//! let noise = records.attribute("path").equal_to("/healthz")?;
//! records.rows(&noise).discard()?;
//!
//! let errors = records.attribute("level").equal_to("error")?;
//! records.rows(&errors).route(["default", "archive"])?;
//!
//! batch.redact(&[Redaction::mask(email, "[email]")], &Selection::everything())?;
//! # Ok(())
//! # }
//! ```
//!
//! **Columns**: one call reads all cells of a target, and one writes them back.
//!
//! ```
//! # use tollgate_plugin::{Batch, Result, info};
//! # fn process(batch: &Batch) -> Result<()> {
//! let urls = batch.records().attribute("url").texts()?;
//! for (row, url) in &urls {
//!     if url.len() > 8000 {
//!         info!("row {row} has a long URL");
//!     }
//! }
//! let paths = urls.cells().map(|url| url.and_then(|url| url.split('?').next()));
//! batch.records().attribute("path").write_texts(paths)?;
//! # Ok(())
//! # }
//! ```
//!
//! **Cells**: each is a call, for odd work on few rows.
//!
//! ```
//! # use tollgate_plugin::{Batch, Field, Result};
//! # fn process(batch: &Batch) -> Result<()> {
//! let span = batch.records().row(0);
//! if span.get("peer")?.is_none() {
//!     span.set("peer", "unknown")?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **The whole**: [`to_otlp`](Batch::to_otlp) and [`replace`](Batch::replace) give and take the request in
//! protobuf.
//!
//! # Configuration
//!
//! [`Plugin::Config`] is any type that serde can read; what stands in `config` in Tollgate's file becomes one. A
//! mistake stops Tollgate's start and is shown at its place. Some types of this crate read themselves:
//! [`Pattern`], which is compiled on the way, [`HashKey`], [`Value`], [`Level`], [`Signal`], [`Field`], and
//! [`Target`], where `"user.id"` is an attribute and `"@body"` a field.
//!
//! # What costs time
//!
//! A call to the host costs some tenths of a microsecond. Prepare in
//! [`configure`](Plugin::configure) what can be: patterns must be, and a [`Column`] and a [`Value`] that were made
//! there are given to [`Batch::column`] without being copied.
//!
//! # Errors, logs, counters
//!
//! The host refuses what cannot be, such as an unknown field, with an [`Error`]; the batch is as it was before
//! that call. An error that leaves `process` undoes all that the plugin did to the batch. [`info!`] and its
//! siblings write to Tollgate's log, [`count`] adds to a metric. A panic is logged and ends the instance.
//!
//! # Tests
//!
//! With the feature `test`, the module `test` runs a plugin natively in `cargo test`.

pub use batch::{Batch, Capture, Cells, DEFAULT_DESTINATION, Extracted, Row, Table, Test};
pub use bindings::tollgate::plugin::types::Check;
pub use cells::{Bytes, Doubles, Ints, Numbers, Texts, Values};
pub use error::{ConfigMistake, Error, Result};
pub use host::{HashKey, Pattern, Severity, count, escape, log, now_unix_nano};
pub use place::{Column, Field, Level, ParentsAt, Rows, Signal, Target};
pub use plugin::{NoConfig, Otherwise, Plugin, Registration, Setup, Verdict};
pub use redact::{Action, Places, Redaction, Selection};
pub use value::{KeyValue, ToValue, Value};

mod batch;
#[doc(hidden)]
#[allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "generated")]
pub mod bindings;
mod cells;
#[doc(hidden)]
pub mod component;
mod config;
mod error;
mod host;
mod place;
mod plugin;
mod redact;
mod sys;
#[cfg(all(not(target_family = "wasm"), feature = "test"))]
pub mod test;
mod value;

/// Makes a component of a [`Plugin`]: once in a crate, whose `crate-type` is `cdylib`. Natively it does
/// nothing.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            impl $crate::component::Guest for Component {
                fn configure(setup: $crate::component::Setup) -> $crate::Result<$crate::Registration> {
                    PLUGIN.with(|plugin| $crate::component::configure(plugin, setup))
                }

                fn process() -> $crate::Result<$crate::Verdict> {
                    PLUGIN.with(|plugin| $crate::component::process(plugin))
                }
            }

    $crate::component::export_component!(Component with_types_in $crate::component::bindings);
        };

        #[cfg(not(target_family = "wasm"))]
        const _: () = $crate::component::check::<$plugin>();
    };
}
