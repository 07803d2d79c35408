//! The gate of one external resource: how many calls are under way, how many may wait, whether it is alive.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agw_telemetry::{Histogram, Metrics, ResourceLabels};
use agw_wire::{CallError, Code, Retry};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::breaker::{Breaker, BreakerState};
use crate::call::cancelled;
use crate::faults::{FaultPolicy, Faults};
use crate::queue::{LineId, Place, Queue};

/// Bounds on the calls of one resource.
#[derive(Clone, Copy, Debug)]
pub struct ResourcePolicy {
    /// Calls under way at once, over all workers.
    pub in_flight_max: usize,
    /// Calls of each plugin that may wait for a place; more are `overloaded`.
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
    queue: Queue,
    pub(crate) breaker: Breaker,
    pub(crate) faults: Option<Faults>,
    pub(crate) queue_seconds: Histogram,
}

// === impl Resource ===

impl Resource {
    /// A gate with every place free and the breaker closed.
    pub fn new(name: impl Into<String>, policy: ResourcePolicy, metrics: &Metrics) -> Arc<Self> {
        Resource::with_faults(name, policy, None, metrics)
    }

    /// The same with faults that befall a share of its calls, which the log says.
    pub fn with_faults(
        name: impl Into<String>,
        policy: ResourcePolicy,
        faults: Option<FaultPolicy>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let name = name.into();
        if let Some(FaultPolicy { share_percent, .. }) = faults {
            tracing::warn!(
                resource.name = name,
                "faults are injected into {share_percent} per cent of the calls"
            );
        }
        let labels = ResourceLabels { resource: name.clone() };
        let gauge = metrics.breaker_state.get_or_create(&labels).clone();
        Arc::new(Resource {
            breaker: Breaker::new(&name, &policy, gauge),
            queue_seconds: metrics.stages(&name, "gate").queue,
            faults: faults.map(|faults| Faults::new(&name, faults, metrics)),
            queue: Queue::new(policy.in_flight_max.max(1)),
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

    /// The faults that befall a share of its calls.
    pub fn faults(&self) -> Option<FaultPolicy> {
        self.faults.as_ref().map(|faults| faults.policy)
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.queue.in_use()
    }

    /// Calls that wait for a place.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
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

    /// Where the calls of a plugin wait for a place.
    pub(crate) fn line(&self, plugin: &str, share_percent: u32) -> LineId {
        self.queue.line(plugin, share_percent, self.policy.waiters_max)
    }

    /// A place, if the plugin need not wait for one.
    pub(crate) fn try_place(&self, line: LineId) -> Option<Place<&Queue>> {
        Place::try_take(&self.queue, line)
    }

    /// A place, in the plugin's turn. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// `overloaded` when too many of the plugin's calls wait already, `timeout_queue` at the deadline, `cancelled`.
    pub(crate) async fn wait_for_place(
        &self,
        line: LineId,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Place<&Queue>, CallError> {
        tokio::select! {
            // The place first: a call that got one at its deadline shall give it back by running into it.
            biased;
            place = Place::take(&self.queue, line) => place.map_err(|full| overloaded(&full.to_string())),
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

pub(crate) fn overloaded(message: &str) -> CallError {
    CallError::new(Code::Overloaded, message).retry(Retry::Safe)
}

pub(crate) fn timed_out_in_queue() -> CallError {
    CallError::new(Code::TimeoutQueue, "the deadline passed before the call got a place").retry(Retry::Safe)
}
