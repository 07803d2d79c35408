//! A foreign call of a request that is recorded, with the times of its stages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::span::Span;
use super::{RequestSpan, new_id};

/// What a call's time goes by with. The same stages as those of [`crate::Stages`], as this one call meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a place or a connection.
    Queue,
    /// Waiting for a connection that is being made.
    Connect,
    /// From the way to the socket to the answer.
    Io,
}

/// One call. Clones are the same call; whoever runs a part of it adds the part's time.
#[derive(Clone)]
pub struct CallTrace(Arc<Timed>);

struct Timed {
    request: Arc<RequestSpan>,
    started: SystemTime,
    /// Nanoseconds, by stage.
    stages: [AtomicU64; 3],
}

/// Adds the time until it is dropped to a call's stage.
pub struct StageTimer {
    call: CallTrace,
    stage: Stage,
    began: Instant,
}

// === impl CallTrace ===

impl CallTrace {
    /// A call for this request begins now.
    pub fn begin(request: &Arc<RequestSpan>) -> Self {
        let request = Arc::clone(request);
        CallTrace(Arc::new(Timed { request, started: SystemTime::now(), stages: Default::default() }))
    }

    /// The stage begins; it ends when what is returned is dropped.
    pub fn time(&self, stage: Stage) -> StageTimer {
        StageTimer { call: self.clone(), stage, began: Instant::now() }
    }

    /// So much more time went by in the stage.
    pub fn add(&self, stage: Stage, time: Duration) {
        if let Some(sum) = self.0.stages.get(stage as usize) {
            sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The time in the stage so far.
    pub fn spent(&self, stage: Stage) -> Duration {
        let sum = self.0.stages.get(stage as usize);
        Duration::from_nanos(sum.map_or(0, |sum| sum.load(Ordering::Relaxed)))
    }

    /// The call has ended after so long. Its stages are among the attributes already.
    pub fn end(&self, took: Duration, made: impl FnOnce(&mut Span)) {
        self.0.request.end_child(new_id(), |span| {
            (span.start, span.duration) = (self.0.started, took);
            span.attributes.put("agw.queue_seconds", self.spent(Stage::Queue));
            span.attributes.put("agw.connect_seconds", self.spent(Stage::Connect));
            span.attributes.put("agw.io_seconds", self.spent(Stage::Io));
            made(span);
        });
    }
}

impl fmt::Debug for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallTrace").field(&self.0.request).finish()
    }
}

impl Drop for StageTimer {
    fn drop(&mut self) {
        self.call.add(self.stage, self.began.elapsed());
    }
}

impl fmt::Debug for StageTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageTimer").field("stage", &self.stage).finish_non_exhaustive()
    }
}
