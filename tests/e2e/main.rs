//! Tollgate as its users meet it: the real binary, real sockets, real TLS.
//!
//! One scenario, one file. What a scenario needs is in [`kit`].

mod kit;

mod admin;
mod cli;
mod life;
mod otlp;
mod refusals;
mod tls;
mod unix;
mod upstreams;
