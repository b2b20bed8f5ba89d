//! The daemon as its operator and its clients see it: a real process, real HTTP, the real runtime.
//!
//! Each file is a capability, and reads like the manual's page on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod clients;
mod commands;
mod configuration;
mod frames;
#[allow(dead_code)]
mod harness;
mod models;
mod pictures;
mod runtime_library;
mod serving;
