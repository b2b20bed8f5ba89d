//! The command line to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // ONNX Runtime prepares to report its use when it is opened, before its interface can tell it not to.
    // SAFETY: no other thread runs yet, which might read the environment meanwhile.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    edge_service::cli::main()
}
