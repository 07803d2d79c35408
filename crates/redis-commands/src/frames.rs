//! Finds where replies begin and end without building them: one pass, no recursion, no allocation.

use agw_wire::resp::decimal;

use crate::reply::ReplyError;

/// A reply's first line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    /// The length or number that follows the type byte; `None` where there is none.
    pub(crate) len: Option<i64>,
    /// Where the line ends and its content begins.
    pub(crate) end: usize,
}

pub(crate) fn head(bytes: &[u8], at: usize) -> Result<Head, ReplyError> {
    let rest = bytes.get(at..).ok_or(ReplyError::Malformed)?;
    let (kind, line) = rest.split_first().ok_or(ReplyError::Malformed)?;
    let len = line.iter().position(|byte| *byte == b'\n').ok_or(ReplyError::Malformed)?;
    let text = line[..len].strip_suffix(b"\r").ok_or(ReplyError::Malformed)?;
    let number = match kind {
        b'$' | b'*' | b'~' | b'>' | b'%' | b'|' | b'!' | b'=' => Some(number(text)?),
        _ => None,
    };
    Ok(Head { kind: *kind, len: number, end: at + len + 2 })
}

fn number(text: &[u8]) -> Result<i64, ReplyError> {
    decimal(text).ok_or(ReplyError::Malformed)
}

impl Head {
    /// How many replies this one holds.
    fn children(&self) -> Result<usize, ReplyError> {
        let Some(len) = self.len else { return Ok(0) };
        let len = usize::try_from(len.max(0)).map_err(|_| ReplyError::Malformed)?;
        match self.kind {
            b'*' | b'~' | b'>' => Ok(len),
            b'%' => len.checked_mul(2).ok_or(ReplyError::Malformed),
            // An attribute is not a reply itself: the reply follows it.
            b'|' => len.checked_mul(2).and_then(|len| len.checked_add(1)).ok_or(ReplyError::Malformed),
            _ => Ok(0),
        }
    }

    /// Where this reply's own bytes end, the replies inside not counted.
    fn own_end(&self, bytes: &[u8]) -> Result<usize, ReplyError> {
        match (self.kind, self.len) {
            (b'$' | b'!' | b'=', Some(len)) if len >= 0 => {
                let len = usize::try_from(len).map_err(|_| ReplyError::Malformed)?;
                let end = self.end.checked_add(len).ok_or(ReplyError::Malformed)?;
                let after = end.checked_add(2).ok_or(ReplyError::Malformed)?;
                match bytes.get(end..after) {
                    Some(b"\r\n") => Ok(after),
                    _ => Err(ReplyError::Malformed),
                }
            }
            _ => Ok(self.end),
        }
    }
}

/// Where the reply that starts at `at` ends.
pub(crate) fn skip(bytes: &[u8], at: usize) -> Result<usize, ReplyError> {
    let mut at = at;
    let mut pending = 1usize;
    while pending > 0 {
        let head = head(bytes, at)?;
        at = head.own_end(bytes)?;
        pending = (pending - 1).checked_add(head.children()?).ok_or(ReplyError::Malformed)?;
    }
    Ok(at)
}

/// The bulk string at `at` and where it ends; `None` for anything else.
pub(crate) fn bulk(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ReplyError> {
    let head = head(bytes, at)?;
    if head.kind != b'$' || head.len.is_none_or(|len| len < 0) {
        return Ok(None);
    }
    let end = head.own_end(bytes)?;
    Ok(Some((&bytes[head.end..end - 2], end)))
}
