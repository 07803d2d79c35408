//! HTTP/2: each stream is a task with a clock of its own.
//!
//! The streams' tasks are the worker's, as connections are, so that a drain waits for them. They end with their
//! connection: when it is dropped, h2 tells each of them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Connection;
use super::clock::{Clock, Cut};
use super::flood::{FloodMeter, FrameScanner};
use super::stream::ClientStream;
use super::tunnel;
use crate::exchange::serve;
use crate::limits::CLOSE_GRACE;
use crate::stop::{Stop, StopWatch};

/// Serves the connection until it ends, one side closes it, or its time is up. Dropping the future closes it and ends
/// its streams.
pub(super) async fn drive(
    connection: &Rc<Connection>,
    clock: Rc<Clock>,
    stop: &mut StopWatch<'_>,
    stream: ClientStream,
) {
    let listener = &connection.entrance.listener;
    let streams = Rc::new(Streams {
        connection: Rc::clone(connection),
        open: Cell::new(0),
        clock,
        next: RefCell::new(None),
        driver: RefCell::new(None),
        meter: FloodMeter::new(listener.http2.resets_max),
    });
    streams.clock.exchange_ends(Instant::now());
    let io = Http2Io { inner: stream, streams: Rc::clone(&streams), scanner: FrameScanner::new() };
    let for_requests = Rc::clone(&streams);
    let service = service_fn(move |request| {
        let clock = for_requests.begin();
        serve(request, Rc::clone(&for_requests.connection), clock)
    });
    let executor = StreamExecutor(Rc::clone(&streams));
    let http = connection.entrance.http2(executor).serve_connection(TokioIo::new(io), service);
    let mut http = pin!(http);
    let mut closing_since = None;
    let mut told = false;
    let ended = poll_fn(|cx| {
        streams.driven_by(cx);
        if let Poll::Ready(ended) = http.as_mut().poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        while let Some(step) = stop.next(cx) {
            if step == Stop::Killed {
                return Poll::Ready(Err(Cut::Drained));
            }
        }
        if stop.seen() == Stop::Draining && !told {
            told = true;
            http.as_mut().graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        if let Some(since) = closing_since {
            // A client that does not answer the farewell has nothing to wait for.
            if streams.open.get() > 0 {
                return Poll::Pending;
            }
            return streams.clock.poll_grace(cx, since, CLOSE_GRACE).map(|()| Err(Cut::Idle));
        }
        if streams.clock.poll_deadline(cx, listener).is_ready() {
            closing_since = Some(Instant::now());
            http.as_mut().graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(source = %connection.peer, error = &error as &dyn std::error::Error, "connection ended");
        }
        Err(cut) => {
            tracing::debug!(source = %connection.peer, ?cut, "connection closed");
            // The exchanges that end with `http` write it into their log lines.
            connection.cut.set(Some(cut));
        }
    }
}

/// What the streams of one connection share.
pub(crate) struct Streams {
    connection: Rc<Connection>,
    open: Cell<usize>,
    /// Runs while no stream is open.
    clock: Rc<Clock>,
    /// Of the stream whose task is spawned next: hyper calls the service and spawns what it returned in one go.
    next: RefCell<Option<Rc<Clock>>>,
    /// Wakes the connection's task.
    driver: RefCell<Option<Waker>>,
    meter: FloodMeter,
}

impl Streams {
    /// The clock of a stream that begins.
    fn begin(&self) -> Rc<Clock> {
        let clock = Rc::new(Clock::new(Instant::now(), &self.connection.entrance.listener));
        *self.next.borrow_mut() = Some(Rc::clone(&clock));
        clock
    }

    fn driven_by(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    fn wake_driver(&self) {
        let driver = self.driver.borrow().clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Counts a stream as open for as long as its task lives.
struct OpenStream(Rc<Streams>);

impl OpenStream {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        streams.clock.exchange_begins();
        OpenStream(Rc::clone(streams))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let open = self.0.open.get().saturating_sub(1);
        self.0.open.set(open);
        if open == 0 {
            self.0.clock.exchange_ends(Instant::now());
            // Its timer has to be set.
            self.0.wake_driver();
        }
    }
}

/// Spawns streams; what writes a tunnel goes to its stream.
#[derive(Clone)]
pub(crate) struct StreamExecutor(Rc<Streams>);

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        let Some(clock) = self.0.next.borrow_mut().take() else {
            if let Some(clock) = self.0.connection.upgrading.take() {
                clock.set_writer(Box::pin(stream));
            }
            return;
        };
        let open = OpenStream::new(&self.0);
        self.0.connection.worker.spawn(run(stream, clock, open));
    }
}

/// Drives one stream to its end, or resets it when its response should have been out. One that became a tunnel ends
/// with it.
async fn run(stream: impl Future<Output = ()>, clock: Rc<Clock>, open: OpenStream) {
    let streams = &open.0;
    {
        let mut stream = pin!(stream);
        poll_fn(|cx| match stream.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => clock.poll_sent(cx).map(|cut| clock.set_cut(cut)),
        })
        .await;
    }
    if let Some(tunnel) = clock.take_tunnel() {
        return Box::pin(tunnel::drive_stream(*tunnel, &clock, &streams.connection)).await;
    }
    if !clock.is_answered() && streams.connection.cut.get().is_none() {
        streams.meter.stream_was_reset();
        if streams.meter.is_exceeded() {
            streams.wake_driver();
        }
    }
}

/// Watches the frames that come in, and ends the connection at a flood.
struct Http2Io {
    inner: ClientStream,
    streams: Rc<Streams>,
    scanner: FrameScanner,
}

impl AsyncRead for Http2Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.scanner.scan(buf.filled().get(before..).unwrap_or_default(), &this.streams.meter);
        if this.streams.meter.is_exceeded() {
            tracing::debug!(source = %this.streams.connection.peer, "HTTP/2 flood: connection closed");
            // A last word, if there is room for it.
            let _ = Pin::new(&mut this.inner).poll_write(cx, &this.scanner.goaway());
            let _ = Pin::new(&mut this.inner).poll_flush(cx);
            return Poll::Ready(Err(io::Error::other("HTTP/2 flood")));
        }
        polled
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
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
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
