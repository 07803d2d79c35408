//! What must hold for any bytes. Used by the fuzz targets and by `tests/corpus.rs`.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each user takes a part; panics are findings"
)]

use agw_wire::resp::{self, Cursor, ParseError};
use agw_wire::sql::{Cell, Cells, Reply, put_cell};
use agw_wire::{Answer, Request, Response};

/// It decodes to one meaning or not at all.
pub(crate) fn request(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else { return };
    let canonical = request.encode();
    assert_eq!(Request::decode(&canonical).as_ref(), Ok(&request), "written and read again");
    // Cutting what is canonical at the end of a field leaves a message, anywhere else an error.
    for end in (0..canonical.len()).rev().take(64) {
        if let Ok(prefix) = Request::decode(&canonical[..end]) {
            assert_eq!(prefix.encode(), &canonical[..end], "cut at {end}");
        }
    }
}

/// It decodes to one meaning or not at all.
pub(crate) fn response(bytes: &[u8]) {
    let Ok(response) = Response::decode(bytes) else { return };
    // Id 0 is written as no field: the host never gives it.
    if response.answer != Answer::CallId(0) {
        assert_eq!(Response::decode(&response.encode()).as_ref(), Ok(&response), "written and read again");
    }
    match response.answer {
        Answer::Resp(bytes) => resp_parse(bytes),
        Answer::Sql(bytes) => sql_reply(bytes),
        _ => {}
    }
}

/// Every row and cell ends within the bytes, and a cell that is read is written as one that reads alike.
pub(crate) fn sql_reply(bytes: &[u8]) {
    let Ok(reply) = Reply::decode(bytes) else { return };
    reply.results.iter().flat_map(|result| result.rows()).for_each(cells);
}

fn cells(mut cells: Cells<'_>) {
    let whole = cells.check();
    let mut left = cells.as_bytes().len();
    while let Ok(Some(cell)) = cells.next_cell() {
        assert!(cells.as_bytes().len() < left, "a cell without a byte");
        left = cells.as_bytes().len();
        if let Cell::Array(elements) = cell {
            self::cells(elements);
        }
        let mut again = Vec::new();
        put_cell(&mut again, cell);
        let read = Cells::new(&again).next_cell();
        // By their text, because NaN does not equal itself; what an array holds was looked at above.
        let same =
            matches!(cell, Cell::Array(_)) || format!("{read:?}") == format!("{:?}", Ok::<_, ()>(Some(cell)));
        assert!(same, "{cell:?} reads as {read:?}");
    }
    assert!(left == 0 || whole.is_err(), "checked, and yet not read to its end");
}

/// The two readers agree on where a reply ends, and neither reads past it.
pub(crate) fn resp_parse(bytes: &[u8]) {
    let mut cursor = Cursor::new(bytes);
    let skipped = cursor.skip();
    match resp::parse(bytes) {
        Ok((value, read)) => {
            assert_eq!((skipped, cursor.position()), (Ok(()), read), "skipping and parsing disagree");
            let again = resp::parse(&bytes[..read]).expect("the reply alone");
            // By their text, because NaN does not equal itself.
            assert_eq!(format!("{:?}", again.0), format!("{value:?}"), "what follows a reply changes it");
            assert_eq!(resp::parse(&bytes[..read - 1]), Err(ParseError::Incomplete), "a cut reply");
            assert_eq!(resp::parse_all(&bytes[..read], 1).map(|values| values.len()), Ok(1));
        }
        // Skipping refuses counts that overflow where parsing finds the bytes too few.
        Err(ParseError::Incomplete) => assert!(skipped.is_err(), "skipped what is incomplete"),
        Err(_) => {}
    }
}
