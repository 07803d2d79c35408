//! The host as a gateway uses it, with small guests in text form.

mod bodies;
mod cache;
mod every_import;
mod foreign;
mod headers;
mod hostcalls;
mod lifecycle;
mod load;
mod pool;
mod replies;
mod shared_state;
mod support;
mod traps;
