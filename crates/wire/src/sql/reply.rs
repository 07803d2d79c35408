//! `agw.v1.SqlReply`: what `agw_sql` gives back. Written by the host as rows arrive, read by guests lazily.

use alloc::vec::Vec;

use super::{Cell, CellType, Cells, put_cell};
use crate::DecodeError;
use crate::protobuf::{self, Field, Reader};

/// What a call of `agw_sql` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// One for each statement.
    pub results: Vec<ResultSet<'a>>,
    /// There are more rows under this cursor; 0 means there are none.
    pub cursor: u32,
}

/// What one statement came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet<'a> {
    /// In the statement's order. Empty for a statement without rows and for further pages.
    pub columns: Vec<Column<'a>>,
    /// Rows that the statement inserted, changed or deleted.
    pub affected: u64,
    /// The id that the server made for an inserted row; 0 means none.
    pub last_insert_id: u64,
    bytes: &'a [u8],
}

/// A column of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// Of every cell but NULLs.
    pub cell_type: CellType,
    /// What the server calls the type.
    pub engine_type: &'a str,
}

/// The columns of a result, found as they are asked for: without a `Vec`, for guests that look one up by its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a>(&'a [u8]);

/// The rows of a result, found as they are asked for. Each is as many cells as there are columns.
#[derive(Clone, Debug)]
pub struct Rows<'a>(Reader<'a>);

/// Writes a reply as its rows arrive. Of each result: columns, rows, then [`ReplyWriter::end_result`].
#[derive(Clone, Debug, Default)]
pub struct ReplyWriter {
    /// Results that are complete.
    out: Vec<u8>,
    /// The result that is being written.
    result: Vec<u8>,
    /// The row that is being written.
    row: Vec<u8>,
}

// === impl Reply ===

impl<'a> Reply<'a> {
    /// Reads a reply, skipping fields that a newer host may have added. Rows are not looked at.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a reply.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reply = Reply { results: Vec::new(), cursor: 0 };
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => reply.results.push(ResultSet::decode(value)?),
                (2, Field::Varint(value)) => reply.cursor = protobuf::uint32(value, "cursor")?,
                _ => {}
            }
        }
        Ok(reply)
    }
}

// === impl ResultSet ===

impl<'a> ResultSet<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut result = ResultSet { bytes, ..ResultSet::default() };
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => result.columns.push(Column::decode(value)?),
                (3, Field::Varint(value)) => result.affected = value,
                (4, Field::Varint(value)) => result.last_insert_id = value,
                _ => {}
            }
        }
        Ok(result)
    }

    /// The rows.
    pub fn rows(&self) -> Rows<'a> {
        Rows(Reader::new(self.bytes))
    }

    /// The columns once more, as they stand on the wire.
    pub fn header(&self) -> Columns<'a> {
        let mut reader = Reader::new(self.bytes);
        let mut end = 0;
        while let Ok(Some((1, Field::Bytes(_)))) = reader.next() {
            end = reader.position();
        }
        Columns(self.bytes.get(..end).unwrap_or_default())
    }
}

// === impl Columns ===

impl<'a> Columns<'a> {
    /// The columns in bytes that [`Columns::as_bytes`] gave.
    pub fn new(bytes: &'a [u8]) -> Self {
        Columns(bytes)
    }

    /// The bytes of those that were not read yet.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    /// Ends at whatever is no column.
    fn next(&mut self) -> Option<Column<'a>> {
        let mut reader = Reader::new(self.0);
        let (1, Field::Bytes(column)) = reader.next().ok()?? else { return None };
        self.0 = reader.rest();
        Column::decode(column).ok()
    }
}

// === impl Column ===

impl<'a> Column<'a> {
    fn len(&self) -> usize {
        protobuf::optional_bytes_len(1, self.name.as_bytes())
            + protobuf::uint_len(2, self.cell_type as u64)
            + protobuf::optional_bytes_len(3, self.engine_type.as_bytes())
    }

    fn put(&self, out: &mut Vec<u8>) {
        protobuf::put_optional_bytes(out, 1, self.name.as_bytes());
        protobuf::put_uint(out, 2, self.cell_type as u64);
        protobuf::put_optional_bytes(out, 3, self.engine_type.as_bytes());
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut column = Column::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => column.name = protobuf::text(value, "column name")?,
                (2, Field::Varint(value)) => column.cell_type = CellType::from_number(value),
                (3, Field::Bytes(value)) => column.engine_type = protobuf::text(value, "engine_type")?,
                _ => {}
            }
        }
        Ok(column)
    }
}

// === impl Rows ===

impl<'a> Iterator for Rows<'a> {
    type Item = Cells<'a>;

    /// Broken bytes end the rows; [`Reply::decode`] has been over them already and would have refused them.
    fn next(&mut self) -> Option<Cells<'a>> {
        loop {
            if let (2, Field::Bytes(row)) = self.0.next().ok()?? {
                return Some(Cells::new(row));
            }
        }
    }
}

// === impl ReplyWriter ===

impl ReplyWriter {
    /// Nothing yet.
    pub fn new() -> Self {
        ReplyWriter::default()
    }

    /// Another column of this result.
    pub fn column(&mut self, column: &Column<'_>) {
        protobuf::put_delimiter(&mut self.result, 1, column.len());
        column.put(&mut self.result);
    }

    /// Another cell of this row.
    pub fn cell(&mut self, cell: Cell<'_>) {
        put_cell(&mut self.row, cell);
    }

    /// The bytes of this row, for whoever writes cells with [`put_cell`] itself.
    pub fn row(&mut self) -> &mut Vec<u8> {
        &mut self.row
    }

    /// This row is complete.
    pub fn end_row(&mut self) {
        protobuf::put_bytes(&mut self.result, 2, &self.row);
        self.row.clear();
    }

    /// This result is complete.
    pub fn end_result(&mut self, affected: u64, last_insert_id: u64) {
        protobuf::put_uint(&mut self.result, 3, affected);
        protobuf::put_uint(&mut self.result, 4, last_insert_id);
        protobuf::put_bytes(&mut self.out, 1, &self.result);
        self.result.clear();
    }

    /// Bytes so far, those of the row and the result that are being written included.
    pub fn len(&self) -> usize {
        self.out.len() + self.result.len() + self.row.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reply's bytes. `cursor` is 0 if there are no more rows.
    pub fn finish(mut self, cursor: u32) -> Vec<u8> {
        protobuf::put_uint(&mut self.out, 2, cursor.into());
        self.out
    }
}
