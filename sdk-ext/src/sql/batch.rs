//! Several statements in one transaction.

use agw_wire::Style;
use agw_wire::sql::{Call, Mode};

use super::Sql;
use super::call::SqlCall;
use super::results::Results;
use super::statement::Statement;
use crate::Error;

/// Statements that run in one transaction, in one call: [`Sql::batch`].
#[derive(Clone, Debug)]
#[must_use = "a batch does nothing until `run` or `start`"]
pub struct Batch<'a> {
    sql: Sql<'a>,
    statements: Vec<Statement<'a>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(sql: Sql<'a>) -> Self {
        Batch { sql, statements: Vec::new() }
    }

    /// Adds a statement, to run after those before. It runs on the batch's database, whichever it was made from.
    pub fn then(mut self, statement: Statement<'a>) -> Self {
        self.statements.push(statement);
        self
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Runs them in order: all, or after an error none.
    ///
    /// # Errors
    /// The first statement's that fails, as any call; [`Error::Invalid`] when the batch is empty.
    pub fn run(&self) -> Result<Results, Error> {
        Results::read(self.sql.exchange(self.wire_call()?, Style::Blocking)?, self.len())
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// When the call is refused at once.
    pub fn start(&self) -> Result<SqlCall<Results>, Error> {
        let id = self.sql.start(self.wire_call()?)?;
        Ok(SqlCall::new(id, |bytes| {
            let results = agw_wire::sql::Reply::decode(super::payload(bytes)?)?.results.len();
            Results::read(bytes.to_vec(), results)
        }))
    }

    fn wire_call(&self) -> Result<Call<'_>, Error> {
        if self.is_empty() {
            return Err(Error::invalid("the batch is empty"));
        }
        let statements = self.statements.iter().map(Statement::to_wire).collect::<Result<_, _>>()?;
        Ok(Call { mode: Mode::Batch, statements, ..Call::default() })
    }
}
