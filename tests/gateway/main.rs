//! The gateway from outside: guests that misbehave, upstreams and clients that break off, bounds, start and end,
//! another configuration, the admin port.

mod admin;
mod backoff;
mod check;
mod clients;
mod faults;
mod hand_over;
mod kept_vms;
mod limits;
mod misbehave;
mod raw;
mod reload;
mod routes;
mod secrets;
mod start_and_end;
mod traces;
mod upstream_tls;
mod upstreams;

use agw_tests::Gateway;
use anyhow::Result;

/// A gateway with one listener on a free port and one worker; `rest` is the document without it.
fn start(rest: &str) -> Result<Gateway> {
    Gateway::start_with(&document("", rest), &[], &["--admin", "127.0.0.1:0", "--workers", "1"])
}

/// `limits` are the listener's.
fn document(limits: &str, rest: &str) -> String {
    format!(
        "version: 1\nlisteners: [{{ name: http, address: \"127.0.0.1:0\", limits: {{ {limits} }} }}]\n{rest}\n"
    )
}
