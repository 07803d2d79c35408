//! HTTP/2 as no library would speak it: h2spec's list by section, floods, and requests that would be something else in
//! HTTP/1.1.

mod connection_cases;
mod downgrade;
mod expect;
mod floods;
mod message_cases;
mod spec;
mod tunnels;

use agw_tests::h2_client::{code, flag, headers, kind};
use agw_tests::hpack::request;
use agw_tests::{Client, Gateway, H2Client, Script, Upstream};
use anyhow::{Context, Result};
use tokio::task::JoinSet;

/// One listener and one worker in front of `upstream`; `http2` are the listener's bounds.
fn gateway(upstream: std::net::SocketAddr, http2: &str) -> Result<Gateway> {
    let document = format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\", http2: {{ {http2} }} }}]
routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 10s }}]
clusters: [{{ name: up, endpoints: [\"{upstream}\"] }}]
"
    );
    Gateway::start_with(&document, &[], &["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"])
}

#[tokio::test]
async fn every_case_of_h2specs_list_ends_as_the_standard_says() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("hello world"))?;
    let gateway = gateway(upstream.address(), "")?;
    let address = gateway.address()?;
    let cases = [
        connection_cases::frames(),
        connection_cases::streams(),
        connection_cases::data_and_headers(),
        connection_cases::settings_and_windows(),
        message_cases::messages(),
        message_cases::hpack(),
    ];
    let mut running = JoinSet::new();
    for case in cases.into_iter().flatten() {
        running.spawn(async move { (case.run(address).await, case) });
    }
    let (mut failed, mut passed) = (Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        match done? {
            (Ok(()), _) => passed += 1,
            (Err(error), case) => {
                failed.push(format!("{}: wanted {:?}, but {error:#}", case.name, case.expect));
            }
        }
    }
    println!("{passed} passed");
    assert!(failed.is_empty(), "{} failed, {passed} passed:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(Client::new(address).get("/").await?.status, 200, "others are served");
    Ok(())
}

#[tokio::test]
async fn what_begins_like_the_preface_and_is_none_ends_the_connection() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let gateway = gateway(upstream.address(), "")?;
    for bytes in [
        &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n\r\n\r\n\r\n\r\n",
        b"PRI /x HTTP/2.0\r\n\r\n",
    ] {
        let mut client = H2Client::connect(gateway.address()?).await?;
        client.try_send(bytes).await?;
        // Frames or a status line, as long as it ends.
        client.until_closed().await.with_context(|| bytes.escape_ascii().to_string())?;
    }
    assert!(upstream.recorded().is_empty(), "{:?}", upstream.recorded());
    Ok(())
}

#[tokio::test]
async fn streams_above_the_advertised_bound_are_refused_and_the_others_served() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("x"))?;
    let gateway = gateway(upstream.address(), "streams: 5")?;
    let mut client = H2Client::handshake(gateway.address()?, &[]).await?;
    assert_eq!(client.setting(3), Some(5));
    // These go on, so that they stay open.
    let open = |stream| headers(stream, flag::END_HEADERS, &request("POST", "/"));
    let streams: Vec<_> = (0..8).flat_map(|n| open(1 + 2 * n)).collect();
    client.send(&streams).await?;
    let mut refused = Vec::new();
    while refused.len() < 3 {
        let frame = client.frame().await?.context("closed")?;
        if frame.kind == kind::RST_STREAM {
            assert!(matches!(frame.code(), Some(code::REFUSED_STREAM | code::PROTOCOL)), "{frame:?}");
            refused.push(frame.stream);
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, [11, 13, 15]);
    client.send(&agw_tests::h2_client::data(3, flag::END_STREAM, b"x")).await?;
    assert_eq!(client.answer(3).await?.0, 200);
    Ok(())
}
