//! The daemon as its operator and its clients see it: a real process, real HTTP, the real runtime.
//!
//! Each file is a capability, and reads like the manual's page on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admission;
mod canary;
mod clients;
mod commands;
mod configuration;
mod deadlines;
#[allow(dead_code)]
mod harness;
mod models;
mod rooms;
mod runtime_library;
mod serving;
mod stopping;
#[allow(dead_code)]
mod under_way;
