//! WebSocket over HTTP/2 (RFC 8441) frame by frame, to an upstream of HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use agw_tests::h2_client::{code, data, flag, headers, kind, reset, window_update};
use agw_tests::hpack::fields;
use agw_tests::{Client, Gateway, H2Client};
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use serde_json::Value;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(30);
/// More than the sockets, buffers and windows between both ends hold together.
const MUCH: usize = 64 << 20;

fn gateway(upstream: SocketAddr) -> Result<Gateway> {
    let document = format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]
routes: [{{ name: chat, match: {{ prefix: / }}, cluster: up, upgrades: [websocket] }}]
clusters: [{{ name: up, endpoints: [\"{upstream}\"] }}]
"
    );
    Gateway::start_with(&document, &[], &["--admin", "127.0.0.1:0", "--workers", "1"])
}

/// An extended CONNECT; others come after, or instead.
fn connect(stream: u32, other: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    let all = [&usual[..], &[(":authority", "a"), ("sec-websocket-version", "13")], other].concat();
    headers(stream, flag::END_HEADERS, &fields(&all))
}

/// Takes the next connection and agrees to its upgrade.
async fn agree(listener: &TcpListener) -> Result<(TcpStream, String)> {
    let (mut stream, _) = timeout(WITHIN, listener.accept()).await.context("nobody connects")??;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(timeout(WITHIN, stream.read_buf(&mut head)).await.context("no head")?? > 0, "closed");
    }
    let head = String::from_utf8(head)?;
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).context("no key")?;
    let proof = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let proof = base64::engine::general_purpose::STANDARD.encode(proof);
    let agreement = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {proof}\r\n\r\n"
    );
    stream.write_all(agreement.as_bytes()).await?;
    Ok((stream, head))
}

/// Waits for the 200 that begins the tunnel.
async fn begins(client: &mut H2Client, stream: u32) -> Result<()> {
    loop {
        let frame = client.frame().await?.context("closed")?;
        if frame.stream == stream && frame.kind == kind::HEADERS {
            ensure!(frame.status() == Some(200) && !frame.ends_stream(), "{frame:?}");
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_tunnel_is_one_stream_and_one_line_of_the_log() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let gateway = gateway(listener.local_addr()?)?;
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    assert_eq!(client.setting(8), Some(1), "SETTINGS_ENABLE_CONNECT_PROTOCOL");
    client.send(&connect(1, &[])).await?;
    let (mut upstream, head) = agree(&listener).await?;
    assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
    begins(&mut client, 1).await?;
    client.send(&data(1, flag::NONE, b"ping")).await?;
    let mut bytes = [0; 4];
    upstream.read_exact(&mut bytes).await?;
    assert_eq!(&bytes, b"ping");
    upstream.write_all(b"pong!").await?;
    drop(upstream);
    let mut heard = Vec::new();
    loop {
        let frame = client.frame().await?.context("closed")?;
        heard.extend_from_slice(if frame.kind == kind::DATA { &frame.payload } else { &[] });
        if frame.ends_stream() {
            break;
        }
    }
    assert_eq!(heard, b"pong!");
    client.send(&data(1, flag::END_STREAM, b"")).await?;
    let line =
        gateway.wait_for_output("the tunnel's line", |output| output.contains("\"path\":\"/chat\"")).await?;
    let line = line.lines().find(|line| line.contains("\"path\":\"/chat\"")).context("line")?;
    let line: Value = serde_json::from_str(line)?;
    assert_eq!((&line["method"], &line["status"]), (&"GET".into(), &101.into()), "{line}");
    assert_eq!((&line["request_bytes"], &line["response_bytes"]), (&4.into(), &5.into()), "{line}");
    assert_eq!((&line["details"], &line["flags"]), (&"via_upstream".into(), &"".into()), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_up_the_upstream_and_no_other_stream() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let gateway = gateway(listener.local_addr()?)?;
    // A window of 10 bytes for each stream.
    let mut client = H2Client::handshake(gateway.address()?, &[(4, 10)]).await?;
    client.send(&connect(1, &[])).await?;
    let (mut upstream, _) = agree(&listener).await?;
    begins(&mut client, 1).await?;
    let writing = tokio::spawn(async move { upstream.write_all(&vec![b'u'; MUCH]).await });
    let first = client.frame().await?.context("closed")?;
    assert_eq!((first.kind, first.payload.len()), (kind::DATA, 10), "{first:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!writing.is_finished(), "the gateway holds more than its buffers");

    client.send(&connect(3, &[])).await?;
    let (mut other, _) = agree(&listener).await?;
    begins(&mut client, 3).await?;
    other.write_all(b"for three").await?;
    let second = client.frame().await?.context("closed")?;
    assert_eq!((second.stream, second.payload.as_slice()), (3, &b"for three"[..]));

    client.send(&[window_update(1, MUCH as u32), window_update(0, MUCH as u32)].concat()).await?;
    let mut heard = first.payload.len();
    while heard < MUCH {
        let frame = client.frame().await?.context("closed")?;
        ensure!(frame.kind == kind::DATA && frame.stream == 1, "{:?} {}", frame.kind, frame.stream);
        heard += frame.payload.len();
    }
    assert_eq!(heard, MUCH);
    writing.await??;
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_holds_up_the_client() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let gateway = gateway(listener.local_addr()?)?;
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    client.send(&connect(1, &[])).await?;
    let (mut upstream, _) = agree(&listener).await?;
    begins(&mut client, 1).await?;
    // As much as the windows let out, until no more is granted.
    let (mut of_stream, mut of_connection) = (client.setting(4).unwrap_or(65_535) as usize, 65_535);
    let mut sent = 0;
    loop {
        let bytes = of_stream.min(of_connection).min(16_384);
        if bytes > 0 {
            client.send(&data(1, flag::NONE, &vec![b'c'; bytes])).await?;
            (of_stream, of_connection, sent) = (of_stream - bytes, of_connection - bytes, sent + bytes);
            ensure!(sent < MUCH, "the gateway takes {sent} bytes that the upstream does not read");
            continue;
        }
        let Ok(frame) = timeout(Duration::from_millis(700), client.frame()).await else { break };
        let frame = frame?.context("closed")?;
        ensure!(frame.kind == kind::WINDOW_UPDATE, "{frame:?}");
        let granted = frame.payload.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        *(if frame.stream == 0 { &mut of_connection } else { &mut of_stream }) += granted;
    }
    let mut read = vec![0; sent];
    timeout(WITHIN, upstream.read_exact(&mut read)).await.context("bytes are lost")??;
    assert!(read.iter().all(|byte| *byte == b'c'));
    Ok(())
}

/// Heads that look like an extended CONNECT.
fn malformed() -> Vec<Vec<u8>> {
    let host = (":authority", "a");
    let usual =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), host];
    let with = |name: &str, value: &'static str| {
        let changed = usual.map(|field| if field.0 == name { (field.0, value) } else { field });
        fields(&changed)
    };
    let and = |field| fields(&[&usual[..], &[field]].concat());
    vec![
        with(":method", "GET"),
        with(":authority", "a b"),
        with(":path", "/../x"),
        with(":protocol", "web\r\nsocket"),
        with(":protocol", ""),
        and((":protocol", "x")),
        and(("content-length", "5")),
        fields(&[usual[0], usual[1], host]),
        fields(&[usual[0], usual[1], usual[2], host]),
    ]
}

#[tokio::test]
async fn extended_connects_that_are_none_harm_nobody() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let gateway = gateway(listener.local_addr()?)?;
    for block in malformed() {
        let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
        client.send(&headers(1, flag::END_HEADERS, &block)).await?;
        let shown = block.escape_ascii();
        // An answer, a reset, or the connection's end.
        loop {
            let Some(frame) = client.frame().await.with_context(|| shown.to_string())? else { break };
            let status = frame.status();
            ensure!(status.is_none_or(|status| (400..=501).contains(&status)), "{status:?} to {shown}");
            if status.is_some() || matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY) {
                break;
            }
        }
    }
    let asked = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(asked.is_err(), "the upstream was asked");
    // The upstream does not answer, but the gateway does.
    assert_eq!(Client::new(gateway.admin()).get("/readyz").await?.status, 200);
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
    Ok(())
}

#[tokio::test]
async fn tunnels_that_are_begun_and_reset_leave_no_connection_behind() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let gateway = gateway(listener.local_addr()?)?;
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    for stream in (1..40).step_by(2) {
        client.send(&connect(stream, &[])).await?;
        let (mut upstream, _) = agree(&listener).await?;
        begins(&mut client, stream).await?;
        client.send(&reset(stream, code::CANCEL)).await?;
        let end = timeout(WITHIN, upstream.read(&mut [0; 8])).await.context("still open")?;
        assert_eq!(end.unwrap_or(0), 0);
    }
    let none = |metrics: &agw_tests::Metrics| {
        metrics.value("agw_upstream_connections", &[("cluster", "up")]) == Some(0.0)
    };
    gateway.wait_for_metrics("no connection to the upstream is open", none).await?;
    Ok(())
}
