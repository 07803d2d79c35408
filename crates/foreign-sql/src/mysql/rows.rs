//! Rows of a result, written or passed over.

use agw_wire::CallError;
use agw_wire::sql::Cell;
use mysql_async::{BinaryProtocol, Error, QueryResult, Row};

use super::decode::{Column, Made};
use super::failure::{Failed, failed};
use crate::output::{Output, Room};

pub(super) fn write_columns(columns: &[Column], output: &mut Output) -> Result<(), Failed> {
    for column in columns {
        output.column(&column.name, column.cell_type(), column.engine_type)?;
    }
    Ok(())
}

/// `Ok(false)` if the page is full: the row has not been written.
pub(super) fn write_row(row: &Row, columns: &[Column], output: &mut Output) -> Result<bool, Failed> {
    match output.room()? {
        Room::Skip => return Ok(true),
        Room::Full => return Ok(false),
        Room::Take => {}
    }
    for (at, column) in columns.iter().enumerate() {
        let value = row.as_ref(at).ok_or_else(|| unreadable(column))?;
        match column.decode(value).ok_or_else(|| unreadable(column))? {
            Made::Cell(cell) => output.cell(cell)?,
            Made::Text(text) => output.cell(Cell::Text(&text))?,
        }
    }
    output.end_row()?;
    Ok(true)
}

fn unreadable(column: &Column) -> CallError {
    let message = format!("a value of column {} is none of the type {}", column.name, column.engine_type);
    CallError::new(agw_wire::Code::Server, message).server_code("HY000")
}

/// `Ok(false)` at the end, however it came.
pub(super) async fn discard(rows: &mut QueryResult<'_, '_, BinaryProtocol>) -> Result<bool, Failed> {
    match rows.next().await {
        Ok(row) => Ok(row.is_some()),
        Err(Error::Server(_)) => Ok(false),
        Err(error) => Err(Failed { broken: true, ..failed(&error, false) }),
    }
}
