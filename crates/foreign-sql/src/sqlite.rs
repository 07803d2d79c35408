//! SQLite: a thread for each connection, because its calls block.
//!
//! The thread runs what it is sent, one thing at a time, and ends when its connection is dropped. `Control` is what
//! both sides share: the flag that stops a statement and the deadline up to which locks are waited for.

mod bind;
mod failure;
mod open;
mod run;
mod thread;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agw_config::{SqlResource, Sqlite};
use agw_wire::CallError;
use parking_lot::Mutex;
use rusqlite::InterruptHandle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::engine::{BoxFuture, Connection, Engine, Failure, Page, Ran, Stopper, Work};
use crate::error::{ConnectError, Refused, lost};
use open::Opener;
use thread::Job;

/// One database.
pub(crate) struct SqliteEngine {
    opener: Arc<Opener>,
}

/// The handle of a connection's thread.
pub(crate) struct SqliteConnection {
    jobs: std::sync::mpsc::Sender<Job>,
    control: Arc<Control>,
}

/// What a connection's thread and its handle share.
pub(crate) struct Control {
    /// What runs shall stop. Set by the stopper, cleared before the next job is sent, never in between.
    stopped: AtomicBool,
    /// Locks are waited for until then.
    deadline: Mutex<Option<Instant>>,
    /// Rows that were inserted since it was last set to 0.
    inserted: AtomicU64,
    interrupt: Mutex<Option<InterruptHandle>>,
}

// === impl SqliteEngine ===

impl SqliteEngine {
    /// No I/O.
    pub(crate) fn new(resource: &SqlResource, at: &Sqlite) -> Self {
        SqliteEngine { opener: Arc::new(Opener::new(resource, at)) }
    }
}

impl Engine for SqliteEngine {
    fn connect(&self, _until: Instant) -> BoxFuture<'_, Result<Box<dyn Connection>, ConnectError>> {
        Box::pin(async move {
            let control = Arc::new(Control::new());
            let (opened, ready) = oneshot::channel();
            let jobs = thread::spawn(Arc::clone(&self.opener), Arc::clone(&control), opened)?;
            match ready.await {
                Ok(Ok(())) => Ok(Box::new(SqliteConnection { jobs, control }) as Box<dyn Connection>),
                Ok(Err(error)) => Err(ConnectError::Open(Box::new(error))),
                Err(_) => Err(ConnectError::Open("the thread of the connection has ended".into())),
            }
        })
    }
}

// === impl SqliteConnection ===

impl SqliteConnection {
    /// Sends a job and waits for its answer, which never comes if the thread has ended.
    async fn ask<T>(
        &self,
        deadline: Option<Instant>,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Option<T> {
        self.control.begin(deadline);
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).ok()?;
        answered.await.ok()
    }
}

impl Connection for SqliteConnection {
    fn run<'a>(&'a mut self, work: &'a Arc<Work>) -> BoxFuture<'a, Result<Ran, Failure>> {
        Box::pin(async move {
            let work = Arc::clone(work);
            let ran = self.ask(Some(work.deadline), |answer| Job::Run { work, answer }).await;
            ran.unwrap_or_else(|| Err(thread_lost()))
        })
    }

    fn fetch(&mut self, page: Page) -> BoxFuture<'_, Result<Ran, Failure>> {
        Box::pin(async move {
            let ran = self.ask(Some(page.deadline), |answer| Job::Fetch { page, answer }).await;
            ran.unwrap_or_else(|| Err(thread_lost()))
        })
    }

    fn stopper(&self) -> Arc<dyn Stopper> {
        Arc::clone(&self.control) as Arc<dyn Stopper>
    }

    fn prove_clean(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.ask(None, |answer| Job::ProveClean { answer }).await.unwrap_or(false) })
    }

    fn is_open(&self) -> bool {
        // A thread ends only with its handle, or by a panic, and then its next job finds out.
        true
    }

    fn prepare<'a>(&'a mut self, text: &'a str) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            let text = text.to_owned();
            let prepared = self.ask(None, |answer| Job::Prepare { text, answer }).await;
            let lost =
                || Refused { message: "the thread of the connection has ended".to_owned(), position: None };
            prepared.unwrap_or_else(|| Err(lost()))
        })
    }
}

impl Drop for SqliteConnection {
    /// Whatever still runs ends soon, and the thread with it.
    fn drop(&mut self) {
        self.control.stop_now();
    }
}

fn thread_lost() -> Failure {
    Failure { error: lost(), broken: true }
}

// === impl Control ===

impl Control {
    fn new() -> Self {
        Control {
            stopped: AtomicBool::new(false),
            deadline: Mutex::new(None),
            inserted: AtomicU64::new(0),
            interrupt: Mutex::new(None),
        }
    }

    /// Before a job is sent: the one before it is over, and so is whatever stopped it.
    fn begin(&self, deadline: Option<Instant>) {
        *self.deadline.lock() = deadline;
        self.stopped.store(false, Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether a lock may be waited for any longer.
    fn may_wait(&self) -> bool {
        !self.is_stopped() && self.deadline.lock().is_none_or(|deadline| Instant::now() < deadline)
    }

    /// The flag is seen by the progress handler and the busy handler. The interrupt is for what runs between two steps
    /// of the progress handler; where nothing runs it does nothing.
    fn stop_now(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(interrupt) = &*self.interrupt.lock() {
            interrupt.interrupt();
        }
    }
}

impl Stopper for Control {
    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stop_now();
        Box::pin(std::future::ready(()))
    }
}

/// The statement's answer to being stopped. The caller has answered already.
fn stopped() -> CallError {
    crate::error::timeout_io()
}

#[cfg(test)]
mod tests;
