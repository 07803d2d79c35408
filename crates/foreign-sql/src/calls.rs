//! One call on the resource runtime: a connection, the work, the answer, and what becomes of the connection.

use std::sync::Arc;
use std::time::Duration;

use agw_foreign::{ContextKey, LineId, Reply};
use agw_telemetry::{CallTrace, Stage};
use agw_wire::sql::ReplyWriter;
use agw_wire::{CallError, Retry};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cursors::{Cursors, InUse};
use crate::engine::{Failure, Page, Ran, Work};
use crate::error::{cancelled, closed, timeout_io};
use crate::pool::{Lease, Pool};

/// A statement that was told to stop has this long; then its connection is thrown away.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection has this long to prove itself clean.
const PROOF_TIMEOUT: Duration = Duration::from_secs(1);

/// A call's answer, on its way to the worker that waits for it.
pub(crate) type Answer = oneshot::Sender<Result<Reply, CallError>>;

/// What ends a call before its time.
pub(crate) struct Ends {
    pub(crate) deadline: Instant,
    /// The call was taken back, or nobody waits for it any more.
    pub(crate) cancel: CancellationToken,
    /// The call's span, if its request is recorded.
    pub(crate) trace: Option<CallTrace>,
}

/// What a connection is asked to do.
enum Task {
    Run(Arc<Work>),
    Fetch(Page),
}

/// Runs work on a connection of the pool. A page that leaves rows becomes a cursor of `context`.
pub(crate) async fn run(
    pool: Arc<Pool>,
    line: LineId,
    work: Arc<Work>,
    cursors: Arc<Cursors>,
    context: ContextKey,
    ends: Ends,
    answer: Answer,
) {
    let lease = match pool.acquire(line, &ends).await {
        Ok(lease) => lease,
        Err(error) => {
            // Whoever waited may be gone.
            let _ = answer.send(Err(error));
            return;
        }
    };
    let cursor = cursors.enter(context);
    attend(&pool, lease, Task::Run(work), cursor, &ends, answer).await;
}

/// Fetches the next page of a cursor.
pub(crate) async fn fetch(
    pool: Arc<Pool>,
    (lease, cursor): (Lease, InUse),
    page: Page,
    ends: Ends,
    answer: Answer,
) {
    attend(&pool, lease, Task::Fetch(page), cursor, &ends, answer).await;
}

/// Gives a connection back if it proves itself clean, and closes it otherwise.
pub(crate) async fn recycle(mut lease: Lease) {
    if timeout(PROOF_TIMEOUT, lease.connection().prove_clean()).await == Ok(true) {
        lease.give_back();
    }
}

/// The answer goes out as soon as it is known, at the deadline at the latest. The connection keeps its place until it is
/// certain what becomes of it.
async fn attend(pool: &Arc<Pool>, mut lease: Lease, task: Task, cursor: InUse, ends: &Ends, answer: Answer) {
    let stopper = lease.connection().stopper();
    let sent = Instant::now();
    let mut running = match &task {
        Task::Run(work) => lease.connection().run(work),
        Task::Fetch(page) => lease.connection().fetch(*page),
    };
    let ended = tokio::select! {
        // A result that is there at the deadline is still one.
        biased;
        outcome = &mut running => Ok(outcome),
        () = sleep_until(ends.deadline) => Err(timeout_io()),
        () = ends.cancel.cancelled() => Err(cancelled()),
        () = pool.stop.cancelled() => Err(closed(Retry::IfIdempotent)),
    };
    let took = sent.elapsed();
    pool.stages.io.observe(took.as_secs_f64());
    if let Some(trace) = &ends.trace {
        trace.add(Stage::Io, took);
    }
    match ended {
        Ok(outcome) => {
            drop(running);
            finish(outcome, lease, cursor, answer).await;
        }
        Err(error) => {
            let _ = answer.send(Err(error));
            drop(cursor);
            // Both: what stops a statement may be of use only if that one is heard as well.
            let stopped = timeout(STOP_TIMEOUT, async { tokio::join!(stopper.stop(), running) }).await;
            match stopped {
                Ok(((), Err(failure))) if failure.broken => {}
                Ok(_) => recycle(lease).await,
                Err(_) => {
                    let name = &pool.resource;
                    tracing::warn!(
                        resource.name = name,
                        "a statement did not stop; its connection is closed"
                    );
                }
            }
        }
    }
}

async fn finish(outcome: Result<Ran, Failure>, lease: Lease, cursor: InUse, answer: Answer) {
    match outcome {
        Ok(Ran { reply, more: false }) => {
            drop(cursor);
            let _ = answer.send(Ok(encoded(reply, 0)));
            lease.give_back();
        }
        Ok(Ran { reply, more: true }) => {
            let id = cursor.id();
            match cursor.keep(lease) {
                // Kept before the answer is out: the next call may come at once.
                Ok(()) => {
                    let _ = answer.send(Ok(encoded(reply, id)));
                }
                Err(lease) => {
                    let _ = answer.send(Err(cancelled()));
                    recycle(lease).await;
                }
            }
        }
        Err(Failure { error, broken }) => {
            drop(cursor);
            let _ = answer.send(Err(error));
            if !broken {
                recycle(lease).await;
            }
        }
    }
}

fn encoded(reply: ReplyWriter, cursor: u32) -> Reply {
    Reply::sql(reply.finish(cursor))
}
