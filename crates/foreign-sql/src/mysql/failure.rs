//! The server's errors and the driver's: what a guest gets, and what becomes of the connection.

use agw_wire::{CallError, Code, Kind, Retry};
use mysql_async::{DriverError, Error, IoError, ServerError};
use mysql_common::proto::codec::error::PacketCodecError;

use crate::engine::Failure;
use crate::error::{ConnectError, Refused, denied, lost, timeout_io};

/// `KILL QUERY` has met a statement.
pub(crate) const INTERRUPTED: u16 = 1317;

/// What came of one attempt.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: CallError,
    pub(crate) broken: bool,
    /// What was prepared is out of date: prepared anew it may work.
    pub(crate) stale: bool,
}

impl Failed {
    pub(crate) fn broken(error: CallError) -> Self {
        Failed { error, broken: true, stale: false }
    }

    /// The server runs with `read_only` or another option that is against the statement.
    pub(crate) fn takes_no_writes(&self) -> bool {
        self.error.code == Code::Server && matches!(self.error.server_errno, 1290 | 1836)
    }
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

/// What came of a statement.
pub(crate) fn failed(error: &Error, read_only: bool) -> Failed {
    match error {
        Error::Server(server) => {
            let (errno, sqlstate) = (server.code, &server.state);
            tracing::debug!(errno, sqlstate, message = server.message, "MySQL refused a statement");
            let stale = matches!(errno, 1615 | 1243);
            // Shut down, killed, idle for too long, a packet too large: the server closes after these.
            let broken = matches!(errno, 1053 | 1152 | 1153 | 1927 | 1077 | 1079 | 4031);
            Failed { error: of_errno(server, read_only), broken, stale }
        }
        error if is_oversized(error) => {
            let message = "a row is far over what a result may have (limits.response)";
            Failed::broken(CallError::new(Code::TooLarge, message))
        }
        error => {
            tracing::debug!("a connection to MySQL failed in mid-call: {error}");
            Failed::broken(lost())
        }
    }
}

pub(crate) fn is_interrupted(error: &Error) -> bool {
    matches!(error, Error::Server(server) if server.code == INTERRUPTED)
}

fn is_oversized(error: &Error) -> bool {
    let Error::Io(IoError::Io(error)) = error else { return false };
    let codec = error.get_ref().and_then(|cause| cause.downcast_ref::<PacketCodecError>());
    matches!(codec, Some(PacketCodecError::PacketTooLarge))
}

fn of_errno(error: &ServerError, read_only: bool) -> CallError {
    let server = |message: &str| {
        CallError::new(Code::Server, message).server_code(&*error.state).server_errno(error.code.into())
    };
    match error.code {
        // Killed; over max_statement_time, over max_execution_time.
        INTERRUPTED | 1969 | 3024 => timeout_io(),
        1053 | 1077 | 1079 | 1927 | 4031 => lost(),
        1152 | 1153 => CallError::new(Code::TooLarge, "the server takes no packet of this size"),
        1792 if read_only => denied("the statement writes, and the grant is read-only"),
        1290 | 1792 | 1836 | 3100 => server("the server takes no writes"),
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1419 => {
            server("the account of the resource may not do this")
        }
        1062 | 1169 | 1586 => server("a row with this key is there already").kind(Kind::UniqueViolation),
        1216 | 1217 | 1451 | 1452 => server("the row that it refers to is not there, or others refer to it")
            .kind(Kind::ForeignKeyViolation),
        1048 | 1364 | 1263 => {
            server("a column that must have a value would have none").kind(Kind::NotNullViolation)
        }
        4025 | 3819 => server("a value is against the table's conditions").kind(Kind::CheckViolation),
        1213 | 1614 => server("two transactions waited for each other; this one was rolled back")
            .kind(Kind::Deadlock)
            .retry(Retry::Safe),
        1020 => server("another transaction was in the way; this one was rolled back")
            .kind(Kind::SerializationFailure)
            .retry(Retry::Safe),
        1205 | 3572 => {
            server("somebody else holds the lock; nothing was done").kind(Kind::Locked).retry(Retry::Safe)
        }
        1037 | 1038 | 1041 | 1021 | 1114 | 1461 => {
            server("the server has run out of something: memory, disk or statements")
        }
        1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 1690 | 3140 | 1416 | 4079 => {
            server("the database refuses a value: its form, or its range")
        }
        _ => match error.state.get(..2).unwrap_or_default() {
            "22" => server("the database refuses a value: its form, or its range"),
            "23" => server("a condition of the table is violated"),
            "42" => server("the database refuses the statement: its syntax, or a name in it"),
            _ => server("the database refuses the statement"),
        },
    }
}

/// What the operator gets to see of a named statement.
pub(crate) fn refused(error: &Error, text: &str) -> Refused {
    let Error::Server(server) = error else {
        return Refused { message: error.to_string(), position: None };
    };
    let message = format!("{} (errno {}, SQLSTATE {})", server.message, server.code, server.state);
    Refused { message, position: position(&server.message, text) }
}

/// The server quotes the text from the place on, up to its end or for some length: `near '...' at line 1`.
fn position(message: &str, text: &str) -> Option<usize> {
    let (_, quoted) = message.split_once("near '")?;
    let (quoted, _) = quoted.rsplit_once("' at line ")?;
    if let Some(before) = text.strip_suffix(quoted) {
        return Some(before.len());
    }
    let mut places = text.match_indices(quoted);
    let (at, _) = places.next()?;
    places.next().is_none().then_some(at)
}

/// Why a connection did not come to be.
pub(crate) fn connect_error(error: Error) -> ConnectError {
    match error {
        Error::Server(server) => match server.code {
            // Wrong credentials, no such account from here, no right to the database, a password that is over.
            1044 | 1045 | 1130 | 1251 | 1524 | 1698 | 1820 | 1862 | 3118 => {
                ConnectError::Auth(Box::new(server))
            }
            1049 => ConnectError::Database(Box::new(server)),
            // Too many connections among them.
            _ => ConnectError::Refused(Box::new(server)),
        },
        Error::Io(IoError::Tls(error)) => ConnectError::Tls(std::io::Error::other(format!("{error:?}"))),
        Error::Io(IoError::Io(error)) if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) => {
            ConnectError::Tls(error)
        }
        Error::Io(IoError::Io(error)) if is_reach(error.kind()) => ConnectError::Reach(error),
        Error::Driver(error @ DriverError::NoClientSslFlagFromServer) => {
            ConnectError::Tls(std::io::Error::other(error))
        }
        Error::Driver(
            error @ (DriverError::UnknownAuthPlugin { .. }
            | DriverError::CleartextPluginDisabled
            | DriverError::MysqlOldPasswordDisabled),
        ) => ConnectError::Auth(Box::new(error)),
        error => ConnectError::Login(Box::new(error)),
    }
}

fn is_reach(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind;
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
            | ErrorKind::AddrNotAvailable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, state: &str, read_only: bool) -> CallError {
        let (message, state) = ("'hunter2'".to_owned(), state.to_owned());
        of_errno(&ServerError { code, message, state }, read_only)
    }

    #[test]
    fn every_kind_has_its_errno_and_its_retry() {
        for (errno, state, kind, retry) in [
            (1062, "23000", Some(Kind::UniqueViolation), Retry::Never),
            (1452, "23000", Some(Kind::ForeignKeyViolation), Retry::Never),
            (1048, "23000", Some(Kind::NotNullViolation), Retry::Never),
            (4025, "23000", Some(Kind::CheckViolation), Retry::Never),
            (3819, "HY000", Some(Kind::CheckViolation), Retry::Never),
            (1213, "40001", Some(Kind::Deadlock), Retry::Safe),
            (1020, "HY000", Some(Kind::SerializationFailure), Retry::Safe),
            (1205, "HY000", Some(Kind::Locked), Retry::Safe),
            (1064, "42000", None, Retry::Never),
            (9999, "HY000", None, Retry::Never),
        ] {
            let error = of(errno, state, false);
            assert_eq!((error.code, error.kind, error.retry), (Code::Server, kind, retry), "{errno}");
            assert_eq!((error.server_code.as_str(), error.server_errno), (state, errno.into()));
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        }
        assert_eq!(of(1317, "70100", false).code, Code::TimeoutIo);
        assert_eq!(of(1969, "70100", false).code, Code::TimeoutIo);
        assert_eq!(of(1792, "25006", true).code, Code::Denied);
        assert_eq!(of(1792, "25006", false).code, Code::Server);
        assert_eq!(of(1053, "08S01", true).code, Code::Unavailable);
    }

    #[test]
    fn the_place_is_where_the_quoted_text_begins_if_that_is_certain() {
        let message = "You have an error in your SQL syntax; ... near 'FORM t' at line 1";
        assert_eq!(position(message, "SELECT a FORM t"), Some(9));
        assert_eq!(position(message, "SELECT 'FORM t', FORM t"), Some(17));
        assert_eq!(position(message, "SELECT a FORM t, b"), Some(9));
        assert_eq!(position(message, "SELECT 'FORM t', FORM t, b"), None);
        assert_eq!(position("... near '' at line 1", "SELECT"), Some(6));
        assert_eq!(position("Table 'a.t' doesn't exist", "SELECT a FROM t"), None);
    }
}
