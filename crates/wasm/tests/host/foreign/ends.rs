//! Streams that go away while a call is under way, and calls made at the end.

use std::time::Duration;

use agw_foreign::Code;
use agw_wasm::{EngineOptions, Verdict};
use agw_wire::Answer;
use tokio::time::{sleep, timeout};

use super::{answers, blocking, logged};
use crate::support::{Guest, call_back, decode, in_worker, in_worker_with, plugin, shared, stream};

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
