//! HTTP/1.1: one exchange at a time, and the connection's clock is theirs.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use tokio::time::Instant;

use super::Connection;
use super::clock::{Clock, Cut};
use super::linger::linger;
use super::stream::ClientStream;
use super::tunnel;
use crate::exchange::{refused, serve};
use crate::limits::DRAIN_IDLE_GRACE;
use crate::stop::{Stop, StopWatch};

/// Serves the connection until it ends, one side closes it, or its time is up. Dropping the future closes it.
pub(super) async fn drive(
    connection: &Rc<Connection>,
    clock: Rc<Clock>,
    stop: &mut StopWatch<'_>,
    stream: ClientStream,
) {
    let io = Http1Io { inner: TokioIo::new(stream), clock: Rc::clone(&clock) };
    let (for_requests, their_clock) = (Rc::clone(connection), Rc::clone(&clock));
    let service =
        service_fn(move |request| serve(request, Rc::clone(&for_requests), Rc::clone(&their_clock)));
    let entrance = &connection.entrance;
    let mut http = entrance.http1().serve_connection(io, service);
    let mut drain = Drain::Busy;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut http).poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        while let Some(step) = stop.next(cx) {
            if step == Stop::Killed {
                return Poll::Ready(Err(Cut::Drained));
            }
        }
        if stop.seen() == Stop::Draining && drain.poll_due(cx, &clock).is_ready() {
            Pin::new(&mut http).graceful_shutdown();
            // It may have nothing left to do.
            cx.waker().wake_by_ref();
        }
        clock.poll_deadline(cx, &entrance.listener).map(Err)
    })
    .await;
    let upgraded = clock.take_tunnel();
    match ended {
        Ok(Ok(())) => {
            let parts = http.into_parts();
            let mut client = parts.io.inner.into_inner();
            if let Some(tunnel) = upgraded {
                client.unread(parts.read_buf);
                Box::pin(tunnel::drive(*tunnel, &clock, stop, client)).await;
            } else if clock.is_unread() || !parts.read_buf.is_empty() {
                Box::pin(linger(&clock, stop, client)).await;
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(source = %connection.peer, error = &error as &dyn std::error::Error, "connection ended");
            if error.is_parse() {
                refused(connection, Rc::clone(&clock), &error);
            }
            // An answer that is on its way is not to be reset.
            if error.is_parse() || !clock.is_end_certain() {
                let client = http.into_parts().io.inner.into_inner();
                Box::pin(linger(&clock, stop, client)).await;
            }
        }
        Err(cut) => {
            tracing::debug!(source = %connection.peer, ?cut, "connection closed");
            // The exchange that is dropped with `http` writes it into its log line.
            clock.set_cut(cut);
        }
    }
}

/// How far a connection is with a drain.
enum Drain {
    /// A head is coming, or an exchange is under way. Its answer says that it is the last, unless the answer had begun
    /// before: then the client knows nothing, and may go on.
    Busy,
    /// It may still bring a request: its client may have sent it before it could know.
    Waiting {
        since: Instant,
    },
    Told,
}

impl Drain {
    /// Ready once, when hyper is to be told: when the connection has had no request for a grace.
    fn poll_due(&mut self, cx: &mut Context<'_>, clock: &Clock) -> Poll<()> {
        let since = match self {
            Drain::Told => return Poll::Pending,
            _ if !clock.is_idle() => {
                *self = Drain::Busy;
                return Poll::Pending;
            }
            Drain::Waiting { since } => *since,
            Drain::Busy => Instant::now(),
        };
        *self = Drain::Waiting { since };
        ready!(clock.poll_grace(cx, since, DRAIN_IDLE_GRACE));
        *self = Drain::Told;
        Poll::Ready(())
    }
}

/// Tells the clock when a head begins, and that bytes move.
struct Http1Io {
    inner: TokioIo<ClientStream>,
    clock: Rc<Clock>,
}

impl Http1Io {
    fn written(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(_)) = polled {
            self.clock.moved();
        }
    }
}

impl Read for Http1Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = &polled {
            self.clock.bytes_arrived();
        }
        polled
    }
}

impl Write for Http1Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(&polled);
        polled
    }
}
