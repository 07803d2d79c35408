//! What a plugin can match on when a call fails.

use std::fmt;

use agw_wire::resp::ParseError;
use agw_wire::{CallError, Code, DecodeError, Kind, Retry};

/// Why a call gave no reply.
///
/// A plugin usually asks one thing: may the request go on without the answer? Match the cases that the
/// plugin can do something about, and let its failure policy take the rest.
///
/// ```no_run
/// use agw_sdk::Error;
///
/// fn allowed(key: &str) -> bool {
///     match agw_sdk::redis("limits").and_then(|limits| limits.incr(key)) {
///         Ok(count) => count <= 100,
///         // Not AGW, or the operator granted nothing: the same for every request.
///         Err(Error::Unsupported | Error::Denied(_) | Error::UnknownResource(_)) => true,
///         // Redis is slow or away just now.
///         Err(error) if error.is_timeout() => true,
///         Err(_) => false,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host has no `agw_redis` or `agw_sql`: it is not AGW. Natively, outside any host, every call ends so.
    Unsupported,
    /// The plugin's grant does not allow it.
    Denied(CallError),
    /// No such resource, or none granted under this name.
    UnknownResource(CallError),
    /// The call itself is wrong, such as a blocking call in a shared VM; the message says how to mend it.
    Invalid(CallError),
    /// The deadline passed: [`Error::code`] says where. [`Code::TimeoutIo`] means that the command may have
    /// run.
    Timeout(CallError),
    /// The server cannot be reached, or closed the connection; sent commands may have run.
    Unavailable(CallError),
    /// Refused at once, because the server has failed just now.
    CircuitOpen(CallError),
    /// Too many calls wait already.
    Overloaded(CallError),
    /// The server refused the gateway's credentials or rights.
    Auth(CallError),
    /// The server answered with an error of its own.
    #[non_exhaustive]
    Server {
        /// Of Redis its first word, such as `WRONGTYPE` or `LOADING`; of SQL the SQLSTATE, such as `23505`.
        code: String,
        /// The rest of it.
        message: String,
        /// Whether the same call may be made again.
        retry: Retry,
        /// Of SQL: what it was, if it is something that plugins may want to tell apart.
        kind: Option<Kind>,
        /// MySQL's errno, SQLite's extended result code; 0 if there is none.
        errno: u32,
    },
    /// Request or answer is over its limit.
    TooLarge(CallError),
    /// Cancelled by the plugin, or because its stream ended.
    Cancelled(CallError),
    /// The reply came, but is of another type than the one asked for. The command has run.
    #[non_exhaustive]
    WrongType {
        /// What the call's type can be read from.
        expected: &'static str,
        /// What the server sent.
        found: &'static str,
    },
    /// A value of a SQL row is of another type than the one asked for. The statement has run.
    #[non_exhaustive]
    Column {
        /// The column's name, or its place from 0 on if it was asked for by place and has no name.
        column: String,
        /// The row's place in the answer, from 0 on.
        row: usize,
        /// What the type can be read from.
        expected: &'static str,
        /// What the server sent. Never the value.
        found: &'static str,
    },
    /// A SQL row has no such column, or another number of columns than the tuple has places. The statement has
    /// run.
    #[non_exhaustive]
    NoColumn {
        /// What was asked for.
        wanted: String,
        /// The names of the columns that are there.
        columns: String,
    },
    /// The leased connection is gone, and with it what was watched on it. Start over with a new lease.
    LeaseLost,
    /// The host broke the contract; the text says how.
    Host(&'static str),
}

impl Error {
    /// Whether the deadline passed, wherever the call was then.
    ///
    /// ```no_run
    /// # fn f(error: agw_sdk::Error) {
    /// let slow = error.is_timeout();
    /// # }
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout(_))
    }

    /// Whether the same call may be made again.
    ///
    /// ```no_run
    /// use agw_sdk::Retry;
    ///
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let limits = agw_sdk::redis("limits")?;
    /// let count = match limits.incr("visits") {
    ///     Err(error) if error.retry() == Retry::Safe => limits.incr("visits")?,
    ///     other => other?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry(&self) -> Retry {
        match self {
            Error::Server { retry, .. } => *retry,
            other => other.call_error().map_or(Retry::Never, |error| error.retry),
        }
    }

    /// The code of the closed set, if the gateway gave one.
    ///
    /// ```no_run
    /// use agw_sdk::Code;
    ///
    /// # fn f(error: agw_sdk::Error) {
    /// let may_have_run = error.code() == Some(Code::TimeoutIo);
    /// # }
    /// ```
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Server { .. } => Some(Code::Server),
            other => other.call_error().map(|error| error.code),
        }
    }

    /// What a SQL server's refusal is, if it is one that plugins may want to tell apart.
    ///
    /// ```no_run
    /// use agw_sdk::Kind;
    ///
    /// # fn f(error: agw_sdk::Error) {
    /// let taken = error.kind() == Some(Kind::UniqueViolation);
    /// # }
    /// ```
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Error::Server { kind, .. } => *kind,
            _ => None,
        }
    }

    /// A word for logs and metrics, such as `timeout_io` or `unsupported`: one of a fixed set.
    ///
    /// ```no_run
    /// # fn f(error: agw_sdk::Error) {
    /// let name = format!("errors_{}", error.as_str());
    /// # }
    /// ```
    pub fn as_str(&self) -> &'static str {
        match self {
            Error::Unsupported => "unsupported",
            Error::WrongType { .. } => "wrong_type",
            Error::Column { .. } => "wrong_type",
            Error::NoColumn { .. } => "no_column",
            Error::LeaseLost => "lease_lost",
            Error::Host(_) => "host",
            other => other.code().map_or("host", Code::as_str),
        }
    }

    fn call_error(&self) -> Option<&CallError> {
        match self {
            Error::Denied(error)
            | Error::UnknownResource(error)
            | Error::Invalid(error)
            | Error::Timeout(error)
            | Error::Unavailable(error)
            | Error::CircuitOpen(error)
            | Error::Overloaded(error)
            | Error::Auth(error)
            | Error::TooLarge(error)
            | Error::Cancelled(error) => Some(error),
            _ => None,
        }
    }

    /// An error that the SDK finds before it asks the host.
    pub(crate) fn invalid(message: &str) -> Error {
        Error::Invalid(CallError::new(Code::Invalid, message))
    }

    /// A RESP error line: the first word is its code.
    pub(crate) fn server(line: &[u8]) -> Error {
        let line = String::from_utf8_lossy(line);
        let (code, message) = line.split_once(' ').unwrap_or((&line, ""));
        Error::Server {
            code: code.into(),
            message: message.into(),
            retry: Retry::Never,
            kind: None,
            errno: 0,
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        match error.code {
            Code::Denied => Error::Denied(error),
            Code::UnknownResource => Error::UnknownResource(error),
            Code::Invalid => Error::Invalid(error),
            Code::TimeoutQueue | Code::TimeoutConnect | Code::TimeoutIo => Error::Timeout(error),
            Code::Unavailable => Error::Unavailable(error),
            Code::CircuitOpen => Error::CircuitOpen(error),
            Code::Overloaded => Error::Overloaded(error),
            Code::Auth => Error::Auth(error),
            Code::Server => Error::Server {
                code: error.server_code,
                message: error.message,
                retry: error.retry,
                kind: error.kind,
                errno: error.server_errno,
            },
            Code::TooLarge => Error::TooLarge(error),
            Code::Cancelled => Error::Cancelled(error),
            _ => Error::Host("the host used an error code that this SDK does not know"),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(_: DecodeError) -> Error {
        Error::Host("the host's answer cannot be decoded")
    }
}

impl From<ParseError> for Error {
    fn from(_: ParseError) -> Error {
        Error::Host("the reply is not RESP")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        let (detail, more) = match self {
            Error::Server { code, message, .. } => (code.as_str(), message.as_str()),
            Error::WrongType { expected, found } => {
                f.write_str(": expected ")?;
                f.write_str(expected)?;
                f.write_str(", found ")?;
                return f.write_str(found);
            }
            Error::Column { column, row, expected, found } => {
                return write!(f, ": column {column} of row {row}: expected {expected}, found {found}");
            }
            Error::NoColumn { wanted, columns } => {
                return write!(f, ": wanted {wanted}, found {columns}");
            }
            Error::Host(what) => (*what, ""),
            other => match other.call_error() {
                Some(error) => (error.server_code.as_str(), error.message.as_str()),
                None => ("", ""),
            },
        };
        for part in [detail, more] {
            if !part.is_empty() {
                f.write_str(": ")?;
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_variant_and_keeps_its_name() {
        for code in Code::ALL {
            let error = Error::from(CallError::new(code, "why"));
            assert_eq!(error.as_str(), code.as_str());
            assert_eq!(error.code(), Some(code));
            assert!(error.to_string().starts_with(code.as_str()), "{error}");
            assert!(error.to_string().ends_with("why"), "{error}");
        }
    }

    #[test]
    fn all_three_timeouts_are_timeouts_and_nothing_else_is() {
        let timeouts = [Code::TimeoutQueue, Code::TimeoutConnect, Code::TimeoutIo];
        for code in Code::ALL {
            let error = Error::from(CallError::new(code, ""));
            assert_eq!(error.is_timeout(), timeouts.contains(&code), "{error}");
        }
        assert!(!Error::Unsupported.is_timeout());
    }

    #[test]
    fn advice_on_trying_again_comes_through() {
        let error = CallError::new(Code::Server, "wait").server_code("LOADING").retry(Retry::Safe);
        let error = Error::from(error);
        assert_eq!(error.retry(), Retry::Safe);
        assert_eq!(error.to_string(), "server: LOADING: wait");
        assert_eq!(Error::Unsupported.retry(), Retry::Never);
    }

    #[test]
    fn a_server_error_without_a_space_or_utf8_is_still_one() {
        assert_eq!(Error::server(b"OOM").to_string(), "server: OOM");
        assert_eq!(Error::server(b"ERR \xff").to_string(), "server: ERR: \u{fffd}");
        assert_eq!(Error::server(b"").to_string(), "server");
    }
}
