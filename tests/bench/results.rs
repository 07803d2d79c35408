//! The figures of a run: what goes into the JSON file, and the statistics over rounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::machine::Machine;
use crate::sql::SqlResults;
use crate::verdict::Verdict;

/// Everything that a run found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Of this document.
    pub(crate) format: u32,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// Subjects that were not run, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    /// One entry per valid measurement, in the order of the run.
    pub(crate) measured: Vec<Measured>,
    /// Rounds that were thrown away.
    pub(crate) invalid: Vec<Invalid>,
    pub(crate) latency: Option<Latency>,
    #[serde(default)]
    pub(crate) sql: Option<SqlResults>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// How the run was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) duration_seconds: f64,
    pub(crate) warmup_seconds: f64,
    pub(crate) connections: Vec<usize>,
    pub(crate) keys: usize,
    pub(crate) upstream: String,
    /// Cargo's profile of the measured gateway.
    pub(crate) profile: String,
}

/// One subject in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) subject: String,
    pub(crate) connections: usize,
    pub(crate) round: usize,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time per request in microseconds.
    pub(crate) cpu_us: CpuPerRequest,
    pub(crate) peak_memory_bytes: u64,
    /// Redis commands, warm-up included, and the requests that caused them.
    pub(crate) redis_commands: BTreeMap<String, u64>,
    pub(crate) all_requests: u64,
    /// CPU time of other processes, as a share of the machine.
    pub(crate) elsewhere: f64,
}

/// CPU time per request in microseconds, by process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CpuPerRequest {
    pub(crate) subject: f64,
    pub(crate) upstream: f64,
    pub(crate) redis: Option<f64>,
    pub(crate) generator: f64,
}

/// A round that did not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invalid {
    pub(crate) subject: String,
    pub(crate) connections: usize,
    pub(crate) round: usize,
    pub(crate) reason: String,
}

/// Of one figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

// === impl Results ===

impl Results {
    /// One subject's rounds at so many connections, in their order.
    pub(crate) fn rounds(&self, subject: &str, connections: usize) -> Vec<&Measured> {
        let fits = |measured: &&Measured| measured.subject == subject && measured.connections == connections;
        let mut rounds: Vec<_> = self.measured.iter().filter(fits).collect();
        rounds.sort_by_key(|measured| measured.round);
        rounds
    }

    /// A figure of one subject over its rounds; `None` if it was not measured.
    pub(crate) fn spread(
        &self,
        subject: &str,
        connections: usize,
        figure: impl Fn(&Measured) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.rounds(subject, connections).into_iter().map(figure))
    }

    /// The largest share of the machine that others had in any round.
    pub(crate) fn worst_elsewhere(&self) -> f64 {
        let latency = self.latency.iter().flat_map(|latency| &latency.rounds).map(|round| round.elsewhere);
        self.measured.iter().map(|measured| measured.elsewhere).chain(latency).fold(0.0, f64::max)
    }
}

// === impl Spread ===

impl Spread {
    /// `None` without values. The median of an even number of values is the middle of the two in the middle.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { median: (low + high) / 2.0, min, max })
    }
}

/// Results as tests need them.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// Of 64 connections, with this CPU time per request.
    pub(crate) fn measured(subject: &str, round: usize, cpu: f64, per_second: f64) -> Measured {
        Measured {
            subject: subject.to_owned(),
            connections: 64,
            round,
            requests: 1000,
            requests_per_second: per_second,
            p50_us: 1.0,
            p99_us: 2.0,
            cpu_us: CpuPerRequest { subject: cpu, ..CpuPerRequest::default() },
            peak_memory_bytes: 1,
            redis_commands: BTreeMap::new(),
            all_requests: 1000,
            elsewhere: 0.0,
        }
    }

    /// At 64 connections.
    pub(crate) fn results(measured: Vec<Measured>) -> Results {
        Results {
            format: 1,
            machine: crate::machine::Machine::look(&[]),
            settings: Settings {
                rounds: 3,
                duration_seconds: 1.0,
                warmup_seconds: 0.0,
                connections: vec![64],
                keys: 10,
                upstream: "nginx".to_owned(),
                profile: "dev".to_owned(),
            },
            left_out: BTreeMap::new(),
            measured,
            invalid: Vec::new(),
            latency: None,
            sql: None,
            verdicts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one_or_between_the_middle_two() {
        let spread = Spread::of([5.0, 1.0, 9.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (5.0, 1.0, 9.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([7.0]).unwrap().median, 7.0);
        assert_eq!(Spread::of([]), None);
    }
}
