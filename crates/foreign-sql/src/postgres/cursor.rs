//! Results in pages: a cursor of the server in a read-only transaction that stays open between calls.

use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio_postgres::{Row, Statement};

use super::encode::encode;
use super::failure::Failed;
use super::session::{Session, begin, timeout_ms, write_columns, write_row};
use super::statements::Prepared;
use crate::engine::{Bound, Page, Ran, RunMode, Work};
use crate::error::no_such_cursor;
use crate::output::Output;

/// An open cursor.
pub(crate) struct Cursor {
    prepared: Arc<Prepared>,
    /// Fetches so many rows.
    fetch: Option<(usize, Statement)>,
    /// The row that showed that there are more.
    held: Option<Row>,
}

impl Session {
    /// The first page.
    pub(super) async fn open_cursor(&mut self, work: &Work, bound: &Bound) -> Result<Ran, Failed> {
        let prepared = self.prepared(bound, true).await?;
        let params = encode(&bound.params, prepared.statement.params())?;
        self.check_stopped()?;
        let begun = self.client.batch_execute(&begin(true, work.deadline)).await;
        self.begun(begun)?;
        let declare = format!("DECLARE agw NO SCROLL CURSOR FOR {}", prepared.runs);
        let declare = self.client.prepare(&declare).await.map_err(|error| self.failed(&error, true))?;
        let declared = self.client.execute_raw(&declare, params).await;
        declared.map_err(|error| self.failed(&error, true))?;
        let mut output = Output::new(work.mode, work.caps);
        write_columns(&prepared.columns, &mut output)?;
        let rows = match work.mode {
            RunMode::Page(rows) => rows.min(work.caps.rows),
            _ => work.caps.rows,
        };
        self.page(Cursor { prepared, fetch: None, held: None }, rows, output).await
    }

    /// The next page.
    pub(crate) async fn fetch(&mut self, page: Page) -> Result<Ran, Failed> {
        let Some(cursor) = self.cursor.take() else { return Err(no_such_cursor().into()) };
        let output = Output::new(RunMode::Page(page.rows), page.caps);
        let timeout = format!("SET LOCAL statement_timeout = {}", timeout_ms(page.deadline));
        // After an error the caller has the connection proven clean, which ends the transaction.
        self.control(&timeout).await?;
        self.page(cursor, page.rows.min(page.caps.rows), output).await
    }

    /// One row more than asked for shows whether there are more; it is kept for the next page.
    async fn page(&mut self, mut cursor: Cursor, rows: usize, mut output: Output) -> Result<Ran, Failed> {
        let held = cursor.held.take();
        let wanted = rows + 1 - usize::from(held.is_some());
        if let Some(row) = held {
            write_row(&row, &cursor.prepared.columns, &mut output)?;
        }
        let fetch = match cursor.fetch.take() {
            Some((count, fetch)) if count == wanted => fetch,
            _ => {
                let text = format!("FETCH FORWARD {wanted} FROM agw");
                self.client.prepare(&text).await.map_err(|error| self.failed(&error, true))?
            }
        };
        self.check_stopped()?;
        let found = self.client.query_raw(&fetch, std::iter::empty::<super::encode::Param>()).await;
        let mut found = std::pin::pin!(found.map_err(|error| self.failed(&error, true))?);
        while let Some(row) = found.try_next().await.map_err(|error| self.failed(&error, true))? {
            if !write_row(&row, &cursor.prepared.columns, &mut output)? {
                cursor.held = Some(row);
            }
        }
        output.end_result(0, 0)?;
        let more = cursor.held.is_some();
        if more {
            cursor.fetch = Some((wanted, fetch));
            self.cursor = Some(cursor);
        } else {
            self.control("ROLLBACK").await?;
        }
        Ok(output.finish(more))
    }
}
