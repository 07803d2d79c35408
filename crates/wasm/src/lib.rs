#![doc = include_str!("../README.md")]

mod stream;

mod filter;
mod pool;
mod vm;
mod vm_data;

mod body;
mod by_id;
mod context;
mod header_map;
mod pairs;
mod sent;

mod exports;
mod guest_memory;
mod hostcalls;
mod shim;
mod status;

mod cache;
mod cpu_budget;
mod engine;
mod facts;
mod module;
mod plugin;

mod error;
mod limits;
mod spawner;
mod unbroken;

pub use agw_foreign::Access;
pub use engine::EngineOptions;
pub use error::LoadError;
pub use facts::ModuleFacts;
pub use filter::{Filter, Verdict, Wants};
pub use plugin::{HostOptions, LoadedPlugin, ModuleDigest, PluginHost, PluginStatus};
pub use pool::{Opened, VmPools};
pub use stream::{
    ConnectionTls, LocalReply, PeerCertificate, RequestHead, ResponseHead, Stream, StreamInfo, StreamState,
};
