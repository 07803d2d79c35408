#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod gate;
mod token;

pub use gate::{Kind, Refusal, check};
pub use token::Dialect;
