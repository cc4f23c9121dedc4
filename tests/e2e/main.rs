//! Tollgate as its users meet it: the real binary, real sockets, real TLS.
//!
//! One scenario, one file. What a scenario needs is in [`kit`].

mod kit;

mod bans;
mod collector;
mod comparison;
mod curl;
mod examples;
mod h2spec;
mod otlp;
mod python;
mod refusals;
mod reuse;
mod tls;
mod unix;
mod upstreams;
