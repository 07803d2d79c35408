#![doc = include_str!("../README.md")]

mod backend;
mod backoff;
mod connect;
mod connection;
mod error;
mod frame;
mod grant;
mod held;
mod lease;
mod memory;
mod pipe;
mod plan;
mod probe;
mod reply;
mod scripts;
mod session;
mod slot;
mod tls;

pub use backend::{GrantError, ProbeError, RedisBackend};
pub use error::BuildError;
pub use probe::probe;
