//! A socket with its two buffers: what is to be written, and what has been read and not yet used.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Least room for a read.
const READ_BYTES_MIN: usize = 16 * 1024;
/// Most room made for one read, however long a reply is announced to be.
const READ_BYTES_MAX: usize = 256 * 1024;
/// An idle buffer larger than this is given back to the allocator.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Anything that bytes go through: TCP, TLS, or a test's duplex.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A socket with its buffers. Dropping it closes the socket.
pub(crate) struct Pipe {
    socket: Box<dyn Io>,
    /// Bytes to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Everything written so far, over the connection's life.
    written_total: u64,
    /// The last write has not been flushed: TLS may hold a record back.
    unflushed: bool,
    /// Read and not yet used.
    pub(crate) input: BytesMut,
}

// === impl Pipe ===

impl Pipe {
    pub(crate) fn new(socket: Box<dyn Io>) -> Self {
        let input = BytesMut::with_capacity(READ_BYTES_MIN);
        Pipe { socket, out: Vec::new(), written: 0, written_total: 0, unflushed: false, input }
    }

    /// How many bytes wait to be written.
    pub(crate) fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// The bytes that wait to be written.
    pub(crate) fn unwritten_bytes(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// Bytes written so far, over the connection's life.
    pub(crate) fn written_total(&self) -> u64 {
        self.written_total
    }

    /// Queues bytes behind those that wait already.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes what waits. Ready once everything is out.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.written_total += count as u64;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.written = 0;
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES_MAX {
            self.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what is there into `input`; `missing` says how much is known to come.
    ///
    /// `AsyncReadExt::read_buf` keeps no state between polls, so that making it anew for each is right.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side has closed.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, missing: usize) -> Poll<io::Result<()>> {
        if self.input.is_empty() && self.input.capacity() > KEPT_BYTES_MAX {
            self.input = BytesMut::new();
        }
        // Not below a quarter: answers are slices of this buffer, and a new one is made once it is used up.
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN / 4 || missing > READ_BYTES_MIN {
            self.input.reserve(missing.clamp(READ_BYTES_MIN, READ_BYTES_MAX));
        }
        let read = std::pin::pin!(self.socket.read_buf(&mut self.input)).poll(cx);
        match ready!(read)? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}
