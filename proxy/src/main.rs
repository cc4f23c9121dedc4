//! The command line; the only printing; puts the rooms together.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the program speaks")]

mod cli;

use std::process::ExitCode;

/// Bodies of a megabyte come and go with every request; the system's allocator would give their
/// pages back each time and fault them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
