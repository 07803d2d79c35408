//! Parameters: cells as SQLite's values. Types that it does not have become the text that its functions understand.

use std::fmt::Write;

use agw_wire::CallError;
use agw_wire::sql::{Cell, Cells};
use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::failure::failure;
use crate::calendar::{write_date, write_time, write_timestamp};
use crate::engine::Failure;
use crate::error::invalid;

/// Binds every parameter.
pub(crate) fn bind(statement: &mut Statement<'_>, params: &[u8]) -> Result<(), Failure> {
    let expected = statement.parameter_count();
    let mut given = 0;
    for cell in Cells::new(params) {
        // Checked when the call was decoded.
        let cell = cell.map_err(|error| invalid(error.to_string()))?;
        given += 1;
        if given <= expected {
            let value = value(cell).map_err(|what| invalid(format!("parameter {given}: {what}")))?;
            statement.raw_bind_parameter(given, value).map_err(|error| failure(error, false))?;
        }
    }
    if given != expected {
        return Err(wrong_count(expected, given).into());
    }
    Ok(())
}

fn wrong_count(expected: usize, given: usize) -> CallError {
    invalid(format!("the statement has {expected} parameters, the call gives {given}"))
}

fn value(cell: Cell<'_>) -> Result<ToSqlOutput<'_>, &'static str> {
    let text =
        |text: Option<String>, what| text.map(|text| ToSqlOutput::Owned(Value::Text(text))).ok_or(what);
    Ok(match cell {
        Cell::Null => ToSqlOutput::Owned(Value::Null),
        Cell::Bool(value) => ToSqlOutput::Owned(Value::Integer(value.into())),
        Cell::Int(value) => ToSqlOutput::Owned(Value::Integer(value)),
        Cell::Uint(value) => match i64::try_from(value) {
            Ok(value) => ToSqlOutput::Owned(Value::Integer(value)),
            Err(_) => return Err("SQLite has no integers over 9223372036854775807"),
        },
        // SQLite would make a null of it without a word.
        Cell::Float(value) if value.is_nan() => return Err("SQLite has no NaN"),
        Cell::Float(value) => ToSqlOutput::Owned(Value::Real(value)),
        Cell::Decimal(text) | Cell::Text(text) | Cell::Json(text) => {
            ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
        }
        Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Cell::Date(days) => text(write_date(days), "SQLite's dates are in the years 0 to 9999")?,
        Cell::Time(micros) => text(write_time(micros), "SQLite's times are within a day")?,
        Cell::Timestamp(micros) => {
            text(write_timestamp(micros), "SQLite's timestamps are in the years 0 to 9999")?
        }
        Cell::TimestampTz(micros) => {
            let zoned = write_timestamp(micros).map(|text| text + "Z");
            text(zoned, "SQLite's timestamps are in the years 0 to 9999")?
        }
        Cell::Uuid(bytes) => text(Some(write_uuid(bytes)), "")?,
        Cell::Inet(inet) => {
            let alone = inet.prefix == if inet.address.is_ipv4() { 32 } else { 128 };
            let written =
                if alone { inet.address.to_string() } else { format!("{}/{}", inet.address, inet.prefix) };
            text(Some(written), "")?
        }
        Cell::Interval { .. } => return Err("SQLite has no intervals"),
        Cell::Array(_) => return Err("SQLite has no arrays"),
        _ => return Err("SQLite has no such type"),
    })
}

fn write_uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
