//! No `Authorization` header makes its reader panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((user, secret)) = tollgate::tenant::fuzzing::read_basic(data) {
        assert!(!user.contains(&b':'), "the user name ends at the first colon");
        assert!(user.len() + secret.len() < data.len());
    }
});
