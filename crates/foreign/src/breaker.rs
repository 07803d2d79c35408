//! The circuit breaker: a dead server costs microseconds, not a timeout each.
//!
//! Closed, it counts failures in a row. At the policy's number it opens: calls are refused at once, but for one
//! probe in each interval. The first success closes it. All state is in atomics; the closed path is one load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use agw_telemetry::Gauge;
use agw_wire::{CallError, Code, Retry};
use tokio::time::Instant;

use crate::backend::Reply;
use crate::resource::ResourcePolicy;

/// A timeout says something of the server only if the server had this long. A plugin that asks for shorter
/// deadlines must not be able to open the breaker for everybody else.
pub const TELLING_TIMEOUT: Duration = Duration::from_millis(10);

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They are refused, but for the probes.
    Open,
}

/// Says of one server whether calls are worth it, by what they came to: closed, they pass; after so many failures in a row
/// it opens, and they are refused but for one probe in each interval; the first success closes it.
pub struct Breaker {
    failures_max: u32,
    probe_interval: Duration,
    counts_timeout_io: bool,
    /// What the times below count from.
    epoch: Instant,
    failures: AtomicU32,
    /// 0: closed. Else open, and the next probe may go this many nanoseconds after `epoch`.
    next_probe: AtomicU64,
    /// Counts those that are open. A resource that is made anew has two breakers for a moment, and one gauge.
    gauge: Gauge,
    resource: String,
    /// One server of several, where it is of one.
    node: Option<String>,
}

/// The breaker's permission for one call. Dropped unsettled, it tells nothing of the server; if it was a probe,
/// the next call may probe in its stead.
pub struct Ticket<'a> {
    breaker: &'a Breaker,
    probe: bool,
    settled: bool,
}

// === impl Breaker ===

impl Breaker {
    pub(crate) fn new(resource: &str, policy: &ResourcePolicy, gauge: Gauge) -> Self {
        Breaker {
            failures_max: policy.breaker_failures.max(1),
            probe_interval: policy.breaker_probe_interval,
            counts_timeout_io: policy.breaker_counts_timeout_io,
            epoch: Instant::now(),
            failures: AtomicU32::new(0),
            next_probe: AtomicU64::new(0),
            gauge,
            resource: resource.to_owned(),
            node: None,
        }
    }

    /// That of one server of several, `node` in the log, beside that of the resource: it opens after `failures` in a row, and lets a probe
    /// through in each `probe_interval`.
    pub fn of_node(resource: &str, node: String, failures: u32, probe_interval: Duration) -> Self {
        Breaker {
            node: Some(node),
            failures_max: failures.max(1),
            probe_interval,
            counts_timeout_io: true,
            epoch: Instant::now(),
            failures: AtomicU32::new(0),
            next_probe: AtomicU64::new(0),
            gauge: Gauge::default(),
            resource: resource.to_owned(),
        }
    }

    /// Whether calls pass.
    pub fn state(&self) -> BreakerState {
        if self.next_probe.load(Ordering::Relaxed) == 0 { BreakerState::Closed } else { BreakerState::Open }
    }

    /// Permission for one call.
    ///
    /// # Errors
    /// `circuit_open`, unless the breaker is closed or this call is the interval's probe.
    pub fn admit(&self) -> Result<Ticket<'_>, CallError> {
        let due = self.next_probe.load(Ordering::Acquire);
        if due == 0 {
            return Ok(Ticket { breaker: self, probe: false, settled: false });
        }
        let now = self.nanos(Instant::now());
        // Race window: several workers may see the same due time; the exchange lets exactly one of them through.
        // If the breaker closes or opens anew in between, the exchange fails and this call is refused, which is
        // what it would have been a moment earlier.
        let next = now.saturating_add(self.probe_interval.as_nanos() as u64);
        if now < due
            || self.next_probe.compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Err(refused());
        }
        Ok(Ticket { breaker: self, probe: true, settled: false })
    }

    fn succeeded(&self) {
        // A plain load first: under load every worker comes by here, and a store would pass the line around.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.next_probe.load(Ordering::Relaxed) != 0 && self.next_probe.swap(0, Ordering::AcqRel) != 0 {
            self.gauge.dec();
            tracing::info!(
                resource.name = self.resource,
                node = self.node,
                "the resource answers again; its breaker closes"
            );
        }
    }

    fn failed(&self, code: Code) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < self.failures_max {
            return;
        }
        let next = self.nanos(Instant::now() + self.probe_interval);
        if self.next_probe.compare_exchange(0, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.gauge.inc();
            tracing::warn!(
                resource.name = self.resource,
                node = self.node,
                code = code.as_str(),
                failures,
                "the resource failed too often in a row; its breaker opens"
            );
        }
    }

    /// A failure of the server itself. `auth` is not one: such calls fail fast anyway, and `auth` tells the operator
    /// more than `circuit_open`.
    ///
    /// `unavailable` and `server` count only with [`Retry::Safe`]: the server could not be reached, or says "not now".
    /// With [`Retry::IfIdempotent`] a connection was lost under a call, which proves nothing yet: the gateway itself
    /// may have thrown it away, as when another plugin's reply was too large. If the server is gone, the next calls
    /// say so. A refusal with a kind (a deadlock) is an answer of a server in good health. `timeout_queue` never
    /// counts: whatever the call waited for was the gateway's.
    fn is_failure(&self, error: &CallError, took: impl FnOnce() -> Duration) -> bool {
        match error.code {
            Code::Unavailable | Code::Server => error.retry == Retry::Safe && error.kind.is_none(),
            Code::TimeoutIo => self.counts_timeout_io && took() >= TELLING_TIMEOUT,
            Code::TimeoutConnect => took() >= TELLING_TIMEOUT,
            _ => false,
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        // 584 years fit; 1 keeps a due time apart from "closed".
        (at.saturating_duration_since(self.epoch).as_nanos() as u64).max(1)
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if self.state() == BreakerState::Open {
            self.gauge.dec();
        }
    }
}

// === impl Ticket ===

impl Ticket<'_> {
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Takes the backend's outcome into account; `took` is how long the backend had, asked for only if that matters.
    pub(crate) fn settle(self, outcome: &Result<Reply, CallError>, took: impl FnOnce() -> Duration) {
        match outcome {
            // No server replies with nothing: the gateway has answered by itself, as when a lease is given back.
            Ok(reply) if reply.bytes().is_empty() => {}
            Ok(_) => self.succeeded(),
            Err(error) => self.told(error, took),
        }
    }

    /// The server has answered the call.
    pub fn succeeded(mut self) {
        self.breaker.succeeded();
        self.settled = true;
    }

    /// The call has come to this error, after this time.
    pub fn failed(self, error: &CallError, took: Duration) {
        self.told(error, || took);
    }

    fn told(mut self, error: &CallError, took: impl FnOnce() -> Duration) {
        if self.breaker.is_failure(error, took) {
            self.breaker.failed(error.code);
        } else if error.code == Code::Server {
            self.breaker.succeeded();
        } else {
            // Denied, too large, cancelled ...: not a word on the server's health. A probe passes to the next call.
            return;
        }
        self.settled = true;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.probe || self.settled {
            return;
        }
        let due = self.breaker.next_probe.load(Ordering::Relaxed);
        if due != 0 {
            let now = self.breaker.nanos(Instant::now());
            // If another call has closed or moved it meanwhile, that newer word stands.
            let _ = self.breaker.next_probe.compare_exchange(due, now, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

pub(crate) fn refused() -> CallError {
    CallError::new(
        Code::CircuitOpen,
        "the resource has failed just now; calls are refused until a probe succeeds",
    )
    .retry(Retry::Safe)
}

#[cfg(test)]
mod tests {
    use agw_wire::Kind;
    use bytes::Bytes;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_millis(50);

    fn policy(failures: u32) -> ResourcePolicy {
        ResourcePolicy {
            in_flight_max: 1,
            waiters_max: 1,
            call_timeout: LONG,
            call_timeout_max: LONG,
            request_bytes_max: 1,
            breaker_failures: failures,
            breaker_probe_interval: INTERVAL,
            breaker_counts_timeout_io: true,
        }
    }

    fn breaker(failures: u32) -> Breaker {
        Breaker::new("limits", &policy(failures), Gauge::default())
    }

    fn answered() -> Result<Reply, CallError> {
        Ok(Reply::resp(Bytes::from_static(b"+OK\r\n"), 0))
    }

    fn failed(code: Code) -> Result<Reply, CallError> {
        Err(CallError::new(code, ""))
    }

    fn unreachable() -> Result<Reply, CallError> {
        Err(CallError::new(Code::Unavailable, "").retry(Retry::Safe))
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().settle(&unreachable(), || LONG);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_at_the_configured_number_of_failures_in_a_row() {
        let breaker = breaker(3);
        fail(&breaker, 2);
        breaker.admit().unwrap().settle(&answered(), || LONG);
        fail(&breaker, 2);
        assert_eq!(breaker.state(), BreakerState::Closed, "the success in between counts");
        fail(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.gauge.get(), 1);
        assert_eq!(breaker.admit().err().unwrap().code, Code::CircuitOpen);
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_goes_out_in_each_interval() {
        let breaker = breaker(1);
        fail(&breaker, 1);
        for _ in 0..3 {
            tokio::time::advance(INTERVAL).await;
            let probe = breaker.admit().unwrap();
            assert!(probe.is_probe());
            assert!(breaker.admit().is_err(), "only one");
            probe.settle(&failed(Code::TimeoutIo), || LONG);
            assert!(breaker.admit().is_err(), "not before the next interval");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_succeeds_closes_it() {
        let breaker = breaker(1);
        fail(&breaker, 1);
        tokio::time::advance(INTERVAL).await;
        breaker.admit().unwrap().settle(&answered(), || LONG);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.gauge.get(), 0);
        assert!(!breaker.admit().unwrap().is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_it_is_open_is_shown_as_open_no_longer() {
        let gauge = Gauge::default();
        let old = Breaker::new("limits", &policy(1), gauge.clone());
        fail(&old, 1);
        let new = Breaker::new("limits", &policy(1), gauge.clone());
        assert_eq!(gauge.get(), 1, "the old one still refuses calls");
        fail(&new, 1);
        drop(old);
        assert_eq!(gauge.get(), 1, "the new one does");
        drop(new);
        assert_eq!(gauge.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_was_dropped_passes_to_the_next_call() {
        let breaker = breaker(1);
        fail(&breaker, 1);
        tokio::time::advance(INTERVAL).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().unwrap().is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_success_of_an_older_call_closes_it() {
        let breaker = breaker(1);
        let older = breaker.admit().unwrap();
        fail(&breaker, 1);
        older.settle(&answered(), || LONG);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_of_the_server_neither_opens_nor_closes_it() {
        let breaker = breaker(1);
        for code in
            [Code::Denied, Code::Invalid, Code::TooLarge, Code::Cancelled, Code::TimeoutQueue, Code::Auth]
        {
            breaker.admit().unwrap().settle(&failed(code), || LONG);
            assert_eq!(breaker.state(), BreakerState::Closed, "{code}");
        }
        let impatient = Duration::from_millis(1);
        breaker.admit().unwrap().settle(&failed(Code::TimeoutIo), || impatient);
        assert_eq!(breaker.state(), BreakerState::Closed, "a deadline of 1 ms proves nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_reply_or_a_lost_connection_counts_only_if_it_says_not_now() {
        let breaker = breaker(1);
        // What neighbours of a call get for which the gateway threw their connection away.
        let lost = CallError::new(Code::Unavailable, "").retry(Retry::IfIdempotent);
        breaker.admit().unwrap().settle(&Err(lost), || LONG);
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.admit().unwrap().settle(&failed(Code::Server), || LONG);
        assert_eq!(breaker.state(), BreakerState::Closed);
        let loading = CallError::new(Code::Server, "").server_code("LOADING").retry(Retry::Safe);
        breaker.admit().unwrap().settle(&Err(loading), || LONG);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_statements_and_deadlocks_are_no_failures_of_a_sql_server() {
        let policy = ResourcePolicy { breaker_counts_timeout_io: false, ..policy(1) };
        let breaker = Breaker::new("users", &policy, Gauge::default());
        breaker.admit().unwrap().settle(&failed(Code::TimeoutIo), || LONG);
        let deadlock = CallError::new(Code::Server, "").kind(Kind::Deadlock).retry(Retry::Safe);
        breaker.admit().unwrap().settle(&Err(deadlock), || LONG);
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.admit().unwrap().settle(&failed(Code::TimeoutConnect), || LONG);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_a_reply_says_nothing_of_the_server() {
        let breaker = breaker(2);
        let gave_back = Ok(Reply::resp(Bytes::new(), 0));
        fail(&breaker, 1);
        breaker.admit().unwrap().settle(&gave_back, || LONG);
        fail(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open, "it is not a success between two failures");
        tokio::time::advance(INTERVAL).await;
        breaker.admit().unwrap().settle(&gave_back, || LONG);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit().unwrap().is_probe(), "the next call probes in its stead");
    }

    #[test]
    fn many_threads_at_once_get_one_probe() {
        let breaker = breaker(1);
        fail(&breaker, 1);
        breaker.next_probe.store(1, Ordering::SeqCst);
        let probes = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    if let Ok(probe) = breaker.admit() {
                        probes.fetch_add(1, Ordering::SeqCst);
                        probe.settle(&unreachable(), || LONG);
                    }
                });
            }
        });
        assert_eq!(probes.into_inner(), 1);
    }
}
