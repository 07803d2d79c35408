#![no_main]

// The framer is private to its crate, and needs nothing of it.
#[allow(dead_code, reason = "the oracle takes a part")]
#[path = "../../src/frame.rs"]
mod frame;
#[path = "../oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::frame(bytes));
