use agw_tests::{Gateway, Load, LoadReport, Script, Upstream};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use crate::Verdict;
use crate::holder::{self, Kind};

const IDLE: usize = 10_000;
const SLOW: usize = 1000;
const ROUNDS: usize = 5;
/// Requests in each half of a round, over this many connections.
const NORMAL: (usize, usize) = (50_000, 64);
/// More than all buffers between the upstream and a slow reader hold.
const LARGE_BYTES: usize = 8 << 20;

pub(crate) fn run(verdict: &mut Verdict) -> Result<()> {
    let large = Bytes::from(vec![b'x'; LARGE_BYTES]);
    let upstream = Upstream::start(move |request| match request.path.as_str() {
        "/large" => Script::ok(large.clone()),
        _ => Script::ok("hello"),
    })?;
    let document = format!(
        "version: 1
listeners:
  - name: http
    address: 127.0.0.1:0
    limits: {{ connections: 20000, idle_timeout: 1h }}
routes:
  - {{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 1h }}
clusters:
  - {{ name: up, endpoints: [\"{}\"] }}
",
        upstream.address()
    );
    println!("{document}");
    let options = ["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"];
    let mut gateway = Gateway::start_with(&document, &[], &options)?;
    normal(&gateway)?;

    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        quiet.push(normal(&gateway)?);
        let before = gateway.process().resident_bytes()?;
        let address = gateway.address()?;
        let mut idle = holder::start(Kind::Idle, address, IDLE)?;
        let with_idle = gateway.process().resident_bytes()?;
        let mut slow = holder::start(Kind::Slow, address, SLOW)?;
        let with_slow = gateway.process().resident_bytes()?;
        if round == 1 {
            // Later rounds reuse what the first has left.
            say_memory("idle connection", before, with_idle, IDLE);
            say_memory("slow client, its upstream connection included", with_idle, with_slow, SLOW);
        }
        beside.push(normal(&gateway)?);
        for (name, holder) in [("idle", &mut idle), ("slow", &mut slow)] {
            ensure!(holder.ended()?.is_none(), "the {name} connections did not last:\n{}", holder.output());
        }
        println!("     round {round}: quiet  {}\n              beside {}", last(&quiet)?, last(&beside)?);
    }
    let failed: usize =
        quiet.iter().chain(&beside).map(|report| report.samples.len() - report.count(200)).sum();
    verdict.check("normal requests that failed", failed == 0, failed);
    let (quiet, beside) = (median_p99(&quiet), median_p99(&beside));
    println!("     p99, median of {ROUNDS}: quiet {:.2} ms, beside {:.2} ms", quiet * 1e3, beside * 1e3);
    let ratio = beside / quiet;
    verdict.check("normal p99 within 1.5 times", ratio <= 1.5, format!("{ratio:.2}"));
    Ok(())
}

fn normal(gateway: &Gateway) -> Result<LoadReport> {
    Load::new(gateway.address()?, "/plain", NORMAL.1).run(NORMAL.0)
}

fn last(reports: &[LoadReport]) -> Result<&LoadReport> {
    reports.last().context("no round")
}

fn say_memory(what: &str, before: u64, after: u64, count: usize) {
    let grown = after.saturating_sub(before);
    println!(
        "     the process grew by {grown} bytes: {:.1} KiB per {what}",
        grown as f64 / count as f64 / 1024.0
    );
}

fn median_p99(reports: &[LoadReport]) -> f64 {
    let mut p99: Vec<f64> = reports.iter().map(|report| report.percentile(0.99).as_secs_f64()).collect();
    p99.sort_by(f64::total_cmp);
    p99[p99.len() / 2]
}
