//! The daemon as its operator and its clients see it: a real process, real HTTP, the real runtime.
//!
//! Each file is a capability, and reads like the manual's page on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod acting;
mod admission;
mod canary;
mod clients;
mod commands;
mod configuration;
mod deadlines;
mod fake_box;
mod frames;
#[allow(dead_code)]
mod harness;
mod models;
mod notify;
mod other_models;
mod pictures;
mod protocol_answers;
mod protocol_binary;
mod protocol_bodies;
mod protocol_clients;
mod protocol_coverage;
mod protocol_extensions;
mod protocol_metadata;
mod protocol_paths;
mod protocol_repository;
mod protocol_requests;
mod qualifying;
mod quantize_command;
mod quantize_places;
mod quantized_files;
mod quantizing;
mod quantizing_bad_input;
mod quantizing_corners;
mod quantizing_nets;
mod reloading;
mod rooms;
mod runtime_library;
mod serving;
mod stopping;
#[allow(dead_code)]
mod taking_back;
mod under_way;
mod watching;
#[allow(dead_code)]
mod wire;
mod zipmap;
