#![doc = include_str!("../README.md")]

mod access;
mod backend;
mod breaker;
mod call;
mod call_table;
mod resource;

pub use access::{Access, AccessBuilder, CallFuture, Dispatch};
pub use agw_wire::{CallError, Code, DecodeError, Retry, Style};
pub use backend::{
    BackendFuture, CallSite, ContextKey, GrantedResource, NodeStatus, Reply, ReplyBody, ResourceStatus,
};
pub use breaker::{Breaker, BreakerState, TELLING_TIMEOUT, Ticket};
pub use call_table::{CallTable, TableFull};
pub use resource::{Resource, ResourcePolicy};

#[cfg(test)]
mod fake;
