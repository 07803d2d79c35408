//! Why bytes are not a message.

use core::fmt;

/// Why a payload could not be decoded. It says what and where, never a value from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    Truncated {
        /// Byte offset in the payload, or in the nested message that was being read.
        at: usize,
    },
    /// A varint is longer than ten bytes or does not fit 64 bits.
    BadVarint {
        /// Byte offset of its first byte.
        at: usize,
    },
    /// A field number that this message does not have, or one with the wrong wire type.
    UnknownField {
        /// The message's name in `foreign.proto`.
        message: &'static str,
        /// The field number.
        field: u64,
        /// The wire type it came with.
        wire_type: u8,
    },
    /// A field that may stand once came twice.
    Duplicate {
        /// The field's name in `foreign.proto`.
        field: &'static str,
    },
    /// A value outside the field's range, such as an enum number nobody has defined.
    OutOfRange {
        /// The field's name in `foreign.proto`.
        field: &'static str,
    },
    /// A string field is not UTF-8.
    NotUtf8 {
        /// The field's name in `foreign.proto`.
        field: &'static str,
    },
    /// A field that must be there is missing, or one that excludes others stands beside them.
    Shape {
        /// What is wrong, in words.
        what: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated { at } => write!(f, "the payload ends inside a field at byte {at}"),
            DecodeError::BadVarint { at } => write!(f, "the varint at byte {at} is longer than 64 bits"),
            DecodeError::UnknownField { message, field, wire_type } => {
                write!(f, "message {message} has no field {field} of wire type {wire_type}")
            }
            DecodeError::Duplicate { field } => write!(f, "field {field} stands twice"),
            DecodeError::OutOfRange { field } => write!(f, "field {field} is out of range"),
            DecodeError::NotUtf8 { field } => write!(f, "field {field} is not UTF-8"),
            DecodeError::Shape { what } => f.write_str(what),
        }
    }
}

impl core::error::Error for DecodeError {}
