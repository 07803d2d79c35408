//! The closed set of outcomes that are not an answer.

use core::fmt;

/// What happened to a foreign call, and by that whose fault it is.
///
/// The numbers are those of `agw.v1.Code` in `proto/agw/v1/foreign.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Code {
    /// The plugin's grant does not allow it.
    Denied = 1,
    /// No such resource, or none granted under this name.
    UnknownResource = 2,
    /// The call itself is wrong.
    Invalid = 3,
    /// The deadline passed while waiting for a place or a connection.
    TimeoutQueue = 4,
    /// The deadline passed while connecting.
    TimeoutConnect = 5,
    /// The deadline passed while waiting for the answer; the command may have run.
    TimeoutIo = 6,
    /// The server cannot be reached, or closed the connection; sent commands may have run.
    Unavailable = 7,
    /// Refused at once, because the server has failed just now.
    CircuitOpen = 8,
    /// Too many calls wait already.
    Overloaded = 9,
    /// The server refused the gateway's credentials or rights.
    Auth = 10,
    /// The server answered with an error of its own.
    Server = 11,
    /// Request or answer is over its limit.
    TooLarge = 12,
    /// Cancelled by the plugin, or because its stream ended.
    Cancelled = 13,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Code; 13] = [
        Code::Denied,
        Code::UnknownResource,
        Code::Invalid,
        Code::TimeoutQueue,
        Code::TimeoutConnect,
        Code::TimeoutIo,
        Code::Unavailable,
        Code::CircuitOpen,
        Code::Overloaded,
        Code::Auth,
        Code::Server,
        Code::TooLarge,
        Code::Cancelled,
    ];

    /// The name used in logs, metrics and documents, such as `timeout_io`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::Denied => "denied",
            Code::UnknownResource => "unknown_resource",
            Code::Invalid => "invalid",
            Code::TimeoutQueue => "timeout_queue",
            Code::TimeoutConnect => "timeout_connect",
            Code::TimeoutIo => "timeout_io",
            Code::Unavailable => "unavailable",
            Code::CircuitOpen => "circuit_open",
            Code::Overloaded => "overloaded",
            Code::Auth => "auth",
            Code::Server => "server",
            Code::TooLarge => "too_large",
            Code::Cancelled => "cancelled",
        }
    }

    /// The code with this number on the wire.
    pub fn from_number(number: u64) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| *code as u64 == number)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the same call may be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Retry {
    /// Trying again cannot help.
    #[default]
    Never = 0,
    /// Nothing was sent, or what was done is undone: trying again is safe.
    Safe = 1,
    /// It may have run: try again only what may run twice.
    IfIdempotent = 2,
}

impl Retry {
    /// The value with this number on the wire; an unknown one is read as [`Retry::Never`].
    pub fn from_number(number: u64) -> Retry {
        match number {
            1 => Retry::Safe,
            2 => Retry::IfIdempotent,
            _ => Retry::Never,
        }
    }
}

/// What of a SQL server's refusals a plugin may want to tell apart.
///
/// The numbers are those of `agw.v1.Kind`. A kind that a newer host adds is read as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// A row with this key is there already.
    UniqueViolation = 1,
    /// The row that it refers to is not there, or others still refer to it.
    ForeignKeyViolation = 2,
    /// A null where there must be none.
    NotNullViolation = 3,
    /// A value that the table's conditions refuse.
    CheckViolation = 4,
    /// Two transactions waited for each other, and this one was rolled back.
    Deadlock = 5,
    /// This transaction would not fit into any order of all, and was rolled back.
    SerializationFailure = 6,
    /// Somebody else holds a lock; nothing was done.
    Locked = 7,
    /// One row was asked for, and there is none.
    NoRow = 8,
    /// One row was asked for, and there are more.
    SeveralRows = 9,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Kind; 9] = [
        Kind::UniqueViolation,
        Kind::ForeignKeyViolation,
        Kind::NotNullViolation,
        Kind::CheckViolation,
        Kind::Deadlock,
        Kind::SerializationFailure,
        Kind::Locked,
        Kind::NoRow,
        Kind::SeveralRows,
    ];

    /// The kind with this number on the wire.
    pub fn from_number(number: u64) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| *kind as u64 == number)
    }
}
