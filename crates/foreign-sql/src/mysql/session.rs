//! One connection: work in transactions of its own making.
//!
//! A single statement that leaves nothing to undo runs by itself, in a session whose transactions are read-only unless
//! the work may write: one round trip. Whatever else there is to say to the server before it (who may write, how long
//! a statement may take) is said only when it changes.

use std::sync::Arc;

use agw_sql_statements::Kind;
use agw_wire::CallError;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable;
use mysql_async::{BinaryProtocol, Conn, Params, QueryResult, Statement};
use tokio::time::Instant;

use super::cursor::Cursor;
use super::decode::Column;
use super::encode::encode;
use super::failure::{Failed, failed, refused};
use super::open::{self, Flavour, Opened, Opener, role_of};
use super::rows::{write_columns, write_row};
use super::statements::{check_names, leaves_traces};
use super::stop::Stop;
use crate::engine::{Bound, Failure, Ran, RunMode, Work};
use crate::error::{Refused, demoted, invalid, lost};
use crate::hosts::{Hosts, Link, Role};
use crate::output::Output;

/// The server ends a statement so much later than the gateway would, which is to be the first.
const LIMIT_SLACK_MS: u64 = 500;
/// A limit that is up to so many times what is needed is left as it is.
const LIMIT_GRAIN: u64 = 16;
/// The statement of a cursor may take so long, its pauses included.
pub(super) const CURSOR_LIMIT_MS: u64 = 3_600_000;
/// Of a packet beside a statement's parameters.
const PACKET_EXTRA: usize = 1024;

/// A connection with what it knows.
pub(crate) struct Session {
    pub(super) conn: Conn,
    pub(super) flavour: Flavour,
    pub(super) packet_max: usize,
    pub(super) hosts: Arc<Hosts<Opener>>,
    pub(super) link: Link<Opener>,
    pub(crate) stop: Arc<Stop>,
    pub(super) keeps_statements: bool,
    /// What the server has been told.
    pub(super) may_write: bool,
    pub(super) limit_ms: u64,
    /// It is so still, as far as anybody can know: no words of a guest's own have run since.
    pub(super) is_told: bool,
    /// A transaction of the work is open.
    pub(super) in_transaction: bool,
    /// Rows of a result are still to come.
    pub(super) has_rows: bool,
    pub(super) cursor: Option<Cursor>,
    /// Something may have stayed with the session.
    pub(super) spent: bool,
    /// Words of a guest's own have run since the session was made.
    pub(super) has_visitors: bool,
    /// A call is under way, or was dropped or failed in a way that leaves nobody knowing what the connection is like.
    pub(crate) is_busy: bool,
    pub(super) used: Instant,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(
        opened: Opened,
        link: Link<Opener>,
        hosts: &Arc<Hosts<Opener>>,
        statements_max: usize,
    ) -> Self {
        let stop = Arc::new(Stop::new(Arc::clone(link.host()), opened.target));
        let limit_ms = link.host().statement_ms;
        Session {
            conn: opened.conn,
            flavour: opened.flavour,
            packet_max: opened.packet_max,
            hosts: Arc::clone(hosts),
            link,
            stop,
            keeps_statements: statements_max > 0,
            may_write: false,
            limit_ms,
            is_told: true,
            in_transaction: false,
            has_rows: false,
            cursor: None,
            spent: false,
            has_visitors: false,
            is_busy: false,
            used: Instant::now(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.is_busy && !self.spent && !self.conn.is_disconnected() && !self.link.is_retired()
    }

    /// The end of a call: `None` if the driver panicked.
    pub(crate) fn ended(&mut self, ran: Option<Result<Ran, Failed>>) -> Result<Ran, Failure> {
        let ran = ran.unwrap_or_else(|| Err(Failed::broken(lost())));
        self.is_busy = matches!(&ran, Err(failed) if failed.broken);
        self.used = Instant::now();
        ran.map_err(Failure::from)
    }

    /// Runs work that leaves nothing behind.
    pub(crate) async fn run(&mut self, work: &Work) -> Result<Ran, Failed> {
        self.wake().await?;
        let ran = match self.attempt(work).await {
            // Nothing of it remains, so it may run again.
            Err(stale) if stale.stale && !stale.broken => self.attempt(work).await,
            other => other,
        };
        match ran {
            Err(failed) if failed.takes_no_writes() && self.link.needs_primary() => {
                Err(self.look_at_host(failed).await)
            }
            ran => ran,
        }
    }

    /// A write was refused, which may have other reasons. A host that has become a replica is over for all connections.
    async fn look_at_host(&mut self, failed: Failed) -> Failed {
        match role_of(&mut self.conn).await {
            Ok(Role::Primary) => failed,
            Ok(Role::Replica) => {
                self.link.retire();
                Failed::broken(demoted())
            }
            Err(_) => Failed { broken: true, ..failed },
        }
    }

    async fn attempt(&mut self, work: &Work) -> Result<Ran, Failed> {
        self.enter_session(work).await?;
        let ran = match (work.mode, work.statements.as_slice()) {
            (RunMode::Page(_), [bound]) => self.open_cursor(work, bound).await,
            (RunMode::Batch, bounds) => self.batch(work, bounds).await,
            (_, [bound]) => self.single(work, bound).await,
            _ => return Err(invalid("there is no statement").into()),
        };
        match ran {
            Err(error) if !error.broken => self.tidy().await.and(Err(error)),
            ran => self.settle(ran).await,
        }
    }

    /// Whatever stayed with the session is gone before the answer is out.
    pub(super) async fn settle(&mut self, ran: Result<Ran, Failed>) -> Result<Ran, Failed> {
        if ran.is_ok() && self.spent && !self.has_rows {
            self.renew().await?;
        }
        ran
    }

    /// Variables and locks that a guest's words may have left are not for the next guest to see.
    async fn enter_session(&mut self, work: &Work) -> Result<(), Failed> {
        let looks = |bound: &Bound| leaves_traces(&bound.text);
        if self.has_visitors && work.statements.iter().any(looks) { self.renew().await } else { Ok(()) }
    }

    async fn single(&mut self, work: &Work, bound: &Bound) -> Result<Ran, Failed> {
        let mut output = Output::new(work.mode, work.caps);
        if !work.needs_transaction() {
            self.tell(!work.read_only, limit_ms(work.deadline)).await?;
            self.one(bound, work.read_only, &mut output).await?;
            return Ok(output.finish(false));
        }
        self.begin(work).await?;
        self.one(bound, work.read_only, &mut output).await?;
        self.commit().await?;
        Ok(output.finish(false))
    }

    async fn batch(&mut self, work: &Work, bounds: &[Bound]) -> Result<Ran, Failed> {
        let mut output = Output::new(work.mode, work.caps);
        self.begin(work).await?;
        for (place, bound) in bounds.iter().enumerate() {
            let ran = self.one(bound, work.read_only, &mut output).await;
            ran.map_err(|failed| at(place, failed))?;
        }
        // Told to stop, it does not commit.
        drop(self.stop.enter()?);
        self.commit().await?;
        Ok(output.finish(false))
    }

    /// Runs a statement and writes its result.
    async fn one(&mut self, bound: &Bound, read_only: bool, output: &mut Output) -> Result<(), Failed> {
        let running = self.stop.enter()?;
        let statement = self.execute(bound, read_only).await?;
        let mut rows = QueryResult::<BinaryProtocol>::new(&mut self.conn);
        let columns: Vec<Column> = rows.columns_ref().iter().map(Column::of).collect();
        if output.wants_rows() {
            write_columns(&columns, output)?;
        }
        let mut count = 0u64;
        while let Some(row) = rows.next().await.map_err(|error| failed(&error, read_only))? {
            write_row(&row, &columns, output)?;
            count += 1;
        }
        self.has_rows = false;
        drop(running);
        self.look_at_state();
        let (affected, id) = match bound.kind {
            // With RETURNING the server counts no rows as affected.
            Kind::Inserts | Kind::Writes => {
                (self.conn.affected_rows().max(count), self.conn.last_insert_id().unwrap_or(0))
            }
            Kind::Reads | Kind::Defines => (0, 0),
        };
        output.end_result(affected, id)?;
        self.let_go(statement).await
    }

    /// Prepares, if need be, and sends. The rows are to be read afterwards.
    pub(super) async fn execute(&mut self, bound: &Bound, read_only: bool) -> Result<Statement, Failed> {
        check_names(&bound.text)?;
        let prepared = self.conn.prep(&*bound.text).await;
        let statement = prepared.map_err(|error| failed(&error, read_only))?;
        let (params, bytes) = encode(&bound.params, usize::from(statement.num_params()))?;
        self.check_packet(bytes)?;
        self.spent |= leaves_traces(&bound.text);
        self.is_told &= !bound.ad_hoc;
        self.has_visitors |= bound.ad_hoc;
        self.has_rows = true;
        let executed = self.conn.exec_iter(&statement, Params::Positional(params)).await.map(drop);
        if let Err(error) = executed {
            self.has_rows = false;
            let failed = failed(&error, read_only);
            if failed.stale {
                self.control_close(statement).await?;
            }
            return Err(failed);
        }
        Ok(statement)
    }

    /// What a statement that has ended has done to the session, as the server says.
    pub(super) fn look_at_state(&mut self) {
        let status = self.conn.last_ok_packet().map_or(StatusFlags::empty(), |ok| ok.status_flags());
        self.spent |= status.contains(StatusFlags::SERVER_STATUS_NO_BACKSLASH_ESCAPES);
    }

    /// A statement that is not kept is closed; that of an open cursor with the session's next reset.
    pub(super) async fn let_go(&mut self, statement: Statement) -> Result<(), Failed> {
        self.spent |= self.has_rows && !self.keeps_statements;
        if self.keeps_statements || self.has_rows { Ok(()) } else { self.control_close(statement).await }
    }

    async fn control_close(&mut self, statement: Statement) -> Result<(), Failed> {
        self.conn.close(statement).await.map_err(|error| Failed { broken: true, ..failed(&error, false) })
    }

    /// Prepares a named statement for the check at the start.
    pub(crate) async fn prepare(&mut self, text: &str) -> Result<(), Refused> {
        let wrong = |error: CallError| Refused { message: error.message, position: None };
        check_names(text).map_err(wrong)?;
        // Functions that write may be in it, and the server looks at them already.
        self.tell(true, self.link.host().statement_ms).await.map_err(|failed| wrong(failed.error))?;
        self.conn.prep(text).await.map(drop).map_err(|error| refused(&error, text))
    }

    // --- before the statements and after them ---

    /// What holds for the next statement: who may write, how long it may take, and what the gate takes for granted. Said
    /// if that is not certain already: a function that a guest has called may have said something else.
    pub(super) async fn tell(&mut self, may_write: bool, needed_ms: u64) -> Result<(), Failed> {
        let limit_ms = needed_ms.next_power_of_two();
        let says_limit = self.limit_ms < needed_ms || self.limit_ms / LIMIT_GRAIN > limit_ms;
        if self.is_told && may_write == self.may_write && !says_limit {
            return Ok(());
        }
        let (access, limit) = (self.flavour.access(may_write), self.flavour.limit(limit_ms));
        self.control(&format!("SET {}, {access}, {limit}", open::FIXED)).await?;
        (self.may_write, self.limit_ms, self.is_told) = (may_write, limit_ms, true);
        Ok(())
    }

    /// The transaction says for itself whether it may write.
    async fn begin(&mut self, work: &Work) -> Result<(), Failed> {
        self.tell(self.may_write && !work.read_only, limit_ms(work.deadline)).await?;
        let access = if work.read_only { "READ ONLY" } else { "READ WRITE" };
        self.in_transaction = true;
        self.control(&format!("START TRANSACTION {access}")).await
    }

    async fn commit(&mut self) -> Result<(), Failed> {
        self.control("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// A statement of the gateway's own. If it fails nobody knows what the session is like.
    async fn control(&mut self, text: &str) -> Result<(), Failed> {
        let done = self.conn.query_drop(text).await;
        done.map_err(|error| Failed { broken: true, ..failed(&error, false) })
    }

    /// The server closes a connection over which a larger packet comes.
    fn check_packet(&self, bytes: usize) -> Result<(), CallError> {
        if bytes.saturating_add(PACKET_EXTRA) <= self.packet_max {
            return Ok(());
        }
        let message = "the parameters are more than the server takes in one packet (max_allowed_packet)";
        Err(CallError::new(agw_wire::Code::TooLarge, message))
    }
}

fn at(place: usize, failed: Failed) -> Failed {
    let message = format!("statement {place}: {}", failed.error.message);
    Failed { error: CallError { message, ..failed.error }, ..failed }
}

fn limit_ms(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX / 4).saturating_add(LIMIT_SLACK_MS)
}
