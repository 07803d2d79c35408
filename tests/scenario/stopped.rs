use std::thread::sleep;
use std::time::Duration;

use agw_tests::document::RateLimits;
use agw_tests::metrics::Buckets;
use agw_tests::{Gateway, Load, RedisServer};
use anyhow::{Context, Result};

use crate::Verdict;

/// The default `call_timeout`. The histogram has bounds at 70 ms and 150 ms, which are this + 20 ms and + 100 ms.
const DEADLINE: f64 = 0.050;

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let mut redis = RedisServer::start()?;
    // Without the breaker every call waits for the stopped server; with it, nearly none would.
    let document = RateLimits::new(redis.url()).resource("breaker: { failures: 1000000 }");
    let gateway = Gateway::start_for_load(&document.yaml())?;
    let address = gateway.address()?;
    Load::new(address, "/open/x", 64).header("x-api-key", "k").run(5000)?;
    let load = Load::new(address, "/open/x", 64).header("x-api-key", "k").start()?;
    sleep(Duration::from_secs(3));
    let before = calls(&gateway)?;
    redis.stop()?;
    sleep(Duration::from_secs(15));
    let during = calls(&gateway)?.since(&before);
    redis.cont()?;
    let report = load.stop()?;
    println!("     {report}");

    let (count, timed_out) = (during.count(), during.above(0.010));
    println!("     {count} calls while it was stopped, of which {timed_out} took longer than 10 ms");
    verdict.check("calls did wait for the stopped server", timed_out > 1000.0, timed_out);
    let within = during.quantile(0.999);
    verdict.check("p99.9 within the deadline + 20 ms", within <= DEADLINE + 0.020 + 1e-9, within);
    let above = during.above(DEADLINE + 0.100);
    verdict.check("none above the deadline + 100 ms", above == 0.0, above);
    verdict.check(
        "fail-open answers nothing but 200",
        report.count(200) == report.samples.len(),
        report.count(200),
    );
    Ok(())
}

/// The time spent in calls, whatever they came to.
fn calls(gateway: &Gateway) -> Result<Buckets> {
    let metrics = gateway.metrics()?;
    metrics
        .histogram("agw_resource_operation_duration_seconds", &[("resource", "limits")])
        .context("no histogram")
}
