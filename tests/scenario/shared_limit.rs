use std::thread;

use agw_tests::document::RateLimits;
use agw_tests::{Gateway, Load, RedisServer};
use anyhow::Result;

use crate::Verdict;

const LIMIT: usize = 50_000;
const REQUESTS: usize = 100_000;

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let redis = RedisServer::start()?;
    // A call that times out would be counted by Redis and not by us, so the deadline is out of the way.
    let document =
        RateLimits::new(redis.url()).limit(LIMIT as u64, 3600).resource("limits: { call_timeout: 5s }");
    let gateways = [Gateway::start_for_load(&document.yaml())?, Gateway::start_for_load(&document.yaml())?];
    let mut loads = Vec::new();
    for gateway in &gateways {
        let load = Load::new(gateway.address()?, "/closed/x", 64).header("x-api-key", "shared");
        loads.push(thread::spawn(move || load.run(REQUESTS)));
    }
    let (mut passed, mut refused) = (0, 0);
    for load in loads {
        let report = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        println!("     {report}");
        passed += report.count(200);
        refused += report.count(429);
    }
    verdict.check("exactly 50,000 pass", passed == LIMIT, passed);
    verdict.check("all others are a 429", passed + refused == 2 * REQUESTS, refused);
    Ok(())
}
