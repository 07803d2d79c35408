#![doc = include_str!("../README.md")]

mod backend;

pub use agw_wire::{CallError, Code, DecodeError, Retry, Style};
pub use backend::{BackendFuture, CallSite, ContextKey, GrantedResource, Reply, ResourceStatus};
