//! Answers that come by callback: exactly once, within bounds, never into a guest that is suspended.

use std::time::Duration;

use agw_foreign::Code;
use agw_wasm::Verdict;
use agw_wire::Request;
use tokio::time::{sleep, timeout};

use super::{answers, blocking, logged};
use crate::support::{Guest, call_back, escaped, in_worker, plugin, shared, stream};

#[test]
fn several_calls_are_answered_out_of_order_each_exactly_once() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let calls: String = ["a", "b", "c"].iter().map(|key| logged(&call_back(key))).collect();
            let guest = answers().on("request_headers", &(calls + "(i32.const 1)"));
            let plugin = worker.load(mode, guest).await;
            let filter = worker.open(&plugin, &stream()).await;
            assert_eq!(filter.request_headers(true).await, Verdict::Pause);
            assert_eq!(worker.lines.take(), ["0", "2001", "0", "2002", "0", "2003"]);
            worker.settle().await;
            assert_eq!(worker.backend.held(), ["a", "b", "c"]);
            for (key, id) in [("c", "3"), ("a", "1"), ("b", "2")] {
                worker.backend.answer(key, format!("for {key}"));
                worker.settle().await;
                assert_eq!(worker.lines.take(), ["2", id, "0", &format!("for {key}")]);
            }
            sleep(Duration::from_secs(100)).await;
            assert_eq!(worker.lines.take(), [""; 0]);
        }
    });
}

#[test]
fn an_answer_resumes_its_stream_and_its_bytes_are_gone_afterwards() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let guest = Guest::new()
                .on("request_headers", &(logged(&call_back("a")) + "(i32.const 1)"))
                .on("foreign_function", "(drop (call $continue_stream (i32.const 0)))")
                .on(
                    "response_headers",
                    "(call $print (call $get_buffer_bytes (i32.const 8) (i32.const 0) (i32.const 99) CELLS)) (i32.const 0)",
                );
            let plugin = worker.load(mode, guest).await;
            let filter = worker.open(&plugin, &stream()).await;
            assert_eq!(filter.request_headers(true).await, Verdict::Pause);
            assert!(timeout(Duration::from_secs(1), filter.request_resumed()).await.is_err());
            worker.backend.answer("a", "x");
            timeout(Duration::from_secs(1), filter.request_resumed()).await.unwrap();
            filter.response_headers(true).await;
            assert_eq!(worker.lines.take(), ["0", "2001", "1"]);
        }
    });
}

#[test]
fn a_call_that_is_taken_back_answers_cancelled_once() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let cancel = |id| logged(&Request::cancel(id).encode());
            let body =
                [logged(&call_back("a")), cancel(1), cancel(1), cancel(77), "(i32.const 1)".into()].concat();
            let plugin = worker.load(mode, answers().on("request_headers", &body)).await;
            let filter = worker.open(&plugin, &stream()).await;
            filter.request_headers(true).await;
            let invalid = (1000 + Code::Invalid as u32).to_string();
            assert_eq!(worker.lines.take(), ["0", "2001", "0", "2001", "0", &invalid, "0", &invalid]);
            worker.settle().await;
            assert_eq!(worker.lines.take(), ["2", "1", "0", &(1000 + Code::Cancelled as u32).to_string()]);
            assert_eq!(worker.backend.alive(), 0);
            sleep(Duration::from_secs(100)).await;
            assert_eq!(worker.lines.take(), [""; 0]);
        }
    });
}

#[test]
fn nothing_is_delivered_to_a_context_that_is_gone_and_its_calls_are_cancelled() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let guest =
                answers().on("request_headers", &(logged(&call_back("a")) + "(i32.const 1)")).says("delete");
            let plugin = worker.load(mode, guest).await;
            let filter = worker.open(&plugin, &stream()).await;
            filter.request_headers(true).await;
            worker.settle().await;
            assert_eq!(worker.backend.alive(), 1);
            let ended = worker.backend.ended();
            filter.finish();
            worker.settle().await;
            assert_eq!(worker.backend.alive(), 0);
            assert_eq!(worker.backend.ended(), ended + 1);
            sleep(Duration::from_secs(100)).await;
            assert_eq!(worker.lines.take(), ["0", "2001", "delete"]);
            // The VM's table has room again: ids go on.
            worker.open(&plugin, &stream()).await.request_headers(true).await;
            assert_eq!(worker.lines.take()[..2], ["0", "2002"]);
        }
    });
}

#[test]
fn a_guest_without_the_callback_is_told_so() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(logged(&call_back("a")) + "(i32.const 0)"));
        assert_eq!(worker.said(shared(), guest).await, ["0", &(1000 + Code::Invalid as u32).to_string()]);
        assert_eq!(worker.backend.alive(), 0);
    });
}

#[test]
fn calls_over_a_vms_bound_are_overloaded_and_it_recovers() {
    in_worker(async |worker| {
        let payload = escaped(&call_back("a"));
        let guest = Guest::new()
            .on(
                "request_headers",
                &format!(
                    "(local $i i32) (local $refused i32)
                     (loop $next
                       (drop (call $call_foreign_function <<agw_redis>> <<{payload}>> CELLS))
                       (if (i32.eq (i32.load8_u (i32.load (i32.const 8))) (i32.const 0x12))
                         (then (local.set $refused (i32.add (local.get $refused) (i32.const 1)))))
                       (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br_if $next (i32.lt_u (local.get $i) (i32.const 1030))))
                     (call $print (local.get $refused)) (call $answer) (i32.const 1)"
                ),
            )
            .on("foreign_function", "(global.set $a (i32.add (global.get $a) (i32.const 1)))")
            .on("response_headers", "(call $print (global.get $a)) (i32.const 0)");
        let plugin = worker.load(shared(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        filter.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["6", &(1000 + Code::Overloaded as u32).to_string()]);
        worker.settle().await;
        while !worker.backend.held().is_empty() {
            worker.backend.answer_last("x");
        }
        sleep(Duration::from_millis(1)).await;
        filter.response_headers(true).await;
        assert_eq!(worker.lines.take(), ["1024"]);
    });
}

#[test]
fn an_answer_waits_while_its_guest_is_suspended_in_another_call() {
    in_worker(async |worker| {
        let body = [logged(&call_back("later")), blocking("now"), "(call $say <<end>>) (i32.const 0)".into()]
            .concat();
        let plugin = worker.load(plugin(), answers().on("request_headers", &body)).await;
        let filter = worker.open(&plugin, &stream()).await;
        let running = tokio::task::spawn_local(async move { (filter.request_headers(true).await, filter) });
        worker.settle().await;
        let before = worker.backend.held();
        worker.backend.answer("now", "x");
        let (_, filter) = running.await.unwrap();
        assert_eq!(worker.lines.take(), ["0", "2001", "0", "x", "end"], "{before:?}");
        worker.settle().await;
        worker.backend.answer("later", "y");
        worker.settle().await;
        assert_eq!(worker.lines.take(), ["2", "1", "0", "y"]);
        drop(filter);
    });
}

#[test]
fn calls_end_though_an_answer_waits_for_a_suspended_guest() {
    in_worker(async |worker| {
        let calls =
            [logged(&call_back("first")), logged(&call_back("second")), "(i32.const 0)".into()].concat();
        let guest = answers()
            .on("request_headers", &calls)
            .on("response_headers", &(blocking("now") + "(i32.const 0)"));
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        filter.request_headers(true).await;
        worker.settle().await;
        let running = tokio::task::spawn_local(async move { (filter.response_headers(true).await, filter) });
        worker.settle().await;
        assert_eq!(worker.backend.alive(), 3);
        worker.backend.answer("first", "1");
        worker.settle().await;
        worker.backend.answer("second", "2");
        worker.settle().await;
        assert_eq!(worker.backend.alive(), 1, "only the one that the guest waits for");
        worker.backend.answer("now", "x");
        let (_, filter) = running.await.unwrap();
        worker.settle().await;
        let said = ["0", "2001", "0", "2002", "0", "x", "2", "1", "0", "1", "2", "2", "0", "2"];
        assert_eq!(worker.lines.take(), said);
        drop(filter);
    });
}
