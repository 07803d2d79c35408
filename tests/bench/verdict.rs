//! The targets, and whether a run met them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::results::{Measured, Results, Spread};
use crate::sql::SqlResults;
use crate::subjects::CHAIN;

/// One target with its figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// (a) to (g).
    pub(crate) target: char,
    pub(crate) what: String,
    /// At so many connections, if it depends on them.
    pub(crate) connections: Option<usize>,
    /// From the medians; its range is that of the rounds, each with its own pair. `None`: not measured.
    pub(crate) value: Option<Spread>,
    pub(crate) bound: Bound,
    pub(crate) unit: Unit,
    pub(crate) outcome: Outcome,
}

/// What a figure must keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    Times,
    Microseconds,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Met,
    /// Missed by under a quarter of the bound.
    Close,
    Missed,
    NotMeasured,
}

/// p99 of what a check adds over redis-rs.
const ADDED_US_MAX: f64 = 500.0;
/// Throughput is stated for so many.
const LOOKUP_CLIENTS: usize = 64;

/// All verdicts over a run.
pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    // A run of the latency alone has nothing to say about the rest.
    for &connections in results.settings.connections.iter().filter(|_| !results.measured.is_empty()) {
        verdicts.extend(Pairs { results, connections }.judge());
    }
    let added = results.latency.as_ref().and_then(|latency| latency.added_p99_us());
    let what = "p99 that a Redis check adds over redis-rs at half of peak load".to_owned();
    verdicts.push(Verdict::new('e', what, None, added, Bound::AtMost(ADDED_US_MAX), Unit::Microseconds));
    verdicts.extend(results.sql.iter().flat_map(lookups));
    verdicts.sort_by_key(|verdict| verdict.target);
    verdicts
}

/// What the lookups in databases have to keep.
fn lookups(sql: &SqlResults) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (database, clients) in sql.ways().into_iter().filter(|(_, clients)| *clients == LOOKUP_CLIENTS) {
        let value = sql.throughput(&database, clients);
        let what = format!("lookups/s, {database}, a plugin / the driver");
        verdicts.push(Verdict::new('f', what, Some(clients), value, Bound::AtLeast(0.6), Unit::Times));
    }
    let what = "CPU per request, a lookup out of the cache / none".to_owned();
    verdicts.push(Verdict::new('g', what, Some(64), sql.cached_cpu(), Bound::AtMost(1.1), Unit::Times));
    let what = "requests/s, a lookup out of the cache / none".to_owned();
    verdicts.push(Verdict::new('g', what, Some(64), sql.cached_rate(), Bound::AtLeast(0.9), Unit::Times));
    verdicts
}

/// Pairs of subjects at so many connections.
struct Pairs<'a> {
    results: &'a Results,
    connections: usize,
}

// === impl Pairs ===

impl Pairs<'_> {
    fn judge(&self) -> Vec<Verdict> {
        let further = (CHAIN - 1) as f64;
        vec![
            self.cpu_ratio('a', "CPU per request, plain, AGW / nginx", ["agw", "nginx"], 1.25),
            self.cpu_added('b', "CPU that the first filter adds", ["agw-filter", "agw"], 1.0, 3.0),
            self.cpu_added(
                'b',
                "CPU that each further filter adds",
                ["agw-filter-16", "agw-filter"],
                further,
                1.5,
            ),
            self.rate_ratio('b', "requests/s, filter once, AGW / Envoy", ["agw-filter", "envoy-filter"], 2.0),
            self.rate_ratio(
                'b',
                "requests/s, filter 16 times, AGW / Envoy",
                ["agw-filter-16", "envoy-filter-16"],
                2.0,
            ),
            self.cpu_ratio(
                'c',
                "CPU per request, rate limit, AGW / nginx + Lua",
                ["agw-rate-limit", "nginx-lua-redis"],
                0.85,
            ),
            self.rate_ratio(
                'c',
                "requests/s, rate limit, AGW / nginx + Lua",
                ["agw-rate-limit", "nginx-lua-redis"],
                1.25,
            ),
            self.rate_ratio(
                'd',
                "requests/s, AGW with rate limit / Envoy without filter",
                ["agw-rate-limit", "envoy"],
                2.0,
            ),
        ]
    }

    fn cpu_ratio(&self, target: char, what: &str, of: [&str; 2], bound: f64) -> Verdict {
        let value = self.paired(of, cpu, |ours, theirs| ours / theirs);
        Verdict::new(
            target,
            what.to_owned(),
            Some(self.connections),
            value,
            Bound::AtMost(bound),
            Unit::Times,
        )
    }

    fn rate_ratio(&self, target: char, what: &str, of: [&str; 2], bound: f64) -> Verdict {
        let value = self.paired(of, |measured| measured.requests_per_second, |ours, theirs| ours / theirs);
        Verdict::new(
            target,
            what.to_owned(),
            Some(self.connections),
            value,
            Bound::AtLeast(bound),
            Unit::Times,
        )
    }

    fn cpu_added(&self, target: char, what: &str, of: [&str; 2], by: f64, bound: f64) -> Verdict {
        let value = self.paired(of, cpu, |with, without| (with - without) / by);
        Verdict::new(
            target,
            what.to_owned(),
            Some(self.connections),
            value,
            Bound::AtMost(bound),
            Unit::Microseconds,
        )
    }

    /// The value is made of the two medians, the range of what each round makes for itself.
    fn paired(
        &self,
        [first, second]: [&str; 2],
        figure: fn(&Measured) -> f64,
        make: impl Fn(f64, f64) -> f64,
    ) -> Option<Spread> {
        let spread = |subject| self.results.spread(subject, self.connections, figure);
        let median = make(spread(first)?.median, spread(second)?.median);
        let others = self.results.rounds(second, self.connections);
        let both = self.results.rounds(first, self.connections).into_iter().filter_map(|one| {
            let other = others.iter().find(|other| other.round == one.round)?;
            Some(make(figure(one), figure(other)))
        });
        let range = Spread::of(both)?;
        Some(Spread { median, ..range })
    }
}

fn cpu(measured: &Measured) -> f64 {
    measured.cpu_us.subject
}

// === impl Verdict ===

impl Verdict {
    fn new(
        target: char,
        what: String,
        connections: Option<usize>,
        value: Option<Spread>,
        bound: Bound,
        unit: Unit,
    ) -> Self {
        let outcome = value.map_or(Outcome::NotMeasured, |value| bound.outcome(value.median));
        Verdict { target, what, connections, value, bound, unit, outcome }
    }
}

// === impl Bound ===

impl Bound {
    fn outcome(self, value: f64) -> Outcome {
        let (met, close) = match self {
            Bound::AtMost(bound) => (value <= bound, value <= bound * 1.25),
            Bound::AtLeast(bound) => (value >= bound, value >= bound * 0.75),
        };
        match (met, close) {
            (true, _) => Outcome::Met,
            (_, true) => Outcome::Close,
            // Also a figure that is no number.
            _ => Outcome::Missed,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(bound) => write!(f, "at most {bound}"),
            Bound::AtLeast(bound) => write!(f, "at least {bound}"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Times => "times",
            Unit::Microseconds => "us",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Met => "met",
            Outcome::Close => "missed by under a quarter",
            Outcome::Missed => "MISSED",
            Outcome::NotMeasured => "not measured",
        })
    }
}

#[cfg(test)]
mod tests;
