#![doc = include_str!("../README.md")]

mod buffer;
mod config;
mod filter;
mod journal;
mod row;
