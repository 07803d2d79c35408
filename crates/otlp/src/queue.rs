//! Between the workers and the exporter: bounded, and never waited for.

use agw_telemetry::{Counter, Metrics, Span, SpanSink, TraceSpanLabels};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// Where spans wait.
pub(crate) type Waiting = mpsc::Receiver<Span>;

/// What becomes of spans.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes {
    pub(crate) exported: Counter,
    pub(crate) dropped: Counter,
    pub(crate) failed: Counter,
}

/// The workers' end.
struct Queue {
    spans: mpsc::Sender<Span>,
    dropped: Counter,
}

impl Outcomes {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter =
            |outcome| metrics.trace_spans.get_or_create(&TraceSpanLabels { outcome }).clone() as Counter;
        Outcomes { exported: counter("exported"), dropped: counter("dropped"), failed: counter("failed") }
    }
}

impl SpanSink for Queue {
    fn take(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}

/// A queue with room for so many spans.
pub(crate) fn queue(max: usize, outcomes: &Outcomes) -> (impl SpanSink + use<>, Waiting) {
    let (spans, waiting) = mpsc::channel(max.max(1));
    (Queue { spans, dropped: outcomes.dropped.clone() }, waiting)
}

/// Moves what waits into `batch`, as long as that has room. False: nothing will come any more.
pub(crate) fn fill(batch: &mut Vec<Span>, waiting: &mut Waiting, max: usize) -> bool {
    while batch.len() < max {
        match waiting.try_recv() {
            Ok(span) => batch.push(span),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
    true
}
