//! What a call may bring and get, whatever its style: payloads that are none, results nobody wants, refusals.

use std::time::Duration;

use agw_foreign::Code;
use agw_wire::Request;
use tokio::time::sleep;

use super::{answers, blocking, logged};
use crate::support::{Guest, call, escaped, in_worker, plugin, shared, stream};

#[test]
fn a_payload_cut_at_every_byte_is_undecodable_or_another_request() {
    in_worker(async |worker| {
        worker.backend.answer_at_once("x");
        let payload = call("key");
        let cuts: String = (0..payload.len())
            .map(|end| {
                let cut = escaped(&payload[..end]);
                format!("(call $print (call $call_foreign_function <<agw_redis>> <<{cut}>> CELLS))")
            })
            .collect();
        let plugin =
            worker.load(plugin(), Guest::new().on("request_headers", &(cuts + "(i32.const 0)"))).await;
        worker.open(&plugin, &stream()).await.request_headers(true).await;
        let expected: Vec<_> = (0..payload.len())
            .map(|end| if Request::decode(&payload[..end]).is_ok() { "0" } else { "3" })
            .collect();
        assert_eq!(worker.lines.take(), expected);
        assert!(expected.iter().filter(|status| **status == "3").count() > 10);
    });
}

#[test]
fn an_unknown_function_is_not_found_and_an_undecodable_call_leaves_empty_cells() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            "(i32.store (i32.const 8) (i32.const 7)) (i32.store (i32.const 12) (i32.const 7))
             (call $print (call $call_foreign_function <<agw_redis>> <<\\ff>> CELLS))
             (call $print (i32.load (i32.const 8))) (call $print (i32.load (i32.const 12)))
             (call $print (call $call_foreign_function <<agw_nothing>> <<>> CELLS))
             (call $print (call $call_foreign_function <<agw_redis>> <<\\ff>> (i32.const 0) (i32.const 0)))
             (i32.const 0)",
        );
        assert_eq!(worker.said(plugin(), guest).await, ["3", "0", "0", "1", "3"]);
    });
}

#[test]
fn a_result_that_nobody_wants_is_thrown_away() {
    in_worker(async |worker| {
        worker.backend.answer_at_once("x");
        let payload = escaped(&call("a"));
        let malloc = r#"(func (export "malloc") (param i32) (result i32) unreachable)"#;
        let guest = Guest::new().malloc(malloc).on(
            "request_headers",
            &format!(
                "(call $print (call $call_foreign_function <<agw_redis>> <<{payload}>> (i32.const 0) (i32.const 0)))
                 (i32.const 0)"
            ),
        );
        assert_eq!(worker.said(plugin(), guest).await, ["0"]);
    });
}

#[test]
fn a_resource_that_is_not_granted_is_unknown_and_no_callback_comes() {
    in_worker(async |worker| {
        for style in [agw_foreign::Style::Blocking, agw_foreign::Style::Callback] {
            let payload = Request { resource: "other", style, ..Request::default() }.encode();
            for mode in [plugin(), shared()] {
                let guest = answers().on("request_headers", &(logged(&payload) + "(i32.const 0)"));
                assert_eq!(worker.said(mode, guest).await, ["0", "1002"]);
                sleep(Duration::from_secs(1)).await;
                assert_eq!(worker.lines.take(), [""; 0]);
            }
        }
    });
}

#[test]
fn a_blocking_call_in_a_shared_vm_is_invalid_and_the_log_says_what_to_do() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a") + "(i32.const 0)"));
        let plugin = worker.load(shared(), guest).await;
        worker.open(&plugin, &stream()).await.request_headers(true).await;
        assert_eq!(worker.lines.guest(), ["0", &(1000 + Code::Invalid as u32).to_string()]);
        assert!(worker.lines.host().contains("set vm.mode to exclusive"));
        assert_eq!((worker.backend.held().len(), worker.backend.alive()), (0, 0));
    });
}
