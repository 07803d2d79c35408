#![doc = include_str!("../README.md")]

mod filter;
mod rules;
