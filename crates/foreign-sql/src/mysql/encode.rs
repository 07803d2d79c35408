//! Parameters: cells as the driver's values. The server does not say which types it expects.

use agw_wire::CallError;
use agw_wire::sql::{Cell, Cells, Inet};
use mysql_async::Value;

use crate::calendar::{DAY, SECOND, civil};
use crate::error::invalid;

/// Bytes of a parameter beside its value.
const PARAM_EXTRA: usize = 16;
/// `TIME` ends at 838:59:59.
const TIME_MAX: u64 = (838 * 3600 + 59 * 60 + 59) * SECOND as u64;

/// Every parameter of a statement, and about how many bytes they are.
///
/// # Errors
/// `invalid`: a wrong number of them, or one that cannot be bound, by its place.
pub(crate) fn encode(params: &[u8], expected: usize) -> Result<(Vec<Value>, usize), CallError> {
    let mut values = Vec::with_capacity(expected);
    let (mut given, mut bytes) = (0, 0usize);
    for cell in Cells::new(params) {
        // Checked when the call was decoded.
        let cell = cell.map_err(|error| invalid(error.to_string()))?;
        given += 1;
        if given <= expected {
            let value = value(cell).map_err(|what| invalid(format!("parameter {given}: {what}")))?;
            bytes += PARAM_EXTRA + if let Value::Bytes(text) = &value { text.len() } else { 0 };
            values.push(value);
        }
    }
    if given != expected {
        return Err(invalid(format!("the statement has {expected} parameters, the call gives {given}")));
    }
    Ok((values, bytes))
}

fn value(cell: Cell<'_>) -> Result<Value, &'static str> {
    Ok(match cell {
        Cell::Null => Value::NULL,
        Cell::Bool(value) => Value::Int(value.into()),
        Cell::Int(value) => Value::Int(value),
        Cell::Uint(value) => Value::UInt(value),
        Cell::Float(value) if value.is_finite() => Value::Double(value),
        Cell::Float(_) => return Err("MySQL has no infinities and no NaN"),
        Cell::Decimal(text) if !text.ends_with(|end: char| end.is_ascii_alphabetic()) => {
            Value::Bytes(text.into())
        }
        Cell::Decimal(_) => return Err("MySQL has no infinities and no NaN"),
        Cell::Text(text) | Cell::Json(text) => Value::Bytes(text.into()),
        Cell::Bytes(bytes) => Value::Bytes(bytes.into()),
        Cell::Date(days) => timestamp(i64::from(days).saturating_mul(DAY))?,
        Cell::Time(micros) => time(micros)?,
        Cell::Timestamp(micros) | Cell::TimestampTz(micros) => timestamp(micros)?,
        Cell::Uuid(bytes) => Value::Bytes(hyphenated(bytes).into_bytes()),
        Cell::Inet(inet) => Value::Bytes(address(inet)?.into_bytes()),
        Cell::Interval { .. } => return Err("MySQL has no type for intervals"),
        Cell::Array(_) => return Err("MySQL has no type for arrays"),
        _ => return Err("a type that cannot be bound to MySQL"),
    })
}

/// The driver sends a midnight as a date.
fn timestamp(micros: i64) -> Result<Value, &'static str> {
    const RANGE: &str = "the date is out of the range of MySQL, which ends with the year 9999";
    let (year, month, day) = civil(micros.div_euclid(DAY));
    let year = u16::try_from(year).ok().filter(|year| *year <= 9999).ok_or(RANGE)?;
    let [month, day] = [month, day].map(|part| u8::try_from(part).unwrap_or(0));
    let (hours, minutes, seconds, micros) = clock(micros.rem_euclid(DAY).unsigned_abs());
    Ok(Value::Date(year, month, day, hours, minutes, seconds, micros))
}

fn time(micros: i64) -> Result<Value, &'static str> {
    let distance = micros.unsigned_abs();
    if distance > TIME_MAX {
        return Err("the time is out of the range of MySQL, which is 838:59:59");
    }
    let day = DAY.unsigned_abs();
    let days = u32::try_from(distance / day).unwrap_or(0);
    let (hours, minutes, seconds, micros_left) = clock(distance % day);
    Ok(Value::Time(micros < 0, days, hours, minutes, seconds, micros_left))
}

/// Of less than a day.
fn clock(micros: u64) -> (u8, u8, u8, u32) {
    let second = SECOND.unsigned_abs();
    let seconds = micros / second;
    let part = |value: u64| u8::try_from(value).unwrap_or(0);
    let micros = u32::try_from(micros % second).unwrap_or(0);
    (part(seconds / 3600), part(seconds / 60 % 60), part(seconds % 60), micros)
}

fn hyphenated(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn address(inet: Inet) -> Result<String, &'static str> {
    let single = if inet.address.is_ipv4() { 32 } else { 128 };
    if inet.prefix != single {
        return Err("MySQL has no type for networks, only for single addresses");
    }
    Ok(inet.address.to_string())
}

#[cfg(test)]
mod tests {
    use agw_wire::sql::put_cell;

    use super::*;

    #[test]
    fn moments_are_taken_apart() {
        assert_eq!(timestamp(0), Ok(Value::Date(1970, 1, 1, 0, 0, 0, 0)));
        assert_eq!(timestamp(-1), Ok(Value::Date(1969, 12, 31, 23, 59, 59, 999_999)));
        assert!(timestamp(i64::MAX).is_err() && timestamp(i64::MIN).is_err());
        assert_eq!(time(-DAY - 1_000_001), Ok(Value::Time(true, 1, 0, 0, 1, 1)));
        assert_eq!(time(838 * 3600 * SECOND), Ok(Value::Time(false, 34, 22, 0, 0, 0)));
        assert!(time(839 * 3600 * SECOND).is_err() && time(i64::MIN).is_err());
    }

    #[test]
    fn what_mysql_has_no_type_for_is_refused_with_its_place() {
        for cell in [
            Cell::Float(f64::NAN),
            Cell::Float(f64::INFINITY),
            Cell::Decimal("NaN"),
            Cell::Decimal("-Infinity"),
            Cell::Date(i32::MAX),
            Cell::Date(i32::MIN),
            Cell::Timestamp(i64::MAX),
            Cell::Interval { months: 0, days: 0, micros: 1 },
            Cell::Array(Cells::default()),
            Cell::Inet(Inet { address: [10, 0, 0, 0].into(), prefix: 8 }),
        ] {
            let mut params = Vec::new();
            put_cell(&mut params, Cell::Null);
            put_cell(&mut params, cell);
            let error = encode(&params, 2).unwrap_err();
            assert!(error.message.starts_with("parameter 2: "), "{cell:?}: {}", error.message);
        }
        assert!(encode(&[], 1).is_err());
    }

    #[test]
    fn a_uuid_is_written_as_servers_write_it() {
        let uuid = u128::to_be_bytes(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        assert_eq!(hyphenated(uuid), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
