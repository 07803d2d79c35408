//! A server that answers, but not with what was hoped for.

use std::time::Duration;

use agw_tests::document::RateLimits;
use agw_tests::{Client, FakeRedis, FaultProxy, Gateway, Mode, RedisServer, guest};
use anyhow::{Context, Result};
use bytes::Bytes;

use super::{expect, expect_outcome, outcomes, until_back};

/// Runs a gateway against a server that answers every command with `reply`, and expects both routes' policies.
async fn every_answer_is(reply: &'static [u8]) -> Result<Gateway> {
    let redis = FakeRedis::start(move |_| reply.to_vec())?;
    let gateway = Gateway::start(&RateLimits::new(redis.url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    for _ in 0..3 {
        expect(&mut client, 200, 503).await.with_context(|| reply.escape_ascii().to_string())?;
    }
    assert_eq!(client.get("/plain/x").await?.status, 200);
    Ok(gateway)
}

#[tokio::test]
async fn a_server_that_is_loading_is_a_server_error() -> Result<()> {
    let gateway = every_answer_is(b"-LOADING Redis is loading the dataset in memory\r\n").await?;
    expect_outcome(&gateway, "server", 1.0)?;
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_not_resp_are_a_lost_connection() -> Result<()> {
    let gateway = every_answer_is(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
    expect_outcome(&gateway, "unavailable", 1.0)?;
    Ok(())
}

#[tokio::test]
async fn a_reply_of_another_type_is_the_plugins_policy() -> Result<()> {
    every_answer_is(b"$3\r\nabc\r\n").await?;
    every_answer_is(b"%1\r\n+a\r\n:1\r\n").await?;
    Ok(())
}

#[tokio::test]
async fn a_replica_takes_no_writes_and_serves_again_as_a_master() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = Gateway::start(&RateLimits::new(redis.url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    let mut connection = redis.connection()?;
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec(&mut connection)?;
    expect(&mut client, 200, 503).await?;
    expect_outcome(&gateway, "server", 2.0)?;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut connection)?;
    expect(&mut client, 200, 200).await
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_an_error_to_the_plugin_and_no_failure_of_the_server() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = Gateway::start(&RateLimits::new(redis.url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    let mut connection = redis.connection()?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("test:*").query(&mut connection)?;
    assert!(!keys.is_empty(), "the counters are not under the grant's prefix");
    for key in keys {
        redis::cmd("DEL").arg(&key).exec(&mut connection)?;
        redis::cmd("LPUSH").arg(&key).arg("x").exec(&mut connection)?;
    }
    for _ in 0..10 {
        expect(&mut client, 200, 503).await?;
    }
    assert_eq!(outcomes(&gateway, "circuit_open")?, 0.0, "a wrong type opened the breaker");
    let other = client.get_with("/closed/x", &[("x-api-key", "another")]).await?;
    assert_eq!(other.status, 200);
    Ok(())
}

#[tokio::test]
async fn garbage_in_the_place_of_replies_is_survived() -> Result<()> {
    let redis = RedisServer::start()?;
    let proxy = FaultProxy::start(redis.address())?;
    let gateway = Gateway::start(&RateLimits::new(proxy.redis_url()).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    for garbage in [&b"\xff\x00\xfe"[..], b"$-7\r\n", b"*4294967296\r\n", b"$99999999999999999999\r\n"] {
        proxy.set(Mode::Garbage(Bytes::from_static(garbage)))?;
        let answer = client.get_with("/closed/x", &[("x-api-key", "k")]).await?;
        assert_eq!(answer.status, 503, "{}", garbage.escape_ascii());
        proxy.set(Mode::Pass)?;
        until_back(&mut client, Duration::from_secs(3)).await?;
    }
    Ok(())
}

/// The document for the `session` example, which reads a value that the test has planted.
fn sessions(redis_url: &str) -> String {
    format!(
        "version: 1
listeners:
  - name: main
    address: 127.0.0.1:0
routes:
  - name: session
    match: {{ prefix: / }}
    cluster: echo
    plugins: [session]
clusters:
  - name: echo
    builtin: echo
plugins:
  - name: session
    module: {{ file: session.wasm }}
    configuration: {{ header: x-session, on_error: closed }}
resources:
  - name: sessions
    type: redis
    url: {redis_url}
    limits: {{ call_timeout: 2s }}
    grants:
      - plugin: session
        commands: [get, set, expire]
        key_prefix: \"app:\"
"
    )
}

const ID: &str = "0123456789abcdef0123456789abcdef";

async fn with_sessions(redis_url: &str) -> Result<(Gateway, Client)> {
    let module = std::fs::read(guest("session")?)?;
    let files = [("session.wasm", &module[..])];
    let gateway = Gateway::start_with(&sessions(redis_url), &files, &["--admin", "127.0.0.1:0"])?;
    let client = Client::new(gateway.address()?);
    Ok((gateway, client))
}

#[tokio::test]
async fn a_value_of_100_mb_is_too_large_and_costs_no_memory() -> Result<()> {
    let redis = RedisServer::start()?;
    let mut connection = redis.connection()?;
    let key = format!("app:session:{ID}");
    redis::cmd("SET").arg(&key).arg("alice").exec(&mut connection)?;
    let (mut gateway, mut client) = with_sessions(&redis.url()).await?;
    let answer = client.get_with("/", &[("x-session", ID)]).await?;
    assert!(answer.text().contains("alice"), "{}", answer.text());

    redis::cmd("SETRANGE").arg(&key).arg(100_000_000).arg("x").exec(&mut connection)?;
    let before = gateway.process().resident_bytes()?;
    for _ in 0..3 {
        let answer = client.get_with("/", &[("x-session", ID)]).await?;
        assert_eq!(answer.status, 503);
    }
    expect_outcome(&gateway, "too_large", 3.0)?;
    let grown = gateway.process().resident_bytes()?.saturating_sub(before);
    assert!(grown < 32 << 20, "the gateway grew by {grown} bytes");

    redis::cmd("SET").arg(&key).arg("bob").exec(&mut connection)?;
    let answer = client.get_with("/", &[("x-session", ID)]).await?;
    assert!(answer.text().contains("bob"), "{} {}", answer.status, answer.text());
    Ok(())
}

#[tokio::test]
async fn replies_nested_without_end_are_refused() -> Result<()> {
    let redis = FakeRedis::start(|_| b"*1\r\n".repeat(100_000))?;
    let (gateway, mut client) = with_sessions(&redis.url()).await?;
    for _ in 0..3 {
        assert_eq!(client.get_with("/", &[("x-session", ID)]).await?.status, 503);
    }
    expect_outcome(&gateway, "too_large", 3.0)?;
    Ok(())
}
