//! SQLite's values as cells.
//!
//! A value has one of five storage classes, whatever its column was declared as. So the class decides; where the
//! declaration names a type that SQLite does not have, and the value looks like one, it becomes that type.

use agw_wire::sql::Cell;
use rusqlite::Statement;
use rusqlite::types::ValueRef;

use crate::calendar::{parse_date, parse_time, parse_timestamp};

/// What a result's columns were declared as.
pub(crate) struct Declared(Vec<DeclaredType>);

/// A declaration that says more than a storage class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredType {
    Bool,
    Date,
    Time,
    Timestamp,
    Uuid,
    Json,
    Other,
}

impl Declared {
    pub(crate) fn of(statement: &Statement<'_>) -> Self {
        let declared = |declaration: Option<&str>| DeclaredType::of(declaration.unwrap_or_default());
        Declared(statement.columns().map(|column| declared(column.decl_type())).collect())
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = DeclaredType> + '_ {
        self.0.iter().copied()
    }
}

impl DeclaredType {
    /// By the word before a length, in any case.
    fn of(declaration: &str) -> Self {
        let word = declaration.split(['(', ' ']).next().unwrap_or_default();
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        match () {
            () if is(&["BOOL", "BOOLEAN"]) => DeclaredType::Bool,
            () if is(&["DATE"]) => DeclaredType::Date,
            () if is(&["TIME"]) => DeclaredType::Time,
            () if is(&["DATETIME", "TIMESTAMP", "TIMESTAMPTZ"]) => DeclaredType::Timestamp,
            () if is(&["UUID"]) => DeclaredType::Uuid,
            () if is(&["JSON", "JSONB"]) => DeclaredType::Json,
            () => DeclaredType::Other,
        }
    }
}

pub(crate) fn decode(value: ValueRef<'_>, declared: DeclaredType) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value @ (0 | 1)) if declared == DeclaredType::Bool => Cell::Bool(value == 1),
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Float(value),
        // What is not UTF-8 is no text to anybody else.
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => decode_text(text, declared),
            Err(_) => Cell::Bytes(bytes),
        },
        ValueRef::Blob(bytes) => match <[u8; 16]>::try_from(bytes) {
            Ok(uuid) if declared == DeclaredType::Uuid => Cell::Uuid(uuid),
            _ => Cell::Bytes(bytes),
        },
    }
}

fn decode_text(text: &str, declared: DeclaredType) -> Cell<'_> {
    let typed = match declared {
        DeclaredType::Date => parse_date(text).map(Cell::Date),
        DeclaredType::Time => parse_time(text).map(Cell::Time),
        DeclaredType::Timestamp => parse_timestamp(text).map(|stamp| match stamp.zoned {
            true => Cell::TimestampTz(stamp.micros),
            false => Cell::Timestamp(stamp.micros),
        }),
        DeclaredType::Uuid => parse_uuid(text).map(Cell::Uuid),
        DeclaredType::Json => Some(Cell::Json(text)),
        DeclaredType::Bool | DeclaredType::Other => None,
    };
    typed.unwrap_or(Cell::Text(text))
}

/// `00112233-4455-6677-8899-aabbccddeeff`
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|at| bytes.get(*at) != Some(&b'-')) {
        return None;
    }
    let mut digits = bytes.iter().filter(|byte| **byte != b'-').map(|byte| char::from(*byte).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    digits.next().is_none().then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_makes_a_type_only_of_what_looks_like_it() {
        let text = |text: &'static str, declared: &str| {
            decode(ValueRef::Text(text.as_bytes()), DeclaredType::of(declared))
        };
        assert_eq!(text("2000-02-29", "date"), Cell::Date(11_016));
        assert_eq!(text("soon", "DATE"), Cell::Text("soon"));
        assert_eq!(text("00:00:01", "TIME"), Cell::Time(1_000_000));
        assert_eq!(text("1970-01-01 00:00:01", "DATETIME"), Cell::Timestamp(1_000_000));
        assert_eq!(text("1970-01-01T00:00:01Z", "timestamp(6)"), Cell::TimestampTz(1_000_000));
        assert_eq!(text("{}", "JSON"), Cell::Json("{}"));
        let uuid = "00112233-4455-6677-8899-aAbBcCdDeEfF";
        assert!(matches!(text(uuid, "UUID"), Cell::Uuid([0, 0x11, .., 0xff])));
        for wrong in [
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeefg",
            "0011223304455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddee-f",
        ] {
            assert_eq!(text(wrong, "UUID"), Cell::Text(wrong));
        }
        assert_eq!(text("2000-02-29", "VARCHAR(10)"), Cell::Text("2000-02-29"));
    }

    #[test]
    fn numbers_are_what_they_are_stored_as() {
        let integer = |value, declared: &str| decode(ValueRef::Integer(value), DeclaredType::of(declared));
        assert_eq!(integer(1, "BOOLEAN"), Cell::Bool(true));
        assert_eq!(integer(0, "bool"), Cell::Bool(false));
        assert_eq!(integer(2, "BOOLEAN"), Cell::Int(2));
        assert_eq!(integer(1, "TINYINT(1)"), Cell::Int(1));
        assert_eq!(decode(ValueRef::Real(1.5), DeclaredType::Bool), Cell::Float(1.5));
        assert_eq!(decode(ValueRef::Text(b"\xff"), DeclaredType::Other), Cell::Bytes(b"\xff"));
        assert_eq!(decode(ValueRef::Blob(&[7; 16]), DeclaredType::Uuid), Cell::Uuid([7; 16]));
        assert_eq!(decode(ValueRef::Blob(&[7; 15]), DeclaredType::Uuid), Cell::Bytes(&[7; 15]));
    }
}
