#![doc = include_str!("../README.md")]

mod answer;
mod config;
mod filter;
mod key;
mod user;
