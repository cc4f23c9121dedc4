//! No configuration makes the reader panic, and each mistake can be printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{ffi::OsString, fs, time::SystemTime};
use tollgate::config::{Environment, load};

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("tollgate-fuzz-{}.toml", std::process::id()));
    fs::write(&path, data).expect("a temporary file");
    let variable = |name: &str| (name == "HOME").then(|| OsString::from("/nowhere"));
    let environment = Environment { variable: &variable, now: SystemTime::UNIX_EPOCH };
    match load(&[path], &environment) {
        Ok(loaded) => drop(loaded.warnings.render(false)),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "a refusal says why");
            drop(mistakes.render(true));
        }
    }
});
