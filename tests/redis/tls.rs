//! Sentinels and clusters over TLS, with the servers' own. Certificates are for 127.0.0.1, which is where sentinels and
//! nodes say that the servers are.

use std::time::Duration;

use agw_tests::document::RateLimits;
use agw_tests::{Authority, Client, Gateway, RedisCluster, RedisSentinels, RedisTls};
use anyhow::{Result, ensure};

use super::{expect, expect_outcome, until_back};

/// How the gateway verifies somebody.
const VERIFIED: &str = "tls: { ca: { file: ca.pem } }";
const STRANGER: &str = "tls: { ca: { file: other.pem } }";
const ELSEWHERE: &str = "tls: { ca: { file: ca.pem }, server_name: elsewhere.test }";

/// A gateway whose servers are at `place`, verified as `tls` says.
fn gateway(place: &str, tls: &str, trusted: &RedisTls) -> Result<Gateway> {
    let document = RateLimits::at(place).resource(tls).yaml();
    let (ca, other) = (trusted.authority().pem(), Authority::new()?.pem());
    let files = [("ca.pem", ca.as_bytes()), ("other.pem", other.as_bytes())];
    Gateway::start_with(&document, &files, &["--admin", "127.0.0.1:0"])
}

async fn assert_served(place: &str, tls: &str, trusted: &RedisTls) -> Result<()> {
    let gateway = gateway(place, tls, trusted)?;
    expect(&mut Client::new(gateway.address()?), 200, 200).await
}

/// Calls are `unavailable`, and the operator sees why.
async fn assert_refused(place: &str, tls: &str, trusted: &RedisTls, why: &str) -> Result<()> {
    let gateway = gateway(place, tls, trusted)?;
    expect(&mut Client::new(gateway.address()?), 200, 503).await?;
    expect_outcome(&gateway, "unavailable", 2.0)?;
    let last = gateway.ask_admin("/v1/resources")?.json()?[0]["last_error"].clone();
    ensure!(last == why, "{last} and not {why:?}, with {tls} at {place}");
    Ok(())
}

#[tokio::test]
async fn sentinels_and_whom_they_name_are_each_verified_and_a_failover_is_followed() -> Result<()> {
    let mut redis = RedisSentinels::start_tls()?;
    let place = |of_sentinels: &str| redis.place(&format!(", {of_sentinels}"));
    let (good, trusted) = (place(VERIFIED), redis.tls()?);
    assert_served(&good, VERIFIED, trusted).await?;
    for wrong in [STRANGER, ELSEWHERE] {
        assert_refused(&good, wrong, trusted, "tls").await?;
        assert_refused(&place(wrong), VERIFIED, trusted, "sentinels_tls").await?;
    }
    // A name that the certificate has makes good for an address that it does not have.
    let by_name = trusted.authority().issue("redis.test")?;
    trusted.show(&by_name)?;
    redis.restart_sentinels()?;
    let named = "tls: { ca: { file: ca.pem }, server_name: redis.test }";
    let trusted = redis.tls()?;
    assert_refused(&good, VERIFIED, trusted, "sentinels_tls").await?;
    assert_served(&redis.place(&format!(", {named}")), VERIFIED, trusted).await?;

    trusted.show(&trusted.authority().issue_expired("127.0.0.1")?)?;
    redis.restart_sentinels()?;
    let trusted = redis.tls()?;
    assert_refused(&good, VERIFIED, trusted, "sentinels_tls").await?;
    trusted.show(&trusted.authority().issue("127.0.0.1")?)?;
    redis.restart_sentinels()?;

    let gateway = gateway(&good, VERIFIED, redis.tls()?)?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    redis.servers[0].kill()?;
    until_back(&mut client, Duration::from_secs(30)).await?;
    let shown = gateway.ask_admin("/v1/resources")?.json()?[0]["nodes"][0]["endpoint"].clone();
    ensure!(shown == redis.address(1)?, "{shown}");
    Ok(())
}

#[tokio::test]
async fn every_node_of_a_cluster_is_verified() -> Result<()> {
    let mut cluster = RedisCluster::start_tls()?;
    let (place, trusted) = (cluster.place(), cluster.tls()?);
    assert_served(&place, VERIFIED, trusted).await?;
    for wrong in [STRANGER, ELSEWHERE] {
        assert_refused(&place, wrong, trusted, "tls").await?;
    }
    cluster.set_certificate(&trusted.authority().issue("redis.test")?)?;
    assert_refused(&place, VERIFIED, trusted, "tls").await?;
    let named = "tls: { ca: { file: ca.pem }, server_name: redis.test }";
    assert_served(&place, named, trusted).await?;

    let gateway = gateway(&place, named, trusted)?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    cluster.set_certificate(&trusted.authority().issue_expired("redis.test")?)?;
    // Connections that stand stay; whoever makes new ones is told.
    expect(&mut client, 200, 200).await?;
    assert_refused(&place, named, trusted, "tls").await?;
    cluster.set_certificate(&trusted.authority().issue("redis.test")?)?;
    assert_served(&place, named, trusted).await?;

    // The replica that takes over is verified like any other.
    let keys = |at| cluster.ask::<Vec<String>>(at, &["KEYS", "test:*"]);
    let holder = (0..3).find(|at| keys(*at).is_ok_and(|keys| !keys.is_empty()));
    cluster.kill(holder.unwrap_or(0))?;
    until_back(&mut client, Duration::from_secs(30)).await?;
    Ok(())
}
