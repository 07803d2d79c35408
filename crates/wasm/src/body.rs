//! A body, or the part of one that a filter holds.

use bytes::{Bytes, BytesMut};

/// Bytes in the pieces in which they came. A filter that only reads costs no copy.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Most filters never hold more than one piece.
    first: Bytes,
    /// Empty if `first` is.
    others: Vec<Bytes>,
    len: usize,
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            if self.first.is_empty() { self.first = piece } else { self.others.push(piece) }
        }
    }

    /// All of it; the body is empty afterwards.
    pub(crate) fn take(&mut self) -> Bytes {
        let len = std::mem::take(&mut self.len);
        let first = std::mem::take(&mut self.first);
        if self.others.is_empty() {
            return first;
        }
        let mut all = BytesMut::with_capacity(len);
        all.extend_from_slice(&first);
        for piece in self.others.drain(..) {
            all.extend_from_slice(&piece);
        }
        all.freeze()
    }

    /// At most `max` bytes from `start`; fewer, or none, where the body ends.
    pub(crate) fn range(&self, start: usize, max: usize) -> Bytes {
        let start = start.min(self.len);
        let len = max.min(self.len - start);
        if self.others.is_empty() {
            return self.first.slice(start..start + len);
        }
        let mut out = BytesMut::with_capacity(len);
        let mut skip = start;
        for piece in std::iter::once(&self.first).chain(&self.others) {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let want = len - out.len();
            let end = piece.len().min(skip + want);
            out.extend_from_slice(&piece[skip..end]);
            skip = 0;
            if out.len() == len {
                break;
            }
        }
        out.freeze()
    }

    /// Replaces `len` bytes at `start` by `value`: (0, 0) puts it in front, a start behind the end appends.
    pub(crate) fn splice(&mut self, start: usize, len: usize, value: &[u8]) {
        let start = start.min(self.len);
        let end = start.saturating_add(len).min(self.len);
        let mut out = BytesMut::with_capacity(self.len - (end - start) + value.len());
        let all = self.take();
        out.extend_from_slice(&all[..start]);
        out.extend_from_slice(value);
        out.extend_from_slice(&all[end..]);
        self.push(out.freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &[&'static str]) -> Body {
        let mut body = Body::default();
        for piece in pieces {
            body.push(Bytes::from_static(piece.as_bytes()));
        }
        body
    }

    #[test]
    fn a_range_behind_the_end_is_cut() {
        let body = body(&["hello", " ", "world"]);
        assert_eq!(body.range(0, usize::MAX), "hello world");
        assert_eq!(body.range(4, 3), "o w");
        assert_eq!(body.range(11, 5), "");
        assert_eq!(body.range(usize::MAX, usize::MAX), "");
    }

    #[test]
    fn splice_prepends_appends_replaces_and_empties() {
        let spliced = |start, len, value: &str| {
            let mut body = body(&["hel", "lo"]);
            body.splice(start, len, value.as_bytes());
            body.take()
        };
        assert_eq!(spliced(0, 0, ">"), ">hello");
        assert_eq!(spliced(5, 0, "<"), "hello<");
        assert_eq!(spliced(usize::MAX, 7, "<"), "hello<");
        assert_eq!(spliced(1, 3, "-"), "h-o");
        assert_eq!(spliced(0, usize::MAX, "new"), "new");
        assert_eq!(spliced(0, usize::MAX, ""), "");
    }
}
