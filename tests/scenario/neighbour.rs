//! A plugin that asks Redis as fast as it can, beside a quiet one on the same resource.

use std::time::Duration;

use agw_tests::{Gateway, Load, LoadReport, RedisServer, RunningLoad};
use anyhow::{Context, Result};

use crate::verdict::Verdict;

/// Calls that the resource has under way at once.
const PLACES: usize = 32;
/// Waiting calls of each plugin.
const ROOM: usize = 64;
/// Connections of the greedy plugin: one load that its places and its waiting room take, and one that they do not.
const GREEDY: usize = 64;
const FLOOD: usize = 200;
/// Connections of the quiet one, each with a request in this time.
const QUIET: usize = 8;
const PACE: Duration = Duration::from_millis(25);
/// What each call takes, so that the resource is what the plugins compete for, and not the machine.
const DELAY: &str = "20ms";

/// How much it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    /// Requests of the quiet plugin in each part of a round.
    pub(crate) requests: usize,
}

#[allow(dead_code, reason = "what the suite does not run")]
pub(crate) const FULL: Extent = Extent { rounds: 5, requests: 1500 };
#[allow(dead_code, reason = "what the scenario does not run")]
pub(crate) const SMALL: Extent = Extent { rounds: 1, requests: 200 };

pub(crate) fn run(verdict: &mut Verdict, extent: Extent) -> Result<()> {
    let redis = RedisServer::start()?;
    let document = document(&redis);
    println!("{document}");
    let options = ["--admin", "127.0.0.1:0", "--workers", "1", "--access-log", "off"];
    let gateway = Gateway::start_with(&document, &[], &options)?;
    quiet(&gateway, 20)?;

    let (mut alone, mut apart, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=extent.rounds {
        alone.push(quiet(&gateway, extent.requests)?);
        // What the machine itself makes of the load: the same, on a resource of its own.
        let load = greedy(&gateway, "apart", GREEDY)?;
        apart.push(quiet(&gateway, extent.requests)?);
        load.stop()?;
        let load = greedy(&gateway, "greedy", GREEDY)?;
        beside.push(quiet(&gateway, extent.requests)?);
        let load = load.stop()?;
        println!("     round {round}: greedy {load}");
        for (name, reports) in [("alone", &alone), ("apart", &apart), ("beside", &beside)] {
            println!("              quiet, {name:6} {}", reports.last().context("no round")?);
        }
        verdict.check(
            "requests of the greedy plugin that failed within its room",
            load.count(200) == load.samples.len(),
            load.samples.len() - load.count(200),
        );
    }
    let load = greedy(&gateway, "greedy", FLOOD)?;
    let flooded = [quiet(&gateway, extent.requests)?];
    let load = load.stop()?;
    println!("     flood: {load}\n              quiet {}", flooded[0]);
    judge(verdict, &gateway, &[&alone, &apart, &beside, &flooded])?;

    let (alone, apart, beside) = (median_p99(&alone), median_p99(&apart), median_p99(&beside));
    println!("     the quiet plugin's p99, median: alone {:.1} ms", alone * 1e3);
    let promises = [
        ("the quiet plugin's p99 beside the greedy one, within 1.2 times of alone", alone),
        ("and of that beside the same load on another resource, which the machine makes of it", apart),
    ];
    for (promise, reference) in promises {
        verdict.timed(promise, beside / reference <= 1.2, format!("{:.2}", beside / reference));
    }
    Ok(())
}

/// What the counts say.
fn judge(verdict: &mut Verdict, gateway: &Gateway, quiet: &[&[LoadReport]; 4]) -> Result<()> {
    let failed: usize =
        quiet.iter().flat_map(|reports| *reports).map(|one| one.samples.len() - one.count(200)).sum();
    verdict.check("requests of the quiet plugin that failed", failed == 0, failed);
    let metrics = gateway.metrics()?;
    let rejected = |plugin| {
        let labels = [("resource", "shared"), ("plugin", plugin)];
        metrics.value("agw_resource_pool_rejected_total", &labels).context("no such counter")
    };
    let (quiet, greedy) = (rejected("quiet")?, rejected("greedy")?);
    verdict.check("calls of the quiet plugin that were refused", quiet == 0.0, quiet);
    verdict.check("calls of the greedy plugin that were refused, once it flooded", greedy > 0.0, greedy);
    Ok(())
}

fn quiet(gateway: &Gateway, requests: usize) -> Result<LoadReport> {
    Load::new(gateway.address()?, "/quiet/x", QUIET).header("x-api-key", "q").pace(PACE).run(requests)
}

fn greedy(gateway: &Gateway, plugin: &str, connections: usize) -> Result<RunningLoad> {
    let load = Load::new(gateway.address()?, &format!("/{plugin}/x"), connections);
    load.header("x-api-key", "g").start()
}

fn median_p99(reports: &[LoadReport]) -> f64 {
    let mut p99: Vec<f64> = reports.iter().map(|report| report.percentile(0.99).as_secs_f64()).collect();
    p99.sort_by(f64::total_cmp);
    p99[p99.len() / 2]
}

/// The plugins are the rate limit with a limit that nobody reaches; one whose call fails answers 503.
fn document(redis: &RedisServer) -> String {
    let plugins = [("quiet", "shared"), ("greedy", "shared"), ("apart", "own")];
    let each = |line: fn(&str, &str) -> String| plugins.map(|(name, resource)| line(name, resource)).concat();
    let routes = each(|name, _| {
        format!("  - {{ name: {name}, match: {{ prefix: /{name}/ }}, cluster: echo, plugins: [{name}] }}\n")
    });
    let plugins = each(|name, resource| {
        format!(
            "  - {{ name: {name}, module: {{ builtin: rate-limit }}, configuration: {{ resource: {resource}, \
             limit: 1000000000, window: 3600, key: [{{ header: x-api-key }}], on_error: closed }} }}\n"
        )
    });
    let resource = |name: &str, grants: &str| {
        format!(
            "  - name: {name}
    type: redis
    url: {}
    limits: {{ in_flight: {PLACES}, waiters: {ROOM}, call_timeout: 2s }}
    faults: {{ share: 100, delay: {DELAY} }}
    grants:
{grants}",
            redis.url()
        )
    };
    let grant = |plugin: &str, share: usize| {
        format!(
            "      - {{ plugin: {plugin}, commands: [set, incr, pttl, expire], key_prefix: \"{plugin}:\", share: {share} }}\n"
        )
    };
    let shared = resource("shared", &(grant("quiet", 100) + &grant("greedy", 50)));
    let own = resource("own", &grant("apart", 50));
    format!(
        "version: 1
listeners: [{{ name: http, address: \"127.0.0.1:0\" }}]
routes:
{routes}clusters: [{{ name: echo, builtin: echo }}]
plugins:
{plugins}resources:
{shared}{own}"
    )
}
