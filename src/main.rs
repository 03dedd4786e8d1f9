//! The command line, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    lookup_worker::cli::main()
}
