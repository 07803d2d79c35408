//! Parameters: cells in the form of the type that the server gives each placeholder.

use agw_wire::CallError;
use agw_wire::sql::{Cell, Cells, Inet};
use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};
use super::numeric;
use crate::error::invalid;

/// A parameter as it is sent. Its `Debug` has no value in it, because the driver logs that.
pub(crate) struct Param {
    /// `None` is a null.
    bytes: Option<Vec<u8>>,
    in_text: bool,
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl ToSql for Param {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        out.put_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.in_text { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}

/// Every parameter of a statement.
///
/// # Errors
/// `invalid`: a wrong number of them, or one of a wrong type, by its place.
pub(crate) fn encode(params: &[u8], types: &[Type]) -> Result<Vec<Param>, CallError> {
    let mut encoded = Vec::with_capacity(types.len());
    let mut given = 0;
    for cell in Cells::new(params) {
        // Checked when the call was decoded.
        let cell = cell.map_err(|error| invalid(error.to_string()))?;
        given += 1;
        if let Some(ty) = types.get(given - 1) {
            encoded.push(param(cell, ty).map_err(|wrong| wrong.of_parameter(given, cell, ty))?);
        }
    }
    if given != types.len() {
        let expected = types.len();
        return Err(invalid(format!("the statement has {expected} parameters, the call gives {given}")));
    }
    Ok(encoded)
}

/// Why a cell cannot be bound.
enum Wrong {
    /// Another type.
    Type,
    Value(&'static str),
}

impl Wrong {
    fn of_parameter(&self, place: usize, cell: Cell<'_>, ty: &Type) -> CallError {
        let (given, wanted) = (kind(cell), ty.name());
        invalid(match self {
            Wrong::Type => {
                format!("parameter {place}: the statement takes {wanted} there, the call gives {given}")
            }
            Wrong::Value(what) => format!("parameter {place}: {what}"),
        })
    }
}

fn kind(cell: Cell<'_>) -> &'static str {
    match cell {
        Cell::Null => "a null",
        Cell::Bool(_) => "a bool",
        Cell::Int(_) => "an int",
        Cell::Uint(_) => "a uint",
        Cell::Float(_) => "a float",
        Cell::Decimal(_) => "a decimal",
        Cell::Text(_) => "a text",
        Cell::Bytes(_) => "bytes",
        Cell::Date(_) => "a date",
        Cell::Time(_) => "a time",
        Cell::Timestamp(_) => "a timestamp",
        Cell::TimestampTz(_) => "a timestamptz",
        Cell::Interval { .. } => "an interval",
        Cell::Uuid(_) => "a uuid",
        Cell::Json(_) => "a json",
        Cell::Inet(_) => "an inet",
        Cell::Array(_) => "an array",
        _ => "another type",
    }
}

fn param(cell: Cell<'_>, ty: &Type) -> Result<Param, Wrong> {
    if cell == Cell::Null {
        return Ok(Param { bytes: None, in_text: false });
    }
    let mut bytes = Vec::new();
    match put(cell, ty, &mut bytes) {
        Ok(()) => Ok(Param { bytes: Some(bytes), in_text: false }),
        // The server reads the text as it reads a literal.
        Err(Wrong::Type) => match cell {
            Cell::Text(text) if reads_text(ty) => {
                check_text(text)?;
                Ok(Param { bytes: Some(text.as_bytes().to_vec()), in_text: true })
            }
            _ => Err(Wrong::Type),
        },
        Err(wrong) => Err(wrong),
    }
}

/// A text where the server wants a number, a bool or bytes is a mistake; anywhere else it is how a value is written.
fn reads_text(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Domain(base) => reads_text(base),
        _ => !matches!(
            *ty,
            Type::BOOL
                | Type::INT2
                | Type::INT4
                | Type::INT8
                | Type::OID
                | Type::FLOAT4
                | Type::FLOAT8
                | Type::NUMERIC
                | Type::BYTEA
        ),
    }
}

fn check_text(text: &str) -> Result<(), Wrong> {
    if text.contains('\0') { Err(Wrong::Value("Postgres has no zero bytes in text")) } else { Ok(()) }
}

/// Appends the binary form.
fn put(cell: Cell<'_>, ty: &Type, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match (ty.kind(), cell) {
        (Kind::Domain(base), _) => return put(cell, base, out),
        (Kind::Array(element), Cell::Array(cells)) => return put_array(cells, element, out),
        (Kind::Enum(_), Cell::Text(text)) => return put_text(text, out),
        _ => {}
    }
    match cell {
        Cell::Bool(value) if *ty == Type::BOOL => out.push(value.into()),
        Cell::Int(value) => put_int(value.into(), ty, out)?,
        Cell::Uint(value) => put_int(value.into(), ty, out)?,
        Cell::Float(value) => put_float(value, ty, out)?,
        Cell::Decimal(text) if *ty == Type::NUMERIC => numeric::put(text, out).map_err(Wrong::Value)?,
        Cell::Text(text) if is_text(ty) => put_text(text, out)?,
        Cell::Text(text) | Cell::Json(text) if *ty == Type::JSON => put_text(text, out)?,
        Cell::Text(text) | Cell::Json(text) if *ty == Type::JSONB => {
            out.push(1);
            put_text(text, out)?;
        }
        Cell::Json(text) if is_text(ty) => put_text(text, out)?,
        Cell::Bytes(bytes) if *ty == Type::BYTEA => out.extend_from_slice(bytes),
        Cell::Date(days) if *ty == Type::DATE => put_date(days, out)?,
        Cell::Time(micros) if *ty == Type::TIME => out.extend_from_slice(&micros.to_be_bytes()),
        Cell::Timestamp(micros) if *ty == Type::TIMESTAMP => put_timestamp(micros, out)?,
        Cell::TimestampTz(micros) if *ty == Type::TIMESTAMPTZ => put_timestamp(micros, out)?,
        Cell::Interval { months, days, micros } if *ty == Type::INTERVAL => {
            out.extend_from_slice(&micros.to_be_bytes());
            out.extend_from_slice(&days.to_be_bytes());
            out.extend_from_slice(&months.to_be_bytes());
        }
        Cell::Uuid(bytes) if *ty == Type::UUID => out.extend_from_slice(&bytes),
        Cell::Inet(inet) if *ty == Type::INET || *ty == Type::CIDR => put_inet(inet, *ty == Type::CIDR, out),
        _ => return Err(Wrong::Type),
    }
    Ok(())
}

fn is_text(ty: &Type) -> bool {
    matches!(*ty, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::XML)
        || ty.name() == "citext"
}

fn put_text(text: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    check_text(text)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn put_int(value: i128, ty: &Type, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let range = |_| Wrong::Value("the number is out of the range of the type that the statement takes there");
    match *ty {
        Type::INT2 => out.extend_from_slice(&i16::try_from(value).map_err(range)?.to_be_bytes()),
        Type::INT4 => out.extend_from_slice(&i32::try_from(value).map_err(range)?.to_be_bytes()),
        Type::INT8 => out.extend_from_slice(&i64::try_from(value).map_err(range)?.to_be_bytes()),
        Type::OID | Type::XID => out.extend_from_slice(&u32::try_from(value).map_err(range)?.to_be_bytes()),
        Type::NUMERIC => numeric::put(&value.to_string(), out).map_err(Wrong::Value)?,
        Type::FLOAT8 => out.extend_from_slice(&exact_float(value)?.to_be_bytes()),
        _ => return Err(Wrong::Type),
    }
    Ok(())
}

/// An integer that a float holds without loss.
fn exact_float(value: i128) -> Result<f64, Wrong> {
    #[expect(clippy::cast_precision_loss, reason = "checked: up to 2^53 there is none")]
    match value.unsigned_abs() <= 1 << 53 {
        true => Ok(value as f64),
        false => Err(Wrong::Value("the number is too large for a float to hold it exactly")),
    }
}

fn put_float(value: f64, ty: &Type, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match *ty {
        Type::FLOAT8 => out.extend_from_slice(&value.to_be_bytes()),
        Type::FLOAT4 => {
            #[expect(clippy::cast_possible_truncation, reason = "what becomes infinite by it is refused")]
            let narrow = value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return Err(Wrong::Value("the number is out of the range of a float4"));
            }
            out.extend_from_slice(&narrow.to_be_bytes());
        }
        _ => return Err(Wrong::Type),
    }
    Ok(())
}

fn put_date(days: i32, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let theirs = match days {
        i32::MAX | i32::MIN => Some(days),
        days => days.checked_sub(EPOCH_DAYS),
    };
    let theirs = theirs.ok_or(Wrong::Value("the date is out of the range of Postgres"))?;
    out.extend_from_slice(&theirs.to_be_bytes());
    Ok(())
}

fn put_timestamp(micros: i64, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let theirs = match micros {
        i64::MAX | i64::MIN => Some(micros),
        micros => micros.checked_sub(EPOCH_MICROS),
    };
    let theirs = theirs.ok_or(Wrong::Value("the timestamp is out of the range of Postgres"))?;
    out.extend_from_slice(&theirs.to_be_bytes());
    Ok(())
}

fn put_inet(inet: Inet, is_cidr: bool, out: &mut Vec<u8>) {
    match inet.address {
        std::net::IpAddr::V4(address) => {
            out.extend_from_slice(&[2, inet.prefix, is_cidr.into(), 4]);
            out.extend_from_slice(&address.octets());
        }
        std::net::IpAddr::V6(address) => {
            out.extend_from_slice(&[3, inet.prefix, is_cidr.into(), 16]);
            out.extend_from_slice(&address.octets());
        }
    }
}

// === arrays ===

/// Each dimension's length is that of its first array; all others must have the same.
fn put_array(cells: Cells<'_>, element: &Type, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let lens = lens(cells)?;
    let mut body = Vec::new();
    if !lens.contains(&0) {
        put_elements(cells, &lens, element, &mut body)?;
    }
    // An array without elements has no dimensions.
    let lens = if lens.contains(&0) { Vec::new() } else { lens };
    out.extend_from_slice(&i32::try_from(lens.len()).unwrap_or(0).to_be_bytes());
    // The server looks for nulls itself.
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&element.oid().to_be_bytes());
    for len in lens {
        let len = i32::try_from(len).map_err(|_| Wrong::Value("the array is too long"))?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
    }
    out.extend_from_slice(&body);
    Ok(())
}

fn lens(cells: Cells<'_>) -> Result<Vec<usize>, Wrong> {
    let mut lens = vec![cells.count()];
    let mut first = cells;
    let mut inner = first.next();
    while let Some(Ok(Cell::Array(nested))) = inner {
        if lens.len() == 6 {
            return Err(Wrong::Value("Postgres has at most six dimensions"));
        }
        lens.push(nested.count());
        let mut first = nested;
        inner = first.next();
    }
    Ok(lens)
}

fn put_elements(cells: Cells<'_>, lens: &[usize], element: &Type, out: &mut Vec<u8>) -> Result<(), Wrong> {
    const RAGGED: Wrong = Wrong::Value("the arrays in the array are not all of the same length");
    let Some((len, inner)) = lens.split_first() else { return Err(RAGGED) };
    let mut given = 0;
    for cell in cells {
        let cell = cell.map_err(|_| RAGGED)?;
        given += 1;
        match cell {
            Cell::Array(nested) if !inner.is_empty() => put_elements(nested, inner, element, out)?,
            _ if !inner.is_empty() => return Err(RAGGED),
            Cell::Array(_) => return Err(RAGGED),
            Cell::Null => out.extend_from_slice(&(-1i32).to_be_bytes()),
            cell => {
                let at = out.len();
                out.extend_from_slice(&[0; 4]);
                put(cell, element, out)?;
                let bytes = i32::try_from(out.len() - at - 4).map_err(|_| Wrong::Value("too long"))?;
                if let Some(slot) = out.get_mut(at..at + 4) {
                    slot.copy_from_slice(&bytes.to_be_bytes());
                }
            }
        }
    }
    if given == *len { Ok(()) } else { Err(RAGGED) }
}
