//! One plugin's grant of one resource: its bounds, and what becomes of its calls in the metrics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use agw_telemetry::{Counter, Histogram, Metrics, OperationLabels, RejectLabels};
use agw_wire::{CallError, Code, Response};
use tokio::time::Instant;

use crate::backend::{GrantedResource, Reply};
use crate::queue::LineId;
use crate::rate::{Rate, RateLimit};
use crate::resource::{Resource, overloaded};

/// What one plugin may have of one resource.
#[derive(Clone, Copy, Debug)]
pub struct GrantBounds {
    /// Of the resource's places for calls under way: at most so many per cent at once, and one at least. While calls of
    /// several plugins wait, each gets places in proportion to its share. From 1 to 100.
    pub share_percent: u32,
    /// Calls per second, over all workers; more are `overloaded`. `None`: as many as there are.
    pub rate: Option<Rate>,
}

/// A plugin's bound over all its calls.
pub(crate) struct PluginGate {
    pub(crate) plugin: String,
    pub(crate) calls: UnderWay,
    /// Calls of one request.
    pub(crate) request_calls_max: u32,
    pub(crate) metrics: Arc<Metrics>,
}

/// Counts calls under way, up to a bound.
pub(crate) struct UnderWay {
    count: AtomicUsize,
    max: usize,
}

/// A call that counts while this lives.
pub(crate) struct Counted<'a>(&'a UnderWay);

/// One resource as one plugin may use it, with the handles of its metrics.
pub(crate) struct Grant {
    pub(crate) resource: Arc<Resource>,
    pub(crate) granted: Arc<dyn GrantedResource>,
    pub(crate) line: LineId,
    rate: Option<RateLimit>,
    /// By what they were refused for.
    rejected: [(&'static str, Counter); REASONS.len()],
    /// By outcome: 0 is `ok`, the others are at their code's number. Made at first use, so that `/metrics` does
    /// not show fourteen empty histograms for every grant.
    seconds: [OnceLock<Histogram>; Code::ALL.len() + 1],
}

/// Why calls are refused before they are sent: codes, and two reasons that share a code with others.
const REASONS: [&str; 6] = [
    Code::Overloaded.as_str(),
    Code::TimeoutQueue.as_str(),
    Code::CircuitOpen.as_str(),
    Code::TooLarge.as_str(),
    RATE,
    REQUEST_CALLS,
];
const RATE: &str = "rate";
const REQUEST_CALLS: &str = "request_calls";

/// What a call is refused with.
pub(crate) struct Refusal {
    pub(crate) error: CallError,
    reason: &'static str,
}

// === impl GrantBounds ===

impl Default for GrantBounds {
    /// All of it.
    fn default() -> Self {
        GrantBounds { share_percent: 100, rate: None }
    }
}

// === impl UnderWay ===

impl UnderWay {
    pub(crate) fn new(max: usize) -> Self {
        UnderWay { count: AtomicUsize::new(0), max }
    }

    /// Counts a call until this is dropped; `None` at the bound.
    pub(crate) fn enter(&self) -> Option<Counted<'_>> {
        let enter = |count| if count < self.max { Some(count + 1) } else { None };
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(Counted(self))
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Refusal ===

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let reason = error.code.as_str();
        Refusal { error, reason }
    }
}

// === impl Grant ===

impl Grant {
    pub(crate) fn new(
        gate: &PluginGate,
        resource: Arc<Resource>,
        granted: Arc<dyn GrantedResource>,
        bounds: GrantBounds,
    ) -> Self {
        let line = resource.line(&gate.plugin, bounds.share_percent);
        let rejected = REASONS.map(|reason| {
            let (resource, plugin) = (resource.name().to_owned(), gate.plugin.clone());
            let labels = RejectLabels { resource, plugin, reason };
            (reason, gate.metrics.pool_rejected.get_or_create(&labels).clone())
        });
        let rate = bounds.rate.map(RateLimit::new);
        Grant { resource, granted, line, rate, rejected, seconds: Default::default() }
    }

    /// Whether the plugin may make this call now: `calls_before` of its request, at this time.
    ///
    /// # Errors
    /// `denied` if the request has made all its calls, `overloaded` if the plugin asks faster than it may.
    pub(crate) fn admit(&self, gate: &PluginGate, calls_before: u32, now: Instant) -> Result<(), Refusal> {
        let max = gate.request_calls_max;
        if calls_before >= max {
            let message = format!(
                "this request has made {calls_before} calls, and the plugin may make {max} for one \
                 (limits.calls_per_request)"
            );
            return Err(Refusal { error: CallError::new(Code::Denied, message), reason: REQUEST_CALLS });
        }
        let admitted = self.rate.as_ref().map_or(Ok(()), |rate| rate.admit(now));
        admitted.map_err(|wait| {
            // Rounded up: whoever comes then is admitted.
            let ms = u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
            let message =
                format!("the plugin asks this resource faster than it may (rate); retry after {ms} ms");
            Refusal { error: overloaded(&message).retry_after_ms(ms), reason: RATE }
        })
    }

    /// Records the end of a call that began at `started`, and gives the bytes of its [`Response`].
    pub(crate) fn end(
        &self,
        gate: &PluginGate,
        started: Instant,
        outcome: &Result<Reply, CallError>,
    ) -> Vec<u8> {
        let code = outcome.as_ref().err().map(|error| error.code);
        self.record(gate, started, code, code.map_or("", Code::as_str));
        match outcome {
            Ok(reply) => reply.encode(),
            Err(error) => Response::from(error.clone()).encode(),
        }
    }

    /// Records a call that was refused at once, and gives what its caller is told.
    pub(crate) fn refused(&self, gate: &PluginGate, started: Instant, refusal: Refusal) -> CallError {
        self.record(gate, started, Some(refusal.error.code), refusal.reason);
        refusal.error
    }

    /// Records the end of a call that began at `started`; `reason` counts if it is one of [`REASONS`].
    fn record(&self, gate: &PluginGate, started: Instant, error: Option<Code>, reason: &str) {
        let outcome = error.map_or("ok", Code::as_str);
        let Some(cell) = self.seconds.get(error.map_or(0, |code| code as usize)) else { return };
        let histogram = cell.get_or_init(|| {
            let labels = OperationLabels {
                resource: self.resource.name().to_owned(),
                plugin: gate.plugin.clone(),
                outcome,
            };
            gate.metrics.operation_seconds.get_or_create(&labels).clone()
        });
        histogram.observe(started.elapsed().as_secs_f64());
        if error.is_some()
            && let Some((_, counter)) = self.rejected.iter().find(|(known, _)| *known == reason)
        {
            counter.inc();
        }
    }
}
