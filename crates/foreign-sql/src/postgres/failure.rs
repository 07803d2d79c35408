//! Postgres' errors: what a guest gets, and what becomes of the connection.

use agw_wire::{CallError, Code, Kind, Retry};
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use super::wire::Seen;
use crate::engine::Failure;
use crate::error::{ConnectError, Refused, denied, lost, timeout_io};

const NO_WRITES: SqlState = SqlState::READ_ONLY_SQL_TRANSACTION;

/// What came of one attempt.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: CallError,
    pub(crate) broken: bool,
    /// What was prepared is out of date: prepared anew it may work.
    pub(crate) stale: bool,
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Failed { error, broken: false, stale: false }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Failure { error: failed.error, broken: failed.broken }
    }
}

impl Failed {
    /// The server's word, and not the grant's.
    pub(crate) fn takes_no_writes(&self) -> bool {
        self.error.code == Code::Server && self.error.server_code == NO_WRITES.code()
    }
}

/// A server in recovery refuses a transaction that may write as a feature that it does not have.
pub(crate) fn not_begun(failed: Failed) -> Failed {
    if failed.error.server_code == SqlState::FEATURE_NOT_SUPPORTED.code() {
        return Failed { error: of_state(&NO_WRITES, false), ..failed };
    }
    failed
}

/// What came of a statement.
pub(crate) fn failed(error: &tokio_postgres::Error, seen: &Seen, read_only: bool) -> Failed {
    let Some(server) = error.as_db_error() else {
        tracing::debug!("a connection to Postgres failed in mid-call: {error}");
        let error = if seen.is_oversized() {
            let message = "a row is far over what a result may have (limits.response)";
            CallError::new(Code::TooLarge, message)
        } else {
            lost()
        };
        return Failed { error, broken: true, stale: false };
    };
    let state = server.code();
    tracing::debug!(sqlstate = state.code(), message = server.message(), "Postgres refused a statement");
    let stale = *state == SqlState::INVALID_SQL_STATEMENT_NAME
        || (*state == SqlState::FEATURE_NOT_SUPPORTED && server.routine() == Some("RevalidateCachedQuery"));
    // FATAL and PANIC end the connection.
    let broken = !matches!(server.severity(), "ERROR") && server.parsed_severity().is_none_or(is_fatal);
    Failed { error: of_state(state, read_only), broken, stale }
}

fn is_fatal(severity: tokio_postgres::error::Severity) -> bool {
    use tokio_postgres::error::Severity;
    matches!(severity, Severity::Fatal | Severity::Panic)
}

fn of_state(state: &SqlState, read_only: bool) -> CallError {
    let server = |message: &str| CallError::new(Code::Server, message).server_code(state.code());
    match state.code() {
        "57014" => timeout_io(),
        "25006" if read_only => denied("the statement writes, and the grant is read-only"),
        "25006" => server("the server takes no writes"),
        "42501" => server("the role of the resource may not do this"),
        "23505" => server("a row with this key is there already").kind(Kind::UniqueViolation),
        "23503" => server("the row that it refers to is not there, or others refer to it")
            .kind(Kind::ForeignKeyViolation),
        "23502" => server("a column that must have a value would have none").kind(Kind::NotNullViolation),
        "23514" => server("a value is against the table's conditions").kind(Kind::CheckViolation),
        "40P01" => server("two transactions waited for each other; this one was rolled back")
            .kind(Kind::Deadlock)
            .retry(Retry::Safe),
        "40001" => server("another transaction was in the way; this one was rolled back")
            .kind(Kind::SerializationFailure)
            .retry(Retry::Safe),
        "55P03" => {
            server("somebody else holds the lock; nothing was done").kind(Kind::Locked).retry(Retry::Safe)
        }
        "57P01" | "57P02" | "57P03" => lost(),
        other => match other.get(..2).unwrap_or_default() {
            "08" => lost(),
            "22" => server("the database refuses a value: its form, or its range"),
            "23" => server("a condition of the table is violated"),
            "42" => server("the database refuses the statement: its syntax, or a name in it"),
            "53" => server("the server has run out of something: memory, disk or connections"),
            _ => server("the database refuses the statement"),
        },
    }
}

/// What the operator gets to see of a named statement.
pub(crate) fn refused(error: &tokio_postgres::Error, text: &str) -> Refused {
    let Some(server) = error.as_db_error() else {
        return Refused { message: error.to_string(), position: None };
    };
    Refused { message: server.message().to_owned(), position: position(server, text) }
}

/// The server counts characters, from 1.
fn position(server: &DbError, text: &str) -> Option<usize> {
    let Some(ErrorPosition::Original(at)) = server.position() else { return None };
    let before = usize::try_from(*at).ok()?.checked_sub(1)?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(before)
}

/// Why a connection did not come to be.
pub(crate) fn connect_error(error: tokio_postgres::Error) -> ConnectError {
    let state = error.code().map(|state| state.code().to_owned());
    match state {
        None => {
            // The driver does not tell these apart but by their texts.
            let text = error.to_string();
            if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
                ConnectError::Auth(Box::new(error))
            } else {
                ConnectError::Login(Box::new(error))
            }
        }
        // Wrong credentials, no entry in pg_hba.conf, no right to connect.
        Some(state) if state.starts_with("28") || state == "42501" => ConnectError::Auth(Box::new(error)),
        Some(state) if state == "3D000" => ConnectError::Database(Box::new(error)),
        Some(_) => ConnectError::Refused(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_state_and_its_retry() {
        for (state, kind, retry) in [
            ("23505", Some(Kind::UniqueViolation), Retry::Never),
            ("23503", Some(Kind::ForeignKeyViolation), Retry::Never),
            ("23502", Some(Kind::NotNullViolation), Retry::Never),
            ("23514", Some(Kind::CheckViolation), Retry::Never),
            ("40P01", Some(Kind::Deadlock), Retry::Safe),
            ("40001", Some(Kind::SerializationFailure), Retry::Safe),
            ("55P03", Some(Kind::Locked), Retry::Safe),
            ("22P02", None, Retry::Never),
            ("XX000", None, Retry::Never),
        ] {
            let error = of_state(&SqlState::from_code(state), false);
            assert_eq!((error.code, error.kind, error.retry), (Code::Server, kind, retry), "{state}");
            assert_eq!(error.server_code, state);
        }
        assert_eq!(of_state(&SqlState::QUERY_CANCELED, false).code, Code::TimeoutIo);
        assert_eq!(of_state(&SqlState::READ_ONLY_SQL_TRANSACTION, true).code, Code::Denied);
        assert_eq!(of_state(&SqlState::ADMIN_SHUTDOWN, true).code, Code::Unavailable);
    }
}
