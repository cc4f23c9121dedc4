//! The command line; the only printing; puts the rooms together.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the program speaks")]

mod cli;

use std::process::ExitCode;

/// Bodies of a megabyte come and go with every request; the system's allocator would give their
/// pages back each time and fault them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    take_small_pages();
    cli::main()
}

/// Keeps the kernel from backing memory by pages of 2 MiB, which the allocator asks for: a door holds
/// little and in many places (64 MiB more were resident at the start), and no request got cheaper.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: this option takes numbers only and touches no memory of ours. A kernel that does not
    // know it says so, and nothing is lost.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}
