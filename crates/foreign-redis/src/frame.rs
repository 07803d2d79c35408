//! Finds the end of a call's replies in a stream of bytes, without building them.
//!
//! It keeps its place: bytes that were looked at are not looked at again when more arrive. Announced lengths are
//! checked against the call's bound before their bytes come. It accepts what `agw_wire::resp::parse` accepts.

use agw_wire::resp::{DEPTH_MAX, decimal};
use thiserror::Error;

/// Shortest reply: `_\r\n`. Bounds from below what an announced number of replies will take.
const REPLY_BYTES_MIN: usize = 3;

/// What a reply may begin with.
const KINDS: &[u8] = b"$:+-*_#,(!=%~>|";

/// Why a call's replies cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// The connection cannot be used any more: nobody knows where the next reply begins.
    #[error("the reply is not RESP")]
    Malformed,
    /// Deeper than [`DEPTH_MAX`].
    #[error("the reply is nested too deep")]
    TooDeep,
    /// Over the call's bound, or announced to be. Framing may go on with a higher one.
    #[error("the reply is over its limit")]
    TooLarge,
}

/// The place in one call's replies. Offsets count from the first byte of the first reply.
#[derive(Debug)]
pub(crate) struct Framer {
    /// Replies still to come, by depth; the first are the call's own. Never empty, at most `DEPTH_MAX + 1` long.
    left: Vec<u64>,
    /// Where the next head begins, or the announced end of the payload before it.
    at: usize,
    /// Up to here the current head has been searched for its end.
    searched: usize,
    /// The payload that ends at `at` has not been seen whole.
    payload: Option<Payload>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Payload {
    /// Where it begins; a verbatim string's fourth byte is checked.
    start: usize,
    verbatim: bool,
}

// === impl Framer ===

impl Framer {
    /// At the beginning of `replies` replies that may take `bytes_max` bytes together.
    pub(crate) fn new(replies: usize, bytes_max: usize) -> Self {
        let mut framer = Framer { left: Vec::with_capacity(4), at: 0, searched: 0, payload: None, bytes_max };
        framer.left.push(replies as u64);
        framer
    }

    /// Starts over, for the next call.
    pub(crate) fn restart(&mut self, replies: usize, bytes_max: usize) {
        self.left.clear();
        self.left.push(replies as u64);
        (self.at, self.searched, self.payload, self.bytes_max) = (0, 0, None, bytes_max);
    }

    /// Goes on with a higher bound after [`FrameError::TooLarge`].
    pub(crate) fn raise(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Bytes that are announced and not there, of the `have` that are: a hint for the next read.
    pub(crate) fn missing(&self, have: usize) -> usize {
        self.at.saturating_sub(have)
    }

    /// Goes on through `bytes`, which begin with the first reply and have only grown since the last time. Gives
    /// the length of all replies once the last is whole.
    ///
    /// # Errors
    /// See [`FrameError`]. After `TooLarge`, [`Framer::raise`] and another call go on; the others are final.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        loop {
            if self.at > self.bytes_max {
                return Err(FrameError::TooLarge);
            }
            if let Some(payload) = self.payload {
                let Some(whole) = bytes.get(payload.start..self.at) else { return Ok(None) };
                if !whole.ends_with(b"\r\n") || payload.verbatim && whole.get(3) != Some(&b':') {
                    return Err(FrameError::Malformed);
                }
                self.payload = None;
                self.searched = self.at;
            }
            while self.left.len() > 1 && self.left.last() == Some(&0) {
                self.left.pop();
            }
            if self.left.first() == Some(&0) && self.left.len() == 1 {
                return Ok(Some(self.at));
            }
            self.check_announced()?;
            if !self.head(bytes)? {
                return Ok(None);
            }
        }
    }

    /// The replies still to come take at least this much; better to know before they arrive.
    fn check_announced(&self) -> Result<(), FrameError> {
        let left = self.left.iter().fold(0u64, |sum, left| sum.saturating_add(*left));
        let least = (left as usize).saturating_mul(REPLY_BYTES_MIN);
        if self.at.saturating_add(least) > self.bytes_max { Err(FrameError::TooLarge) } else { Ok(()) }
    }

    /// Reads the head at `at`; false if it is not whole yet.
    fn head(&mut self, bytes: &[u8]) -> Result<bool, FrameError> {
        match bytes.get(self.at) {
            None => return Ok(false),
            // No need to wait for the line's end.
            Some(kind) if !KINDS.contains(kind) => return Err(FrameError::Malformed),
            Some(_) => {}
        }
        let Some(end) = self.line_end(bytes)? else { return Ok(false) };
        let (Some(kind), Some(line)) = (bytes.get(self.at).copied(), bytes.get(self.at + 1..end)) else {
            return Err(FrameError::Malformed);
        };
        self.at = end + 2;
        self.searched = self.at;
        if let Some(left) = self.left.last_mut() {
            *left -= 1;
        }
        match kind {
            b'$' | b'!' | b'=' => self.expect_payload(kind, line)?,
            b'*' | b'~' | b'>' => self.descend(length(line)?.unwrap_or(0))?,
            b'%' => self.descend(pairs(line)?)?,
            // An attribute stands before the reply that it describes; the wire's parser nests that one deeper.
            b'|' => self.descend(pairs(line)?.saturating_add(1))?,
            b'+' | b'-' | b'(' => {}
            b':' => drop(int(line)?),
            b'_' if line.is_empty() => {}
            b'#' if line == b"t" || line == b"f" => {}
            b',' => check_double(line)?,
            _ => return Err(FrameError::Malformed),
        }
        Ok(true)
    }

    /// Where the head's `\r\n` stands.
    fn line_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let from = self.searched.max(self.at + 1);
        let found = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\r'));
        let Some(end) = found.map(|offset| from + offset) else {
            if bytes.len() > self.bytes_max {
                return Err(FrameError::TooLarge);
            }
            self.searched = bytes.len();
            return Ok(None);
        };
        self.searched = end;
        match bytes.get(end + 1) {
            Some(b'\n') => Ok(Some(end)),
            Some(_) => Err(FrameError::Malformed),
            None => Ok(None),
        }
    }

    fn expect_payload(&mut self, kind: u8, line: &[u8]) -> Result<(), FrameError> {
        let verbatim = kind == b'=';
        match length(line)? {
            None if verbatim => Err(FrameError::Malformed),
            None => Ok(()),
            Some(len) if verbatim && len < 4 => Err(FrameError::Malformed),
            Some(len) => {
                self.payload = Some(Payload { start: self.at, verbatim });
                self.at = usize::try_from(len)
                    .ok()
                    .and_then(|len| self.at.checked_add(len)?.checked_add(2))
                    .ok_or(FrameError::Malformed)?;
                Ok(())
            }
        }
    }

    fn descend(&mut self, replies: u64) -> Result<(), FrameError> {
        if replies == 0 {
            return Ok(());
        }
        if self.left.len() > DEPTH_MAX {
            return Err(FrameError::TooDeep);
        }
        self.left.push(replies);
        Ok(())
    }
}

/// `None` is RESP2's `-1`, a null.
fn length(line: &[u8]) -> Result<Option<u64>, FrameError> {
    match int(line)? {
        -1 => Ok(None),
        len => u64::try_from(len).map(Some).map_err(|_| FrameError::Malformed),
    }
}

/// The replies in that many pairs; a null map does not exist.
fn pairs(line: &[u8]) -> Result<u64, FrameError> {
    length(line)?.map(|len| len.saturating_mul(2)).ok_or(FrameError::Malformed)
}

fn int(line: &[u8]) -> Result<i64, FrameError> {
    decimal(line).ok_or(FrameError::Malformed)
}

fn check_double(line: &[u8]) -> Result<(), FrameError> {
    let number: Option<f64> = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    number.map(drop).ok_or(FrameError::Malformed)
}

#[cfg(test)]
mod tests;
