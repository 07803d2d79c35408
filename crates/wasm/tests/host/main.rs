//! The host as a gateway uses it, with small guests in text form.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod bodies;
mod cache;
mod every_import;
mod foreign;
mod headers;
mod hostcalls;
mod lifecycle;
mod load;
mod pool;
mod random_calls;
mod replies;
mod shared_state;
mod support;
mod traps;
