//! `src/bindings.rs` is what wit-bindgen makes of `wit/v0.1`.
//!
//! It is kept in the repository so that who writes a plugin need not compile a generator first.
//! `UPDATE_EXPECT=1 cargo test -p tollgate-plugin --test bindings` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

#[test]
fn the_bindings_are_those_of_the_contract() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = here.join("src/bindings.rs");
    let generated = generate(&here.join("../../wit/v0.1"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == generated,
        "src/bindings.rs is not what wit/v0.1 says: run the test with UPDATE_EXPECT=1"
    );
}

fn generate(contract: &Path) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(contract).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    let options = wit_bindgen_rust::Opts {
        format: true,
        pub_export_macro: true,
        generate_unused_types: true,
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        ..Default::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).unwrap();
    let (_, content) = files.iter().next().expect("one file");
    String::from_utf8(content.to_vec()).unwrap()
}
