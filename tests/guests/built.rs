//! The guests that tests need, built once and kept with what else the tests build. Part of each test program
//! that needs them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The guest that misbehaves: it does what `do` in its configuration says.
pub static MISBEHAVING: LazyLock<PathBuf> = LazyLock::new(|| {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = house.join("target/guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--quiet", "--target", "wasm32-wasip2"]);
    cargo.current_dir(house.join("tests/guests/misbehave")).env("CARGO_TARGET_DIR", &target);
    for outer in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(outer);
    }
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/release/misbehave.wasm")
});
