//! docs/comparison.md says what is so: a real Caddy and Tollgate, asked again.

use crate::kit::{
    has,
    real::{on_path, peer, repository, run, said},
};
use std::process::Command;

#[test]
fn the_comparison_with_caddy_is_true() {
    let missing: Vec<_> = ["caddy", "otelcol"].into_iter().filter(|name| peer(name).is_none()).collect();
    let there = missing.is_empty() && on_path("python3").is_some() && on_path("openssl").is_some();
    if !has(&format!("python3, openssl or a peer ({missing:?})"), there) {
        return;
    }
    let output = run(Command::new("python3").arg(repository("tests/comparison/run")).args([
        "--check",
        "--tollgate",
        env!("CARGO_BIN_EXE_tollgate"),
    ]));
    assert!(output.status.success(), "tests/comparison/run --write, if that is meant:\n{}", said(&output));
}
