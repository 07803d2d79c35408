//! The data plane, seen from its sockets.
#![allow(missing_docs)]
// Clippy knows test functions, but not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drain;
mod filters;
mod guests;
mod h2;
mod http;
mod plain;
mod routing;
mod slow;
mod support;
mod tls;
mod upgrade;
mod upstreams;
