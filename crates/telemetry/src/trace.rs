//! Spans of requests: which requests have some, and how they come to whoever exports them.
//!
//! A [`Tracer`] decides once for each request. One that is not recorded has no [`RequestSpan`], and costs no more than
//! the look whether it has. What is recorded goes to a [`SpanSink`], which never blocks.

mod call;
mod span;

use std::fmt;
use std::sync::Arc;

pub use call::{CallTrace, Stage, StageTimer};
pub use span::{Attributes, Span, SpanKind, TEXT_BYTES_MAX, Value};

/// Takes spans that have ended. It never blocks and is bounded: what it has no room for it drops and counts.
pub trait SpanSink: Send + Sync {
    /// Takes one.
    fn take(&self, span: Span);
}

/// Which requests are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of a million traces that begin here.
    pub per_million: u32,
    /// Whether a client's `traceparent` says which trace its request belongs to, and whether it is recorded.
    pub trusts_clients: bool,
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace's id; not 0.
    pub trace: u128,
    /// The id of the span that the request comes from; not 0.
    pub span: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

/// Decides which requests are recorded.
pub struct Tracer {
    sampling: Sampling,
    /// Of the lower 63 bits of a trace's id: those below it are recorded.
    threshold: u64,
    sink: Box<dyn SpanSink>,
}

/// The span of a request that is recorded: the parent of whatever is done for it.
pub struct RequestSpan {
    tracer: Arc<Tracer>,
    trace: u128,
    id: u64,
    parent: Option<u64>,
}

/// What was decided about a request.
#[derive(Debug)]
pub struct Begun {
    /// The trace that it belongs to.
    pub trace: u128,
    /// The id of its span, for whoever comes after it.
    pub id: u64,
    /// Its span, if it is recorded.
    pub span: Option<Arc<RequestSpan>>,
}

// === impl Tracer ===

impl Tracer {
    /// Spans go to `sink`.
    pub fn new(sampling: Sampling, sink: impl SpanSink + 'static) -> Arc<Self> {
        let per_million = u64::from(sampling.per_million.min(1_000_000));
        // The whole range is not in 63 bits; every id is below it.
        let threshold = ((u128::from(per_million) << 63) / 1_000_000) as u64;
        Arc::new(Tracer { sampling, threshold, sink: Box::new(sink) })
    }

    /// Whether [`Tracer::begin`] wants to know a client's `traceparent`.
    pub fn trusts_clients(&self) -> bool {
        self.sampling.trusts_clients
    }

    /// A request begins. What its client says counts only if clients are trusted; without it the id of the trace
    /// decides, so that all who have the same share record the same traces.
    pub fn begin(self: &Arc<Self>, client: Option<Parent>) -> Begun {
        let client = client.filter(|_| self.sampling.trusts_clients);
        let trace = client.map_or_else(|| fastrand::u128(1..), |client| client.trace);
        let sampled = client.map_or_else(|| self.samples(trace), |client| client.sampled);
        let id = new_id();
        let parent = client.map(|client| client.span);
        let span = sampled.then(|| Arc::new(RequestSpan { tracer: Arc::clone(self), trace, id, parent }));
        Begun { trace, id, span }
    }

    fn samples(&self, trace: u128) -> bool {
        (trace as u64) >> 1 < self.threshold
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sampling", &self.sampling).finish_non_exhaustive()
    }
}

// === impl RequestSpan ===

impl RequestSpan {
    /// The trace's id.
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// Its own id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The request has ended.
    pub fn end(&self, made: impl FnOnce(&mut Span)) {
        self.give(self.id, self.parent, SpanKind::Server, made);
    }

    /// Something that was asked of somebody else for it has ended; `id` is what [`new_id`] gave.
    pub fn end_child(&self, id: u64, made: impl FnOnce(&mut Span)) {
        self.give(id, Some(self.id), SpanKind::Client, made);
    }

    fn give(&self, id: u64, parent: Option<u64>, kind: SpanKind, made: impl FnOnce(&mut Span)) {
        let mut span = Span::new(self.trace, id, parent, kind);
        made(&mut span);
        self.tracer.sink.take(span);
    }
}

impl fmt::Debug for RequestSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:016x}", self.trace, self.id)
    }
}

/// An id for a span.
pub fn new_id() -> u64 {
    fastrand::u64(1..)
}

#[cfg(test)]
mod tests;
