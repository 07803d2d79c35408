//! Redis behind sentinels, and in a cluster.

use std::time::{Duration, Instant};

use agw_tests::document::RateLimits;
use agw_tests::{Client, Gateway, RedisSentinels};
use anyhow::{Result, ensure};

use super::{expect, expect_outcome, until_back};
use crate::cluster::{self, Size};
use crate::verdict::Verdict;

#[tokio::test]
async fn a_failover_by_sentinels_is_followed_with_one_sentinel_down_and_one_silent() -> Result<()> {
    let mut redis = RedisSentinels::start(None)?;
    let gateway = Gateway::start(&RateLimits::at(redis.place("")).limit(1_000_000, 3600).yaml())?;
    let mut client = Client::new(gateway.address()?);
    expect(&mut client, 200, 200).await?;
    redis.servers[0].kill()?;
    let killed = Instant::now();
    expect(&mut client, 200, 503).await?;
    until_back(&mut client, Duration::from_secs(20)).await?;
    println!("back {:?} after the primary's death", killed.elapsed());
    expect_outcome(&gateway, "unavailable", 1.0)?;

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

/// The small version of `cargo xtask scenario cluster`.
#[test]
fn a_limit_in_a_cluster_is_exact_while_its_slot_moves_and_survives_a_node() -> Result<()> {
    let mut verdict = Verdict { untimed: true, failed: 0 };
    cluster::run(&mut verdict, Size { requests: 2000, limit: 500 })?;
    ensure!(verdict.failed == 0, "{} promises did not hold", verdict.failed);
    Ok(())
}
