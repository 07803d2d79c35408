#![doc = include_str!("../README.md")]

pub mod authority;
pub mod cargo;
pub mod document;
pub mod fake_redis;
pub mod fault_proxy;
pub mod gateway;
pub mod guest;
pub mod h2_client;
pub mod hpack;
pub mod http_client;
pub mod injection;
pub mod load;
pub mod mariadb;
pub mod metrics;
pub mod nginx;
pub mod port;
pub mod postgres;
pub mod process;
pub mod recorder;
pub mod redis_cluster;
pub mod redis_sentinels;
pub mod redis_server;
pub mod seed;
pub mod strict_http;
pub mod upstream;

mod background;

pub use authority::{Authority, Issued};
pub use fake_redis::FakeRedis;
pub use fault_proxy::{FaultProxy, Mode};
pub use gateway::Gateway;
pub use guest::guest;
pub use h2_client::H2Client;
pub use http_client::{Client, Reply};
pub use load::{Load, LoadReport, RunningLoad};
pub use mariadb::{Mariadb, MariadbOptions};
pub use metrics::Metrics;
pub use nginx::Nginx;
pub use postgres::{Postgres, PostgresOptions};
pub use recorder::{Received, Recorder, Verdict};
pub use redis_cluster::RedisCluster;
pub use redis_sentinels::RedisSentinels;
pub use redis_server::{RedisOptions, RedisServer};
pub use seed::Seed;
pub use strict_http::StrictRequest;
pub use upstream::{Recorded, Script, Upstream};
