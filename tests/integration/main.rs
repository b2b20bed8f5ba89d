//! The daemon as its operator and its clients see it: a real process, real HTTP, the real runtime.
//!
//! Each file is a capability, and reads like the manual's page on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clients;
mod commands;
mod configuration;
#[allow(dead_code)]
mod harness;
mod models;
mod runtime_library;
mod serving;
