//! Statements: bound, stepped, decoded.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use agw_sql_statements::Kind;
use agw_wire::sql::CellType;
use rusqlite::{CachedStatement, Row, Statement};

use super::bind::bind;
use super::failure::failure;
use super::stopped;
use super::thread::{Job, RanAnswer, Session};
use super::values::{Declared, decode};
use crate::engine::{Bound, Failure, Ran, RunMode, Work};
use crate::error::{denied, invalid};
use crate::output::{Output, Room};

/// Runs work that leaves nothing behind.
pub(crate) fn run(session: &mut Session, work: &Work) -> Result<Ran, Failure> {
    session.set_query_only(work.read_only)?;
    if !work.needs_transaction() {
        return session.run_all(work);
    }
    // A transaction that will write takes its lock at once: one that reads first may not be able to get it later.
    session.control_statement(if work.writes() { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
    let ran = session.run_all(work);
    let ended = match &ran {
        Ok(_) => session.control_statement("COMMIT"),
        Err(_) => Ok(()),
    };
    // SQLite rolls back by itself after some errors.
    if (ran.is_err() || ended.is_err()) && !session.connection.is_autocommit() {
        session.roll_back()?;
    }
    ended.and(ran)
}

/// Runs work whose rows come in pages. Gives back the job that ended the cursor, if one did.
pub(crate) fn pages(
    session: &mut Session,
    work: &Work,
    answer: RanAnswer,
    jobs: &Receiver<Job>,
) -> Option<Job> {
    let mut paging = Paging { answer: Some(answer), left: None };
    if let Err(failed) = session.set_query_only(true).and_then(|()| paging.run(session, work, jobs)) {
        paging.send(Err(failed));
    }
    paging.left
}

struct Paging {
    /// Of the page that is being written; `None` between pages.
    answer: Option<RanAnswer>,
    left: Option<Job>,
}

// === impl Paging ===

impl Paging {
    fn send(&mut self, page: Result<Ran, Failure>) {
        if let Some(answer) = self.answer.take() {
            // Whoever asked may be gone.
            let _ = answer.send(page);
        }
    }

    fn run(&mut self, session: &Session, work: &Work, jobs: &Receiver<Job>) -> Result<(), Failure> {
        let Some(bound) = work.statements.first() else {
            return Err(invalid("there is no statement").into());
        };
        let mut statement = session.prepare(bound, true)?;
        let mut output = Output::new(work.mode, work.caps);
        let mut declared = Declared::of(&statement);
        let mut rows = statement.raw_query();
        let mut first = true;
        while let Some(row) = rows.next().map_err(|error| failure(error, true))? {
            if std::mem::take(&mut first) {
                declared = Declared::of(row.as_ref());
                write_columns(row.as_ref(), &mut output)?;
            }
            if output.room()? == Room::Full {
                output.end_result(0, 0)?;
                self.send(Ok(output.finish(true)));
                match jobs.recv() {
                    Ok(Job::Fetch { page, answer }) => {
                        self.answer = Some(answer);
                        output = Output::new(RunMode::Page(page.rows), page.caps);
                    }
                    other => {
                        self.left = other.ok();
                        return Ok(());
                    }
                }
            }
            write_row(row, &declared, &mut output)?;
        }
        drop(rows);
        if first {
            write_columns(&statement, &mut output)?;
        }
        output.end_result(0, 0)?;
        self.send(Ok(output.finish(false)));
        Ok(())
    }
}

// === impl Session ===

impl Session {
    fn run_all(&self, work: &Work) -> Result<Ran, Failure> {
        let mut output = Output::new(work.mode, work.caps);
        for bound in &work.statements {
            if self.control.is_stopped() {
                return Err(stopped().into());
            }
            self.run_one(bound, work.read_only, &mut output)?;
        }
        Ok(output.finish(false))
    }

    fn run_one(&self, bound: &Bound, read_only: bool, output: &mut Output) -> Result<(), Failure> {
        let mut statement = self.prepare(bound, read_only)?;
        let mut declared = Declared::of(&statement);
        self.control.inserted.store(0, Ordering::Relaxed);
        let mut first = true;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(|error| failure(error, read_only))? {
            // Only now: a schema that has changed since the statement was prepared has changed its columns as well.
            if std::mem::take(&mut first) && output.wants_rows() {
                declared = Declared::of(row.as_ref());
                write_columns(row.as_ref(), output)?;
            }
            if output.room()? == Room::Take {
                write_row(row, &declared, output)?;
            }
        }
        drop(rows);
        if first && output.wants_rows() {
            write_columns(&statement, output)?;
        }
        let (affected, last_insert_id) = self.changes(bound.kind);
        output.end_result(affected, last_insert_id)?;
        Ok(())
    }

    /// SQLite keeps both numbers from earlier statements, so they count only if this one can have set them.
    fn changes(&self, kind: Kind) -> (u64, u64) {
        let affected = match kind {
            Kind::Inserts | Kind::Writes => self.connection.changes(),
            Kind::Reads | Kind::Defines => 0,
        };
        let inserted = kind == Kind::Inserts && self.control.inserted.load(Ordering::Relaxed) > 0;
        let id = if inserted { self.connection.last_insert_rowid() } else { 0 };
        (affected, u64::try_from(id).unwrap_or(0))
    }

    /// Prepared, or out of the connection's cache, with its parameters.
    fn prepare(&self, bound: &Bound, read_only: bool) -> Result<CachedStatement<'_>, Failure> {
        let mut statement =
            self.connection.prepare_cached(&bound.text).map_err(|error| failure(error, read_only))?;
        if read_only && !statement.readonly() {
            return Err(denied("the statement writes, and the grant is read-only").into());
        }
        bind(&mut statement, &bound.params)?;
        Ok(statement)
    }

    fn set_query_only(&mut self, on: bool) -> Result<(), Failure> {
        if self.query_only != on {
            let statement = if on { "PRAGMA query_only = 1" } else { "PRAGMA query_only = 0" };
            self.control_statement(statement)?;
            self.query_only = on;
        }
        Ok(())
    }

    fn control_statement(&self, text: &str) -> Result<(), Failure> {
        let run = |text| self.connection.prepare_cached(text)?.execute([]).map(drop);
        run(text).map_err(|error| failure(error, false))
    }

    /// What stopped the work must not stop this. A connection that cannot undo is of no more use.
    fn roll_back(&self) -> Result<(), Failure> {
        let stopped = self.control.stopped.swap(false, Ordering::SeqCst);
        let rolled_back = self.control_statement("ROLLBACK");
        self.control.stopped.store(stopped, Ordering::SeqCst);
        rolled_back.map_err(|failed| Failure { broken: true, ..failed })
    }
}

fn write_columns(statement: &Statement<'_>, output: &mut Output) -> Result<(), Failure> {
    for column in statement.columns() {
        output.column(column.name(), CellType::Any, column.decl_type().unwrap_or_default())?;
    }
    Ok(())
}

fn write_row(row: &Row<'_>, declared: &Declared, output: &mut Output) -> Result<(), Failure> {
    for (at, kind) in declared.columns().enumerate() {
        let value = row.get_ref(at).map_err(|error| failure(error, false))?;
        output.cell(decode(value, kind))?;
    }
    output.end_row()?;
    Ok(())
}
