//! A body that is driven by whoever pulls it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::First;
use crate::body::BodyError;

/// Runs until the body is over.
pub(super) type Driver = Pin<Box<dyn Future<Output = Result<(), BodyError>>>>;

/// A body that is being driven through filters.
pub(crate) struct Driven {
    slot: Rc<Slot>,
    /// `None` once it has returned.
    driver: Option<Driver>,
}

/// Room for one frame on its way out.
#[derive(Default)]
pub(super) struct Slot {
    frame: RefCell<Option<Frame<Bytes>>>,
    /// The frame is the body's last.
    last: Cell<bool>,
}

// === impl Slot ===

impl Slot {
    /// Waits until the slot is free. No waker is needed: whoever frees it is also who polls this future.
    pub(super) async fn put(&self, frame: Frame<Bytes>, last: bool) {
        let mut frame = Some(frame);
        poll_fn(|_| {
            let mut slot = self.frame.borrow_mut();
            if slot.is_some() {
                return Poll::Pending;
            }
            *slot = frame.take();
            self.last.set(last);
            Poll::Ready(())
        })
        .await;
    }
}

// === impl Driven ===

impl Driven {
    /// `driver` puts what it lets out into `slot`.
    pub(super) fn new(slot: Rc<Slot>, driver: Driver) -> Self {
        Driven { slot, driver: Some(driver) }
    }

    /// As [`http_body::Body::poll_frame`].
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.poll_filled(cx) {
            Poll::Ready(Ok(true)) => Poll::Ready(self.slot.frame.borrow_mut().take().map(Ok)),
            Poll::Ready(Ok(false)) => Poll::Ready(None),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_end(&self) -> bool {
        self.slot.frame.borrow().is_none() && (self.slot.last.get() || self.driver.is_none())
    }

    /// Waits until the chain lets something out, or ends.
    pub(super) async fn first(mut self) -> Result<First, BodyError> {
        let filled = poll_fn(|cx| self.poll_filled(cx)).await?;
        if !filled {
            return Ok(First::Whole(Bytes::new()));
        }
        if !self.slot.last.get() {
            return Ok(First::Part(self));
        }
        let frame = self.slot.frame.borrow_mut().take();
        match frame.map(Frame::into_data) {
            Some(Ok(bytes)) => Ok(First::Whole(bytes)),
            Some(Err(trailers)) => {
                *self.slot.frame.borrow_mut() = Some(trailers);
                Ok(First::Part(self))
            }
            None => Ok(First::Whole(Bytes::new())),
        }
    }

    /// Drives on until the slot is filled (true) or the body is over (false).
    fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        if self.slot.frame.borrow().is_some() {
            return Poll::Ready(Ok(true));
        }
        let Some(driver) = &mut self.driver else { return Poll::Ready(Ok(false)) };
        if let Poll::Ready(result) = driver.as_mut().poll(cx) {
            self.driver = None;
            result?;
            let filled = self.slot.frame.borrow().is_some();
            return Poll::Ready(Ok(filled));
        }
        if self.slot.frame.borrow().is_some() { Poll::Ready(Ok(true)) } else { Poll::Pending }
    }
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven").field("end", &self.is_end()).finish_non_exhaustive()
    }
}
