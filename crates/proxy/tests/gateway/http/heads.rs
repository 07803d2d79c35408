//! Requests: heads, targets and hosts, and what is told of the client.

use agw_config::ForwardedPolicy;

use super::{mirror, seen, seen_with, status};
use crate::support::{Setup, ok, upstream};

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
async fn what_hyper_answers_is_counted_as_it_was_answered() {
    let mut setup = Setup::echo();
    setup.listener.header_bytes_max = 128 << 10;
    let gateway = setup.start();
    let long = "x".repeat(70_000);
    let second =
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (bytes, answered, counted) in [
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414, 414),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}{long}\r\n\r\n"), 431, 431),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400, 400),
        // The first is served; after the preface the connection closes without a word.
        (second.to_owned(), 200, 0),
    ] {
        assert_eq!(status(&gateway, &bytes).await, answered);
        let line = format!("agw_http_requests_total{{route=\"none\",method=\"OTHER\",code=\"{counted}\"}} 1");
        gateway.wait_for_metric(&line).await;
    }
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
