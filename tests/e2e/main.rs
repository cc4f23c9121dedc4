//! Tollgate as its users meet it: the real binary, real sockets, real TLS.
//!
//! One scenario, one file. What a scenario needs is in [`kit`].

#![allow(clippy::panic, clippy::print_stderr, reason = "a test that cannot go on has failed, and says why")]

mod kit;

mod admin;
mod bans;
mod browser;
mod cli;
mod collector;
mod comparison;
mod curl;
mod differential;
mod examples;
mod failures;
mod grpc;
mod h2spec;
mod headers;
mod life;
mod limits;
mod logins;
mod loki;
mod matrix;
mod otlp;
mod plugins;
mod processors;
mod prometheus;
mod python;
mod records;
mod refusals;
mod reuse;
mod slow;
mod smuggling;
mod tls;
mod tools;
mod translation;
mod unix;
mod upstreams;
