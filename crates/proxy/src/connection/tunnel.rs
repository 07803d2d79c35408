//! Bytes both ways after an upgrade.
//!
//! What one side has said is passed on before its end is, and the other side may go on speaking: half-close. Each
//! direction has one buffer, and reads no more while it is full.
//!
//! A stream of HTTP/2 is written by a future of hyper's ([`Writer`]) that takes one buffer at a time and waits for the
//! client's window. The tunnel drives it: so it learns at once of a reset, and a client that takes nothing keeps the
//! stream no longer than its time.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::Instant;

use super::Connection;
use super::clock::Clock;
use super::stream::ClientStream;
use crate::exchange::{Exchange, Tunnel, TunnelEnd, Writer};
use crate::limits::CLOSE_GRACE;
use crate::stop::{Stop, StopWatch};

/// Copies until both sides have ended, one breaks off, nothing comes for too long, or the worker's drain is over.
///
/// # Cancel safety
/// Dropping the future closes both connections.
pub(super) async fn drive(tunnel: Tunnel, clock: &Clock, stop: &mut StopWatch<'_>, client: ClientStream) {
    let Tunnel { exchange, upstream, lease, .. } = tunnel;
    copy(exchange, upstream, client, &mut None, clock, stop).await;
    drop(lease);
}

/// The same for a stream of HTTP/2, whose head has gone out.
///
/// # Cancel safety
/// Dropping the future resets the stream and closes the upstream's connection.
pub(super) async fn drive_stream(tunnel: Tunnel, clock: &Clock, connection: &Connection) {
    let Tunnel { exchange, client: Some(client), mut writer, upstream, lease } = tunnel else { return };
    let client = match client.await {
        Ok(client) => TokioIo::new(client),
        // The client left while its head was on its way; the exchange that is dropped says so.
        Err(error) => {
            return tracing::debug!(error = &error as &dyn std::error::Error, "tunnel not begun");
        }
    };
    let idle_timeout = exchange.idle_timeout();
    let mut stop = StopWatch::new(&connection.entrance.ending);
    let end = copy(exchange, upstream, client, &mut writer, clock, &mut stop).await;
    drop(lease);
    // What the upstream said last still waits for the client's window.
    let grace = if end == TunnelEnd::Closed { idle_timeout } else { CLOSE_GRACE };
    let since = Instant::now();
    poll_fn(
        |cx| if is_writing(&mut writer, cx) { clock.poll_grace(cx, since, grace) } else { Poll::Ready(()) },
    )
    .await;
}

/// Ends, and logs, the exchange; both sides are closed then.
async fn copy(
    exchange: Box<Exchange>,
    upstream: Upgraded,
    client: impl AsyncRead + AsyncWrite + Unpin,
    writer: &mut Option<Writer>,
    clock: &Clock,
    stop: &mut StopWatch<'_>,
) -> TunnelEnd {
    exchange.tunnel_begins();
    let idle_timeout = exchange.idle_timeout();
    let (received, sent) = (Half::default(), Half::default());
    let mut client = Counted { inner: client, from: &received, to: &sent };
    let mut upstream = Counted { inner: TokioIo::new(upstream), from: &sent, to: &received };
    let end = {
        let mut copying = pin!(copy_bidirectional(&mut client, &mut upstream));
        let (mut seen, mut since) = ((0, 0), Instant::now());
        poll_fn(|cx| {
            if let Poll::Ready(ended) = copying.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "upgraded connection broke off");
                }
                return Poll::Ready(exchange.tunnel_closed());
            }
            // It ends when all is said, or because the client is gone.
            if writer.is_some() && !is_writing(writer, cx) && !sent.ended.get() {
                return Poll::Ready(exchange.tunnel_closed());
            }
            while let Some(step) = stop.next(cx) {
                if step == Stop::Killed {
                    return Poll::Ready(TunnelEnd::Drained);
                }
            }
            let passed = (received.bytes.get(), sent.bytes.get());
            if passed != seen {
                (seen, since) = (passed, Instant::now());
            }
            clock.poll_grace(cx, since, idle_timeout).map(|()| TunnelEnd::Idle)
        })
        .await
    };
    exchange.tunnel_ended(received.bytes.get(), sent.bytes.get(), end);
    end
}

/// Drives the writer; whether it has more to do.
fn is_writing(writer: &mut Option<Writer>, cx: &mut Context<'_>) -> bool {
    if writer.as_mut().is_some_and(|writer| writer.as_mut().poll(cx).is_ready()) {
        *writer = None;
    }
    writer.is_some()
}

/// What one side says to the other.
#[derive(Default)]
struct Half {
    bytes: Cell<u64>,
    /// The other side has been told that this is all.
    ended: Cell<bool>,
}

/// One side, and what goes from and to it.
struct Counted<'a, T> {
    inner: T,
    from: &'a Half,
    to: &'a Half,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        let bytes = buf.filled().len().saturating_sub(before);
        this.from.bytes.set(this.from.bytes.get().saturating_add(bytes as u64));
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
        let this = self.get_mut();
        this.to.ended.set(true);
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
