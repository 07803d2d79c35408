//! The data plane, seen from its sockets.
#![allow(missing_docs)]

mod filters;
mod guests;
mod plain;
mod support;
