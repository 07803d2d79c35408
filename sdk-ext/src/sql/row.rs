//! One row, and how it becomes a type of the plugin's own.

use agw_wire::sql::{Cell, Cells, Column, Columns, Rows as WireRows};

use super::value::{FromValue, describe};
use crate::Error;

/// One row, read in place: nothing is decoded before it is asked for.
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// for row in agw_sdk::sql("users")?.named("all_keys").rows()?.iter() {
///     let tier: &str = row.get("tier")?;
///     let user: i64 = row.get(0)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: Columns<'a>,
    cells: Cells<'a>,
    number: usize,
}

/// The rows of a result, one after another.
#[derive(Clone, Debug)]
pub struct RowIter<'a> {
    columns: Columns<'a>,
    rows: WireRows<'a>,
    next: usize,
}

/// A type that a row can be read as: tuples of columns, and what [`row!`](crate::row!) writes. To write it by hand:
///
/// ```
/// use agw_sdk::Error;
/// use agw_sdk::sql::{FromRow, Row};
///
/// enum Tier { Free, Pro }
///
/// impl FromRow for Tier {
///     fn from_row(row: &Row<'_>) -> Result<Self, Error> {
///         Ok(if row.get::<&str>("tier")? == "pro" { Tier::Pro } else { Tier::Free })
///     }
/// }
/// ```
pub trait FromRow: Sized {
    /// Reads the row.
    ///
    /// # Errors
    /// [`Error::Column`] and [`Error::NoColumn`], as [`Row::get`] has them.
    fn from_row(row: &Row<'_>) -> Result<Self, Error>;
}

/// How a column is asked for: by its name, or by its place from 0 on.
pub trait ColumnIndex {
    /// Its place among these.
    #[doc(hidden)]
    fn place(&self, columns: Columns<'_>) -> Option<usize>;

    /// For errors.
    #[doc(hidden)]
    fn wanted(&self) -> String;
}

// === impl Row ===

impl<'a> Row<'a> {
    /// The value of a column: by its name (the first that has it), or by its place from 0 on.
    ///
    /// # Errors
    /// [`Error::NoColumn`] names what was asked for and what there is; [`Error::Column`] the column, what it was to be
    /// read as, and what it is.
    pub fn get<T: FromValue<'a>>(&self, column: impl ColumnIndex) -> Result<T, Error> {
        let place = column.place(self.columns).ok_or_else(|| self.no_column(column.wanted()))?;
        let mut cells = self.cells;
        for _ in 0..place {
            next(&mut cells)?;
        }
        // Further pages say no names: then it is the cells that end.
        let cell = cells.next_cell()?.ok_or_else(|| self.no_column(column.wanted()))?;
        T::from_value(cell).ok_or_else(|| self.wrong_type(place, T::EXPECTED, describe(cell)))
    }

    /// Name and type of each column, in order.
    pub fn columns(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        self.columns
    }

    /// Reads the row as a type of the plugin's own.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn read<T: FromRow>(&self) -> Result<T, Error> {
        T::from_row(self)
    }

    fn no_column(&self, wanted: String) -> Error {
        let names: Vec<String> = self.columns.map(|column| quoted(column.name)).collect();
        let columns = match self.cells.count() {
            0 => "none".into(),
            count if names.is_empty() => format!("{count} without names"),
            _ => names.join(", "),
        };
        Error::NoColumn { wanted, columns }
    }

    fn wrong_type(&self, place: usize, expected: &'static str, found: &'static str) -> Error {
        let name = { self.columns }.nth(place).map(|column| column.name).filter(|name| !name.is_empty());
        let column = name.map_or_else(|| place.to_string(), quoted);
        Error::Column { column, row: self.number, expected, found }
    }

    /// For tuples: reads one column after another.
    fn take<T: FromValue<'a>>(&self, cells: &mut Cells<'a>, place: usize) -> Result<T, Error> {
        let cell = next(cells)?;
        T::from_value(cell).ok_or_else(|| self.wrong_type(place, T::EXPECTED, describe(cell)))
    }

    fn exactly(&self, len: usize) -> Result<(), Error> {
        if self.cells.count() == len { Ok(()) } else { Err(self.no_column(format!("{len} columns"))) }
    }
}

fn next<'a>(cells: &mut Cells<'a>) -> Result<Cell<'a>, Error> {
    cells.next_cell()?.ok_or(Error::Host("a row has fewer values than columns"))
}

fn quoted(name: &str) -> String {
    ["\"", name, "\""].concat()
}

// === impl RowIter ===

impl<'a> RowIter<'a> {
    pub(super) fn new(columns: Columns<'a>, rows: WireRows<'a>) -> Self {
        RowIter { columns, rows, next: 0 }
    }
}

impl<'a> Iterator for RowIter<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        let cells = self.rows.next()?;
        let number = self.next;
        self.next += 1;
        Some(Row { columns: self.columns, cells, number })
    }
}

// === impl ColumnIndex ===

impl ColumnIndex for usize {
    fn place(&self, _: Columns<'_>) -> Option<usize> {
        Some(*self)
    }

    fn wanted(&self) -> String {
        format!("column {self}")
    }
}

impl ColumnIndex for &str {
    fn place(&self, mut columns: Columns<'_>) -> Option<usize> {
        columns.position(|column| column.name == *self)
    }

    fn wanted(&self) -> String {
        quoted(self)
    }
}

// === impl FromRow ===

/// For statements whose rows do not matter.
impl FromRow for () {
    fn from_row(_: &Row<'_>) -> Result<Self, Error> {
        Ok(())
    }
}

macro_rules! tuple {
    ($len:literal: $($name:ident $place:literal)+) => {
        impl<$($name: for<'a> FromValue<'a>),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row<'_>) -> Result<Self, Error> {
                row.exactly($len)?;
                let mut cells = row.cells;
                Ok(($(row.take::<$name>(&mut cells, $place)?,)+))
            }
        }
    };
}

tuple!(1: A 0);
tuple!(2: A 0 B 1);
tuple!(3: A 0 B 1 C 2);
tuple!(4: A 0 B 1 C 2 D 3);
tuple!(5: A 0 B 1 C 2 D 3 E 4);
tuple!(6: A 0 B 1 C 2 D 3 E 4 F 5);
tuple!(7: A 0 B 1 C 2 D 3 E 4 F 5 G 6);
tuple!(8: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7);

/// Declares a struct that rows are read as, each field from the column of its name. Other columns do not matter.
///
/// ```
/// agw_sdk::row! {
///     /// Who has a key.
///     #[derive(Debug)]
///     pub struct Key {
///         pub user_id: i64,
///         /// May be NULL.
///         pub tier: Option<String>,
///     }
/// }
///
/// fn find(hash: &str) -> Result<Option<Key>, agw_sdk::Error> {
///     agw_sdk::sql("users")?.named("find_key").bind(hash).query_optional()
/// }
/// ```
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }

        impl $crate::sql::FromRow for $name {
            fn from_row(row: &$crate::sql::Row<'_>) -> ::core::result::Result<Self, $crate::Error> {
                ::core::result::Result::Ok($name {
                    // A column may be called `type`, whose field is `r#type`.
                    $($field: row.get(::core::stringify!($field).trim_start_matches("r#"))?),+
                })
            }
        }
    };
}
