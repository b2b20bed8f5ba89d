//! The rooms that speak by messages. Each folder's `mod.rs` holds that room's messages and nothing else.
//!
//! ```text
//! client ─▶ http ─Infer(job with its own reply)─▶ model ─bounded queue─▶ engine thread ─reply─▶ http ─▶ client
//! model ─ModelChanged, CanaryChanged─▶ supervisor ─Publish─▶ web ─▶ whoever asks for health or status
//! any room ─ChildDown (its obituary)─▶ supervisor ─▶ the room again, from its factory
//! ```

pub mod alert;
pub mod board;
pub mod model;
pub mod monitor;
pub mod obituary;
pub mod supervisor;
pub mod web;
