//! `Expect: 100-continue` in HTTP/2, which hyper's server cannot answer with an interim response: what a client sees
//! instead.

use std::time::{Duration, Instant};

use agw_tests::h2_client::{data, flag, headers, kind};
use agw_tests::hpack::fields;
use agw_tests::{H2Client, Script, Upstream};
use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use crate::gateway;

/// How long the client waits for an interim response; curl waits for a second.
const PATIENCE: Duration = Duration::from_millis(200);
/// What follows is answered at once, on a machine that is busy with other things.
const AT_ONCE: Duration = Duration::from_secs(5);

fn expecting(stream: u32, what: &str) -> Vec<u8> {
    let head =
        [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("expect", what)];
    headers(stream, flag::END_HEADERS, &fields(&head))
}

#[tokio::test]
async fn the_body_is_taken_whether_the_client_waits_or_not_and_no_interim_response_comes() -> Result<()> {
    let upstream = Upstream::start(|request| Script::ok(request.body.clone()))?;
    let gateway = gateway(upstream.address(), "")?;
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    let start = Instant::now();
    client.send(&expecting(1, "100-continue")).await?;
    // If this fails, hyper has learnt it: docs/http.md has to say so.
    let waiting = async {
        loop {
            let frame = client.frame().await?.context("closed")?;
            anyhow::ensure!(frame.stream == 0, "{frame:?}");
        }
    };
    let interim: std::result::Result<Result<()>, _> = timeout(PATIENCE, waiting).await;
    assert!(interim.is_err(), "{interim:?}");
    client.send(&data(1, flag::END_STREAM, b"waited")).await?;
    assert_eq!(client.answer(1).await?, (200, b"waited".to_vec()));

    client.send(&[expecting(3, "100-Continue"), data(3, flag::END_STREAM, b"at once")].concat()).await?;
    assert_eq!(client.answer(3).await?, (200, b"at once".to_vec()));
    assert!(start.elapsed() < PATIENCE + AT_ONCE, "{:?}", start.elapsed());
    for recorded in upstream.recorded() {
        assert!(!recorded.headers.contains_key("expect"), "{recorded:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_needs_no_body_comes_while_the_client_waits() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let gateway = gateway(upstream.address(), "")?;
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    client.send(&expecting(1, "tea")).await?;
    assert_eq!(client.answer(1).await?.0, 417);
    let unknown = [(":method", "POST"), (":scheme", "http"), (":path", "/../x"), (":authority", "a")];
    let block = fields(&[&unknown[..], &[("expect", "100-continue")]].concat());
    client.send(&headers(3, flag::END_HEADERS, &block)).await?;
    assert_eq!(client.answer(3).await?.0, 400);
    // Whoever waits may hear that nobody wants the body, and the connection goes on.
    sleep(PATIENCE).await;
    client.send(&headers(5, flag::WHOLE, &agw_tests::hpack::request("GET", "/"))).await?;
    loop {
        let frame = client.frame().await?.context("closed")?;
        if frame.stream == 5 && frame.kind == kind::HEADERS {
            assert_eq!(frame.status(), Some(200));
            return Ok(());
        }
    }
}
