//! Redis behind sentinels, and in a cluster.

use std::time::{Duration, Instant};

use agw_tests::document::RateLimits;
use agw_tests::{Client, Gateway, RedisCluster, RedisSentinels};
use anyhow::{Context, Result, ensure};

use super::{expect, expect_outcome, pause, until_back};
use crate::cluster::{self, Size};
use crate::verdict::Verdict;

/// The nodes that have series in the metrics, with their roles.
fn nodes(gateway: &Gateway) -> Result<Vec<String>> {
    let page = gateway.ask_admin("/metrics")?.text();
    let nodes = page.lines().filter_map(|line| {
        let labels = line.strip_prefix("agw_resource_node_connections{resource=\"limits\",")?;
        Some(labels.split('}').next()?.replace("node=", "").replace(",role=", " ").replace('"', ""))
    });
    Ok(nodes.collect())
}

#[tokio::test]
async fn a_failover_by_sentinels_is_followed_with_one_sentinel_down_and_one_silent() -> Result<()> {
    let mut redis = RedisSentinels::start(None)?;
    let gateway = Gateway::start(&RateLimits::at(redis.place("")).limit(1_000_000, 3600).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    ensure!(nodes(&gateway)? == [format!("{} primary", redis.address(0)?)]);
    let calls = |gateway: &Gateway, at: &str| -> Result<Option<f64>> {
        Ok(gateway.metrics()?.value("agw_resource_node_calls_total", &[("node", at)]))
    };
    ensure!(calls(&gateway, &redis.address(0)?)? == Some(2.0));
    redis.servers[0].kill()?;
    let killed = Instant::now();
    expect(&mut client, 200, 503).await?;
    until_back(&mut client, Duration::from_secs(20)).await?;
    println!("back {:?} after the primary's death", killed.elapsed());
    expect_outcome(&gateway, "unavailable", 1.0)?;
    ensure!(nodes(&gateway)? == [format!("{} primary", redis.address(1)?)]);
    ensure!(calls(&gateway, &redis.address(1)?)?.is_some_and(|calls| (1.0..10.0).contains(&calls)));

    // Two of three are enough to elect, and one is enough to ask.
    redis.kill_sentinel(0);
    redis.stop_sentinel(1)?;
    let fresh = Gateway::start(&RateLimits::at(redis.place("")).yaml())?;
    let mut client = Client::new(fresh.address()?);
    until_back(&mut client, Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test]
async fn sentinels_with_a_password_are_asked_with_it_and_a_wrong_one_is_said() -> Result<()> {
    let redis = RedisSentinels::start(Some("planted-2"))?;
    let document = RateLimits::at(redis.place(", password: { file: password }")).yaml();
    let start = |password: &[u8]| {
        Gateway::start_with(&document, &[("password", password)], &["--admin", "127.0.0.1:0"])
    };
    let gateway = start(b"planted-2")?;
    expect(&mut Client::new(gateway.address()?), 200, 200).await?;
    let wrong = start(b"planted-3")?;
    expect(&mut Client::new(wrong.address()?), 200, 503).await?;
    expect_outcome(&wrong, "auth", 2.0)?;
    let resources = wrong.ask_admin("/v1/resources")?.text();
    ensure!(resources.contains("\"sentinels\""), "{resources}");
    ensure!(!resources.contains("planted-"), "{resources}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_was_stopped_and_still_claims_its_slots_gets_no_call() -> Result<()> {
    let mut cluster = RedisCluster::start()?;
    let document = RateLimits::at(cluster.place()).resource("limits: { call_timeout: 1s }").yaml();
    let gateway = Gateway::start(&document)?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    let keys = |at| cluster.ask::<Vec<String>>(at, &["KEYS", "test:*"]).unwrap_or_default();
    let found = (0..3).find_map(|at| keys(at).first().map(|key| (at, key.clone())));
    let (old, key) = found.context("a key")?;
    let (successor, hosts) = (old + 3, cluster.endpoints());
    let shown = nodes(&gateway)?;
    ensure!(shown.len() == 3 && shown.contains(&format!("{} primary", hosts[old])), "{shown:?}");
    cluster.stop(old)?;
    let begun = Instant::now();
    while !cluster.ask::<String>(successor, &["INFO", "replication"])?.contains("role:master") {
        ensure!(begun.elapsed() < Duration::from_secs(30), "no replica was promoted");
        pause(20).await;
    }
    until_back(&mut client, Duration::from_secs(10)).await?;
    // A node that calls were sent on to is known before the others are asked again.
    while nodes(&gateway)?.len() != 3 {
        ensure!(begun.elapsed() < Duration::from_secs(60), "the series of the old node stays");
        pause(20).await;
    }
    let shown = nodes(&gateway)?;
    ensure!(shown.contains(&format!("{} primary", hosts[successor])), "{shown:?}");
    let before: i64 = cluster.ask(successor, &["GET", &key])?;
    cluster.cont(old)?;
    // It believes in itself until another node has told it; a gateway that asks it first does not.
    let mut answered = 0;
    for _ in 0..5 {
        let fresh = Gateway::start(&document)?;
        for client in [&mut client, &mut Client::new(fresh.address()?)] {
            for _ in 0..20 {
                let answer = client.get_with("/closed/x", &[("x-api-key", "k")]).await?;
                answered += i64::from(answer.status == 200);
            }
        }
    }
    let counted = cluster.ask::<i64>(successor, &["GET", &key])? - before;
    ensure!(answered > 0 && counted >= answered, "{counted} of {answered} were counted");
    Ok(())
}

/// The small version of `cargo xtask scenario cluster`.
#[test]
fn a_limit_in_a_cluster_is_exact_while_its_slot_moves_and_survives_a_node() -> Result<()> {
    let mut verdict = Verdict { untimed: true, failed: 0 };
    cluster::run(&mut verdict, Size { requests: 2000, limit: 500 })?;
    ensure!(verdict.failed == 0, "{} promises did not hold", verdict.failed);
    Ok(())
}
