//! The payload of `agw_sql`: a [`Call`] out, a [`Reply`] back, and the [`Cell`]s of parameters and rows.
//!
//! A reply is read lazily: results, rows and cells are found in its bytes as they are asked for, and texts and
//! byte strings are slices of it.

mod call;
mod cell;
mod reply;

pub use call::{Call, Mode, Statement};
pub use cell::{ARRAY_DEPTH_MAX, Cell, CellType, Cells, Inet, put_array, put_cell};
pub use reply::{Column, Columns, Reply, ReplyWriter, ResultSet, Rows};
