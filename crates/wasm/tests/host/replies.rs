//! A filter answers, resumes or closes its stream.

use agw_wasm::Verdict;
use bytes::Bytes;
use http::HeaderValue;
use tokio::time::{Duration, timeout};

use crate::support::{Guest, escaped, in_worker, plugin, shared, stream};

#[test]
fn the_first_local_response_wins() {
    in_worker(async |worker| {
        let headers = escaped(b"\x01\0\0\0\x03\0\0\0\x01\0\0\0X-A\x001\0");
        let guest = Guest::new().on(
            "request_headers",
            &format!(
                "(call $print (call $send_local_response (i32.const 429) <<too  many\\0arequests>> <<body\\ff>>
                   <<{headers}>> (i32.const -1)))
                 (call $print (call $send_local_response (i32.const 200) <<second>> <<>> <<>> (i32.const -1)))
                 (call $say <<the guest goes on>>)
                 (i32.const 0)"
            ),
        );
        let plugin = worker.load(plugin(), guest).await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        assert_eq!(filter.request_headers(true).await, Verdict::Interrupted);
        assert_eq!(worker.lines.guest(), ["0", "0", "the guest goes on"]);
        assert!(worker.lines.host().contains("answered already"));
        let reply = stream.state().local_reply.take().unwrap();
        assert_eq!((reply.status.as_u16(), reply.details.as_str()), (429, "too_many_requests"));
        assert_eq!(
            (&reply.body[..], &reply.headers["x-a"]),
            (&b"body\xff"[..], &HeaderValue::from_static("1"))
        );
    });
}

#[test]
fn a_local_response_after_the_head_has_gone_out_is_ignored() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "response_body",
            "(call $print (call $send_local_response (i32.const 200) <<>> <<>> <<>> (i32.const -1))) (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        stream.state().send_response();
        assert_eq!(filter.response_body(Bytes::from_static(b"x"), true).await, Verdict::Continue);
        assert_eq!(worker.lines.take(), ["0"]);
        assert!(stream.state().local_reply.is_none());
    });
}

#[test]
fn a_grpc_request_gets_a_grpc_answer() {
    in_worker(async |worker| {
        let guest = Guest::new().on(
            "request_headers",
            "(drop (call $send_local_response (i32.const 403) <<d>> <<no: \\c3\\a4 100%>> <<>> (i32.const 7))) (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let stream = stream();
            stream.state().request.headers.insert("content-type", HeaderValue::from_static(content_type));
            worker.open(&plugin, &stream).await.request_headers(true).await;
            let reply = stream.state().local_reply.take().unwrap();
            assert_eq!(reply.status.as_u16(), if grpc { 200 } else { 403 }, "{content_type}");
            assert_eq!(reply.body.is_empty(), grpc);
            if grpc {
                assert_eq!(reply.headers["grpc-status"], "7");
                assert_eq!(reply.headers["grpc-message"], "no: %C3%A4 100%25");
                assert_eq!(reply.headers["content-type"], "application/grpc");
            }
        }
    });
}

#[test]
fn close_stream_resets_without_an_answer() {
    in_worker(async |worker| {
        for kind in 0..=3 {
            let guest = Guest::new().on(
                "request_headers",
                &format!("(call $print (call $close_stream (i32.const {kind}))) (i32.const 1)"),
            );
            let plugin = worker.load(plugin(), guest).await;
            let stream = stream();
            let filter = worker.open(&plugin, &stream).await;
            worker.lines.take();
            assert_eq!(filter.request_headers(true).await, Verdict::Interrupted);
            assert_eq!(worker.lines.take(), ["0"]);
            assert!(stream.state().reset && stream.state().local_reply.is_none());
            timeout(Duration::from_secs(1), stream.interrupted()).await.unwrap();
        }
    });
}

#[test]
fn every_task_that_waits_learns_that_the_stream_is_interrupted() {
    in_worker(async |_| {
        let stream = stream();
        // The exchange waits for its answer, and a connection upstream for more of the body.
        let waiting = [stream.clone(), stream.clone()]
            .map(|stream| tokio::task::spawn_local(async move { stream.interrupted().await }));
        tokio::task::yield_now().await;
        stream.reset();
        for task in waiting {
            timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_callback_that_resumes_and_pauses_goes_on() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on("request_headers", "(drop (call $continue_stream (i32.const 0))) (i32.const 1)")
            .on("response_headers", "(drop (call $continue_stream (i32.const 1))) (i32.const 1)")
            // The other direction's resume is not this one's.
            .on("request_body", "(drop (call $continue_stream (i32.const 1))) (i32.const 1)");
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(filter.request_headers(false).await, Verdict::Continue);
        assert_eq!(filter.request_body(Bytes::from_static(b"x"), true).await, Verdict::Pause);
        assert!(timeout(Duration::from_secs(9), filter.request_resumed()).await.is_err());
        assert_eq!(filter.response_headers(false).await, Verdict::Continue);
    });
}

#[test]
fn a_resume_from_before_does_not_let_a_later_pause_through() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on("request_headers", "(drop (call $continue_stream (i32.const 0))) (i32.const 0)")
            .on("request_body", "(i32.const 1)");
        let plugin = worker.load(plugin(), guest).await;
        let filter = worker.open(&plugin, &stream()).await;
        assert_eq!(filter.request_headers(false).await, Verdict::Continue);
        assert_eq!(filter.request_body(Bytes::from_static(b"x"), true).await, Verdict::Pause);
        assert!(timeout(Duration::from_secs(9), filter.request_resumed()).await.is_err());
    });
}

#[test]
fn a_tick_resumes_or_answers_a_paused_stream_through_the_effective_context() {
    in_worker(async |worker| {
        for (mode, answer) in [(shared(), false), (shared(), true), (plugin(), false), (plugin(), true)] {
            let act = if answer {
                "(drop (call $send_local_response (i32.const 204) <<>> <<>> <<>> (i32.const -1)))"
            } else {
                "(drop (call $continue_stream (i32.const 0)))"
            };
            let guest = Guest::new()
                .on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 100))) (i32.const 1)")
                .on("request_headers", "(global.set $a (local.get $ctx)) (i32.const 1)")
                .on(
                    "tick",
                    &format!(
                        "(if (global.get $a) (then
                           (call $print (call $set_effective_context (global.get $a))) {act} (global.set $a (i32.const 0))))"
                    ),
                );
            let plugin = worker.load(mode, guest).await;
            let stream = stream();
            let filter = worker.open(&plugin, &stream).await;
            worker.lines.take();
            assert_eq!(filter.request_headers(true).await, Verdict::Pause);
            if answer {
                timeout(Duration::from_secs(1), stream.interrupted()).await.unwrap();
                assert_eq!(stream.state().local_reply.take().unwrap().status, 204);
            } else {
                timeout(Duration::from_secs(1), filter.request_resumed()).await.unwrap();
                assert!(!stream.is_interrupted());
            }
            assert_eq!(worker.lines.take(), ["0"]);
        }
    });
}
