//! HTTP: what clients send and what they are answered. The only room that knows JSON and status codes.

pub mod protocol;
