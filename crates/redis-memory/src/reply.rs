//! Writes RESP2 replies, up to a bound.

use agw_wire::resp;

use crate::failure::Failure;
use crate::number;

/// Appends to the caller's buffer. Past the bound nothing is written any more and [`Reply::is_over`] says so;
/// the caller then takes the reply back and answers with an error.
pub(crate) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    end_max: usize,
    over: bool,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, bytes_max: usize) -> Self {
        let end_max = out.len().saturating_add(bytes_max);
        Reply { out, end_max, over: false }
    }

    /// The place to which [`Reply::rewind`] goes back.
    pub(crate) fn mark(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn rewind(&mut self, mark: usize) {
        self.out.truncate(mark);
        self.over = false;
    }

    /// The bound is reached: further work on the reply is wasted.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        if self.fits(bytes.len().saturating_add(32)) {
            resp::put_bulk(self.out, bytes);
        }
    }

    pub(crate) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    pub(crate) fn null(&mut self) {
        self.raw(b"$-1\r\n");
    }

    pub(crate) fn null_array(&mut self) {
        self.raw(b"*-1\r\n");
    }

    pub(crate) fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// `text` must be one line.
    pub(crate) fn simple(&mut self, text: &'static str) {
        self.raw(b"+");
        self.raw(text.as_bytes());
        self.raw(b"\r\n");
    }

    pub(crate) fn int(&mut self, value: i64) {
        self.raw(format!(":{value}\r\n").as_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.int(i64::from(value));
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.int(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn double(&mut self, value: f64) {
        self.bulk(number::format_double(value).as_bytes());
    }

    /// The header of an array; the items follow.
    pub(crate) fn array(&mut self, len: usize) {
        if self.fits(32) {
            resp::put_header(self.out, b'*', len);
        }
    }

    pub(crate) fn bulks<'b>(&mut self, items: impl ExactSizeIterator<Item = &'b [u8]>) {
        self.array(items.len());
        for item in items {
            self.bulk(item);
        }
    }

    /// Errors are short and written beyond the bound too: a command is never left without its reply.
    pub(crate) fn error(&mut self, failure: &Failure) {
        self.out.push(b'-');
        self.out.extend_from_slice(failure.text());
        self.out.extend_from_slice(b"\r\n");
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.fits(bytes.len()) {
            self.out.extend_from_slice(bytes);
        }
    }

    fn fits(&mut self, bytes: usize) -> bool {
        if self.out.len().saturating_add(bytes) > self.end_max {
            self.over = true;
        }
        !self.over
    }
}
