//! The byte stream under the driver: what the driver does not look at, and a server must not get away with.
//!
//! It follows the frames that come in. A frame that announces more bytes than any result may have ends the connection
//! before room is made for it, the transaction status of each ReadyForQuery is kept for the proof of cleanness, and so is
//! whether the server says that transactions are read-only by default.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Any stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream whose incoming frames are followed.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    frames: Frames,
    seen: Arc<Seen>,
}

/// What was seen on a connection.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// `I`, `T` or `E` of the last ReadyForQuery; 0 before the first.
    status: AtomicU8,
    oversized: AtomicBool,
    read_only: AtomicBool,
}

/// Where in a frame the stream is.
struct Frames {
    /// Type and length.
    header: [u8; 5],
    header_len: usize,
    /// Bytes of the body that are still to come.
    body: usize,
    /// The beginning of a ParameterStatus' body.
    parameter: Vec<u8>,
    frame_max: usize,
}

const READY_FOR_QUERY: u8 = b'Z';
const PARAMETER_STATUS: u8 = b'S';
/// The setting that a connection must not lose. The server tells each change, from version 14 on, before its next
/// ReadyForQuery.
const READ_ONLY: &[u8] = b"default_transaction_read_only\0";
/// It and its value.
const PARAMETER_MAX: usize = READ_ONLY.len() + 4;

// === impl Wire ===

impl Wire {
    /// Frames have at most `frame_max` bytes.
    pub(crate) fn new(io: Box<dyn Io>, frame_max: usize, seen: Arc<Seen>) -> Self {
        Wire { io, frames: Frames::new(frame_max), seen }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let wire = &mut *self;
        wire.frames.take(buf.filled().get(before..).unwrap_or_default(), &wire.seen)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

// === impl Frames ===

impl Frames {
    fn new(frame_max: usize) -> Self {
        Frames { header: [0; 5], header_len: 0, body: 0, parameter: Vec::new(), frame_max }
    }

    fn take(&mut self, mut bytes: &[u8], seen: &Seen) -> io::Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.body > 0 {
                if self.header[0] == READY_FOR_QUERY {
                    seen.status.store(first, Ordering::Release);
                }
                let passed = self.body.min(bytes.len());
                let (body, rest) = bytes.split_at(passed);
                self.body -= passed;
                if self.header[0] == PARAMETER_STATUS {
                    self.parameter(body, seen);
                }
                bytes = rest;
                continue;
            }
            if let Some(slot) = self.header.get_mut(self.header_len) {
                *slot = first;
            }
            (self.header_len, bytes) = (self.header_len + 1, rest);
            if self.header_len == self.header.len() {
                self.header_len = 0;
                self.body = self.body_len(seen)?;
            }
        }
        Ok(())
    }

    fn parameter(&mut self, part: &[u8], seen: &Seen) {
        let room = PARAMETER_MAX.saturating_sub(self.parameter.len()).min(part.len());
        self.parameter.extend_from_slice(part.get(..room).unwrap_or_default());
        if self.body == 0 {
            if let Some(value) = self.parameter.strip_prefix(READ_ONLY) {
                seen.read_only.store(value == b"on\0", Ordering::Release);
            }
            self.parameter.clear();
        }
    }

    fn body_len(&self, seen: &Seen) -> io::Result<usize> {
        let [_, a, b, c, d] = self.header;
        let announced = u32::from_be_bytes([a, b, c, d]) as usize;
        if announced < 4 || announced > self.frame_max {
            seen.oversized.store(announced > self.frame_max, Ordering::Release);
            let message = "the server announces a message of a length that is not admitted";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(announced - 4)
    }
}

// === impl Seen ===

impl Seen {
    /// The server is between transactions.
    pub(crate) fn is_idle(&self) -> bool {
        self.status.load(Ordering::Acquire) == b'I'
    }

    /// Transactions are read-only by default, by the server's last word. A server before version 14 says none.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// The connection ended because of a frame over the bound.
    pub(crate) fn is_oversized(&self) -> bool {
        self.oversized.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(chunks: &[&[u8]]) -> (io::Result<()>, Seen) {
        let seen = Seen::default();
        let mut frames = Frames::new(100);
        let result = chunks.iter().try_for_each(|chunk| frames.take(chunk, &seen));
        (result, seen)
    }

    #[test]
    fn a_length_over_the_bound_ends_the_stream_before_its_body_comes() {
        for announced in [101u32, 0x7fff_ffff, u32::MAX] {
            let mut bytes = vec![b'D'];
            bytes.extend(announced.to_be_bytes());
            let (result, seen) = frames(&[&bytes]);
            assert!(result.is_err() && seen.is_oversized(), "{announced}");
        }
        let (result, seen) = frames(&[b"D\0\0\0\x03"]);
        assert!(result.is_err() && !seen.is_oversized(), "a length that does not count itself");
    }

    #[test]
    fn what_the_server_says_of_read_only_counts_however_the_bytes_are_cut() {
        let frame = |name: &str, value: &str| {
            let body = format!("{name}\0{value}\0");
            let len = u32::try_from(body.len() + 4).unwrap();
            [&b"S"[..], &len.to_be_bytes(), body.as_bytes()].concat()
        };
        let (name, other) = ("default_transaction_read_only", "default_transaction_read_only_not");
        for (last, expected) in [
            (frame(name, "on"), true),
            (frame(name, "off"), false),
            (frame(other, "on"), false),
            (frame(name, "on\0on"), false),
        ] {
            let bytes = [frame("TimeZone", "UTC"), frame(name, "off"), last].concat();
            for cut in 0..bytes.len() {
                let (left, right) = bytes.split_at(cut);
                let (result, seen) = frames(&[left, right]);
                assert_eq!((result.is_ok(), seen.is_read_only()), (true, expected), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_status_is_that_of_the_last_ready_for_query_however_the_bytes_are_cut() {
        let bytes = b"C\0\0\0\x06ZI1\0\0\0\x04Z\0\0\0\x05TZ\0\0\0\x05I".as_slice();
        for cut in 0..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            let (result, seen) = frames(&[left, right]);
            assert!(result.is_ok() && seen.is_idle(), "cut at {cut}");
        }
        let (_, seen) = frames(&[b"Z\0\0\0\x05I", b"Z\0\0\0\x05", b"E"]);
        assert!(!seen.is_idle());
    }
}
