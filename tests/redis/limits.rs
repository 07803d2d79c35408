//! The main job: a limit that holds.

use agw_tests::document::RateLimits;
use agw_tests::{Client, Gateway, Load, RedisServer};
use anyhow::Result;

#[tokio::test]
async fn over_the_limit_is_a_429_with_its_headers() -> Result<()> {
    let redis = RedisServer::start()?;
    let gateway = Gateway::start(&RateLimits::new(redis.url()).limit(5, 60).yaml())?;
    let mut client = Client::new(gateway.address()?);
    for left in (0..5).rev() {
        let answer = client.get_with("/closed/x", &[("x-api-key", "me")]).await?;
        assert_eq!(answer.status, 200);
        assert!(answer.header("ratelimit").contains(&format!("r={left};")), "{:?}", answer.headers);
    }
    let answer = client.get_with("/closed/x", &[("x-api-key", "me")]).await?;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("ratelimit-policy"), "\"default\";q=5;w=60");
    assert!(answer.header("ratelimit").starts_with("\"default\";r=0;t="), "{:?}", answer.headers);
    let after: u64 = answer.header("retry-after").parse()?;
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(answer.header("content-type"), "application/problem+json");

    let other = client.get_with("/closed/x", &[("x-api-key", "you")]).await?;
    assert_eq!(other.status, 200, "another key counts apart");
    assert_eq!(client.get("/plain/x").await?.status, 200);
    Ok(())
}

/// The small version of `cargo xtask scenario shared-limit`.
#[test]
fn two_gateways_on_one_redis_pass_exactly_the_limit() -> Result<()> {
    let redis = RedisServer::start()?;
    let document =
        RateLimits::new(redis.url()).limit(300, 3600).resource("limits: { call_timeout: 5s }").yaml();
    let gateways = [Gateway::start(&document)?, Gateway::start(&document)?];
    let mut loads = Vec::new();
    for gateway in &gateways {
        let load = Load::new(gateway.address()?, "/closed/x", 16).header("x-api-key", "shared");
        loads.push(std::thread::spawn(move || load.run(1000)));
    }
    let mut passed = 0;
    for load in loads {
        let report = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        assert_eq!(report.count(200) + report.count(429), 1000, "{report}");
        passed += report.count(200);
    }
    assert_eq!(passed, 300);
    Ok(())
}
