#![doc = include_str!("../README.md")]

mod access_log;
mod action;
mod bind;
mod body;
mod chain;
mod connection;
mod doors;
mod error;
mod exchange;
mod head;
mod limits;
mod proxy;
mod reply;
mod router;
mod runtime;
mod stats;
mod stop;
mod tls;
mod upstream;
mod worker;

pub use bind::Inherited;
pub use error::{BindError, RuntimeError, SpawnError};
pub use proxy::{Bound, OpenDoors, Prepared, Proxy, ProxyOptions, Turning};
pub use runtime::Runtime;
pub use tls::{CertificateError, CertificateFacts, ServerTlsError, certificate_facts};
pub use upstream::TlsError;
