//! Each folder of `examples/` does what its README says, with its own configuration; and so do `agw quickstart` and
//! `agw try`.

mod api_key_auth;
mod audit;
mod document;
mod header_filter;
mod quickstart;
mod rate_limit;
mod session;
mod tier_routing;
mod try_filter;
