//! A limit in a Redis Cluster: exact while its slot moves from node to node, and back soon after a node's death.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agw_tests::document::RateLimits;
use agw_tests::{Gateway, Load, LoadReport, RedisCluster, RedisServer};
use anyhow::{Context, Result, ensure};

use crate::verdict::Verdict;

/// A node is given up after a second, and an election takes about another.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// What of it is the gateway's: to hear of the replica that the cluster has promoted.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(2);
/// Keys in the run that shows how the load is spread.
const CALLERS: usize = 24;

/// How much of it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) requests: usize,
    pub(crate) limit: usize,
}

pub(crate) fn run(verdict: &mut Verdict, size: Size) -> Result<()> {
    let mut cluster = RedisCluster::start()?;
    exact_while_moving(verdict, &cluster, size)?;
    spread(verdict, &cluster, size)?;
    a_primary_dies(verdict, &mut cluster)
}

fn exact_while_moving(verdict: &mut Verdict, cluster: &RedisCluster, size: Size) -> Result<()> {
    // A call that times out would be counted by Redis and not by us, so the deadline is out of the way.
    let document = RateLimits::at(cluster.place())
        .limit(size.limit as u64, 3600)
        .resource("limits: { call_timeout: 5s }");
    let gateways = [Gateway::start_for_load(&document.yaml())?, Gateway::start_for_load(&document.yaml())?];
    // The first request of all makes the key.
    let first = Load::new(gateways[0].address()?, "/closed/x", 1).header("x-api-key", "shared").run(1)?;
    let key = key_of(cluster)?;
    let done = Arc::new(AtomicBool::new(false));
    let mut loads = Vec::new();
    for gateway in &gateways {
        let load = Load::new(gateway.address()?, "/closed/x", 32).header("x-api-key", "shared");
        loads.push(thread::spawn(move || load.run(size.requests / 2)));
    }
    let moves = thread::scope(|scope| {
        let told = Arc::clone(&done);
        let (cluster, key) = (&cluster, &key);
        let mover = scope.spawn(move || keep_moving(cluster, key, &told));
        let reports: Vec<LoadReport> = loads
            .into_iter()
            .map(|load| load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?)
            .collect::<Result<_>>()?;
        done.store(true, Ordering::Relaxed);
        let moves = mover.join().map_err(|_| anyhow::anyhow!("the mover panicked"))??;
        anyhow::Ok((moves, reports))
    })?;
    let (moves, mut reports) = moves;
    reports.push(first);
    reports.iter().take(2).for_each(|report| println!("     {report}"));
    let count = |status| reports.iter().map(|report| report.count(status)).sum::<usize>();
    let (passed, refused) = (count(200), count(429));
    let wanted = size.requests + 1;
    verdict.check("the slot moved live", moves > 0, format!("{moves} times"));
    verdict.check(&format!("exactly {} pass", size.limit), passed == size.limit, passed);
    verdict.check("all others are a 429", passed + refused == wanted, format!("{refused} of {wanted}"));
    for (place, gateway) in gateways.iter().enumerate() {
        let metrics = gateway.metrics()?;
        let name = "agw_resource_operation_duration_seconds_count";
        let failed: f64 = ["unavailable", "server", "timeout_io", "timeout_connect", "timeout_queue"]
            .iter()
            .filter_map(|outcome| metrics.value(name, &[("outcome", outcome)]))
            .sum();
        verdict.check(&format!("calls of gateway {place} that failed"), failed == 0.0, failed as u64);
    }
    Ok(())
}

/// Moves the slot around until told to stop, with a pause in between; says how often.
fn keep_moving(cluster: &RedisCluster, key: &str, done: &AtomicBool) -> Result<usize> {
    let mut moves = 0;
    let mut from = cluster.holder(key)?;
    while !done.load(Ordering::Relaxed) || moves == 0 {
        let to = (from + 1) % 3;
        cluster.move_slot(key, from, to)?;
        from = to;
        moves += 1;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(moves)
}

/// The limit's only key.
fn key_of(cluster: &RedisCluster) -> Result<String> {
    for place in 0..3 {
        let keys: Vec<String> = cluster.ask(place, &["KEYS", "test:*"])?;
        if let Some(key) = keys.into_iter().next() {
            return Ok(key);
        }
    }
    anyhow::bail!("no node has the key of the limit")
}

/// Many keys: what each node has to do, which is what would let the load grow with the nodes.
fn spread(verdict: &mut Verdict, cluster: &RedisCluster, size: Size) -> Result<()> {
    let calls = || (0..3).map(|place| cluster.calls(place, "incr")).collect::<Result<Vec<u64>>>();
    let before = calls()?;
    let each = size.requests / 4 / CALLERS;
    let (passed, rate) = many_keys(RateLimits::at(cluster.place()), each)?;
    let done: Vec<u64> = calls()?.iter().zip(&before).map(|(after, before)| after - before).collect();
    verdict.check("all of many keys pass", passed == each * CALLERS, passed);
    let (least, sum) = (done.iter().min().copied().unwrap_or(0), done.iter().sum::<u64>());
    verdict.check("each node has a share of the load", least * 10 > sum, format!("least {least} of {sum}"));
    // All share the machine's cores, so that the rates are near each other; what would scale is the load of the busiest.
    let single = RedisServer::start()?;
    let (alone_passed, alone) = many_keys(RateLimits::new(single.url()), each)?;
    verdict.check("all of them pass with one server alone", alone_passed == each * CALLERS, alone_passed);
    println!("     {CALLERS} keys: {rate} requests/s on 3 primaries, {alone} on one server alone");
    let busiest = done.iter().max().copied().unwrap_or(0);
    let figure = format!("{done:?}, {:.1} times one server's load", sum as f64 / busiest.max(1) as f64);
    verdict.check("INCR per node: 3 nodes carry more than twice what one does", busiest * 2 < sum, figure);
    Ok(())
}

/// The same load on many keys, wherever they are: what passed, and per second.
fn many_keys(limits: RateLimits, each: usize) -> Result<(usize, u64)> {
    let gateway = Gateway::start_for_load(&limits.resource("limits: { call_timeout: 5s }").yaml())?;
    let begun = Instant::now();
    let mut loads = Vec::new();
    for caller in 0..CALLERS {
        let load = Load::new(gateway.address()?, "/closed/x", 2).header("x-api-key", &format!("k{caller}"));
        loads.push(thread::spawn(move || load.run(each)));
    }
    let mut passed = 0;
    for load in loads {
        passed += load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??.count(200);
    }
    Ok((passed, (passed as f64 / begun.elapsed().as_secs_f64()) as u64))
}

fn a_primary_dies(verdict: &mut Verdict, cluster: &mut RedisCluster) -> Result<()> {
    // A busy machine is no dead node.
    let document = RateLimits::at(cluster.place()).resource("limits: { call_timeout: 1s }");
    let gateway = Gateway::start_for_load(&document.yaml())?;
    let address = gateway.address()?;
    let load = |path, key: &str| Load::new(address, path, 8).header("x-api-key", key).start();
    // Warm: VMs are made, connections are open.
    Load::new(address, "/closed/x", 8).header("x-api-key", "dies").run(200)?;
    let keys: Vec<String> = (0..3)
        .filter_map(|place| cluster.ask::<Vec<String>>(place, &["KEYS", "test:*dies*"]).ok())
        .flatten()
        .collect();
    let key = keys.first().context("no node has the key")?;
    let dying = cluster.holder(key)?;
    let start = Instant::now();
    let (open, closed) = (load("/open/x", "dies")?, load("/closed/x", "dies")?);
    thread::sleep(Duration::from_secs(2));
    cluster.kill(dying)?;
    let killed = start.elapsed();
    let promoted = promotion(cluster, key, start)?;
    thread::sleep((killed + BACK_WITHIN).saturating_sub(start.elapsed()));
    let (open, closed) = (open.stop()?, closed.stop()?);
    println!("     fail-open:   {open}");
    println!("     fail-closed: {closed}");
    verdict.check(
        "fail-open answers nothing but 200",
        open.count(200) == open.samples.len(),
        open.count(200),
    );
    let known = closed.count(200) + closed.count(503);
    verdict.check("fail-closed answers 200 or 503", known == closed.samples.len(), known);
    let failed = closed.samples.iter().filter(|sample| sample.at >= killed && sample.status != 200);
    let first_error = failed.clone().map(|sample| sample.at).min().context("nobody has noticed the death")?;
    let served = closed.samples.iter().filter(|sample| sample.at > first_error && sample.status == 200);
    let back = served.map(|sample| sample.at + sample.latency).min().context("service never came back")?;
    verdict.within("from the death to the first answer of the replica", BACK_WITHIN, back - killed);
    let last_error = failed.map(|sample| sample.at + sample.latency).max().unwrap_or(killed);
    verdict.within("and to the last error", BACK_WITHIN, last_error - killed);
    println!("     the cluster has promoted the replica {:.1?} after the death", promoted - killed);
    let followed = last_error.saturating_sub(promoted);
    verdict.within("from the promotion to the last error", FOLLOWED_WITHIN, followed);
    let after = closed.between(killed + BACK_WITHIN - Duration::from_secs(2), Duration::MAX);
    verdict.check("requests served in the last two seconds", after.count(200) > 0, after.count(200));
    let successor = cluster.holder(key)?;
    verdict.check("which is another node", successor != dying, successor);
    Ok(())
}

/// When the cluster says that another node has the key, on the clock of `start`.
fn promotion(cluster: &RedisCluster, key: &str, start: Instant) -> Result<Duration> {
    let begun = Instant::now();
    while cluster.holder(key).is_err() {
        ensure!(begun.elapsed() < BACK_WITHIN, "no replica was promoted");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(start.elapsed())
}
