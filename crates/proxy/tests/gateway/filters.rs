//! Routes with plugins: what the gateway makes of what filters do.

use std::net::SocketAddr;
use std::time::Duration;

use agw_config::ClusterTarget;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::guests::{Guest, REQUEST, REQUEST_BODY, RESPONSE, RESPONSE_BODY, load};
use crate::support::{Gateway, Response, Setup, accept, cluster, manual_upstream, ok, route, upstream};

/// A gateway whose one route has these filters.
async fn gateway(upstream: SocketAddr, guests: Vec<Guest>) -> Gateway {
    setup(upstream, guests).await.start()
}

async fn setup(upstream: SocketAddr, guests: Vec<Guest>) -> Setup {
    let mut setup = Setup::to(upstream);
    for plugin in load(guests).await {
        setup.routes[0].plugins.push(plugin.name().to_owned());
        setup.plugins.insert(plugin.name().to_owned(), plugin);
    }
    setup
}

/// An upstream that answers with the head and the body it received.
async fn mirror() -> SocketAddr {
    upstream(|request| ok(&format!("{}{}", request.head, request.body))).await
}

/// An upstream that must not be asked.
async fn untouched() -> (SocketAddr, tokio::net::TcpListener) {
    manual_upstream().await
}

async fn assert_untouched(listener: tokio::net::TcpListener) {
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "the upstream was asked");
}

async fn chunked(gateway: &Gateway, chunks: &[&str]) -> Response {
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for chunk in chunks {
        client.send(&format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.send("0\r\n\r\n").await;
    client.response().await
}

#[tokio::test]
async fn a_trap_is_a_503_that_no_callback_sees() {
    let (address, listener) = untouched().await;
    let guests = vec![
        Guest::new().adds("response_headers", RESPONSE, "x-seen", "1"),
        Guest::new().traps("request_headers"),
    ];
    let gateway = gateway(address, guests).await;
    let response = gateway.get("/").await;
    assert_eq!((response.status(), response.header("x-seen")), (503, None), "{response:?}");
    assert_untouched(listener).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_trap_of_a_fail_open_plugin_changes_nothing() {
    let gateway = gateway(mirror().await, vec![Guest::new().fail_open().traps("request_headers")]).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn a_trap_in_the_response_replaces_it_with_a_503() {
    let gateway = gateway(mirror().await, vec![Guest::new().traps("response_headers")]).await;
    assert_eq!(gateway.get("/").await.status(), 503);
}

#[tokio::test]
async fn a_pause_that_nobody_ends_is_a_504_at_the_routes_timeout() {
    for name in ["request_headers", "request_body", "response_headers", "response_body"] {
        let mut setup = setup(mirror().await, vec![Guest::new().pauses(name)]).await;
        setup.routes[0].timeout = Duration::from_millis(200);
        let gateway = setup.start();
        let started = Instant::now();
        let response = gateway.post("/", "body").await;
        response.assert(504, "plugin_pause_timeout");
        assert!(started.elapsed() < Duration::from_secs(4), "{name}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_pause_ends_when_the_guest_says_so() {
    for (name, stream) in
        [("request_headers", 0), ("response_headers", 1), ("request_body", 0), ("response_body", 1)]
    {
        let gateway = gateway(mirror().await, vec![Guest::new().pauses_a_while(name, stream)]).await;
        let response = gateway.post("/", "the body").await;
        assert_eq!(response.status(), 200, "{name}: {response:?}");
        assert!(response.body.ends_with("the body"), "{name}: {response:?}");
    }
}

#[tokio::test]
async fn a_local_reply_stops_the_request_and_passes_the_response_callbacks() {
    let (address, listener) = untouched().await;
    let guests = vec![
        Guest::new().adds("response_headers", RESPONSE, "x-seen", "first"),
        Guest::new().answers("request_headers", 403, "denied", "go away").adds(
            "response_headers",
            RESPONSE,
            "x-also",
            "second",
        ),
        Guest::new().adds("response_headers", RESPONSE, "x-never", "third"),
    ];
    let gateway = gateway(address, guests).await;
    let response = gateway.post("/", "body").await;
    assert_eq!((response.status(), response.body.as_str()), (403, "go away"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!((response.header("x-seen"), response.header("x-also")), (Some("first"), Some("second")));
    assert_eq!(response.header("x-never"), None);
    assert_untouched(listener).await;
}

#[tokio::test]
async fn a_local_reply_from_the_requests_body_never_reaches_the_upstream() {
    let (address, listener) = untouched().await;
    let gateway = gateway(address, vec![Guest::new().answers("request_body", 400, "bad", "no")]).await;
    assert_eq!(gateway.post("/", "body").await.status(), 400);
    assert_untouched(listener).await;
}

#[tokio::test]
async fn a_local_reply_replaces_the_response_whatever_the_phase() {
    for name in ["response_headers", "response_body"] {
        let gateway = gateway(mirror().await, vec![Guest::new().answers(name, 418, "tea", "short")]).await;
        let response = gateway.get("/").await;
        assert_eq!((response.status(), response.body.as_str()), (418, "short"), "{name}");
        assert_eq!(response.header("content-length"), Some("5"));
    }
}

#[tokio::test]
async fn filters_see_requests_in_order_and_responses_in_reverse() {
    let both = |name: &str| {
        Guest::new().adds("request_headers", REQUEST, "x-order", name).adds(
            "response_headers",
            RESPONSE,
            "x-back",
            name,
        )
    };
    let gateway = gateway(mirror().await, vec![both("one"), both("two")]).await;
    let response = gateway.get("/").await;
    let values = |text: &str, name: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
    };
    let joined = |list: Vec<String>| list.join("").replace([':', ',', ' '], "");
    assert_eq!(joined(values(&response.body, "x-order")), "onetwo");
    assert_eq!(joined(values(&response.head, "x-back")), "twoone");
}

#[tokio::test]
async fn a_gathered_body_goes_out_with_its_length() {
    let gateway = gateway(mirror().await, vec![Guest::new().gathers("request_body")]).await;
    let response = chunked(&gateway, &["hello ", "again ", "hello"]).await;
    assert!(response.body.ends_with("hello again hello"), "{response:?}");
    assert!(response.body.contains("content-length: 17\r\n"), "{response:?}");
    assert!(!response.body.contains("transfer-encoding"), "{response:?}");
}

#[tokio::test]
async fn a_replaced_body_has_the_new_length_in_both_directions() {
    let guest = Guest::new()
        .gathers_and_replaces("request_body", REQUEST_BODY, "new request")
        .gathers_and_replaces("response_body", RESPONSE_BODY, "new");
    let (address, listener) = manual_upstream().await;
    let gateway = gateway(address, vec![guest]).await;
    let server = tokio::spawn(async move {
        let (mut stream, request) = accept(&listener).await;
        stream.write_all(ok("a longer response").as_bytes()).await.unwrap();
        request
    });
    let response = gateway.post("/", "old").await;
    assert_eq!((response.body.as_str(), response.header("content-length")), ("new", Some("3")));
    let request = server.await.unwrap();
    assert_eq!((request.body.as_str(), request.header("content-length")), ("new request", Some("11")));
}

#[tokio::test]
async fn a_streamed_body_is_not_held_back() {
    let (address, listener) = manual_upstream().await;
    // Holds nothing: Continue at every chunk.
    let guest =
        Guest::new().adds("request_body", REQUEST, "x", "y").adds("response_body", RESPONSE, "x", "y");
    let gateway = gateway(address, vec![guest]).await;
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello").await;
    let (mut stream, _) = timeout(Duration::from_secs(5), listener.accept()).await.unwrap().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"5\r\nhello\r\n") {
        let read =
            timeout(Duration::from_secs(5), tokio::io::AsyncReadExt::read_buf(&mut stream, &mut seen)).await;
        assert_ne!(read.expect("held back").unwrap(), 0);
    }
    client.send("world").await;
    while !seen.ends_with(b"0\r\n\r\n") {
        assert_ne!(tokio::io::AsyncReadExt::read_buf(&mut stream, &mut seen).await.unwrap(), 0);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(b"def").await.unwrap();
    let response = client.response().await;
    assert_eq!((response.body.as_str(), response.header("transfer-encoding")), ("abcdef", Some("chunked")));
}

#[tokio::test]
async fn what_a_filter_may_hold_is_bounded() {
    let mut requests = setup(mirror().await, vec![Guest::new().gathers("request_body")]).await;
    requests.routes[0].buffer_bytes_max = 100;
    let gateway = requests.start();
    assert_eq!(gateway.post("/", &"x".repeat(100)).await.status(), 200);
    gateway.post("/", &"x".repeat(101)).await.assert(413, "request_buffer_full");

    let large = upstream(|_| ok(&"x".repeat(101))).await;
    let mut responses = setup(large, vec![Guest::new().gathers("response_body")]).await;
    responses.routes[0].buffer_bytes_max = 100;
    responses.start().get("/").await.assert(500, "response_buffer_full");
}

#[tokio::test]
async fn the_bodys_limit_holds_with_filters_too() {
    let mut setup = setup(mirror().await, vec![Guest::new().gathers("request_body")]).await;
    setup.routes[0].request_body_bytes_max = 4;
    let gateway = setup.start();
    chunked(&gateway, &["abc", "def"]).await.assert(413, "request_too_large");
}

#[tokio::test]
async fn a_changed_path_chooses_the_route_anew() {
    let guest = Guest::new().replaces("request_headers", REQUEST, ":path", "/b/x");
    let mut setup = setup(mirror().await, vec![guest]).await;
    setup.routes.push(route("b", "/b/", "second"));
    setup.clusters.push(cluster("second", ClusterTarget::BuiltinEcho));
    let gateway = setup.start();
    let response = gateway.get("/a").await;
    let told: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(told["path"], "/b/x");
    gateway.wait_for_metric(r#"agw_http_requests_total{route="b",method="GET",code="200"} 1"#).await;
}

#[tokio::test]
async fn a_changed_path_that_no_route_takes_is_a_404() {
    let guest = Guest::new().replaces("request_headers", REQUEST, ":path", "/nowhere");
    let mut setup = setup(mirror().await, vec![guest]).await;
    setup.routes[0].matching.path = agw_config::PathMatch::Prefix("/a".into());
    setup.start().get("/a").await.assert(404, "route_not_found");
}

#[tokio::test]
async fn headers_that_end_the_stream_have_no_body_callback() {
    let guest = Guest::new().traps("request_body").traps("response_body");
    let address = upstream(|_| ok("")).await;
    let gateway = gateway(address, vec![guest]).await;
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_filter_cannot_break_the_framing() {
    let guest = Guest::new().replaces("request_headers", REQUEST, "content-length", "99").replaces(
        "response_headers",
        RESPONSE,
        "content-length",
        "99",
    );
    let (address, listener) = manual_upstream().await;
    let gateway = gateway(address, vec![guest]).await;
    let server = tokio::spawn(async move {
        let (mut stream, request) = accept(&listener).await;
        stream.write_all(ok("fine").as_bytes()).await.unwrap();
        request
    });
    let response = gateway.post("/", "body").await;
    assert_eq!((response.body.as_str(), response.header("content-length")), ("fine", Some("4")));
    assert_eq!(server.await.unwrap().header("content-length"), Some("4"));
}

#[tokio::test]
async fn a_client_that_leaves_a_paused_request_ends_it() {
    let gateway = gateway(mirror().await, vec![Guest::new().pauses("request_headers")]).await;
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="0"} 1"#).await;
    timeout(Duration::from_secs(5), gateway.drain()).await.expect("the filter hangs");
}
