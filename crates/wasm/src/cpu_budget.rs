//! How long a callback may compute. Time in which the guest is suspended does not count.
//!
//! The epoch's ticks are wall time, which is cheap to compare with: a guest that ends within the first half of its
//! budget by the clock, as nearly all do, costs no system call. One that does not is measured from then on by its
//! thread's CPU time, so that a busy machine, where the thread waits for a processor, does not trap a healthy guest.
//! So a guest traps after between half of its budget and all of it, in CPU time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::limits::TICK;

/// The budget of the callback that runs.
pub(crate) struct CpuBudget {
    clock: Arc<AtomicU64>,
    half: Duration,
    half_ticks: u64,
    ends_at: u64,
    measured: Option<Measured>,
}

/// CPU time since the first half had passed by the clock.
#[derive(Clone, Copy)]
struct Measured {
    used: Duration,
    /// The thread's CPU time when `used` was brought up to date.
    at: Duration,
}

/// What was left when the guest was suspended.
#[derive(Clone, Copy)]
pub(crate) struct Suspended {
    ticks: u64,
    thread_time: Option<Duration>,
}

impl CpuBudget {
    /// `clock` counts the epoch's ticks.
    pub(crate) fn new(clock: Arc<AtomicU64>, time: Duration) -> Self {
        let half = time / 2;
        // One more, because the current tick has begun already.
        let half_ticks = u64::try_from(half.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX / 4) + 1;
        CpuBudget { clock, half, half_ticks, ends_at: 0, measured: None }
    }

    /// A callback begins: ticks until [`CpuBudget::go_on`] is to be asked.
    pub(crate) fn begin(&mut self) -> u64 {
        self.measured = None;
        self.ends_at = self.now() + self.half_ticks;
        self.half_ticks
    }

    /// Those ticks have passed: whether the guest may have another one.
    pub(crate) fn go_on(&mut self) -> bool {
        self.ends_at = self.now() + 1;
        self.measure(thread_time())
    }

    /// To be called when the guest is suspended; it tells what is left.
    pub(crate) fn watch(&self) -> impl Fn() -> Suspended + Send + 'static {
        let (clock, ends_at, measures) = (self.clock.clone(), self.ends_at, self.measured.is_some());
        move || Suspended {
            ticks: ends_at.saturating_sub(clock.load(Ordering::Relaxed)),
            thread_time: measures.then(thread_time),
        }
    }

    /// The guest goes on with what was left: ticks until [`CpuBudget::go_on`] is to be asked, or `None` if nothing
    /// is left.
    pub(crate) fn resume(&mut self, suspended: Suspended) -> Option<u64> {
        let used_up = suspended.thread_time.is_some_and(|time| !self.measure(time));
        if used_up {
            return None;
        }
        // Asking for the thread's time is a system call: most guests are far from needing it.
        match &mut self.measured {
            Some(measured) => measured.at = thread_time(),
            None if suspended.ticks == 0 => {
                self.measured = Some(Measured { used: Duration::ZERO, at: thread_time() });
            }
            None => {}
        }
        let ticks = suspended.ticks.max(1);
        self.ends_at = self.now() + ticks;
        Some(ticks)
    }

    /// Whether there is time left; the first measurement only begins to count.
    fn measure(&mut self, thread_time: Duration) -> bool {
        let measured = match self.measured {
            None => Measured { used: Duration::ZERO, at: thread_time },
            Some(Measured { used, at }) => {
                Measured { used: used + thread_time.saturating_sub(at), at: thread_time }
            }
        };
        self.measured = Some(measured);
        measured.used < self.half
    }

    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }
}

/// CPU time of this thread, on which the guest runs.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(milliseconds: u64) -> (CpuBudget, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(7));
        (CpuBudget::new(clock.clone(), Duration::from_millis(milliseconds)), clock)
    }

    fn burn(time: Duration) {
        let start = thread_time();
        while thread_time() - start < time {}
    }

    #[test]
    fn a_thread_that_only_waited_for_a_processor_goes_on() {
        let (mut budget, clock) = budget(20);
        budget.begin();
        for _ in 0..100 {
            clock.fetch_add(1, Ordering::Relaxed);
            assert!(budget.go_on());
        }
    }

    #[test]
    fn a_guest_that_computes_is_stopped_and_the_next_callback_has_its_whole_budget() {
        let (mut budget, _) = budget(4);
        budget.begin();
        assert!(budget.go_on());
        burn(Duration::from_millis(3));
        assert!(!budget.go_on());
        budget.begin();
        assert!(budget.go_on());
    }

    #[test]
    fn suspensions_are_free_and_do_not_renew_the_budget() {
        let (mut budget, clock) = budget(100);
        let half = budget.begin();
        clock.fetch_add(half - 1, Ordering::Relaxed);
        let suspended = budget.watch()();
        clock.fetch_add(1000, Ordering::Relaxed);
        assert_eq!(budget.resume(suspended), Some(1), "what was left of the first half");
        clock.fetch_add(5, Ordering::Relaxed);
        let suspended = budget.watch()();
        assert_eq!(budget.resume(suspended), Some(1));
        assert!(budget.measured.is_some(), "from here on CPU time counts");
        burn(Duration::from_millis(51));
        let suspended = budget.watch()();
        burn(Duration::from_millis(10));
        assert_eq!(budget.resume(suspended), None);
    }
}
