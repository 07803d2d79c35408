//! How a connection learns that its worker stops.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::sync::futures::Notified;

use crate::worker::{Stop, Worker};

/// Tells one task of each step of its worker's end, once.
pub(crate) struct StopWatch<'a> {
    worker: &'a Worker,
    seen: Stop,
    changed: Pin<Box<Notified<'a>>>,
    /// The task will be woken at the next change.
    registered: bool,
}

impl<'a> StopWatch<'a> {
    pub(crate) fn new(worker: &'a Worker) -> Self {
        let changed = Box::pin(worker.stop_changed());
        StopWatch { worker, seen: Stop::Running, changed, registered: false }
    }

    /// A step that was not told yet. If there is none, the task is woken at the next.
    pub(crate) fn next(&mut self, cx: &mut Context<'_>) -> Option<Stop> {
        loop {
            let now = self.worker.stop();
            if now != self.seen {
                self.seen = now;
                self.registered = false;
                return Some(now);
            }
            if self.registered {
                return None;
            }
            if self.changed.as_mut().poll(cx).is_ready() {
                self.changed.set(self.worker.stop_changed());
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
