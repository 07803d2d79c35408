#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod gate;
mod tables;
mod token;

pub use gate::{Kind, Refusal, check};
pub use tables::{Rights, TableName, tables};
pub use token::Dialect;
