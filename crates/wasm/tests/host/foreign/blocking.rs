//! Guests that wait in a call: their neighbours, their deadline, their CPU time.

use std::time::Duration;

use agw_foreign::Code;
use agw_telemetry::TrapLabels;
use agw_wasm::Verdict;
use agw_wire::Answer;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::blocking;
use crate::support::{Guest, call, decode, engine, escaped, in_worker, in_worker_with, plugin, stream};

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
