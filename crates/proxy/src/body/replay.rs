//! A request's body that several tries can read.
//!
//! What one try reads is copied, up to a bound, and given to the next one before the rest. Beyond the bound the copy is
//! thrown away: then the body goes on to the try that reads it, and there can be no other. Only the last try that was
//! begun can read; one that is still about gets an error.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, RequestBody};

/// Keeps what has been read.
pub(crate) struct Replay {
    source: Rc<RefCell<Source>>,
    /// Of the whole body, if that is known.
    length: Option<u64>,
}

/// What one try reads.
#[derive(Debug)]
pub(super) struct ReplayBody {
    source: Rc<RefCell<Source>>,
    attempt: u32,
    /// Bytes of the copy that this try has been given.
    position: usize,
    trailers_given: bool,
    left: Option<u64>,
}

#[derive(Debug)]
struct Source {
    body: RequestBody,
    copy: BytesMut,
    trailers: Option<HeaderMap>,
    bytes_max: usize,
    /// The body has come to its end.
    ended: bool,
    /// There was too much of it, or it broke off: the copy is gone.
    lost: bool,
    attempt: u32,
}

// === impl Replay ===

impl Replay {
    /// Reads nothing yet.
    pub(crate) fn new(body: RequestBody, bytes_max: usize) -> Self {
        let length = body.known_length();
        let ended = body.is_end_stream();
        let source =
            Source { body, copy: BytesMut::new(), trailers: None, bytes_max, ended, lost: false, attempt: 0 };
        Replay { source: Rc::new(RefCell::new(source)), length }
    }

    /// The body for the next try, from its beginning.
    pub(crate) fn body(&self) -> RequestBody {
        let mut source = self.source.borrow_mut();
        if source.ended && source.copy.is_empty() && source.trailers.is_none() {
            return RequestBody::empty();
        }
        source.attempt = source.attempt.wrapping_add(1);
        RequestBody::replayed(ReplayBody {
            source: Rc::clone(&self.source),
            attempt: source.attempt,
            position: 0,
            trailers_given: false,
            left: self.length,
        })
    }

    /// Whether another try can have the whole body.
    pub(crate) fn is_at_hand(&self) -> bool {
        !self.source.borrow().lost
    }
}

// === impl ReplayBody ===

impl ReplayBody {
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = self.source.borrow_mut();
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(kept) = source.copy.get(self.position..).filter(|kept| !kept.is_empty()) {
            let bytes = Bytes::copy_from_slice(kept);
            drop(source);
            self.position += bytes.len();
            self.given(bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if source.ended {
            let trailers = source.trailers.clone().filter(|_| !self.trailers_given);
            self.trailers_given = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = Pin::new(&mut source.body).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => source.ended = true,
            Poll::Ready(Some(Err(_))) => source.lose(),
            Poll::Ready(Some(Ok(frame))) => {
                source.copy(frame);
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.trailers_given |= frame.is_trailers();
                drop(source);
                self.position += bytes;
                self.given(bytes);
            }
        }
        polled
    }

    fn given(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
    }

    pub(super) fn is_end(&self) -> bool {
        let source = self.source.borrow();
        let given = source.lost || self.position >= source.copy.len();
        given && source.ended && (self.trailers_given || source.trailers.is_none())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

// === impl Source ===

impl Source {
    /// Copies a frame that has just been read.
    fn copy(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref().filter(|_| !self.lost) {
            if self.copy.len().saturating_add(data.len()) > self.bytes_max {
                self.lose();
            } else {
                self.copy.extend_from_slice(data);
            }
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        self.ended |= frame.is_trailers() || self.body.is_end_stream();
    }

    fn lose(&mut self) {
        self.lost = true;
        self.copy = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn replay(text: &'static str, bytes_max: usize) -> Replay {
        Replay::new(RequestBody::whole(Bytes::from_static(text.as_bytes())), bytes_max)
    }

    async fn read(body: RequestBody) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn each_try_reads_the_whole_body() {
        let replay = replay("four", 4);
        for _ in 0..3 {
            let body = replay.body();
            assert_eq!(body.known_length(), Some(4));
            assert_eq!(read(body).await, "four");
            assert!(replay.is_at_hand());
        }
    }

    #[tokio::test]
    async fn a_body_over_the_bound_can_be_read_once() {
        let replay = replay("fours", 4);
        assert!(replay.is_at_hand(), "nothing was read yet");
        assert_eq!(read(replay.body()).await, "fours");
        assert!(!replay.is_at_hand());
    }

    #[tokio::test]
    async fn a_try_that_was_given_up_reads_no_more() {
        let replay = replay("four", 4);
        let mut old = replay.body();
        let new = replay.body();
        assert!(matches!(old.frame().await, Some(Err(BodyError::Superseded))));
        assert_eq!(read(new).await, "four");
    }

    #[tokio::test]
    async fn no_body_is_no_body_at_each_try() {
        let replay = Replay::new(RequestBody::empty(), 0);
        assert!(replay.body().is_end_stream() && replay.body().is_end_stream());
        assert!(replay.is_at_hand());
    }
}
