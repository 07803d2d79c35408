//! The request's body, as the upstream connection pulls it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::drive::{Piece, Pieces};
use super::replay::ReplayBody;
use super::{BodyError, Driven, Meter};
use crate::head::strip_trailers;

/// What goes upstream. Dropping it ends the reading of the client's body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    kind: Kind,
    meter: Option<Rc<Meter>>,
}

#[derive(Debug)]
enum Kind {
    Empty,
    Plain { incoming: Incoming, limit: u64 },
    Whole(Option<Bytes>),
    Driven(Driven),
    Replay(ReplayBody),
}

impl RequestBody {
    /// No body.
    pub(crate) fn empty() -> Self {
        RequestBody { kind: Kind::Empty, meter: None }
    }

    /// The client's, untouched, at most `limit` bytes of it.
    pub(crate) fn plain(incoming: Incoming, limit: u64, meter: Rc<Meter>) -> Self {
        RequestBody { kind: Kind::Plain { incoming, limit }, meter: Some(meter) }
    }

    /// What the filters made of it, all here.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        RequestBody { kind: Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), meter: None }
    }

    /// What the filters make of it as it comes.
    pub(crate) fn driven(driven: Driven, meter: Rc<Meter>) -> Self {
        RequestBody { kind: Kind::Driven(driven), meter: Some(meter) }
    }

    /// One that another try can read again.
    pub(super) fn replayed(body: ReplayBody) -> Self {
        RequestBody { kind: Kind::Replay(body), meter: None }
    }

    /// Whether filters are still at work on it.
    pub(crate) fn is_driven(&self) -> bool {
        matches!(self.kind, Kind::Driven(_))
    }

    /// Its length, if that is known before it has been read.
    pub(crate) fn known_length(&self) -> Option<u64> {
        if let Kind::Empty = self.kind { Some(0) } else { self.size_hint().exact() }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let RequestBody { kind, meter } = self.get_mut();
        let mut polled = match kind {
            Kind::Empty => return Poll::Ready(None),
            Kind::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Plain { incoming, limit } => poll_plain(incoming, *limit, meter.as_deref(), cx),
            Kind::Driven(driven) => driven.poll_next(cx),
            Kind::Replay(body) => return body.poll_next(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            strip_trailers(trailers);
        }
        if let (Poll::Ready(Some(Err(error))), Some(meter)) = (&polled, meter) {
            meter.fault.set(Some(error.fault()));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Plain { incoming, .. } => incoming.is_end_stream(),
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Driven(driven) => driven.is_end(),
            Kind::Replay(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Plain { incoming, .. } => incoming.size_hint(),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Driven(_) => SizeHint::new(),
            Kind::Replay(body) => body.size_hint(),
        }
    }
}

fn poll_plain(
    incoming: &mut Incoming,
    limit: u64,
    meter: Option<&Meter>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let polled = Pin::new(&mut *incoming).poll_frame(cx).map_err(BodyError::Source);
    let Some(meter) = meter else { return polled };
    match polled {
        Poll::Ready(Some(Ok(frame))) => {
            meter.came();
            if frame.is_trailers() {
                meter.trailers_came();
            }
            if incoming.is_end_stream() {
                meter.ended();
            }
            let counted = meter.add(frame.data_ref().map_or(0, Bytes::len), limit);
            Poll::Ready(Some(counted.map(|()| frame)))
        }
        Poll::Ready(None) => {
            meter.ended();
            Poll::Ready(None)
        }
        Poll::Pending => {
            meter.is_awaited.set(true);
            Poll::Pending
        }
        broken @ Poll::Ready(Some(Err(_))) => broken,
    }
}

/// The client's body, as a chain pulls it.
#[derive(Debug)]
pub(crate) struct RequestSource {
    pub(crate) incoming: Incoming,
    pub(crate) limit: u64,
    pub(crate) meter: Rc<Meter>,
}

impl Pieces for RequestSource {
    async fn next(&mut self) -> Result<Piece, BodyError> {
        let RequestSource { incoming, limit, meter } = self;
        let frame = poll_fn(|cx| poll_plain(incoming, *limit, Some(meter), cx)).await.transpose()?;
        Ok(match frame.map(Frame::into_data) {
            None => Piece::Data(Bytes::new(), true),
            Some(Ok(bytes)) => Piece::Data(bytes, incoming.is_end_stream()),
            Some(Err(frame)) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
        })
    }
}
