//! Clients and upstreams that are slow, stop in the middle, or leave by half; and answers that come before the request
//! has been read.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{interval, timeout};

use crate::support::{
    Client, Gateway, PATIENCE, Setup, accept, http2_response, manual_upstream, ok, upstream,
};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// Bodies may be silent for a short time, everything else may take long.
fn impatient(address: SocketAddr) -> Setup {
    let mut setup = Setup::to(address);
    setup.routes[0].idle_timeout = SHORT;
    setup.routes[0].timeout = LONG;
    setup
}

async fn logged(gateway: &Gateway, code: u16) {
    let line = format!(r#"agw_http_requests_total{{route="all",method="POST",code="{code}"}} 1"#);
    gateway.wait_for_metric(&line).await;
}

/// What never ends.
fn endless() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1_u64 << 40, "x".repeat(1 << 20))
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_gets_a_408() {
    let (address, listener) = manual_upstream().await;
    let gateway = impatient(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhal").await;
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let response = client.response().await;
    response.assert(408, "request_body_timeout");
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(client.rest().await, "");
    // The upstream does not take the half for a whole.
    let mut request = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut request)).await.expect("still open");
    assert!(String::from_utf8(request).unwrap().ends_with("\r\n\r\nhal"));
    logged(&gateway, 408).await;
}

#[tokio::test]
async fn a_stream_that_stops_in_its_body_gets_a_408() {
    let (address, _listener) = manual_upstream().await;
    let gateway = impatient(address).start();
    let (mut client, _connection) = gateway.http2().await;
    let request = http::Request::post("http://a/").body(()).unwrap();
    let (response, mut body) = client.send(request, false).await;
    body.send_data(Bytes::from_static(b"hal"), false).unwrap();
    let (head, text) = http2_response(response).await.unwrap();
    assert_eq!(head.status, 408);
    assert!(text.contains("request_body_timeout"), "{text}");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_not_silent() {
    let address = upstream(|request| ok(&request.body)).await;
    let gateway = impatient(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n").await;
    let mut beat = interval(SHORT / 3);
    for byte in "a bit of".chars() {
        beat.tick().await;
        client.send(&byte.to_string()).await;
    }
    assert_eq!(client.response().await.body, "a bit of");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_ends_at_the_routes_timeout() {
    let (address, _listener) = manual_upstream().await;
    let mut setup = impatient(address);
    setup.routes[0].timeout = SHORT * 2;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n").await;
    let (mut reader, mut writer) = client.0.into_split();
    let sending = tokio::spawn(async move {
        let mut beat = interval(SHORT / 3);
        loop {
            beat.tick().await;
            if writer.write_all(b"x").await.is_err() {
                return;
            }
        }
    });
    let mut answer = [0; 12];
    timeout(PATIENCE, reader.read_exact(&mut answer)).await.expect("no answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    sending.abort();
}

#[tokio::test]
async fn an_upstream_that_does_not_take_the_body_is_a_504_at_the_idle_timeout() {
    let (address, _listener) = manual_upstream().await;
    let mut setup = impatient(address);
    setup.routes[0].request_body_bytes_max = u64::MAX;
    let gateway = setup.start();
    let client = gateway.client().await;
    let (mut reader, mut writer) = client.0.into_split();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40);
    writer.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move { while writer.write_all(&[b'x'; 65536]).await.is_ok() {} });
    let mut answer = vec![0; 12];
    timeout(PATIENCE, reader.read_exact(&mut answer)).await.expect("no answer").unwrap();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("not closed");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("upstream_idle_timeout"), "{answer}");
    sending.await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_stops_in_its_body_is_cut_at_the_idle_timeout() {
    let (address, listener) = manual_upstream().await;
    let gateway = impatient(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal").await.unwrap();
    assert!(client.rest().await.ends_with("\r\n\r\nhal"));
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 8])).await.expect("still open").unwrap_or(0), 0);
    logged(&gateway, 200).await;
}

#[tokio::test]
async fn a_response_that_comes_byte_by_byte_is_not_silent() {
    let (address, listener) = manual_upstream().await;
    let gateway = impatient(address).start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await.unwrap();
    let mut beat = interval(SHORT / 3);
    for byte in b"a bit of" {
        beat.tick().await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(client.response().await.body, "a bit of");
}

#[tokio::test]
async fn a_head_that_is_awaited_longer_than_a_body_may_be_silent_still_comes() {
    let (address, listener) = manual_upstream().await;
    let gateway = impatient(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
    let (mut stream, _) = accept(&listener).await;
    tokio::time::sleep(SHORT * 2).await;
    stream.write_all(ok("late").as_bytes()).await.unwrap();
    assert_eq!(client.response().await.body, "late");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_at_the_idle_timeout() {
    let address = upstream(|_| endless()).await;
    let gateway = impatient(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Nothing is read before the gateway has given up.
    logged(&gateway, 200).await;
    gateway.wait_for_metric("agw_http_connections 0").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_that_reads_byte_by_byte_ends_at_the_routes_timeout() {
    let address = upstream(|_| endless()).await;
    let mut setup = impatient(address);
    setup.routes[0].timeout = Duration::from_secs(1);
    setup.routes[0].idle_timeout = LONG;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let reading = tokio::spawn(async move {
        let mut beat = interval(Duration::from_millis(20));
        while client.0.read_exact(&mut [0; 1]).await.is_ok() {
            beat.tick().await;
        }
    });
    logged(&gateway, 200).await;
    reading.abort();
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_at_the_idle_timeout_and_others_go_on() {
    let address = upstream(|request| match request.head.split(' ').nth(1) {
        Some("/endless") => endless(),
        _ => ok("hello"),
    })
    .await;
    let gateway = impatient(address).start();
    let (mut client, _connection) = gateway.http2().await;
    let request = http::Request::post("http://a/endless").body(()).unwrap();
    let (response, _) = client.send(request, true).await;
    let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    logged(&gateway, 200).await;
    let broken = async {
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => body.flow_control().release_capacity(data.len()).unwrap(),
                Err(_) => return true,
            }
        }
        false
    };
    assert!(timeout(PATIENCE, broken).await.expect("not reset"));
    assert_eq!(client.get("/").await.1, "hello");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_has_the_header_timeout() {
    let mut setup = Setup::echo();
    setup.listener.header_timeout = SHORT;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    let mut beat = interval(SHORT / 10);
    let head = "GET / HTTP/1.1\r\nhost: a\r\nx-long: and longer than the time allows\r\n\r\n";
    for byte in head.bytes() {
        beat.tick().await;
        if client.0.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    assert_eq!(client.rest().await, "");
    gateway.wait_for_metric("agw_http_connections 0").await;
}

#[tokio::test]
async fn an_http2_preface_that_comes_byte_by_byte_has_the_header_timeout() {
    let mut setup = Setup::echo();
    setup.listener.header_timeout = SHORT;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    let mut beat = interval(SHORT / 10);
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        beat.tick().await;
        if client.0.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    assert_eq!(client.rest().await, "");
    gateway.wait_for_metric("agw_http_connections 0").await;
}

/// Sends far more than sockets hold before it reads, as many clients do, and returns the answer.
async fn send_all_then_read(client: &mut Client, head: &str) -> String {
    let body = vec![b'x'; 8 << 20];
    client.send(head).await;
    // A client that notices the end stops sending; this one noticed it too late.
    let _ = timeout(PATIENCE, client.0.write_all(&body)).await.expect("nobody reads");
    client.rest().await
}

#[tokio::test]
async fn a_client_that_sends_before_it_reads_gets_its_413() {
    let mut setup = Setup::echo();
    setup.routes[0].request_body_bytes_max = 10;
    let gateway = setup.start();
    for framing in ["content-length: 8388608", "transfer-encoding: chunked"] {
        let mut client = gateway.client().await;
        let chunk = if framing.starts_with('t') { "800000\r\n" } else { "" };
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{chunk}");
        let answer = send_all_then_read(&mut client, &head).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with('}'), "{framing}: {answer}");
        assert!(answer.contains("connection: close"), "{framing}: {answer}");
    }
    gateway.wait_for_metric("agw_http_connections 0").await;
}

#[tokio::test]
async fn a_client_that_sends_before_it_reads_gets_its_400() {
    let gateway = Setup::echo().start();
    for head in [
        "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 8388608\r\n\r\n",
    ] {
        let answer = send_all_then_read(&mut gateway.client().await, head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
    gateway.wait_for_metric("agw_http_connections 0").await;
}

#[tokio::test]
async fn a_stream_that_sends_on_gets_its_413_and_others_go_on() {
    let mut setup = Setup::echo();
    setup.routes[0].request_body_bytes_max = 10;
    let gateway = setup.start();
    let (mut client, _connection) = gateway.http2().await;
    let request = http::Request::post("http://a/").body(()).unwrap();
    let (response, mut body) = client.send(request, false).await;
    body.send_data(Bytes::from(vec![b'x'; 1 << 20]), false).unwrap();
    let (head, text) = http2_response(response).await.unwrap();
    assert_eq!(head.status, 413);
    assert!(text.contains("request_too_large"), "{text}");
    assert_eq!(client.get("/").await.0.status, 200);
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_left() {
    let mut setup = Setup::echo();
    setup.routes[0].request_body_bytes_max = 10;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1099511627776\r\n\r\n").await;
    let chunk = vec![b'x'; 1 << 20];
    let sending = async { while client.0.write_all(&chunk).await.is_ok() {} };
    timeout(PATIENCE * 2, sending).await.expect("still reading");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_clients_that_send_on() {
    let mut setup = Setup::echo();
    setup.routes[0].request_body_bytes_max = 10;
    setup.drain_timeout = SHORT;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await;
    client.response().await.assert(413, "request_too_large");
    timeout(PATIENCE, gateway.drain()).await.expect("still draining");
}

#[tokio::test]
async fn an_upstream_that_answers_before_it_has_the_body_is_heard() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhal").await;
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"hal") {
        timeout(PATIENCE, stream.read_buf(&mut request)).await.expect("no request").unwrap();
    }
    stream
        .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        .await
        .unwrap();
    let response = client.response().await;
    assert_eq!((response.status(), response.body.as_str()), (403, "no"));
    // What comes now belongs to that request still: it is never taken for another.
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    drop(stream);
    assert!(!client.rest().await.contains("200 OK"));
    assert!(timeout(SHORT, listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_is_gone() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
    let (mut stream, _) = accept(&listener).await;
    client.0.shutdown().await.unwrap();
    // Nobody waits for the answer any more, so the upstream need not make it.
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 8])).await.expect("still open").unwrap_or(0), 0);
    assert_eq!(client.rest().await, "");
    logged(&gateway, 0).await;
}

#[tokio::test]
async fn a_body_that_is_not_wanted_is_refused_without_100_continue() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.routes[0].request_body_bytes_max = 10;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\nexpect: 100-continue\r\n\r\n").await;
    client.response().await.assert(413, "request_too_large");
    assert!(timeout(SHORT, listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_body_that_does_not_wait_for_100_continue_arrives() {
    let address = upstream(|request| ok(&request.body)).await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nhi")
            .await;
        let first = client.head_only().await;
        assert_eq!(first.status(), 100, "{first:?}");
        assert_eq!(client.response().await.body, "hi");
    }
}

#[tokio::test]
async fn an_http10_client_gets_no_100_continue() {
    let address = upstream(|request| ok(&request.body)).await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nhi").await;
    assert_eq!(client.response().await.status(), 200);
}
