//! Requests that go on in another protocol.

mod http2;

use std::time::Duration;

use agw_config::RouteAction;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, Response, Setup, accept, manual_upstream, ok};

const WISH: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-key: k\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s\r\n\r\n";

/// A route that lets clients upgrade to WebSocket.
fn allowing(address: std::net::SocketAddr) -> Setup {
    let mut setup = Setup::to(address);
    if let RouteAction::Forward(forward) = &mut setup.routes[0].action {
        forward.upgrades = vec!["websocket".into()];
    }
    setup
}

async fn upgraded(client: &mut Client, listener: &tokio::net::TcpListener) -> (TcpStream, Response) {
    client.send(WISH).await;
    let (mut upstream, request) = accept(listener).await;
    upstream.write_all(AGREED.as_bytes()).await.unwrap();
    let response = client.head_only().await;
    assert_eq!(response.status(), 101, "{response:?}");
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(response.header("sec-websocket-accept"), Some("s"));
    (upstream, request)
}

async fn read(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("nothing came").unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[tokio::test]
async fn bytes_pass_both_ways_until_both_sides_have_ended() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = gateway.client().await;
    let (mut upstream, request) = upgraded(&mut client, &listener).await;
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert_eq!(request.header("connection"), Some("upgrade"));
    client.send("ping").await;
    read(&mut upstream, "ping").await;
    upstream.write_all(b"pong").await.unwrap();
    read(&mut client.0, "pong").await;
    // One side has ended; the other speaks on.
    client.0.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, upstream.read(&mut [0; 8])).await.expect("no end").unwrap(), 0);
    upstream.write_all(b"last words").await.unwrap();
    drop(upstream);
    assert_eq!(client.rest().await, "last words");
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="101"} 1"#).await;
    gateway.wait_for_metric("agw_http_connections 0").await;
}

#[tokio::test]
async fn bytes_that_come_with_the_heads_are_not_lost() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = gateway.client().await;
    client.send(&format!("{WISH}early")).await;
    let (mut upstream, _) = accept(&listener).await;
    upstream.write_all(format!("{AGREED}too").as_bytes()).await.unwrap();
    assert_eq!(client.head_only().await.status(), 101);
    read(&mut upstream, "early").await;
    drop(upstream);
    assert_eq!(client.rest().await, "too");
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_ordinary_response() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send(WISH).await;
        let (mut upstream, _) = accept(&listener).await;
        upstream.write_all(ok("no").as_bytes()).await.unwrap();
        assert_eq!(client.response().await.body, "no");
    }
}

#[tokio::test]
async fn a_route_that_does_not_allow_it_serves_without_upgrade() {
    let (address, listener) = manual_upstream().await;
    let gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send(WISH).await;
    let (mut upstream, request) = accept(&listener).await;
    assert_eq!((request.header("upgrade"), request.header("connection")), (None, None));
    upstream.write_all(AGREED.as_bytes()).await.unwrap();
    client.response().await.assert(502, "upstream_protocol_error");
}

#[tokio::test]
async fn a_switch_to_what_nobody_asked_for_is_a_502() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = gateway.client().await;
    client.send(WISH).await;
    let (mut upstream, _) = accept(&listener).await;
    upstream.write_all(AGREED.replace("upgrade: websocket", "upgrade: h2c").as_bytes()).await.unwrap();
    client.response().await.assert(502, "upstream_protocol_error");
}

#[tokio::test]
async fn a_silent_upgrade_ends_at_the_idle_timeout() {
    let (address, listener) = manual_upstream().await;
    let mut setup = allowing(address);
    setup.routes[0].timeout = Duration::from_millis(200);
    setup.routes[0].idle_timeout = Duration::from_millis(300);
    let gateway = setup.start();
    let mut client = gateway.client().await;
    let (mut upstream, _) = upgraded(&mut client, &listener).await;
    // The route's time-out ended with the upgrade: bytes keep it alive beyond that.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("x").await;
        read(&mut upstream, "x").await;
    }
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn an_upgrade_outlives_a_drain_only_by_its_timeout() {
    let (address, listener) = manual_upstream().await;
    let mut setup = allowing(address);
    setup.drain_timeout = Duration::from_millis(200);
    let mut gateway = setup.start();
    let mut client = gateway.client().await;
    let (mut upstream, _) = upgraded(&mut client, &listener).await;
    let drained = gateway.drain_in_background();
    client.send("still").await;
    read(&mut upstream, "still").await;
    timeout(PATIENCE, drained).await.expect("still draining").unwrap();
    assert_eq!(client.rest().await, "");
}
