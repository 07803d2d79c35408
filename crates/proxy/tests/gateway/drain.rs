//! What a drain does to connections and to what is under way on them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, Gateway, PATIENCE, Setup, accept, manual_upstream, ok};

#[tokio::test]
async fn requests_under_way_survive_a_drain_and_new_connections_do_not() {
    let (address, listener) = manual_upstream().await;
    let mut gateway = Setup::to(address).start();
    let mut idle = gateway.client().await;
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut stream, _) = accept(&listener).await;
    let drained = gateway.drain_in_background();
    assert_eq!(idle.rest().await, "");
    no_longer_listening(&gateway).await;
    assert!(!drained.is_finished());
    stream.write_all(ok("done").as_bytes()).await.unwrap();
    let response = client.response().await;
    assert_eq!((response.body.as_str(), response.header("connection")), ("done", Some("close")));
    timeout(Duration::from_secs(5), drained).await.expect("not drained").unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout_whatever_is_under_way() {
    let (address, listener) = manual_upstream().await;
    let mut setup = Setup::to(address);
    setup.drain_timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (_stream, _) = accept(&listener).await;
    let started = Instant::now();
    gateway.drain().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(client.rest().await, "");
}

/// A drain that begins while the head of an answer is with the client and its body is still to come.
async fn draining_in_mid_answer() -> (Gateway, Client, TcpStream, tokio::task::JoinHandle<()>) {
    let (address, listener) = manual_upstream().await;
    let mut gateway = Setup::to(address).start();
    let mut client = gateway.client().await;
    client.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut upstream, _) = accept(&listener).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    assert_eq!(client.head_only().await.header("connection"), None);
    let drained = gateway.drain_in_background();
    no_longer_listening(&gateway).await;
    upstream.write_all(b"body").await.unwrap();
    let mut body = [0; 4];
    timeout(PATIENCE, client.0.read_exact(&mut body)).await.expect("no body").unwrap();
    assert_eq!(&body, b"body");
    (gateway, client, upstream, drained)
}

async fn no_longer_listening(gateway: &Gateway) {
    let gone = async { while TcpStream::connect(gateway.address).await.is_ok() {} };
    timeout(PATIENCE, gone).await.expect("still listening");
}

#[tokio::test]
async fn a_client_that_could_not_be_told_may_send_one_more_request() {
    let (_gateway, mut client, mut upstream, drained) = draining_in_mid_answer().await;
    client.send("GET /second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut request = [0; 1024];
    let read = timeout(PATIENCE, upstream.read(&mut request)).await.expect("no request").unwrap();
    assert!(request[..read].starts_with(b"GET /second "), "{}", request[..read].escape_ascii());
    upstream.write_all(ok("last").as_bytes()).await.unwrap();
    let response = client.response().await;
    assert_eq!((response.body.as_str(), response.header("connection")), ("last", Some("close")));
    assert_eq!(client.rest().await, "");
    timeout(PATIENCE, drained).await.expect("not drained").unwrap();
}

#[tokio::test]
async fn a_client_that_could_not_be_told_and_sends_nothing_is_closed_soon() {
    let (_gateway, mut client, _upstream, drained) = draining_in_mid_answer().await;
    assert_eq!(client.rest().await, "");
    timeout(PATIENCE, drained).await.expect("not drained").unwrap();
}
