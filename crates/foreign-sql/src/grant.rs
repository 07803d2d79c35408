//! One plugin's use of one database: checks a call and sends it to the resource runtime, or through the lane.

use std::sync::Arc;
use std::time::Duration;

use agw_foreign::{BackendFuture, CallSite, ContextKey, GrantedResource, LineId, Operation, Reply};
use agw_wire::sql::Call;
use agw_wire::{CallError, Request, Retry};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::SqlBackend;
use crate::cache::{Caches, Found, Lead, Outcome};
use crate::calls::{self, Ends};
use crate::cursors::Cursors;
use crate::engine::Work;
use crate::error::{closed, invalid};
use crate::plan::{Plan, Policy};
use crate::pool::Pool;
use crate::span::Database;

/// One plugin's grant.
pub(crate) struct SqlGranted(Arc<Granted>);

/// Where one plugin waits: for a connection of its own, and for a place in the pipelined lane.
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) own: LineId,
    pub(crate) shared: LineId,
}

struct Granted {
    pool: Arc<Pool>,
    lines: Lines,
    policy: Policy,
    /// For spans.
    database: Database,
    cursors: Arc<Cursors>,
    caches: Caches,
    /// For a call that nobody waits for.
    call_timeout: Duration,
    /// Connections stay open as long as anybody may call.
    _backend: Arc<SqlBackend>,
}

// === impl SqlGranted ===

impl SqlGranted {
    pub(crate) fn new(
        pool: Arc<Pool>,
        lines: Lines,
        policy: Policy,
        cursors: Arc<Cursors>,
        caches: Caches,
        call_timeout: Duration,
        backend: Arc<SqlBackend>,
    ) -> Self {
        let database = backend.database.clone();
        let granted =
            Granted { pool, lines, policy, database, cursors, caches, call_timeout, _backend: backend };
        SqlGranted(Arc::new(granted))
    }
}

impl GrantedResource for SqlGranted {
    fn operation(&self, request: &Request<'_>) -> Operation {
        self.0.database.operation(request, &self.0.policy)
    }

    fn known(&self, request: &Request<'_>, site: &CallSite) -> Option<Outcome> {
        let call = request.sql.as_ref()?;
        let (cache, key) = self.0.caches.of(call)?;
        match cache.find(&key)? {
            Found::Fresh(outcome) | Found::Stale(outcome, None) => Some(outcome),
            Found::Stale(outcome, Some(lead)) => {
                Arc::clone(&self.0).renew(call, site, lead);
                Some(outcome)
            }
        }
    }

    fn start(
        &self,
        request: &Request<'_>,
        site: &CallSite,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError> {
        let Some(call) = &request.sql else {
            return Err(invalid("field sql is missing: it holds the statements"));
        };
        let plan = Plan::new(call, &self.0.policy, deadline)?;
        let (granted, context) = (Arc::clone(&self.0), site.context);
        let (cancel, trace) = (site.cancel.child_token(), site.trace.clone());
        match plan {
            Plan::Close { cursor } => {
                granted.close(cursor, context)?;
                Ok(Box::pin(std::future::ready(Ok(Reply::sql(Bytes::new())))))
            }
            Plan::Fetch { cursor, page } => {
                // Taken at once, so that of two calls at the same time the second is refused.
                let taken = granted.cursors.take(cursor, context)?;
                Ok(Box::pin(async move {
                    let _on_drop = cancel.clone().drop_guard();
                    let pool = Arc::clone(&granted.pool);
                    let (answer, answered) = oneshot::channel();
                    let ends = Ends { deadline, cancel, trace };
                    granted.pool.spawn(calls::fetch(pool, taken, page, ends, answer));
                    answer_of(answered).await
                }))
            }
            Plan::Run(work) => {
                let run = granted.run(work, site, Ends { deadline, cancel, trace });
                Ok(match self.0.caches.of(call) {
                    Some((cache, key)) => Box::pin(Arc::clone(cache).call(key.into(), deadline, run)),
                    None => run,
                })
            }
        }
    }

    fn context_ended(&self, context: ContextKey) {
        for lease in self.0.cursors.end_context(context) {
            self.0.pool.spawn(calls::recycle(lease));
        }
    }
}

// === impl Granted ===

impl Granted {
    /// Through the lane on this worker, or on the resource runtime.
    fn run(self: Arc<Self>, work: Work, site: &CallSite, ends: Ends) -> BackendFuture {
        let (worker, context) = (site.worker, site.context);
        if work.pipelined {
            let line = self.lines.shared;
            let pool = Arc::clone(&self.pool);
            return Box::pin(async move { pool.run_shared(line, worker, work, ends).await });
        }
        Box::pin(async move {
            let _on_drop = ends.cancel.clone().drop_guard();
            let (answer, answered) = oneshot::channel();
            let (pool, cursors) = (Arc::clone(&self.pool), Arc::clone(&self.cursors));
            let running = calls::run(pool, self.lines.own, Arc::new(work), cursors, context, ends, answer);
            self.pool.spawn(running);
            answer_of(answered).await
        })
    }

    /// In the background: no stream's end ends it, only the worker's.
    fn renew(self: Arc<Self>, call: &Call<'_>, site: &CallSite, lead: Lead) {
        let deadline = Instant::now() + self.call_timeout;
        let Ok(Plan::Run(work)) = Plan::new(call, &self.policy, deadline) else { return };
        let pool = Arc::clone(&self.pool);
        let ends = Ends { deadline, cancel: CancellationToken::new(), trace: None };
        let running = self.run(work, site, ends);
        pool.tasks.spawn(async move { lead.end(&running.await, deadline) });
    }

    fn close(&self, cursor: u32, context: ContextKey) -> Result<(), CallError> {
        // What is taken and not kept ends.
        let (lease, _ended) = self.cursors.take(cursor, context)?;
        self.pool.spawn(calls::recycle(lease));
        Ok(())
    }
}

/// Every call answers by its deadline; one without an answer was lost with the resource runtime.
async fn answer_of(answered: oneshot::Receiver<Result<Reply, CallError>>) -> Result<Reply, CallError> {
    answered.await.unwrap_or_else(|_| Err(closed(Retry::IfIdempotent)))
}
