//! The time of one exchange after another.
//!
//! hyper's own header timeout also runs while a connection is idle, and costs a timer per request. So the clock is kept
//! here, with one timer that moves only when it must: a connection is idle, sends a head, is in an exchange, or
//! receives a response, and each has its own deadline. An HTTP/1.1 connection has one clock; with HTTP/2 each stream
//! has one, and the connection another for the time in which it has no stream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agw_config::Listener;
use tokio::time::{Instant, Sleep, sleep_until};

use super::silence::{Silence, Watch};
use crate::exchange::{Tunnel, Writer};
use crate::limits::FAR_FUTURE;

/// See the module.
pub(crate) struct Clock {
    timer: Timer,
    silence: Silence,
    /// Of the request there is more than its exchange has read.
    unread: Cell<bool>,
    end: Cell<End>,
    phase: Cell<Phase>,
    /// Why the gateway ends what the clock belongs to, once it does.
    cut: Cell<Option<Cut>>,
    /// Whether the last exchange came to a response, or to a reset of the gateway's own.
    answered: Cell<bool>,
    /// What the connection or stream goes on with once the head that agrees to it has gone out. It holds the clock, so
    /// it is always taken out.
    tunnel: Cell<Option<Box<Tunnel>>>,
}

/// Whether it is certain where the last request of an HTTP/1.1 connection has ended.
///
/// hyper looks for CR LF CR LF after the last chunk, and for LF LF within what it found: with a bare LF in there, the
/// trailers that it hands out end before the bytes do that it took for them, and what is lost may have been a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Certain,
    /// Its chunks have not been read to their end.
    Ahead,
    /// Something came after its last chunk.
    Trailers,
}

/// What is being waited for.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No byte of a request has come.
    Idle { since: Instant },
    /// A head has begun.
    Head { since: Instant },
    /// A request is being served; its exchange watches the deadline.
    Exchange,
    /// A response is going out, and must be out by then.
    Sending { deadline: Instant },
}

/// Why the gateway closed a connection or reset a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Idle,
    SlowHead,
    ResponseTimeout,
    /// No byte of a body has come or gone for too long.
    Silent,
    Drained,
}

/// One timer for one deadline after another; it is moved only when the next is nearer.
struct Timer {
    sleep: RefCell<Pin<Box<Sleep>>>,
    /// The task is registered with it.
    armed: Cell<bool>,
}

// === impl Clock ===

impl Clock {
    /// Of something that is idle since `now`.
    pub(crate) fn new(now: Instant, listener: &Listener) -> Self {
        Clock {
            timer: Timer::new(after(now, listener.idle_timeout)),
            silence: Silence::new(now),
            unread: Cell::new(false),
            end: Cell::new(End::Certain),
            phase: Cell::new(Phase::Idle { since: now }),
            cut: Cell::new(None),
            answered: Cell::new(false),
            tunnel: Cell::new(None),
        }
    }

    /// Why the gateway ended it, if it did.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// The gateway ends it.
    pub(crate) fn set_cut(&self, cut: Cut) {
        self.cut.set(Some(cut));
    }

    /// What the clock belongs to goes on with this.
    pub(crate) fn set_tunnel(&self, tunnel: Tunnel) {
        self.tunnel.set(Some(Box::new(tunnel)));
    }

    /// The tunnel is to drive this as well.
    pub(super) fn set_writer(&self, writer: Writer) {
        if let Some(mut tunnel) = self.tunnel.take() {
            tunnel.writer = Some(writer);
            self.tunnel.set(Some(tunnel));
        }
    }

    /// What it goes on with, if it does.
    pub(super) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    /// A request's head has arrived: from now on its exchange watches the time.
    pub(crate) fn exchange_begins(&self) {
        self.phase.set(Phase::Exchange);
        self.unread.set(false);
        self.end.set(End::Certain);
    }

    /// The request has a body. As long as it has not been read to its end, the connection cannot be just closed.
    /// `chunked` is whether only its chunks will tell where that is.
    pub(crate) fn request_is_unread(&self, chunked: bool) {
        self.unread.set(true);
        self.end.set(if chunked { End::Ahead } else { End::Certain });
    }

    /// Trailers have come with the request's body.
    pub(crate) fn trailers_came(&self) {
        if self.end.get() == End::Ahead {
            self.end.set(End::Trailers);
        }
    }

    /// Whether what comes next on the connection may be taken for a request.
    pub(crate) fn is_end_certain(&self) -> bool {
        self.end.get() == End::Certain
    }

    /// Whether the last request had trailers, so that none can follow it.
    pub(crate) fn had_trailers(&self) -> bool {
        self.end.get() == End::Trailers
    }

    /// Whether the client may still be sending the body of the last request.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// From now on some byte of a body has to move every `limit`, until the end of this watch or the next begins.
    pub(crate) fn body_begins(&self, limit: Duration) -> Watch {
        self.silence.begin(Instant::now(), limit)
    }

    /// The request's body has been read.
    pub(crate) fn body_ended(&self, watch: Watch) {
        self.unread.set(false);
        if self.end.get() == End::Ahead {
            self.end.set(End::Certain);
        }
        self.silence.end_watch(watch);
    }

    /// Something of a body has moved.
    pub(crate) fn moved(&self) {
        self.silence.moved();
    }

    /// Whether a future was given up because nothing moved.
    pub(crate) fn is_silent(&self) -> bool {
        self.silence.is_over()
    }

    /// The response's head is going out; it is cut if the rest is not out by `deadline`, or if no byte of it, nor of
    /// the request, moves for `silence_max`.
    pub(crate) fn response_begins(&self, now: Instant, deadline: Instant, silence_max: Duration) {
        self.answered.set(true);
        self.silence.begin(now, silence_max);
        self.phase.set(Phase::Sending { deadline });
    }

    /// The gateway resets the stream instead of answering.
    pub(crate) fn reset_begins(&self) {
        self.answered.set(true);
    }

    /// Whether an answer has begun, or the gateway itself has refused one.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// The exchange is over.
    pub(crate) fn exchange_ends(&self, now: Instant) {
        self.phase.set(Phase::Idle { since: now });
        self.silence.end();
    }

    /// Something was read from the client.
    pub(crate) fn bytes_arrived(&self) {
        self.silence.moved();
        if let Phase::Idle { .. } = self.phase.get() {
            self.phase.set(Phase::Head { since: Instant::now() });
        }
    }

    /// The client has to say something soon, though it has said nothing yet.
    pub(crate) fn head_begins(&self) {
        self.phase.set(Phase::Head { since: Instant::now() });
    }

    /// Whether nothing of a request has come since the last one.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle { .. })
    }

    /// What the future returns, or nothing if it is not done by `deadline`, or a body that began is silent for too long.
    ///
    /// The caller pins it: a future that is passed on by value is kept twice in its caller's, and copied.
    ///
    /// # Cancel safety
    /// As the future's.
    pub(crate) async fn before<F: Future + Unpin>(
        &self,
        deadline: Instant,
        mut future: F,
    ) -> Option<F::Output> {
        poll_fn(|cx| match Pin::new(&mut future).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_moving(cx, deadline).map(|_| None),
        })
        .await
    }

    /// Ready with the reason when the time of what is being waited for is up.
    pub(crate) fn poll_deadline(&self, cx: &mut Context<'_>, listener: &Listener) -> Poll<Cut> {
        let (deadline, cut) = match self.phase.get() {
            Phase::Exchange => return Poll::Pending,
            Phase::Idle { since } => (after(since, listener.idle_timeout), Cut::Idle),
            Phase::Head { since } => (after(since, listener.header_timeout), Cut::SlowHead),
            Phase::Sending { deadline } => return self.poll_moving(cx, deadline),
        };
        self.timer.poll_until(cx, deadline).map(|()| cut)
    }

    /// Ready with the reason when the response should have been out, or nothing of it moves.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        match self.phase.get() {
            Phase::Sending { deadline } => self.poll_moving(cx, deadline),
            _ => Poll::Pending,
        }
    }

    /// Ready at `deadline`, or in silence.
    fn poll_moving(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Cut> {
        loop {
            let next = self.silence.next_look(deadline);
            ready!(self.timer.poll_until(cx, next));
            if next == deadline {
                return Poll::Ready(Cut::ResponseTimeout);
            }
            if self.silence.look(Instant::now()) {
                return Poll::Ready(Cut::Silent);
            }
        }
    }

    /// Ready `grace` after `since`, whatever the phase.
    pub(crate) fn poll_grace(&self, cx: &mut Context<'_>, since: Instant, grace: Duration) -> Poll<()> {
        self.timer.poll_until(cx, after(since, grace))
    }
}

/// `start + duration`, or a year later if that is beyond what the clock can say.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or_else(|| start + FAR_FUTURE)
}

// === impl Timer ===

impl Timer {
    fn new(deadline: Instant) -> Self {
        Timer { sleep: RefCell::new(Box::pin(sleep_until(deadline))), armed: Cell::new(false) }
    }

    /// Ready at `deadline`. Always polled by the same task, so a registration holds until it fires.
    fn poll_until(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let mut sleep = self.sleep.borrow_mut();
        if self.armed.get() && sleep.deadline() <= deadline && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            // Out of budget, tokio would answer Pending without registering the task.
            let mut unconstrained = tokio::task::unconstrained(poll_fn(|cx| sleep.as_mut().poll(cx)));
            if Pin::new(&mut unconstrained).poll(cx).is_pending() {
                self.armed.set(true);
                return Poll::Pending;
            }
            self.armed.set(false);
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
