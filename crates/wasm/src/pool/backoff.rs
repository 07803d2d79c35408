//! How fast VMs that trap are replaced.

use std::time::Duration;

use tokio::time::Instant;

/// The first trap after a success is replaced at once; each further one waits twice as long as the one before.
#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    max: Duration,
    /// Traps since the last stream that ended well.
    traps: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(base: Duration, max: Duration) -> Self {
        Backoff { base, max, traps: 0, not_before: None }
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.traps = self.traps.saturating_add(1);
        let doublings = self.traps.saturating_sub(2).min(20);
        let wait = if self.traps < 2 { Duration::ZERO } else { (self.base * (1 << doublings)).min(self.max) };
        self.not_before = Some(now + wait);
    }

    pub(super) fn succeeded(&mut self) {
        self.traps = 0;
        self.not_before = None;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.traps > 0
    }

    /// # Errors
    /// How long the next VM has to wait.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        match self.not_before {
            Some(at) if at > now => Err(at - now),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_end_with_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let mut wait = || {
            backoff.failed(now);
            backoff.check(now).err().unwrap_or_default().as_secs()
        };
        assert_eq!([wait(), wait(), wait(), wait(), wait(), wait()], [0, 1, 2, 4, 5, 5]);
        backoff.succeeded();
        assert_eq!(backoff.check(now), Ok(()));
    }
}
