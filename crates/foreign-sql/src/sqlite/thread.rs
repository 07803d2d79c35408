//! The thread of one connection.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::open::Opener;
use super::{Control, failure, run};
use crate::engine::{Failure, Page, Ran, RunMode, Work};
use crate::error::{ConnectError, Refused, no_such_cursor};

pub(crate) type RanAnswer = oneshot::Sender<Result<Ran, Failure>>;

/// What a thread is asked to do. An answer that nobody waits for any more is dropped.
pub(crate) enum Job {
    Run { work: Arc<Work>, answer: RanAnswer },
    Fetch { page: Page, answer: RanAnswer },
    ProveClean { answer: oneshot::Sender<bool> },
    Prepare { text: String, answer: oneshot::Sender<Result<(), Refused>> },
}

/// A connection with what its session is set to.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) control: Arc<Control>,
    /// `PRAGMA query_only`.
    pub(crate) query_only: bool,
}

/// Starts a thread that opens a connection, says whether it could, and then waits for jobs until their sender is
/// dropped. The queue of jobs holds one at most, because a connection has one user who waits for its answer.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn spawn(
    opener: Arc<Opener>,
    control: Arc<Control>,
    opened: oneshot::Sender<rusqlite::Result<()>>,
) -> Result<Sender<Job>, ConnectError> {
    let (sender, jobs) = channel();
    let serve = move || {
        match opener.open(&control) {
            Ok(connection) => {
                if opened.send(Ok(())).is_ok() {
                    serve(Session { connection, control, query_only: false }, &jobs);
                }
            }
            Err(error) => {
                // Whoever asked may be gone.
                let _ = opened.send(Err(error));
            }
        };
    };
    thread::Builder::new().name("agw-sqlite".to_owned()).spawn(serve).map_err(ConnectError::Thread)?;
    Ok(sender)
}

fn serve(mut session: Session, jobs: &Receiver<Job>) {
    let mut next = jobs.recv().ok();
    while let Some(job) = next {
        // A page that leaves rows gives back the job that ended it.
        let left = match job {
            Job::Run { work, answer } if matches!(work.mode, RunMode::Page(_)) => {
                run::pages(&mut session, &work, answer, jobs)
            }
            Job::Run { work, answer } => {
                let _ = answer.send(run::run(&mut session, &work));
                None
            }
            Job::Fetch { answer, .. } => {
                let _ = answer.send(Err(no_such_cursor().into()));
                None
            }
            Job::ProveClean { answer } => {
                let _ = answer.send(session.connection.is_autocommit());
                None
            }
            Job::Prepare { text, answer } => {
                let prepared = session.connection.prepare(&text).map(drop);
                let _ = answer.send(prepared.map_err(failure::refused));
                None
            }
        };
        next = left.or_else(|| jobs.recv().ok());
    }
}
