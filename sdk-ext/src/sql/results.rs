//! What statements came to: owned bytes, and views into them.

use std::rc::Rc;

use agw_wire::sql::{Column, Columns, Reply, ResultSet as WireResult};

use super::payload;
use super::row::{FromRow, RowIter};
use crate::Error;

/// What a statement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Rows that it inserted, changed or deleted.
    pub affected: u64,
    /// The id that the server made for an inserted row; `None` if it made none, or does not tell (Postgres: use
    /// `RETURNING`).
    pub last_insert_id: Option<u64>,
}

/// The results of a [`Batch`](super::Batch), one for each statement.
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let users = agw_sdk::sql("users")?;
/// let add = users.named("add").bind("alice");
/// let results = users.batch().then(add).then(users.named("count")).run()?;
/// let id = results.result(0)?.executed().last_insert_id;
/// let (count,): (i64,) = results.result(1)?.one()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Results {
    bytes: Vec<u8>,
    len: usize,
}

/// One result, read in place.
#[derive(Clone, Debug)]
pub struct ResultSet<'a>(WireResult<'a>);

/// Rows, read in place: nothing is decoded before it is asked for.
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let rows = agw_sdk::sql("users")?.named("all_keys").rows()?;
/// for row in rows.iter() {
///     let tier: &str = row.get("tier")?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    /// The columns, of a page that does not bring them itself.
    header: Option<Rc<[u8]>>,
}

// === impl Results ===

impl Results {
    pub(super) fn read(bytes: Vec<u8>, statements: usize) -> Result<Results, Error> {
        let len = Reply::decode(payload(&bytes)?)?.results.len();
        if len == statements {
            return Ok(Results { bytes, len });
        }
        Err(Error::Host("the answer has another number of results than the call had statements"))
    }

    /// How many there are: as many as the batch had statements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none; a batch has one at least.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the statement at this place came to, from 0 on.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the batch had no such statement.
    pub fn result(&self, place: usize) -> Result<ResultSet<'_>, Error> {
        let mut results = Reply::decode(payload(&self.bytes)?)?.results;
        if place >= results.len() {
            return Err(Error::invalid("the batch has no statement at this place"));
        }
        Ok(ResultSet(results.swap_remove(place)))
    }
}

// === impl ResultSet ===

impl<'a> ResultSet<'a> {
    /// The rows, in place.
    pub fn rows(&self) -> RowIter<'a> {
        RowIter::new(self.0.header(), self.0.rows())
    }

    /// Every row.
    ///
    /// # Errors
    /// As [`Row::get`](super::Row::get).
    pub fn all<T: FromRow>(&self) -> Result<Vec<T>, Error> {
        self.rows().map(|row| T::from_row(&row)).collect()
    }

    /// The only row, if there is one.
    ///
    /// # Errors
    /// As [`Row::get`](super::Row::get); [`Error::WrongType`] when there are more.
    pub fn optional<T: FromRow>(&self) -> Result<Option<T>, Error> {
        let mut rows = self.rows();
        let first = rows.next();
        if rows.next().is_some() {
            return Err(Error::WrongType { expected: "one row", found: "more rows" });
        }
        first.map(|row| T::from_row(&row)).transpose()
    }

    /// The only row.
    ///
    /// # Errors
    /// As [`Row::get`](super::Row::get); [`Error::WrongType`] when there is none, or are more.
    pub fn one<T: FromRow>(&self) -> Result<T, Error> {
        self.optional()?.ok_or(Error::WrongType { expected: "one row", found: "no row" })
    }

    /// What the statement changed.
    pub fn executed(&self) -> Executed {
        let id = self.0.last_insert_id;
        Executed { affected: self.0.affected, last_insert_id: (id != 0).then_some(id) }
    }
}

// === impl Rows ===

impl Rows {
    /// The rows of an answer with one result.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Rows, Error> {
        the_only(&bytes)?;
        Ok(Rows { bytes, header: None })
    }

    /// A page whose columns came with the first.
    pub(super) fn under(mut self, header: Option<Rc<[u8]>>) -> Rows {
        self.header = header;
        self
    }

    /// The columns, for the pages to come.
    pub(super) fn header(&self) -> Rc<[u8]> {
        Rc::from(self.columns_on_the_wire().as_bytes())
    }

    /// The rows, one after another.
    pub fn iter(&self) -> RowIter<'_> {
        // It was read once already.
        let result = the_only(&self.bytes).unwrap_or_default();
        RowIter::new(self.columns_on_the_wire(), result.rows())
    }

    /// How many rows there are. They are counted.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Name and type of each column, in order.
    pub fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        self.columns_on_the_wire()
    }

    /// Every row as a type of the plugin's own.
    ///
    /// # Errors
    /// As [`Row::get`](super::Row::get).
    pub fn all<T: FromRow>(&self) -> Result<Vec<T>, Error> {
        self.iter().map(|row| T::from_row(&row)).collect()
    }

    fn columns_on_the_wire(&self) -> Columns<'_> {
        match &self.header {
            Some(header) => Columns::new(header),
            None => the_only(&self.bytes).unwrap_or_default().header(),
        }
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = super::Row<'a>;
    type IntoIter = RowIter<'a>;

    fn into_iter(self) -> RowIter<'a> {
        self.iter()
    }
}

/// The result of a call with one statement.
pub(super) fn the_only(bytes: &[u8]) -> Result<WireResult<'_>, Error> {
    let mut results = Reply::decode(payload(bytes)?)?.results;
    match (results.pop(), results.len()) {
        (Some(result), 0) => Ok(result),
        _ => Err(Error::Host("the answer has another number of results than the call had statements")),
    }
}

// === reading a whole answer, in both call styles ===

pub(super) fn all<T: FromRow>(bytes: &[u8]) -> Result<Vec<T>, Error> {
    ResultSet(the_only(bytes)?).all()
}

pub(super) fn one<T: FromRow>(bytes: &[u8]) -> Result<T, Error> {
    ResultSet(the_only(bytes)?).one()
}

pub(super) fn optional<T: FromRow>(bytes: &[u8]) -> Result<Option<T>, Error> {
    ResultSet(the_only(bytes)?).optional()
}

pub(super) fn executed(bytes: &[u8]) -> Result<Executed, Error> {
    Ok(ResultSet(the_only(bytes)?).executed())
}

pub(super) fn rows(bytes: &[u8]) -> Result<Rows, Error> {
    Rows::read(bytes.to_vec())
}
