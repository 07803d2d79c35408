//! SQLite's errors: what a guest gets, and what becomes of the connection.

use agw_wire::{CallError, Code, Kind, Retry};
use rusqlite::ffi::{self, ErrorCode};

use super::stopped;
use crate::engine::Failure;
use crate::error::{Refused, denied, invalid};

/// What came of a statement.
pub(crate) fn failure(error: rusqlite::Error, read_only: bool) -> Failure {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => {
            tracing::debug!(extended_code = error.extended_code, message, "SQLite refused a statement");
            of_code(error, read_only)
        }
        rusqlite::Error::SqlInputError { error, msg, offset, .. } => {
            tracing::debug!(
                extended_code = error.extended_code,
                message = msg,
                offset,
                "SQLite refused a statement"
            );
            let message = "the database refuses the statement: its syntax, or a name in it";
            server(message, "42000", error.extended_code).into()
        }
        rusqlite::Error::MultipleStatement => denied("there is more than one statement").into(),
        rusqlite::Error::NulError(_) => invalid("the statement holds a zero byte").into(),
        other => {
            tracing::debug!(error = %other, "SQLite refused a statement");
            CallError::new(Code::Server, "the database refuses the statement").server_code("HY000").into()
        }
    }
}

/// What the operator gets to see of a named statement.
pub(crate) fn refused(error: rusqlite::Error) -> Refused {
    match error {
        rusqlite::Error::SqlInputError { msg, offset, .. } => {
            Refused { message: msg, position: usize::try_from(offset).ok() }
        }
        rusqlite::Error::SqliteFailure(_, Some(message)) => Refused { message, position: None },
        other => Refused { message: other.to_string(), position: None },
    }
}

fn of_code(error: ffi::Error, read_only: bool) -> Failure {
    let number = error.extended_code;
    match error.code {
        ErrorCode::OperationInterrupted => stopped().into(),
        ErrorCode::ConstraintViolation => constraint(number).into(),
        // Another transaction has written since this one began to read: it can never get the lock.
        ErrorCode::DatabaseBusy if number == ffi::SQLITE_BUSY_SNAPSHOT => {
            let message = "another transaction has written meanwhile; this one was rolled back";
            let error = server(message, "40001", number);
            error.kind(Kind::SerializationFailure).retry(Retry::Safe).into()
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            let message = "somebody else holds the lock on the database; nothing was done";
            server(message, "55P03", number).kind(Kind::Locked).retry(Retry::Safe).into()
        }
        ErrorCode::ReadOnly if read_only => denied("the statement writes, and the grant is read-only").into(),
        ErrorCode::ReadOnly => server("the database is read-only", "25006", number).into(),
        ErrorCode::TooBig => CallError::new(
            Code::TooLarge,
            "a value or a row is larger than the resource admits (limits.cell)",
        )
        .into(),
        ErrorCode::DiskFull => server("the disk is full", "53100", number).into(),
        ErrorCode::OutOfMemory => server("the database has no memory left", "53200", number).into(),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Failure { error: server("the database's file is damaged", "XX001", number), broken: true }
        }
        ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => {
            let error = CallError::new(Code::Unavailable, "the database's file cannot be read or written");
            Failure { error: error.server_errno(unsigned(number)).retry(Retry::IfIdempotent), broken: true }
        }
        ErrorCode::TypeMismatch => server("a value is not of its column's type", "22000", number).into(),
        _ => server("the database refuses the statement", "HY000", number).into(),
    }
}

fn constraint(number: i32) -> CallError {
    let (message, state, kind) = match number {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ("a row with this key is there already", "23505", Some(Kind::UniqueViolation))
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
            let message = "the row that it refers to is not there, or others refer to it";
            (message, "23503", Some(Kind::ForeignKeyViolation))
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            ("a column that must have a value would have none", "23502", Some(Kind::NotNullViolation))
        }
        ffi::SQLITE_CONSTRAINT_CHECK => {
            ("a value is against the table's conditions", "23514", Some(Kind::CheckViolation))
        }
        _ => ("a condition of the table is violated", "23000", None),
    };
    let error = server(message, state, number);
    match kind {
        Some(kind) => error.kind(kind),
        None => error,
    }
}

fn server(message: &str, state: &str, number: i32) -> CallError {
    CallError::new(Code::Server, message).server_code(state).server_errno(unsigned(number))
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
