//! A server that refuses, dies, stalls or does not let the gateway in.

use std::time::{Duration, Instant};

use agw_tests::document::RateLimits;
use agw_tests::{Client, FaultProxy, Gateway, Mode, RedisOptions, RedisServer};
use anyhow::Result;

use super::{expect, expect_outcome, until_back};

#[tokio::test]
async fn a_server_that_was_never_there_is_unavailable_and_the_gateway_is_ready() -> Result<()> {
    let nobody = agw_tests::port::free_port()?;
    let gateway = Gateway::start(&RateLimits::new(format!("redis://127.0.0.1:{nobody}")).yaml())?;
    let mut client = Client::new(gateway.address()?);
    for _ in 0..5 {
        expect(&mut client, 200, 503).await?;
    }
    assert_eq!(client.get("/plain/x").await?.status, 200);
    expect_outcome(&gateway, "unavailable", 1.0)?;
    expect_outcome(&gateway, "circuit_open", 1.0)?;
    assert_eq!(gateway.ask_admin("/readyz")?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_and_returns_is_used_again_within_two_seconds() -> Result<()> {
    let mut redis = RedisServer::start()?;
    let gateway = Gateway::start(&RateLimits::new(redis.url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;

    redis.kill()?;
    for _ in 0..10 {
        expect(&mut client, 200, 503).await?;
    }
    redis.restart()?;
    let back = until_back(&mut client, Duration::from_secs(2)).await?;
    println!("back after {back:?}");
    expect(&mut client, 200, 200).await
}

#[tokio::test]
async fn a_reply_that_is_cut_off_fails_its_call_only() -> Result<()> {
    let redis = RedisServer::start()?;
    let proxy = FaultProxy::start(redis.address())?;
    let gateway = Gateway::start(&RateLimits::new(proxy.redis_url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;

    for bytes in [0, 1, 5, 12, 20] {
        proxy.set(Mode::CutAfter(bytes))?;
        let answer = client.get_with("/closed/x", &[("x-api-key", "k")]).await?;
        assert_eq!(answer.status, 503, "cut after {bytes}");
        proxy.set(Mode::Pass)?;
        until_back(&mut client, Duration::from_secs(2)).await?;
    }
    expect_outcome(&gateway, "unavailable", 5.0)?;
    Ok(())
}

#[tokio::test]
async fn a_reset_connection_is_replaced() -> Result<()> {
    let redis = RedisServer::start()?;
    let proxy = FaultProxy::start(redis.address())?;
    let gateway = Gateway::start(&RateLimits::new(proxy.redis_url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    proxy.set(Mode::Reset)?;
    expect(&mut client, 200, 503).await?;
    proxy.set(Mode::Pass)?;
    until_back(&mut client, Duration::from_secs(2)).await?;
    Ok(())
}

#[tokio::test]
async fn a_stalled_server_costs_the_deadline_and_then_almost_nothing() -> Result<()> {
    let mut redis = RedisServer::start()?;
    let document = RateLimits::new(redis.url()).resource("limits: { call_timeout: 100ms }");
    let gateway = Gateway::start(&document.resource("breaker: { failures: 3 }").yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;

    redis.stop()?;
    let start = Instant::now();
    expect(&mut client, 200, 503).await?;
    let first = start.elapsed();
    assert!(first >= Duration::from_millis(190), "two deadlines of 100 ms took only {first:?}");
    assert!(first < Duration::from_secs(2), "two deadlines of 100 ms took {first:?}");
    for _ in 0..4 {
        expect(&mut client, 200, 503).await?;
    }
    expect_outcome(&gateway, "timeout_io", 2.0)?;
    expect_outcome(&gateway, "circuit_open", 1.0)?;

    redis.cont()?;
    until_back(&mut client, Duration::from_secs(2)).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_auth_and_is_never_shown() -> Result<()> {
    let options = RedisOptions { password: Some("planted-right".to_owned()), ..RedisOptions::default() };
    let redis = RedisServer::start_with(options)?;
    let document = RateLimits::new(redis.url()).resource("password: { file: password }").yaml();
    let admin = ["--admin", "127.0.0.1:0"];

    let wrong = Gateway::start_with(&document, &[("password", b"planted-wrong")], &admin)?;
    expect(&mut Client::new(wrong.address()?), 200, 503).await?;
    expect_outcome(&wrong, "auth", 2.0)?;
    for path in ["/metrics", "/v1/config", "/v1/resources", "/v1/plugins"] {
        assert!(!wrong.ask_admin(path)?.text().contains("planted-wrong"), "{path} shows the password");
    }
    assert!(!wrong.output().contains("planted-wrong"), "the log shows the password");

    let right = Gateway::start_with(&document, &[("password", b"planted-right\n")], &admin)?;
    expect(&mut Client::new(right.address()?), 200, 200).await
}

#[tokio::test]
async fn a_thousand_calls_share_no_more_connections_than_the_pool_has() -> Result<()> {
    let redis = RedisServer::start()?;
    let proxy = FaultProxy::start(redis.address())?;
    let document = RateLimits::new(proxy.redis_url())
        .resource("pool: { max: 3, leased: 1 }")
        .resource("limits: { call_timeout: 3s }");
    let gateway = Gateway::start(&document.yaml())?;
    let address = gateway.address()?;
    proxy.set(Mode::HoldReplies(Duration::from_millis(500)))?;
    let load = agw_tests::Load::new(address, "/closed/x", 200).header("x-api-key", "k");
    let report = tokio::task::spawn_blocking(move || load.run(400)).await??;
    assert_eq!(report.statuses(), [(200, 400)].into(), "{report}");
    assert!(report.elapsed < Duration::from_secs(10), "they waited for each other: {report}");
    assert!(proxy.open_max() <= 3, "{} connections", proxy.open_max());
    Ok(())
}
