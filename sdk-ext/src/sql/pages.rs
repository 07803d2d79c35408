//! Results that are too large for one answer.

use std::rc::Rc;

use agw_wire::Style;
use agw_wire::sql::{Call, Mode, Reply};

use super::results::Rows;
use super::statement::Statement;
use super::{Sql, payload};
use crate::{Error, transport};

/// The pages of a result, as an iterator: [`Statement::pages`]. The first `next` runs the statement.
///
/// It holds a connection between two pages and gives it back after the last one, after an error, and when it is dropped.
#[derive(Debug)]
#[must_use = "pages are read by iterating"]
pub struct Pages<'a> {
    statement: Statement<'a>,
    page_rows: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    NotAsked,
    /// The open cursor, and the columns, which come with the first page only.
    More(u32, Rc<[u8]>),
    Ended,
}

/// A page of callback style.
#[derive(Debug)]
pub struct Page {
    /// Its rows.
    pub rows: Rows,
    /// The rest; `None` after the last page.
    pub cursor: Option<Cursor>,
}

/// The rest of a result, with the connection that holds it. It ends with its stream, or when nothing is asked of it for
/// some seconds; [`Cursor::close`] ends it at once.
#[derive(Debug)]
pub struct Cursor {
    id: u32,
    header: Rc<[u8]>,
}

/// A [`Page`] that was asked for in callback style: [`Statement::start_page`], [`Cursor::start`].
#[derive(Debug)]
pub struct PageCall {
    id: u32,
    header: Option<Rc<[u8]>>,
}

// === impl Pages ===

impl<'a> Pages<'a> {
    pub(super) fn new(statement: Statement<'a>, page_rows: u32) -> Self {
        Pages { statement, page_rows, state: State::NotAsked }
    }

    /// The state is `Ended` while this runs: whatever fails ends the pages, and the host has closed the cursor then.
    fn ask(&mut self) -> Result<Option<Rows>, Error> {
        let sql = self.statement.sql();
        let (bytes, header) = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Ok(None),
            State::NotAsked => {
                let call = Call { page_rows: self.page_rows, ..self.statement.wire_call(Mode::Page)? };
                (sql.exchange(call, Style::Blocking)?, None)
            }
            State::More(cursor, header) => {
                (sql.exchange(fetch(cursor, self.page_rows), Style::Blocking)?, Some(header))
            }
        };
        let (rows, cursor) = read(bytes, header)?;
        if let Some(Cursor { id, header }) = cursor {
            self.state = State::More(id, header);
        }
        Ok(Some(rows))
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Rows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ask().transpose()
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        if let State::More(cursor, _) = self.state {
            // If this fails, the host closes it by itself, a little later.
            let _ = close(self.statement.sql(), cursor);
        }
    }
}

// === impl Cursor ===

impl Cursor {
    /// Asks for the next page, of so many rows at most, without waiting.
    ///
    /// # Errors
    /// When the call is refused at once; the cursor is gone then.
    pub fn start(self, sql: &Sql<'_>, rows: u32) -> Result<PageCall, Error> {
        Ok(PageCall::new(sql.start(fetch(self.id, rows))?, Some(self.header)))
    }

    /// The rest is not wanted. The stream need not wait for this: it is of callback style, and its answer, which comes to
    /// `on_foreign_function` under no number that the plugin knows, says nothing.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn close(self, sql: &Sql<'_>) -> Result<(), Error> {
        let call = Call { mode: Mode::Close, cursor: self.id, ..Call::default() };
        sql.start(call).map(|_| ())
    }
}

// === impl PageCall ===

impl PageCall {
    pub(super) fn new(id: u32, header: Option<Rc<[u8]>>) -> Self {
        PageCall { id, header }
    }

    /// The number that comes as `function_id` of `on_foreign_function`.
    pub fn number(&self) -> u32 {
        self.id
    }

    /// Whether `on_foreign_function` was called about this call.
    pub fn matches(&self, function_id: u32) -> bool {
        self.id == function_id
    }

    /// The page, to be read in `on_foreign_function` with the `size` that it was given.
    ///
    /// # Errors
    /// As the blocking call.
    pub fn answer(self, size: usize) -> Result<Page, Error> {
        let (rows, cursor) = read(transport::call_data(size)?, self.header)?;
        Ok(Page { rows, cursor })
    }

    /// Gives the call up, and the rest of the result.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no such call is under way.
    pub fn cancel(&self) -> Result<(), Error> {
        super::call::cancel(self.id)
    }
}

fn fetch(cursor: u32, page_rows: u32) -> Call<'static> {
    Call { mode: Mode::Fetch, cursor, page_rows, ..Call::default() }
}

fn close(sql: Sql<'_>, cursor: u32) -> Result<(), Error> {
    let call = Call { mode: Mode::Close, cursor, ..Call::default() };
    payload(&sql.exchange(call, Style::Blocking)?).map(|_| ())
}

fn read(bytes: Vec<u8>, header: Option<Rc<[u8]>>) -> Result<(Rows, Option<Cursor>), Error> {
    let id = Reply::decode(payload(&bytes)?)?.cursor;
    let rows = Rows::read(bytes)?.under(header.clone());
    let cursor = (id != 0).then(|| Cursor { id, header: header.unwrap_or_else(|| rows.header()) });
    Ok((rows, cursor))
}
