//! What filters can do to HTTP.

use agw_config::PathMatch;

use super::with_guest;
use crate::guests::{Guest, REQUEST, RESPONSE};

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
