//! What a column can be read as.

use std::net::IpAddr;

use agw_wire::sql::{Cell, Inet};

use super::types::{Array, Date, Decimal, Interval, Json, Time, Timestamp, TimestampTz, Uuid};

/// A type that a column can be read as. `&str` and `&[u8]` are slices of the answer.
///
/// | type | read from |
/// |---|---|
/// | `bool` | bool; the integers 0 and 1, which is what MySQL and SQLite make of it |
/// | `i8` to `i64`, `u8` to `u64` | integers that fit |
/// | `f64` | floats, and integers that it holds exactly |
/// | `&str`, `String` | text, enums and types without one here; decimals and JSON, which are text too |
/// | `&[u8]`, `Vec<u8>` | byte strings |
/// | [`Decimal`] | decimals, not integers |
/// | [`Date`], [`Time`], [`Timestamp`], [`TimestampTz`], [`Interval`], [`Uuid`], [`Json`], [`Inet`] | the same |
/// | `IpAddr` | inet without a network |
/// | [`Array`] | arrays |
/// | `Option` of these | NULL too; everything else refuses it |
/// | [`Cell`] | everything |
pub trait FromValue<'a>: Sized {
    /// What it is read from, for errors.
    const EXPECTED: &'static str;

    /// Reads it; `None` if the value is of another type or does not fit.
    fn from_value(cell: Cell<'a>) -> Option<Self>;
}

/// What there is instead, for errors. Never the value.
pub(super) fn describe(cell: Cell<'_>) -> &'static str {
    match cell {
        Cell::Null => "NULL",
        Cell::Bool(_) => "a bool",
        Cell::Int(_) | Cell::Uint(_) => "an integer",
        Cell::Float(_) => "a float",
        Cell::Decimal(_) => "a decimal",
        Cell::Text(_) => "text",
        Cell::Bytes(_) => "a byte string",
        Cell::Date(_) => "a date",
        Cell::Time(_) => "a time",
        Cell::Timestamp(_) => "a timestamp",
        Cell::TimestampTz(_) => "a timestamp with zone",
        Cell::Interval { .. } => "an interval",
        Cell::Uuid(_) => "a uuid",
        Cell::Json(_) => "JSON",
        Cell::Inet(_) => "an inet",
        Cell::Array(_) => "an array",
        _ => "a type that this SDK does not know",
    }
}

macro_rules! integers {
    ($($type:ty: $expected:literal)+) => {$(
        impl<'a> FromValue<'a> for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value(cell: Cell<'a>) -> Option<Self> {
                match cell {
                    Cell::Int(value) => value.try_into().ok(),
                    Cell::Uint(value) => value.try_into().ok(),
                    _ => None,
                }
            }
        }
    )+};
}

integers! {
    i8: "an integer that fits i8"
    i16: "an integer that fits i16"
    i32: "an integer that fits i32"
    i64: "an integer that fits i64"
    u8: "an integer that fits u8"
    u16: "an integer that fits u16"
    u32: "an integer that fits u32"
    u64: "an integer that fits u64"
}

macro_rules! cells {
    ($($type:ty: $expected:literal, $($pattern:pat => $value:expr),+;)+) => {$(
        impl<'a> FromValue<'a> for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value(cell: Cell<'a>) -> Option<Self> {
                match cell {
                    $($pattern => Some($value),)+
                    _ => None,
                }
            }
        }
    )+};
}

/// Integers up to here have a float each.
const EXACT_MAX: i64 = 1 << 53;
const EXACT_MIN: i64 = -EXACT_MAX;

cells! {
    bool: "a bool", Cell::Bool(value) => value, Cell::Int(0) | Cell::Uint(0) => false,
        Cell::Int(1) | Cell::Uint(1) => true;
    f64: "a float", Cell::Float(value) => value, Cell::Int(value @ EXACT_MIN..=EXACT_MAX) => value as f64;
    &'a str: "text", Cell::Text(text) | Cell::Decimal(text) | Cell::Json(text) => text;
    String: "text", Cell::Text(text) | Cell::Decimal(text) | Cell::Json(text) => text.into();
    &'a [u8]: "a byte string", Cell::Bytes(bytes) => bytes;
    Vec<u8>: "a byte string", Cell::Bytes(bytes) => bytes.into();
    Decimal<&'a str>: "a decimal", Cell::Decimal(text) => Decimal(text);
    Decimal<String>: "a decimal", Cell::Decimal(text) => Decimal(text.into());
    Json<&'a str>: "JSON", Cell::Json(text) => Json(text);
    Json<String>: "JSON", Cell::Json(text) => Json(text.into());
    Date: "a date", Cell::Date(days) => Date(days);
    Time: "a time", Cell::Time(micros) => Time(micros);
    Timestamp: "a timestamp", Cell::Timestamp(micros) => Timestamp(micros);
    TimestampTz: "a timestamp with zone", Cell::TimestampTz(micros) => TimestampTz(micros);
    Interval: "an interval", Cell::Interval { months, days, micros } => Interval { months, days, micros };
    Uuid: "a uuid", Cell::Uuid(bytes) => Uuid(bytes);
    Inet: "an inet", Cell::Inet(inet) => inet;
    IpAddr: "an inet without a network", Cell::Inet(Inet { address: address @ IpAddr::V4(_), prefix: 32 }) => address,
        Cell::Inet(Inet { address: address @ IpAddr::V6(_), prefix: 128 }) => address;
}

impl<'a> FromValue<'a> for Cell<'a> {
    const EXPECTED: &'static str = "anything";

    fn from_value(cell: Cell<'a>) -> Option<Self> {
        Some(cell)
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(cell: Cell<'a>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_value(cell).map(Some),
        }
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Array<Vec<T>> {
    const EXPECTED: &'static str = "an array of values of one type";

    fn from_value(cell: Cell<'a>) -> Option<Self> {
        let Cell::Array(cells) = cell else { return None };
        let elements = cells.map(|cell| T::from_value(cell.ok()?));
        elements.collect::<Option<Vec<T>>>().map(Array)
    }
}

#[cfg(test)]
mod tests {
    use agw_wire::sql::{Cells, put_cell};

    use super::*;

    fn read<'a, T: FromValue<'a>>(cell: Cell<'a>) -> Option<T> {
        T::from_value(cell)
    }

    #[test]
    fn nothing_is_cut_to_fit() {
        assert_eq!(read::<u8>(Cell::Int(256)), None);
        assert_eq!(read::<u64>(Cell::Int(-1)), None);
        assert_eq!(read::<i64>(Cell::Uint(u64::MAX)), None);
        assert_eq!(read::<f64>(Cell::Int(EXACT_MAX + 1)), None);
        assert_eq!(read::<bool>(Cell::Int(2)), None);
        assert_eq!(read::<i64>(Cell::Float(1.0)), None);
        assert_eq!(read::<i64>(Cell::Text("1")), None);
        let network = Inet { address: [10, 0, 0, 0].into(), prefix: 8 };
        assert_eq!(read::<IpAddr>(Cell::Inet(network)), None);
        assert_eq!(read::<Inet>(Cell::Inet(network)), Some(network));
    }

    #[test]
    fn null_is_only_for_options() {
        assert_eq!(read::<String>(Cell::Null), None);
        assert_eq!(read::<Option<String>>(Cell::Null), Some(None));
        assert_eq!(read::<Option<i64>>(Cell::Int(1)), Some(Some(1)));
        assert_eq!(read::<Option<i64>>(Cell::Text("1")), None);
        assert_eq!(read::<Cell<'_>>(Cell::Null), Some(Cell::Null));
    }

    #[test]
    fn each_cell_has_its_type() {
        assert_eq!((read(Cell::Int(200)), read(Cell::Uint(200))), (Some(200u8), Some(200u8)));
        assert_eq!((read(Cell::Int(1)), read(Cell::Bool(false))), (Some(true), Some(false)));
        assert_eq!((read(Cell::Int(-3)), read(Cell::Float(0.5))), (Some(-3.0), Some(0.5)));
        assert_eq!((read(Cell::Text("a")), read(Cell::Decimal("1.50"))), (Some("a"), Some("1.50")));
        assert_eq!(read(Cell::Bytes(b"\xff")), Some(vec![0xffu8]));
        assert_eq!(read(Cell::Decimal("1.50")), Some(Decimal("1.50")));
        assert_eq!(read(Cell::Json("{}")), Some(Json("{}".to_owned())));
        assert_eq!(read(Cell::Date(1)), Some(Date(1)));
        assert_eq!(read(Cell::Timestamp(1)), Some(Timestamp(1)));
        assert_eq!(read::<TimestampTz>(Cell::Timestamp(1)), None, "a clock without zone is no point in time");
        assert_eq!(read(Cell::Uuid([1; 16])), Some(Uuid([1; 16])));
    }

    #[test]
    fn arrays_are_read_whole_or_not_at_all() {
        let mut bytes = Vec::new();
        put_cell(&mut bytes, Cell::Int(1));
        put_cell(&mut bytes, Cell::Null);
        let cell = Cell::Array(Cells::new(&bytes));
        assert_eq!(read(cell), Some(Array(vec![Some(1i64), None])));
        assert_eq!(read::<Array<Vec<i64>>>(cell), None);
        let cut = Cell::Array(Cells::new(&[3]));
        assert_eq!(read::<Array<Vec<Option<i64>>>>(cut), None);
        assert_eq!(read::<Array<Vec<i64>>>(Cell::Null), None);
    }
}
