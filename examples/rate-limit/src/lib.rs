#![doc = include_str!("../README.md")]

mod answer;
mod config;
mod decimal;
mod filter;
mod key;
mod window;
