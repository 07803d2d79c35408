#![doc = include_str!("../README.md")]

pub mod cargo;
pub mod document;
pub mod fake_redis;
pub mod fault_proxy;
pub mod gateway;
pub mod guest;
pub mod http_client;
pub mod load;
pub mod metrics;
pub mod port;
pub mod process;
pub mod redis_server;
pub mod upstream;

mod background;

pub use fake_redis::FakeRedis;
pub use fault_proxy::{FaultProxy, Mode};
pub use gateway::Gateway;
pub use guest::guest;
pub use http_client::{Client, Reply};
pub use load::{Load, LoadReport};
pub use metrics::Metrics;
pub use redis_server::{RedisOptions, RedisServer};
pub use upstream::{Recorded, Script, Upstream};
