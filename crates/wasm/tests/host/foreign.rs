//! Foreign calls: suspended guests, callbacks, cancellation, and what is left behind.

mod blocking;
mod callbacks;
mod ends;
mod payloads;

use crate::support::{Guest, call, escaped};

/// A call whose status and answer are logged.
fn logged(payload: &[u8]) -> String {
    format!(
        "(call $print (call $call_foreign_function <<agw_redis>> <<{}>> CELLS)) (call $answer)\n",
        escaped(payload)
    )
}

fn blocking(key: &str) -> String {
    logged(&call(key))
}

fn answers() -> Guest {
    Guest::new().on(
        "foreign_function",
        "(call $print (local.get $ctx)) (call $print (local.get $id))
         (call $print (call $get_buffer_bytes (i32.const 8) (i32.const 0) (local.get $size) CELLS)) (call $answer)",
    )
}
