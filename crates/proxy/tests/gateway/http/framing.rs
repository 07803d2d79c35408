//! Where a request ends, and its connection.

use tokio::io::AsyncReadExt;

use super::{mirror, seen, status};
use crate::support::{Setup, manual_upstream, upstream};

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
async fn a_request_with_trailers_is_the_last_of_its_connection() {
    // Read as LF ends a line elsewhere, `/a` is a request with a body; read as hyper does, `/a` is lost and its body a
    // request.
    let rest =
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 33\r\n\r\nGET /inside HTTP/1.1\r\nhost: b\r\n\r\n";
    for end in ["0\r\n\n", "0\r\nx: 1\n\r\n", "0\r\nx: 1\n\n", "0\r\nx: 1\r\n\r\n"] {
        for body in ["5\r\nhello\r\n", ""] {
            let gateway = mirror().await;
            let mut client = gateway.client().await;
            client
                .send(&format!(
                    "POST /first HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{end}{rest}"
                ))
                .await;
            let answers = client.rest().await;
            assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{end:?} {answers}");
            assert!(answers.contains("connection: close"), "{end:?} {answers}");
            assert!(!answers.contains("/inside"), "{end:?} {answers}");
        }
    }
}

#[tokio::test]
async fn a_request_whose_chunks_nobody_read_is_the_last_of_its_connection() {
    let gateway = mirror().await;
    let mut client = gateway.client().await;
    let rest =
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 33\r\n\r\nGET /inside HTTP/1.1\r\nhost: b\r\n\r\n";
    // The gateway answers this one without looking at its body.
    client
        .send(&format!("OPTIONS * HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\n{rest}"))
        .await;
    let answers = client.rest().await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
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
