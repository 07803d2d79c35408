//! One connection: work in transactions of its own making.
//!
//! Work runs in an explicit transaction. It says whether it may write, and its timeout, and both end with it. One
//! that only reads is rolled back in the end, so that not even a setting made by a function outlives it; the session
//! itself is read-only by default, so that a statement whose BEGIN has failed could not write either.
//!
//! A single named statement that only reads needs none of that: its words are the operator's, its own implicit
//! transaction is read-only by the session's default, which it cannot leave once it runs, and the gateway stops it at
//! its deadline. Should a function change that default, the server says so (from version 14 on; before, such a statement
//! has its transaction), and the connection is closed. (The server by itself would at `call_timeout_max`.) It costs the server a third of the work.
//!
//! A single statement and the transaction around it are sent together and cost one round trip, unless its result may
//! have to be refused and what it wrote be undone.

use std::sync::Arc;

use agw_sql_statements::Kind;
use agw_wire::CallError;
use futures_util::TryStreamExt;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};
use tokio_util::sync::DropGuard;

use super::cursor::Cursor;
use super::decode::Raw;
use super::encode::{Param, encode};
use super::failure::{Failed, failed, not_begun};
use super::open::{Opened, Opener, role};
use super::statements::{Column, NotPrepared, Prepared, Statements};
use super::stop::Stop;
use super::wire::Seen;
use crate::engine::{Bound, Ran, RunMode, Work};
use crate::error::{demoted, invalid, timeout_io};
use crate::hosts::{Link, Role};
use crate::output::{Output, Room};

/// The server ends a statement so much later than the gateway would, which is to be the first.
const TIMEOUT_SLACK_MS: u128 = 100;
/// Rows of a refused result that are read to its end before the server is asked to stop.
const REST_ROWS: usize = 100;
/// Signals that the proof takes in before it gives up.
const LATE_CANCELS_MAX: usize = 3;

/// A connection with what it knows.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) seen: Arc<Seen>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) link: Link<Opener>,
    pub(crate) statements: Statements,
    pub(crate) cursor: Option<Cursor>,
    /// Something may have stayed with the session.
    pub(crate) spent: bool,
    _goodbye: DropGuard,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(opened: Opened, link: Link<Opener>, statements_max: usize) -> Self {
        let Opened { client, address, seen, goodbye, .. } = opened;
        let stop = Arc::new(Stop::new(Arc::clone(link.host()), address, client.cancel_token()));
        let statements = Statements::new(statements_max);
        Session { client, seen, stop, link, statements, cursor: None, spent: false, _goodbye: goodbye }
    }

    /// Runs work that leaves nothing behind.
    pub(crate) async fn run(&mut self, work: &Work) -> Result<Ran, Failed> {
        let ran = match self.attempt(work).await {
            // Nothing of it remains, so it may run again.
            Err(stale) if stale.stale && !stale.broken => {
                self.statements.clear();
                self.attempt(work).await
            }
            other => other,
        };
        match ran {
            Err(failed) if failed.takes_no_writes() && self.link.needs_primary() => {
                Err(self.look_at_host(failed).await)
            }
            ran => ran,
        }
    }

    /// A write was refused. A guest can bring that about in a session of its own; a host that has become a replica is over
    /// for all connections.
    async fn look_at_host(&mut self, failed: Failed) -> Failed {
        if !self.seen.is_idle() && self.roll_back().await.is_err() {
            return Failed { broken: true, ..failed };
        }
        match role(&self.client).await {
            Ok(Role::Primary) => failed,
            Ok(Role::Replica) => {
                self.link.retire();
                Failed::broken(demoted())
            }
            Err(_) => Failed { broken: true, ..failed },
        }
    }

    async fn attempt(&mut self, work: &Work) -> Result<Ran, Failed> {
        let ran = match (work.mode, work.statements.as_slice()) {
            (RunMode::Page(_), [bound]) => self.open_cursor(work, bound).await,
            (RunMode::Batch, bounds) => self.batch(work, bounds).await,
            (_, [bound]) => self.single(work, bound).await,
            _ => return Err(invalid("there is no statement").into()),
        };
        match ran {
            Err(error) if !error.broken && !self.seen.is_idle() => self.roll_back().await.and(Err(error)),
            other => other,
        }
    }

    async fn single(&mut self, work: &Work, bound: &Bound) -> Result<Ran, Failed> {
        let prepared = self.prepared(bound, work.read_only).await?;
        let params = encode(&bound.params, prepared.statement.params())?;
        let begin = begin(work.read_only, work.deadline);
        let end = if work.read_only { "ROLLBACK" } else { "COMMIT" };
        let mut output = Output::new(work.mode, work.caps);
        self.check_stopped()?;
        let running = self.one(&prepared, params, bound.kind, work.read_only, &mut output);
        if work.read_only && !bound.ad_hoc && !prepared.leaves_traces && self.seen.is_read_only() {
            running.await?;
            // A function may have changed it: the connection serves nobody else.
            self.spent |= !self.seen.is_read_only();
            return Ok(output.finish(false));
        }
        let no_refusal = work.mode == RunMode::Execute && prepared.columns.is_empty();
        if work.read_only || no_refusal {
            let (begun, ran, ended) = tokio::join!(
                biased;
                self.client.batch_execute(&begin), running, self.client.batch_execute(end)
            );
            self.begun(begun)?;
            ran?;
            ended.map_err(|error| self.failed(&error, work.read_only))?;
        } else {
            let (begun, ran) = tokio::join!(biased; self.client.batch_execute(&begin), running);
            self.begun(begun)?;
            ran?;
            self.control(end).await?;
        }
        Ok(output.finish(false))
    }

    async fn batch(&mut self, work: &Work, bounds: &[Bound]) -> Result<Ran, Failed> {
        let mut output = Output::new(work.mode, work.caps);
        let begun = self.client.batch_execute(&begin(work.read_only, work.deadline)).await;
        self.begun(begun)?;
        for (place, bound) in bounds.iter().enumerate() {
            let ran = self.one_of_batch(work, bound, &mut output).await;
            ran.map_err(|failed| at(place, failed))?;
        }
        self.check_stopped()?;
        self.control(if work.read_only { "ROLLBACK" } else { "COMMIT" }).await?;
        Ok(output.finish(false))
    }

    /// Only now: it may need what those before it have made.
    async fn one_of_batch(&mut self, work: &Work, bound: &Bound, output: &mut Output) -> Result<(), Failed> {
        let prepared = self.prepared(bound, work.read_only).await?;
        let params = encode(&bound.params, prepared.statement.params())?;
        self.check_stopped()?;
        self.one(&prepared, params, bound.kind, work.read_only, output).await
    }

    /// Runs a statement and writes its result. Sent with the first poll.
    async fn one(
        &self,
        prepared: &Prepared,
        params: Vec<Param>,
        kind: Kind,
        read_only: bool,
        output: &mut Output,
    ) -> Result<(), Failed> {
        let rows = self.client.query_raw(&prepared.statement, params).await;
        let mut rows = std::pin::pin!(rows.map_err(|error| self.failed(&error, read_only))?);
        if output.wants_rows() {
            write_columns(&prepared.columns, output)?;
        }
        let mut refused = None;
        let mut rest = 0;
        while let Some(row) = rows.try_next().await.map_err(|error| match refused.take() {
            Some(refused) => refused,
            None => self.failed(&error, read_only),
        })? {
            if refused.is_none() {
                refused = write_row(&row, &prepared.columns, output).err();
            } else {
                rest += 1;
            }
            if rest == REST_ROWS {
                self.stop.cancel().await.map_err(|_| Failed::broken(lost_for_refusal(&mut refused)))?;
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let changes = matches!(kind, Kind::Inserts | Kind::Writes);
        output.end_result(if changes { rows.rows_affected().unwrap_or(0) } else { 0 }, 0)?;
        Ok(())
    }

    /// Prepared, or out of the cache.
    pub(crate) async fn prepared(&mut self, bound: &Bound, read_only: bool) -> Result<Arc<Prepared>, Failed> {
        let known = self.statements.get(&bound.text);
        let prepared = match known {
            Some(prepared) => prepared,
            None => {
                let new = Prepared::new(&self.client, &bound.text, bound.kind == Kind::Reads).await;
                let prepared = Arc::new(new.map_err(|error| match error {
                    NotPrepared::Server(error) => self.failed(&error, read_only),
                    NotPrepared::Call(error) => error.into(),
                })?);
                self.statements.keep(&prepared);
                prepared
            }
        };
        self.spent |= prepared.leaves_traces;
        Ok(prepared)
    }

    /// Ends a cursor and a transaction, takes in whatever was sent to stop a statement, and looks.
    pub(crate) async fn prove_clean(&mut self) -> bool {
        self.cursor = None;
        for _ in 0..LATE_CANCELS_MAX {
            let text = if self.seen.is_idle() { "SELECT" } else { "ROLLBACK" };
            match self.client.batch_execute(text).await {
                Ok(()) if self.seen.is_idle() && text == "SELECT" => return !self.spent,
                Ok(()) => {}
                Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                Err(_) => return false,
            }
        }
        false
    }

    // --- parts ---

    /// What was sent behind a BEGIN that failed ran without it, and may have changed the session.
    pub(crate) fn begun(&self, begun: Result<(), Error>) -> Result<(), Failed> {
        begun.map_err(|error| Failed { broken: true, ..not_begun(self.failed(&error, false)) })
    }

    pub(crate) async fn control(&self, text: &str) -> Result<(), Failed> {
        self.client.batch_execute(text).await.map_err(|error| self.failed(&error, false))
    }

    /// What stopped the work may arrive only now, and must not stop this.
    async fn roll_back(&self) -> Result<(), Failed> {
        for _ in 0..LATE_CANCELS_MAX {
            match self.client.batch_execute("ROLLBACK").await {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                Err(error) => return Err(Failed { broken: true, ..self.failed(&error, false) }),
            }
        }
        Err(Failed::broken(timeout_io()))
    }

    pub(crate) fn check_stopped(&self) -> Result<(), Failed> {
        if self.stop.is_stopped() { Err(timeout_io().into()) } else { Ok(()) }
    }

    pub(crate) fn failed(&self, error: &Error, read_only: bool) -> Failed {
        failed(error, &self.seen, read_only)
    }
}

impl Failed {
    fn broken(error: CallError) -> Self {
        Failed { error, broken: true, stale: false }
    }
}

fn lost_for_refusal(refused: &mut Option<Failed>) -> CallError {
    refused.take().map_or_else(crate::error::lost, |refused| refused.error)
}

fn at(place: usize, failed: Failed) -> Failed {
    let message = format!("statement {place}: {}", failed.error.message);
    Failed { error: CallError { message, ..failed.error }, ..failed }
}

/// The timeout holds for each statement of the transaction, and costs no round trip.
pub(crate) fn begin(read_only: bool, deadline: Instant) -> String {
    let timeout = timeout_ms(deadline);
    match read_only {
        // The last statement takes the snapshot: from then on nothing can make the transaction writable.
        true => format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {timeout}; SELECT"),
        false => format!("BEGIN READ WRITE; SET LOCAL statement_timeout = {timeout}"),
    }
}

pub(crate) fn timeout_ms(deadline: Instant) -> u128 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    (left + TIMEOUT_SLACK_MS).min(i32::MAX as u128)
}

pub(crate) fn write_columns(columns: &[Column], output: &mut Output) -> Result<(), Failed> {
    for column in columns {
        output.column(&column.name, column.cell_type(), &column.engine_type)?;
    }
    Ok(())
}

/// `Ok(false)` if the page is full: the row has not been written.
pub(crate) fn write_row(row: &Row, columns: &[Column], output: &mut Output) -> Result<bool, Failed> {
    match output.room()? {
        Room::Skip => return Ok(true),
        Room::Full => return Ok(false),
        Room::Take => {}
    }
    for (at, column) in columns.iter().enumerate() {
        let raw = row.try_get::<_, Option<Raw<'_>>>(at).map_err(|_| unreadable(column))?;
        match raw {
            None => output.cell(agw_wire::sql::Cell::Null)?,
            Some(Raw(raw)) => {
                let value = column.decoder.decode(raw).ok_or_else(|| unreadable(column))?;
                output.cell(value.cell())?;
            }
        }
    }
    output.end_row()?;
    Ok(true)
}

fn unreadable(column: &Column) -> CallError {
    let message = format!("a value of column {} is none of the type {}", column.name, column.engine_type);
    CallError::new(agw_wire::Code::Server, message).server_code("HY000")
}
