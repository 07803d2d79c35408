//! A filter that does what no filter should, by the last segment of the request's path. Whatever path it does not
//! know, it lets pass.
#![allow(clippy::panic, reason = "that is what it is for")]

mod deeds;
mod filter;
