//! Tollgate, the public door for OpenTelemetry data.
//!
//! A request's way is `pipeline`; each other module is a room that it passes, or one that serves
//! them: `config` makes every room's settings, `batched` saves HTTP/2 system calls on both sides,
//! `telemetry` names what an operator sees, `clock` is the time that limits go by.

pub mod admin;
pub mod admission;
mod batched;
pub mod client;
pub mod clock;
pub mod config;
pub mod exporter;
pub mod listener;
pub mod otlp;
pub mod pipeline;
pub mod plugin;
pub mod telemetry;
pub mod tenant;
pub mod tls;
