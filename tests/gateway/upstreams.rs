use std::time::Duration;

use agw_tests::{Client, FaultProxy, Gateway, Script, Upstream, port};
use anyhow::Result;
use bytes::Bytes;
use http::Method;

use crate::raw;

fn start(endpoint: impl std::fmt::Display, timeout: &str) -> Result<Gateway> {
    crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: {timeout} }}]\n\
         clusters: [{{ name: up, endpoints: [\"{endpoint}\"] }}]"
    ))
}

/// Status and code of a problem document.
async fn problem(gateway: &Gateway) -> Result<(u16, String)> {
    let reply = Client::new(gateway.address()?).get("/").await?;
    assert_eq!(reply.header("content-type"), "application/problem+json", "{reply:?}");
    Ok((reply.status.as_u16(), reply.json()?["code"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_a_504_at_the_routes_timeout() -> Result<()> {
    let upstream = Upstream::start(|_| Script::never())?;
    let gateway = start(upstream.address(), "1s")?;
    assert_eq!(problem(&gateway).await?, (504, "route_timeout".to_owned()));
    assert_eq!(upstream.recorded().len(), 1, "it is not asked twice");
    let log = gateway.wait_for_output("the flag UT", |log| log.contains("\"flags\":\"UT\"")).await?;
    assert!(log.contains("\"details\":\"route_timeout\""), "{log}");
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_503() -> Result<()> {
    let gateway = start(format!("127.0.0.1:{}", port::free_port()?), "10s")?;
    assert_eq!(problem(&gateway).await?, (503, "upstream_connect_failed".to_owned()));
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_closes_or_garbles_its_head_is_a_502() -> Result<()> {
    let cases: [(&[u8], &str); 4] = [
        (b"", "upstream_reset_before_response_started"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "upstream_reset_before_response_started"),
        (b"-ERR this is not HTTP\r\n", "upstream_protocol_error"),
        (b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n", "upstream_protocol_error"),
    ];
    for (answer, code) in cases {
        let (address, server) = raw::upstream(answer).await?;
        let gateway = start(address, "10s")?;
        assert_eq!(problem(&gateway).await?, (502, code.to_owned()), "{}", answer.escape_ascii());
        server.abort();
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_closes_in_mid_body_never_looks_like_a_whole_answer() -> Result<()> {
    let (short, server) = raw::upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await?;
    let gateway = start(short, "10s")?;
    assert!(Client::new(gateway.address()?).get("/").await.is_err(), "four of ten bytes are no answer");
    server.abort();

    let chunks =
        Upstream::start(|_| Script::chunks([(Duration::ZERO, Bytes::from("half"))]).closing_early())?;
    let gateway = start(chunks.address(), "10s")?;
    let mut stream = raw::send(gateway.address()?, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    let answer = raw::read_all(&mut stream).await?;
    assert!(answer.contains("half") && !answer.contains("\r\n0\r\n"), "no end that was not there: {answer}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_stalls_is_cut_at_the_routes_timeout() -> Result<()> {
    let upstream = Upstream::start(|_| {
        Script::chunks([(Duration::ZERO, Bytes::from("one")), (Duration::from_secs(60), Bytes::from("two"))])
    })?;
    let gateway = start(upstream.address(), "2s")?;
    let mut stream = raw::send(gateway.address()?, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    let answer = raw::read_all(&mut stream).await?;
    assert!(answer.contains("one") && !answer.contains("two"), "{answer}");
    gateway.wait_for_output("the reason", |log| log.contains("\"details\":\"response_timeout\"")).await?;
    Ok(())
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let between = FaultProxy::start(upstream.address().to_string())?;
    let gateway = start(between.address(), "10s")?;
    let before = FaultProxy::start(gateway.address()?.to_string())?;
    let mut client = Client::new(before.address());
    for count in 0..50 {
        let method = if count % 2 == 0 { Method::GET } else { Method::POST };
        let reply = client.send(method, "/", &[], vec![b'x'; count * 100]).await?;
        assert_eq!(reply.status, 200);
    }
    assert_eq!((before.accepted(), between.accepted()), (1, 1));
    assert_eq!(upstream.last()?.body.len(), 4900);
    Ok(())
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_costs_no_request() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x").header("connection", "close"))?;
    let gateway = start(upstream.address(), "10s")?;
    let mut client = Client::new(gateway.address()?);
    for _ in 0..20 {
        assert_eq!(client.get("/").await?.status, 200);
    }
    assert_eq!(upstream.recorded().len(), 20);
    Ok(())
}
