//! A connection of the pipelined lane: statements of many calls, one behind the other.

use std::sync::Arc;

use agw_sql_statements::Kind;
use agw_wire::CallError;
use futures_util::TryStreamExt;
use parking_lot::Mutex;
use tokio_postgres::Client;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::encode::encode;
use super::failure::{Failed, failed};
use super::open::{Opened, Opener};
use super::session::{write_columns, write_row};
use super::statements::{NotPrepared, Prepared, Statements};
use super::wire::Seen;
use crate::engine::{BoxFuture, Ran, SharedConnection, Work};
use crate::error::invalid;
use crate::hosts::Link;
use crate::output::Output;

/// Rows of a refused result that are read on before the connection is given up: nothing else can end it.
const REST_ROWS: usize = 10_000;

/// A connection that many calls use at once.
pub(crate) struct PostgresShared {
    client: Client,
    link: Link<Opener>,
    seen: Arc<Seen>,
    /// Locked for a look, never while anything is waited for.
    statements: Mutex<Statements>,
    ended: CancellationToken,
    closed: CancellationToken,
    goodbye: Mutex<Option<DropGuard>>,
}

// === impl PostgresShared ===

impl PostgresShared {
    pub(crate) fn new(opened: Opened, link: Link<Opener>, statements_max: usize) -> Self {
        let Opened { client, seen, goodbye, ended, .. } = opened;
        let statements = Mutex::new(Statements::new(statements_max));
        let goodbye = Mutex::new(Some(goodbye));
        PostgresShared { client, link, seen, statements, ended, closed: CancellationToken::new(), goodbye }
    }

    async fn attempt(&self, work: &Work) -> Result<Ran, Failed> {
        let [bound] = work.statements.as_slice() else {
            return Err(invalid("only a single statement can be pipelined").into());
        };
        let prepared = self.prepared(&bound.text).await?;
        let params = encode(&bound.params, prepared.statement.params())?;
        let mut output = Output::new(work.mode, work.caps);
        let rows = self.client.query_raw(&prepared.statement, params).await;
        let mut rows = std::pin::pin!(rows.map_err(|error| self.failed(&error))?);
        let mut refused = None;
        if output.wants_rows() {
            refused = write_columns(&prepared.columns, &mut output).err();
        }
        let mut rest = 0;
        while let Some(row) = rows.try_next().await.map_err(|error| self.failed(&error))? {
            if refused.is_none() {
                refused = write_row(&row, &prepared.columns, &mut output).err();
                continue;
            }
            rest += 1;
            if rest == REST_ROWS {
                self.close();
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        if !self.seen.is_read_only() {
            // A function has changed it: nobody else must come.
            self.close();
        }
        output.end_result(0, 0)?;
        Ok(output.finish(false))
    }

    async fn prepared(&self, text: &Arc<str>) -> Result<Arc<Prepared>, Failed> {
        if let Some(known) = self.statements.lock().get(text) {
            return Ok(known);
        }
        let new = Prepared::new(&self.client, text, true).await;
        let prepared = Arc::new(new.map_err(|error| match error {
            NotPrepared::Server(error) => self.failed(&error),
            NotPrepared::Call(error) => error.into(),
        })?);
        self.statements.lock().keep(&prepared);
        Ok(prepared)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Failed {
        failed(error, &self.seen, true)
    }
}

impl SharedConnection for PostgresShared {
    fn run(self: Arc<Self>, work: Work) -> BoxFuture<'static, Result<Ran, CallError>> {
        debug_assert!(work.statements.iter().all(|bound| bound.kind == Kind::Reads));
        Box::pin(async move {
            let ran = match self.attempt(&work).await {
                // It has not run, so it may run again.
                Err(stale) if stale.stale && !stale.broken => {
                    self.statements.lock().clear();
                    self.attempt(&work).await
                }
                other => other,
            };
            ran.map_err(|failed| failed.error)
        })
    }

    fn is_open(&self) -> bool {
        !self.client.is_closed() && !self.closed.is_cancelled()
    }

    fn close(&self) {
        self.closed.cancel();
        self.goodbye.lock().take();
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::select! {
                () = self.ended.cancelled() => {}
                () = self.closed.cancelled() => {}
                () = self.link.retired() => {}
            }
        })
    }
}
