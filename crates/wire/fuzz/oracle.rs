//! What must hold for any bytes. Used by the fuzz targets and by `tests/corpus.rs`.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each user takes a part; panics are findings"
)]

use agw_wire::resp::{self, Cursor, ParseError};
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
    if let Answer::Resp(bytes) = response.answer {
        resp_parse(bytes);
    }
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
