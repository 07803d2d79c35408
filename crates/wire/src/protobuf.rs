//! The part of the protobuf encoding that the contract uses: varints and length-delimited fields.
//!
//! Written by hand because a guest carries it: a generated codec adds ten times the bytes to every filter.
//! Source: the protobuf encoding specification.

use alloc::vec::Vec;

use crate::DecodeError;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

// === writing ===

pub(crate) fn varint_len(mut value: u64) -> usize {
    let mut len = 1;
    while value >= 0x80 {
        value >>= 7;
        len += 1;
    }
    len
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers with small ones short: 0, -1, 1, -2 are 0, 1, 2, 3.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Length of a varint field; zero is the default and is not written.
pub(crate) fn uint_len(field: u32, value: u64) -> usize {
    if value == 0 { 0 } else { varint_len(u64::from(field) << 3) + varint_len(value) }
}

pub(crate) fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, value);
    }
}

/// Length of a length-delimited field with a payload of `len` bytes, empty or not.
pub(crate) fn delimited_len(field: u32, len: usize) -> usize {
    varint_len(u64::from(field) << 3) + varint_len(len as u64) + len
}

pub(crate) fn put_delimiter(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, u64::from(field) << 3 | u64::from(LEN));
    put_varint(out, len as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_delimiter(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Length of a string or bytes field that is left out when empty.
pub(crate) fn optional_bytes_len(field: u32, bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { delimited_len(field, bytes.len()) }
}

pub(crate) fn put_optional_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, field, bytes);
    }
}

// === reading ===

/// One field as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A 32- or 64-bit field, by its wire type; the contract has none, so it is only ever skipped or refused.
    Fixed(u8),
}

impl Field<'_> {
    pub(crate) fn wire_type(&self) -> u8 {
        match self {
            Field::Varint(_) => VARINT,
            Field::Bytes(_) => LEN,
            Field::Fixed(wire_type) => *wire_type,
        }
    }
}

/// Reads the fields of one message in order.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// The next field and its number, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, DecodeError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match (tag & 7) as u8 {
            VARINT => Field::Varint(self.varint()?),
            LEN => Field::Bytes(self.delimited()?),
            FIXED64 => self.take(8).map(|_| Field::Fixed(FIXED64))?,
            FIXED32 => self.take(4).map(|_| Field::Fixed(FIXED32))?,
            wire_type => {
                return Err(DecodeError::UnknownField { message: "any", field: tag >> 3, wire_type });
            }
        };
        Ok(Some((tag >> 3, field)))
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The bytes behind a length.
    pub(crate) fn delimited(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.varint()?;
        let len = usize::try_from(len).map_err(|_| DecodeError::Truncated { at: self.at })?;
        self.take(len)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(DecodeError::Truncated { at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Most are below 128, and take one byte.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated { at: self.at })?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::BadVarint { at: start })
    }
}

/// A string field's text.
pub(crate) fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    core::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })
}

/// A `uint32` field's value.
pub(crate) fn uint32(value: u64, field: &'static str) -> Result<u32, DecodeError> {
    u32::try_from(value).map_err(|_| DecodeError::OutOfRange { field })
}

/// A field that a message does not have.
pub(crate) fn unknown(message: &'static str, field: u64, found: Field<'_>) -> DecodeError {
    DecodeError::UnknownField { message, field, wire_type: found.wire_type() }
}
