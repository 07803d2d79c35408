//! Foreign calls: suspended guests, callbacks, cancellation, and what is left behind.

use std::time::Duration;

use agw_foreign::Code;
use agw_telemetry::TrapLabels;
use agw_wasm::{EngineOptions, Verdict};
use agw_wire::{Answer, Request};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    Guest, call, call_back, decode, engine, escaped, in_worker, in_worker_with, plugin, shared, stream,
};

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

// === blocking, exclusive ===

#[test]
fn a_suspended_guest_holds_nobody_else_on_its_worker() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a") + "(i32.const 0)"));
        let plugin = worker.load(plugin(), guest).await;
        let (one, two) = (worker.open(&plugin, &stream()).await, worker.open(&plugin, &stream()).await);
        let first = tokio::task::spawn_local(async move { (one.request_headers(true).await, one) });
        worker.settle().await;
        assert_eq!(worker.backend.held(), ["a"]);
        let second = tokio::task::spawn_local(async move { (two.request_headers(true).await, two) });
        worker.settle().await;
        assert_eq!(worker.backend.held(), ["a", "a"]);
        worker.backend.answer_last("second");
        assert_eq!(second.await.unwrap().0, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["0", "second"]);
        assert!(!first.is_finished());
        worker.backend.answer("a", "first");
        assert_eq!(first.await.unwrap().0, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["0", "first"]);
    });
}

#[test]
fn errors_come_back_by_their_code() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a") + "(i32.const 0)"));
        let plugin = worker.load(plugin(), guest).await;
        for code in [Code::Denied, Code::TimeoutIo, Code::Unavailable, Code::Server, Code::TooLarge] {
            let filter = worker.open(&plugin, &stream()).await;
            let running = tokio::task::spawn_local(async move { filter.request_headers(true).await });
            worker.settle().await;
            worker.backend.fail("a", code);
            running.await.unwrap();
            assert_eq!(worker.lines.take(), ["0".to_owned(), (1000 + code as u32).to_string()]);
        }
        assert_eq!(plugin.status().vms, 1, "one VM served them all");
    });
}

#[test]
fn each_request_has_a_number_of_calls_to_itself() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a").repeat(4) + "(i32.const 0)"));
        let mut few = plugin();
        few.calls_per_request_max = 3;
        let plugin = worker.load(few, guest).await;
        worker.backend.answer_at_once("ok");
        let denied = (1000 + Code::Denied as u32).to_string();
        for _ in 0..2 {
            let filter = worker.open(&plugin, &stream()).await;
            assert_eq!(filter.request_headers(true).await, Verdict::Continue);
            assert_eq!(worker.lines.take(), ["0", "ok", "0", "ok", "0", "ok", "0", &denied]);
        }
        assert_eq!(plugin.status().vms, 1, "one VM served them both");
    });
}

#[test]
fn a_call_ends_by_the_streams_deadline() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a") + "(i32.const 0)"));
        let plugin = worker.load(plugin(), guest).await;
        let stream = stream();
        stream.state().info.deadline = Instant::now() + Duration::from_secs(2);
        let started = Instant::now();
        worker.open(&plugin, &stream).await.request_headers(true).await;
        assert_eq!(started.elapsed().as_secs(), 2);
        assert_eq!(worker.lines.take(), ["0", &(1000 + Code::TimeoutIo as u32).to_string()]);
    });
}

#[test]
fn answers_of_megabytes_arrive_whole() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            &(blocking("a")
                + "(drop (call $send_local_response (i32.const 200) <<>> (i32.load (i32.const 8))
                     (i32.load (i32.const 12)) <<>> (i32.const -1))) (i32.const 0)"),
        );
        let plugin = worker.load(plugin(), guest).await;
        for len in [0, 1, 127, 128, 65_536, 5 << 20] {
            let resp: Bytes = (0..len).map(|i: u32| (i % 251) as u8).collect();
            worker.backend.answer_at_once(resp.clone());
            let stream = stream();
            worker.open(&plugin, &stream).await.request_headers(true).await;
            let body = stream.state().local_reply.take().unwrap().body;
            let Answer::Resp(found) = decode(&body).answer else { panic!("no reply") };
            assert!(found == resp, "{len} bytes");
        }
    });
}

#[test]
fn an_answer_larger_than_the_guests_memory_traps_that_vm_only() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a") + "(i32.const 0)"));
        let mut small = plugin();
        small.limits.memory_bytes_max = 4 << 16;
        let plugin = worker.load(small, guest).await;
        worker.backend.answer_at_once(vec![0; 1 << 20]);
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(filter.request_headers(true).await, Verdict::Interrupted);
        worker.backend.answer_at_once("ok");
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(filter.request_headers(true).await, Verdict::Continue);
    });
}

#[test]
fn time_in_suspension_is_not_cpu_time() {
    in_worker_with(engine(), false, async |worker| {
        let guest = Guest::new().on("request_headers", &(blocking("a").repeat(4) + "(i32.const 0)"));
        let mut plugin = plugin();
        plugin.limits.cpu_time = Duration::from_millis(60);
        let plugin = worker.load(plugin, guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        let running = tokio::task::spawn_local(async move { filter.request_headers(true).await });
        for _ in 0..4 {
            sleep(Duration::from_millis(100)).await;
            worker.backend.answer("a", "x");
        }
        assert_eq!(running.await.unwrap(), Verdict::Continue);
    });
}

#[test]
fn the_budget_goes_on_after_a_suspension_and_is_not_given_anew() {
    in_worker_with(engine(), false, async |worker| {
        // Computes for 20 ms of the wall clock and calls, 100 times over: two seconds, with a budget of 200 ms.
        let spin = "(drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
            (local.set $until (i64.add (i64.load (i32.const 24)) (i64.const 20000000)))
            (loop $spin
              (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)))
              (br_if $spin (i64.lt_u (i64.load (i32.const 24)) (local.get $until))))";
        let payload = escaped(&call("a"));
        let guest = Guest::new().on(
            "request_headers",
            &format!(
                "(local $until i64) (local $i i32)
                 (loop $again
                   {spin}
                   (drop (call $call_foreign_function <<agw_redis>> <<{payload}>> (i32.const 0) (i32.const 0)))
                   (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))
                 (i32.const 0)"
            ),
        );
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        let running = tokio::task::spawn_local(async move { filter.request_headers(true).await });
        while !running.is_finished() {
            sleep(Duration::from_millis(1)).await;
            if !worker.backend.held().is_empty() {
                worker.backend.answer("a", "x");
            }
        }
        assert_eq!(running.await.unwrap(), Verdict::Interrupted);
        let labels = TrapLabels { plugin: "p".into(), kind: "cpu" };
        assert_eq!(worker.metrics.traps.get_or_create(&labels).get(), 1);
        assert!(worker.backend.started() < 100);
    });
}

#[test]
fn an_endless_loop_of_calls_that_are_answered_at_once_ends_at_the_cpu_limit() {
    in_worker(async |worker| {
        worker.backend.answer_at_once("x");
        let payload = escaped(&call("a"));
        let guest = Guest::new().on(
            "request_headers",
            &format!(
                "(loop $again
                   (drop (call $call_foreign_function <<agw_redis>> <<{payload}>> (i32.const 0) (i32.const 0)))
                   (br $again)) (i32.const 0)"
            ),
        );
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        let started = std::time::Instant::now();
        assert_eq!(filter.request_headers(true).await, Verdict::Interrupted);
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    });
}

// === payloads ===

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

// === shared ===

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

// === callbacks ===

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

// === the stream goes away ===

#[test]
fn a_stream_dropped_while_suspended_ends_in_order_and_leaves_nothing() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on("request_headers", &(blocking("a") + &blocking("again") + "(call $say <<end>>) (i32.const 0)"))
            .says("done")
            .says("log")
            .says("delete")
            .on("response_headers", "(global.set $a (i32.add (global.get $a) (i32.const 1))) (call $print (global.get $a)) (i32.const 0)");
        let mut one = plugin();
        one.vm.max = 1;
        let plugin = worker.load(one, guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        filter.response_headers(true).await;
        tokio::select! {
            biased;
            _ = filter.request_headers(true) => panic!("nobody has answered"),
            () = worker.settle() => {}
        }
        assert_eq!(worker.backend.alive(), 1);
        worker.lines.take();
        let ended = worker.backend.ended();
        drop(filter);
        worker.settle().await;
        let cancelled = (1000 + Code::Cancelled as u32).to_string();
        assert_eq!(worker.lines.take(), ["0", &cancelled, "0", &cancelled, "end", "done", "log", "delete"]);
        assert_eq!((worker.backend.alive(), worker.backend.resource.in_flight()), (0, 0));
        assert_eq!((worker.backend.ended(), plugin.status().vms), (ended + 1, 1));
        // The only place is free again, and the same VM serves.
        let filter = worker.open(&plugin, &stream()).await;
        filter.response_headers(true).await;
        assert_eq!(worker.lines.take(), ["2"]);
    });
}

#[test]
fn a_stream_that_goes_while_its_context_is_made_leaves_nothing() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on(
                "context_create",
                &format!("(if (local.get $parent) (then {} (call $say <<made>>)))", blocking("a")),
            )
            .says("done")
            .says("log")
            .says("delete");
        let mut one = plugin();
        one.vm.max = 1;
        let plugin = worker.load(one, guest).await;
        let stream_1 = stream();
        tokio::select! {
            biased;
            _ = worker.pools.open(&plugin, &stream_1) => panic!("nobody has answered"),
            () = worker.settle() => {}
        }
        worker.settle().await;
        let cancelled = (1000 + Code::Cancelled as u32).to_string();
        assert_eq!(worker.lines.take(), ["0", &cancelled, "made", "done", "log", "delete"]);
        assert_eq!((worker.backend.alive(), plugin.status().vms), (0, 1));
        worker.backend.answer_at_once("x");
        timeout(Duration::from_millis(10), worker.pools.open(&plugin, &stream())).await.expect("a free VM");
    });
}

#[test]
fn calls_in_the_end_of_a_stream_are_cancelled_at_once() {
    in_worker(async |worker| {
        let guest = Guest::new().on("done", &(blocking("a") + "(i32.const 1)"));
        let plugin = worker.load(plugin(), guest).await;
        worker.open(&plugin, &stream()).await.finish();
        assert_eq!(worker.lines.take(), ["0", &(1000 + Code::Cancelled as u32).to_string()]);
        assert_eq!(worker.backend.alive(), 0);
    });
}

#[test]
fn a_call_made_while_logging_outlives_its_stream() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let guest = answers().on("log", &logged(&call_back("a"))).says("delete");
            let plugin = worker.load(mode, guest).await;
            worker.open(&plugin, &stream()).await.finish();
            assert_eq!(worker.lines.take(), ["0", "2001", "delete"]);
            worker.settle().await;
            sleep(Duration::from_secs(5)).await;
            worker.backend.answer("a", "x");
            worker.settle().await;
            assert_eq!(worker.lines.take(), ["1", "1", "0", "x"], "delivered to the root context");
        }
    });
}

#[test]
fn a_guest_suspended_while_logging_delays_no_other_stream() {
    in_worker(async |worker| {
        let guest = Guest::new().on("log", &blocking("a")).says("request_headers").says("delete");
        let plugin = worker.load(plugin(), guest).await;
        worker.open(&plugin, &stream()).await.finish();
        worker.settle().await;
        assert_eq!(worker.backend.held(), ["a"]);
        let filter = timeout(Duration::from_millis(1), worker.open(&plugin, &stream())).await.unwrap();
        filter.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["request_headers"]);
        worker.backend.answer("a", "x");
        worker.settle().await;
        assert_eq!(worker.lines.take(), ["0", "x", "delete"]);
        assert_eq!(plugin.status().vms, 2);
    });
}

#[test]
fn a_root_context_that_is_suspended_delays_no_stream() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 100))) (i32.const 1)")
            .on("tick", &blocking("tick"))
            .says("request_headers");
        let plugin = worker.load(plugin(), guest).await;
        drop(worker.open(&plugin, &stream()).await);
        sleep(Duration::from_millis(150)).await;
        assert_eq!(worker.backend.held(), ["tick"]);
        let filter = timeout(Duration::from_millis(1), worker.open(&plugin, &stream())).await.unwrap();
        timeout(Duration::from_millis(1), filter.request_headers(true)).await.expect("a VM that is free");
        assert_eq!(worker.lines.take(), ["request_headers"]);
    });
}

#[test]
fn a_thousand_streams_are_suspended_at_once_and_each_gets_its_own_answer() {
    const STREAMS: usize = 1000;
    let engine =
        EngineOptions { vms_max: STREAMS as u32 + 10, memory_bytes_max: 1 << 20, table_elements_max: 10 };
    in_worker_with(engine, true, async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            &(blocking("a")
                + "(drop (call $send_local_response (i32.const 200) <<>> (i32.load (i32.const 8))
                     (i32.load (i32.const 12)) <<>> (i32.const -1))) (i32.const 0)"),
        );
        let mut many = plugin();
        many.vm.max = STREAMS;
        let plugin = worker.load(many, guest).await;
        let mut running = Vec::new();
        for _ in 0..STREAMS {
            let stream = stream();
            let filter = worker.open(&plugin, &stream).await;
            running
                .push((stream, tokio::task::spawn_local(async move { filter.request_headers(true).await })));
        }
        worker.settle().await;
        assert_eq!((worker.backend.alive(), plugin.status().vms), (STREAMS, STREAMS as i64));
        for index in (0..STREAMS).rev() {
            worker.backend.answer_last(index.to_string());
        }
        for (index, (stream, running)) in running.into_iter().enumerate() {
            assert_eq!(running.await.unwrap(), Verdict::Interrupted);
            let body = stream.state().local_reply.take().unwrap().body;
            assert_eq!(decode(&body).answer, Answer::Resp(index.to_string().as_bytes()));
        }
        assert_eq!(worker.backend.resource.in_flight(), 0);
    });
}
