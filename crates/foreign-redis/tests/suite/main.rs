//! `agw_redis` against real servers and broken ones. Needs `redis-server` on the PATH.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure here is a failed test")]

mod batches;
mod clusters;
mod discards;
mod fake;
mod faults;
mod gated;
mod leases;
mod memory;
mod outages;
mod sentinels;
mod server;
mod tls;
mod world;
