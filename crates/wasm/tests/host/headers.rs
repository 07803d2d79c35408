//! Header maps in each phase.

use agw_wasm::{ResponseHead, Stream, Verdict};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::support::{Guest, Worker, escaped, in_worker, plugin, stream};

fn response() -> ResponseHead {
    let mut headers = HeaderMap::new();
    headers.insert("server", HeaderValue::from_static("up"));
    ResponseHead { status: StatusCode::OK, headers }
}

/// A guest that makes the calls in one callback and prints each status.
fn calling(callback: &str, calls: &[&str]) -> Guest {
    let result = if callback == "log" { "" } else { "(i32.const 0)" };
    let body: String = calls.iter().map(|call| format!("(call $print (call ${call}))\n")).collect();
    Guest::new().on(callback, &(body + result))
}

async fn in_request(worker: &Worker, stream: &std::sync::Arc<Stream>, calls: &[&str]) -> Vec<String> {
    let plugin = worker.load(plugin(), calling("request_headers", calls)).await;
    let filter = worker.open(&plugin, stream).await;
    worker.lines.take();
    assert_eq!(filter.request_headers(true).await, Verdict::Continue);
    worker.lines.take()
}

/// Serialized pairs, made by the document and not by the host's code.
fn pairs(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
    for (key, value) in pairs {
        out.extend((key.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (key, value) in pairs {
        out.extend([key.as_bytes(), &[0], value, &[0]].concat());
    }
    out
}

#[test]
fn a_map_that_is_not_there_yet_is_empty_and_takes_no_change() {
    in_worker(async |worker| {
        let stream = stream();
        for map in 1..=7 {
            let calls = [
                format!("get_header_map_value (i32.const {map}) <<k>> CELLS"),
                format!("get_header_map_pairs (i32.const {map}) CELLS"),
                format!("get_header_map_size (i32.const {map}) (i32.const 8)"),
                format!("add_header_map_value (i32.const {map}) <<k>> <<v>>"),
                format!("replace_header_map_value (i32.const {map}) <<k>> <<v>>"),
                format!("remove_header_map_value (i32.const {map}) <<k>>"),
                format!("set_header_map_pairs (i32.const {map}) <<{}>>", escaped(&pairs(&[("k", b"v")]))),
            ];
            let calls: Vec<_> = calls.iter().map(String::as_str).collect();
            assert_eq!(
                in_request(&worker, &stream, &calls).await,
                ["1", "0", "0", "0", "0", "0", "0"],
                "{map}"
            );
        }
        let state = stream.state();
        assert!(state.response.is_none() && state.request_trailers.is_none() && !state.route_stale);
    });
}

#[test]
fn values_are_read_by_any_case_and_a_repeated_header_gives_its_first() {
    in_worker(async |worker| {
        let reads: String = ["X-KEY", "x-many", ":path", ":method", ":scheme", ":authority", "Host"]
            .iter()
            .map(|key| {
                format!(
                    "(call $print (call $get_header_map_value (i32.const 0) <<{key}>> CELLS)) (call $got)"
                )
            })
            .collect();
        let guest = Guest::new()
            .on("request_headers", &format!("(call $print (local.get $n)) {reads} (i32.const 0)"));
        let expected = [
            "8",
            "0",
            "value",
            "0",
            "one",
            "0",
            "/path?query",
            "0",
            "GET",
            "0",
            "http",
            "0",
            "a.example:80",
            "0",
            "a.example:80",
        ];
        assert_eq!(worker.said(plugin(), guest).await, expected);
    });
}

#[test]
fn the_whole_map_comes_pseudo_headers_first_and_can_be_written_back() {
    in_worker(async |worker| {
        let stream = stream();
        stream.state().request.headers.insert("x-raw", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        let before = stream.state().request.clone();
        let guest = Guest::new().on(
            "request_headers",
            "(drop (call $get_header_map_pairs (i32.const 0) CELLS))
             (call $print (call $set_header_map_pairs (i32.const 0) (i32.load (i32.const 8)) (i32.load (i32.const 12))))
             (drop (call $send_local_response (i32.const 200) <<>> (i32.load (i32.const 8)) (i32.load (i32.const 12))
               <<>> (i32.const -1)))
             (i32.const 0)",
        );
        let plugin = worker.load(plugin(), guest).await;
        worker.open(&plugin, &stream).await.request_headers(true).await;
        let expected = pairs(&[
            (":authority", b"a.example:80"),
            (":path", b"/path?query"),
            (":method", b"GET"),
            (":scheme", b"http"),
            ("x-key", b"value"),
            ("x-many", b"one"),
            ("x-many", b"two"),
            ("user-agent", b"tests"),
            ("x-raw", b"\xff\xfe"),
        ]);
        let state = stream.state();
        assert_eq!(state.local_reply.as_ref().unwrap().body, expected);
        assert_eq!(state.request.headers, before.headers);
        assert_eq!(state.request.path, before.path);
    });
}

#[test]
fn changes_are_seen_by_the_gateway_and_make_the_route_stale() {
    in_worker(async |worker| {
        let stream = stream();
        let calls = [
            "add_header_map_value (i32.const 0) <<X-Many>> <<three>>",
            "replace_header_map_value (i32.const 0) <<x-key>> <<\\ff>>",
            "remove_header_map_value (i32.const 0) <<USER-AGENT>>",
            "replace_header_map_value (i32.const 0) <<:path>> <</other>>",
            "add_header_map_value (i32.const 0) <<:method>> <<POST>>",
            "replace_header_map_value (i32.const 0) <<host>> <<b.example>>",
            "add_header_map_value (i32.const 0) <<x-empty>> <<>>",
            "remove_header_map_value (i32.const 0) <<:path>>",
        ];
        assert_eq!(in_request(&worker, &stream, &calls).await, ["0"; 8]);
        let state = stream.state();
        let request = &state.request;
        assert!(state.route_stale);
        assert_eq!(request.path, "/other");
        assert_eq!(request.method, "POST");
        assert_eq!(request.authority.as_ref().unwrap().as_str(), "b.example");
        let many: Vec<_> = request.headers.get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two", "three"]);
        assert_eq!(request.headers["x-key"].as_bytes(), b"\xff");
        assert_eq!(request.headers["x-empty"], "");
        assert!(!request.headers.contains_key("user-agent") && !request.headers.contains_key("host"));
    });
}

#[test]
fn what_http_cannot_carry_is_refused_and_changes_nothing() {
    in_worker(async |worker| {
        let stream = stream();
        let before = stream.state().request.clone();
        let calls = [
            "add_header_map_value (i32.const 0) <<x>> <<a\\0d\\0aevil: 1>>",
            "replace_header_map_value (i32.const 0) <<x>> <<\\00>>",
            "add_header_map_value (i32.const 0) <<a b>> <<v>>",
            "add_header_map_value (i32.const 0) <<>> <<v>>",
            "replace_header_map_value (i32.const 0) <<:path>> <</a b>>",
            "replace_header_map_value (i32.const 0) <<:path>> <<>>",
            "replace_header_map_value (i32.const 0) <<:path>> <<relative>>",
            "replace_header_map_value (i32.const 0) <<:path>> <<http://evil.example/>>",
            "replace_header_map_value (i32.const 0) <<:method>> <<>>",
            "replace_header_map_value (i32.const 0) <<:authority>> <<a b>>",
            "replace_header_map_value (i32.const 0) <<:authority>> <<user@a.example>>",
            "replace_header_map_value (i32.const 0) <<:scheme>> <<h ttp>>",
            "replace_header_map_value (i32.const 0) <<:status>> <<200>>",
            "add_header_map_value (i32.const 0) <<:made-up>> <<x>>",
        ];
        assert_eq!(in_request(&worker, &stream, &calls).await, ["2"; 14]);
        let state = stream.state();
        assert_eq!(state.request.headers, before.headers);
        assert_eq!(state.request.path, before.path);
        assert!(!state.route_stale);
    });
}

#[test]
fn a_whole_map_is_replaced_or_left_as_it_was() {
    in_worker(async |worker| {
        let bad: [Vec<u8>; 7] = [
            pairs(&[(":path", b"/new"), (":method", b"NO TOKEN"), ("a", b"1")]),
            pairs(&[(":path", b"/new"), (":status", b"200")]),
            pairs(&[(":path", b"/new"), ("a", b"\n")]),
            pairs(&[("a", b"1"), ("", b"1")]),
            pairs(&[("a", b"1")])[..12].to_vec(),
            vec![0xff; 16],
            [pairs(&[("a", b"1")]), vec![0]].concat(),
        ];
        for bytes in bad {
            let stream = stream();
            let before = stream.state().request.clone();
            let call = format!("set_header_map_pairs (i32.const 0) <<{}>>", escaped(&bytes));
            assert_eq!(in_request(&worker, &stream, &[&call]).await, ["2"]);
            let state = stream.state();
            assert_eq!(state.request.path, before.path, "{call}");
            assert_eq!(state.request.headers, before.headers, "{call}");
            assert!(!state.route_stale);
        }
        let stream = stream();
        let good = pairs(&[(":path", b"/new"), ("a", b"1"), ("A", b"2")]);
        let call = format!("set_header_map_pairs (i32.const 0) <<{}>>", escaped(&good));
        assert_eq!(in_request(&worker, &stream, &[&call]).await, ["0"]);
        let state = stream.state();
        assert_eq!((state.request.path.as_str(), state.request.headers.len()), ("/new", 2));
        assert!(state.route_stale);
    });
}

#[test]
fn a_map_whose_bytes_have_gone_out_is_readable_and_no_longer_changed() {
    in_worker(async |worker| {
        let stream = stream();
        let calls = [
            "get_header_map_value (i32.const 0) <<x-key>> CELLS",
            "replace_header_map_value (i32.const 0) <<x-key>> <<late>>",
            "replace_header_map_value (i32.const 0) <<:path>> <</late>>",
            "remove_header_map_value (i32.const 0) <<x-key>>",
            "set_header_map_pairs (i32.const 0) <<\\00\\00\\00\\00>>",
            "get_header_map_value (i32.const 2) <<:status>> CELLS",
            "replace_header_map_value (i32.const 2) <<server>> <<late>>",
        ];
        let plugin = worker.load(plugin(), calling("response_body", &calls)).await;
        let filter = worker.open(&plugin, &stream).await;
        {
            let mut state = stream.state();
            assert_eq!(state.send_request().headers["x-key"], "value");
            state.response = Some(response());
            assert_eq!(state.send_response().unwrap().headers["server"], "up");
        }
        filter.response_body(Bytes::from_static(b"x"), true).await;
        assert_eq!(worker.lines.take(), ["0"; 7]);
        let state = stream.state();
        assert!(state.request.headers.is_empty() && state.response.as_ref().unwrap().headers.is_empty());
        assert_eq!(state.request.path, "/path?query");
        assert!(!state.route_stale);
    });
}

#[test]
fn a_response_and_trailers_can_be_changed_in_their_phases() {
    in_worker(async |worker| {
        let guest = Guest::new()
            .on(
                "response_headers",
                "(call $print (local.get $n))
                 (call $print (call $replace_header_map_value (i32.const 2) <<:status>> <<404>>))
                 (call $print (call $replace_header_map_value (i32.const 2) <<:status>> <<101>>))
                 (call $print (call $replace_header_map_value (i32.const 2) <<:status>> <<99>>))
                 (call $print (call $replace_header_map_value (i32.const 2) <<:path>> <</>>))
                 (call $print (call $add_header_map_value (i32.const 2) <<x-new>> <<1>>))
                 (i32.const 0)",
            )
            .on(
                "response_trailers",
                "(call $print (local.get $n))
                 (call $print (call $add_header_map_value (i32.const 3) <<x-sum>> <<2>>))
                 (call $print (call $add_header_map_value (i32.const 3) <<:status>> <<200>>))
                 (i32.const 0)",
            );
        let plugin = worker.load(plugin(), guest).await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        stream.state().response = Some(response());
        filter.response_headers(false).await;
        assert_eq!(worker.lines.take(), ["2", "0", "2", "2", "2", "0"]);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        stream.state().response_trailers = Some(trailers);
        filter.response_trailers().await;
        assert_eq!(worker.lines.take(), ["1", "0", "2"]);
        let state = stream.state();
        let head = state.response.as_ref().unwrap();
        assert_eq!((head.status.as_u16(), head.headers["x-new"].as_bytes()), (404, &b"1"[..]));
        assert_eq!(state.response_trailers.as_ref().unwrap().get_all("x-sum").iter().count(), 2);
    });
}

#[test]
fn heads_and_trailers_are_readable_in_the_log() {
    in_worker(async |worker| {
        let calls = [
            "get_header_map_value (i32.const 0) <<:path>> CELLS",
            "get_header_map_value (i32.const 2) <<:status>> CELLS",
            "get_header_map_value (i32.const 3) <<x-sum>> CELLS",
            "get_property <<response\\00code>> CELLS",
        ];
        let plugin = worker.load(plugin(), calling("log", &calls)).await;
        let stream = stream();
        let filter = worker.open(&plugin, &stream).await;
        {
            let mut state = stream.state();
            state.response = Some(response());
            state.send_request();
            state.send_response();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            state.response_trailers = Some(trailers);
        }
        filter.finish();
        assert_eq!(worker.lines.take(), ["0"; 4]);
    });
}

#[test]
fn more_headers_than_a_map_takes_are_refused() {
    in_worker(async |worker| {
        // Half a million times the same header, until the map is full.
        let guest = Guest::new().on(
            "request_headers",
            "(local $i i32) (local $status i32)
             (loop $next
               (local.set $status (call $add_header_map_value (i32.const 0) <<x-flood>> <<v>>))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $next (i32.and (i32.eqz (local.get $status)) (i32.lt_u (local.get $i) (i32.const 500000)))))
             (call $print (local.get $status))
             (i32.const 0)",
        );
        let mut plugin = plugin();
        plugin.limits.cpu_time = std::time::Duration::from_secs(20);
        assert_eq!(worker.said(plugin, guest).await, ["2"]);
    });
}
