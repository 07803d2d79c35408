#![doc = include_str!("../README.md")]

mod client;
mod encode;
mod exporter;
mod queue;
mod tls;

pub use exporter::{Exporter, SetupError};
pub use tls::TlsError;
