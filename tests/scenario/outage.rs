use std::thread::sleep;
use std::time::{Duration, Instant};

use agw_tests::document::RateLimits;
use agw_tests::{Gateway, Load, RedisServer};
use anyhow::{Context, Result};

use crate::Verdict;

const HEALTHY: Duration = Duration::from_secs(10);
const DOWN: Duration = Duration::from_secs(10);
/// The first calls after the death find out; from then on the breaker is open.
const SETTLED: Duration = Duration::from_secs(1);

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let mut redis = RedisServer::start()?;
    let gateway = Gateway::start_for_load(&RateLimits::new(redis.url()).yaml())?;
    let address = gateway.address()?;
    let load = |path| Load::new(address, path, 16).header("x-api-key", "k").start();
    // Warm: VMs are made, connections are open.
    Load::new(address, "/open/x", 16).run(2000)?;

    let start = Instant::now();
    let (open, closed) = (load("/open/x")?, load("/closed/x")?);
    sleep(HEALTHY);
    redis.kill()?;
    let killed = start.elapsed();
    sleep(DOWN);
    redis.restart()?;
    let returned = start.elapsed();
    sleep(Duration::from_secs(4));
    let (open, closed) = (open.stop()?, closed.stop()?);

    let healthy = open.between(Duration::from_secs(1), killed);
    let down = open.between(killed + SETTLED, returned);
    println!("     fail-open, healthy: {healthy}");
    println!("     fail-open, down:    {down}");
    println!("     fail-closed:        {closed}");
    verdict.check(
        "fail-open answers nothing but 200",
        open.count(200) == open.samples.len(),
        open.count(200),
    );
    let known = closed.count(200) + closed.count(503);
    verdict.check("fail-closed answers 200 or 503", known == closed.samples.len(), known);
    let while_down = closed.between(killed + SETTLED, returned);
    verdict.check("and only 503 while Redis is down", while_down.count(200) == 0, while_down.count(503));
    let ratio = down.percentile(0.99).as_secs_f64() / healthy.percentile(0.99).as_secs_f64();
    verdict.check(
        "fail-open p99, breaker open, at most twice the healthy one",
        ratio <= 2.0,
        format!("{ratio:.2}"),
    );

    let back = closed.samples.iter().filter(|sample| sample.at >= returned && sample.status == 200);
    let back = back.map(|sample| sample.at).min().context("service never came back")?;
    let back = back - returned;
    verdict.check("back within 2 s of Redis' return", back <= Duration::from_secs(2), format!("{back:.2?}"));
    let after = closed.between(returned + Duration::from_secs(2), Duration::MAX);
    verdict.check("and then for good", after.count(503) == 0, after.count(503));
    Ok(())
}
