//! How far something has come in stopping, and how its tasks learn of it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How far a worker, a door or the connections of an entrance have come in stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    Running,
    /// No new connections; exchanges under way finish, and those that begin are the last on their connection.
    Draining,
    /// Connections close at once.
    Killed,
}

/// The state of an end, and whoever waits for its next step. It never goes back.
#[derive(Debug)]
pub(crate) struct Ending {
    stop: Cell<Stop>,
    changed: Notify,
}

/// Tells one task of each step of an end, once.
pub(crate) struct StopWatch<'a> {
    ending: &'a Ending,
    seen: Stop,
    changed: Pin<Box<Notified<'a>>>,
    /// The task will be woken at the next change.
    registered: bool,
}

// === impl Ending ===

impl Ending {
    pub(crate) fn new() -> Self {
        Ending { stop: Cell::new(Stop::Running), changed: Notify::new() }
    }

    /// How far it has come.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.get()
    }

    /// Ready when [`Ending::stop`] has changed after the future was first polled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Goes as far as `stop`, unless it has come further already.
    pub(crate) fn advance(&self, stop: Stop) {
        if stop > self.stop.get() {
            self.stop.set(stop);
            self.changed.notify_waiters();
        }
    }

    /// Returns once it has come as far as `stop`.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn reached(&self, stop: Stop) {
        loop {
            let changed = self.changed();
            if self.stop() >= stop {
                return;
            }
            changed.await;
        }
    }
}

// === impl StopWatch ===

impl<'a> StopWatch<'a> {
    pub(crate) fn new(ending: &'a Ending) -> Self {
        StopWatch { ending, seen: Stop::Running, changed: Box::pin(ending.changed()), registered: false }
    }

    /// A step that was not told yet. If there is none, the task is woken at the next.
    pub(crate) fn next(&mut self, cx: &mut Context<'_>) -> Option<Stop> {
        loop {
            let now = self.ending.stop();
            if now != self.seen {
                self.seen = now;
                self.registered = false;
                return Some(now);
            }
            if self.registered {
                return None;
            }
            if self.changed.as_mut().poll(cx).is_ready() {
                self.changed.set(self.ending.changed());
            } else {
                self.registered = true;
            }
        }
    }

    /// What was told last.
    pub(crate) fn seen(&self) -> Stop {
        self.seen
    }
}
