//! `agw.v1.SqlCall`: what `agw_sql` shall do.

use alloc::vec::Vec;

use super::Cells;
use crate::DecodeError;
use crate::protobuf::{self, Field, Reader, unknown};

/// What shall be done with the statements, and what comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Every row; more than the cap are `too_large`.
    #[default]
    Query = 0,
    /// Exactly one row.
    QueryOne = 1,
    /// One row or none.
    QueryOptional = 2,
    /// No rows: affected rows and the last insert id.
    Execute = 3,
    /// Statements in one transaction: all or none.
    Batch = 4,
    /// The first rows, and a cursor if there are more.
    Page = 5,
    /// The next rows of a cursor.
    Fetch = 6,
    /// The rest of a cursor is not wanted.
    Close = 7,
}

/// One call of `agw_sql`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call<'a> {
    /// What shall be done.
    pub mode: Mode,
    /// One; with [`Mode::Batch`] one or more; with [`Mode::Fetch`] and [`Mode::Close`] none.
    pub statements: Vec<Statement<'a>>,
    /// With [`Mode::Fetch`] and [`Mode::Close`]: the cursor; 0 means none.
    pub cursor: u32,
    /// With [`Mode::Page`] and [`Mode::Fetch`]: rows of this answer at most; 0 means the resource's cap.
    pub page_rows: u32,
}

/// One statement with its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement<'a> {
    /// A statement that the operator has named; empty for ad hoc SQL.
    pub name: &'a str,
    /// Ad hoc SQL; empty for a named statement.
    pub text: &'a str,
    /// Cells, as [`put_cell`](super::put_cell) writes them, in the order of the placeholders.
    pub params: Cells<'a>,
}

// === impl Mode ===

impl Mode {
    /// Every mode, in the order of its number.
    pub const ALL: [Mode; 8] = [
        Mode::Query,
        Mode::QueryOne,
        Mode::QueryOptional,
        Mode::Execute,
        Mode::Batch,
        Mode::Page,
        Mode::Fetch,
        Mode::Close,
    ];
}

// === impl Call ===

impl<'a> Call<'a> {
    pub(crate) fn len(&self) -> usize {
        let statements: usize = self.statements.iter().map(|s| protobuf::delimited_len(2, s.len())).sum();
        protobuf::uint_len(1, self.mode as u64)
            + statements
            + protobuf::uint_len(3, self.cursor.into())
            + protobuf::uint_len(4, self.page_rows.into())
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        protobuf::put_uint(out, 1, self.mode as u64);
        for statement in &self.statements {
            protobuf::put_delimiter(out, 2, statement.len());
            statement.put(out);
        }
        protobuf::put_uint(out, 3, self.cursor.into());
        protobuf::put_uint(out, 4, self.page_rows.into());
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut call = Call::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Varint(value)) => {
                    let mode = Mode::ALL.iter().copied().find(|mode| *mode as u64 == value);
                    call.mode = mode.ok_or(DecodeError::OutOfRange { field: "mode" })?;
                }
                (2, Field::Bytes(value)) => call.statements.push(Statement::decode(value)?),
                (3, Field::Varint(value)) => call.cursor = protobuf::uint32(value, "cursor")?,
                (4, Field::Varint(value)) => call.page_rows = protobuf::uint32(value, "page_rows")?,
                (number, field) => return Err(unknown("SqlCall", number, field)),
            }
        }
        Ok(call)
    }
}

// === impl Statement ===

impl<'a> Statement<'a> {
    /// A statement that the operator has named.
    pub fn named(name: &'a str, params: Cells<'a>) -> Self {
        Statement { name, text: "", params }
    }

    /// Ad hoc SQL.
    pub fn ad_hoc(text: &'a str, params: Cells<'a>) -> Self {
        Statement { name: "", text, params }
    }

    fn len(&self) -> usize {
        protobuf::optional_bytes_len(1, self.name.as_bytes())
            + protobuf::optional_bytes_len(2, self.text.as_bytes())
            + protobuf::optional_bytes_len(3, self.params.as_bytes())
    }

    fn put(&self, out: &mut Vec<u8>) {
        protobuf::put_optional_bytes(out, 1, self.name.as_bytes());
        protobuf::put_optional_bytes(out, 2, self.text.as_bytes());
        protobuf::put_optional_bytes(out, 3, self.params.as_bytes());
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut statement = Statement::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => statement.name = protobuf::text(value, "name")?,
                (2, Field::Bytes(value)) => statement.text = protobuf::text(value, "text")?,
                (3, Field::Bytes(value)) => {
                    let params = Cells::new(value);
                    params.check()?;
                    statement.params = params;
                }
                (number, field) => return Err(unknown("SqlStatement", number, field)),
            }
        }
        Ok(statement)
    }
}
