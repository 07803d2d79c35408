//! Bodies: what a filter sees, keeps and changes.

use agw_wasm::Verdict;
use bytes::Bytes;

use crate::support::{Guest, Worker, in_worker, plugin, stream};

const READ: &str = "(call $print (local.get $size)) (call $print (local.get $eos))
    (call $print (call $get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) CELLS))
    (call $got)";

async fn chunk(filter: &agw_wasm::Filter, text: &'static str, end: bool) -> Verdict {
    filter.request_body(Bytes::from_static(text.as_bytes()), end).await
}

#[test]
fn a_body_grows_while_the_filter_pauses() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_body", &format!("{READ} (i32.eqz (local.get $eos))"));
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(chunk(&filter, "hello", false).await, Verdict::Pause);
        assert_eq!(worker.lines.take(), ["5", "0", "0", "hello"]);
        assert_eq!(chunk(&filter, " again ", false).await, Verdict::Pause);
        assert_eq!(worker.lines.take(), ["12", "0", "0", "hello again "]);
        assert_eq!(filter.request_body_len(), 12);
        assert_eq!(chunk(&filter, "hello", true).await, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["17", "1", "0", "hello again hello"]);
        assert_eq!(filter.take_request_body(), "hello again hello");
        assert_eq!((filter.request_body_len(), filter.take_request_body()), (0, Bytes::new()));
    });
}

#[test]
fn a_body_that_was_let_go_is_not_seen_again() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_body", &format!("{READ} (i32.const 0)")).on(
            "response_headers",
            "(call $print (call $get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 9) CELLS))
             (call $print (call $set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) <<late>>))
             (call $print (call $get_buffer_status (i32.const 0) CELLS))
             (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        for text in ["one", "two"] {
            assert_eq!(chunk(&filter, text, false).await, Verdict::Continue);
            assert_eq!(filter.take_request_body(), text);
            assert_eq!(worker.lines.take(), ["3", "0", "0", text]);
        }
        filter.response_headers(true).await;
        assert_eq!(worker.lines.take(), ["1", "1", "1"]);
        assert_eq!(filter.take_request_body(), "");
    });
}

#[test]
fn an_empty_last_chunk_is_delivered() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_body",
            "(call $print (local.get $size)) (call $print (local.get $eos))
             (i32.store (i32.const 8) (i32.const 77))
             (call $print (call $get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 9) CELLS))
             (call $print (i32.load (i32.const 8))) (call $print (i32.load (i32.const 12))) (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(chunk(&filter, "", true).await, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["0", "1", "0", "0", "0"]);
    });
}

/// What the body is after `set_buffer_bytes(start, len, value)`.
async fn spliced(worker: &Worker, start: &str, len: &str, value: &str) -> Bytes {
    let guest = Guest::new().on(
        "request_body",
        &format!(
            "(call $print (call $set_buffer_bytes (i32.const 0) (i32.const {start}) (i32.const {len}) <<{value}>>))
             (call $print (call $get_buffer_status (i32.const 0) CELLS))
             (call $print (i32.load (i32.const 8))) (call $print (i32.load (i32.const 12)))
             (i32.const 0)"
        ),
    );
    let plugin = worker.load(plugin(), guest).await;
    let filter = worker.open(&plugin, &stream()).await;
    worker.lines.take();
    chunk(&filter, "hello", true).await;
    let body = filter.take_request_body();
    assert_eq!(worker.lines.take(), ["0", "0", &body.len().to_string(), "0"]);
    body
}

#[test]
fn a_body_can_be_prepended_appended_replaced_spliced_and_emptied() {
    in_worker(async |worker| {
        assert_eq!(spliced(&worker, "0", "0", "\\3e").await, ">hello");
        assert_eq!(spliced(&worker, "5", "0", "<").await, "hello<");
        assert_eq!(spliced(&worker, "-1", "-1", "<").await, "hello<");
        assert_eq!(spliced(&worker, "0", "-1", "new").await, "new");
        assert_eq!(spliced(&worker, "0", "2", "J").await, "Jllo");
        assert_eq!(spliced(&worker, "1", "3", "-").await, "h-o");
        assert_eq!(spliced(&worker, "3", "-1", "p").await, "help");
        assert_eq!(spliced(&worker, "0", "-1", "").await, "");
        assert_eq!(spliced(&worker, "2", "0", "").await, "hello");
    });
}

#[test]
fn a_range_of_a_body_is_cut_at_its_end() {
    in_worker(async |worker| {
        let read = |start: &str, max: &str| {
            format!(
                "(call $print (call $get_buffer_bytes (i32.const 1) (i32.const {start}) (i32.const {max}) CELLS)) (call $got)"
            )
        };
        let body =
            [read("1", "3"), read("4", "9"), read("5", "1"), read("-1", "-1"), read("0", "0")].concat();
        let guest = Guest::new().on("response_body", &format!("{body} (i32.const 0)"));
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        filter.response_body(Bytes::from_static(b"hello"), true).await;
        assert_eq!(worker.lines.take(), ["0", "ell", "0", "o", "0", "", "0", "", "0", ""]);
        assert_eq!(filter.take_response_body(), "hello");
    });
}

#[test]
fn a_paused_body_is_readable_from_other_callbacks() {
    in_worker(async |worker| {
        let guest = Guest::new().on("request_body", "(i32.const 1)").on(
            "response_headers",
            "(call $print (call $set_buffer_bytes (i32.const 0) (i32.const 9) (i32.const 0) <<!>>))
             (call $print (call $get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 9) CELLS)) (call $got)
             (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(chunk(&filter, "held", false).await, Verdict::Pause);
        filter.response_headers(true).await;
        assert_eq!(worker.lines.take(), ["0", "0", "held!"]);
        assert_eq!(filter.take_request_body(), "held!");
    });
}

#[test]
fn the_wide_actions_of_envoy_pause_and_one_drops_the_bytes() {
    in_worker(async |worker| {
        for (action, verdict, kept) in [
            (1, Verdict::Pause, "body"),
            (2, Verdict::Pause, "body"),
            (3, Verdict::Pause, ""),
            (4, Verdict::Pause, "body"),
            (-1, Verdict::Pause, "body"),
            (0, Verdict::Continue, "body"),
        ] {
            let guest = Guest::new().on("request_body", &format!("(i32.const {action})"));
            let plugin = worker.load(plugin(), guest).await;
            let filter = worker.open(&plugin, &stream()).await;
            assert_eq!(chunk(&filter, "body", false).await, verdict, "{action}");
            assert_eq!(filter.take_request_body(), kept, "{action}");
        }
    });
}

#[test]
fn a_guest_cannot_make_a_body_grow_without_bound() {
    in_worker(async |worker| {
        // 16 MiB of appended bytes in each step, until the host says no.
        let guest = Guest::new().memory(r#"(memory (export "memory") 200)"#).on(
            "request_body",
            "(local $i i32) (local $status i32)
             (loop $next
               (local.set $status (call $set_buffer_bytes (i32.const 0) (i32.const -1) (i32.const 0)
                 (i32.const 0) (i32.const 13000000)))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $next (i32.and (i32.eqz (local.get $status)) (i32.lt_u (local.get $i) (i32.const 30)))))
             (call $print (local.get $status))
             (i32.const 0)",
        );
        let mut plugin = plugin();
        plugin.limits.cpu_time = std::time::Duration::from_secs(20);
        let plugin = worker.load(plugin, guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        chunk(&filter, "x", true).await;
        assert_eq!(worker.lines.take(), ["10"]);
        assert!(filter.request_body_len() <= 64 << 20);
    });
}
