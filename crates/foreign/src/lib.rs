#![doc = include_str!("../README.md")]

mod access;
mod backend;
mod breaker;
mod call;
mod call_table;
mod faults;
mod grant;
mod probe;
mod queue;
mod rate;
mod resource;
mod span;

pub use access::{Access, AccessBuilder, CallFuture, Dispatch};
pub use agw_wire::{CallError, Code, DecodeError, Retry, Style};
pub use backend::{
    BackendFuture, CallSite, ContextKey, GrantedResource, NodeStatus, Reply, ReplyBody, ResourceStatus,
};
pub use breaker::{Breaker, BreakerState, TELLING_TIMEOUT, Ticket};
pub use call_table::{CallTable, TableFull};
pub use faults::{Fault, FaultPolicy};
pub use grant::GrantBounds;
pub use probe::{Latency, PROBE_CALLS, PeerTls, ProbeError, ProbeReport};
pub use queue::{LineId, Place, Queue, QueueFull};
pub use rate::Rate;
pub use resource::{Resource, ResourcePolicy};
pub use span::Operation;

#[cfg(test)]
mod fake;
