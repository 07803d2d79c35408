//! Heavy runs with figures, each with the promise that it checks. `cargo xtask scenario NAME` builds everything in
//! release mode; `cargo test` has a small version of each.

#![expect(clippy::print_stdout, reason = "figures are its output")]

mod cluster;
mod drain;
mod faults;
mod hand_over;
mod held;
mod holder;
mod idle_and_slow;
mod neighbour;
mod outage;
mod reload;
mod rotation;
mod shared_limit;
mod sql;
mod stopped;
mod verdict;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use self::verdict::Verdict;
use crate::sql::Size;

type Scenario = fn(&mut Verdict) -> Result<()>;

const SCENARIOS: &[(&str, &str, Scenario)] = &[
    (
        "shared-limit",
        "two gateways, one Redis, 200,000 requests: exactly the limit passes",
        shared_limit::run,
    ),
    (
        "cluster",
        "a Redis Cluster, 200,000 requests while the limit's slot moves; then a primary is killed",
        |verdict| cluster::run(verdict, cluster::Size { requests: 200_000, limit: 50_000 }),
    ),
    ("outage", "Redis killed under load and started again 10 s later", outage::run),
    ("stopped", "Redis stopped (SIGSTOP) under load: the deadline holds", stopped::run),
    (
        "drain",
        "100,000 requests while two gateways are ended by SIGTERM and started again in turn",
        drain::run,
    ),
    ("hand-over", "100,000 requests while one process after the other takes over", hand_over::run),
    ("rotation", "100,000 requests over TLS while certificates are replaced", rotation::run),
    ("faults", "every fault of every kind of server: what calls come to, and the recovery", faults::run),
    (
        "reload",
        "five minutes of load while the configuration changes a hundred times, a third of them badly",
        reload::run,
    ),
    (
        "idle-and-slow",
        "10,000 idle connections and 1,000 slow clients beside 64 that work",
        idle_and_slow::run,
    ),
    ("held", "1,000 requests inside a Redis call at once", held::run),
    ("neighbour", "a plugin that asks as fast as it can beside a quiet one on the same Redis", |verdict| {
        neighbour::run(verdict, neighbour::FULL)
    }),
    (
        "sql-deadline",
        "statements of 10 s with a deadline of 200 ms: all stopped, beside 10,000 others",
        |verdict| sql::deadline::run(verdict, Size::Full),
    ),
    ("sql-outage", "the database killed under load and started again", |verdict| {
        sql::outage::run(verdict, Size::Full)
    }),
    ("sql-held", "1,000 requests inside a query at once, on a pool of 16", |verdict| {
        sql::held::run(verdict, Size::Full)
    }),
    ("sql-injection", "10,000 values that look like SQL change nothing", |verdict| {
        sql::injection::run(verdict, Size::Full)
    }),
];

fn main() -> Result<ExitCode> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if let Some((holder::WORD, rest)) = named.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        raise_open_files()?;
        return holder::run(rest);
    }
    if named.is_empty() {
        for (name, about, _) in SCENARIOS {
            println!("{name:13} {about}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    agw_tests::process::quiet();
    raise_open_files()?;
    let mut verdict = Verdict::default();
    for name in &named {
        let found = SCENARIOS.iter().find(|(known, ..)| known == name || name == "all");
        found.with_context(|| format!("no scenario {name:?}"))?;
        for (name, about, scenario) in SCENARIOS.iter().filter(|(known, ..)| known == name || name == "all") {
            println!("=== {name}: {about}");
            let start = Instant::now();
            scenario(&mut verdict)?;
            println!("({:.1?})", start.elapsed());
        }
    }
    Ok(if verdict.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A thousand connections at each of two ends; children inherit it.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raise the limit of open files")
}
