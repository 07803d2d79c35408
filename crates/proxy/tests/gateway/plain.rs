//! Routes without plugins.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::support::{Setup, accept, manual_upstream, ok, route, upstream};

#[tokio::test]
async fn no_route_is_a_404_that_says_so() {
    let mut setup = Setup::echo();
    setup.routes = vec![route("a", "/a/", "upstream")];
    let gateway = setup.start();
    let response = gateway.get("/b").await;
    response.assert(404, "route_not_found");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    gateway.wait_for_metric(r#"agw_http_requests_total{route="none",method="GET",code="404"} 1"#).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_dead_upstream_is_a_503() {
    let (address, listener) = manual_upstream().await;
    drop(listener);
    let gateway = Setup::to(address).start();
    gateway.get("/").await.assert(503, "upstream_connect_failed");
}

#[tokio::test]
async fn an_upstream_that_closes_or_garbles_is_a_502() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let serve = tokio::spawn(async move {
        let (stream, _) = accept(&listener).await;
        drop(stream);
        let (mut stream, _) = accept(&listener).await;
        stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
        let (mut stream, _) = accept(&listener).await;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await.unwrap();
        stream
    });
    gateway.get("/").await.assert(502, "upstream_reset_before_response_started");
    gateway.get("/").await.assert(502, "upstream_protocol_error");
    assert_eq!(gateway.get("/").await.status(), 502);
    drop(serve.await.unwrap());
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504_at_the_routes_timeout() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.routes[0].timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let started = Instant::now();
    let serve = tokio::spawn(async move {
        let (mut stream, _) = accept(&listener).await;
        // The gateway gives up the connection as well.
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    });
    gateway.get("/").await.assert(504, "route_timeout");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(2), "{took:?}");
    serve.await.unwrap();
}

#[tokio::test]
async fn a_response_that_stalls_is_cut_at_the_routes_timeout() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.routes[0].timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let rest = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("\r\n\r\nhalf"), "{rest}");
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="200"} 1"#).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_by_its_length() {
    let (address, _listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.routes[0].request_body_bytes_max = 4;
    let gateway = setup.start();
    let response = gateway.post("/", "12345").await;
    response.assert(413, "request_too_large");
    assert_eq!(response.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_in_mid_stream() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.routes[0].request_body_bytes_max = 4;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let (mut stream, _) = timeout(Duration::from_secs(5), listener.accept()).await.unwrap().unwrap();
    client.send("3\r\nabc\r\n").await;
    client.response().await.assert(413, "request_too_large");
    // The upstream must not take what it got for a whole request.
    let mut seen = String::new();
    let _ = stream.read_to_string(&mut seen).await;
    assert!(!seen.contains("\r\n0\r\n"), "{seen}");
}

#[tokio::test]
async fn heads_over_the_limits_are_a_431() {
    let mut setup = Setup::echo();
    setup.listener.header_bytes_max = 1000;
    setup.listener.headers_max = 5;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send(&format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(1000))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
    let mut client = gateway.client().await;
    client.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(5))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
    gateway.wait_for_metric(r#"agw_http_requests_total{route="none",method="OTHER",code="431"} 2"#).await;
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut_off() {
    let mut setup = Setup::echo();
    setup.listener.header_timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let mut client = gateway.client().await;
    let started = Instant::now();
    client.send("GET / HT").await;
    // One byte now and then must not buy time.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        client.send("T").await;
    }
    assert_eq!(client.rest().await, "");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_connection_without_request_is_closed_after_the_idle_timeout() {
    let mut setup = Setup::echo();
    setup.listener.idle_timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let mut fresh = gateway.client().await;
    let mut used = gateway.client().await;
    used.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(used.response().await.status(), 200);
    assert_eq!(fresh.rest().await, "");
    assert_eq!(used.rest().await, "");
}

#[tokio::test]
async fn an_idle_timeout_does_not_end_a_request_that_takes_longer() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.listener.idle_timeout = Duration::from_millis(100);
    setup.listener.header_timeout = Duration::from_millis(100);
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    stream.write_all(ok("late").as_bytes()).await.unwrap();
    assert_eq!(client.response().await.body, "late");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    drop(client);
    let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await.expect("still connected");
    assert_eq!(read.unwrap_or(0), 0);
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="0"} 1"#).await;
    gateway.wait_for_metric("agw_http_connections 0").await;
}

#[tokio::test]
async fn connections_over_the_bound_wait_their_turn() {
    let mut setup = Setup::echo();
    setup.listener.connections_max = 1;
    let gateway = setup.start();
    let mut first = gateway.client().await;
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(first.response().await.status(), 200);
    let mut second = gateway.client().await;
    second.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(timeout(Duration::from_millis(200), second.0.readable()).await.is_err());
    drop(first);
    assert_eq!(second.response().await.status(), 200);
}

#[tokio::test]
async fn the_upstream_learns_who_asked_and_the_client_gets_the_answer() {
    let address = upstream(|request| ok(&request.head)).await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client
        .send("GET /p?q=1 HTTP/1.1\r\nHost: shop.example:81\r\nX-Request-Id: abc\r\nConnection: x-gone\r\nX-Gone: 1\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
        .await;
    let seen = client.response().await.body;
    assert!(seen.starts_with("GET /p?q=1 HTTP/1.1\r\n"), "{seen}");
    for line in [
        "host: shop.example:81",
        "x-request-id: abc",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ] {
        assert!(seen.lines().any(|l| l == line), "no `{line}` in {seen}");
    }
    assert!(!seen.contains("x-gone"), "{seen}");
    gateway.drain().await;
}

#[tokio::test]
async fn bodies_of_every_framing_arrive_whole() {
    let address = upstream(|request| ok(&request.body)).await;
    let gateway = Setup::to(address).start();
    assert_eq!(gateway.post("/", "hello").await.body, "hello");
    assert_eq!(gateway.post("/", "").await.body, "");
    for method in ["POST", "GET", "DELETE"] {
        let mut client = gateway.client().await;
        client.send(&format!("{method} / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")).await;
        client.send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n").await;
        assert_eq!(client.response().await.body, "hello world", "{method}");
    }
    let large = "0123456789abcdef".repeat(1 << 16);
    assert!(gateway.post("/", &large).await.body == large);
    gateway.drain().await;
}

#[tokio::test]
async fn an_expected_100_continue_is_given_by_the_gateway() {
    let address = upstream(|request| ok(&format!("{} {:?}", request.body, request.header("expect")))).await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head_only().await.status(), 100);
    client.send("hi").await;
    assert_eq!(client.response().await.body, "hi None");
}

#[tokio::test]
async fn answers_without_body_keep_their_head_and_the_connection() {
    let address = upstream(|request| {
        match request.head.split(' ').nth(1) {
            Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
            Some("/304") => "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        }
        .to_owned()
    })
    .await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("GET /204 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 204);
    client.send("GET /304 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.header("etag"), Some("x"));
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head_only().await.header("content-length"), Some("1000"));
    client.send("HEAD /204 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head_only().await.status(), 204);
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="HEAD",code="204"} 1"#).await;
}

#[tokio::test]
async fn a_local_answer_to_head_has_no_body_and_counts_as_complete() {
    let mut setup = Setup::echo();
    setup.routes.clear();
    let gateway = setup.start();
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.head_only().await.status(), 404);
    }
    gateway.wait_for_metric(r#"agw_http_requests_total{route="none",method="HEAD",code="404"} 2"#).await;
}

#[tokio::test]
async fn announced_trailers_pass_both_ways() {
    let address = upstream(|request| {
        let body = request.body.replace("\r\n", "");
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 2\r\n\r\n",
            body.len()
        )
    })
    .await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-one\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("3\r\nabc\r\n0\r\nx-one: 1\r\n\r\n").await;
    assert_eq!(client.response().await.body, "abcx-one: 1x-sum: 2");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let address = upstream(|request| ok(request.head.split(' ').nth(1).unwrap())).await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    let requests: String = (0..20).map(|i| format!("GET /{i} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    client.send(&requests).await;
    for i in 0..20 {
        assert_eq!(client.response().await.body, format!("/{i}"));
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_its_answer_and_the_end() {
    let address =
        upstream(|_| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into())
            .await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(rest.starts_with("HTTP/1.0 200 OK\r\n") && rest.ends_with("\r\n\r\nok"), "{rest}");
}

#[tokio::test]
async fn a_slow_client_holds_the_upstream_back() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let mut written = 0;
    while timeout(Duration::from_millis(300), stream.write_all(&chunk)).await.is_ok() {
        written += chunk.len();
        assert!(written < 100 << 20, "nothing holds the upstream back");
    }
}

#[tokio::test]
async fn the_echo_answers_and_counts_the_body() {
    let gateway = Setup::echo().start();
    let response = gateway.post("/x?y", "12345").await;
    let told: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!((&told["method"], &told["path"]), (&"POST".into(), &"/x?y".into()));
    assert_eq!((&told["body_bytes"], &told["headers"]["host"]), (&5.into(), &"a".into()));
}

#[tokio::test]
async fn several_workers_share_the_port() {
    let mut setup = Setup::echo();
    setup.workers = 3;
    let gateway = setup.start();
    for _ in 0..30 {
        assert_eq!(gateway.get("/").await.status(), 200);
    }
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="200"} 30"#).await;
    gateway.drain().await;
}

#[tokio::test]
async fn every_client_gets_its_own_answers() {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted = std::sync::Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
                    while let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                        let head = String::from_utf8(seen.drain(..end + 4).collect()).unwrap();
                        let _ = stream.write_all(ok(head.split(' ').nth(1).unwrap()).as_bytes()).await;
                    }
                }
            });
        }
    });
    let mut setup = Setup::to(address);
    setup.workers = 2;
    let gateway = std::sync::Arc::new(setup.start());
    let clients: Vec<_> = (0..40)
        .map(|client_index| {
            let gateway = std::sync::Arc::clone(&gateway);
            tokio::spawn(async move {
                let mut client = gateway.client().await;
                for index in 0..50 {
                    client.send(&format!("GET /{client_index}/{index} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
                    assert_eq!(client.response().await.body, format!("/{client_index}/{index}"));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let connections = connections.load(std::sync::atomic::Ordering::Relaxed);
    // At worst each request of a burst makes one, and idle_max of them are kept.
    assert!(connections < 1000, "connections are not used again: {connections}");
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="200"} 2000"#).await;
    eprintln!("{connections} upstream connections for 2000 requests");
}
