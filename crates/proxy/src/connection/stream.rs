//! The client's byte stream, whatever carries it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The client's socket, and what was read from it already.
pub(crate) struct ClientStream {
    /// Comes before what the socket has.
    first: Bytes,
    carrier: Carrier,
}

enum Carrier {
    Plain(TcpStream),
    /// Boxed, so that connections without it stay small.
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    /// Without TLS.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        ClientStream { first: Bytes::new(), carrier: Carrier::Plain(stream) }
    }

    /// After a handshake.
    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        ClientStream { first: Bytes::new(), carrier: Carrier::Tls(Box::new(stream)) }
    }

    /// The socket alone: what comes after it was shut down for writing means nothing, so nobody need decrypt it.
    pub(crate) fn into_socket(self) -> TcpStream {
        match self.carrier {
            Carrier::Plain(stream) => stream,
            Carrier::Tls(stream) => stream.into_inner().0,
        }
    }

    /// Puts back what was read, to be read again.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.first = if self.first.is_empty() { bytes } else { [bytes, self.first.clone()].concat().into() };
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let taken = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first.split_to(taken));
            if !this.first.has_remaining() {
                // Gives the memory back.
                this.first = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(stream) => stream.is_write_vectored(),
            Carrier::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Carrier::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }
}
