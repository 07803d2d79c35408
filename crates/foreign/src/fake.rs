//! A backend for tests: it answers when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agw_wire::{CallError, Code, Request, Retry};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backend::{BackendFuture, CallSite, ContextKey, GrantedResource, Reply};

type Answer = oneshot::Sender<Result<Reply, CallError>>;

#[derive(Default)]
pub(crate) struct Fake {
    /// Refuses every call with this.
    pub(crate) refuse: Mutex<Option<CallError>>,
    /// Known for every call.
    pub(crate) known: Mutex<Option<Result<Reply, CallError>>>,
    /// Answers every call at once with this.
    pub(crate) at_once: Mutex<Option<Result<(), Code>>>,
    /// Calls that wait for an answer, in the order in which they reached the backend.
    pub(crate) waiting: Mutex<Vec<(Duration, Answer)>>,
    pub(crate) started: AtomicUsize,
    pub(crate) polled: Arc<AtomicUsize>,
    /// Backend futures that live.
    pub(crate) alive: Arc<AtomicUsize>,
    pub(crate) ended: Mutex<Vec<ContextKey>>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn reply() -> Reply {
    Reply::resp(Bytes::from_static(b":1\r\n"), 0)
}

/// A `GrantedResource` over a shared [`Fake`].
pub(crate) struct Shared(pub(crate) Arc<Fake>);

impl GrantedResource for Shared {
    fn known(&self, _: &Request<'_>, _: &CallSite) -> Option<Result<Reply, CallError>> {
        self.0.known.lock().clone()
    }

    fn start(&self, _: &Request<'_>, _: &CallSite, deadline: Instant) -> Result<BackendFuture, CallError> {
        let fake = Arc::clone(&self.0);
        fake.started.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = fake.refuse.lock().clone() {
            return Err(error);
        }
        fake.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&fake.alive));
        Ok(Box::pin(async move {
            let _alive = alive;
            fake.polled.fetch_add(1, Ordering::SeqCst);
            if let Some(outcome) = *fake.at_once.lock() {
                return outcome.map(|()| reply()).map_err(|code| CallError::new(code, "").retry(Retry::Safe));
            }
            let (answer, answered) = oneshot::channel();
            fake.waiting.lock().push((deadline - Instant::now(), answer));
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(CallError::new(Code::Unavailable, "")),
                Err(_) => Err(CallError::new(Code::TimeoutIo, "")),
            }
        }))
    }

    fn context_ended(&self, context: ContextKey) {
        self.0.ended.lock().push(context);
    }
}

impl Fake {
    /// Answers the call that has waited longest.
    pub(crate) fn answer(&self, outcome: Result<Reply, CallError>) {
        let (_, answer) = self.waiting.lock().remove(0);
        let _ = answer.send(outcome);
    }
}
