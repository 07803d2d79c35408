//! HTTP/2 from clients, by prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{
    PATIENCE, Setup, accept, header, http2_get, http2_response, manual_upstream, ok, upstream,
};

#[tokio::test]
async fn one_port_speaks_both_versions() {
    let address = upstream(|request| ok(&format!("{}|{}", request.head, request.body))).await;
    let gateway = Setup::to(address).start();
    let (mut client, _) = gateway.http2().await;
    let (head, body) = client.get("/x?y=z").await;
    assert_eq!(head.status, 200);
    assert!(body.starts_with("GET /x?y=z HTTP/1.1\r\n"), "{body}");
    assert_eq!(header(&body, "host"), Some("a"));
    assert_eq!(gateway.get("/old").await.status(), 200);
    gateway.wait_for_metric("agw_http_connections 1").await;
}

#[tokio::test]
async fn a_preface_that_comes_in_pieces_is_one() {
    let gateway = Setup::echo().start();
    let mut client = gateway.client().await;
    for piece in ["PRI * HT", "TP/2.0\r\n\r\nS", "M\r\n\r\n"] {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The gateway's SETTINGS.
    let mut frame = [0; 9];
    timeout(PATIENCE, client.0.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4);
}

#[tokio::test]
async fn a_method_that_begins_like_the_preface_is_http1() {
    let gateway = Setup::echo().start();
    let mut client = gateway.client().await;
    client.send("PR").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.send("OP / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn a_version_that_is_off_is_not_spoken() {
    let mut setup = Setup::echo();
    setup.listener.protocols.http2 = false;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.rest().await, "");

    let mut setup = Setup::echo();
    setup.listener.protocols.http1 = false;
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, client.0.read_to_end(&mut answer)).await.expect("not closed");
    assert!(!answer.starts_with(b"HTTP/1"));
    assert_eq!(gateway.http2().await.0.get("/").await.0.status, 200);
}

#[tokio::test]
async fn cookies_arrive_upstream_as_one_header() {
    let address = upstream(|request| ok(&request.head)).await;
    let gateway = Setup::to(address).start();
    let (mut client, _) = gateway.http2().await;
    let mut request = http2_get("/");
    for cookie in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", cookie.parse().unwrap());
    }
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let (response, _) = client.send(request, true).await;
    let (_, body) = http2_response(response).await.unwrap();
    assert_eq!(header(&body, "cookie"), Some("a=1; b=2; c=3"));
    assert_eq!(body.matches("cookie").count(), 1, "{body}");
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let address = upstream(|request| {
        let body = &request.body;
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 9\r\n\r\n",
            body.len()
        )
    })
    .await;
    let gateway = Setup::to(address).start();
    let (mut client, _) = gateway.http2().await;
    let mut request = http::Request::post("http://a/").body(()).unwrap();
    request.headers_mut().insert("trailer", "x-in".parse().unwrap());
    let (response, mut body) = client.send(request, false).await;
    body.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-in", "1".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let (head, body) = http2_response(response).await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(body, "hellox-in: 1x-sum: 9");
}

#[tokio::test]
async fn a_large_body_passes_through_small_windows() {
    let large = "0123456789abcdef".repeat(64 << 10);
    let answer = large.clone();
    let address = upstream(move |request| ok(if request.body == answer { &answer } else { "no" })).await;
    let mut setup = Setup::to(address);
    setup.listener.http2.stream_window = 64 << 10;
    setup.listener.http2.connection_window = 64 << 10;
    let gateway = setup.start();
    let (mut client, _) = gateway.http2().await;
    let request = http::Request::post("http://a/").body(()).unwrap();
    let (response, mut body) = client.send(request, false).await;
    body.send_data(Bytes::from(large.clone()), true).unwrap();
    let (_, got) = http2_response(response).await.unwrap();
    assert!(got == large, "{} bytes", got.len());
}

#[tokio::test]
async fn each_stream_has_a_deadline_of_its_own() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.routes[0].timeout = Duration::from_millis(300);
    let gateway = setup.start();
    let (mut client, connection) = gateway.http2().await;
    let (silent, _) = client.send(http2_get("/silent"), true).await;
    let (_silent_upstream, _) = accept(&listener).await;
    let (stalled, _) = client.send(http2_get("/stalled"), true).await;
    let (mut upstream, _) = accept(&listener).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let (head, body) = http2_response(silent).await.unwrap();
    assert_eq!(head.status, 504, "{body}");
    let error = http2_response(stalled).await.unwrap_err();
    assert!(error.is_reset(), "{error:?}");
    // Neither ended the connection.
    let (good, _) = client.send(http2_get("/good"), true).await;
    let (mut upstream, _) = accept(&listener).await;
    upstream.write_all(ok("fine").as_bytes()).await.unwrap();
    assert_eq!(http2_response(good).await.unwrap().1, "fine");
    assert!(!connection.is_finished());
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="504"} 1"#).await;
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="200"} 2"#).await;
}

#[tokio::test]
async fn a_stream_that_the_client_resets_frees_its_upstream_connection() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let (mut client, _connection) = gateway.http2().await;
    let (response, mut stream) = client.send(http2_get("/"), true).await;
    let (mut upstream, _) = accept(&listener).await;
    stream.send_reset(Reason::CANCEL);
    drop(response);
    let read = timeout(PATIENCE, upstream.read(&mut [0; 8])).await.expect("not closed");
    assert_eq!(read.unwrap_or(0), 0);
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="0"} 1"#).await;
}

#[tokio::test]
async fn streams_over_the_bound_wait_their_turn() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.listener.http2.streams_max = 1;
    let gateway = setup.start();
    let (mut client, _connection) = gateway.http2().await;
    let (first, _) = client.send(http2_get("/1"), true).await;
    let (mut upstream, _) = accept(&listener).await;
    let told = async {
        while client.0.current_max_send_streams() != 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, told).await.expect("the bound is not told");
    let (second, _) = client.send(http2_get("/2"), true).await;
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err());
    upstream.write_all(ok("one").as_bytes()).await.unwrap();
    assert_eq!(http2_response(first).await.unwrap().1, "one");
    let answer = tokio::spawn(http2_response(second));
    let mut request = [0; 64];
    assert!(timeout(PATIENCE, upstream.read(&mut request)).await.unwrap().unwrap() > 0);
    upstream.write_all(ok("two").as_bytes()).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().1, "two");
}

#[tokio::test]
async fn a_drain_finishes_streams_and_takes_no_new_ones() {
    let (address, listener) = manual_upstream().await;
    let mut gateway = Setup::to(address).start();
    let (mut client, connection) = gateway.http2().await;
    let (response, _) = client.send(http2_get("/"), true).await;
    let (mut upstream, _) = accept(&listener).await;
    let drained = gateway.drain_in_background();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!drained.is_finished());
    upstream.write_all(ok("late").as_bytes()).await.unwrap();
    assert_eq!(http2_response(response).await.unwrap().1, "late");
    timeout(PATIENCE, drained).await.expect("still draining").unwrap();
    let ended = timeout(PATIENCE, connection).await.expect("still open").unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn streams_that_outlive_the_drain_are_cut() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.drain_timeout = Duration::from_millis(100);
    let gateway = setup.start();
    let (mut client, _connection) = gateway.http2().await;
    let (response, _) = client.send(http2_get("/"), true).await;
    let (_upstream, _) = accept(&listener).await;
    timeout(PATIENCE, gateway.drain()).await.expect("still draining");
    assert!(http2_response(response).await.is_err());
}

#[tokio::test]
async fn a_connection_without_streams_is_told_to_go() {
    let mut setup = Setup::echo();
    setup.listener.idle_timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let (mut client, connection) = gateway.http2().await;
    assert_eq!(client.get("/").await.0.status, 200);
    let ended = timeout(PATIENCE, connection).await.expect("still open").unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    gateway.wait_for_metric("agw_http_connections 0").await;
}

#[tokio::test]
async fn an_idle_connection_that_does_not_answer_is_closed() {
    let mut setup = Setup::echo();
    setup.listener.idle_timeout = Duration::from_millis(100);
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client
        .0
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat())
        .await
        .unwrap();
    let read = timeout(PATIENCE, client.0.read_to_end(&mut Vec::new())).await;
    assert!(read.is_ok(), "still open");
}

#[tokio::test]
async fn too_many_headers_are_a_431() {
    let mut setup = Setup::echo();
    setup.listener.headers_max = 5;
    let gateway = setup.start();
    let (mut client, _connection) = gateway.http2().await;
    let mut request = http2_get("/");
    for index in 0..6 {
        let name: http::HeaderName = format!("x-{index}").parse().unwrap();
        request.headers_mut().insert(name, "v".parse().unwrap());
    }
    let (response, _) = client.send(request, true).await;
    assert_eq!(http2_response(response).await.unwrap().0.status, 431);
    assert_eq!(client.get("/").await.0.status, 200);
}

#[tokio::test]
async fn connect_is_not_implemented() {
    let gateway = Setup::echo().start();
    let (mut client, _connection) = gateway.http2().await;
    let request = http::Request::connect("a:443").body(()).unwrap();
    let (response, _) = client.send(request, true).await;
    assert_eq!(http2_response(response).await.unwrap().0.status, 501);
}

// === floods ===

fn frame(kind: u8, flags: u8, stream: u32, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), contents].concat()
}

/// Sends the frames after a handshake; the error code of the GOAWAY that comes back.
async fn goaway_after(setup: Setup, frames: Vec<u8>) -> Option<u32> {
    let gateway = setup.start();
    let client = gateway.client().await;
    let (mut reader, mut writer) = client.0.into_split();
    let first = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat();
    let writing = tokio::spawn(async move {
        // The gateway may close in the middle of it.
        let _ = writer.write_all(&first).await;
        let _ = writer.write_all(&frames).await;
        writer
    });
    let reading = async {
        loop {
            let mut head = [0; 9];
            reader.read_exact(&mut head).await.ok()?;
            let mut contents = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            reader.read_exact(&mut contents).await.ok()?;
            if head[3] == 7 {
                return Some(u32::from_be_bytes(contents[4..8].try_into().unwrap()));
            }
        }
    };
    let code = timeout(PATIENCE, reading).await.expect("neither closed nor refused");
    let _ = writing.await;
    code
}

const ENHANCE_YOUR_CALM: Option<u32> = Some(11);

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    let pings = frame(6, 0, 0, &[0; 8]).repeat(5000);
    assert_eq!(goaway_after(Setup::echo(), pings).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_flood_of_settings_ends_the_connection() {
    let settings = frame(4, 0, 0, &[]).repeat(5000);
    assert_eq!(goaway_after(Setup::echo(), settings).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let mut frames = frame(1, 0, 1, &[0x82, 0x84, 0x86]);
    frames.extend(frame(9, 0, 1, &[]).repeat(5000));
    assert_eq!(goaway_after(Setup::echo(), frames).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let (address, _listener) = manual_upstream().await;
    let mut frames = Vec::new();
    for stream in 0..2000 {
        // GET http / with authority a.
        frames.extend(frame(1, 5, stream * 2 + 1, &[0x82, 0x84, 0x86, 0x41, 0x01, b'a']));
        frames.extend(frame(3, 0, stream * 2 + 1, &[0, 0, 0, 8]));
    }
    assert_eq!(goaway_after(Setup::to(address), frames).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn streams_that_are_reset_after_their_start_end_the_connection() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.listener.http2.resets_max = 10;
    let gateway = setup.start();
    let (mut client, connection) = gateway.http2().await;
    let mut upstreams = Vec::new();
    for _ in 0..11 {
        let (response, mut stream) = client.send(http2_get("/"), true).await;
        upstreams.push(accept(&listener).await);
        stream.send_reset(Reason::CANCEL);
        drop(response);
    }
    let error = timeout(PATIENCE, connection).await.expect("still open").unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error:?}");
}
