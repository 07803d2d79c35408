#![doc = include_str!("../README.md")]

mod backend;
mod backoff;
mod blueprint;
mod cluster;
mod connect;
mod connection;
mod error;
mod exchange;
mod frame;
mod grant;
mod held;
mod lease;
mod memory;
mod node;
mod pipe;
mod plan;
mod probe;
mod reads;
mod refused;
mod replicas;
mod reply;
mod resolve;
mod scripts;
mod sentinel;
mod session;
mod slot;
mod span;
mod tls;

pub use backend::{GrantError, ProbeError, RedisBackend};
pub use error::BuildError;
pub use probe::probe;
