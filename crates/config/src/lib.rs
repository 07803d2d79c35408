#![doc = include_str!("../README.md")]

mod secret;
mod snapshot;

pub use secret::Secret;
pub use snapshot::*;
