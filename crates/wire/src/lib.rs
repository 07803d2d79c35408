#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod code;
mod commands;
mod error;
mod protobuf;
mod request;
pub mod resp;
mod response;
pub mod sql;

pub use code::{Code, Kind, Retry};
pub use commands::RedisCommands;
pub use error::DecodeError;
pub use request::{Lease, RedisBatch, RedisCommand, Request, Style};
pub use response::{Answer, CallError, Response};

/// Name of the foreign function for Redis.
pub const AGW_REDIS: &str = "agw_redis";

/// Name of the foreign function for SQL.
pub const AGW_SQL: &str = "agw_sql";
