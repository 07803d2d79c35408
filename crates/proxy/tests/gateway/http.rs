//! What the gateway makes of HTTP on the wire, byte by byte: the rows of `docs/http.md`.

use agw_config::{ForwardedPolicy, PathMatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::guests::{Guest, REQUEST, RESPONSE, load};
use crate::support::{Gateway, PATIENCE, Setup, accept, manual_upstream, ok, upstream};

/// An upstream that answers with the head and the body it received.
async fn mirror() -> Gateway {
    Setup::to(upstream(|request| ok(&format!("{}{}", request.head, request.body))).await).start()
}

/// The status that `bytes` are answered with; 0 if the connection is just closed.
async fn status(gateway: &Gateway, bytes: &str) -> u16 {
    let mut client = gateway.client().await;
    client.send(bytes).await;
    let mut line = Vec::new();
    let read =
        async { while line.len() < 12 && client.0.read_buf(&mut line).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, read).await.expect("neither answered nor closed");
    let line = String::from_utf8_lossy(&line);
    line.get(9..12).map_or(0, |status| status.parse().unwrap())
}

/// What the upstream sees of these bytes.
async fn seen(gateway: &Gateway, bytes: &str) -> String {
    let mut client = gateway.client().await;
    client.send(bytes).await;
    let response = client.response().await;
    assert_eq!(response.status(), 200, "{bytes:?}: {response:?}");
    response.body
}

async fn seen_with(gateway: &Gateway, headers: &str) -> String {
    seen(gateway, &format!("GET /p HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await
}

async fn with_guest(guest: Guest) -> Setup {
    let mut setup = Setup::to(upstream(|request| ok(&format!("{}{}", request.head, request.body))).await);
    for plugin in load(vec![guest]).await {
        setup.routes[0].plugins.push(plugin.name().to_owned());
        setup.plugins.insert(plugin.name().to_owned(), plugin);
    }
    setup
}

#[tokio::test]
async fn heads_that_are_not_http_are_refused() {
    let gateway = mirror().await;
    for bytes in [
        "GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n: empty\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nno-colon\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\u{1}b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET / HTTP/3.0\r\nhost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\u{1}GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        assert_eq!(status(&gateway, bytes).await, 400, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_length_that_can_be_read_in_two_ways_is_refused() {
    let gateway = mirror().await;
    for framing in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 1, 1\r\n",
        "content-length: +1\r\n",
        "content-length: -1\r\n",
        "content-length: 0x1\r\n",
        "content-length: 1 1\r\n",
        "content-length: \r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \"chunked\"\r\n",
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n0\r\n\r\n");
        assert_eq!(status(&gateway, &bytes).await, 400, "{framing:?}");
    }
    let old = "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&gateway, old).await, 400);
    for coding in ["gzip, chunked", "chunked, chunked"] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_eq!(status(&gateway, &bytes).await, 501, "{coding}");
    }
}

#[tokio::test]
async fn chunked_wins_over_a_length_and_ends_the_connection() {
    let gateway = mirror().await;
    for framing in [
        "content-length: 30\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 30",
    ] {
        let mut client = gateway.client().await;
        let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n2\r\nhi\r\n0\r\n\r\n{hidden}"))
            .await;
        let rest = client.rest().await;
        assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
        assert!(
            rest.contains("transfer-encoding: chunked") && !rest.contains("content-length: 30"),
            "{rest}"
        );
        assert!(rest.ends_with("\r\n\r\nhi") && !rest.contains("/hidden"), "{rest}");
    }
}

#[tokio::test]
async fn equal_lengths_become_one() {
    let gateway = mirror().await;
    let bytes = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi";
    let head = seen(&gateway, bytes).await;
    assert_eq!(head.matches("content-length: 2\r\n").count(), 1, "{head}");
}

#[tokio::test]
async fn broken_chunks_are_refused_and_no_second_request_appears() {
    for chunks in [
        "zz\r\nhi\r\n0\r\n\r\n",
        "-1\r\n",
        "2\r\nhiX0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "0x2\r\nhi\r\n0\r\n\r\n",
    ] {
        let (address, listener) = manual_upstream().await;
        let gateway = Setup::to(address).start();
        let mut client = gateway.client().await;
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"))
            .await;
        let rest = client.rest().await;
        assert!(rest.starts_with("HTTP/1.1 400"), "{chunks:?}: {rest}");
        // If the upstream was asked at all, it never saw the end of the body.
        if let Ok(accepted) =
            tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await
        {
            let mut seen = String::new();
            let _ = accepted.unwrap().0.read_to_string(&mut seen).await;
            assert!(!seen.ends_with("0\r\n\r\n"), "{chunks:?}: {seen}");
        }
    }
}

#[tokio::test]
async fn targets_and_hosts_are_settled_before_the_upstream_sees_them() {
    let gateway = mirror().await;
    let head = seen(&gateway, "GET http://b.example:81/p?q HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.starts_with("GET /p?q HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: b.example:81\r\n") && !head.contains("host: a\r\n"), "{head}");
    let head = seen(&gateway, "GET /p#fragment HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.starts_with("GET /p HTTP/1.1\r\n"), "{head}");
    let head = seen(&gateway, "GET //p//q/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.starts_with("GET //p//q/ HTTP/1.1\r\n"), "{head}");
    for (target, host, expected) in [
        ("/", "host: a\r\nhost: a\r\n", 400),
        ("/", "", 400),
        ("/", "host: \r\n", 400),
        ("/", "host: a/b\r\n", 400),
        ("http://u@a/", "host: a\r\n", 400),
        ("ftp://a/", "host: a\r\n", 400),
        ("a", "host: a\r\n", 400),
        ("*", "host: a\r\n", 400),
        ("/a/../b", "host: a\r\n", 400),
        ("/a/%2e%2E/b", "host: a\r\n", 400),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
        assert_eq!(status(&gateway, &bytes).await, expected, "{bytes:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000));
    assert!(matches!(status(&gateway, &long).await, 414 | 431));
}

#[tokio::test]
async fn connect_is_refused_and_options_for_the_gateway_answered() {
    let gateway = mirror().await;
    assert_eq!(status(&gateway, "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n").await, 501);
    assert_eq!(status(&gateway, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await, 200);
    let mut client = gateway.client().await;
    client.send("OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status(), response.header("content-length")), (200, Some("0")));
    assert_eq!(status(&gateway, "TRACE / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n").await, 501);
    let head = seen(&gateway, "OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 7\r\n\r\n").await;
    assert!(head.contains("\r\nmax-forwards: 6\r\n"), "{head}");
}

#[tokio::test]
async fn an_unknown_expectation_is_a_417() {
    let gateway = mirror().await;
    let bytes = "POST / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(status(&gateway, bytes).await, 417);
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_connection() {
    let gateway = mirror().await;
    let head = seen_with(
        &gateway,
        "connection: x-mine, keep-alive\r\nx-mine: 1\r\nkeep-alive: timeout=9\r\nte: trailers, deflate\r\n\
         proxy-connection: keep-alive\r\nproxy-authorization: x\r\nproxy: http://evil\r\n\
         http2-settings: x\r\nx-kept: 1\r\n",
    )
    .await;
    for gone in ["x-mine", "keep-alive", "proxy", "http2-settings", "deflate"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    assert!(head.contains("\r\nte: trailers\r\n") && head.contains("\r\nx-kept: 1\r\n"), "{head}");

    let address = upstream(|_| {
        "HTTP/1.1 200 OK\r\nconnection: x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=9\r\nproxy-authenticate: x\r\n\
         server: up\r\nvia: 1.1 up\r\ncontent-length: 2\r\n\r\nok"
            .into()
    })
    .await;
    let response = Setup::to(address).start().get("/").await;
    for gone in ["x-mine", "keep-alive", "proxy-authenticate"] {
        assert_eq!(response.header(gone), None, "{response:?}");
    }
    assert_eq!((response.header("server"), response.header("via")), (Some("up"), Some("1.1 up")));
    assert!(response.header("date").is_some());
}

#[tokio::test]
async fn names_lose_their_case_and_values_keep_their_bytes() {
    let gateway = mirror().await;
    let head = seen_with(&gateway, "X-MiXed: Va Lue\r\nx-two: 1\r\nX-Two: 2\r\nx-empty:\r\n").await;
    assert!(head.contains("\r\nx-mixed: Va Lue\r\n") && head.contains("\r\nx-empty: \r\n"), "{head}");
    assert!(head.contains("\r\nx-two: 1\r\nx-two: 2\r\n"), "{head}");
}

#[tokio::test]
async fn the_upstream_learns_who_asks() {
    let gateway = mirror().await;
    let claims = "x-forwarded-for: 1.1.1.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\n\
                  x_forwarded_for: 2.2.2.2\r\nx-forwarded-port: 1\r\nforwarded: for=3.3.3.3\r\n";
    let head = seen_with(&gateway, claims).await;
    for told in ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: a"] {
        assert!(head.contains(&format!("\r\n{told}\r\n")), "{told}: {head}");
    }
    for gone in ["1.1.1.1", "2.2.2.2", "3.3.3.3", "evil", "x-forwarded-port"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }

    let mut setup = Setup::to(upstream(|request| ok(&request.head)).await);
    setup.listener.forwarded =
        ForwardedPolicy { trusted_hops: 1, trusted_networks: Vec::new(), rfc7239: true };
    let head = seen_with(&setup.start(), claims).await;
    for told in [
        "x-forwarded-for: 1.1.1.1, 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: evil",
        "forwarded: for=1.1.1.1;host=\"evil\";proto=https, for=127.0.0.1;host=\"a\";proto=http",
    ] {
        assert!(head.contains(&format!("\r\n{told}\r\n")), "{told}: {head}");
    }
    assert!(!head.contains("2.2.2.2") && !head.contains("3.3.3.3"), "{head}");
}

#[tokio::test]
async fn ids_and_traces_are_kept_or_made() {
    let gateway = mirror().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let head =
        seen_with(&gateway, &format!("x-request-id: mine\r\ntraceparent: {trace}\r\ntracestate: a=b\r\n"))
            .await;
    for kept in ["x-request-id: mine", &format!("traceparent: {trace}"), "tracestate: a=b"] {
        assert!(head.contains(&format!("\r\n{kept}\r\n")), "{kept}: {head}");
    }
    let head = seen_with(&gateway, "traceparent: nonsense\r\ntracestate: a=b\r\n").await;
    assert!(head.contains("\r\ntraceparent: 00-") && head.contains("\r\nx-request-id: "), "{head}");
    assert!(!head.contains("nonsense") && !head.contains("tracestate"), "{head}");
}

#[tokio::test]
async fn connections_end_when_either_side_says_so() {
    let gateway = mirror().await;
    for bytes in [
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut client = gateway.client().await;
        client.send(bytes).await;
        assert!(client.rest().await.contains(" 200 OK\r\n"), "{bytes:?}");
    }
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!(client.response().await.header("connection"), Some("keep-alive"));
    }
    // An upstream's close is not the client's.
    let address =
        upstream(|_| "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".into()).await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!((response.body.as_str(), response.header("connection")), ("ok", None));
    }
}

#[tokio::test]
async fn interim_responses_end_at_the_gateway() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    stream
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(ok("done").as_bytes()).await.unwrap();
    let response = client.response().await;
    assert_eq!((response.status(), response.body.as_str(), response.header("link")), (200, "done", None));
}

#[tokio::test]
async fn an_upstreams_framing_is_settled_or_refused() {
    let answer = |text: &'static str| async move {
        let (address, listener) = manual_upstream().await;
        let gateway = Setup::to(address).start();
        let mut client = gateway.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let (mut stream, _) = accept(&listener).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        drop(stream);
        client.rest().await
    };
    for broken in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\nhi",
        "HTTP/1.1 2000 OK\r\n\r\nhi",
        "HTTP/2.0 200 OK\r\n\r\nhi",
    ] {
        let rest = answer(broken).await;
        assert!(rest.starts_with("HTTP/1.1 502"), "{broken:?}: {rest}");
    }
    // The end of the connection ends the body; the client sees where it ends.
    let rest = answer("HTTP/1.1 200 OK\r\n\r\nhi").await;
    assert!(rest.ends_with("2\r\nhi\r\n0\r\n\r\n"), "{rest}");
    // Both: chunked wins, and the client sees one of them.
    let both =
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let rest = answer(both).await;
    assert!(rest.ends_with("2\r\nhi\r\n0\r\n\r\n") && !rest.contains("content-length"), "{rest}");
    // More than it said: what is beyond never reaches the client. Less: the response breaks off.
    let rest = answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n").await;
    assert!(rest.ends_with("\r\n\r\nhi"), "{rest}");
    let rest = answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await;
    assert!(rest.contains("content-length: 9") && rest.ends_with("\r\n\r\nhi"), "{rest}");
    // Bodies where there can be none.
    for bodiless in
        ["HTTP/1.1 204 No Content\r\n\r\nhi", "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nhi"]
    {
        let rest = answer(bodiless).await;
        assert!(rest.ends_with("\r\n\r\n"), "{rest}");
    }
}

#[tokio::test]
async fn filters_cannot_break_a_requests_framing() {
    for (name, value) in [
        ("content-length", "99"),
        ("transfer-encoding", "gzip"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-kept, close"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("expect", "100-continue"),
        ("keep-alive", "1"),
    ] {
        for guest in [
            Guest::new().adds("request_headers", REQUEST, name, value),
            Guest::new().replaces("request_headers", REQUEST, name, value),
        ] {
            let gateway = with_guest(guest).await.start();
            let body = gateway.post("/", "body").await.body;
            assert!(body.contains("\r\ncontent-length: 4\r\n") && body.ends_with("\r\n\r\nbody"), "{body}");
            assert_eq!(body.matches("content-length").count(), 1, "{name}: {body}");
            assert!(name == "content-length" || !body.contains(&format!("\r\n{name}:")), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn filters_cannot_make_a_request_that_no_client_could_send() {
    for (name, value) in [(":method", "CONNECT"), (":path", "*"), (":path", "/a/../b"), (":path", "/%2e%2e/")]
    {
        let guest = Guest::new().replaces("request_headers", REQUEST, name, value);
        let mut setup = with_guest(guest).await;
        // So that the route takes whatever comes.
        setup.routes[0].matching.path = PathMatch::Regex("(?s-u).*".into());
        setup.start().get("/").await.assert(500, "plugin_request_not_valid");
    }
    // The host refuses these to the guest, which then traps or goes on; in no case do they reach the upstream.
    for (name, value) in [
        ("x", "a\r\nevil: 1"),
        ("x: y", "1"),
        (":path", "/a b"),
        (":path", "/a\r\nevil: 1"),
        (":authority", "a\r\nevil: 1"),
        (":authority", "u@b"),
        ("host", "a b"),
        (":method", "GET /evil"),
        (":status", "200"),
        (":evil", "1"),
    ] {
        let guest = Guest::new().replaces("request_headers", REQUEST, name, value);
        let response = with_guest(guest).await.start().get("/").await;
        assert!(!response.body.contains("evil"), "{name}: {response:?}");
        assert!(
            response.status() != 200 || response.body.contains("\r\nhost: a\r\n"),
            "{name}: {response:?}"
        );
    }
}

#[tokio::test]
async fn filters_cannot_break_a_responses_framing() {
    for (name, value) in [
        ("content-length", "99"),
        ("transfer-encoding", "gzip"),
        ("connection", "x-kept, upgrade"),
        ("upgrade", "h2c"),
        ("keep-alive", "1"),
        ("x", "a\r\nevil: 1"),
        (":status", "101"),
        (":evil", "1"),
    ] {
        for guest in [
            Guest::new().adds("response_headers", RESPONSE, name, value),
            Guest::new().replaces("response_headers", RESPONSE, name, value),
        ] {
            let gateway = with_guest(guest).await.start();
            let response = gateway.post("/", "body").await;
            assert!(
                !response.head.contains("evil") && !response.head.contains("h2c"),
                "{name}: {response:?}"
            );
            if response.status() == 200 {
                assert!(response.body.ends_with("\r\n\r\nbody"), "{name}: {response:?}");
                assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
            }
            // HEAD has no body whose length would put it right.
            let mut client = gateway.client().await;
            client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nHEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            for _ in 0..2 {
                let head = client.head_only().await;
                assert!(head.head.matches("content-length").count() <= 1, "{name}: {head:?}");
            }
        }
    }
    // A status without body, where there was one.
    for status in ["204", "304"] {
        let guest = Guest::new().replaces("response_headers", RESPONSE, ":status", status);
        let gateway = with_guest(guest).await.start();
        let mut client = gateway.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let head = client.head_only().await;
            assert_eq!(head.status().to_string(), status, "{head:?}");
        }
    }
}

#[tokio::test]
async fn trailers_that_would_frame_or_route_are_dropped() {
    let address = upstream(|request| {
        let body = request.body.replace("\r\n", "");
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, content-length, connection\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\nx-sum: 2\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
            body.len()
        )
    })
    .await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-one, host, transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("3\r\nabc\r\n0\r\nx-one: 1\r\nhost: evil\r\ntransfer-encoding: gzip\r\n\r\n").await;
    assert_eq!(client.response().await.body, "abcx-one: 1x-sum: 2");
}
