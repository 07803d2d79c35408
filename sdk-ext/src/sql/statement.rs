//! One statement with its parameters, and the ways to call it.

use agw_wire::Style;
use agw_wire::sql::{Call, Mode, Statement as WireStatement};

use super::Sql;
use super::bind::{Params, ToSql};
use super::call::SqlCall;
use super::pages::{PageCall, Pages};
use super::results::{self, Executed, Rows};
use super::row::FromRow;
use crate::Error;

/// One statement with its parameters: [`Sql::named`] or [`Sql::statement`].
///
/// Each way to call it has a sister in callback style, with `start_` before its name: it returns at once, and the
/// answer comes to `on_foreign_function`, where [`SqlCall::answer`] reads it. That is the way for plugins that share a
/// VM, and for several calls at once.
///
/// | method | gives |
/// |---|---|
/// | [`query`](Self::query) | every row as a type |
/// | [`rows`](Self::rows) | every row, to be read in place |
/// | [`query_one`](Self::query_one) | the only row; none and several are errors |
/// | [`query_optional`](Self::query_optional) | the only row or `None`; several are an error |
/// | [`execute`](Self::execute) | affected rows, last insert id |
/// | [`pages`](Self::pages) | results of any size, in pages |
#[derive(Clone, Debug)]
#[must_use = "a statement does nothing until it is called"]
pub struct Statement<'a> {
    sql: Sql<'a>,
    /// Name or text.
    statement: WireStatement<'a>,
    params: Params,
}

impl<'a> Statement<'a> {
    pub(super) fn new(sql: Sql<'a>, statement: WireStatement<'a>) -> Self {
        Statement { sql, statement, params: Params::default() }
    }

    /// Binds a value to the next placeholder.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// agw_sdk::sql("users")?.named("rename").bind("alice").bind(42).execute()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind(mut self, value: impl ToSql) -> Self {
        value.put(&mut self.params);
        self
    }

    /// Every row. More than the resource's cap are [`Error::TooLarge`].
    ///
    /// # Errors
    /// As any call; [`Error::Column`] and [`Error::NoColumn`] when a row is not of this type.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let keys: Vec<(i64, String)> = agw_sdk::sql("users")?.named("all_keys").query()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn query<T: FromRow>(&self) -> Result<Vec<T>, Error> {
        results::all(&self.call(Mode::Query)?)
    }

    /// Every row, to be read in place: no type, and no allocation for each.
    ///
    /// # Errors
    /// As any call.
    pub fn rows(&self) -> Result<Rows, Error> {
        Rows::read(self.call(Mode::Query)?)
    }

    /// The only row.
    ///
    /// # Errors
    /// As [`Statement::query`]; [`Error::Server`] of kind [`NoRow`](crate::Kind::NoRow) or
    /// [`SeveralRows`](crate::Kind::SeveralRows).
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let (count,): (i64,) = agw_sdk::sql("users")?.named("count").query_one()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn query_one<T: FromRow>(&self) -> Result<T, Error> {
        results::one(&self.call(Mode::QueryOne)?)
    }

    /// The only row, or `None`.
    ///
    /// # Errors
    /// As [`Statement::query`]; [`Error::Server`] of kind [`SeveralRows`](crate::Kind::SeveralRows).
    ///
    /// ```no_run
    /// # fn f(hash: &str) -> Result<(), agw_sdk::Error> {
    /// let key: Option<(i64, String)> =
    ///     agw_sdk::sql("users")?.named("find_key").bind(hash).query_optional()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn query_optional<T: FromRow>(&self) -> Result<Option<T>, Error> {
        results::optional(&self.call(Mode::QueryOptional)?)
    }

    /// Runs it for what it changes.
    ///
    /// # Errors
    /// As any call. [`Error::kind`] tells constraint violations, deadlocks and the like apart.
    ///
    /// ```no_run
    /// use agw_sdk::Kind;
    ///
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// match agw_sdk::sql("users")?.named("add").bind("alice").execute() {
    ///     Ok(done) => assert_eq!(done.affected, 1),
    ///     Err(error) if error.kind() == Some(Kind::UniqueViolation) => {}
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute(&self) -> Result<Executed, Error> {
        results::executed(&self.call(Mode::Execute)?)
    }

    /// A result of any size in pages of so many rows at most; 0 means as many as the resource's cap admits. The
    /// statement must only read. Between pages a connection of the pool is held, for some seconds at most: do not
    /// dawdle.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// for page in agw_sdk::sql("users")?.named("all_keys").pages(500) {
    ///     for row in &page? {
    ///         let tier: &str = row.get("tier")?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn pages(self, rows: u32) -> Pages<'a> {
        Pages::new(self, rows)
    }

    /// As [`Statement::query`], without waiting.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start_query<T: FromRow>(&self) -> Result<SqlCall<Vec<T>>, Error> {
        self.start(Mode::Query, results::all)
    }

    /// As [`Statement::rows`], without waiting.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start_rows(&self) -> Result<SqlCall<Rows>, Error> {
        self.start(Mode::Query, results::rows)
    }

    /// As [`Statement::query_one`], without waiting.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start_query_one<T: FromRow>(&self) -> Result<SqlCall<T>, Error> {
        self.start(Mode::QueryOne, results::one)
    }

    /// As [`Statement::query_optional`], without waiting.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start_query_optional<T: FromRow>(&self) -> Result<SqlCall<Option<T>>, Error> {
        self.start(Mode::QueryOptional, results::optional)
    }

    /// As [`Statement::execute`], without waiting.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start_execute(&self) -> Result<SqlCall<Executed>, Error> {
        self.start(Mode::Execute, results::executed)
    }

    /// The first page, without waiting; [`Cursor::start`](super::Cursor::start) has the next.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start_page(&self, rows: u32) -> Result<PageCall, Error> {
        let call = Call { page_rows: rows, ..self.wire_call(Mode::Page)? };
        Ok(PageCall::new(self.sql.start(call)?, None))
    }

    pub(super) fn sql(&self) -> Sql<'a> {
        self.sql
    }

    /// In the contract's form, if everything that was bound can be sent.
    pub(super) fn to_wire(&self) -> Result<WireStatement<'_>, Error> {
        if self.statement.name.is_empty() && self.statement.text.is_empty() {
            return Err(Error::invalid("the statement has neither a name nor a text"));
        }
        match self.params.problem() {
            Some(problem) => Err(Error::invalid(problem)),
            None => Ok(WireStatement { params: self.params.cells(), ..self.statement.clone() }),
        }
    }

    pub(super) fn wire_call(&self, mode: Mode) -> Result<Call<'_>, Error> {
        Ok(Call { mode, statements: vec![self.to_wire()?], ..Call::default() })
    }

    fn call(&self, mode: Mode) -> Result<Vec<u8>, Error> {
        self.sql.exchange(self.wire_call(mode)?, Style::Blocking)
    }

    fn start<T>(&self, mode: Mode, read: fn(&[u8]) -> Result<T, Error>) -> Result<SqlCall<T>, Error> {
        Ok(SqlCall::new(self.sql.start(self.wire_call(mode)?)?, read))
    }
}
