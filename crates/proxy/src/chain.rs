//! The filters of one exchange, and what they look like from either direction.

use std::rc::Rc;
use std::sync::Arc;

use agw_wasm::{Filter, Stream, Verdict, Wants};
use bytes::Bytes;

/// The filters that have seen the request, in the order in which they saw it.
pub(crate) struct Chain {
    pub(crate) stream: Arc<Stream>,
    /// Filters are shared with the bodies that are driven through them.
    pub(crate) filters: Vec<Rc<Filter>>,
}

/// A filter as the driver of a body sees it.
pub(crate) trait BodyFilter {
    /// Whether it has a body callback in this direction.
    fn wants_body(&self) -> bool;
    /// Whether it has a trailers callback in this direction.
    fn wants_trailers(&self) -> bool;
    /// Appends `chunk` to the filter's buffer and shows it all of that.
    async fn body(&self, chunk: Bytes, end: bool) -> Verdict;
    /// Shows it the trailers, which are in the stream.
    async fn trailers(&self) -> Verdict;
    /// Empties its buffer.
    fn take(&self) -> Bytes;
    /// Bytes in its buffer.
    fn held(&self) -> usize;
    /// Returns once the guest lets this direction go on. Cancel safe.
    async fn resumed(&self);
}

/// A filter in the request's direction.
pub(crate) struct RequestSide(pub(crate) Rc<Filter>);

/// A filter in the response's direction.
pub(crate) struct ResponseSide(pub(crate) Rc<Filter>);

impl Chain {
    /// The filters that a request's body must pass; none if it can pass untouched.
    pub(crate) fn request_side(&self) -> Vec<RequestSide> {
        let wanted = |wants: Wants| wants.request_body || wants.request_trailers;
        self.filters.iter().filter(|filter| wanted(filter.wants())).cloned().map(RequestSide).collect()
    }

    /// The filters among the first `upper` that a response's body must pass, last first.
    pub(crate) fn response_side(&self, upper: usize) -> Vec<ResponseSide> {
        let wanted = |wants: Wants| wants.response_body || wants.response_trailers;
        let seen = self.filters.iter().take(upper).rev();
        seen.filter(|filter| wanted(filter.wants())).cloned().map(ResponseSide).collect()
    }
}

impl BodyFilter for RequestSide {
    fn wants_body(&self) -> bool {
        self.0.wants().request_body
    }
    fn wants_trailers(&self) -> bool {
        self.0.wants().request_trailers
    }
    async fn body(&self, chunk: Bytes, end: bool) -> Verdict {
        self.0.request_body(chunk, end).await
    }
    async fn trailers(&self) -> Verdict {
        self.0.request_trailers().await
    }
    fn take(&self) -> Bytes {
        self.0.take_request_body()
    }
    fn held(&self) -> usize {
        self.0.request_body_len()
    }
    async fn resumed(&self) {
        self.0.request_resumed().await;
    }
}

impl BodyFilter for ResponseSide {
    fn wants_body(&self) -> bool {
        self.0.wants().response_body
    }
    fn wants_trailers(&self) -> bool {
        self.0.wants().response_trailers
    }
    async fn body(&self, chunk: Bytes, end: bool) -> Verdict {
        self.0.response_body(chunk, end).await
    }
    async fn trailers(&self) -> Verdict {
        self.0.response_trailers().await
    }
    fn take(&self) -> Bytes {
        self.0.take_response_body()
    }
    fn held(&self) -> usize {
        self.0.response_body_len()
    }
    async fn resumed(&self) {
        self.0.response_resumed().await;
    }
}
