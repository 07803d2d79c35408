//! How long to wait before the next attempt to connect.

use std::time::Duration;

use tokio::time::Instant;

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

/// Bounds the connections that are opened at once after the gateway threw one away: [`Allowance::BURST`] in a row,
/// and one in each [`Allowance::INTERVAL`] in the long run.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// When everything taken so far has been earned again.
    earned: Instant,
}

// === impl Allowance ===

impl Allowance {
    const BURST: u32 = 10;
    const INTERVAL: Duration = Duration::from_millis(100);

    pub(crate) fn new() -> Self {
        Allowance { earned: Instant::now() }
    }

    /// Takes one, and says how long to wait before it may be used.
    pub(crate) fn take(&mut self) -> Duration {
        let now = Instant::now();
        self.earned = self.earned.max(now) + Self::INTERVAL;
        self.earned.saturating_duration_since(now + Self::INTERVAL * Self::BURST)
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

    #[tokio::test(start_paused = true)]
    async fn ten_are_allowed_at_once_and_ten_a_second_from_then_on() {
        let mut allowance = Allowance::new();
        for _ in 0..10 {
            assert_eq!(allowance.take(), Duration::ZERO);
        }
        let begun = Instant::now();
        for _ in 0..20 {
            tokio::time::sleep(allowance.take()).await;
        }
        assert_eq!(begun.elapsed().as_secs(), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        let at_once = (0..100).take_while(|_| allowance.take().is_zero()).count();
        assert_eq!(at_once, 10, "rest earns no more than that");
    }
}
