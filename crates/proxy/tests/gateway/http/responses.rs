//! What comes from upstream.

use tokio::io::AsyncWriteExt;

use crate::support::{Setup, accept, manual_upstream, ok};

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
