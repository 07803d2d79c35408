//! Each folder of `examples/` does what its README says, with its own configuration; and so does `agw quickstart`.

mod document;
mod header_filter;
mod quickstart;
mod rate_limit;
mod session;
