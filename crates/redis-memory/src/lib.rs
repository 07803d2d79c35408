#![doc = include_str!("../README.md")]

mod commands;
mod failure;
mod glob;
mod keyspace;
mod members;
mod number;
mod reply;
#[cfg(test)]
mod shell;
mod store;
mod value;

pub use store::{Limits, Store, UnixMillis};
