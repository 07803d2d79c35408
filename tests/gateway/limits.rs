use std::time::{Duration, Instant};

use agw_tests::{Client, Gateway, Script, Upstream};
use anyhow::{Result, ensure};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{read_all, read_until, send};

const ECHO: &str = "routes: [{ name: all, match: { prefix: / }, cluster: echo, limits: { request_body: 1000 } }]\n\
                    clusters: [{ name: echo, builtin: echo }]";

fn with_limits(limits: &str) -> Result<Gateway> {
    Gateway::start(&crate::document(limits, ECHO))
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_by_its_length_or_on_its_way() -> Result<()> {
    let gateway = with_limits("")?;
    let mut client = Client::new(gateway.address()?);
    let reply = client.send(Method::POST, "/", &[], vec![b'x'; 1000]).await?;
    assert_eq!((reply.status.as_u16(), &reply.json()?["body_bytes"]), (200, &1000.into()));
    let reply = client.send(Method::POST, "/", &[], vec![b'x'; 1001]).await?;
    assert_eq!((reply.status.as_u16(), &reply.json()?["code"]), (413, &"request_too_large".into()));

    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = send(gateway.address()?, head).await?;
    for _ in 0..3 {
        // The answer may come, and the connection end, before everything is sent.
        let _ = stream.write_all(format!("190\r\n{}\r\n", "x".repeat(400)).as_bytes()).await;
    }
    let answer = read_until(&mut stream, "\r\n\r\n").await?;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_head_over_the_limits_is_a_431() -> Result<()> {
    let gateway = with_limits("header_bytes: 8KiB, headers: 20")?;
    let mut client = Client::new(gateway.address()?);
    let long = "x".repeat(9000);
    assert_eq!(client.get_with("/", &[("x-long", &long)]).await?.status, 431);
    let many: Vec<_> = (0..30).map(|_| ("x-many", "1")).collect();
    assert_eq!(client.get_with("/", &many).await?.status, 431);
    assert_eq!(client.get_with("/", &[("x-long", &long[..4000])]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_head_that_dawdles_and_a_connection_that_idles_are_closed() -> Result<()> {
    let gateway = with_limits("header_timeout: 300ms, idle_timeout: 600ms")?;
    let mut dawdling = send(gateway.address()?, b"GET / HTTP/1.1\r\nhost: ").await?;
    assert_eq!(read_all(&mut dawdling).await?, "");
    let mut idle = send(gateway.address()?, b"").await?;
    assert_eq!(read_all(&mut idle).await?, "");
    let mut kept = send(gateway.address()?, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    assert!(read_all(&mut kept).await?.starts_with("HTTP/1.1 200 "), "served first, closed when idle");
    Ok(())
}

#[tokio::test]
async fn a_slow_reader_does_not_make_the_gateway_grow() -> Result<()> {
    const CLIENTS: usize = 8;
    const MIB: usize = 1 << 20;
    // 8 times 32 MiB, if somebody were to hold it.
    let body = bytes::Bytes::from(vec![b'x'; 32 * MIB]);
    let upstream = Upstream::start(move |_| Script::ok(body.clone()))?;
    let mut gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 60s }}]\n\
         clusters: [{{ name: up, endpoints: [\"{}\"] }}]",
        upstream.address()
    ))?;
    assert_eq!(Client::new(gateway.address()?).get("/").await?.body.len(), 32 * MIB);
    let before = gateway.process().resident_bytes()?;
    let mut readers = Vec::new();
    for _ in 0..CLIENTS {
        let mut reader =
            send(gateway.address()?, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        read_until(&mut reader, "\r\n\r\nx").await?;
        readers.push(reader);
    }
    let mut most = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        most = most.max(gateway.process().resident_bytes()?.saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(most < 64 * MIB as u64, "{} MiB more with {CLIENTS} readers that do not read", most >> 20);

    // Whoever goes on reading gets everything.
    let mut reader = readers.pop().expect("a reader");
    let (mut rest, mut chunk) = (0, vec![0; 64 * 1024]);
    loop {
        match tokio::time::timeout(crate::raw::WITHIN, reader.read(&mut chunk)).await?? {
            0 => break,
            read => rest += read,
        }
    }
    ensure!(rest > 31 * MIB && rest < 32 * MIB + 1024, "{rest} bytes");
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_client_back() -> Result<()> {
    // Never accepted, so never read: the kernel's buffers are all there is.
    let deaf = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 60s, limits: {{ request_body: 1GiB }} }}]\n\
         clusters: [{{ name: up, endpoints: [\"{}\"] }}]",
        deaf.local_addr()?
    ))?;
    let before = gateway.process().resident_bytes()?;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 536870912\r\n\r\n";
    let mut stream = send(gateway.address()?, head).await?;
    let (mut sent, chunk) = (0u64, vec![b'x'; 64 * 1024]);
    // Ends when nothing has moved for a second.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), stream.write(&chunk)).await {
        sent += written? as u64;
        ensure!(sent < 64 << 20, "{} MiB went into nowhere", sent >> 20);
    }
    let more = gateway.process().resident_bytes()?.saturating_sub(before);
    ensure!(more < 32 << 20, "{} MiB more for {} MiB sent", more >> 20, sent >> 20);
    Ok(())
}
