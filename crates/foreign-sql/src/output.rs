//! Results as they are decoded, under their caps.

use agw_wire::sql::{Cell, CellType, Column, ReplyWriter};
use agw_wire::{CallError, Code, Kind};

use crate::engine::{Caps, Expect, Ran, RunMode};

/// Takes what an engine decodes. Of each result: columns, rows, [`Output::end_result`]. Before each row the engine asks
/// for [`Output::room`].
pub(crate) struct Output {
    writer: ReplyWriter,
    caps: Caps,
    wanted: Wanted,
    /// Of the result that is being written.
    rows: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// All of them.
    All,
    /// One at most.
    One,
    /// One exactly.
    ExactlyOne,
    /// None: they are passed over.
    None,
    /// So many, and then the rest is left for later.
    Page(usize),
}

/// Whether another row has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Decode it.
    Take,
    /// Pass over it.
    Skip,
    /// The page is full: leave it where it is.
    Full,
}

impl Output {
    pub(crate) fn new(mode: RunMode, caps: Caps) -> Self {
        let wanted = match mode {
            RunMode::Rows(Expect::Any) | RunMode::Batch => Wanted::All,
            RunMode::Rows(Expect::Optional) => Wanted::One,
            RunMode::Rows(Expect::One) => Wanted::ExactlyOne,
            RunMode::Execute => Wanted::None,
            RunMode::Page(rows) => Wanted::Page(rows.min(caps.rows)),
        };
        Output { writer: ReplyWriter::new(), caps, wanted, rows: 0 }
    }

    /// Whether columns and rows are wanted at all.
    pub(crate) fn wants_rows(&self) -> bool {
        self.wanted != Wanted::None
    }

    /// # Errors
    /// `too_large`.
    pub(crate) fn column(
        &mut self,
        name: &str,
        cell_type: CellType,
        engine_type: &str,
    ) -> Result<(), CallError> {
        self.writer.column(&Column { name, cell_type, engine_type });
        self.check_bytes()
    }

    /// # Errors
    /// `too_large` over the cap on rows, `server` if one row was wanted and this is another.
    pub(crate) fn room(&self) -> Result<Room, CallError> {
        match self.wanted {
            Wanted::None => Ok(Room::Skip),
            Wanted::Page(rows) if self.rows >= rows => Ok(Room::Full),
            Wanted::One | Wanted::ExactlyOne if self.rows >= 1 => {
                let message = "one row was asked for, and there are more";
                Err(CallError::new(Code::Server, message).server_code("21000").kind(Kind::SeveralRows))
            }
            Wanted::All if self.rows >= self.caps.rows => {
                let message = format!(
                    "the result has more than {} rows (limits.rows); ask for it in pages, or for less",
                    self.caps.rows
                );
                Err(CallError::new(Code::TooLarge, message))
            }
            _ => Ok(Room::Take),
        }
    }

    /// # Errors
    /// `too_large`.
    pub(crate) fn cell(&mut self, cell: Cell<'_>) -> Result<(), CallError> {
        let bytes = match cell {
            Cell::Text(text) | Cell::Json(text) | Cell::Decimal(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::Array(cells) => cells.as_bytes().len(),
            _ => 0,
        };
        if bytes > self.caps.cell_bytes {
            let message = format!(
                "a value has {bytes} bytes, the resource gives {} (limits.cell)",
                self.caps.cell_bytes
            );
            return Err(CallError::new(Code::TooLarge, message));
        }
        // Before it is copied: a value may be far over what all of them may be.
        if self.writer.len().saturating_add(bytes) > self.caps.response_bytes {
            return Err(self.too_large());
        }
        self.writer.cell(cell);
        Ok(())
    }

    /// # Errors
    /// `too_large`.
    pub(crate) fn end_row(&mut self) -> Result<(), CallError> {
        self.writer.end_row();
        self.rows += 1;
        self.check_bytes()
    }

    /// # Errors
    /// `server` if one row was wanted and there was none, `too_large`.
    pub(crate) fn end_result(&mut self, affected: u64, last_insert_id: u64) -> Result<(), CallError> {
        if self.wanted == Wanted::ExactlyOne && self.rows == 0 {
            let message = "one row was asked for, and there is none";
            return Err(CallError::new(Code::Server, message).server_code("02000").kind(Kind::NoRow));
        }
        self.writer.end_result(affected, last_insert_id);
        self.rows = 0;
        self.check_bytes()
    }

    pub(crate) fn finish(self, more: bool) -> Ran {
        Ran { reply: self.writer, more }
    }

    fn check_bytes(&self) -> Result<(), CallError> {
        if self.writer.len() > self.caps.response_bytes { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> CallError {
        let message =
            format!("the results have more than {} bytes (limits.response)", self.caps.response_bytes);
        CallError::new(Code::TooLarge, message)
    }
}

#[cfg(test)]
mod tests {
    use agw_wire::sql::Reply;

    use super::*;

    const CAPS: Caps = Caps { rows: 2, response_bytes: 100, cell_bytes: 20 };

    fn row(output: &mut Output, cell: Cell<'_>) -> Result<Room, CallError> {
        let room = output.room()?;
        if room == Room::Take {
            output.cell(cell)?;
            output.end_row()?;
        }
        Ok(room)
    }

    #[test]
    fn a_row_over_the_cap_is_too_large_and_a_second_result_counts_anew() {
        let mut output = Output::new(RunMode::Batch, CAPS);
        for _ in 0..2 {
            assert_eq!(row(&mut output, Cell::Int(1)), Ok(Room::Take));
            assert_eq!(row(&mut output, Cell::Int(2)), Ok(Room::Take));
            output.end_result(0, 0).unwrap();
        }
        row(&mut output, Cell::Int(1)).unwrap();
        row(&mut output, Cell::Int(2)).unwrap();
        assert_eq!(row(&mut output, Cell::Int(3)).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn a_full_page_leaves_the_next_row_and_is_never_longer_than_the_cap() {
        for (asked, given) in [(1, 1), (2, 2), (500, 2)] {
            let mut output = Output::new(RunMode::Page(asked), CAPS);
            for _ in 0..given {
                assert_eq!(row(&mut output, Cell::Int(1)), Ok(Room::Take));
            }
            assert_eq!(row(&mut output, Cell::Int(1)), Ok(Room::Full));
        }
    }

    #[test]
    fn a_value_over_its_cap_or_over_what_is_left_is_not_even_copied() {
        let mut output = Output::new(RunMode::Rows(Expect::Any), CAPS);
        assert_eq!(output.cell(Cell::Bytes(&[0; 21])).unwrap_err().code, Code::TooLarge);
        assert_eq!(output.writer.len(), 0);
        for _ in 0..4 {
            output.cell(Cell::Bytes(&[0; 20])).unwrap();
        }
        assert_eq!(output.cell(Cell::Text("0123456789abcdef")).unwrap_err().code, Code::TooLarge);
        assert!(output.writer.len() <= 100);
    }

    #[test]
    fn many_small_values_end_at_the_cap_on_bytes() {
        let caps = Caps { rows: 1_000_000, ..CAPS };
        let mut output = Output::new(RunMode::Rows(Expect::Any), caps);
        let error = (0..1000).find_map(|_| row(&mut output, Cell::Null).err()).expect("an end");
        assert_eq!(error.code, Code::TooLarge);
        assert!(output.writer.len() < 110, "{}", output.writer.len());
    }

    #[test]
    fn one_row_is_one_row() {
        let mut output = Output::new(RunMode::Rows(Expect::One), CAPS);
        assert_eq!(output.end_result(0, 0).unwrap_err().kind, Some(Kind::NoRow));
        row(&mut output, Cell::Int(1)).unwrap();
        assert_eq!(row(&mut output, Cell::Int(2)).unwrap_err().kind, Some(Kind::SeveralRows));
        output.end_result(0, 0).unwrap();
        let mut output = Output::new(RunMode::Rows(Expect::Optional), CAPS);
        output.end_result(0, 0).unwrap();
        let mut output = Output::new(RunMode::Execute, CAPS);
        assert_eq!(row(&mut output, Cell::Int(1)), Ok(Room::Skip));
        output.end_result(3, 4).unwrap();
        let bytes = output.finish(false).reply.finish(0);
        assert_eq!(Reply::decode(&bytes).unwrap().results[0].affected, 3);
    }
}
