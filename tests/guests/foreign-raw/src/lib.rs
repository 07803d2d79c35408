//! A filter that calls `agw_redis` and `agw_sql` with bytes made by hand, from what `crates/wire/README.md` says and nothing else.
//!
//! The path says what to do: `/STYLE/SCENARIO?KEY` with the style `blocking` or `callback`. The answer is a 200 whose
//! body has one line for each call, in the order of the calls.

mod filter;
mod request;
mod response;
mod scenario;
mod sql;
