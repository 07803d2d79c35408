//! What can be bound to a placeholder.

use std::net::IpAddr;

use agw_wire::sql::{Cell, Cells, Inet, put_array, put_cell};

use super::types::{Array, Date, Decimal, Interval, Json, Time, Timestamp, TimestampTz, Uuid};

/// A value that can be bound.
///
/// The server gets it as a parameter, apart from the statement's text: nothing in it can change what the statement
/// does.
///
/// ```no_run
/// use agw_sdk::sql::{Date, Uuid};
///
/// # fn f(token: &[u8], born: Option<Date>) -> Result<(), agw_sdk::Error> {
/// let users = agw_sdk::sql("users")?;
/// users.named("add").bind("alice").bind(42u32).bind(token).bind(born).bind(Uuid([0; 16])).execute()?;
/// # Ok(())
/// # }
/// ```
pub trait ToSql {
    /// Appends the value: exactly one.
    fn put(&self, params: &mut Params);
}

/// Parameters under construction, in the contract's form.
#[derive(Clone, Debug, Default)]
pub struct Params {
    bytes: Vec<u8>,
    problem: Option<&'static str>,
}

// === impl Params ===

impl Params {
    /// Appends one value.
    pub fn cell(&mut self, cell: Cell<'_>) {
        put_cell(&mut self.bytes, cell);
    }

    /// The first value that cannot be sent, in words.
    pub(super) fn problem(&self) -> Option<&'static str> {
        self.problem
    }

    pub(super) fn cells(&self) -> Cells<'_> {
        Cells::new(&self.bytes)
    }

    /// The contract has rules for the text of a decimal: this catches a bad one before it is sent.
    fn decimal(&mut self, text: &str) {
        let start = self.bytes.len();
        self.cell(Cell::Decimal(text));
        let written = self.bytes.get(start..).unwrap_or_default();
        if Cells::new(written).check().is_err() {
            self.problem =
                Some("a decimal parameter is not digits, with a sign before and a point among them");
        }
    }

    fn array<T: ToSql>(&mut self, elements: &[T]) {
        let mut inner = Params::default();
        for element in elements {
            element.put(&mut inner);
        }
        self.problem = self.problem.or(inner.problem);
        put_array(&mut self.bytes, &inner.bytes);
    }
}

// === impl ToSql ===

macro_rules! integers {
    ($($type:ty)+) => {$(
        impl ToSql for $type {
            fn put(&self, params: &mut Params) {
                params.cell(Cell::Int(i64::from(*self)));
            }
        }
    )+};
}

integers!(i8 i16 i32 i64 u8 u16 u32);

impl ToSql for u64 {
    fn put(&self, params: &mut Params) {
        params.cell(i64::try_from(*self).map_or(Cell::Uint(*self), Cell::Int));
    }
}

macro_rules! cells {
    ($($type:ty: $value:ident => $cell:expr;)+) => {$(
        impl ToSql for $type {
            fn put(&self, params: &mut Params) {
                let $value = self;
                params.cell($cell);
            }
        }
    )+};
}

cells! {
    bool: value => Cell::Bool(*value);
    f32: value => Cell::Float((*value).into());
    f64: value => Cell::Float(*value);
    str: value => Cell::Text(value);
    String: value => Cell::Text(value);
    [u8]: value => Cell::Bytes(value);
    Vec<u8>: value => Cell::Bytes(value);
    Date: value => Cell::Date(value.0);
    Time: value => Cell::Time(value.0);
    Timestamp: value => Cell::Timestamp(value.0);
    TimestampTz: value => Cell::TimestampTz(value.0);
    Interval: value => Cell::Interval { months: value.months, days: value.days, micros: value.micros };
    Uuid: value => Cell::Uuid(value.0);
    Inet: value => Cell::Inet(*value);
    IpAddr: value => Cell::Inet(Inet { address: *value, prefix: if value.is_ipv4() { 32 } else { 128 } });
}

impl<const N: usize> ToSql for [u8; N] {
    fn put(&self, params: &mut Params) {
        params.cell(Cell::Bytes(self));
    }
}

impl<T: AsRef<str>> ToSql for Decimal<T> {
    fn put(&self, params: &mut Params) {
        params.decimal(self.0.as_ref());
    }
}

impl<T: AsRef<str>> ToSql for Json<T> {
    fn put(&self, params: &mut Params) {
        params.cell(Cell::Json(self.0.as_ref()));
    }
}

impl<T: ToSql> ToSql for Array<Vec<T>> {
    fn put(&self, params: &mut Params) {
        params.array(&self.0);
    }
}

impl<T: ToSql> ToSql for Array<&[T]> {
    fn put(&self, params: &mut Params) {
        params.array(self.0);
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn put(&self, params: &mut Params) {
        match self {
            Some(value) => value.put(params),
            None => params.cell(Cell::Null),
        }
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn put(&self, params: &mut Params) {
        (**self).put(params);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(value: impl ToSql) -> Vec<u8> {
        let mut params = Params::default();
        value.put(&mut params);
        assert_eq!(params.problem(), None);
        params.cells().as_bytes().to_vec()
    }

    fn cell(cell: Cell<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_cell(&mut bytes, cell);
        bytes
    }

    #[test]
    fn a_decimal_that_could_be_sql_is_not_sent() {
        for text in ["", "1e5", "1; DROP TABLE users", "--1", "1.", ".5", "\u{661}"] {
            let mut params = Params::default();
            Decimal(text).put(&mut params);
            assert!(params.problem().is_some(), "{text:?}");
            let mut params = Params::default();
            Array(vec![Some(Decimal("1")), Some(Decimal(text))]).put(&mut params);
            assert!(params.problem().is_some(), "{text:?} in an array");
        }
    }

    #[test]
    fn integers_of_every_width_are_whole() {
        assert_eq!(cells(i8::MIN), cell(Cell::Int(-128)));
        assert_eq!(cells(u32::MAX), cell(Cell::Int(4_294_967_295)));
        assert_eq!(cells(i64::MIN), cell(Cell::Int(i64::MIN)));
        assert_eq!(cells(7u64), cell(Cell::Int(7)));
        assert_eq!(cells(u64::MAX), cell(Cell::Uint(u64::MAX)));
    }

    #[test]
    fn each_type_has_its_cell() {
        assert_eq!(cells(true), cell(Cell::Bool(true)));
        assert_eq!(cells(1.5), cell(Cell::Float(1.5)));
        assert_eq!(cells("a'; --"), cell(Cell::Text("a'; --")));
        assert_eq!(cells(String::new()), cell(Cell::Text("")));
        assert_eq!(cells(b"\0\xff"), cell(Cell::Bytes(b"\0\xff")));
        assert_eq!(cells(&b"\0\xff"[..]), cell(Cell::Bytes(b"\0\xff")));
        assert_eq!(cells(Decimal("-1.50")), cell(Cell::Decimal("-1.50")));
        assert_eq!(cells(Json("{}")), cell(Cell::Json("{}")));
        assert_eq!(cells(Date(-1)), cell(Cell::Date(-1)));
        assert_eq!(cells(Time(1)), cell(Cell::Time(1)));
        assert_eq!(cells(Timestamp(1)), cell(Cell::Timestamp(1)));
        assert_eq!(cells(TimestampTz(1)), cell(Cell::TimestampTz(1)));
        let interval = Interval { months: 1, days: -2, micros: 3 };
        assert_eq!(cells(interval), cell(Cell::Interval { months: 1, days: -2, micros: 3 }));
        assert_eq!(cells(Uuid([7; 16])), cell(Cell::Uuid([7; 16])));
        let address: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(cells(address), cell(Cell::Inet(Inet { address, prefix: 32 })));
    }

    #[test]
    fn none_is_null_and_arrays_may_have_some() {
        assert_eq!(cells(None::<i32>), cell(Cell::Null));
        assert_eq!(cells(Some("x")), cell(Cell::Text("x")));
        let elements = [cell(Cell::Int(1)), cell(Cell::Null)].concat();
        assert_eq!(cells(Array(vec![Some(1), None])), cell(Cell::Array(Cells::new(&elements))));
        assert_eq!(cells(Array(&[Some(1), None][..])), cell(Cell::Array(Cells::new(&elements))));
        assert_eq!(cells(Array(Vec::<i32>::new())), cell(Cell::Array(Cells::new(&[]))));
    }
}
