//! One client connection: hyper drives HTTP, this watches the clock.
//!
//! hyper's own header timeout also runs while a connection is idle, and costs a timer per request. So the clock is kept
//! here, with one timer per connection that moves only when it must: a connection is idle, sends a head, is in an
//! exchange, or receives a response, and each has its own deadline.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use agw_config::Listener;
use http::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::{refused, serve};
use crate::head;
use crate::limits::{BODY_BUFFER_BYTES, FAR_FUTURE, HEADERS_DEFAULT, READ_BUFFER_BYTES_MIN};
use crate::worker::{Stop, Worker};

/// A listener as its connections need it.
pub(crate) struct Entrance {
    pub(crate) name: Arc<str>,
    pub(crate) listener: Arc<Listener>,
    http: http1::Builder,
}

/// What the exchanges of one connection share.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) entrance: Rc<Entrance>,
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// The peer, as `x-forwarded-for` names it.
    pub(crate) forwarded_for: HeaderValue,
    timer: Timer,
    phase: Cell<Phase>,
    /// Why the gateway closes it, once it does.
    cut: Cell<Option<Cut>>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No byte of a request has come.
    Idle { since: Instant },
    /// A head has begun.
    Head { since: Instant },
    /// A request is being served; its exchange watches the deadline.
    Exchange,
    /// A response is going out, and must be out by then.
    Sending { deadline: Instant },
}

/// Why the gateway closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Idle,
    SlowHead,
    ResponseTimeout,
    Drained,
}

/// One timer for one deadline after another; it is moved only when the next is nearer.
struct Timer {
    sleep: RefCell<Pin<Box<Sleep>>>,
    /// The task is registered with it.
    armed: Cell<bool>,
}

// === impl Entrance ===

impl Entrance {
    pub(crate) fn new(listener: Arc<Listener>) -> Self {
        let mut http = http1::Builder::new();
        http.half_close(false)
            .header_read_timeout(None)
            .max_header_size(listener.header_bytes_max)
            .max_buf_size(
                READ_BUFFER_BYTES_MIN.max(listener.header_bytes_max.saturating_add(BODY_BUFFER_BYTES)),
            );
        if listener.headers_max != HEADERS_DEFAULT {
            http.max_headers(listener.headers_max);
        }
        Entrance { name: listener.name.as_str().into(), listener, http }
    }
}

// === impl Connection ===

/// Serves the connection until it ends, one side closes it, or its time is up. Dropping the future closes it.
pub(crate) async fn drive(worker: Rc<Worker>, entrance: Rc<Entrance>, stream: TcpStream, peer: SocketAddr) {
    let local = stream.local_addr().unwrap_or(entrance.listener.address);
    let connection = Rc::new(Connection::new(worker, entrance, peer, local));
    let io = ClientIo { inner: TokioIo::new(stream), connection: Rc::clone(&connection) };
    let for_requests = Rc::clone(&connection);
    let service = service_fn(move |request| serve(request, Rc::clone(&for_requests)));
    let mut http = pin!(connection.entrance.http.serve_connection(io, service));
    let worker = &connection.worker;
    let mut seen = Stop::Running;
    let mut stopped = pin!(worker.stop_changed());
    let mut waiting = false;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = http.as_mut().poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        while !waiting || worker.stop() != seen {
            waiting = true;
            if worker.stop() == Stop::Killed {
                return Poll::Ready(Err(Cut::Drained));
            }
            if worker.stop() == Stop::Draining && seen == Stop::Running {
                http.as_mut().graceful_shutdown();
                // It may have nothing left to do.
                cx.waker().wake_by_ref();
            }
            seen = worker.stop();
            // Registers for the next change; one that has come meanwhile shows in the loop's condition.
            if stopped.as_mut().poll(cx).is_ready() {
                stopped.set(worker.stop_changed());
                waiting = false;
            }
        }
        connection.poll_deadline(cx).map(Err)
    })
    .await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(source = %peer, error = &error as &dyn std::error::Error, "connection ended");
            if error.is_parse() {
                refused(&connection, &error);
            }
        }
        Err(cut) => {
            tracing::debug!(source = %peer, ?cut, "connection closed");
            // The exchange that is dropped with `http` writes it into its log line.
            connection.cut.set(Some(cut));
        }
    }
}

impl Connection {
    fn new(worker: Rc<Worker>, entrance: Rc<Entrance>, peer: SocketAddr, local: SocketAddr) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let now = Instant::now();
        let timer = Timer::new(after(now, entrance.listener.idle_timeout));
        Connection {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            forwarded_for: head::forwarded_for(peer),
            timer,
            phase: Cell::new(Phase::Idle { since: now }),
            cut: Cell::new(None),
            worker,
            entrance,
            peer,
            local,
        }
    }

    /// Why the gateway closed it, if it did.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// A request's head has arrived: from now on its exchange watches the time.
    pub(crate) fn exchange_begins(&self) {
        self.phase.set(Phase::Exchange);
    }

    /// The response's head is going out; the connection is closed if the rest is not out by `deadline`.
    pub(crate) fn response_begins(&self, deadline: Instant) {
        self.phase.set(Phase::Sending { deadline });
    }

    /// The exchange is over.
    pub(crate) fn exchange_ends(&self, now: Instant) {
        self.phase.set(Phase::Idle { since: now });
    }

    /// What the future returns, or nothing if it is not done by `deadline`.
    ///
    /// # Cancel safety
    /// As the future's.
    pub(crate) async fn before<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.timer.poll_until(cx, deadline).map(|()| None),
        })
        .await
    }

    fn bytes_arrived(&self) {
        if let Phase::Idle { .. } = self.phase.get() {
            self.phase.set(Phase::Head { since: Instant::now() });
        }
    }

    fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        let listener = &self.entrance.listener;
        let (deadline, cut) = match self.phase.get() {
            Phase::Exchange => return Poll::Pending,
            Phase::Idle { since } => (after(since, listener.idle_timeout), Cut::Idle),
            Phase::Head { since } => (after(since, listener.header_timeout), Cut::SlowHead),
            Phase::Sending { deadline } => (deadline, Cut::ResponseTimeout),
        };
        self.timer.poll_until(cx, deadline).map(|()| cut)
    }
}

/// `start + duration`, or a year later if that is beyond what the clock can say.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or_else(|| start + FAR_FUTURE)
}

// === impl Timer ===

impl Timer {
    fn new(deadline: Instant) -> Self {
        Timer { sleep: RefCell::new(Box::pin(sleep_until(deadline))), armed: Cell::new(false) }
    }

    /// Ready at `deadline`. Always polled by the connection's task, so a registration holds until it fires.
    fn poll_until(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let mut sleep = self.sleep.borrow_mut();
        if self.armed.get() && sleep.deadline() <= deadline && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            // Out of budget, tokio would answer Pending without registering the task.
            let mut unconstrained = tokio::task::unconstrained(poll_fn(|cx| sleep.as_mut().poll(cx)));
            if Pin::new(&mut unconstrained).poll(cx).is_pending() {
                self.armed.set(true);
                return Poll::Pending;
            }
            self.armed.set(false);
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

// === impl ClientIo ===

/// The client's socket; tells the connection when a head begins.
struct ClientIo {
    inner: TokioIo<TcpStream>,
    connection: Rc<Connection>,
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = &polled {
            self.connection.bytes_arrived();
        }
        polled
    }
}

impl Write for ClientIo {
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
