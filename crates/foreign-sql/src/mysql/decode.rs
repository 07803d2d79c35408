//! Results: the driver's values as cells.

use agw_wire::sql::{Cell, CellType};
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column as Described, Value};

use crate::calendar::{DAY, SECOND, days};

/// What has no characters but bytes.
const BINARY: u16 = 63;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) engine_type: &'static str,
    form: Form,
}

/// How the values of one type are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    Int,
    Uint,
    Float,
    Decimal,
    Text,
    Bytes,
    Bits,
    Json,
    Date,
    Time,
    DateTime,
    Timestamp,
}

/// A value, with what had to be made for it.
#[derive(Debug)]
pub(crate) enum Made<'a> {
    Cell(Cell<'a>),
    Text(String),
}

// === impl Column ===

impl Column {
    pub(crate) fn of(described: &Described) -> Self {
        let (engine_type, form) = form(described);
        Column { name: described.name_str().into_owned(), engine_type, form }
    }

    pub(crate) fn cell_type(&self) -> CellType {
        match self.form {
            Form::Bool => CellType::Bool,
            Form::Int => CellType::Int,
            Form::Uint | Form::Bits => CellType::Uint,
            Form::Float => CellType::Float,
            Form::Decimal => CellType::Decimal,
            Form::Text => CellType::Text,
            Form::Bytes => CellType::Bytes,
            Form::Json => CellType::Json,
            Form::Date => CellType::Date,
            Form::Time => CellType::Time,
            Form::DateTime => CellType::Timestamp,
            Form::Timestamp => CellType::TimestampTz,
        }
    }

    /// `None` for a value that is none of the column's type.
    pub(crate) fn decode<'a>(&self, value: &'a Value) -> Option<Made<'a>> {
        let cell = match (self.form, value) {
            (_, Value::NULL) => Cell::Null,
            (Form::Bool, Value::Int(value @ (0 | 1))) => Cell::Bool(*value == 1),
            (Form::Bool | Form::Int, Value::Int(value)) => Cell::Int(*value),
            (Form::Uint, Value::Int(value)) => Cell::Uint(u64::try_from(*value).ok()?),
            (Form::Uint, Value::UInt(value)) => Cell::Uint(*value),
            (Form::Float, Value::Float(value)) => Cell::Float(f64::from(*value)),
            (Form::Float, Value::Double(value)) => Cell::Float(*value),
            (Form::Decimal, Value::Bytes(digits)) => Cell::Decimal(decimal(digits)?),
            (Form::Text, Value::Bytes(bytes)) => text(bytes),
            (Form::Json, Value::Bytes(bytes)) => Cell::Json(std::str::from_utf8(bytes).ok()?),
            (Form::Bytes, Value::Bytes(bytes)) => Cell::Bytes(bytes),
            (Form::Bits, Value::Bytes(bytes)) => Cell::Uint(bits(bytes)?),
            (Form::Time, Value::Time(negative, days, hours, minutes, seconds, micros)) => {
                Cell::Time(duration(
                    *negative,
                    i64::from(u16::try_from(*days).ok()?),
                    [*hours, *minutes, *seconds],
                    *micros,
                ))
            }
            (
                Form::Date | Form::DateTime | Form::Timestamp,
                Value::Date(year, month, day, hours, minutes, seconds, micros),
            ) => {
                return Some(self.moment(
                    [(*year).into(), (*month).into(), (*day).into()],
                    [*hours, *minutes, *seconds],
                    *micros,
                ));
            }
            _ => return None,
        };
        Some(Made::Cell(cell))
    }

    /// `0000-00-00` and dates with a month or day of zero are in no calendar: they come as text.
    fn moment(&self, [year, month, day]: [i64; 3], clock: [u8; 3], micros: u32) -> Made<'static> {
        let whole = days(year, month, day);
        if month == 0 || day == 0 {
            let date = format!("{year:04}-{month:02}-{day:02}");
            let [hours, minutes, seconds] = clock;
            return Made::Text(match (self.form, micros) {
                (Form::Date, _) => date,
                (_, 0) => format!("{date} {hours:02}:{minutes:02}:{seconds:02}"),
                _ => format!("{date} {hours:02}:{minutes:02}:{seconds:02}.{micros:06}"),
            });
        }
        let micros = whole * DAY + duration(false, 0, clock, micros);
        Made::Cell(match self.form {
            Form::Date => Cell::Date(i32::try_from(whole).unwrap_or(i32::MAX)),
            Form::Timestamp => Cell::TimestampTz(micros),
            _ => Cell::Timestamp(micros),
        })
    }
}

/// What the server calls a type, and how its values are read.
fn form(described: &Described) -> (&'static str, Form) {
    let flags = described.flags();
    let unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
    let binary = described.character_set() == BINARY;
    let int = |signed, unsigned_name| (if unsigned { unsigned_name } else { signed }, Form::Int);
    let text_or = |text, bytes| if binary { (bytes, Form::Bytes) } else { (text, Form::Text) };
    match described.column_type() {
        ColumnType::MYSQL_TYPE_TINY if described.column_length() == 1 => ("tinyint(1)", Form::Bool),
        ColumnType::MYSQL_TYPE_TINY => int("tinyint", "tinyint unsigned"),
        ColumnType::MYSQL_TYPE_SHORT => int("smallint", "smallint unsigned"),
        ColumnType::MYSQL_TYPE_INT24 => int("mediumint", "mediumint unsigned"),
        ColumnType::MYSQL_TYPE_LONG => int("int", "int unsigned"),
        ColumnType::MYSQL_TYPE_LONGLONG if unsigned => ("bigint unsigned", Form::Uint),
        ColumnType::MYSQL_TYPE_LONGLONG => ("bigint", Form::Int),
        ColumnType::MYSQL_TYPE_YEAR => ("year", Form::Int),
        ColumnType::MYSQL_TYPE_FLOAT => ("float", Form::Float),
        ColumnType::MYSQL_TYPE_DOUBLE => ("double", Form::Float),
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => ("decimal", Form::Decimal),
        ColumnType::MYSQL_TYPE_BIT => ("bit", Form::Bits),
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => ("date", Form::Date),
        ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => ("time", Form::Time),
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => ("datetime", Form::DateTime),
        ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => {
            ("timestamp", Form::Timestamp)
        }
        ColumnType::MYSQL_TYPE_JSON => ("json", Form::Json),
        ColumnType::MYSQL_TYPE_GEOMETRY => ("geometry", Form::Bytes),
        ColumnType::MYSQL_TYPE_VECTOR => ("vector", Form::Bytes),
        ColumnType::MYSQL_TYPE_NULL => ("null", Form::Text),
        // The server does not send the types below as such, but as texts with a flag.
        _ if flags.contains(ColumnFlags::ENUM_FLAG) => ("enum", Form::Text),
        _ if flags.contains(ColumnFlags::SET_FLAG) => ("set", Form::Text),
        ColumnType::MYSQL_TYPE_STRING => text_or("char", "binary"),
        ColumnType::MYSQL_TYPE_VAR_STRING | ColumnType::MYSQL_TYPE_VARCHAR => text_or("varchar", "varbinary"),
        _ => text_or("text", "blob"),
    }
}

/// What a plugin has bound comes back as it was, and need not be text.
fn text(bytes: &[u8]) -> Cell<'_> {
    std::str::from_utf8(bytes).map_or(Cell::Bytes(bytes), Cell::Text)
}

/// Digits as the wire has them: `-12.50`.
fn decimal(digits: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(digits).ok()?;
    let (whole, fraction) = match text.strip_prefix('-').unwrap_or(text).split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text.strip_prefix('-').unwrap_or(text), None),
    };
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (are_digits(whole) && fraction.is_none_or(are_digits)).then_some(text)
}

/// The most significant first.
fn bits(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn duration(negative: bool, days: i64, [hours, minutes, seconds]: [u8; 3], micros: u32) -> i64 {
    let seconds = (i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
    let distance = days * DAY + seconds * SECOND + i64::from(micros);
    if negative { -distance } else { distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: ColumnType, flags: ColumnFlags, length: u32, charset: u16) -> Column {
        let described = Described::new(ty).with_flags(flags).with_column_length(length);
        Column::of(&described.with_character_set(charset))
    }

    fn shown(column: &Column, value: &Value) -> String {
        match column.decode(value) {
            Some(Made::Cell(cell)) => format!("{cell:?}"),
            Some(Made::Text(text)) => format!("made {text}"),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn what_is_in_no_calendar_comes_as_text() {
        let date = column(ColumnType::MYSQL_TYPE_DATE, ColumnFlags::empty(), 10, BINARY);
        let stamp = column(ColumnType::MYSQL_TYPE_TIMESTAMP, ColumnFlags::empty(), 19, BINARY);
        assert_eq!(shown(&date, &Value::Date(0, 0, 0, 0, 0, 0, 0)), "made 0000-00-00");
        assert_eq!(shown(&date, &Value::Date(2024, 2, 0, 0, 0, 0, 0)), "made 2024-02-00");
        assert_eq!(shown(&stamp, &Value::Date(0, 0, 0, 0, 0, 0, 7)), "made 0000-00-00 00:00:00.000007");
        assert_eq!(shown(&stamp, &Value::Date(1970, 1, 2, 0, 0, 0, 1)), "TimestampTz(86400000001)");
        assert_eq!(shown(&date, &Value::Date(1970, 1, 2, 0, 0, 0, 0)), "Date(1)");
    }

    #[test]
    fn values_that_are_none_of_their_type_are_none() {
        let decimal = column(ColumnType::MYSQL_TYPE_NEWDECIMAL, ColumnFlags::empty(), 10, BINARY);
        for digits in ["", "-", ".5", "1.", "1e5", "--1", "1.2.3", "٣"] {
            assert_eq!(shown(&decimal, &Value::Bytes(digits.into())), "none", "{digits}");
        }
        let bit = column(ColumnType::MYSQL_TYPE_BIT, ColumnFlags::UNSIGNED_FLAG, 64, BINARY);
        assert_eq!(shown(&bit, &Value::Bytes(vec![1, 0])), "Uint(256)");
        assert_eq!(shown(&bit, &Value::Bytes(vec![0; 9])), "none");
        let unsigned = column(ColumnType::MYSQL_TYPE_LONGLONG, ColumnFlags::UNSIGNED_FLAG, 20, BINARY);
        assert_eq!(shown(&unsigned, &Value::Int(-1)), "none");
        let time = column(ColumnType::MYSQL_TYPE_TIME, ColumnFlags::empty(), 10, BINARY);
        assert_eq!(shown(&time, &Value::Time(true, u32::MAX, 255, 255, 255, u32::MAX)), "none");
        assert_eq!(shown(&time, &Value::Time(true, 34, 22, 59, 59, 0)), "Time(-3020399000000)");
        assert_eq!(shown(&unsigned, &Value::Bytes(vec![1])), "none");
    }

    #[test]
    fn a_boolean_of_two_is_an_int_and_a_text_without_characters_is_bytes() {
        let boolean = column(ColumnType::MYSQL_TYPE_TINY, ColumnFlags::empty(), 1, BINARY);
        assert_eq!(shown(&boolean, &Value::Int(1)), "Bool(true)");
        assert_eq!(shown(&boolean, &Value::Int(2)), "Int(2)");
        let varchar = column(ColumnType::MYSQL_TYPE_VAR_STRING, ColumnFlags::empty(), 10, 45);
        assert_eq!(shown(&varchar, &Value::Bytes(vec![0xff])), "Bytes([255])");
    }
}
