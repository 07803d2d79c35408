//! Interleaved rounds: each runs every subject once, in rotated order, so that whatever the machine does meets all.

use std::collections::BTreeMap;
use std::time::Duration;

use agw_tests::RedisServer;
use anyhow::{Context, Result};

use crate::apart::{Apart, Side};
use crate::attempts::{Attempt, Attempts};
use crate::commands;
use crate::generator::plan::Plan;
use crate::load::{Load, Observed, Role};
use crate::proc;
use crate::results::{CpuPerRequest, Measured};
use crate::server::Server;
use crate::subjects::{Subject, Surroundings};

/// Different values of `x-api-key`.
pub(crate) const KEYS: usize = 10_000;

/// What stays the same over a run.
#[derive(Debug)]
pub(crate) struct Stage {
    upstream: Server,
    /// `None` on a single processor.
    apart: Option<Apart>,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

// === impl Stage ===

impl Stage {
    /// # Errors
    /// As for [`Apart::of_machine`].
    pub(crate) fn new(upstream: Server, warmup: Duration, duration: Duration) -> Result<Self> {
        Ok(Stage { upstream, apart: Apart::of_machine()?, warmup, duration })
    }

    /// Puts these processes where they belong, and runs the load from the side given.
    ///
    /// # Errors
    /// As for [`Load::run`], and [`Apart::place`].
    pub(crate) fn run(&self, load: &Load, from: Side, watched: &[(Role, u32)]) -> Result<Observed> {
        let Some(apart) = &self.apart else { return load.run(watched) };
        for (role, id) in watched {
            let side = if *role == Role::Subject { Side::Subject } else { Side::Others };
            apart.place(side, *id)?;
        }
        apart.starting(from, || load.run(watched))?
    }

    pub(crate) fn upstream(&mut self) -> &mut Server {
        &mut self.upstream
    }

    /// A load as long as this run's rounds.
    pub(crate) fn plan(
        &self,
        server: &Server,
        path: &str,
        connections: usize,
        rate: Option<f64>,
    ) -> Result<Plan> {
        Ok(Plan {
            address: server.address()?,
            path: path.to_owned(),
            connections,
            keys: KEYS,
            warmup: self.warmup,
            duration: self.duration,
            rate,
        })
    }

    /// One round.
    ///
    /// # Errors
    /// As for [`Attempts::until_valid`].
    pub(crate) fn round(
        &mut self,
        attempts: &mut Attempts,
        subjects: &[Subject],
        connections: usize,
        round: usize,
    ) -> Result<Vec<Measured>> {
        let measure = |subject: &Subject| {
            let measured = attempts.until_valid((subject.name, connections, round), || {
                self.measure(subject, connections, round)
            })?;
            eprintln!(
                "    {:16} {:>8.0} requests/s, {:>6.2} us CPU",
                subject.name, measured.requests_per_second, measured.cpu_us.subject
            );
            Ok(measured)
        };
        rotated(subjects, round - 1).map(measure).collect()
    }

    /// Starts a subject, loads it, ends it.
    pub(crate) fn measure(
        &mut self,
        subject: &Subject,
        connections: usize,
        round: usize,
    ) -> Result<Attempt<Measured>> {
        let redis = if subject.redis { Some(RedisServer::start()?) } else { None };
        let around = Surroundings {
            upstream: self.upstream.address()?,
            redis: redis.as_ref().map(RedisServer::address),
        };
        let mut server = subject.start(&around)?;
        let mut watched = vec![(Role::Subject, server.id()), (Role::Upstream, self.upstream.id())];
        if let Some(redis) = &redis {
            commands::reset(redis)?;
            watched.push((Role::Redis, redis.id().context("this Redis is not ours")?));
        }
        let plan = self.plan(&server, "/", connections, None)?;
        let observed = match self.run(&Load::new("generate", &plan)?, Side::Others, &watched) {
            Ok(observed) => observed,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        if let Some(why) = invalid(&observed) {
            return Ok(Err(why));
        }
        let calls = redis.as_ref().map(commands::calls).transpose()?.unwrap_or_default();
        if redis.is_some() && calls.values().sum::<u64>() < observed.report.all_requests {
            return Ok(Err(format!(
                "{} requests made only these calls: {calls:?}",
                observed.report.all_requests
            )));
        }
        let peak_memory_bytes = proc::peak_memory(server.id())?;
        Ok(Ok(Measured {
            subject: subject.name.to_owned(),
            connections,
            round,
            peak_memory_bytes,
            redis_commands: calls,
            ..measured(&observed)
        }))
    }
}

/// Why a load does not count.
pub(crate) fn invalid(observed: &Observed) -> Option<String> {
    let nothing = || (observed.report.requests == 0).then(|| "not one request was answered".to_owned());
    observed.report.failures.summary().or_else(nothing)
}

/// The figures of a load; what it does not know is empty.
fn measured(observed: &Observed) -> Measured {
    let Observed { report, cpu, elsewhere } = observed;
    let per_request =
        |role| cpu.get(&role).map(|cpu: &Duration| cpu.as_secs_f64() * 1e6 / report.requests as f64);
    Measured {
        subject: String::new(),
        connections: 0,
        round: 0,
        requests: report.requests,
        requests_per_second: report.per_second(),
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        cpu_us: CpuPerRequest {
            subject: per_request(Role::Subject).unwrap_or_default(),
            upstream: per_request(Role::Upstream).unwrap_or_default(),
            redis: per_request(Role::Redis),
            generator: per_request(Role::Generator).unwrap_or_default(),
        },
        peak_memory_bytes: 0,
        redis_commands: BTreeMap::new(),
        all_requests: report.all_requests,
        elsewhere: *elsewhere,
    }
}

/// All items, beginning with another one each time.
pub(crate) fn rotated<T>(items: &[T], by: usize) -> impl Iterator<Item = &T> {
    let from = by % items.len().max(1);
    items[from..].iter().chain(&items[..from])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::plan::{Failures, Report};

    fn observed(report: Report) -> Observed {
        let cpu = BTreeMap::from([
            (Role::Subject, Duration::from_millis(2)),
            (Role::Redis, Duration::from_millis(1)),
        ]);
        Observed { report, cpu, elsewhere: 0.0 }
    }

    #[test]
    fn each_round_begins_with_another_and_has_all() {
        let order = |by| rotated(&[1, 2, 3], by).copied().collect::<Vec<_>>();
        assert_eq!([order(0), order(1), order(5)], [[1, 2, 3], [2, 3, 1], [3, 1, 2]]);
        assert_eq!(rotated(&[0; 0], 3).count(), 0);
    }

    #[test]
    fn cpu_time_is_per_request_of_the_window() {
        let report = Report { requests: 100, all_requests: 150, seconds: 0.5, ..Report::default() };
        let measured = measured(&observed(report));
        assert_eq!(measured.cpu_us.subject, 20.0);
        assert_eq!((measured.cpu_us.redis, measured.cpu_us.upstream), (Some(10.0), 0.0));
        assert_eq!(measured.requests_per_second, 200.0);
    }

    #[test]
    fn one_failure_or_no_answer_makes_a_round_invalid() {
        let good = Report { requests: 100, ..Report::default() };
        assert_eq!(invalid(&observed(good.clone())), None);
        let one = Failures { timeouts: 1, ..Failures::default() };
        assert!(invalid(&observed(Report { failures: one, ..good })).is_some());
        assert!(invalid(&observed(Report::default())).is_some());
    }
}
