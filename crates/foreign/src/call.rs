//! One call on its way: the breaker, the bounds, the backend, the answer's bytes.

use std::sync::Arc;

use agw_telemetry::Stage;
use agw_wire::{CallError, Code};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::{BackendFuture, ContextKey, Reply};
use crate::breaker::{self, BreakerState};
use crate::grant::{Grant, PluginGate};
use crate::resource::{overloaded, timed_out_in_queue};
use crate::span::Traced;

/// A call whose checks are done.
pub(crate) struct Call {
    pub(crate) gate: Arc<PluginGate>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) backend: BackendFuture,
    pub(crate) context: ContextKey,
    pub(crate) cancel: CancellationToken,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Its span, if its request is recorded.
    pub(crate) traced: Option<Box<Traced>>,
}

// === impl Call ===

impl Call {
    /// Runs the call to its end and gives the bytes of its [`Response`].
    ///
    /// # Cancel safety
    /// Dropping the future gives back the plugin's and the resource's place and drops the backend's future; the
    /// breaker and the metrics do not hear of the call.
    pub(crate) async fn run(mut self) -> Vec<u8> {
        let outcome = self.execute().await;
        if let Some(traced) = self.traced.take() {
            traced.end(&self.gate, &self.grant, self.started, outcome.as_ref().err());
        }
        self.grant.end(&self.gate, self.started, &outcome)
    }

    async fn execute(&mut self) -> Result<Reply, CallError> {
        let resource = &*self.grant.resource;
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let ticket = resource.breaker.admit()?;
        // The plugin's bound before the resource's, so that a place that many compete for is never held in vain.
        let _own = self.gate.calls.enter().ok_or_else(|| {
            overloaded("this plugin has as many calls under way as it may have (limits.foreign_calls)")
        })?;
        let mut begun = self.started;
        let line = self.grant.line;
        let _place = match resource.try_place(line) {
            Some(place) => {
                resource.queue_seconds.observe(0.0);
                place
            }
            None => {
                let place = resource.wait_for_place(line, self.deadline, &self.cancel).await;
                begun = Instant::now();
                resource.queue_seconds.observe((begun - self.started).as_secs_f64());
                if let Some(traced) = &self.traced {
                    traced.call.add(Stage::Queue, begun - self.started);
                }
                let place = place?;
                // It may have opened meanwhile; whoever waited need not find out by a timeout.
                if resource.breaker_state() == BreakerState::Open && !ticket.is_probe() {
                    return Err(breaker::refused());
                }
                if begun >= self.deadline {
                    return Err(timed_out_in_queue());
                }
                place
            }
        };
        let outcome = match resource.faults.as_ref().filter(|faults| faults.draw()) {
            None => tokio::select! {
                biased;
                outcome = &mut self.backend => outcome,
                () = self.cancel.cancelled() => Err(cancelled()),
            },
            Some(faults) => {
                let end = || self.grant.granted.context_ended(self.context);
                let outcome = Box::pin(faults.befall(&mut self.backend, self.deadline, end));
                tokio::select! {
                    biased;
                    outcome = outcome => outcome,
                    () = self.cancel.cancelled() => Err(cancelled()),
                }
            }
        };
        ticket.settle(&outcome, || begun.elapsed());
        outcome
    }
}

pub(crate) fn cancelled() -> CallError {
    CallError::new(Code::Cancelled, "the call was taken back, or its stream has ended")
}
