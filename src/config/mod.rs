//! Configuration: types and defaults, where they come from, and all that is wrong with them at once.
//!
//! A setting comes from the lowest of these layers that names it last: the defaults, the TOML file, the two variables
//! with the older names, the `EDGE_SERVICE__SECTION__KEY` variables, the command line. [`load`] reads them all and
//! answers either a [`Config`] that [`check`] has nothing against, or every problem with the place where it is.

mod access;
mod check;
mod check_watch;
mod diff;
mod layers;
mod load;
mod problem;
mod schema;
mod types;
mod variant;
mod watch;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use check::{check, model_name};
pub use diff::{Change, diff};
pub use load::{DEFAULT_FILE, Environment, Loaded, Overrides, Survey, captured_environment, load, load_from, survey};
pub use problem::{ConfigErrors, ConfigProblem, Place, ProblemKind};
pub use types::{Config, LogConfig, LogFormat, ModelConfig, ServerConfig};
pub use variant::{QualifyConfig, RollbackConfig};
pub use watch::{AlertsConfig, MonitorConfig, RecorderConfig, RuleConfig, RulesConfig, WebhookConfig};
