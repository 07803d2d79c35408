//! Exclusive VMs: how many there are, who gets which, when they go.

use std::time::Duration;

use agw_config::FailurePolicy;
use agw_telemetry::PluginLabels;
use agw_wasm::Opened;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Guest, in_worker, plugin, shared, stream};

/// Counts the streams that its VM has served.
fn counting() -> Guest {
    Guest::new().on(
        "request_headers",
        "(global.set $a (i32.add (global.get $a) (i32.const 1))) (call $print (global.get $a)) (i32.const 0)",
    )
}

#[test]
fn a_vm_serves_one_stream_after_another_and_the_last_used_first() {
    in_worker(async |worker| {
        let plugin = worker.load(plugin(), counting()).await;
        for expected in ["1", "2", "3"] {
            let filter = worker.open(&plugin, &stream()).await;
            filter.request_headers(true).await;
            assert_eq!(worker.lines.take(), [expected]);
        }
        assert_eq!(plugin.status().vms, 1);
        let (one, two) = (worker.open(&plugin, &stream()).await, worker.open(&plugin, &stream()).await);
        assert_eq!(plugin.status().vms, 2);
        two.request_headers(true).await;
        drop(one);
        drop(two);
        worker.open(&plugin, &stream()).await.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["1", "2"]);
        let status = plugin.status();
        assert_eq!((status.name.as_str(), status.exclusive), ("p", true));
        assert_eq!(status.memory_bytes, 2 * (2 << 16));
    });
}

#[test]
fn a_shared_plugin_has_one_vm_however_many_streams_there_are() {
    in_worker(async |worker| {
        let plugin = worker.load(shared(), counting()).await;
        let mut filters = Vec::new();
        for _ in 0..100 {
            filters.push(worker.open(&plugin, &stream()).await);
        }
        assert_eq!((plugin.status().vms, plugin.status().exclusive), (1, false));
        for filter in &filters {
            filter.request_headers(true).await;
        }
        assert_eq!(worker.lines.take().last().unwrap(), "100");
    });
}

#[test]
fn at_the_bound_a_stream_waits_for_a_vm() {
    in_worker(async |worker| {
        let mut one = plugin();
        one.vm.max = 1;
        let plugin = worker.load(one, counting()).await;
        let first = worker.open(&plugin, &stream()).await;
        let started = Instant::now();
        let stream_2 = stream();
        let (second, ()) = tokio::join!(worker.open(&plugin, &stream_2), async {
            sleep(Duration::from_millis(500)).await;
            drop(first);
        });
        assert_eq!(started.elapsed().as_millis(), 500);
        second.request_headers(true).await;
        assert_eq!(plugin.status().vms, 1);
    });
}

#[test]
fn a_stream_that_waits_too_long_follows_the_policy() {
    in_worker(async |worker| {
        for policy in [FailurePolicy::FailClosed, FailurePolicy::FailOpen] {
            let mut one = plugin();
            (one.vm.max, one.on_failure) = (1, policy);
            let plugin = worker.load(one, counting()).await;
            let first = worker.open(&plugin, &stream()).await;
            let (stream_2, started) = (stream(), Instant::now());
            let opened = worker.try_open(&plugin, &stream_2).await;
            assert_eq!(started.elapsed().as_millis(), 1000);
            match policy {
                FailurePolicy::FailOpen => {
                    assert!(matches!(opened, Opened::Skip) && !stream_2.is_interrupted());
                }
                FailurePolicy::FailClosed => {
                    assert!(matches!(opened, Opened::Refused));
                    let reply = stream_2.state().local_reply.take().unwrap();
                    assert_eq!((reply.status.as_u16(), reply.details.as_str()), (503, "wasm_fail_stream"));
                }
            }
            drop(first);
            worker.open(&plugin, &stream()).await;
        }
    });
}

#[test]
fn whoever_stops_waiting_leaves_its_place_in_the_queue_to_others() {
    in_worker(async |worker| {
        let mut one = plugin();
        one.vm.max = 1;
        let plugin = worker.load(one, counting()).await;
        let first = worker.open(&plugin, &stream()).await;
        for _ in 0..10 {
            let stream = stream();
            let waiting = worker.pools.open(&plugin, &stream);
            assert!(timeout(Duration::from_millis(10), waiting).await.is_err());
        }
        drop(first);
        timeout(Duration::from_millis(1), worker.open(&plugin, &stream())).await.expect("the place");
    });
}

#[test]
fn vms_that_a_burst_left_behind_are_ended_and_one_stays_warm() {
    in_worker(async |worker| {
        let guest = counting()
            .on("done", "(call $say <<done>>) (i32.const 1)")
            .on("delete", "(call $print (local.get $ctx))");
        let plugin = worker.load(plugin(), guest).await;
        let mut burst = Vec::new();
        for _ in 0..5 {
            burst.push(worker.open(&plugin, &stream()).await);
        }
        drop(burst);
        assert_eq!(plugin.status().vms, 5);
        worker.lines.take();
        sleep(Duration::from_secs(55)).await;
        assert_eq!(plugin.status().vms, 5);
        sleep(Duration::from_secs(25)).await;
        assert_eq!(plugin.status().vms, 1);
        assert_eq!(worker.lines.take(), ["done", "1"].repeat(4), "each root context was told");
        let labels = PluginLabels { plugin: "p".into() };
        assert_eq!(worker.metrics.plugin_memory_bytes.get_or_create(&labels).get(), 2 << 16);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(plugin.status().vms, 1);
    });
}

#[test]
fn a_vm_in_use_is_not_reaped_and_a_root_that_says_no_delays_no_stream() {
    in_worker(async |worker| {
        let guest = counting().on("done", "(i32.const 0)");
        let plugin = worker.load(plugin(), guest).await;
        let used = worker.open(&plugin, &stream()).await;
        let mut burst = Vec::new();
        for _ in 0..3 {
            burst.push(worker.open(&plugin, &stream()).await);
        }
        drop(burst);
        sleep(Duration::from_secs(200)).await;
        assert_eq!(plugin.status().vms, 2);
        used.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["1"]);
    });
}

#[test]
fn more_vms_than_the_engine_has_is_an_answer_by_policy_and_not_a_crash() {
    in_worker(async |worker| {
        let mut many = plugin();
        many.vm.max = 1000;
        let plugin = worker.load(many, counting()).await;
        let mut open = Vec::new();
        let refused = loop {
            let stream = stream();
            match worker.try_open(&plugin, &stream).await {
                Opened::Filter(filter) => open.push(filter),
                Opened::Refused => break stream,
                Opened::Skip => panic!("the policy is fail_closed"),
            }
        };
        assert_eq!((open.len(), refused.is_interrupted()), (40, true));
        assert!(worker.lines.host().contains("no VM"), "{}", worker.lines.host());
        open.pop();
        sleep(Duration::from_secs(5)).await;
        worker.open(&plugin, &stream()).await;
    });
}

#[test]
fn two_plugins_of_one_name_have_their_own_vms() {
    in_worker(async |worker| {
        // As after an update of the configuration: streams of the old revision go on beside new ones.
        let old = worker.load(shared(), counting()).await;
        let new = worker.load(shared(), counting()).await;
        let (one, two) = (worker.open(&old, &stream()).await, worker.open(&new, &stream()).await);
        one.request_headers(true).await;
        two.request_headers(true).await;
        assert_eq!(worker.lines.take(), ["1", "1"]);
    });
}
