//! Calls per second, with a burst.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// So many calls per second in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub per_second: u32,
    /// Calls that may come at the same moment, after a while without any. At least 1.
    pub burst: u32,
}

/// Holds calls to a [`Rate`], over all workers: the generic cell rate algorithm, whose whole state is one time.
pub(crate) struct RateLimit {
    /// Nanoseconds that a call is worth.
    interval: u64,
    /// How far ahead of time calls may be.
    ahead_max: u64,
    /// What the time below counts from.
    epoch: Instant,
    /// When everything that was admitted will have been earned, in nanoseconds.
    earned: AtomicU64,
}

impl RateLimit {
    pub(crate) fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        let ahead_max = interval * (rate.burst.max(1) - 1);
        RateLimit {
            interval: nanos(interval),
            ahead_max: nanos(ahead_max),
            epoch: Instant::now(),
            earned: AtomicU64::new(0),
        }
    }

    /// Admits a call, or says how long to wait until one would be. A call that is refused costs nothing.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let now = nanos(now.saturating_duration_since(self.epoch));
        let ahead = |earned: u64| earned.saturating_sub(now);
        let admit = |earned: u64| {
            let admitted = ahead(earned) <= self.ahead_max;
            admitted.then(|| earned.max(now).saturating_add(self.interval))
        };
        match self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit) {
            Ok(_) => Ok(()),
            Err(earned) => Err(Duration::from_nanos(ahead(earned) - self.ahead_max)),
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(limit: &RateLimit, calls: usize) -> usize {
        (0..calls).filter(|_| limit.admit(Instant::now()).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_passes_at_once_and_the_rate_from_then_on() {
        let limit = RateLimit::new(Rate { per_second: 10, burst: 5 });
        assert_eq!(admitted(&limit, 100), 5);
        for _ in 0..20 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert_eq!(admitted(&limit, 100), 1);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(&limit, 100), 5, "rest earns no more than the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_says_when_to_come_again_and_costs_nothing() {
        let limit = RateLimit::new(Rate { per_second: 4, burst: 1 });
        assert_eq!(limit.admit(Instant::now()), Ok(()));
        for _ in 0..100 {
            assert_eq!(limit.admit(Instant::now()), Err(Duration::from_millis(250)));
        }
        tokio::time::advance(Duration::from_millis(249)).await;
        assert_eq!(limit.admit(Instant::now()), Err(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(limit.admit(Instant::now()), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn threads_together_get_no_more_than_the_rate() {
        let limit = RateLimit::new(Rate { per_second: 1, burst: 1000 });
        let passed = AtomicU64::new(0);
        let now = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let count = (0..1000).filter(|_| limit.admit(now).is_ok()).count();
                    passed.fetch_add(count as u64, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(passed.into_inner(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_greatest_numbers_do_not_overflow() {
        let limit = RateLimit::new(Rate { per_second: u32::MAX, burst: u32::MAX });
        assert_eq!(admitted(&limit, 10), 10);
        let limit = RateLimit::new(Rate { per_second: 1, burst: u32::MAX });
        assert_eq!(admitted(&limit, 10), 10);
        let limit = RateLimit::new(Rate { per_second: 0, burst: 0 });
        assert_eq!(admitted(&limit, 10), 1);
    }
}
