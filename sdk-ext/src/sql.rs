//! SQL: statements with bound parameters, typed rows, batches in one transaction, pages.
//!
//! Start at [`sql()`]. [`Statement`] has the ways to call, [`ToSql`] what can be bound, [`FromValue`] what a column
//! can be read as, [`FromRow`] and [`row!`](crate::row!) how rows become types of the plugin's own, [`Rows`] how they
//! are read in place, without an allocation for each.

mod batch;
mod bind;
mod call;
mod pages;
mod results;
mod row;
mod statement;
mod types;
mod value;

use std::time::Duration;

use agw_wire::sql::Call;
use agw_wire::{AGW_SQL, Answer, Request, Response, Style};

use crate::{Error, transport};

pub use agw_wire::sql::{Cell, CellType, Cells, Column, Inet};
pub use batch::Batch;
pub use bind::{Params, ToSql};
pub use call::SqlCall;
pub use pages::{Cursor, Page, PageCall, Pages};
pub use results::{Executed, ResultSet, Results, Rows};
pub use row::{ColumnIndex, FromRow, Row, RowIter};
pub use statement::Statement;
pub use types::{Array, Date, Decimal, Interval, Json, Time, Timestamp, TimestampTz, Uuid};
pub use value::FromValue;

/// One SQL database, by the name that the operator gave it.
///
/// It is only a name and a deadline: making and copying it costs nothing, and no connection belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sql<'a> {
    resource: &'a str,
    deadline_ms: u32,
}

/// The SQL resource `name`. It asks nobody: an unknown name, or a host that is not AGW, shows at the first call.
///
/// # Errors
/// [`Error::Invalid`] when the name is empty.
///
/// ```no_run
/// agw_sdk::row! {
///     struct Key { user_id: i64, tier: String }
/// }
///
/// fn find(hash: &str) -> Result<Option<Key>, agw_sdk::Error> {
///     agw_sdk::sql("users")?.named("find_key").bind(hash).query_optional()
/// }
/// ```
pub fn sql(name: &str) -> Result<Sql<'_>, Error> {
    if name.is_empty() {
        return Err(Error::invalid("the resource's name is empty"));
    }
    Ok(Sql { resource: name, deadline_ms: 0 })
}

impl<'a> Sql<'a> {
    /// The same database with another deadline for each call: waiting, connecting and the statement itself together.
    /// The operator's own bounds hold as well. Whole milliseconds, rounded up, at least one. At the deadline the
    /// statement is stopped on the server, too.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let users = agw_sdk::sql("users")?.deadline(Duration::from_millis(100));
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        let ms = deadline.as_nanos().div_ceil(1_000_000).max(1);
        self.deadline_ms = u32::try_from(ms).unwrap_or(u32::MAX);
        self
    }

    /// A statement that the operator has named in the resource: the usual way.
    ///
    /// ```no_run
    /// # fn f(hash: &str) -> Result<(), agw_sdk::Error> {
    /// let key: Option<(i64, String)> =
    ///     agw_sdk::sql("users")?.named("find_key").bind(hash).query_optional()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn named(&self, name: &'a str) -> Statement<'a> {
        Statement::new(*self, agw_wire::sql::Statement { name, ..Default::default() })
    }

    /// One statement of SQL with the server's own placeholders (`$1` of Postgres, `?` of MySQL, both `?` and `?1` of
    /// SQLite). It needs a grant for ad hoc SQL. Values belong into parameters, never into the text.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let (keys,): (i64,) =
    ///     agw_sdk::sql("users")?.statement("SELECT count(*) FROM api_keys").query_one()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn statement(&self, text: &'a str) -> Statement<'a> {
        Statement::new(*self, agw_wire::sql::Statement { text, ..Default::default() })
    }

    /// Statements in one transaction, in one call: all or none.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let bank = agw_sdk::sql("bank")?;
    /// let take = bank.named("take").bind(5).bind("alice");
    /// let give = bank.named("give").bind(5).bind("bob");
    /// bank.batch().then(take).then(give).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self) -> Batch<'a> {
        Batch::new(*self)
    }

    /// Sends one request; the answer is a response still to be decoded.
    fn exchange(&self, call: Call<'_>, style: Style) -> Result<Vec<u8>, Error> {
        let request = Request {
            resource: self.resource,
            style,
            deadline_ms: self.deadline_ms,
            cancel: 0,
            redis: None,
            sql: Some(call),
        };
        transport::call(AGW_SQL, &request.encode())
    }

    /// Sends one request in callback style.
    fn start(&self, call: Call<'_>) -> Result<u32, Error> {
        let bytes = self.exchange(call, Style::Callback)?;
        match Response::decode(&bytes)?.answer {
            Answer::CallId(id) => Ok(id),
            Answer::Error(error) => Err(error.into()),
            Answer::Resp(_) | Answer::Sql(_) => Err(Error::Host("the host answered a callback call at once")),
        }
    }
}

/// The reply's bytes in a response, or its error.
fn payload(bytes: &[u8]) -> Result<&[u8], Error> {
    match Response::decode(bytes)?.answer {
        Answer::Sql(reply) => Ok(reply),
        Answer::Error(error) => Err(error.into()),
        Answer::CallId(_) => Err(Error::Host("the host answered with a call id instead of a reply")),
        Answer::Resp(_) => Err(Error::Host("the host answered agw_sql as agw_redis")),
    }
}

#[cfg(test)]
mod tests;
