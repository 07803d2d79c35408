//! Every hostcall with good arguments, and with addresses, lengths and numbers that a hostile guest makes up.

use std::time::Duration;

use agw_telemetry::TrapLabels;
use agw_wasm::Verdict;

use crate::support::{Guest, Worker, escaped, in_worker, plugin, stream};

/// The guest's memory has this many bytes.
const END: u32 = 2 << 16;

/// What the expressions' statuses are in `request_headers`.
async fn statuses(worker: &Worker, expressions: &[&str]) -> Vec<String> {
    let body: String = expressions.iter().map(|e| format!("(call $print (call ${e}))\n")).collect();
    worker.said(plugin(), Guest::new().on("request_headers", &(body + "(i32.const 0)"))).await
}

/// Asserts that the guest traps, by the host's decision, and its stream is answered.
async fn assert_traps(worker: &Worker, guest: Guest, what: &str) {
    let plugin = worker.load(plugin(), guest).await;
    let stream = stream();
    let filter = worker.open(&plugin, &stream).await;
    worker.lines.take();
    assert_eq!(filter.request_headers(true).await, Verdict::Interrupted, "{what}");
    let reply = stream.state().local_reply.take().expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.details.as_str()), (503, "wasm_fail_stream"), "{what}");
    assert_eq!(worker.lines.guest(), [""; 0], "{what}");
}

fn host_traps(worker: &Worker) -> u64 {
    worker.metrics.traps.get_or_create(&TrapLabels { plugin: "p".into(), kind: "host" }).get()
}

/// Calls with an address and a length (`BAD`) or a cell (`CELL`) to be put in.
const WITH_ADDRESSES: &[&str] = &[
    "log (i32.const 2) BAD",
    "get_log_level CELL",
    "get_current_time_nanoseconds CELL",
    "get_status CELL CELLS",
    "get_status (i32.const 16) CELL (i32.const 12)",
    "get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const 9) CELL (i32.const 12)",
    "get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const 9) (i32.const 8) CELL",
    "get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 8) CELL",
    "get_buffer_status (i32.const 6) CELL (i32.const 8)",
    "get_buffer_status (i32.const 6) (i32.const 8) CELL",
    "set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) BAD",
    "get_header_map_size (i32.const 0) CELL",
    "get_header_map_pairs (i32.const 0) CELL (i32.const 12)",
    "get_header_map_pairs (i32.const 0) (i32.const 8) CELL",
    "set_header_map_pairs (i32.const 0) BAD",
    "get_header_map_value (i32.const 0) BAD CELLS",
    "get_header_map_value (i32.const 0) <<x-key>> CELL (i32.const 12)",
    "get_header_map_value (i32.const 0) <<x-key>> (i32.const 8) CELL",
    "add_header_map_value (i32.const 0) BAD <<v>>",
    "add_header_map_value (i32.const 0) <<k>> BAD",
    "replace_header_map_value (i32.const 0) BAD <<v>>",
    "replace_header_map_value (i32.const 0) <<k>> BAD",
    "remove_header_map_value (i32.const 0) BAD",
    "send_local_response (i32.const 200) BAD <<>> <<>> (i32.const -1)",
    "send_local_response (i32.const 200) <<>> BAD <<>> (i32.const -1)",
    "send_local_response (i32.const 200) <<>> <<>> BAD (i32.const -1)",
    "get_shared_data BAD CELLS (i32.const 16)",
    "set_shared_data BAD <<v>> (i32.const 0)",
    "set_shared_data <<k>> BAD (i32.const 0)",
    "register_shared_queue <<q>> CELL",
    "define_metric (i32.const 0) BAD (i32.const 8)",
    "define_metric (i32.const 0) <<m>> CELL",
    "get_property BAD CELLS",
    "get_property <<plugin_name>> CELL (i32.const 12)",
    "set_property BAD <<v>>",
    "set_property <<k>> BAD",
    "call_foreign_function BAD <<p>> CELLS",
    "call_foreign_function <<agw_redis>> BAD CELLS",
    "call_foreign_function <<agw_redis>> <<>> CELL (i32.const 12)",
    "fd_write (i32.const 1) BAD (i32.const 8)",
    "clock_time_get (i32.const 0) (i64.const 0) CELL",
    "random_get BAD",
    "environ_sizes_get CELL (i32.const 8)",
    "environ_sizes_get (i32.const 8) CELL",
];

#[test]
fn addresses_and_lengths_outside_the_memory_trap() {
    let last = END - 3;
    in_worker(async |worker| {
        let bad = [
            format!("(i32.const {last}) (i32.const 4)"),
            format!("(i32.const {END}) (i32.const 1)"),
            "(i32.const -1) (i32.const 2)".into(),
            "(i32.const 16) (i32.const 0x7fffffff)".into(),
            "(i32.const 16) (i32.const -1)".into(),
            "(i32.const -1) (i32.const -1)".into(),
        ];
        let cells = [format!("(i32.const {last})"), "(i32.const -1)".into(), "(i32.const -4)".into()];
        let mut traps = 0;
        for call in WITH_ADDRESSES {
            let (pattern, values) =
                if call.contains("BAD") { ("BAD", &bad[..]) } else { ("CELL ", &cells[..]) };
            // As many vectors or random bytes are no address but a wrong number: see below.
            let wasi = call.starts_with("fd_write") || call.starts_with("random_get");
            for value in values.iter().take(if wasi { 3 } else { values.len() }) {
                let call = format!("{call} ").replace(pattern, &format!("{value} "));
                let guest = Guest::new()
                    .on("request_headers", &format!("(call $print (call ${call})) (i32.const 0)"));
                assert_traps(&worker, guest, &call).await;
                traps += 1;
            }
        }
        assert_eq!(host_traps(&worker), traps);
    });
}

#[test]
fn a_vector_of_a_write_that_reaches_outside_the_memory_traps() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            "(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 0x7fffffff))
             (call $print (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
             (i32.const 0)",
        );
        assert_traps(&worker, guest, "fd_write").await;
    });
}

#[test]
fn cells_and_bytes_at_the_very_end_of_the_memory_are_good() {
    in_worker(async |worker| {
        let last = END - 4;
        let expressions = [
            &*format!("get_log_level (i32.const {last})"),
            &*format!("get_current_time_nanoseconds (i32.const {})", END - 8),
            &*format!(
                "get_header_map_value (i32.const 0) <<x-key>> (i32.const {}) (i32.const {last})",
                END - 8
            ),
            &*format!("get_header_map_pairs (i32.const 0) (i32.const {last}) (i32.const {})", END - 8),
            &*format!("log (i32.const 2) (i32.const {END}) (i32.const 0)"),
            &*format!("set_property (i32.const {}) (i32.const 8) (i32.const {END}) (i32.const 0)", END - 8),
            &*format!("random_get (i32.const {}) (i32.const 64)", END - 64),
            &*format!("environ_sizes_get (i32.const {}) (i32.const {last})", END - 8),
        ];
        assert_eq!(statuses(&worker, &expressions).await, ["0", "0", "0", "0", "", "0", "0", "0", "0"]);
    });
}

#[test]
fn an_empty_value_may_have_any_address() {
    in_worker(async |worker| {
        let expressions = [
            "set_shared_data <<k>> (i32.const 0) (i32.const 0) (i32.const 0)",
            "get_shared_data <<k>> CELLS (i32.const 16)",
        ];
        let body: String = expressions.iter().map(|e| format!("(call $print (call ${e}))")).collect();
        let guest = Guest::new().on(
            "request_headers",
            &format!(
                "(i32.store (i32.const 8) (i32.const 99)) {body} (call $print (i32.load (i32.const 8)))
                 (call $print (i32.load (i32.const 12))) (i32.const 0)"
            ),
        );
        assert_eq!(worker.said(plugin(), guest).await, ["0", "0", "0", "0"]);
    });
}

#[test]
fn numbers_that_the_abi_does_not_have_are_bad_arguments() {
    in_worker(async |worker| {
        let expressions = [
            "log (i32.const 6) <<x>>",
            "log (i32.const -1) <<x>>",
            "set_effective_context (i32.const 0)",
            "set_effective_context (i32.const 99)",
            "get_buffer_bytes (i32.const 9) (i32.const 0) (i32.const 1) CELLS",
            "get_buffer_bytes (i32.const -1) (i32.const 0) (i32.const 1) CELLS",
            "get_buffer_status (i32.const 9) CELLS",
            "set_buffer_bytes (i32.const 9) (i32.const 0) (i32.const 0) <<x>>",
            "set_buffer_bytes (i32.const 6) (i32.const 0) (i32.const 0) <<x>>",
            "set_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 0) <<x>>",
            "set_buffer_bytes (i32.const 8) (i32.const 0) (i32.const 0) <<x>>",
            "get_header_map_size (i32.const 8) (i32.const 8)",
            "get_header_map_pairs (i32.const 8) CELLS",
            "set_header_map_pairs (i32.const 8) <<\\00\\00\\00\\00>>",
            "get_header_map_value (i32.const 8) <<x-key>> CELLS",
            "add_header_map_value (i32.const 8) <<k>> <<v>>",
            "replace_header_map_value (i32.const -1) <<k>> <<v>>",
            "remove_header_map_value (i32.const 8) <<k>>",
            "continue_stream (i32.const 4)",
            "close_stream (i32.const 4)",
            "define_metric (i32.const 3) <<m>> (i32.const 8)",
            "define_metric (i32.const 0) <<\\ff>> (i32.const 8)",
        ];
        assert_eq!(statuses(&worker, &expressions).await, vec!["2"; expressions.len()]);
    });
}

#[test]
fn a_local_response_with_a_status_that_is_none_traps() {
    in_worker(async |worker| {
        for status in ["0", "99", "101", "199", "600", "1000", "65736", "-1"] {
            let call = format!("send_local_response (i32.const {status}) <<>> <<>> <<>> (i32.const -1)");
            let guest =
                Guest::new().on("request_headers", &format!("(call $print (call ${call})) (i32.const 0)"));
            assert_traps(&worker, guest, &call).await;
        }
        for headers in
            ["\\01", "\\01\\00\\00\\00", "\\01\\00\\00\\00\\01\\00\\00\\00\\01\\00\\00\\00 \\00v\\00"]
        {
            let call = format!("send_local_response (i32.const 200) <<>> <<>> <<{headers}>> (i32.const -1)");
            let guest =
                Guest::new().on("request_headers", &format!("(call $print (call ${call})) (i32.const 0)"));
            assert_traps(&worker, guest, &call).await;
        }
    });
}

#[test]
fn what_is_not_there_is_not_found_and_callouts_fail_as_the_sdks_survive() {
    in_worker(async |worker| {
        let i = |n: usize| "(i32.const 0) ".repeat(n);
        let http = format!("http_call {}", i(10));
        let call = format!("grpc_call {}", i(12));
        let grpc = format!("grpc_stream {}", i(9));
        let cases = [
            ("done", "1"),
            ("get_status (i32.const 16) CELLS", "0"),
            ("get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 1) CELLS", "1"),
            ("get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const 1) CELLS", "1"),
            ("get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 1) CELLS", "1"),
            ("get_buffer_bytes (i32.const 8) (i32.const 0) (i32.const 1) CELLS", "1"),
            ("get_buffer_status (i32.const 0) CELLS", "1"),
            ("get_buffer_status (i32.const 1) CELLS", "1"),
            ("set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) <<x>>", "1"),
            ("get_header_map_value (i32.const 0) <<absent>> CELLS", "1"),
            ("get_header_map_value (i32.const 0) <<no token>> CELLS", "1"),
            ("get_header_map_value (i32.const 0) <<\\ff>> CELLS", "1"),
            ("get_header_map_value (i32.const 0) <<>> CELLS", "1"),
            ("remove_header_map_value (i32.const 0) <<absent>>", "0"),
            ("remove_header_map_value (i32.const 0) <<\\ff>>", "0"),
            ("get_shared_data <<absent>> CELLS (i32.const 16)", "1"),
            ("increment_metric (i32.const 0) (i64.const 1)", "1"),
            ("increment_metric (i32.const -1) (i64.const 1)", "1"),
            ("record_metric (i32.const 4) (i64.const 1)", "1"),
            ("get_metric (i32.const 5) (i32.const 8)", "1"),
            ("get_property <<absent>> CELLS", "1"),
            ("get_property <<>> CELLS", "1"),
            ("get_property <<\\ff\\00\\fe>> CELLS", "1"),
            ("call_foreign_function <<absent>> <<>> CELLS", "1"),
            ("call_foreign_function <<\\ff>> <<>> CELLS", "1"),
            ("call_foreign_function <<>> <<>> CELLS", "1"),
            (&http, "10"),
            (&call, "10"),
            (&grpc, "10"),
            ("grpc_send (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)", "1"),
            ("grpc_cancel (i32.const 1)", "1"),
            ("grpc_close (i32.const 1)", "1"),
            ("register_shared_queue <<q>> (i32.const 8)", "0"),
            ("resolve_shared_queue <<>> <<q>> (i32.const 8)", "1"),
            ("enqueue_shared_queue (i32.const 1) <<v>>", "1"),
            ("dequeue_shared_queue (i32.const 1) CELLS", "7"),
        ];
        let expressions: Vec<_> = cases.iter().map(|(expression, _)| *expression).collect();
        let expected: Vec<_> = cases.iter().map(|(_, status)| *status).collect();
        assert_eq!(statuses(&worker, &expressions).await, expected);
        assert_eq!(worker.lines.host().matches("not supported yet").count(), 0, "said() has taken the lines");
    });
}

#[test]
fn a_missing_callout_is_logged_once_for_each_plugin() {
    in_worker(async |worker| {
        let call = "(drop (call $grpc_cancel (i32.const 1)))";
        let plugin = worker
            .load(plugin(), Guest::new().on("request_headers", &format!("{call} {call} (i32.const 0)")))
            .await;
        for _ in 0..3 {
            worker.open(&plugin, &stream()).await.request_headers(true).await;
        }
        assert_eq!(worker.lines.host().matches("not supported yet").count(), 1);
    });
}

#[test]
fn wasi_answers_with_its_own_errors() {
    in_worker(async |worker| {
        let expressions = [
            "fd_write (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)",
            "fd_write (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 8)",
            "fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)",
            "fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8)",
            "clock_time_get (i32.const 2) (i64.const 0) (i32.const 8)",
            "clock_time_get (i32.const 1) (i64.const -1) (i32.const 8)",
            "random_get (i32.const 0) (i32.const 65537)",
            "random_get (i32.const 0) (i32.const -1)",
            "random_get (i32.const 0) (i32.const 0)",
        ];
        assert_eq!(statuses(&worker, &expressions).await, ["8", "8", "28", "0", "58", "0", "28", "28", "0"]);
    });
}

#[test]
fn a_huge_vector_of_writes_is_one_bounded_line() {
    in_worker(async |worker| {
        // 4,000 vectors of 100,000 bytes each, all of the same zeros.
        let guest = Guest::new().on(
            "request_headers",
            "(local $at i32)
             (local.set $at (i32.const 70000))
             (loop $next
               (i32.store (local.get $at) (i32.const 10000))
               (i32.store offset=4 (local.get $at) (i32.const 100000))
               (local.set $at (i32.add (local.get $at) (i32.const 8)))
               (br_if $next (i32.lt_u (local.get $at) (i32.const 102000))))
             (memory.fill (i32.const 10000) (i32.const 65) (i32.const 50000))
             (call $print (call $fd_write (i32.const 1) (i32.const 70000) (i32.const 4000) (i32.const 8)))
             (call $print (i32.load (i32.const 8)))
             (call $print (call $log (i32.const 2) (i32.const 10000) (i32.const 50000)))
             (i32.const 0)",
        );
        let said = worker.said(plugin(), guest).await;
        assert_eq!(said[1..3], ["0", "400000000"]);
        assert_eq!(said[4], "0");
        assert_eq!((said[0].len(), said[3].len()), (16 << 10, 16 << 10));
    });
}

#[test]
fn standard_output_becomes_lines_that_stay_one_line() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            "(i32.store (i32.const 16) (i32.const 40)) (i32.store (i32.const 20) (i32.const 4))
             (i32.store (i32.const 24) (i32.const 44)) (i32.store (i32.const 28) (i32.const 2))
             (i32.store (i32.const 40) (i32.const 0x0a624161)) (i32.store (i32.const 44) (i32.const 0x0a78))
             (call $print (call $fd_write (i32.const 2) (i32.const 16) (i32.const 2) (i32.const 8)))
             (call $print (i32.load (i32.const 8)))
             (i32.const 0)",
        );
        assert_eq!(worker.said(plugin(), guest).await, ["aAb\\nx", "0", "6"]);
    });
}

#[test]
fn proc_exit_is_a_trap_with_the_code_in_the_log() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_headers", "(call $proc_exit (i32.const 3)) (i32.const 0)");
        assert_traps(&worker, guest, "proc_exit").await;
        assert!(worker.lines.host().contains("proc_exit(3)"), "{}", worker.lines.host());
    });
}

// === the allocator ===

fn reads_a_header(malloc: &str) -> Guest {
    Guest::new().malloc(malloc).on(
        "request_headers",
        "(call $print (call $get_header_map_value (i32.const 0) <<x-key>> CELLS)) (i32.const 0)",
    )
}

#[test]
fn an_allocator_without_memory_or_with_a_bad_address_traps() {
    in_worker(async |worker| {
        for body in [
            "(i32.const 0)",
            "(i32.const -1)",
            "(i32.const -8)",
            "(i32.const 131068)",
            "unreachable",
            "(call $proc_exit (i32.const 1)) (i32.const 8)",
            "(drop (call $get_header_map_value (i32.const 0) <<x-key>> CELLS)) (i32.const 70000)",
            "(drop (call $get_property <<plugin_name>> CELLS)) (i32.const 70000)",
            "(drop (call $get_shared_data <<k>> CELLS (i32.const -1))) (call $malloc (local.get 0))",
        ] {
            let malloc = format!(r#"(func $malloc (export "malloc") (param i32) (result i32) {body})"#);
            // The text of the allocator is not expanded: it is given as part of the body.
            let guest = Guest::new().malloc("").with(&malloc).on(
                "request_headers",
                "(call $print (call $get_header_map_value (i32.const 0) <<x-key>> CELLS)) (i32.const 0)",
            );
            assert_traps(&worker, guest, body).await;
        }
    });
}

#[test]
fn an_allocator_that_never_returns_ends_at_the_cpu_limit() {
    in_worker(async |worker| {
        let malloc = r#"(func (export "malloc") (param i32) (result i32) (loop $l (br $l)) (i32.const 0))"#;
        let mut plugin = plugin();
        plugin.limits.cpu_time = Duration::from_millis(30);
        let plugin = worker.load(plugin, reads_a_header(malloc)).await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        assert_eq!(filter.request_headers(true).await, Verdict::Interrupted);
        let labels = TrapLabels { plugin: "p".into(), kind: "cpu" };
        assert_eq!(worker.metrics.traps.get_or_create(&labels).get(), 1);
    });
}

#[test]
fn an_allocator_may_log_and_grow_the_memory() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .malloc("")
            .with(
                r#"(func (export "malloc") (param i32) (result i32)
                     (call $print (local.get 0))
                     (i32.shl (memory.grow (i32.const 1)) (i32.const 16)))"#,
            )
            .on(
                "request_headers",
                "(call $print (call $get_header_map_value (i32.const 0) <<x-key>> CELLS)) (call $got)
                 (call $print (i32.load (i32.const 8))) (i32.const 0)",
            );
        assert_eq!(worker.said(plugin(), guest).await, ["5", "0", "value", "131072"]);
    });
}

#[test]
fn hostcalls_that_return_bytes_in_the_start_section_trap_and_others_work() {
    in_worker(async |worker| {
        let start = |body: &str| Guest::new().with(&format!("(func $begin {body}) (start $begin)"));
        worker
            .load(
                plugin(),
                start("(drop (call $get_current_time_nanoseconds (i32.const 8))) (call $say <<started>>)"),
            )
            .await;
        assert_eq!(worker.lines.take(), ["started"]);
        for body in [
            "(drop (call $get_property <<plugin_name>> CELLS))",
            "(drop (call $get_header_map_pairs (i32.const 0) CELLS))",
            "(drop (call $call_foreign_function <<agw_redis>> <<>> CELLS))",
        ] {
            assert!(worker.load_plain(plugin(), start(body)).await.is_err(), "{body}");
        }
    });
}

#[test]
fn hostcalls_of_a_stream_do_nothing_in_a_root_context() {
    in_worker(async |worker| {
        let pairs = escaped(&[0, 0, 0, 0]);
        let calls = [
            "get_header_map_value (i32.const 0) <<x-key>> CELLS",
            "get_header_map_pairs (i32.const 0) CELLS",
            "get_header_map_size (i32.const 0) (i32.const 8)",
            &*format!("set_header_map_pairs (i32.const 0) <<{pairs}>>"),
            "add_header_map_value (i32.const 0) <<k>> <<v>>",
            "get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 1) CELLS",
            "set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) <<x>>",
            "get_property <<request\\00path>> CELLS",
            "set_property <<k>> <<v>>",
            "continue_stream (i32.const 0)",
            "close_stream (i32.const 0)",
            "send_local_response (i32.const 200) <<>> <<>> <<>> (i32.const -1)",
            "set_effective_context (i32.const 1)",
        ];
        let body: String = calls.iter().map(|call| format!("(call $print (call ${call}))")).collect();
        worker.load(plugin(), Guest::new().on("configure", &(body + "(i32.const 1)"))).await;
        let expected = ["1", "0", "0", "0", "0", "1", "1", "1", "1", "0", "0", "0", "0"];
        assert_eq!(worker.lines.take(), expected);
    });
}
