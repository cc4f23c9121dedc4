//! The plugin of docs/plugins.md is `plugins/examples/rust-first`, which is built and tested.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

#[test]
fn the_page_shows_what_is_built() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(house.join("docs/plugins.md")).unwrap();
    let (_, code) = page.split_once("```rust\n// src/lib.rs\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    assert_eq!(code, fs::read_to_string(house.join("plugins/examples/rust-first/src/lib.rs")).unwrap());
}
