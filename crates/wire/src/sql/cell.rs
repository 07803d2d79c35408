//! Cells: values with their type, one behind the other. A row is one cell for each column, parameters are one cell
//! for each placeholder.
//!
//! A cell is a tag of one byte and then what the tag says; `README.md` has the table.

use alloc::vec::Vec;

use crate::DecodeError;
use crate::protobuf::{self, Reader};

/// Arrays nest at most this deep; deeper ones are refused, so that a hostile value cannot exhaust a stack.
pub const ARRAY_DEPTH_MAX: usize = 8;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const DECIMAL: u8 = 6;
const TEXT: u8 = 7;
const BYTES: u8 = 8;
const DATE: u8 = 9;
const TIME: u8 = 10;
const TIMESTAMP: u8 = 11;
const TIMESTAMPTZ: u8 = 12;
const INTERVAL: u8 = 13;
const UUID: u8 = 14;
const JSON: u8 = 15;
const INET: u8 = 16;
const ARRAY: u8 = 17;

/// A value with its type.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An integer of an unsigned column.
    Uint(u64),
    /// A floating-point number, infinities and NaN included.
    Float(f64),
    /// An exact decimal as text: `-12.50`, `NaN`, `Infinity`, `-Infinity`.
    Decimal(&'a str),
    /// Text; also whatever has no type of its own here.
    Text(&'a str),
    /// Any bytes.
    Bytes(&'a [u8]),
    /// Days since 1970-01-01 in the proleptic Gregorian calendar. `i32::MAX` and `i32::MIN` are infinities.
    Date(i32),
    /// Microseconds since midnight; of MySQL also negative and over a day.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00 of a clock without zone. `i64::MAX` and `i64::MIN` are infinities.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC. `i64::MAX` and `i64::MIN` are infinities.
    TimestampTz(i64),
    /// Parts that cannot be converted into each other.
    Interval {
        /// Months, years included.
        months: i32,
        /// Days.
        days: i32,
        /// Microseconds.
        micros: i64,
    },
    /// 16 bytes, in the order in which the text shows them.
    Uuid([u8; 16]),
    /// JSON text.
    Json(&'a str),
    /// An IP address, or a network.
    Inet(Inet),
    /// Values, usually of one type; an array of several dimensions is an array of arrays.
    Array(Cells<'a>),
}

/// An IP address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet {
    /// The address.
    pub address: core::net::IpAddr,
    /// Bits of the network: 32 or 128 for a single address.
    pub prefix: u8,
}

/// The type of a column's cells. The numbers are those of `agw.v1.SqlType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum CellType {
    /// Each cell says for itself.
    #[default]
    Any = 0,
    /// [`Cell::Bool`]
    Bool = 1,
    /// [`Cell::Int`]
    Int = 3,
    /// [`Cell::Uint`]
    Uint = 4,
    /// [`Cell::Float`]
    Float = 5,
    /// [`Cell::Decimal`]
    Decimal = 6,
    /// [`Cell::Text`]
    Text = 7,
    /// [`Cell::Bytes`]
    Bytes = 8,
    /// [`Cell::Date`]
    Date = 9,
    /// [`Cell::Time`]
    Time = 10,
    /// [`Cell::Timestamp`]
    Timestamp = 11,
    /// [`Cell::TimestampTz`]
    TimestampTz = 12,
    /// [`Cell::Interval`]
    Interval = 13,
    /// [`Cell::Uuid`]
    Uuid = 14,
    /// [`Cell::Json`]
    Json = 15,
    /// [`Cell::Inet`]
    Inet = 16,
    /// [`Cell::Array`]
    Array = 17,
}

/// Cells, one behind the other, read as they are asked for. As an iterator it ends after the first error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cells<'a> {
    bytes: &'a [u8],
    depth: usize,
}

// === writing ===

/// Appends a cell.
pub fn put_cell(out: &mut Vec<u8>, cell: Cell<'_>) {
    match cell {
        Cell::Null => out.push(NULL),
        Cell::Bool(false) => out.push(FALSE),
        Cell::Bool(true) => out.push(TRUE),
        Cell::Int(value) => put_signed(out, INT, value),
        Cell::Uint(value) => {
            out.push(UINT);
            protobuf::put_varint(out, value);
        }
        Cell::Float(value) => {
            out.push(FLOAT);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Decimal(text) => put_delimited(out, DECIMAL, text.as_bytes()),
        Cell::Text(text) => put_delimited(out, TEXT, text.as_bytes()),
        Cell::Bytes(bytes) => put_delimited(out, BYTES, bytes),
        Cell::Date(days) => put_signed(out, DATE, days.into()),
        Cell::Time(micros) => put_signed(out, TIME, micros),
        Cell::Timestamp(micros) => put_signed(out, TIMESTAMP, micros),
        Cell::TimestampTz(micros) => put_signed(out, TIMESTAMPTZ, micros),
        Cell::Interval { months, days, micros } => {
            put_signed(out, INTERVAL, months.into());
            protobuf::put_varint(out, protobuf::zigzag(days.into()));
            protobuf::put_varint(out, protobuf::zigzag(micros));
        }
        Cell::Uuid(bytes) => {
            out.push(UUID);
            out.extend_from_slice(&bytes);
        }
        Cell::Json(text) => put_delimited(out, JSON, text.as_bytes()),
        Cell::Inet(inet) => put_inet(out, inet),
        Cell::Array(cells) => put_array(out, cells.bytes),
    }
}

/// Appends an array whose elements have been written already.
pub fn put_array(out: &mut Vec<u8>, elements: &[u8]) {
    put_delimited(out, ARRAY, elements);
}

fn put_signed(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    protobuf::put_varint(out, protobuf::zigzag(value));
}

fn put_delimited(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    protobuf::put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_inet(out: &mut Vec<u8>, inet: Inet) {
    out.push(INET);
    match inet.address {
        core::net::IpAddr::V4(address) => {
            out.extend_from_slice(&[5, inet.prefix]);
            out.extend_from_slice(&address.octets());
        }
        core::net::IpAddr::V6(address) => {
            out.extend_from_slice(&[17, inet.prefix]);
            out.extend_from_slice(&address.octets());
        }
    }
}

// === reading ===

impl<'a> Cells<'a> {
    /// The cells in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cells { bytes, depth: 0 }
    }

    /// The bytes of the cells that were not read yet.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads the next cell; `None` at the end.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no cell, and for every call after it. The elements of an array are not
    /// looked at.
    pub fn next_cell(&mut self) -> Result<Option<Cell<'a>>, DecodeError> {
        let mut reader = Reader::new(self.bytes);
        if reader.is_at_end() {
            return Ok(None);
        }
        let cell = read(&mut reader, self.depth)?;
        self.bytes = reader.rest();
        Ok(Some(cell))
    }

    /// Passes over every cell, and the elements of arrays.
    ///
    /// # Errors
    /// As [`Cells::next_cell`].
    pub fn check(mut self) -> Result<(), DecodeError> {
        // Ends at ARRAY_DEPTH_MAX: deeper arrays are refused by `read`.
        while let Some(cell) = self.next_cell()? {
            if let Cell::Array(cells) = cell {
                cells.check()?;
            }
        }
        Ok(())
    }
}

/// By their bytes: what they were nested in does not count.
impl PartialEq for Cells<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Cells<'_> {}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let cell = self.next_cell().transpose();
        if let Some(Err(_)) = cell {
            self.bytes = &[];
        }
        cell
    }
}

fn read<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<Cell<'a>, DecodeError> {
    let tag = reader.take(1)?.first().copied().unwrap_or(NULL);
    Ok(match tag {
        NULL => Cell::Null,
        FALSE => Cell::Bool(false),
        TRUE => Cell::Bool(true),
        INT => Cell::Int(signed(reader)?),
        UINT => Cell::Uint(reader.varint()?),
        FLOAT => Cell::Float(f64::from_le_bytes(fixed(reader)?)),
        DECIMAL => Cell::Decimal(decimal(reader)?),
        TEXT => Cell::Text(protobuf::text(reader.delimited()?, "text cell")?),
        BYTES => Cell::Bytes(reader.delimited()?),
        DATE => Cell::Date(small(reader, "date cell")?),
        TIME => Cell::Time(signed(reader)?),
        TIMESTAMP => Cell::Timestamp(signed(reader)?),
        TIMESTAMPTZ => Cell::TimestampTz(signed(reader)?),
        INTERVAL => Cell::Interval {
            months: small(reader, "interval cell")?,
            days: small(reader, "interval cell")?,
            micros: signed(reader)?,
        },
        UUID => Cell::Uuid(fixed(reader)?),
        JSON => Cell::Json(protobuf::text(reader.delimited()?, "json cell")?),
        INET => Cell::Inet(inet(reader.delimited()?)?),
        ARRAY if depth < ARRAY_DEPTH_MAX => {
            Cell::Array(Cells { bytes: reader.delimited()?, depth: depth + 1 })
        }
        ARRAY => return Err(DecodeError::OutOfRange { field: "array cell" }),
        _ => return Err(DecodeError::OutOfRange { field: "cell tag" }),
    })
}

fn signed(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    Ok(protobuf::unzigzag(reader.varint()?))
}

fn small(reader: &mut Reader<'_>, field: &'static str) -> Result<i32, DecodeError> {
    i32::try_from(signed(reader)?).map_err(|_| DecodeError::OutOfRange { field })
}

fn fixed<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], DecodeError> {
    let at = reader.position();
    reader.take(N)?.try_into().map_err(|_| DecodeError::Truncated { at })
}

/// Digits, a sign before and a point among them, or one of the three words. Nothing else can be a parameter that an
/// engine has to write into text.
fn decimal<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let text = protobuf::text(reader.delimited()?, "decimal cell")?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let word = matches!(text, "NaN" | "Infinity" | "-Infinity");
    if word || (all_digits(whole) && all_digits(fraction)) {
        Ok(text)
    } else {
        Err(DecodeError::OutOfRange { field: "decimal cell" })
    }
}

fn inet(bytes: &[u8]) -> Result<Inet, DecodeError> {
    let wrong = DecodeError::OutOfRange { field: "inet cell" };
    let (prefix, address) = bytes.split_first().ok_or(wrong)?;
    let (address, bits) = match address.len() {
        4 => (<[u8; 4]>::try_from(address).map_err(|_| wrong)?.into(), 32),
        _ => (<[u8; 16]>::try_from(address).map_err(|_| wrong)?.into(), 128),
    };
    if *prefix > bits { Err(wrong) } else { Ok(Inet { address, prefix: *prefix }) }
}

// === impl CellType ===

impl CellType {
    /// Every type, in the order of its number.
    pub const ALL: [CellType; 17] = [
        CellType::Any,
        CellType::Bool,
        CellType::Int,
        CellType::Uint,
        CellType::Float,
        CellType::Decimal,
        CellType::Text,
        CellType::Bytes,
        CellType::Date,
        CellType::Time,
        CellType::Timestamp,
        CellType::TimestampTz,
        CellType::Interval,
        CellType::Uuid,
        CellType::Json,
        CellType::Inet,
        CellType::Array,
    ];

    /// The type with this number on the wire; one that a newer host has added is read as [`CellType::Any`].
    pub fn from_number(number: u64) -> CellType {
        CellType::ALL.iter().copied().find(|one| *one as u64 == number).unwrap_or_default()
    }
}
