//! Results in pages: the server waits in mid-result until the next page is asked for.

use mysql_async::{BinaryProtocol, QueryResult, Row};

use super::decode::Column;
use super::failure::{Failed, failed};
use super::rows::{write_columns, write_row};
use super::session::{CURSOR_LIMIT_MS, Session};
use crate::engine::{Bound, Page, Ran, RunMode, Work};
use crate::error::no_such_cursor;
use crate::output::Output;

/// The rest of a result.
pub(crate) struct Cursor {
    columns: Vec<Column>,
    /// The row that showed that there are more.
    held: Option<Row>,
}

impl Session {
    /// The first page.
    pub(super) async fn open_cursor(&mut self, work: &Work, bound: &Bound) -> Result<Ran, Failed> {
        self.tell(!work.read_only, CURSOR_LIMIT_MS).await?;
        let running = self.stop.enter()?;
        let statement = self.execute(bound, work.read_only).await?;
        let rows = QueryResult::<BinaryProtocol>::new(&mut self.conn);
        let columns: Vec<Column> = rows.columns_ref().iter().map(Column::of).collect();
        drop(rows);
        let mut output = Output::new(work.mode, work.caps);
        write_columns(&columns, &mut output)?;
        let ran = self.page(Cursor { columns, held: None }, output).await;
        drop(running);
        if ran.is_ok() {
            self.let_go(statement).await?;
        }
        ran
    }

    /// The next page.
    pub(crate) async fn fetch(&mut self, page: Page) -> Result<Ran, Failed> {
        let Some(cursor) = self.cursor.take() else { return Err(no_such_cursor().into()) };
        let output = Output::new(RunMode::Page(page.rows), page.caps);
        let running = self.stop.enter()?;
        let ran = self.page(cursor, output).await;
        drop(running);
        // After an error the caller has the connection proven clean, which ends the result.
        self.settle(ran).await
    }

    /// One row more than asked for shows whether there are more; it is kept for the next page.
    async fn page(&mut self, mut cursor: Cursor, mut output: Output) -> Result<Ran, Failed> {
        if let Some(row) = cursor.held.take() {
            write_row(&row, &cursor.columns, &mut output)?;
        }
        let mut rows = QueryResult::<BinaryProtocol>::new(&mut self.conn);
        while let Some(row) = rows.next().await.map_err(|error| failed(&error, true))? {
            if !write_row(&row, &cursor.columns, &mut output)? {
                cursor.held = Some(row);
                break;
            }
        }
        output.end_result(0, 0)?;
        let more = cursor.held.is_some();
        self.has_rows = more;
        self.cursor = more.then_some(cursor);
        if !more {
            self.look_at_state();
        }
        Ok(output.finish(more))
    }
}
