//! HTTP/2 to an endpoint: connections that several requests share.
//!
//! hyper opens no more streams than the peer allows, but would queue the rest without bound; so a connection is only
//! given as many requests as it may have streams. One whose peer said GOAWAY takes no new requests: hyper gives them
//! back unsent. A reset of a stream concerns that stream only.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use http::header::HOST;
use http::uri::{Authority, Parts, Scheme};
use http::{HeaderValue, Request, Uri};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::circuit::OpenConnection;
use super::connect::ConnectError;
use super::pool::Link;
use crate::body::RequestBody;
use crate::limits::{
    HTTP2_CONNECTION_WINDOW, HTTP2_HEADER_BYTES_MAX, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT,
    HTTP2_SEND_BUFFER_BYTES, HTTP2_STREAM_WINDOW, HTTP2_STREAMS_MAX,
};

/// One connection. Its tasks end when nobody holds it any more.
pub(super) struct Http2Connection {
    sender: SendRequest<RequestBody>,
    https: bool,
    /// Requests that it was given and that have not ended.
    streams: Cell<usize>,
    /// What the peer allowed when a request was last sent.
    streams_max: Rc<Cell<usize>>,
    idle_since: Cell<Instant>,
    cancel: CancellationToken,
    _open: Rc<Option<OpenConnection>>,
}

/// A request's share of a connection.
pub(super) struct Http2Stream {
    connection: Rc<Http2Connection>,
}

/// An endpoint's connections.
pub(super) struct Http2Pool {
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    /// Whether the next connection is expected to be HTTP/2.
    expected: Cell<bool>,
    connecting: Cell<bool>,
    /// Moves when a connection could not be made.
    failures: Cell<u64>,
    connected: Notify,
}

/// The right to make a connection, while others wait for it.
pub(super) struct Connecting<'a>(&'a Http2Pool);

// === impl Http2Connection ===

impl Http2Connection {
    /// Makes the stream a connection, driven by tasks among `tasks`.
    pub(super) async fn establish<T>(
        stream: T,
        https: bool,
        open: Rc<Option<OpenConnection>>,
        tasks: &TaskTracker,
    ) -> Result<Link, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let cancel = CancellationToken::new();
        let executor = Executor { tasks: tasks.clone(), cancel: cancel.clone() };
        let (sender, connection) = Builder::new(executor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
            .max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Handshake)?;
        let streams_max = Rc::new(Cell::new(HTTP2_STREAMS_MAX));
        let told = Rc::clone(&streams_max);
        let (stopped, held) = (cancel.clone(), Rc::clone(&open));
        tasks.spawn_local(async move {
            let mut connection = pin!(connection);
            let driven = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                told.set(connection.current_max_send_streams().min(HTTP2_STREAMS_MAX));
                polled
            });
            if let Some(Err(error)) = stopped.run_until_cancelled(driven).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
            }
            drop(held);
        });
        let connection = Http2Connection {
            sender,
            https,
            streams: Cell::new(0),
            streams_max,
            idle_since: Cell::new(Instant::now()),
            cancel,
            _open: open,
        };
        Ok(Link::Http2(Http2Stream::open(&Rc::new(connection))))
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.streams_max.get() && !self.sender.is_closed()
    }
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

// === impl Http2Stream ===

impl Http2Stream {
    fn open(connection: &Rc<Http2Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Http2Stream { connection: Rc::clone(connection) }
    }

    /// A handle to send one request with.
    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.connection.sender.clone()
    }

    pub(super) fn is_https(&self) -> bool {
        self.connection.https
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let streams = self.connection.streams.get().saturating_sub(1);
        self.connection.streams.set(streams);
        if streams == 0 {
            self.connection.idle_since.set(Instant::now());
        }
    }
}

// === impl Http2Pool ===

impl Http2Pool {
    pub(super) fn new(expected: bool) -> Self {
        Http2Pool {
            connections: RefCell::default(),
            expected: Cell::new(expected),
            connecting: Cell::new(false),
            failures: Cell::new(0),
            connected: Notify::new(),
        }
    }

    pub(super) fn is_expected(&self) -> bool {
        self.expected.get()
    }

    /// A stream of a connection that has room for one.
    pub(super) fn take(&self) -> Option<Http2Stream> {
        let connections = self.connections.borrow();
        connections.iter().find(|connection| connection.has_room()).map(Http2Stream::open)
    }

    /// What was just made: HTTP/2, so that others share it, or not.
    pub(super) fn learn(&self, link: &Link) {
        self.expected.set(matches!(link, Link::Http2(_)));
        if let Link::Http2(stream) = link {
            let mut connections = self.connections.borrow_mut();
            connections.retain(|connection| !connection.sender.is_closed());
            connections.push(Rc::clone(&stream.connection));
        }
    }

    /// Forgets connections that are closed, and of those without streams the ones that `is_over` names, given since
    /// when they are idle, and those beyond `idle_max`. The others end with their last stream.
    pub(super) fn tidy(&self, idle_max: usize, is_over: impl Fn(Instant) -> bool) {
        let mut idle = 0;
        self.connections.borrow_mut().retain(|connection| {
            if connection.sender.is_closed() {
                return false;
            }
            if connection.streams.get() > 0 {
                return true;
            }
            idle += 1;
            idle <= idle_max && !is_over(connection.idle_since.get())
        });
    }

    /// Forgets one connection that has no streams. Returns whether there was one.
    pub(super) fn close_one_idle(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        let found = connections.iter().position(|connection| connection.streams.get() == 0);
        found.map(|index| connections.swap_remove(index)).is_some()
    }

    /// Forgets all; those with streams end with their last one.
    pub(super) fn clear(&self) {
        self.connections.borrow_mut().clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// The right to make a connection, if nobody has it.
    pub(super) fn begin(&self) -> Option<Connecting<'_>> {
        (!self.connecting.replace(true)).then(|| Connecting(self))
    }

    /// Waits for whoever has that right. Returns whether there is hope for a connection.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn join(&self) -> bool {
        let failures = self.failures.get();
        self.connected.notified().await;
        failures == self.failures.get()
    }
}

impl Connecting<'_> {
    pub(super) fn failed(&self) {
        self.0.failures.set(self.0.failures.get().wrapping_add(1));
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.connected.notify_waiters();
    }
}

// === requests ===

/// The request as HTTP/2 has it: scheme and authority in the target, not in `Host`. A `Host` that is no authority
/// stays what it is.
pub(super) fn to_http2(mut request: Request<RequestBody>, https: bool) -> Request<RequestBody> {
    let authority = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = authority else { return request };
    let mut parts = Parts::default();
    parts.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = request.uri().path_and_query().cloned().or_else(|| "/".parse().ok());
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        request.headers_mut().remove(HOST);
    }
    request
}

/// Undoes [`to_http2`].
pub(super) fn restore(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let Some(host) = host else { return request };
    request.headers_mut().insert(HOST, host);
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    request
}

/// Whether the peer said that it has not looked at the request: the stream was refused, or came after the last one
/// that it would serve.
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Spawns hyper's tasks beside the connection's own.
#[derive(Clone)]
struct Executor {
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let cancel = self.cancel.clone();
        self.tasks.spawn_local(async move {
            cancel.run_until_cancelled(future).await;
        });
    }
}
