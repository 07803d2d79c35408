//! What a trap costs: that VM and its streams, and nothing else.

use std::time::Duration;

use agw_config::FailurePolicy;
use agw_telemetry::{PluginLabels, TrapLabels};
use agw_wasm::{Opened, Verdict};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::support::{Guest, Worker, call, escaped, in_worker, plugin, shared, stream};

/// Traps where the request says so.
fn trapping(body: &str) -> Guest {
    Guest::new()
        .on(
            "request_headers",
            &format!(
                "(if (i32.eqz (call $get_header_map_value (i32.const 0) <<x-trap>> CELLS)) (then {body}))
                 (global.set $a (i32.add (global.get $a) (i32.const 1))) (call $print (global.get $a)) (i32.const 0)"
            ),
        )
        .says("response_headers")
        .says("done")
        .says("log")
        .says("delete")
}

fn trapped_stream() -> std::sync::Arc<agw_wasm::Stream> {
    let stream = stream();
    stream.state().request.headers.insert("x-trap", "1".parse().unwrap());
    stream
}

fn traps(worker: &Worker, kind: &'static str) -> u64 {
    worker.metrics.traps.get_or_create(&TrapLabels { plugin: "p".into(), kind }).get()
}

fn restarts(worker: &Worker) -> u64 {
    worker.metrics.vm_restarts.get_or_create(&PluginLabels { plugin: "p".into() }).get()
}

#[test]
fn every_kind_of_trap_is_counted_and_the_next_stream_has_a_new_vm() {
    in_worker(async |worker| {
        let kinds = [
            ("unreachable", "unreachable"),
            ("memory", "(drop (i32.load (i32.const -4)))"),
            ("memory", "(memory.fill (i32.const 131072) (i32.const 0) (i32.const 1))"),
            ("stack", "(call $deep (i32.const 0))"),
            ("cpu", "(loop $l (br $l))"),
            ("host", "(call $proc_exit (i32.const 0))"),
            ("other", "(drop (i32.div_u (i32.const 1) (i32.const 0)))"),
        ];
        for (kind, body) in kinds {
            for mode in [plugin(), shared()] {
                let guest = trapping(body)
                    .with("(func $deep (param i32) (call $deep (i32.add (local.get 0) (i32.const 1))))");
                let before = (traps(&worker, kind), restarts(&worker));
                let plugin = worker.load(mode, guest).await;
                let vms = plugin.status().vms;
                let bad = trapped_stream();
                let filter = worker.open(&plugin, &bad).await;
                assert_eq!(filter.request_headers(true).await, Verdict::Interrupted, "{body}");
                let reply = bad.state().local_reply.take().unwrap();
                assert_eq!((reply.status.as_u16(), reply.details.as_str()), (503, "wasm_fail_stream"));
                drop(filter);
                assert_eq!(worker.lines.take(), [""; 0], "a trapped VM hears of no end");
                let filter = worker.open(&plugin, &stream()).await;
                assert_eq!(filter.request_headers(true).await, Verdict::Continue);
                assert_eq!(worker.lines.take(), ["1"]);
                assert_eq!((traps(&worker, kind), restarts(&worker)), (before.0 + 1, before.1 + 1), "{body}");
                assert_eq!(plugin.status().vms, vms + 1, "{body}");
                drop(filter);
                worker.lines.take();
            }
        }
    });
}

#[test]
fn the_log_names_the_functions_that_led_to_the_trap() {
    in_worker(async |worker| {
        let guest = trapping("(call $outermost)")
            .with("(func $outermost (call $innermost)) (func $innermost unreachable)");
        let plugin = worker.load(plugin(), guest).await;
        worker.open(&plugin, &trapped_stream()).await.request_headers(true).await;
        let log = worker.lines.host();
        for text in ["innermost", "outermost", "unreachable", "phase=\"request_headers\"", "plugin.name"] {
            assert!(log.contains(text), "{text} is not in: {log}");
        }
    });
}

#[test]
fn neighbours_in_a_shared_vm_follow_the_policy() {
    in_worker(async |worker| {
        for policy in [FailurePolicy::FailClosed, FailurePolicy::FailOpen] {
            let closed = policy == FailurePolicy::FailClosed;
            let guest = trapping("unreachable").on("request_body", "(i32.const 1)");
            let mut config = shared();
            config.on_failure = policy;
            let plugin = worker.load(config, guest).await;
            let (paused, between, sent) = (stream(), stream(), stream());
            let waiting = worker.open(&plugin, &paused).await;
            let next = worker.open(&plugin, &between).await;
            let late = worker.open(&plugin, &sent).await;
            assert_eq!(waiting.request_body(Bytes::from_static(b"held"), true).await, Verdict::Pause);
            sent.state().send_response();

            let bad = trapped_stream();
            let filter = worker.open(&plugin, &bad).await;
            let verdict = filter.request_headers(true).await;
            assert_eq!(verdict, if closed { Verdict::Interrupted } else { Verdict::Continue });

            timeout(Duration::from_millis(1), waiting.request_resumed())
                .await
                .expect("nobody else resumes it");
            assert_eq!(paused.is_interrupted(), closed);
            assert_eq!(waiting.take_request_body(), "held", "the bytes are not lost");
            assert_eq!(next.response_headers(true).await, verdict);
            assert_eq!(
                between.state().local_reply.as_ref().map(|reply| reply.status.as_u16()),
                closed.then_some(503)
            );
            assert_eq!(late.response_headers(true).await, verdict);
            assert!(
                sent.state().local_reply.is_none() && sent.state().reset == closed,
                "too late for an answer"
            );
            drop((waiting, next, late, filter));
            assert_eq!(worker.lines.take(), [""; 0], "the guest was not entered again");
            assert_eq!(plugin.status().vms, 0);
        }
    });
}

#[test]
fn other_plugins_and_other_vms_go_on() {
    in_worker(async |worker| {
        let mut other = shared();
        other.name = "other".into();
        let other = worker.load(other, trapping("unreachable")).await;
        let own = worker.load(plugin(), trapping("unreachable")).await;
        let elsewhere = worker.open(&other, &stream()).await;
        let neighbour = worker.open(&own, &stream()).await;
        let bad = worker.open(&own, &trapped_stream()).await;
        assert_eq!(bad.request_headers(true).await, Verdict::Interrupted);
        assert_eq!(elsewhere.request_headers(true).await, Verdict::Continue);
        assert_eq!(neighbour.request_headers(true).await, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["1", "1"]);
    });
}

#[test]
fn the_second_trap_in_a_row_waits_and_the_wait_ends_with_a_success() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let plugin = worker.load(mode, trapping("unreachable")).await;
            let trap = async || {
                let opened = worker.try_open(&plugin, &trapped_stream()).await;
                crate::support::filter(opened).request_headers(true).await
            };
            trap().await;
            trap().await;
            for _ in 0..3 {
                let refused = stream();
                assert!(matches!(worker.try_open(&plugin, &refused).await, Opened::Refused));
                assert_eq!(refused.state().local_reply.as_ref().unwrap().status, 503);
            }
            sleep(Duration::from_millis(1001)).await;
            trap().await;
            sleep(Duration::from_millis(1001)).await;
            assert!(
                matches!(worker.try_open(&plugin, &stream()).await, Opened::Refused),
                "two seconds by now"
            );
            sleep(Duration::from_millis(1001)).await;
            drop(worker.open(&plugin, &stream()).await);
            // That went well: the next trap is the first again.
            trap().await;
            worker.open(&plugin, &stream()).await;
        }
    });
}

#[test]
fn a_plugin_that_fails_open_is_skipped_while_it_waits() {
    in_worker(async |worker| {
        let mut open = shared();
        open.on_failure = FailurePolicy::FailOpen;
        let plugin = worker.load(open, trapping("unreachable")).await;
        for _ in 0..2 {
            assert_eq!(
                worker.open(&plugin, &trapped_stream()).await.request_headers(true).await,
                Verdict::Continue
            );
        }
        let stream = stream();
        assert!(matches!(worker.try_open(&plugin, &stream).await, Opened::Skip));
        assert!(!stream.is_interrupted());
    });
}

#[test]
fn a_trap_in_any_other_callback_costs_the_vm_as_well() {
    in_worker(async |worker| {
        for callback in ["request_body", "response_headers", "response_body", "done", "log", "delete"] {
            for mode in [plugin(), shared()] {
                let plugin = worker.load(mode, Guest::new().on(callback, "unreachable")).await;
                // Those of the rounds before, whose plugins have the same name.
                let before = plugin.status().vms;
                let filter = worker.open(&plugin, &stream()).await;
                filter.request_body(Bytes::new(), true).await;
                filter.response_headers(false).await;
                filter.response_body(Bytes::new(), true).await;
                filter.finish();
                assert_eq!(worker.lines.host().matches("the guest trapped").count(), 1, "{callback}");
                assert_eq!(plugin.status().vms, before, "{callback}");
                worker.open(&plugin, &stream()).await;
                worker.lines.take();
            }
        }
    });
}

#[test]
fn a_trap_while_a_context_is_made_follows_the_policy() {
    in_worker(async |worker| {
        for policy in [FailurePolicy::FailClosed, FailurePolicy::FailOpen] {
            for mut config in [plugin(), shared()] {
                config.on_failure = policy;
                let guest = Guest::new()
                    .on("context_create", "(if (local.get $parent) (then unreachable))")
                    .says("request_headers");
                let plugin = worker.load(config, guest).await;
                let filter = worker.open(&plugin, &stream()).await;
                let expected =
                    if policy == FailurePolicy::FailOpen { Verdict::Continue } else { Verdict::Interrupted };
                assert_eq!(filter.request_headers(true).await, expected);
                drop(filter);
                assert_eq!(worker.lines.take(), [""; 0]);
            }
        }
    });
}

#[test]
fn a_trap_in_a_timer_resumes_paused_streams_by_policy_and_spares_the_next_one() {
    in_worker(async |worker| {
        for mode in [plugin(), shared()] {
            let guest = Guest::new()
                .on(
                    "request_headers",
                    "(drop (call $set_tick_period_milliseconds (i32.const 100))) (i32.const 1)",
                )
                .on("tick", "unreachable")
                .says("response_headers");
            let plugin = worker.load(mode, guest).await;
            let stream_1 = stream();
            let filter = worker.open(&plugin, &stream_1).await;
            assert_eq!(filter.request_headers(true).await, Verdict::Pause);
            timeout(Duration::from_secs(1), filter.request_resumed()).await.expect("the policy's answer");
            assert_eq!(stream_1.state().local_reply.as_ref().unwrap().status, 503);
            drop(filter);
            let filter = worker.open(&plugin, &stream()).await;
            assert_eq!(filter.response_headers(true).await, Verdict::Continue);
            assert_eq!(worker.lines.take(), ["response_headers"]);
        }
    });
}

#[test]
fn a_vm_that_failed_while_it_was_idle_is_not_given_to_a_stream() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on(
                "request_headers",
                "(drop (call $set_tick_period_milliseconds (i32.const 100))) (i32.const 0)",
            )
            .on("tick", "unreachable")
            .says("response_headers");
        let plugin = worker.load(plugin(), guest).await;
        worker.open(&plugin, &stream()).await.request_headers(true).await;
        sleep(Duration::from_millis(150)).await;
        assert_eq!(traps(&worker, "unreachable"), 1);
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(filter.response_headers(true).await, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["response_headers"]);
    });
}

#[test]
fn a_trap_after_a_suspension_leaves_no_call_and_no_place() {
    in_worker(async |worker| {
        let payload = escaped(&call("a"));
        let guest = Guest::new().on(
            "request_headers",
            &format!("(drop (call $call_foreign_function <<agw_redis>> <<{payload}>> CELLS)) unreachable"),
        );
        let mut one = plugin();
        one.vm.max = 1;
        let plugin = worker.load(one, guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        let running = tokio::task::spawn_local(async move { filter.request_headers(true).await });
        worker.settle().await;
        worker.backend.answer("a", "x");
        assert_eq!(running.await.unwrap(), Verdict::Interrupted);
        assert_eq!((worker.backend.alive(), worker.backend.resource.in_flight()), (0, 0));
        timeout(Duration::from_millis(1), worker.open(&plugin, &stream())).await.expect("the one place");
    });
}
