//! The command line to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_service::cli::main()
}
