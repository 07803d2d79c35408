//! A multiplexed connection: many calls at once on one socket, answered in the order in which they were sent.
//!
//! A [`Driver`] owns the socket and is one task. Callers hold the [`Link`] to it and put jobs into its bounded
//! inbox. The driver yields once before it writes, so that whatever else is ready in this turn of the event loop
//! goes out in the same write; there is no timer that could hold a lone command back. It reads and writes in the
//! same turn, so that full buffers on both sides cannot lock it up. An answer is a slice of the read buffer.
//!
//! What ends a connection: its end or an error; bytes that are not RESP, are nested too deep, or that nobody asked
//! for; an oversized reply that is too long to be read past (see [`DRAIN_BYTES_MAX`]); an oldest call without an
//! answer for [`GRACE`] longer than its deadline. Calls that were sent then get `unavailable`; those of which nothing
//! was written come back to their callers, who take them to the next connection.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use agw_telemetry::Histogram;
use agw_wire::CallError;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::{Fault, lost, overloaded, too_large};
use crate::frame::{FrameError, Framer};
use crate::pipe::Pipe;
use crate::session::Session;

/// A late call's answer is waited for this much longer, so that one slow answer does not cost the connection.
pub(crate) const GRACE: Duration = Duration::from_millis(500);
/// A reply over its bound is read past if it is announced to be at most this much over; that costs the neighbours
/// less than a new connection. A longer one ends the connection.
pub(crate) const DRAIN_BYTES_MAX: usize = 4 << 20;
/// Jobs stay in the inbox while this much waits to be written.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Calls in the inbox, and as many more that are sent and not answered. More are `overloaded`.
    pub(crate) calls: usize,
    /// Bytes of the calls in the inbox. More are `overloaded`.
    pub(crate) queued_bytes: usize,
}

/// Commands that go out together.
pub(crate) struct Job {
    /// Encoded.
    pub(crate) commands: Vec<u8>,
    /// How many replies they get.
    pub(crate) replies: usize,
    /// Of all replies together.
    pub(crate) reply_bytes_max: usize,
    pub(crate) deadline: Instant,
    /// Where the replies go. Closed before the job is written: it is not written at all.
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// The replies to a job, or why there are none.
pub(crate) type Answer = Result<Bytes, Unanswered>;

/// A job without replies.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The call has failed.
    Failed(CallError),
    /// The connection has ended before a byte of these commands was written: they may go out on the next one.
    Unsent(Vec<u8>),
}

/// The callers' end. Dropping the last one ends the driver once every call is answered.
pub(crate) struct Link {
    jobs: mpsc::Sender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    queued_bytes_max: usize,
    retire: CancellationToken,
    /// Set with `retire`, which wakes the driver; this costs less to look at.
    retired: Arc<AtomicBool>,
    /// The operator's scripts have been loaded through this connection.
    pub(crate) scripts_loaded: AtomicBool,
}

/// Owns the socket. See the module's text.
pub(crate) struct Driver {
    pipe: Pipe,
    inbox: mpsc::Receiver<Job>,
    queued_bytes: Arc<AtomicUsize>,
    /// Set by the [`Link`]: nothing more is to be written.
    retired: Arc<AtomicBool>,
    retirement: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Sent, or in the pipe's buffer, and not answered. In the order of the answers.
    waiting: VecDeque<Waiting>,
    waiting_max: usize,
    /// The place in the replies to the first of `waiting`.
    framer: Framer,
    /// Fires when the first of `waiting` may have been without an answer for too long.
    watchdog: Pin<Box<Sleep>>,
    watching: bool,
    /// All bytes ever put into the pipe.
    put_total: u64,
    io_seconds: Histogram,
}

struct Waiting {
    /// `None`: it was told already that its reply is too large; the rest is read past.
    answer: Option<oneshot::Sender<Answer>>,
    replies: usize,
    reply_bytes_max: usize,
    give_up: Instant,
    /// When it came into the pipe's buffer.
    put_at: Instant,
    /// Where its bytes begin in everything ever written, and how many there are.
    begins: u64,
    bytes: usize,
}

/// A call of [`Driver::poll_turn`] that is not the connection's end.
enum Turn {
    /// New jobs: yield, so that more can join them, then write.
    Arrived,
}

/// Splits a session into the callers' end and the driver's, which is to be run as a task.
///
/// `io_seconds` observes each call that is answered, from the pipe's buffer to the answer, wanted or not.
pub(crate) fn share(session: Session, bounds: Bounds, io_seconds: Histogram) -> (Link, Driver) {
    let (jobs, inbox) = mpsc::channel(bounds.calls.max(1));
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let (retire, retired) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let driver = Driver {
        pipe: session.into_pipe(),
        inbox,
        queued_bytes: Arc::clone(&queued_bytes),
        retired: Arc::clone(&retired),
        retirement: Box::pin(retire.clone().cancelled_owned()),
        waiting: VecDeque::new(),
        waiting_max: bounds.calls.max(1),
        framer: Framer::new(0, 0),
        watchdog: Box::pin(tokio::time::sleep(Duration::ZERO)),
        watching: false,
        put_total: 0,
        io_seconds,
    };
    let scripts_loaded = AtomicBool::new(false);
    let queued_bytes_max = bounds.queued_bytes;
    (Link { jobs, queued_bytes, queued_bytes_max, retire, retired, scripts_loaded }, driver)
}

// === impl Link ===

impl Link {
    /// Queues a job. Its answer channel is closed without a word if the driver is dropped meanwhile.
    ///
    /// # Errors
    /// `overloaded` at a bound; the commands themselves if the connection has ended.
    pub(crate) fn send(&self, job: Job) -> Result<(), Unanswered> {
        let bytes = job.commands.len();
        // The one that crosses the bound is taken back: the counter may pass the bound for a moment only.
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = if before.saturating_add(bytes) > self.queued_bytes_max {
            Err(overloaded().into())
        } else {
            self.jobs.try_send(job).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => overloaded().into(),
                mpsc::error::TrySendError::Closed(job) => Unanswered::Unsent(job.commands),
            })
        };
        if sent.is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// The connection takes no more jobs.
    pub(crate) fn has_ended(&self) -> bool {
        self.jobs.is_closed() || self.retired.load(Ordering::Relaxed)
    }

    /// Ends the connection: a reply has said that it is of no more use.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.retire.cancel();
    }
}

// === impl Unanswered ===

impl Unanswered {
    /// The same without the first `count` bytes of the commands, which were not the caller's own.
    pub(crate) fn without_first(self, count: usize) -> Self {
        match self {
            Unanswered::Unsent(mut commands) => {
                Unanswered::Unsent(commands.split_off(count.min(commands.len())))
            }
            failed => failed,
        }
    }
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        Unanswered::Failed(error)
    }
}

// === impl Driver ===

impl Driver {
    /// Runs until the connection ends, and says why. Whoever waited for an answer has been told by then, and the
    /// socket is closed.
    ///
    /// # Cancel safety
    /// Dropped, it closes the socket, and every call on it finds its answer channel closed.
    pub(crate) async fn run(mut self) -> Fault {
        let fault = loop {
            match poll_fn(|cx| self.poll_turn(cx)).await {
                Ok(Turn::Arrived) => {
                    tokio::task::yield_now().await;
                    self.take_what_came();
                }
                Err(fault) => break fault,
            }
        };
        self.end(&fault);
        fault
    }

    /// One turn: reads and hands out, writes, takes one job. Ready with `Arrived` if there was one.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Turn, Fault>> {
        loop {
            let missing = self.framer.missing(self.pipe.input.len());
            let read = self.pipe.poll_read(cx, missing)?.is_ready();
            if read {
                self.hand_out()?;
            }
            // What has been read is handed out all the same.
            if self.retired.load(Ordering::Relaxed) {
                return Poll::Ready(Err(Fault::Retired));
            }
            if self.pipe.unwritten() > 0 {
                // Pending: the pipe wakes us when the socket takes more.
                let _ = self.pipe.poll_write(cx)?;
            }
            if !read {
                break;
            }
        }
        if self.may_take() {
            match self.inbox.poll_recv(cx) {
                Poll::Ready(Some(job)) => {
                    self.put(job, Instant::now());
                    return Poll::Ready(Ok(Turn::Arrived));
                }
                // Nobody can send any more: done once nobody waits any more.
                Poll::Ready(None) if self.waiting.is_empty() => return Poll::Ready(Err(Fault::Retired)),
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        if self.retirement.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Fault::Retired));
        }
        self.poll_watchdog(cx).map(Err)
    }

    /// While this is false the inbox fills up to its bound. An answer or a write makes it true again, and both
    /// are waited for.
    fn may_take(&self) -> bool {
        self.waiting.len() < self.waiting_max && self.pipe.unwritten() < WRITE_BYTES_MAX
    }

    fn take_what_came(&mut self) {
        let mut now = None;
        while self.may_take() {
            let Ok(job) = self.inbox.try_recv() else { return };
            // One look at the clock for all of them, and for all answers of one read.
            self.put(job, *now.get_or_insert_with(Instant::now));
        }
    }

    fn put(&mut self, job: Job, now: Instant) {
        self.queued_bytes.fetch_sub(job.commands.len(), Ordering::Relaxed);
        if job.answer.is_closed() {
            return;
        }
        if self.waiting.is_empty() {
            self.framer.restart(job.replies, job.reply_bytes_max);
        }
        self.waiting.push_back(Waiting {
            answer: Some(job.answer),
            replies: job.replies,
            reply_bytes_max: job.reply_bytes_max,
            give_up: job.deadline + GRACE,
            put_at: now,
            begins: self.put_total,
            bytes: job.commands.len(),
        });
        self.put_total += job.commands.len() as u64;
        self.pipe.put(&job.commands);
    }

    /// Hands out every whole answer in the read buffer.
    fn hand_out(&mut self) -> Result<(), Fault> {
        let mut now = None;
        while let Some(first) = self.waiting.front_mut() {
            if first.begins >= self.pipe.written_total() {
                break;
            }
            match self.framer.advance(&self.pipe.input) {
                Ok(None) => return Ok(()),
                Ok(Some(end)) => {
                    let replies = self.pipe.input.split_to(end).freeze();
                    let took = now.get_or_insert_with(Instant::now).saturating_duration_since(first.put_at);
                    self.io_seconds.observe(took.as_secs_f64());
                    if let Some(answer) = first.answer.take() {
                        // Nobody may be there any more: then the answer is thrown away.
                        let _ = answer.send(Ok(replies));
                    }
                    self.waiting.pop_front();
                    if let Some(next) = self.waiting.front() {
                        self.framer.restart(next.replies, next.reply_bytes_max);
                    }
                }
                Err(FrameError::TooLarge) if first.answer.is_some() => {
                    if let Some(answer) = first.answer.take() {
                        let _ = answer.send(Err(too_large().into()));
                    }
                    self.framer.raise(first.reply_bytes_max.saturating_add(DRAIN_BYTES_MAX));
                }
                Err(error) => {
                    let fault = Fault::Frame(error);
                    if let Some(answer) = first.answer.take() {
                        let _ = answer.send(Err(fault.call_error().into()));
                    }
                    return Err(fault);
                }
            }
        }
        // Bytes for nobody. Were they kept, every later call would get the answer to the one before it.
        if self.pipe.input.is_empty() { Ok(()) } else { Err(Fault::Unasked) }
    }

    fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        let Some(first) = self.waiting.front() else {
            self.watching = false;
            return Poll::Pending;
        };
        if !self.watching {
            self.watching = true;
            self.watchdog.as_mut().reset(first.give_up);
        }
        // It is set for the call that was first when it was set, so that an answered call costs no timer.
        while self.watchdog.as_mut().poll(cx).is_ready() {
            if first.give_up <= Instant::now() {
                return Poll::Ready(Fault::Stalled);
            }
            self.watchdog.as_mut().reset(first.give_up);
        }
        Poll::Pending
    }

    fn end(&mut self, fault: &Fault) {
        tracing::debug!(error = %fault, waiting = self.waiting.len(), "a connection ends");
        self.inbox.close();
        let (unwritten, written_total) = (self.pipe.unwritten_bytes(), self.pipe.written_total());
        for waiting in self.waiting.drain(..) {
            let Some(answer) = waiting.answer else { continue };
            let untouched = waiting
                .begins
                .checked_sub(written_total)
                .and_then(|skipped| unwritten.get(usize::try_from(skipped).ok()?..)?.get(..waiting.bytes));
            // What was written in part may have run in part.
            let _ = answer
                .send(Err(untouched.map_or_else(|| lost().into(), |all| Unanswered::Unsent(all.to_vec()))));
        }
        while let Ok(job) = self.inbox.try_recv() {
            let _ = job.answer.send(Err(Unanswered::Unsent(job.commands)));
        }
    }
}

#[cfg(test)]
mod tests;
