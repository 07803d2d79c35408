//! The extended CONNECT of HTTP/2 (RFC 8441), towards upstreams of HTTP/1.1.

use std::time::Duration;

use agw_config::{DirectResponse, RouteAction};
use base64::Engine as _;
use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::Response as Head;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{allowing, read};
use crate::guests::{Guest, REQUEST, RESPONSE, load};
use crate::support::{
    Gateway, Http2, PATIENCE, Response, Setup, accept, http2_response, manual_upstream, ok,
};

/// The client's side of a tunnel.
struct Tunnel {
    head: Head<()>,
    sending: SendStream<Bytes>,
    receiving: RecvStream,
}

fn connect(path: &str) -> http::Request<()> {
    let mut request = http::Request::connect(format!("http://a{path}"));
    request = request.header("sec-websocket-version", "13").header("sec-websocket-key", "the client's");
    request.extension(Protocol::from_static("websocket")).body(()).unwrap()
}

/// A connection whose server has said that it takes extended CONNECTs.
async fn client(gateway: &Gateway) -> Http2 {
    let (client, _) = gateway.http2().await;
    let known = async {
        while !client.0.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, known).await.expect("SETTINGS do not say that it can be had");
    client
}

/// The proof that belongs to the key in the upstream's request.
fn proof(request: &Response) -> String {
    let key = request.header("sec-websocket-key").expect("a key");
    assert_eq!(key.len(), 24, "{key}");
    let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(hash)
}

fn agreed(request: &Response) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-accept: {}\r\nx-own: 1\r\n\r\n",
        proof(request)
    )
}

async fn tunnel(client: &mut Http2, listener: &TcpListener) -> (Tunnel, TcpStream, Response) {
    let (response, sending) = client.send(connect("/chat?x=1"), false).await;
    let (mut upstream, request) = accept(listener).await;
    upstream.write_all(agreed(&request).as_bytes()).await.unwrap();
    let (parts, receiving) = timeout(PATIENCE, response).await.expect("no head").unwrap().into_parts();
    (Tunnel { head: Head::from_parts(parts, ()), sending, receiving }, upstream, request)
}

/// The answer to an extended CONNECT that comes to no tunnel.
async fn refusal(gateway: &Gateway) -> (u16, String) {
    let mut client = client(gateway).await;
    let (response, _sending) = client.send(connect("/"), false).await;
    let (head, body) = http2_response(response).await.unwrap();
    (head.status.as_u16(), body)
}

impl Tunnel {
    fn say(&mut self, text: &'static str) {
        self.sending.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
    }

    async fn hears(&mut self, expected: &str) {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let data = timeout(PATIENCE, self.receiving.data())
                .await
                .expect("nothing came")
                .expect("ended")
                .unwrap();
            self.receiving.flow_control().release_capacity(data.len()).unwrap();
            heard.extend_from_slice(&data);
        }
        assert_eq!(String::from_utf8(heard).unwrap(), expected);
    }

    /// Whether it ended in order.
    async fn ends(&mut self) -> bool {
        loop {
            match timeout(PATIENCE, self.receiving.data()).await.expect("no end") {
                None => return true,
                // The frame that has END_STREAM.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => panic!("{data:?} comes instead of the end"),
                Some(Err(_)) => return false,
            }
        }
    }
}

async fn ended(stream: &mut TcpStream) -> bool {
    // A reset is an end as well.
    timeout(PATIENCE, stream.read(&mut [0; 8])).await.expect("no end").unwrap_or(0) == 0
}

#[tokio::test]
async fn the_upstream_sees_an_upgrade_of_http1_and_the_client_a_stream() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = client(&gateway).await;
    let (mut tunnel, mut upstream, request) = tunnel(&mut client, &listener).await;
    assert!(request.head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{}", request.head);
    for (name, value) in
        [("upgrade", "websocket"), ("connection", "upgrade"), ("host", "a"), ("sec-websocket-version", "13")]
    {
        assert_eq!(request.header(name), Some(value), "{}", request.head);
    }
    assert_eq!(request.head.matches("sec-websocket-key").count(), 1);
    assert_eq!(tunnel.head.status(), 200);
    assert_eq!(tunnel.head.headers().get("x-own").unwrap(), "1");
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!tunnel.head.headers().contains_key(name), "{:?}", tunnel.head);
    }
    tunnel.say("ping");
    read(&mut upstream, "ping").await;
    upstream.write_all(b"pong").await.unwrap();
    tunnel.hears("pong").await;
}

#[tokio::test]
async fn one_side_may_end_and_the_other_speaks_on() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = client(&gateway).await;

    let (mut first, mut upstream, _) = tunnel(&mut client, &listener).await;
    first.sending.send_data(Bytes::from_static(b"all"), true).unwrap();
    read(&mut upstream, "all").await;
    assert!(ended(&mut upstream).await);
    upstream.write_all(b"last words").await.unwrap();
    drop(upstream);
    first.hears("last words").await;
    assert!(first.ends().await);

    let (mut second, mut upstream, _) = tunnel(&mut client, &listener).await;
    upstream.shutdown().await.unwrap();
    assert!(second.ends().await);
    second.say("still here");
    read(&mut upstream, "still here").await;
    second.sending.send_data(Bytes::new(), true).unwrap();
    assert!(ended(&mut upstream).await);
    gateway.wait_for_metric(r#"agw_http_requests_total{route="all",method="GET",code="101"} 2"#).await;
}

#[tokio::test]
async fn a_connection_with_a_tunnel_is_not_idle_and_serves_others() {
    let (address, listener) = manual_upstream().await;
    let mut setup = allowing(address);
    setup.listener.idle_timeout = Duration::from_millis(100);
    let gateway = setup.start();
    let mut client = client(&gateway).await;
    let (mut tunnel, mut upstream, _) = tunnel(&mut client, &listener).await;
    // Only the client's side is open.
    upstream.shutdown().await.unwrap();
    assert!(tunnel.ends().await);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (response, _) = client.send(crate::support::http2_get("/"), true).await;
    let (mut other, _) = accept(&listener).await;
    other.write_all(ok("served").as_bytes()).await.unwrap();
    assert_eq!(http2_response(response).await.unwrap().1, "served");
    tunnel.say("still here");
    read(&mut upstream, "still here").await;
}

#[tokio::test]
async fn a_client_that_resets_the_stream_ends_the_upstreams_connection() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let mut client = client(&gateway).await;
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let (mut tunnel, mut upstream, _) = tunnel(&mut client, &listener).await;
        tunnel.sending.send_reset(reason);
        assert!(ended(&mut upstream).await, "{reason}");
    }
    let (_tunnel, mut upstream, _) = tunnel(&mut client, &listener).await;
    drop((client, _tunnel));
    assert!(ended(&mut upstream).await);
}

#[tokio::test]
async fn what_the_route_does_not_allow_is_a_501_and_goes_nowhere() {
    let (address, listener) = manual_upstream().await;
    let not_allowed = Setup::to(address);
    let mut other_protocol = allowing(address);
    if let RouteAction::Forward(forward) = &mut other_protocol.routes[0].action {
        forward.upgrades = vec!["connect-udp".into()];
    }
    let mut only_http2 = allowing(address);
    only_http2.clusters[0].protocol = agw_config::UpstreamProtocol::Http2;
    let mut echo = Setup::echo();
    if let RouteAction::Forward(forward) = &mut echo.routes[0].action {
        forward.upgrades = vec!["websocket".into()];
    }
    for setup in [not_allowed, other_protocol, only_http2, echo] {
        let (status, body) = refusal(&setup.start()).await;
        assert_eq!(status, 501, "{body}");
        assert!(body.contains("upgrade_not_allowed"), "{body}");
    }
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "the upstream was asked");
}

#[tokio::test]
async fn a_plain_connect_stays_refused() {
    let gateway = Setup::echo().start();
    let (mut client, _) = gateway.http2().await;
    let request = http::Request::connect("a:443").body(()).unwrap();
    let (response, _sending) = client.send(request, false).await;
    let (head, body) = http2_response(response).await.unwrap();
    assert_eq!(head.status, 501);
    assert!(body.contains("connect_not_supported"), "{body}");
}

#[tokio::test]
async fn no_success_but_the_tunnels_own_reaches_the_client() {
    let (address, listener) = manual_upstream().await;
    let gateway = allowing(address).start();
    let agreement = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ";
    for (answer, status, code) in [
        (ok("an ordinary page"), 502, "upgrade_refused"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 502, "upgrade_refused"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno".to_owned(), 403, "no"),
        (format!("{agreement}h2c\r\n\r\n"), 502, "upstream_protocol_error"),
        (format!("{agreement}websocket\r\n\r\n"), 502, "upstream_protocol_error"),
        (format!("{agreement}websocket\r\nsec-websocket-accept: s\r\n\r\n"), 502, "upstream_protocol_error"),
    ] {
        let refusal = refusal(&gateway);
        let upstream = async {
            let (mut upstream, _) = accept(&listener).await;
            upstream.write_all(answer.as_bytes()).await.unwrap();
            upstream
        };
        let ((got, body), _upstream) = tokio::join!(refusal, upstream);
        assert_eq!(got, status, "{answer:?}: {body}");
        assert!(body.contains(code), "{answer:?}: {body}");
    }
}

#[tokio::test]
async fn the_gateways_own_answers_are_none_of_a_tunnel_either() {
    let mut setup = Setup::echo();
    let hello = DirectResponse { status: 200, headers: Vec::new(), body: "hello".into() };
    setup.routes[0].action = RouteAction::Respond(hello);
    assert_eq!(refusal(&setup.start()).await, (502, "hello".to_owned()));
}

#[tokio::test]
async fn filters_see_the_upgrade_as_one_of_http1() {
    let (address, listener) = manual_upstream().await;
    let mut setup = allowing(address);
    let guest = Guest::new().adds("request_headers", REQUEST, "x-in", "1").adds(
        "response_headers",
        RESPONSE,
        "x-out",
        "1",
    );
    with(&mut setup, guest).await;
    let gateway = setup.start();
    let mut client = client(&gateway).await;
    let (mut tunnel, mut upstream, request) = tunnel(&mut client, &listener).await;
    assert!(request.head.starts_with("GET "), "{}", request.head);
    assert_eq!(request.header("x-in"), Some("1"));
    assert_eq!(tunnel.head.status(), 200);
    assert_eq!(tunnel.head.headers().get("x-out").unwrap(), "1");
    tunnel.say("past the filters");
    read(&mut upstream, "past the filters").await;
}

#[tokio::test]
async fn a_filter_that_answers_an_upgrade_makes_no_tunnel() {
    for (status, expected) in [(403, 403), (200, 502)] {
        let (address, _listener) = manual_upstream().await;
        let mut setup = allowing(address);
        with(&mut setup, Guest::new().answers("request_headers", status, "denied", "said the filter")).await;
        let (got, body) = refusal(&setup.start()).await;
        assert_eq!((got, body.as_str()), (expected, "said the filter"));
    }
}

async fn with(setup: &mut Setup, guest: Guest) {
    for plugin in load(vec![guest]).await {
        setup.routes[0].plugins.push(plugin.name().to_owned());
        setup.plugins.insert(plugin.name().to_owned(), plugin);
    }
}

#[tokio::test]
async fn a_silent_tunnel_ends_at_the_idle_timeout_and_its_connection_goes_on() {
    let (address, listener) = manual_upstream().await;
    let mut setup = allowing(address);
    setup.routes[0].timeout = Duration::from_millis(200);
    setup.routes[0].idle_timeout = Duration::from_millis(300);
    let gateway = setup.start();
    let mut client = client(&gateway).await;
    let (mut tunnel, mut upstream, _) = tunnel(&mut client, &listener).await;
    // The route's time-out ended with the upgrade: bytes keep it alive beyond that.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tunnel.say("x");
        read(&mut upstream, "x").await;
    }
    assert!(ended(&mut upstream).await);
    tunnel.ends().await;
    let (response, _) = client.send(crate::support::http2_get("/"), true).await;
    let (mut other, _) = accept(&listener).await;
    other.write_all(ok("served").as_bytes()).await.unwrap();
    assert_eq!(http2_response(response).await.unwrap().1, "served");
}

#[tokio::test]
async fn a_tunnel_outlives_a_drain_only_by_its_timeout() {
    let (address, listener) = manual_upstream().await;
    let mut setup = allowing(address);
    setup.drain_timeout = Duration::from_millis(300);
    let mut gateway = setup.start();
    let mut client = client(&gateway).await;
    let (mut tunnel, mut upstream, _) = tunnel(&mut client, &listener).await;
    let drained = gateway.drain_in_background();
    tunnel.say("still");
    read(&mut upstream, "still").await;
    timeout(PATIENCE, drained).await.expect("still draining").unwrap();
    assert!(ended(&mut upstream).await);
    tunnel.ends().await;
}
