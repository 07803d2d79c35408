#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod arguments;
mod batch;
mod callback;
mod commands;
mod error;
pub mod json;
mod lease;
mod redis;
mod reply;
mod script;
pub mod sql;
mod transport;

pub use agw_wire::resp::{Head, Value, put_decimal};
pub use agw_wire::{CallError, Code, Kind, Retry};

pub use batch::Batch;
pub use callback::{CallId, answer, cancel};
pub use commands::SetOptions;
pub use error::Error;
pub use lease::Lease;
pub use redis::{Redis, redis};
pub use reply::{FromReply, RawReply, Reply};
pub use script::Script;
pub use sql::sql;
