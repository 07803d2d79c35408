//! The gate of one external resource: how many calls are under way, how many may wait, whether it is alive.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agw_telemetry::{Counter, Histogram, Metrics, RejectLabels, ResourceLabels};
use agw_wire::{CallError, Code, Retry};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::breaker::{Breaker, BreakerState};
use crate::call::cancelled;

/// Bounds on the calls of one resource.
#[derive(Clone, Copy, Debug)]
pub struct ResourcePolicy {
    /// Calls under way at once, over all workers.
    pub in_flight_max: usize,
    /// Calls that may wait for a place; more are `overloaded`.
    pub waiters_max: usize,
    /// Deadline of a call that names none.
    pub call_timeout: Duration,
    /// No call may ask for more than this.
    pub call_timeout_max: Duration,
    /// Bytes of one call's payload; more are `too_large`.
    pub request_bytes_max: usize,
    /// Consecutive failures that open the breaker.
    pub breaker_failures: u32,
    /// While it is open, one probe goes out each time this has passed.
    pub breaker_probe_interval: Duration,
    /// Whether a call that had no answer by its deadline counts as a failure of the server. Not where calls decide
    /// themselves how long they take, as SQL does: one plugin's slow statements must not close the resource to others.
    pub breaker_counts_timeout_io: bool,
}

/// The process-wide gate of one external resource. Shared by every plugin and worker.
pub struct Resource {
    name: String,
    policy: ResourcePolicy,
    places: Semaphore,
    places_max: usize,
    waiting: AtomicUsize,
    pub(crate) breaker: Breaker,
    pub(crate) pool_wait_seconds: Histogram,
    rejected: [(Code, Counter); 4],
}

/// Counts a waiter while it lives.
struct Waiter<'a>(&'a AtomicUsize);

// === impl Resource ===

impl Resource {
    /// A gate with every place free and the breaker closed.
    pub fn new(name: impl Into<String>, policy: ResourcePolicy, metrics: &Metrics) -> Arc<Self> {
        let name = name.into();
        let labels = ResourceLabels { resource: name.clone() };
        let gauge = metrics.breaker_state.get_or_create(&labels).clone();
        let places_max = policy.in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        let rejected =
            [Code::Overloaded, Code::TimeoutQueue, Code::CircuitOpen, Code::TooLarge].map(|code| {
                let labels = RejectLabels { resource: name.clone(), reason: code.as_str() };
                (code, metrics.pool_rejected.get_or_create(&labels).clone())
            });
        Arc::new(Resource {
            breaker: Breaker::new(&name, &policy, gauge),
            pool_wait_seconds: metrics.pool_wait_seconds.get_or_create(&labels).clone(),
            places: Semaphore::new(places_max),
            places_max,
            waiting: AtomicUsize::new(0),
            rejected,
            policy,
            name,
        })
    }

    /// The name that plugins use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bounds it was made with.
    pub fn policy(&self) -> &ResourcePolicy {
        &self.policy
    }

    /// Whether calls pass.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.places_max.saturating_sub(self.places.available_permits())
    }

    /// Calls that wait for a place.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The time by which a call that starts now must have ended.
    pub(crate) fn deadline(&self, now: Instant, asked_ms: u32, request: Option<Instant>) -> Instant {
        let span = match asked_ms {
            0 => self.policy.call_timeout,
            ms => Duration::from_millis(ms.into()).min(self.policy.call_timeout_max),
        };
        let own = now.checked_add(span).unwrap_or(now);
        request.map_or(own, |request| own.min(request))
    }

    /// Counts a call that was refused before it was sent; other codes are no refusals of the pool.
    pub(crate) fn count_rejection(&self, code: Code) {
        if let Some((_, counter)) = self.rejected.iter().find(|(reason, _)| *reason == code) {
            counter.inc();
        }
    }

    /// A place, without waiting if one is free: `Ok(None)` means that one has to wait.
    pub(crate) fn try_place(&self) -> Result<Option<SemaphorePermit<'_>>, CallError> {
        match self.places.try_acquire() {
            Ok(place) => Ok(Some(place)),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(overloaded("the resource is being shut down")),
        }
    }

    /// A place, first come, first served. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// `overloaded` when too many wait already, `timeout_queue` at the deadline, `cancelled`.
    pub(crate) async fn wait_for_place(
        &self,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<SemaphorePermit<'_>, CallError> {
        let _waiter = Waiter::enter(&self.waiting, self.policy.waiters_max)
            .ok_or_else(|| overloaded("too many calls wait for this resource already"))?;
        tokio::select! {
            // The place first: a call that got one at its deadline shall give it back by running into it.
            biased;
            place = self.places.acquire() => place.map_err(|_| overloaded("the resource is being shut down")),
            () = cancel.cancelled() => Err(cancelled()),
            () = tokio::time::sleep_until(deadline) => Err(timed_out_in_queue()),
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Waiter ===

impl<'a> Waiter<'a> {
    fn enter(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let enter = |count| if count < max { Some(count + 1) } else { None };
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(Waiter(waiting))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn overloaded(message: &str) -> CallError {
    CallError::new(Code::Overloaded, message).retry(Retry::Safe)
}

pub(crate) fn timed_out_in_queue() -> CallError {
    CallError::new(Code::TimeoutQueue, "the deadline passed before the call got a place").retry(Retry::Safe)
}
