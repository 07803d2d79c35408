//! What can go wrong, and what of it a guest gets to see. Texts are the gateway's own: a server's may quote a statement
//! and its values.

use std::fmt;
use std::io;

use agw_config::SqlTarget;
use agw_wire::{CallError, Code, Retry};
use thiserror::Error;

/// A resource that cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A certificate, key or name that is none; of MySQL also a password that is no text.
    #[error("{part} cannot be used")]
    Tls {
        /// The field.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a resource cannot be used as it is configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database cannot be opened, and waiting would not help.
    #[error("the database cannot be opened")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no connection at present. Later there may be one; the named statements are not checked yet.
    #[error("there is no connection to the database")]
    NoConnection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Named statements that the database refuses, all of them.
    #[error("the database refuses {}", listed(.0))]
    Statements(Vec<StatementProblem>),
}

/// A named statement that the database refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementProblem {
    /// The statement's name.
    pub name: String,
    /// The server's own message. It is for the operator, who wrote the statement.
    pub message: String,
    /// Bytes before the place that the server points to, if it does.
    pub position: Option<usize>,
}

/// A statement that a server refuses to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) position: Option<usize>,
}

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ConnectError {
    #[error("the thread of a connection cannot be started")]
    Thread(#[source] io::Error),
    /// Waiting does not help: the gateway does not start with such a resource.
    #[error("the database cannot be opened")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no connection within connect_timeout")]
    Timeout,
    #[error("the server's name cannot be resolved")]
    Lookup(#[source] io::Error),
    #[error("the server cannot be reached")]
    Reach(#[source] io::Error),
    #[error("no encrypted connection: the certificate, its name or the server's TLS")]
    Tls(#[source] io::Error),
    #[error("the server refuses the credentials")]
    Auth(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the server has no such database")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many connections, starting up, shutting down.
    #[error("the server takes no connection now")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection was lost during the login")]
    Login(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no host of the resource is {} at present", wanted(*.0))]
    Role(SqlTarget),
}

// === impl ConnectError ===

impl ConnectError {
    /// A word for `/v1/resources`.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            ConnectError::Thread(_) => "thread",
            ConnectError::Open(_) => "open",
            ConnectError::Timeout => "timeout",
            ConnectError::Lookup(_) => "lookup",
            ConnectError::Reach(_) => "unreachable",
            ConnectError::Tls(_) => "tls",
            ConnectError::Auth(_) => "auth",
            ConnectError::Database(_) => "database",
            ConnectError::Refused(_) => "refused",
            ConnectError::Login(_) => "login",
            ConnectError::Role(_) => "role",
        }
    }

    /// Of several hosts' errors the highest is told: what an operator has to mend before what passes by itself.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            ConnectError::Lookup(_) | ConnectError::Reach(_) => 0,
            ConnectError::Timeout => 1,
            ConnectError::Refused(_) | ConnectError::Login(_) => 2,
            ConnectError::Role(_) => 3,
            ConnectError::Tls(_) | ConnectError::Auth(_) | ConnectError::Database(_) => 4,
            ConnectError::Thread(_) | ConnectError::Open(_) => 5,
        }
    }

    /// What calls get.
    pub(crate) fn call_error(&self) -> CallError {
        let unavailable = |message: &str| CallError::new(Code::Unavailable, message).retry(Retry::Safe);
        match self {
            ConnectError::Thread(_) => unavailable("the gateway has no thread for another connection"),
            ConnectError::Open(_) => unavailable("the database cannot be opened"),
            ConnectError::Timeout => unavailable("the database did not take a connection in time"),
            ConnectError::Lookup(_) | ConnectError::Reach(_) => unavailable("the database cannot be reached"),
            ConnectError::Tls(_) => unavailable("no encrypted connection to the database"),
            ConnectError::Auth(_) => {
                CallError::new(Code::Auth, "the database refuses the resource's credentials")
            }
            ConnectError::Database(_) => {
                CallError::new(Code::Unavailable, "the server has no database of this name")
            }
            ConnectError::Refused(_) => unavailable("the database takes no connection now"),
            ConnectError::Login(_) => unavailable("the connection was lost during the login"),
            ConnectError::Role(target) => {
                unavailable(&format!("no host of the database is {} at present", wanted(*target)))
            }
        }
    }
}

fn wanted(target: SqlTarget) -> &'static str {
    match target {
        SqlTarget::Any | SqlTarget::Primary => "a primary",
        SqlTarget::Replica | SqlTarget::PreferReplica => "a replica",
    }
}

// === impl StatementProblem ===

impl fmt::Display for StatementProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statements.{}: {}", self.name, self.message)?;
        match self.position {
            Some(position) => write!(f, " (at byte {position})"),
            None => Ok(()),
        }
    }
}

fn listed(problems: &[StatementProblem]) -> String {
    problems.iter().map(StatementProblem::to_string).collect::<Vec<_>>().join("; ")
}

// === what calls get ===

pub(crate) fn invalid(message: impl Into<String>) -> CallError {
    CallError::new(Code::Invalid, message)
}

pub(crate) fn denied(message: impl Into<String>) -> CallError {
    CallError::new(Code::Denied, message)
}

pub(crate) fn timeout_queue() -> CallError {
    CallError::new(Code::TimeoutQueue, "no connection became free in time").retry(Retry::Safe)
}

pub(crate) fn timeout_connect() -> CallError {
    CallError::new(Code::TimeoutConnect, "no connection before the deadline").retry(Retry::Safe)
}

pub(crate) fn timeout_io() -> CallError {
    CallError::new(Code::TimeoutIo, "no result before the deadline; the statement may have run")
        .retry(Retry::IfIdempotent)
}

pub(crate) fn cancelled() -> CallError {
    CallError::new(Code::Cancelled, "the call was taken back, or its stream has ended")
}

/// The gateway is shutting down, or the resource is.
pub(crate) fn closed(retry: Retry) -> CallError {
    CallError::new(Code::Unavailable, "the resource is being shut down").retry(retry)
}

/// The connection went away under the call.
pub(crate) fn lost() -> CallError {
    CallError::new(Code::Unavailable, "the connection was lost before the result came")
        .retry(Retry::IfIdempotent)
}

/// A write met a host that was a primary when the connection was opened. Nothing was done.
pub(crate) fn demoted() -> CallError {
    CallError::new(Code::Unavailable, "the host has become a replica; the next call looks for the primary")
        .retry(Retry::Safe)
}

pub(crate) fn no_such_cursor() -> CallError {
    invalid("no such cursor: it has ended, or was idle for too long; ask for the first page again")
}
