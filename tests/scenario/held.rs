use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use agw_tests::document::RateLimits;
use agw_tests::{FaultProxy, Gateway, Load, LoadReport, Mode, RedisServer};
use anyhow::{Context, Result};

use crate::Verdict;

const INSIDE: usize = 1000;
const HOLD: Duration = Duration::from_secs(1);
const POOL_MAX: usize = 4;
const ROUNDS: usize = 5;
/// Requests to `/plain` in each half of a round, over this many connections.
const PLAIN: (usize, usize) = (20_000, 8);

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let redis = RedisServer::start()?;
    let proxy = FaultProxy::start(redis.address())?;
    let document = RateLimits::new(proxy.redis_url())
        .resource(&format!("pool: {{ max: {POOL_MAX}, leased: 1, connect_timeout: 3s }}"))
        .resource("limits: { call_timeout: 3s, in_flight: 2000, waiters: 2000 }")
        .plugin("vm: { max: 2000, wait: 1s }")
        .plugin("limits: { foreign_calls: 4000 }")
        .yaml();
    println!("{document}");
    let mut gateway = Gateway::start_for_load(&document)?;
    let address = gateway.address()?;
    Load::new(address, "/plain/x", PLAIN.1).run(PLAIN.0)?;
    let bytes_before = gateway.process().resident_bytes()?;
    let watch = Watch::start(&redis)?;
    proxy.set(Mode::HoldReplies(HOLD))?;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        alone.push(plain(&gateway)?);
        let held = Load::new(address, "/closed/x", INSIDE).header("x-api-key", "k").start()?;
        // Two holds: all connections are open, and every one of them is inside a call.
        sleep(2 * HOLD);
        if round == 1 {
            memory(&mut gateway, bytes_before)?;
        }
        beside.push(plain(&gateway)?);
        let held = held.stop()?;
        println!("     round {round}: held {held}");
        let right = held.count(200) == held.samples.len() && held.samples.len() >= 2 * INSIDE;
        verdict.check("all answer correctly", right, held.count(200));
        if !right {
            explain(&gateway)?;
        }
        println!(
            "              plain alone {}\n              beside      {}",
            alone[round - 1],
            beside[round - 1]
        );
    }
    let connections = watch.stop()?;
    verdict.check("connections on Redis at most the pool's max", connections <= POOL_MAX, connections);
    let ratio = median_p99(&beside) / median_p99(&alone);
    verdict.check("plain p99 within 1.5 times (median of five)", ratio <= 1.5, format!("{ratio:.2}"));
    Ok(())
}

fn plain(gateway: &Gateway) -> Result<LoadReport> {
    Load::new(gateway.address()?, "/plain/x", PLAIN.1).run(PLAIN.0)
}

/// How calls ended, and the first warnings.
fn explain(gateway: &Gateway) -> Result<()> {
    let metrics = gateway.ask_admin("/metrics")?.text();
    for line in
        metrics.lines().filter(|line| line.starts_with("agw_resource_operation_duration_seconds_count"))
    {
        println!("     {line}");
    }
    let log = gateway.output();
    for line in log.lines().filter(|line| !line.starts_with('{')).take(12) {
        println!("     {line}");
    }
    Ok(())
}

fn median_p99(reports: &[LoadReport]) -> f64 {
    let mut p99: Vec<f64> = reports.iter().map(|report| report.percentile(0.99).as_secs_f64()).collect();
    p99.sort_by(f64::total_cmp);
    p99[p99.len() / 2]
}

fn memory(gateway: &mut Gateway, before: u64) -> Result<()> {
    let grown = gateway.process().resident_bytes()?.saturating_sub(before);
    let metrics = gateway.metrics()?;
    let vms = metrics.value("agw_plugin_vms", &[("plugin", "closed")]).context("agw_plugin_vms")?;
    let linear = metrics.value("agw_plugin_memory_bytes", &[("plugin", "closed")]).unwrap_or(0.0);
    let each = grown as f64 / vms.max(1.0) / 1024.0;
    println!("     {vms} instances inside a call; the process grew by {grown} bytes: {each:.1} KiB each");
    println!(
        "     (connection and request included; linear memory as addressed: {:.1} KiB each)",
        linear / vms / 1024.0
    );
    Ok(())
}

/// Asks Redis itself for its clients, again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<usize>>,
}

impl Watch {
    fn start(redis: &RedisServer) -> Result<Self> {
        let mut connection = redis.connection()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut most = 0;
            while !told.load(Ordering::Relaxed) {
                let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection)?;
                // One line is this connection's own.
                most = most.max(list.lines().count().saturating_sub(1));
                sleep(Duration::from_millis(50));
            }
            Ok(most)
        });
        Ok(Watch { stop, thread })
    }

    fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watching thread panicked"))?
    }
}
