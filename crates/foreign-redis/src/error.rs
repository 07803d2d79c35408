//! What can go wrong between the gateway and a server, and what a guest is told of it.
//!
//! Causes stay here, for the log. What a guest sees never holds an address, a credential or a server's free text.

use std::io;

use agw_wire::{CallError, Code, Retry};
use thiserror::Error;

use crate::frame::FrameError;

/// Why a resource cannot be built from its configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There must be room for at least one connection that carries calls.
    #[error("pool.max is {max} and pool.leased_max {leased_max}; leased_max must be less than max")]
    Pool {
        /// `pool.max`.
        max: usize,
        /// `pool.leased_max`.
        leased_max: usize,
    },
    /// The authorities cannot be read.
    #[error("tls.ca: not PEM certificates")]
    Authorities(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No authority is named, so that no server would be trusted.
    #[error("tls.ca: no certificate in it; name the authority that signed the server's certificate")]
    NoAuthority,
    /// The client's certificate or key cannot be used.
    #[error("tls.client: certificate chain and key cannot be used")]
    ClientCertificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not a name that a certificate can be checked against.
    #[error("tls.server_name, or the endpoint's host: not a DNS name or IP address")]
    ServerName(#[source] rustls_pki_types::InvalidDnsNameError),
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    #[error("the host name cannot be resolved")]
    Lookup(#[source] io::Error),
    #[error("the server cannot be reached")]
    Reach(#[source] io::Error),
    #[error("no connection within connect_timeout")]
    Timeout,
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    #[error("the connection ended during login")]
    Login(#[source] Fault),
    #[error("the server refused the login ({0})")]
    Auth(String),
    #[error("the server refused the connection ({0})")]
    Refused(String),
    #[error("the server refused the database index ({0})")]
    Database(String),
    #[error("no sentinel answers")]
    Sentinels(#[source] Box<ConnectError>),
    #[error("no sentinel names a server that is a primary")]
    NoPrimary,
    #[error("the server is announced where the resource's `announced` does not allow it")]
    NotAllowed,
    #[error("the server's answer makes no sense")]
    Nonsense,
    #[error("the server is no node of a cluster that has keys; without one, `mode` is standalone")]
    NoCluster,
}

/// Why an exchange on a connection failed. The connection is of no use afterwards.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("the connection broke")]
    Io(#[source] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the reply cannot be framed")]
    Frame(#[source] FrameError),
    #[error("the server sent something unasked")]
    Unasked,
    #[error("the oldest call has had no answer for too long")]
    Stalled,
    #[error("a reply said that this connection is of no more use")]
    Retired,
}

// === impl ConnectError ===

impl ConnectError {
    /// A word for `/v1/resources`.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            ConnectError::Lookup(_) => "lookup",
            ConnectError::Reach(_) => "connect",
            ConnectError::Timeout => "timeout",
            ConnectError::Tls(_) => "tls",
            ConnectError::Login(_) => "login",
            ConnectError::Auth(_) => "auth",
            ConnectError::Refused(_) => "refused",
            ConnectError::Database(_) => "database",
            ConnectError::Sentinels(error) => match &**error {
                // Theirs, and not the primary's.
                ConnectError::Tls(_) => "sentinels_tls",
                _ => "sentinels",
            },
            ConnectError::NoPrimary => "no_primary",
            ConnectError::NotAllowed => "not_allowed",
            ConnectError::Nonsense => "nonsense",
            ConnectError::NoCluster => "no_cluster",
        }
    }

    /// What calls get while this is the state of things.
    pub(crate) fn call_error(&self) -> CallError {
        let unavailable = |message: &str| CallError::new(Code::Unavailable, message).retry(Retry::Safe);
        match self {
            ConnectError::Lookup(_) => unavailable("the server's name cannot be resolved"),
            ConnectError::Reach(_) => unavailable("the server cannot be reached"),
            ConnectError::Timeout => unavailable("the server did not take a connection in time"),
            ConnectError::Tls(_) => unavailable("the server's TLS handshake failed"),
            ConnectError::Login(_) => unavailable("the server ended the connection during login"),
            ConnectError::Auth(code) => {
                CallError::new(Code::Auth, "the server refused the gateway's credentials").server_code(code)
            }
            ConnectError::Refused(code) => unavailable("the server refused the connection").server_code(code),
            ConnectError::Database(code) => {
                unavailable("the server refused the resource's database index").server_code(code)
            }
            ConnectError::Sentinels(error) => match &**error {
                ConnectError::Auth(code) => {
                    CallError::new(Code::Auth, "the sentinels refused the gateway's credentials")
                        .server_code(code)
                }
                ConnectError::Tls(_) => unavailable("the sentinels' TLS handshake failed"),
                _ => unavailable("no sentinel answers"),
            },
            ConnectError::NoPrimary => unavailable("there is no primary at present"),
            ConnectError::NotAllowed => {
                unavailable("the server is announced where the resource does not allow it")
            }
            ConnectError::Nonsense => unavailable("the server's answer makes no sense"),
            ConnectError::NoCluster => unavailable("the server is no node of a cluster that has keys"),
        }
    }
}

// === impl Fault ===

impl Fault {
    /// The gateway threw the connection away; the server may be in good health. Bytes that are not RESP are not
    /// among it: a server that sends such is none.
    pub(crate) fn is_discard(&self) -> bool {
        match self {
            Fault::Io(_) | Fault::Closed | Fault::Frame(FrameError::Malformed) => false,
            Fault::Frame(FrameError::TooLarge | FrameError::TooDeep)
            | Fault::Unasked
            | Fault::Stalled
            | Fault::Retired => true,
        }
    }

    /// What a call gets whose commands may have reached the server.
    pub(crate) fn call_error(&self) -> CallError {
        match self {
            Fault::Frame(FrameError::TooLarge) => too_large(),
            Fault::Frame(FrameError::TooDeep) => {
                CallError::new(Code::TooLarge, "the reply is nested too deep").retry(Retry::Never)
            }
            _ => lost(),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Closed,
            _ => Fault::Io(error),
        }
    }
}

/// The connection went away under a call that may have reached the server.
///
/// The breaker does not count it, by its [`Retry::IfIdempotent`]: the gateway itself may have thrown the connection
/// away, and where it was the server's doing, the next calls find out.
pub(crate) fn lost() -> CallError {
    CallError::new(Code::Unavailable, "the connection was lost before the answer came")
        .retry(Retry::IfIdempotent)
}

/// There was no connection to send the call on: lost just now, or closed for good.
pub(crate) fn not_sent() -> CallError {
    CallError::new(Code::Unavailable, "there is no connection; the call was not sent").retry(Retry::Safe)
}

pub(crate) fn too_large() -> CallError {
    CallError::new(
        Code::TooLarge,
        "the reply is over the resource's limit (response_bytes_max); the command ran",
    )
}

pub(crate) fn timeout_io() -> CallError {
    CallError::new(Code::TimeoutIo, "no answer before the deadline; the command may have run")
        .retry(Retry::IfIdempotent)
}

pub(crate) fn timeout_connect() -> CallError {
    CallError::new(Code::TimeoutConnect, "no connection before the deadline").retry(Retry::Safe)
}

/// The deadline passed while connections were being thrown away too often. The breaker does not count it: it is the
/// gateway that waits, not the server.
pub(crate) fn timeout_paused() -> CallError {
    let message =
        "the connection was thrown away too often just now; none was opened again before the deadline";
    CallError::new(Code::TimeoutQueue, message).retry(Retry::Safe)
}

pub(crate) fn timeout_queue() -> CallError {
    CallError::new(Code::TimeoutQueue, "no leased connection became free in time").retry(Retry::Safe)
}

pub(crate) fn overloaded() -> CallError {
    CallError::new(Code::Overloaded, "too much waits to be sent to this resource").retry(Retry::Safe)
}

/// The error with its causes.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

pub(crate) fn invalid(message: impl Into<String>) -> CallError {
    CallError::new(Code::Invalid, message)
}
