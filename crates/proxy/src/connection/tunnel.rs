//! Bytes both ways after an upgrade.
//!
//! What one side has said is passed on before its end is, and the other side may go on speaking: half-close. Each
//! direction has one buffer, and reads no more while it is full.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::Instant;

use super::clock::Clock;
use super::stream::ClientStream;
use crate::exchange::{Tunnel, TunnelEnd};
use crate::stop::{Stop, StopWatch};

/// Copies until both sides have ended, one breaks off, nothing comes for too long, or the worker's drain is over.
///
/// # Cancel safety
/// Dropping the future closes both connections.
pub(super) async fn drive(tunnel: Tunnel, clock: &Clock, stop: &mut StopWatch<'_>, client: ClientStream) {
    let Tunnel { exchange, upstream, lease } = tunnel;
    exchange.tunnel_begins();
    let idle_timeout = exchange.idle_timeout();
    let (received, sent) = (Cell::new(0), Cell::new(0));
    let mut client = Counted { inner: client, read: &received };
    let mut upstream = Counted { inner: TokioIo::new(upstream), read: &sent };
    let end = {
        let mut copying = pin!(copy_bidirectional(&mut client, &mut upstream));
        let (mut seen, mut since) = ((0, 0), Instant::now());
        poll_fn(|cx| {
            if let Poll::Ready(ended) = copying.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "upgraded connection broke off");
                }
                return Poll::Ready(TunnelEnd::Closed);
            }
            while let Some(step) = stop.next(cx) {
                if step == Stop::Killed {
                    return Poll::Ready(TunnelEnd::Drained);
                }
            }
            let passed = (received.get(), sent.get());
            if passed != seen {
                (seen, since) = (passed, Instant::now());
            }
            clock.poll_grace(cx, since, idle_timeout).map(|()| TunnelEnd::Idle)
        })
        .await
    };
    exchange.tunnel_ended(received.get(), sent.get(), end);
    drop((client, upstream, lease));
}

/// Counts what is read.
struct Counted<'a, T> {
    inner: T,
    read: &'a Cell<u64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        let bytes = buf.filled().len().saturating_sub(before);
        this.read.set(this.read.get().saturating_add(bytes as u64));
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<'_, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
