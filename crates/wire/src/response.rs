//! `agw.v1.Response`: what a guest gets back.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::protobuf::{self, Field, Reader};
use crate::{Code, DecodeError, Kind, Retry};

/// The answer to one foreign call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// What came of it.
    pub answer: Answer<'a>,
    /// The lease that is still held; 0 means none.
    pub lease: u32,
}

/// What came of a foreign call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// RESP bytes from the server: one reply per command, or one array for an atomic batch.
    Resp(&'a [u8]),
    /// It failed.
    Error(CallError),
    /// Callback style: the call was taken under this id.
    CallId(u32),
    /// The bytes of a [`crate::sql::Reply`].
    Sql(&'a [u8]),
}

/// A foreign call's failure, as the guest may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What happened.
    pub code: Code,
    /// For the plugin's author. Never an address, a credential or a value.
    pub message: String,
    /// The server's own code, such as `WRONGTYPE`; empty if it gave none.
    pub server_code: String,
    /// Whether the same call may be made again.
    pub retry: Retry,
    /// What a SQL server's refusal is, if it is one that plugins may want to tell apart.
    pub kind: Option<Kind>,
    /// MySQL's errno, SQLite's extended result code; 0 if there is none.
    pub server_errno: u32,
    /// With `OVERLOADED`, if the plugin asks faster than it may: milliseconds until such a call is admitted; 0 if nothing
    /// is known of it.
    pub retry_after_ms: u32,
}

// === impl CallError ===

impl CallError {
    /// An error without a server code, not to be retried.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        CallError {
            code,
            message: message.into(),
            server_code: String::new(),
            retry: Retry::Never,
            kind: None,
            server_errno: 0,
            retry_after_ms: 0,
        }
    }

    /// The same with advice on trying again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same with the server's own code.
    pub fn server_code(mut self, code: impl Into<String>) -> Self {
        self.server_code = code.into();
        self
    }

    /// The same with its kind.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The same with the server's own number.
    pub fn server_errno(mut self, errno: u32) -> Self {
        self.server_errno = errno;
        self
    }

    /// The same with the time after which to try again.
    pub fn retry_after_ms(mut self, ms: u32) -> Self {
        self.retry_after_ms = ms;
        self
    }

    fn kind_number(&self) -> u64 {
        self.kind.map_or(0, |kind| kind as u64)
    }

    fn len(&self) -> usize {
        protobuf::uint_len(1, self.code as u64)
            + protobuf::optional_bytes_len(2, self.message.as_bytes())
            + protobuf::optional_bytes_len(3, self.server_code.as_bytes())
            + protobuf::uint_len(4, self.retry as u64)
            + protobuf::uint_len(5, self.kind_number())
            + protobuf::uint_len(6, self.server_errno.into())
            + protobuf::uint_len(7, self.retry_after_ms.into())
    }

    fn put(&self, out: &mut Vec<u8>) {
        protobuf::put_uint(out, 1, self.code as u64);
        protobuf::put_optional_bytes(out, 2, self.message.as_bytes());
        protobuf::put_optional_bytes(out, 3, self.server_code.as_bytes());
        protobuf::put_uint(out, 4, self.retry as u64);
        protobuf::put_uint(out, 5, self.kind_number());
        protobuf::put_uint(out, 6, self.server_errno.into());
        protobuf::put_uint(out, 7, self.retry_after_ms.into());
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut code = None;
        let mut error = CallError::new(Code::Invalid, "");
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Varint(value)) => code = Code::from_number(value),
                (2, Field::Bytes(value)) => error.message = protobuf::text(value, "message")?.into(),
                (3, Field::Bytes(value)) => error.server_code = protobuf::text(value, "server_code")?.into(),
                (4, Field::Varint(value)) => error.retry = Retry::from_number(value),
                (5, Field::Varint(value)) => error.kind = Kind::from_number(value),
                (6, Field::Varint(value)) => error.server_errno = protobuf::uint32(value, "server_errno")?,
                (7, Field::Varint(value)) => {
                    error.retry_after_ms = protobuf::uint32(value, "retry_after_ms")?;
                }
                _ => {}
            }
        }
        error.code = code.ok_or(DecodeError::OutOfRange { field: "code" })?;
        Ok(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.server_code.is_empty() {
            write!(f, " ({})", self.server_code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl core::error::Error for CallError {}

// === impl Response ===

impl<'a> Response<'a> {
    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let lease_len = protobuf::uint_len(4, self.lease.into());
        let mut out;
        match &self.answer {
            Answer::Resp(resp) => {
                out = Vec::with_capacity(protobuf::delimited_len(1, resp.len()) + lease_len);
                protobuf::put_bytes(&mut out, 1, resp);
            }
            Answer::Error(error) => {
                let len = error.len();
                out = Vec::with_capacity(protobuf::delimited_len(2, len) + lease_len);
                protobuf::put_delimiter(&mut out, 2, len);
                error.put(&mut out);
            }
            Answer::CallId(id) => {
                out = Vec::with_capacity(protobuf::uint_len(3, u64::from(*id)) + lease_len);
                protobuf::put_uint(&mut out, 3, (*id).into());
            }
            Answer::Sql(reply) => {
                out = Vec::with_capacity(protobuf::delimited_len(5, reply.len()) + lease_len);
                protobuf::put_bytes(&mut out, 5, reply);
            }
        }
        protobuf::put_uint(&mut out, 4, self.lease.into());
        out
    }

    /// Reads a response, skipping fields that a newer host may have added.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a response or carry no answer.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut answer = None;
        let mut lease = 0;
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => answer = Some(Answer::Resp(value)),
                (2, Field::Bytes(value)) => answer = Some(Answer::Error(CallError::decode(value)?)),
                (3, Field::Varint(value)) => {
                    answer = Some(Answer::CallId(protobuf::uint32(value, "call_id")?));
                }
                (4, Field::Varint(value)) => lease = protobuf::uint32(value, "lease")?,
                (5, Field::Bytes(value)) => answer = Some(Answer::Sql(value)),
                _ => {}
            }
        }
        let answer = answer.ok_or(DecodeError::Shape { what: "the response carries no answer" })?;
        Ok(Response { answer, lease })
    }
}

impl From<CallError> for Response<'_> {
    fn from(error: CallError) -> Self {
        Response { answer: Answer::Error(error), lease: 0 }
    }
}
