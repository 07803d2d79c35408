#![doc = include_str!("../README.md")]

mod config;
mod cookie;
mod filter;
mod store;
