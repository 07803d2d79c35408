//! `agw.v1.Request`: what a guest asks. One type for both directions; decoding borrows from the payload.

use alloc::vec::Vec;

use crate::DecodeError;
use crate::protobuf::{self, Field, Reader, unknown};
use crate::sql;

/// How the answer comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As the result of the hostcall; only the calling stream waits.
    #[default]
    Blocking,
    /// Through `proxy_on_foreign_function`, later; the hostcall returns a call id at once.
    Callback,
}

/// One foreign call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Name of the external resource; empty only in a cancellation.
    pub resource: &'a str,
    /// How the answer comes back.
    pub style: Style,
    /// Bound on the whole call in milliseconds; 0 means the resource's own.
    pub deadline_ms: u32,
    /// The id of the call to cancel; 0 means none. Excludes everything else.
    pub cancel: u32,
    /// What `agw_redis` shall do.
    pub redis: Option<RedisBatch<'a>>,
    /// What `agw_sql` shall do.
    pub sql: Option<sql::Call<'a>>,
}

/// Commands that go out together and are answered in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisBatch<'a> {
    /// The commands, in order.
    pub commands: Vec<RedisCommand<'a>>,
    /// Wrap them in `MULTI` and `EXEC`.
    pub atomic: bool,
    /// Run on an exclusive connection.
    pub lease: Option<Lease>,
}

/// One command, or one call of a script that the operator has named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisCommand<'a> {
    /// Command name and arguments; with a script, its keys and then its other arguments.
    pub args: Vec<&'a [u8]>,
    /// The script's name; empty for a plain command.
    pub script: &'a str,
    /// How many of `args` are the script's keys.
    pub script_keys: u32,
}

/// Use of an exclusive connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The lease to use; 0 takes a new one.
    pub id: u32,
    /// Keep it after this call.
    pub keep: bool,
}

// === impl Request ===

impl<'a> Request<'a> {
    /// A request that cancels the callback-style call `id`.
    pub fn cancel(id: u32) -> Request<'static> {
        Request { cancel: id, ..Request::default() }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let redis_len = self.redis.as_ref().map(RedisBatch::len);
        let sql_len = self.sql.as_ref().map(sql::Call::len);
        let len = protobuf::optional_bytes_len(1, self.resource.as_bytes())
            + protobuf::uint_len(2, self.style as u64)
            + protobuf::uint_len(3, self.deadline_ms.into())
            + protobuf::uint_len(4, self.cancel.into())
            + redis_len.map_or(0, |len| protobuf::delimited_len(16, len))
            + sql_len.map_or(0, |len| protobuf::delimited_len(17, len));
        let mut out = Vec::with_capacity(len);
        protobuf::put_optional_bytes(&mut out, 1, self.resource.as_bytes());
        protobuf::put_uint(&mut out, 2, self.style as u64);
        protobuf::put_uint(&mut out, 3, self.deadline_ms.into());
        protobuf::put_uint(&mut out, 4, self.cancel.into());
        if let (Some(redis), Some(len)) = (&self.redis, redis_len) {
            protobuf::put_delimiter(&mut out, 16, len);
            redis.put(&mut out);
        }
        if let (Some(sql), Some(len)) = (&self.sql, sql_len) {
            protobuf::put_delimiter(&mut out, 17, len);
            sql.put(&mut out);
        }
        out
    }

    /// Reads a request, refusing what the contract does not have.
    ///
    /// # Errors
    /// [`DecodeError`] says what and where. The host answers it with status `SERIALIZATION_FAILURE`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut request = Request::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => request.resource = protobuf::text(value, "resource")?,
                (2, Field::Varint(0)) => request.style = Style::Blocking,
                (2, Field::Varint(1)) => request.style = Style::Callback,
                (2, Field::Varint(_)) => return Err(DecodeError::OutOfRange { field: "style" }),
                (3, Field::Varint(value)) => request.deadline_ms = protobuf::uint32(value, "deadline_ms")?,
                (4, Field::Varint(value)) => request.cancel = protobuf::uint32(value, "cancel")?,
                (16, Field::Bytes(value)) => {
                    if request.redis.is_some() {
                        return Err(DecodeError::Duplicate { field: "redis" });
                    }
                    request.redis = Some(RedisBatch::decode(value)?);
                }
                (17, Field::Bytes(value)) => {
                    if request.sql.is_some() {
                        return Err(DecodeError::Duplicate { field: "sql" });
                    }
                    request.sql = Some(sql::Call::decode(value)?);
                }
                (number, field) => return Err(unknown("Request", number, field)),
            }
        }
        request.check_shape()?;
        Ok(request)
    }

    fn check_shape(&self) -> Result<(), DecodeError> {
        let plain = self.style == Style::Blocking && self.deadline_ms == 0;
        let alone = self.resource.is_empty() && self.redis.is_none() && self.sql.is_none() && plain;
        match (self.cancel, self.resource.is_empty()) {
            (0, true) => Err(DecodeError::Shape { what: "field resource is missing" }),
            (0, false) => Ok(()),
            _ if alone => Ok(()),
            _ => Err(DecodeError::Shape { what: "field cancel excludes every other field" }),
        }
    }
}

/// Most lists are that short. A vector that grows from nothing costs twice as much.
const FIRST: usize = 6;

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.capacity() == 0 {
        *list = Vec::with_capacity(FIRST);
    }
    list.push(item);
}

// === impl RedisBatch ===

impl<'a> RedisBatch<'a> {
    fn len(&self) -> usize {
        let commands: usize = self.commands.iter().map(|c| protobuf::delimited_len(1, c.len())).sum();
        let lease = self.lease.map_or(0, |lease| protobuf::delimited_len(3, lease.len()));
        commands + protobuf::uint_len(2, self.atomic.into()) + lease
    }

    fn put(&self, out: &mut Vec<u8>) {
        for command in &self.commands {
            protobuf::put_delimiter(out, 1, command.len());
            command.put(out);
        }
        protobuf::put_uint(out, 2, self.atomic.into());
        if let Some(lease) = self.lease {
            lease.put(out);
        }
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut batch = RedisBatch::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => {
                    let command = RedisCommand::decode(value)?;
                    push(&mut batch.commands, command);
                }
                (2, Field::Varint(value)) => batch.atomic = value != 0,
                (3, Field::Bytes(value)) => {
                    if batch.lease.is_some() {
                        return Err(DecodeError::Duplicate { field: "lease" });
                    }
                    batch.lease = Some(Lease::decode(value)?);
                }
                (number, field) => return Err(unknown("RedisBatch", number, field)),
            }
        }
        Ok(batch)
    }
}

// === impl RedisCommand ===

impl<'a> RedisCommand<'a> {
    /// A plain command.
    pub fn new(args: Vec<&'a [u8]>) -> Self {
        RedisCommand { args, ..RedisCommand::default() }
    }

    fn len(&self) -> usize {
        let args: usize = self.args.iter().map(|arg| protobuf::delimited_len(1, arg.len())).sum();
        args + protobuf::optional_bytes_len(2, self.script.as_bytes())
            + protobuf::uint_len(3, self.script_keys.into())
    }

    fn put(&self, out: &mut Vec<u8>) {
        for arg in &self.args {
            protobuf::put_bytes(out, 1, arg);
        }
        protobuf::put_optional_bytes(out, 2, self.script.as_bytes());
        protobuf::put_uint(out, 3, self.script_keys.into());
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut command = RedisCommand::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Bytes(value)) => push(&mut command.args, value),
                (2, Field::Bytes(value)) => command.script = protobuf::text(value, "script")?,
                (3, Field::Varint(value)) => command.script_keys = protobuf::uint32(value, "script_keys")?,
                (number, field) => return Err(unknown("RedisCommand", number, field)),
            }
        }
        Ok(command)
    }
}

// === impl Lease ===

impl Lease {
    pub(crate) fn len(self) -> usize {
        protobuf::uint_len(1, self.id.into()) + protobuf::uint_len(2, self.keep.into())
    }

    /// As a batch's field.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        protobuf::put_delimiter(out, 3, self.len());
        protobuf::put_uint(out, 1, self.id.into());
        protobuf::put_uint(out, 2, self.keep.into());
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut lease = Lease::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match (number, field) {
                (1, Field::Varint(value)) => lease.id = protobuf::uint32(value, "lease.id")?,
                (2, Field::Varint(value)) => lease.keep = value != 0,
                (number, field) => return Err(unknown("Lease", number, field)),
            }
        }
        Ok(lease)
    }
}
