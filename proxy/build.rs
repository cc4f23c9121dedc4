//! Builds the plugins that come with the program, for the program to hold.
//!
//! They are components of their own, built by a cargo within the outer one: in another target folder, since
//! two in one folder wait for each other, and without what the outer build sets for its own target.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const PLUGINS: [&str; 3] = ["relabel", "redact", "route"];
const TARGET: &str = "wasm32-wasip2";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_WASM").is_none() {
        return;
    }
    let house = PathBuf::from(required("CARGO_MANIFEST_DIR")).join("..");
    let out = PathBuf::from(required("OUT_DIR"));
    let workspace = house.join("plugins");
    for source in
        ["plugin-sdk/rust", "wit"].map(|source| house.join(source)).iter().chain(&sources(&workspace))
    {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let target = out.join("plugins");
    build(&workspace, &target);
    for plugin in PLUGINS {
        let built = target.join(TARGET).join("release").join(format!("{plugin}.wasm"));
        match fs::read(&built) {
            Ok(component) => write(&out.join(format!("{plugin}.wasm")), &component),
            Err(error) => fail(&format!("{} was not built: {error}", built.display())),
        }
    }
}

/// All of the workspace but what is built in it.
fn sources(workspace: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| !path.ends_with("target")).collect()
}

fn build(workspace: &Path, target: &Path) {
    let mut cargo = Command::new(required("CARGO"));
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(PLUGINS.iter().map(|plugin| format!("--package=tollgate-plugin-{plugin}")))
        .current_dir(workspace);
    // What the outer build says of its own target, its own wrappers and its own folder is not meant here.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        let is_outer = name_text.starts_with("CARGO_BUILD_")
            || name_text.starts_with("CARGO_TARGET_")
            || name_text.starts_with("CARGO_PROFILE_")
            || name_text.starts_with("CARGO_FEATURE_")
            || name_text.starts_with("CARGO_CFG_")
            || [
                "RUSTFLAGS",
                "CARGO_ENCODED_RUSTFLAGS",
                "RUSTC",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "RUSTC_LINKER",
                "TARGET",
                "MAKEFLAGS",
                "CARGO_MAKEFLAGS",
            ]
            .contains(&name_text.as_ref());
        if is_outer {
            cargo.env_remove(&name);
        }
    }
    cargo.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", "-C target-feature=+simd128");
    match cargo.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            if words.contains("can't find crate for `core`") || words.contains("can't find crate for `std`") {
                fail(&format!("the plugins need Rust's target {TARGET}: rustup target add {TARGET}"));
            }
            fail(&format!("the plugins do not build:\n{words}"));
        }
        Err(error) => fail(&format!("cargo does not start: {error}")),
    }
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("{name} is not set: run it by cargo")))
}

fn write(path: &Path, content: &[u8]) {
    if let Err(error) = fs::write(path, content) {
        fail(&format!("{}: {error}", path.display()));
    }
}

fn fail(why: &str) -> ! {
    for line in why.lines() {
        println!("cargo::error={line}");
    }
    exit(1)
}
