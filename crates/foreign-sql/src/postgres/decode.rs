//! Results: the server's binary values as cells.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agw_wire::sql::{Cell, CellType, Cells, Inet, put_array, put_cell};
use tokio_postgres::types::{FromSql, Kind, Type};

use super::numeric;
use crate::calendar::{DAY, civil, write_time};

/// 2000-01-01, where the server begins to count.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY;

/// How the values of one type are read. A type without one can be read as text, if the statement casts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Char,
    Bytes,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Inet,
    MacAddress,
    Bits,
    Void,
    Array(Box<Decoder>),
}

/// A value, with what had to be made for it.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Cell(Cell<'a>),
    Decimal(String),
    Text(String),
    Array(Vec<u8>),
}

/// The bytes of any value.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

// === impl Value ===

impl Value<'_> {
    pub(crate) fn cell(&self) -> Cell<'_> {
        match self {
            Value::Cell(cell) => *cell,
            Value::Decimal(text) => Cell::Decimal(text),
            Value::Text(text) => Cell::Text(text),
            Value::Array(elements) => Cell::Array(Cells::new(elements)),
        }
    }
}

// === impl Decoder ===

impl Decoder {
    pub(crate) fn of(ty: &Type) -> Option<Self> {
        match ty.kind() {
            Kind::Enum(_) => return Some(Decoder::Text),
            Kind::Domain(base) => return Decoder::of(base),
            Kind::Array(element) => return Some(Decoder::Array(Box::new(Decoder::of(element)?))),
            _ => {}
        }
        Some(match *ty {
            Type::BOOL => Decoder::Bool,
            Type::INT2 => Decoder::Int2,
            Type::INT4 => Decoder::Int4,
            Type::INT8 => Decoder::Int8,
            Type::OID | Type::XID | Type::CID => Decoder::Oid,
            Type::FLOAT4 => Decoder::Float4,
            Type::FLOAT8 => Decoder::Float8,
            Type::NUMERIC => Decoder::Numeric,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::XML => {
                Decoder::Text
            }
            Type::CHAR => Decoder::Char,
            Type::BYTEA => Decoder::Bytes,
            Type::DATE => Decoder::Date,
            Type::TIME => Decoder::Time,
            Type::TIMETZ => Decoder::TimeTz,
            Type::TIMESTAMP => Decoder::Timestamp,
            Type::TIMESTAMPTZ => Decoder::TimestampTz,
            Type::INTERVAL => Decoder::Interval,
            Type::UUID => Decoder::Uuid,
            Type::JSON => Decoder::Json,
            Type::JSONB => Decoder::Jsonb,
            Type::INET | Type::CIDR => Decoder::Inet,
            Type::MACADDR | Type::MACADDR8 => Decoder::MacAddress,
            Type::BIT | Type::VARBIT => Decoder::Bits,
            Type::VOID => Decoder::Void,
            _ if ty.name() == "citext" => Decoder::Text,
            _ => return None,
        })
    }

    pub(crate) fn cell_type(&self) -> CellType {
        match self {
            Decoder::Bool => CellType::Bool,
            Decoder::Int2 | Decoder::Int4 | Decoder::Int8 | Decoder::Oid => CellType::Int,
            Decoder::Float4 | Decoder::Float8 => CellType::Float,
            Decoder::Numeric => CellType::Decimal,
            Decoder::Text | Decoder::Char | Decoder::TimeTz | Decoder::MacAddress => CellType::Text,
            Decoder::Bits | Decoder::Void => CellType::Text,
            Decoder::Bytes => CellType::Bytes,
            Decoder::Date => CellType::Date,
            Decoder::Time => CellType::Time,
            Decoder::Timestamp => CellType::Timestamp,
            Decoder::TimestampTz => CellType::TimestampTz,
            Decoder::Interval => CellType::Interval,
            Decoder::Uuid => CellType::Uuid,
            Decoder::Json | Decoder::Jsonb => CellType::Json,
            Decoder::Inet => CellType::Inet,
            Decoder::Array(_) => CellType::Array,
        }
    }

    /// `None` for bytes that are no such value.
    pub(crate) fn decode<'a>(&self, raw: &'a [u8]) -> Option<Value<'a>> {
        let mut reader = Reader::new(raw);
        let cell = match self {
            Decoder::Bool => Cell::Bool(reader.u8()? != 0),
            Decoder::Int2 => Cell::Int(reader.i16()?.into()),
            Decoder::Int4 => Cell::Int(reader.i32()?.into()),
            Decoder::Int8 => Cell::Int(reader.i64()?),
            Decoder::Oid => Cell::Int(reader.u32()?.into()),
            Decoder::Float4 => Cell::Float(f32::from_be_bytes(reader.array()?).into()),
            Decoder::Float8 => Cell::Float(f64::from_be_bytes(reader.array()?)),
            Decoder::Numeric => return numeric::to_text(raw).map(Value::Decimal),
            Decoder::Text => Cell::Text(std::str::from_utf8(raw).ok()?),
            Decoder::Char => return Some(Value::Text(character(reader.u8()?))),
            Decoder::Bytes => Cell::Bytes(raw),
            Decoder::Date => Cell::Date(date(reader.i32()?)?),
            Decoder::Time => Cell::Time(reader.i64()?),
            Decoder::TimeTz => return time_with_zone(reader.i64()?, reader.i32()?).map(Value::Text),
            Decoder::Timestamp | Decoder::TimestampTz => return Some(self.timestamp(reader.i64()?)),
            Decoder::Interval => {
                let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
                Cell::Interval { months, days, micros }
            }
            Decoder::Uuid => Cell::Uuid(reader.array()?),
            Decoder::Json => Cell::Json(std::str::from_utf8(raw).ok()?),
            // The first byte is the version of the format.
            Decoder::Jsonb => Cell::Json(std::str::from_utf8(raw.strip_prefix(&[1])?).ok()?),
            Decoder::Inet => Cell::Inet(inet(&mut reader)?),
            Decoder::MacAddress => return Some(Value::Text(hex(raw, ':'))),
            Decoder::Bits => return bits(&mut reader).map(Value::Text),
            Decoder::Void => Cell::Text(""),
            Decoder::Array(element) => return array(element, &mut reader).map(Value::Array),
        };
        Some(Value::Cell(cell))
    }

    /// The last years of the server's calendar lie behind the end of ours: they come as text.
    fn timestamp(&self, micros: i64) -> Value<'static> {
        let zoned = *self == Decoder::TimestampTz;
        let ours = match micros {
            i64::MAX | i64::MIN => Some(micros),
            micros => micros.checked_add(EPOCH_MICROS),
        };
        match ours {
            Some(micros) if zoned => Value::Cell(Cell::TimestampTz(micros)),
            Some(micros) => Value::Cell(Cell::Timestamp(micros)),
            None => {
                let (year, month, day) = civil(micros.div_euclid(DAY) + i64::from(EPOCH_DAYS));
                let time = write_time(micros.rem_euclid(DAY)).unwrap_or_default();
                let zone = if zoned { "+00" } else { "" };
                Value::Text(format!("{year:04}-{month:02}-{day:02} {time}{zone}"))
            }
        }
    }
}

// === values ===

fn date(days: i32) -> Option<i32> {
    match days {
        i32::MAX | i32::MIN => Some(days),
        days => days.checked_add(EPOCH_DAYS),
    }
}

/// The zone is in seconds to the west.
fn time_with_zone(micros: i64, west: i32) -> Option<String> {
    let mut text = write_time(micros)?;
    let east = west.checked_neg()?;
    let (sign, seconds) = (if east < 0 { '-' } else { '+' }, east.unsigned_abs());
    // Writing to a string cannot fail.
    let _ = write!(text, "{sign}{:02}", seconds / 3600);
    if seconds % 3600 != 0 {
        let _ = write!(text, ":{:02}", seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        let _ = write!(text, ":{:02}", seconds % 60);
    }
    Some(text)
}

/// As the server writes it: nothing for zero, octal beyond ASCII.
fn character(byte: u8) -> String {
    match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

fn inet(reader: &mut Reader<'_>) -> Option<Inet> {
    let (_family, prefix, _is_cidr, len) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    let (address, bits): (IpAddr, u8) = match len {
        4 => (Ipv4Addr::from(reader.array::<4>()?).into(), 32),
        16 => (Ipv6Addr::from(reader.array::<16>()?).into(), 128),
        _ => return None,
    };
    (prefix <= bits).then_some(Inet { address, prefix })
}

fn hex(bytes: &[u8], between: char) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            text.push(between);
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn bits(reader: &mut Reader<'_>) -> Option<String> {
    let count = usize::try_from(reader.i32()?).ok()?;
    let bytes = reader.take(count.div_ceil(8))?;
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    Some((0..count).map(|at| if bit(at) { '1' } else { '0' }).collect())
}

/// The cells of an array, those of further dimensions in arrays.
fn array(element: &Decoder, reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let dimensions = usize::try_from(reader.i32()?).ok().filter(|count| *count <= 6)?;
    let (_has_nulls, _element_type) = (reader.i32()?, reader.u32()?);
    let mut lens = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        lens.push(usize::try_from(reader.i32()?).ok()?);
        let _lower_bound = reader.i32()?;
    }
    let mut out = Vec::new();
    // Each element has a length of four bytes; so many more than that cannot be there.
    let count = lens.iter().try_fold(1usize, |count, len| count.checked_mul(*len))?;
    if lens.is_empty() || count == 0 {
        return Some(out);
    }
    if count > reader.len() / 4 {
        return None;
    }
    elements(element, &lens, reader, &mut out)?;
    Some(out)
}

fn elements(element: &Decoder, lens: &[usize], reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (len, inner) = lens.split_first()?;
    for _ in 0..*len {
        if inner.is_empty() {
            match usize::try_from(reader.i32()?) {
                Err(_) => put_cell(out, Cell::Null),
                Ok(len) => put_cell(out, element.decode(reader.take(len)?)?.cell()),
            }
        } else {
            let mut nested = Vec::new();
            elements(element, inner, reader, &mut nested)?;
            put_array(out, &nested);
        }
    }
    Some(())
}

// === reading ===

/// Numbers in network order.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Decoder; 24] = [
        Decoder::Bool,
        Decoder::Int2,
        Decoder::Int4,
        Decoder::Int8,
        Decoder::Oid,
        Decoder::Float4,
        Decoder::Float8,
        Decoder::Numeric,
        Decoder::Text,
        Decoder::Char,
        Decoder::Bytes,
        Decoder::Date,
        Decoder::Time,
        Decoder::TimeTz,
        Decoder::Timestamp,
        Decoder::TimestampTz,
        Decoder::Interval,
        Decoder::Uuid,
        Decoder::Json,
        Decoder::Jsonb,
        Decoder::Inet,
        Decoder::MacAddress,
        Decoder::Bits,
        Decoder::Void,
    ];

    #[test]
    fn an_array_that_announces_more_than_it_holds_is_none() {
        let array = Decoder::Array(Box::new(Decoder::Int4));
        let dims = |dims: &[(i32, i32)]| {
            let mut raw = Vec::new();
            raw.extend(i32::try_from(dims.len()).unwrap().to_be_bytes());
            raw.extend([0; 8]);
            dims.iter()
                .for_each(|(len, bound)| raw.extend([len.to_be_bytes(), bound.to_be_bytes()].concat()));
            raw
        };
        assert!(array.decode(&dims(&[(i32::MAX, 1)])).is_none());
        assert!(array.decode(&dims(&[(i32::MAX, 1); 6])).is_none());
        assert!(array.decode(&dims(&[(1, 1); 7])).is_none());
        assert!(array.decode(&dims(&[(-1, 1)])).is_none());
        assert!(
            matches!(array.decode(&dims(&[(i32::MAX, 1), (0, 1)])), Some(Value::Array(out)) if out.is_empty())
        );
    }

    #[test]
    fn the_end_of_the_servers_calendar_comes_as_text() {
        let last = 9_223_371_331_199_999_999i64;
        let value = Decoder::TimestampTz.timestamp(last);
        assert_eq!(value.cell(), Cell::Text("294276-12-31 23:59:59.999999+00"));
        assert_eq!(Decoder::Timestamp.timestamp(i64::MIN).cell(), Cell::Timestamp(i64::MIN));
        assert_eq!(Decoder::Timestamp.timestamp(0).cell(), Cell::Timestamp(946_684_800_000_000));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            for decoder in ALL {
                let _ = decoder.decode(&raw);
                let _ = Decoder::Array(Box::new(decoder)).decode(&raw);
            }
        }
    }
}
