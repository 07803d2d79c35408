//! What must hold for any bytes. Used by the fuzz target and by `tests/frame_corpus.rs`; both have `frame` beside it.

use agw_wire::resp::{self, ParseError};

use crate::frame::{FrameError, Framer};

/// The first byte says how many replies the call has and in what pieces they come; the rest is what the server sends.
pub(crate) fn frame(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let replies = usize::from(first & 3) + 1;
    let step = usize::from(first >> 2) + 1;
    let whole = Framer::new(replies, usize::MAX / 2).advance(bytes);
    assert_eq!(in_pieces(bytes, replies, step), whole, "pieces of {step} bytes, {replies} replies");
    match whole {
        Ok(Some(end)) => {
            let values = resp::parse_all(&bytes[..end], replies);
            assert_eq!(
                values.map(|values| values.len()),
                Ok(replies),
                "the parser does not take what was framed"
            );
            bounded(bytes, replies, end);
        }
        Ok(None) => assert_eq!(resp::parse_all(bytes, replies), Err(ParseError::Incomplete)),
        // The framer may know from a length what the parser finds out at the end only.
        Err(_) => assert!(parse_each(bytes, replies).is_err(), "the parser takes what was refused"),
    }
}

/// As they arrive from a socket.
fn in_pieces(bytes: &[u8], replies: usize, step: usize) -> Result<Option<usize>, FrameError> {
    let mut framer = Framer::new(replies, usize::MAX / 2);
    let mut end = 0;
    loop {
        if let Some(found) = framer.advance(&bytes[..end])? {
            return Ok(Some(found));
        }
        assert!(framer.missing(end) < usize::MAX / 2);
        if end == bytes.len() {
            return Ok(None);
        }
        end = (end + step).min(bytes.len());
    }
}

/// A bound holds to the byte, and a raised one lets the framing go on.
fn bounded(bytes: &[u8], replies: usize, end: usize) {
    assert_eq!(Framer::new(replies, end).advance(bytes), Ok(Some(end)), "a bound that is just enough");
    let mut framer = Framer::new(replies, end - 1);
    assert_eq!(framer.advance(bytes), Err(FrameError::TooLarge), "a bound that is one too low");
    framer.raise(end);
    assert_eq!(framer.advance(bytes), Ok(Some(end)), "after raising the bound");
}

/// As `parse_all`, but whatever follows the last reply is no error.
fn parse_each(bytes: &[u8], replies: usize) -> Result<(), ParseError> {
    let mut at = 0;
    for _ in 0..replies {
        at += resp::parse(&bytes[at..])?.1;
    }
    Ok(())
}
