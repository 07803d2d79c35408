//! What a Redis check adds over the same commands sent straight by redis-rs, at half of peak load.

use agw_tests::metrics::Buckets;
use agw_tests::{Metrics, RedisServer};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::apart::Side;
use crate::attempts::{Attempt, Attempts};
use crate::generator::plan::{Plan, Report};
use crate::load::{Load, Observed, Role};
use crate::results::Spread;
use crate::rounds::{Stage, invalid, rotated};
use crate::server::Server;
use crate::subjects::{Subject, rate_limit_document};

/// How it is measured, for those who read the figures.
pub(crate) const METHOD: &str = "All three loads are paced alike: half of the requests/s that agw-rate-limit reached \
in a closed loop, evenly spaced by a kernel timer, each sent on a free connection. Direct: MULTI, SET NX, INCR, PTTL, \
EXEC as one atomic pipeline on one multiplexed redis-rs connection. With and without: whole requests through AGW, on a \
route with the rate-limit plugin and on one without. Who asks Redis, redis-rs or AGW, has one processor, everybody \
else has the others; on a single processor all share it. Call: AGW's own histogram of the foreign call; its p99 is the \
upper bound of a bucket. Added: the larger of (with - without - direct) and (call - direct), p99 for p99.";

/// A paced load that falls behind its pace by more than this does not count.
const PACE_KEPT: f64 = 0.98;
/// Closed-loop rounds for the peak, if the run has not measured it.
const PEAK_ROUNDS: usize = 3;
const HISTOGRAM: &str = "agw_resource_operation_duration_seconds";

/// All rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Requests per second of the paced loads.
    pub(crate) rate: f64,
    /// What that is half of.
    pub(crate) peak: f64,
    pub(crate) connections: usize,
    pub(crate) rounds: Vec<Round>,
}

/// The three loads of one round, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) direct: Quantiles,
    pub(crate) with: Quantiles,
    pub(crate) without: Quantiles,
    /// By AGW's own histogram.
    pub(crate) call: Quantiles,
    /// The largest share of the machine that other processes had.
    pub(crate) elsewhere: f64,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    With,
    Without,
}

// === impl Latency ===

impl Latency {
    /// Measures; `peak` is measured first if it is not known.
    ///
    /// # Errors
    /// As for [`Attempts::until_valid`].
    pub(crate) fn measure(
        stage: &mut Stage,
        attempts: &mut Attempts,
        peak: Option<f64>,
        connections: usize,
        rounds: usize,
    ) -> Result<Self> {
        let peak = match peak {
            Some(peak) => peak,
            None => measure_peak(stage, attempts, connections)?,
        };
        let mut latency = Latency { rate: peak / 2.0, peak, connections, rounds: Vec::new() };
        for number in 1..=rounds {
            eprintln!("redis-latency, {:.0} requests/s, round {number} of {rounds}", latency.rate);
            let round = latency.round(stage, attempts, number)?;
            eprintln!(
                "    p99: direct {:.0} us, with {:.0} us, without {:.0} us, call {:.0} us",
                round.direct.p99, round.with.p99, round.without.p99, round.call.p99
            );
            latency.rounds.push(round);
        }
        Ok(latency)
    }

    fn round(&self, stage: &mut Stage, attempts: &mut Attempts, number: usize) -> Result<Round> {
        let redis = RedisServer::start()?;
        let upstream = stage.upstream().address()?;
        let mut gateway = Server::agw(&rate_limit_document(upstream, &redis.address()))?;
        let mut watched = vec![(Role::Subject, gateway.id()), (Role::Upstream, stage.upstream().id())];
        watched.push((Role::Redis, redis.id().context("this Redis is not ours")?));
        let mut round = Round::default();
        for way in rotated(&[Way::Direct, Way::With, Way::Without], number - 1) {
            let (observed, calls) = attempts.until_valid((way.name(), self.connections, number), || {
                let load = self.load(*way, stage, &gateway, &redis)?;
                let before = call_histogram(&gateway)?;
                let observed = paced(stage.run(&load, way.side_of_load(), &watched), self.rate);
                let calls = call_histogram(&gateway)?.since(&before);
                Ok(observed.map(|observed| (observed, calls)))
            })?;
            let found = Quantiles { p50: observed.report.p50_us, p99: observed.report.p99_us };
            round.elsewhere = round.elsewhere.max(observed.elsewhere);
            match way {
                Way::Direct => round.direct = found,
                Way::Without => round.without = found,
                Way::With => {
                    round.with = found;
                    round.call =
                        Quantiles { p50: calls.quantile(0.5) * 1e6, p99: calls.quantile(0.99) * 1e6 };
                }
            }
        }
        Ok(round)
    }

    fn load(&self, way: Way, stage: &Stage, gateway: &Server, redis: &RedisServer) -> Result<Load> {
        let plan = stage.plan(gateway, "/", self.connections, Some(self.rate))?;
        match way {
            Way::Direct => Load::new("redis-direct", &Plan { address: redis.address().parse()?, ..plan }),
            Way::With => Load::new("generate", &plan),
            Way::Without => Load::new("generate", &Plan { path: "/plain/x".to_owned(), ..plan }),
        }
    }

    /// The verdict's figure over all rounds.
    pub(crate) fn added_p99_us(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(Round::added_p99))
    }
}

// === impl Round ===

impl Round {
    /// Differences of quantiles may miss what two tails have in common; the histogram misses what the guest's
    /// side of a call takes. So the larger counts.
    pub(crate) fn added_p99(&self) -> f64 {
        let by_requests = self.with.p99 - self.without.p99 - self.direct.p99;
        let by_histogram = self.call.p99 - self.direct.p99;
        by_requests.max(by_histogram)
    }
}

// === impl Way ===

impl Way {
    /// Of the process that makes the load.
    fn side_of_load(self) -> Side {
        match self {
            Way::Direct => Side::Subject,
            Way::With | Way::Without => Side::Others,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Way::Direct => "redis-rs direct",
            Way::With => "agw with a check",
            Way::Without => "agw without",
        }
    }
}

fn paced(observed: Result<Observed>, rate: f64) -> Attempt<Observed> {
    let observed = observed.map_err(|error| format!("{error:#}"))?;
    match invalid(&observed).or_else(|| behind(&observed.report, rate)) {
        Some(reason) => Err(reason),
        None => Ok(observed),
    }
}

fn behind(report: &Report, rate: f64) -> Option<String> {
    let reached = report.per_second();
    (reached < rate * PACE_KEPT).then(|| format!("{reached:.0} requests/s instead of {rate:.0}"))
}

fn measure_peak(stage: &mut Stage, attempts: &mut Attempts, connections: usize) -> Result<f64> {
    let subject = Subject::named("agw-rate-limit")?;
    let mut reached = Vec::new();
    for round in 1..=PEAK_ROUNDS {
        eprintln!("redis-latency, peak, round {round} of {PEAK_ROUNDS}");
        let measured = stage.round(attempts, &[subject], connections, round)?;
        reached.extend(measured.iter().map(|measured| measured.requests_per_second));
    }
    Spread::of(reached).map(|spread| spread.median).context("no round was measured")
}

/// Of the plugin's calls so far; empty before the first.
fn call_histogram(server: &Server) -> Result<Buckets> {
    let Server::Agw(gateway) = server else { return Ok(Buckets::default()) };
    let metrics: Metrics = gateway.metrics()?;
    Ok(metrics.histogram(HISTOGRAM, &[("plugin", "limit")]).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(p99: f64) -> Quantiles {
        Quantiles { p50: 0.0, p99 }
    }

    fn round(direct: f64, with: f64, without: f64, call: f64) -> Round {
        Round {
            direct: quantiles(direct),
            with: quantiles(with),
            without: quantiles(without),
            call: quantiles(call),
            elsewhere: 0.0,
        }
    }

    #[test]
    fn the_larger_of_both_ways_to_see_it_counts() {
        assert_eq!(round(100.0, 500.0, 200.0, 250.0).added_p99(), 200.0);
        assert_eq!(round(100.0, 310.0, 200.0, 250.0).added_p99(), 150.0);
    }

    #[test]
    fn the_figure_is_the_median_of_the_rounds() {
        let rounds = vec![round(0.0, 9.0, 0.0, 0.0), round(0.0, 1.0, 0.0, 0.0), round(0.0, 5.0, 0.0, 0.0)];
        let latency = Latency { rate: 1.0, peak: 2.0, connections: 64, rounds };
        assert_eq!(latency.added_p99_us(), Some(Spread { median: 5.0, min: 1.0, max: 9.0 }));
    }

    #[test]
    fn a_load_behind_its_pace_does_not_count() {
        let report = Report { requests: 970, seconds: 1.0, ..Report::default() };
        assert!(behind(&report, 1000.0).is_some_and(|why| why.contains("970")));
        assert_eq!(behind(&report, 980.0), None);
    }
}
