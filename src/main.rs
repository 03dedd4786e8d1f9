//! The command line, nothing else.

use std::process::ExitCode;

// Why not the system's: docs/decisions/0006-allocator.md.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lookup_worker::cli::main()
}
