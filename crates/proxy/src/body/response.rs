//! The response's body, as the client's connection pulls it. It owns the exchange: when the body has gone out, or is
//! dropped because the client left, the exchange ends.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::drive::{Piece, Pieces};
use super::{BodyError, Driven, Fault};
use crate::connection::Clock;
use crate::exchange::Exchange;
use crate::head::strip_trailers;
use crate::upstream::Lease;

/// What goes to the client.
pub(crate) struct ResponseBody {
    kind: Kind,
    /// `None` once the exchange goes on without hyper.
    exchange: Option<Box<Exchange>>,
}

enum Kind {
    Plain(ResponseSource),
    Driven(Driven),
}

/// Where a response's body comes from.
pub(crate) enum ResponseSource {
    /// The upstream; its connection is kept once the body has been read.
    Upstream { incoming: Incoming, lease: Option<Lease> },
    /// The gateway, or a filter.
    Whole(Bytes),
}

// === impl ResponseSource ===

impl ResponseSource {
    /// Whether there is nothing (more) to read.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            ResponseSource::Upstream { incoming, .. } => incoming.is_end_stream(),
            ResponseSource::Whole(bytes) => bytes.is_empty(),
        }
    }

    /// Its length, if that is known before it has been read.
    pub(crate) fn known_length(&self) -> Option<u64> {
        match self {
            ResponseSource::Upstream { incoming, .. } => incoming.size_hint().exact(),
            ResponseSource::Whole(bytes) => Some(bytes.len() as u64),
        }
    }

    /// Gives the connection back if the body has been read to its end.
    fn settle(&mut self) {
        if let ResponseSource::Upstream { incoming, lease } = self
            && incoming.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.keep();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            ResponseSource::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            ResponseSource::Upstream { incoming, lease } => {
                let polled = Pin::new(incoming).poll_frame(cx).map_err(BodyError::Source);
                match &polled {
                    Poll::Ready(None) => {
                        if let Some(lease) = lease.take() {
                            lease.keep();
                        }
                    }
                    Poll::Ready(Some(_)) => self.settle(),
                    Poll::Pending => {}
                }
                polled
            }
        }
    }
}

impl Pieces for ResponseSource {
    async fn next(&mut self) -> Result<Piece, BodyError> {
        match self {
            ResponseSource::Whole(bytes) => Ok(Piece::Data(std::mem::take(bytes), true)),
            ResponseSource::Upstream { incoming, lease } => {
                let frame = incoming.frame().await.transpose().map_err(BodyError::Source)?;
                let piece = match frame.map(Frame::into_data) {
                    None => Piece::Data(Bytes::new(), true),
                    Some(Ok(bytes)) => Piece::Data(bytes, incoming.is_end_stream()),
                    Some(Err(frame)) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
                };
                if !matches!(piece, Piece::Data(_, false))
                    && let Some(lease) = lease.take()
                {
                    lease.keep();
                }
                Ok(piece)
            }
        }
    }
}

/// A source that tells the clock what comes, even if a filter holds it back.
pub(crate) struct Watched {
    pub(crate) source: ResponseSource,
    pub(crate) clock: Rc<Clock>,
}

impl Pieces for Watched {
    async fn next(&mut self) -> Result<Piece, BodyError> {
        let piece = self.source.next().await?;
        self.clock.moved();
        Ok(piece)
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    /// A body that no filter wants.
    pub(crate) fn plain(mut source: ResponseSource, exchange: Box<Exchange>) -> Self {
        source.settle();
        ResponseBody { kind: Kind::Plain(source), exchange: Some(exchange) }
    }

    /// A body that filters change as it comes.
    pub(crate) fn driven(driven: Driven, exchange: Box<Exchange>) -> Self {
        ResponseBody { kind: Kind::Driven(driven), exchange: Some(exchange) }
    }

    /// No body: what comes after the head is not HTTP.
    pub(crate) fn handed_over() -> Self {
        ResponseBody { kind: Kind::Plain(ResponseSource::Whole(Bytes::new())), exchange: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let ResponseBody { kind, exchange: Some(exchange) } = self.get_mut() else {
            return Poll::Ready(None);
        };
        if exchange.is_interrupted() {
            exchange.failed("reset_by_plugin", "");
            return Poll::Ready(Some(Err(BodyError::Interrupted)));
        }
        let mut polled = match kind {
            Kind::Plain(source) => source.poll_frame(cx),
            Kind::Driven(driven) => driven.poll_next(cx),
        };
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_mut() {
                Some(trailers) => strip_trailers(trailers),
                None => exchange.sent(frame.data_ref().map_or(0, Bytes::len)),
            },
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(error = error as &dyn std::error::Error, "response broken off");
                match error.fault() {
                    Fault::Source => exchange.failed("upstream_reset_after_response_started", "UC"),
                    Fault::BufferFull => exchange.failed("response_buffer_full", ""),
                    Fault::Interrupted | Fault::TooLarge => exchange.failed("reset_by_plugin", ""),
                }
            }
            Poll::Ready(None) => exchange.completed(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Plain(source) => source.is_end(),
            Kind::Driven(driven) => driven.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Plain(ResponseSource::Upstream { incoming, .. }) => incoming.size_hint(),
            Kind::Plain(ResponseSource::Whole(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Driven(_) => SizeHint::new(),
        }
    }
}

impl Drop for ResponseBody {
    /// hyper drops a body without another poll once it says that it is at its end.
    fn drop(&mut self) {
        if self.is_end_stream()
            && let Some(exchange) = &mut self.exchange
        {
            exchange.completed();
        }
    }
}
