//! What a generator is told, and what it tells.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// The line that a generator prints when its warm-up is over and counting begins.
pub(crate) const OPEN: &str = "window open";
/// The line that it prints when it has stopped counting; what is under way still comes in.
pub(crate) const CLOSED: &str = "window closed";

/// A load. It travels as JSON on the generator's command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Whom to ask.
    pub(crate) address: SocketAddr,
    /// Path of every request.
    pub(crate) path: String,
    /// Kept connections.
    pub(crate) connections: usize,
    /// How many values the header `x-api-key` takes, one after the other.
    pub(crate) keys: usize,
    /// Load that is not counted.
    pub(crate) warmup: Duration,
    /// Load that is.
    pub(crate) duration: Duration,
    /// Requests per second; without it, each connection asks again as soon as it has its answer.
    pub(crate) rate: Option<f64>,
}

/// What came of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Answers within the window.
    pub(crate) requests: u64,
    /// Answers in all, warm-up and last ones included.
    pub(crate) all_requests: u64,
    /// Length of the window.
    pub(crate) seconds: f64,
    /// Median latency in microseconds.
    pub(crate) p50_us: f64,
    /// The latency that 99 of 100 stay within.
    pub(crate) p99_us: f64,
    /// The longest.
    pub(crate) longest_us: f64,
    /// What makes the round invalid.
    pub(crate) failures: Failures,
}

/// What must not happen in a valid round, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failures {
    /// Answers of another status than 2xx.
    pub(crate) statuses: u64,
    /// Connections that broke, or carried what is no answer.
    pub(crate) sockets: u64,
    /// Requests without an answer in time.
    pub(crate) timeouts: u64,
    /// Requests that a paced load could not send because too many were waiting.
    pub(crate) unsent: u64,
    /// What the first of them was.
    pub(crate) first: Option<String>,
}

// === impl Report ===

impl Report {
    pub(crate) fn new(
        histogram: &Histogram,
        all_requests: u64,
        window: Duration,
        failures: Failures,
    ) -> Self {
        Report {
            requests: histogram.count(),
            all_requests,
            seconds: window.as_secs_f64(),
            p50_us: microseconds(histogram.quantile(0.5)),
            p99_us: microseconds(histogram.quantile(0.99)),
            longest_us: microseconds(histogram.longest()),
            failures,
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds.max(f64::EPSILON)
    }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

// === impl Failures ===

impl Failures {
    /// Keeps what the first failure was.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }

    /// In one line, or `None` if there was none.
    pub(crate) fn summary(&self) -> Option<String> {
        let kinds = [
            (self.statuses, "answers that are not 2xx"),
            (self.sockets, "broken connections"),
            (self.timeouts, "time-outs"),
            (self.unsent, "requests that found no place to wait"),
        ];
        let told: Vec<_> =
            kinds.iter().filter(|kind| kind.0 > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if told.is_empty() {
            return None;
        }
        let first = self.first.as_deref().unwrap_or("unknown");
        Some(format!("{}; the first: {first}", told.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_has_a_summary() {
        let mut failures = Failures::default();
        assert_eq!(failures.summary(), None);
        failures.statuses = 2;
        failures.note(|| "status 503".to_owned());
        failures.note(|| "another".to_owned());
        assert_eq!(failures.summary().unwrap(), "2 answers that are not 2xx; the first: status 503");
    }
}
