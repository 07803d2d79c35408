//! `agw.v1.Response`, byte by byte.

use std::fmt;

use crate::sql::{self, Reply};

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Replies(Vec<u8>),
    Failed {
        code: u64,
        server_code: String,
        retry: u64,
        kind: u64,
    },
    Taken(u32),
    Sql(Reply),
    /// Not a response, as far as the document tells.
    Broken,
}

/// Reads a response.
pub(crate) fn read(bytes: &[u8]) -> Answer {
    parse(bytes).unwrap_or(Answer::Broken)
}

fn parse(mut bytes: &[u8]) -> Option<Answer> {
    let mut answer = None;
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Value::Bytes(resp)) => answer = Some(Answer::Replies(resp.to_vec())),
            (2, Value::Bytes(error)) => answer = Some(failed(error)?),
            (3, Value::Number(id)) => answer = Some(Answer::Taken(u32::try_from(id).ok()?)),
            (5, Value::Bytes(reply)) => answer = Some(Answer::Sql(sql::reply(reply)?)),
            _ => {}
        }
    }
    answer
}

fn failed(mut bytes: &[u8]) -> Option<Answer> {
    let (mut code, mut server_code, mut retry, mut kind) = (0, String::new(), 0, 0);
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Value::Number(number)) => code = number,
            (3, Value::Bytes(text)) => server_code = String::from_utf8(text.to_vec()).ok()?,
            (4, Value::Number(number)) => retry = number,
            (5, Value::Number(number)) => kind = number,
            _ => {}
        }
    }
    Some(Answer::Failed { code, server_code, retry, kind })
}

pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Skipped,
}

/// Takes one field off the front.
pub(crate) fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(bytes)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Value::Skipped)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Value::Skipped)?,
        _ => return None,
    };
    Some((tag >> 3, value))
}

pub(crate) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Replies(resp) => write!(f, "resp {}", resp.escape_ascii()),
            Answer::Failed { code, server_code, retry, kind } => {
                write!(f, "error {code} retry {retry} server_code {server_code:?}")?;
                if *kind != 0 { write!(f, " kind {kind}") } else { Ok(()) }
            }
            Answer::Sql(reply) => reply.fmt(f),
            Answer::Taken(_) => f.write_str("taken"),
            Answer::Broken => f.write_str("broken"),
        }
    }
}
