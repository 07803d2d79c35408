//! Lookups by primary key: from a plugin, and by the driver alone in a bare loop, over as many connections.

mod database;
mod direct;
mod through;

use std::time::Duration;

use agw_tests::Client;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::attempts::Attempts;
use crate::generator::histogram::Histogram;
use crate::load::{Load, Role};
use crate::results::Spread;
use crate::rounds::{Stage, invalid, rotated};
use crate::server::Server;
use database::{Database, Kind};

/// How it is measured, for those who read the figures.
pub(crate) const METHOD: &str = "A client looks rows up one after the other: SELECT id, tier FROM users WHERE id = $1, \
prepared, 10,000 rows. From a plugin: each client is a plugin instance in a VM of its own that makes 100 lookups in a \
loop for each request, and times each; AGW has one worker. Direct: each client is a task of one thread that waits for \
one of the same number of connections (own: 16, each for one lookup at a time; pipelined: 2 that all share) and calls \
the driver. Cached: whole requests through AGW to the upstream, with a plugin that makes one lookup out of the cache, \
and with the same plugin making none.";

/// Clients that look up at once.
const CLIENTS: [usize; 2] = [1, 64];

/// All rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SqlResults {
    pub(crate) lookups: Vec<Lookups>,
    pub(crate) cached: Vec<Cached>,
}

/// One way to look up, in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lookups {
    /// Such as `postgres, own connections`.
    pub(crate) database: String,
    pub(crate) from_plugin: bool,
    pub(crate) clients: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Requests with a lookup out of the cache and without one, in one round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cached {
    pub(crate) with: f64,
    pub(crate) without: f64,
    /// CPU time of the gateway per request, in microseconds.
    pub(crate) cpu_with: f64,
    pub(crate) cpu_without: f64,
}

/// Lookups that were made within a window.
pub(crate) struct Made {
    latencies: Histogram,
    window: Duration,
}

// === impl SqlResults ===

impl SqlResults {
    /// # Errors
    /// When a server is missing or a lookup fails.
    pub(crate) fn measure(stage: &mut Stage, attempts: &mut Attempts, rounds: usize) -> Result<Self> {
        let mut results = SqlResults::default();
        for round in 1..=rounds {
            for kind in Kind::ALL {
                eprintln!("sql, {}, round {round} of {rounds}", kind.name());
                let database = Database::start(kind)?;
                for clients in CLIENTS {
                    for from_plugin in rotated(&[true, false], round - 1) {
                        let made = if *from_plugin {
                            through::run(&database, stage, clients)?
                        } else {
                            direct::run(&database, stage, clients)?
                        };
                        let lookups = made.summary(kind, *from_plugin, clients);
                        eprintln!("    {lookups}");
                        results.lookups.push(lookups);
                    }
                }
            }
            eprintln!("sql, cached, round {round} of {rounds}");
            results.cached.push(cached(stage, attempts, round)?);
        }
        Ok(results)
    }

    /// A figure of one way to look up, over the rounds.
    pub(crate) fn spread(
        &self,
        (database, from_plugin, clients): (&str, bool, usize),
        figure: fn(&Lookups) -> f64,
    ) -> Option<Spread> {
        let fits = |one: &&Lookups| {
            one.database == database && one.from_plugin == from_plugin && one.clients == clients
        };
        Spread::of(self.lookups.iter().filter(fits).map(figure))
    }

    /// Ways to look up: databases with numbers of clients, in the order of the run.
    pub(crate) fn ways(&self) -> Vec<(String, usize)> {
        let mut ways = Vec::new();
        for one in &self.lookups {
            let way = (one.database.clone(), one.clients);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways
    }

    /// Lookups per second from plugins, as a part of the driver's; the range is that of the rounds.
    pub(crate) fn throughput(&self, database: &str, clients: usize) -> Option<Spread> {
        let of = |from_plugin| {
            let fits = move |one: &&Lookups| {
                one.database == database && one.from_plugin == from_plugin && one.clients == clients
            };
            self.lookups.iter().filter(fits).map(|one| one.per_second).collect::<Vec<_>>()
        };
        let (ours, theirs) = (of(true), of(false));
        let range = Spread::of(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs))?;
        let median = Spread::of(ours)?.median / Spread::of(theirs)?.median;
        Some(Spread { median, ..range })
    }

    /// CPU time of a request with a lookup out of the cache, in times of one without.
    pub(crate) fn cached_cpu(&self) -> Option<Spread> {
        Spread::of(self.cached.iter().map(|round| round.cpu_with / round.cpu_without))
    }

    /// Requests per second likewise.
    pub(crate) fn cached_rate(&self) -> Option<Spread> {
        Spread::of(self.cached.iter().map(|round| round.with / round.without))
    }
}

// === impl Made ===

impl Made {
    fn summary(&self, kind: Kind, from_plugin: bool, clients: usize) -> Lookups {
        let us = |share| self.latencies.quantile(share).as_secs_f64() * 1e6;
        Lookups {
            database: kind.name().to_owned(),
            from_plugin,
            clients,
            per_second: self.latencies.count() as f64 / self.window.as_secs_f64(),
            p50_us: us(0.5),
            p99_us: us(0.99),
        }
    }
}

impl std::fmt::Display for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = if self.from_plugin { "plugin" } else { "direct" };
        write!(f, "{:2} clients, {from}: {:>8.0} lookups/s", self.clients, self.per_second)?;
        write!(f, ", p50 {:.0} us, p99 {:.0} us", self.p50_us, self.p99_us)
    }
}

/// The same plugin, once with a lookup that the cache answers and once without one.
fn cached(stage: &mut Stage, attempts: &mut Attempts, round: usize) -> Result<Cached> {
    let database = Database::start(Kind::PostgresOwn)?;
    let upstream = stage.upstream().address()?;
    let mut server = database.gateway(Some(upstream))?;
    warm(&server)?;
    let watched = [(Role::Subject, server.id())];
    let mut measure = |path: &str| {
        let plan = stage.plan(&server, path, 64, None)?;
        attempts.until_valid((path, 64, round), || {
            let observed = Load::new("generate", &plan)?.run(&watched)?;
            Ok(match invalid(&observed) {
                Some(why) => Err(why),
                None => Ok(observed),
            })
        })
    };
    let (mut with, mut without) = (None, None);
    for path in rotated(&["/cached/x", "/none/x"], round - 1) {
        let observed = measure(path)?;
        let cpu = observed.cpu.get(&Role::Subject).copied().unwrap_or_default().as_secs_f64();
        let figures = (observed.report.per_second(), cpu * 1e6 / observed.report.requests.max(1) as f64);
        eprintln!("    {path:10} {:>8.0} requests/s, {:.2} us CPU", figures.0, figures.1);
        if *path == "/none/x" { without = Some(figures) } else { with = Some(figures) }
    }
    let (with, without) = with.zip(without).context("both were measured")?;
    Ok(Cached { with: with.0, without: without.0, cpu_with: with.1, cpu_without: without.1 })
}

/// The first lookup fills the cache.
fn warm(server: &Server) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(Client::new(server.address()?).get("/cached/x"))?;
    if reply.status != 200 {
        bail!("a first lookup was answered {}: {}", reply.status, reply.text());
    }
    Ok(())
}
