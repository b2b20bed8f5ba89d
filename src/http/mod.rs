//! The way from a connection to a job and back: the only floor that knows JSON and status codes.
//!
//! | file | what it does |
//! |---|---|
//! | `server` | the server, its limits and its routes |
//! | `wrap` | what goes around every request: its id, and an answer even after a panic |
//! | `unread` | what is left of a body that nobody wants |
//! | `body` | a body, read into one aligned buffer within its limits |
//! | `connections` | closes those on which nothing happens any more |
//! | `compress` | answers in gzip or deflate |
//! | `ask` | a job to the model room and its answer, or the end of it |
//! | `infer`, `frames` | the protocol's inference, and pictures |
//! | `health`, `models`, `repository` | what is asked without a job |
//! | `status` | the daemon and its box: status, samples, alerts, the last requests |
//! | `qualification` | what was measured of the model's quantised form |
//! | `page` | the page at `/` and its files |
//! | `error` | the one map from what went wrong to what the client reads |

mod admin;
mod ask;
mod body;
mod compress;
mod connections;
mod error;
mod frames;
mod health;
#[cfg(feature = "test-hooks")]
mod hooks;
mod infer;
mod models;
pub mod page;
pub mod protocol;
mod qualification;
mod record;
mod repository;
mod server;
mod status;
mod unread;
mod wrap;

pub use server::server;
