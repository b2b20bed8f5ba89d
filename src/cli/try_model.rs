//! `edge-service try-model`: the child process of [`crate::trial`], not for people.

use std::io::Read;
use std::process::ExitCode;

use super::say;
use crate::actors::model::load;
use crate::daemon;
use crate::engine::LoadError;
use crate::trial::{self, EXIT_MISSING, EXIT_PASSED, EXIT_UNUSABLE, Order, REASON};

/// The longest order that is read, in bytes.
const LONGEST_ORDER: u64 = 64 << 10;

/// Loads the model that standard input describes, warms it up, and tells by its exit code what came of it.
pub fn try_model() -> ExitCode {
    let mut text = String::new();
    let order: Result<Order, String> = match std::io::stdin().take(LONGEST_ORDER).read_to_string(&mut text) {
        Ok(_) => serde_json::from_str(&text).map_err(|error| format!("no order on standard input: {error}")),
        Err(error) => Err(error.to_string()),
    };
    let order = order.and_then(|order| match trial::restrain(&order) {
        Ok(()) => Ok(order),
        Err(error) => Err(format!("the trial cannot be limited: {error}")),
    });
    let runtime = match order {
        Ok(order) => {
            daemon::open_runtime(&order.model).map(|runtime| (order, runtime)).map_err(|error| error.to_string())
        }
        Err(error) => Err(error),
    };
    let (order, runtime) = match runtime {
        Ok(both) => both,
        Err(reason) => return end(daemon::EXIT_RUNTIME, &reason),
    };
    let loader = daemon::loader_without_trial(runtime, &order.model);
    match load::load(&order.model, "trial", &loader) {
        Ok(_) => ExitCode::from(EXIT_PASSED),
        Err(error @ LoadError::Missing { .. }) => end(EXIT_MISSING, error.reason()),
        Err(error @ LoadError::Unusable { .. }) => end(EXIT_UNUSABLE, error.reason()),
    }
}

fn end(code: u8, reason: &str) -> ExitCode {
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    say(&format!("{REASON}{line}"));
    ExitCode::from(code)
}
