//! How long to wait before the next attempt to connect.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(1);

/// Exponential with full jitter: anything from nothing to a bound that doubles. A thousand gateways that lost the
/// same server do not come back in the same millisecond, and a server that returns is found within [`CAP`].
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next attempt is the first again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = bound(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }
}

fn bound(attempts: u32) -> Duration {
    // 2^5 * 50 ms is over the cap; a higher power might overflow.
    (BASE * (1 << attempts.min(5))).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let bounds: Vec<u128> = (0..8).map(|attempts| bound(attempts).as_millis()).collect();
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(bound(u32::MAX), CAP);
    }

    #[test]
    fn no_wait_is_over_its_bound_and_they_differ() {
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.next();
        }
        let waits: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|wait| *wait <= CAP));
        assert!(waits.iter().any(|wait| *wait < CAP / 2) && waits.iter().any(|wait| *wait > CAP / 2));
        backoff.reset();
        assert!(backoff.next() <= BASE);
    }
}
