//! Contexts, timers, and the end of a plugin.

use agw_wasm::{ResponseHead, Verdict, Wants};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::{Duration, Instant, sleep};

use crate::support::{Guest, in_worker, plugin, shared, stream};

#[test]
fn a_stream_runs_through_its_callbacks_and_ends_in_order() {
    in_worker(async |worker| {
        let names = [
            "request_headers",
            "request_body",
            "request_trailers",
            "response_headers",
            "response_body",
            "response_trailers",
            "done",
            "log",
            "delete",
        ];
        for mode in [plugin(), shared()] {
            let guest = names
                .iter()
                .fold(Guest::new(), |guest, name| guest.says(name))
                .on("context_create", "(call $print (local.get $ctx)) (call $print (local.get $parent))");
            let plugin = worker.load(mode, guest).await;
            worker.lines.take();
            let stream = stream();
            let filter = worker.open(&plugin, &stream).await;
            assert_eq!(worker.lines.take(), ["1", "0", "2", "1"], "root, then stream");
            filter.request_headers(false).await;
            filter.request_body(Bytes::new(), false).await;
            stream.state().request_trailers = Some(HeaderMap::new());
            filter.request_trailers().await;
            stream.state().response =
                Some(ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() });
            filter.response_headers(false).await;
            filter.response_body(Bytes::new(), false).await;
            stream.state().response_trailers = Some(HeaderMap::new());
            filter.response_trailers().await;
            filter.finish();
            assert_eq!(worker.lines.take(), names);
        }
    });
}

#[test]
fn callbacks_that_a_guest_does_not_have_are_continue() {
    in_worker(async |worker| {
        let plugin = worker.load(plugin(), Guest::new().says("response_body")).await;
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(filter.wants(), Wants { response_body: true, ..Wants::default() });
        assert_eq!(filter.request_headers(true).await, Verdict::Continue);
        assert_eq!(filter.request_body(Bytes::from_static(b"x"), true).await, Verdict::Continue);
        assert_eq!(filter.request_trailers().await, Verdict::Continue);
        assert_eq!(filter.take_request_body(), "x");
    });
}

#[test]
fn ids_of_contexts_are_not_used_again_at_once() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", "(call $print (local.get $ctx)) (i32.const 0)");
        let plugin = worker.load(shared(), guest).await;
        let first = worker.open(&plugin, &stream()).await;
        let second = worker.open(&plugin, &stream()).await;
        first.request_headers(true).await;
        drop(first);
        let third = worker.open(&plugin, &stream()).await;
        second.request_headers(true).await;
        third.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["2", "3", "4"]);
    });
}

#[test]
fn the_effective_context_lasts_until_the_callback_ends() {
    in_worker(async |worker| {
        let read = "(call $print (call $get_header_map_value (i32.const 0) <<x-name>> CELLS)) (call $got)";
        let guest = Guest::new()
            .on("request_headers", &format!("(global.set $a (local.get $ctx)) {read} (i32.const 0)"))
            .on(
                "response_headers",
                &format!("(call $print (call $set_effective_context (global.get $a))) {read} (i32.const 0)"),
            );
        let plugin = worker.load(shared(), guest).await;
        let (one, two) = (stream(), stream());
        one.state().request.headers.insert("x-name", "one".parse().unwrap());
        two.state().request.headers.insert("x-name", "two".parse().unwrap());
        let (first, second) = (worker.open(&plugin, &one).await, worker.open(&plugin, &two).await);
        first.request_headers(true).await;
        second.response_headers(true).await;
        first.request_headers(true).await;
        second.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["0", "one", "0", "0", "one", "0", "one", "0", "two"]);
        drop(second);
        first.response_headers(true).await;
        assert_eq!(worker.lines.take()[0], "2", "the context is gone");
    });
}

// === timers ===

fn ticking() -> Guest {
    Guest::new()
        .on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 100))) (i32.const 1)")
        .says("tick")
}

#[test]
fn a_timer_ticks_set_anew_starts_again_and_stops_at_zero() {
    in_worker(async |worker| {
        let guest = ticking()
            .on(
                "request_headers",
                "(drop (call $set_tick_period_milliseconds (i32.const 300))) (i32.const 0)",
            )
            .on(
                "response_headers",
                "(drop (call $set_tick_period_milliseconds (i32.const 0))) (i32.const 0)",
            );
        let plugin = worker.load(shared(), guest).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(worker.lines.take(), [""; 0], "the rehearsal's timer does not run");
        let filter = worker.open(&plugin, &stream()).await;
        sleep(Duration::from_millis(350)).await;
        assert_eq!(worker.lines.take().len(), 3);
        filter.request_headers(true).await;
        sleep(Duration::from_millis(299)).await;
        assert_eq!(worker.lines.take().len(), 0, "the period began anew");
        sleep(Duration::from_millis(310)).await;
        assert_eq!(worker.lines.take().len(), 2);
        filter.response_headers(true).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(worker.lines.take().len(), 0);
    });
}

#[test]
fn a_timer_runs_on_without_streams_and_ends_with_the_pools() {
    in_worker(async |worker| {
        let plugin = worker.load(shared(), ticking()).await;
        drop(worker.open(&plugin, &stream()).await);
        sleep(Duration::from_millis(250)).await;
        assert_eq!(worker.lines.take().len(), 2);
        worker.pools.shutdown().await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(worker.lines.take().len(), 0);
        assert_eq!(plugin.status().vms, 0);
    });
}

#[test]
fn of_many_periods_that_one_callback_sets_the_last_holds() {
    in_worker(async |worker| {
        let guest = Guest::new().says("tick").on(
            "request_headers",
            "(local $i i32)
             (loop $next
               (drop (call $set_tick_period_milliseconds (local.get $i)))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $next (i32.lt_u (local.get $i) (i32.const 10000))))
             (drop (call $set_tick_period_milliseconds (i32.const 50)))
             (i32.const 0)",
        );
        let plugin = worker.load(shared(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        filter.request_headers(true).await;
        sleep(Duration::from_millis(120)).await;
        assert_eq!(worker.lines.take().len(), 2);
    });
}

// === the end ===

#[test]
fn a_root_context_that_agrees_is_deleted_at_once() {
    in_worker(async |worker| {
        let guest = Guest::new().on("done", "(call $say <<done>>) (i32.const 1)").says("log").says("delete");
        for mode in [plugin(), shared()] {
            let plugin = worker.load(mode, guest.clone()).await;
            drop(worker.open(&plugin, &stream()).await);
            assert_eq!(worker.lines.take(), ["done", "log", "delete"], "the stream");
        }
        let started = Instant::now();
        worker.pools.shutdown().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(worker.lines.take(), ["done", "delete", "done", "delete"], "the roots, which have no log");
    });
}

#[test]
fn a_root_context_that_says_no_lives_until_proxy_done() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on("request_headers", "(call $print (call $done)) (i32.const 0)")
            .on(
                "done",
                "(if (i32.eq (local.get $ctx) (i32.const 1)) (then
                   (call $say <<done>>) (drop (call $set_tick_period_milliseconds (i32.const 1000)))))
                 (i32.const 0)",
            )
            .on("tick", "(call $print (call $done)) (call $say <<tick>>)")
            .on("delete", "(call $print (local.get $ctx))");
        for mode in [plugin(), shared()] {
            let plugin = worker.load(mode, guest.clone()).await;
            let filter = worker.open(&plugin, &stream()).await;
            filter.request_headers(true).await;
            drop(filter);
            assert_eq!(
                worker.lines.take(),
                ["1", "2"],
                "a stream cannot be done, and is deleted all the same"
            );
        }
        let started = Instant::now();
        worker.pools.shutdown().await;
        assert!(started.elapsed() >= Duration::from_secs(1) && started.elapsed() < Duration::from_secs(3));
        let said = worker.lines.take();
        assert_eq!(said.iter().filter(|line| *line == "done").count(), 2);
        assert_eq!(said.iter().filter(|line| *line == "tick").count(), 2);
        assert_eq!(said.iter().filter(|line| *line == "1").count(), 2, "deleted");
    });
}

#[test]
fn a_root_context_that_never_is_done_is_dropped_after_a_while() {
    in_worker(async |worker| {
        let guest = Guest::new().on("done", "(i32.const 0)");
        for mode in [plugin(), shared(), plugin()] {
            let plugin = worker.load(mode, guest.clone()).await;
            drop(worker.open(&plugin, &stream()).await);
        }
        let started = Instant::now();
        worker.pools.shutdown().await;
        let waited = started.elapsed();
        assert!(
            waited >= Duration::from_secs(5) && waited < Duration::from_secs(7),
            "{waited:?}: all at once"
        );
    });
}

#[test]
fn a_root_context_that_calls_for_ever_in_its_end_does_not_hold_the_shutdown() {
    in_worker(async |worker| {
        let payload = crate::support::escaped(&crate::support::call("a"));
        let guest = Guest::new().on(
            "done",
            &format!(
                "(if (i32.eq (local.get $ctx) (i32.const 1)) (then (loop $next
                   (drop (call $call_foreign_function <<agw_redis>> <<{payload}>> (i32.const 0) (i32.const 0)))
                   (br $next))))
                 (i32.const 1)"
            ),
        );
        let plugin = worker.load(plugin(), guest).await;
        drop(worker.open(&plugin, &stream()).await);
        let started = Instant::now();
        tokio::time::timeout(Duration::from_secs(20), worker.pools.shutdown()).await.expect("an end");
        assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
        worker.settle().await;
        assert_eq!(worker.backend.alive(), 0);
        assert_eq!(plugin.status().vms, 0);
    });
}

#[test]
fn vms_of_a_plugin_that_is_not_used_any_more_end_once_its_streams_have() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let old = worker.load(mode.clone(), Guest::new().says("done")).await;
            let new = worker.load(mode, Guest::new().says("done")).await;
            let (held, other) = (worker.open(&old, &stream()).await, worker.open(&new, &stream()).await);
            drop(other);
            let unused = |id| id == old.id();
            worker.pools.end_unused(unused);
            sleep(Duration::from_secs(1)).await;
            worker.lines.take();
            assert_eq!((old.status().vms, new.status().vms), (1 + 1, 1 + 1), "the gauge is of the name");
            held.finish();
            sleep(Duration::from_secs(1)).await;
            worker.lines.take();
            worker.pools.end_unused(unused);
            // A root context that does not agree to its end has some seconds for it.
            sleep(Duration::from_secs(20)).await;
            assert_eq!(worker.lines.take(), ["done"], "of the root context");
            assert_eq!(new.status().vms, 1);
            worker.pools.end_unused(|id| id == new.id());
            sleep(Duration::from_secs(20)).await;
            assert_eq!(new.status().vms, 0);
            worker.lines.take();
        }
    });
}
