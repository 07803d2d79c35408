//! The harness keeps its own promises: a suite that breaks things must know that they break as it says.

mod bench;
mod fault_proxy;
mod http;
mod planted;
mod redis_server;
