//! `agw_redis` against real servers and broken ones. Needs `redis-server` on the PATH.

mod batches;
mod fake;
mod faults;
mod leases;
mod memory;
mod server;
mod tls;
mod world;
