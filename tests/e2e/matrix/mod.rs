//! Every way to send through Tollgate: each real sender, in each of its protocols, encodings and
//! compressions, to each kind of upstream. What arrives is what was meant, field by field.
//!
//! A cell is one of these ways. Its name stands in the resource of what is sent, so that it is found
//! wherever it comes out.

mod batch;
mod cell;
mod collector;
mod difference;
mod lab;
mod meant;

pub use self::difference::first_difference;

use self::{cell::Cell, collector::feed, lab::Lab, meant::Sender};
use crate::kit::{
    has,
    real::{on_path, peer, repository, run, said},
};
use serde_json::json;
use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

#[test]
fn what_python_sends_arrives() {
    let python = repository("target/clients/python/bin/python");
    if !has("target/clients/python (tests/clients/python/install)", python.exists()) {
        return;
    }
    let Some(lab) = start_lab() else { return };
    let cells = Cell::all("python", &["none", "gzip", "deflate"]);
    let mut command = Command::new(python);
    command.arg(repository("tests/clients/python/matrix.py"));
    send_by_sdk(&lab, &cells, command);
    lab.compare(Sender::Python, &cells);
}

#[test]
fn what_javascript_sends_arrives() {
    let packages = repository("target/clients/node");
    let there = packages.join("node_modules/.package-lock.json").exists();
    let Some(node) = on_path("node").filter(|_| there) else {
        has("node with target/clients/node (tests/clients/node/install)", false);
        return;
    };
    let Some(lab) = start_lab() else { return };
    let cells = Cell::all("node", &["none", "gzip"]);
    let mut command = Command::new(node);
    command.arg(repository("tests/clients/node/matrix.mjs")).arg(packages);
    send_by_sdk(&lab, &cells, command);
    lab.compare(Sender::Node, &cells);
}

#[test]
fn what_a_collector_sends_arrives() {
    let Some(lab) = start_lab() else { return };
    let cells = Cell::all("collector", &["none", "gzip", "zstd", "deflate"]);
    feed(&lab, &cells);
    lab.compare(Sender::Collector, &cells);
}

fn start_lab() -> Option<Lab> {
    let program: Option<PathBuf> = peer("otelcol");
    has("otelcol", program.is_some());
    Some(Lab::start(program?))
}

/// Runs a program that sends everything there is to send in each of these cells.
#[track_caller]
fn send_by_sdk(lab: &Lab, cells: &[Cell], mut command: Command) {
    let told = cells.iter().map(|cell| {
        json!({
            "name": cell.name(),
            "protocol": cell.protocol,
            "compression": cell.compression,
            "endpoint": lab.endpoint(cell),
            "authorization": cell.authorization(),
            "certificate": cell.tls().then(|| lab.authority()),
        })
    });
    let path = lab.folder().join("cells.json");
    fs::write(&path, json!(told.collect::<Vec<_>>()).to_string()).expect("writing the cells");
    // What would win over the certificates and endpoints that it is told.
    for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "grpc_proxy", "http_proxy", "https_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    let output = run(command.stdin(File::open(path).expect("opening the cells")));
    assert!(output.status.success(), "not everything was sent: {}", said(&output));
}
