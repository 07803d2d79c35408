//! One endpoint's connections on one worker.
//!
//! A connection's task drives it; its owner is either a [`Lease`] or the endpoint. A lease of an HTTP/1.1 connection
//! that is dropped without [`Lease::keep`] ends it, and with it the body that may still be going out: a connection in
//! mid-protocol never serves anybody else. A lease of an HTTP/2 connection is one stream, which ends alone.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agw_config::{Balance, UpstreamProtocol};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::circuit::OpenConnection;
use super::connect::ConnectError;
use super::http2::{Http2Pool, Http2Stream, to_http2};
use super::state::{ClusterState, EndpointState};
use crate::body::RequestBody;
use crate::connection::after;

/// One endpoint on one worker.
pub(super) struct Endpoint {
    pub(super) state: Arc<EndpointState>,
    pub(super) http2: Http2Pool,
    cluster: Arc<ClusterState>,
    /// The name as `Host`.
    host: HeaderValue,
    waiting: Rc<Waiting>,
    /// It is no longer one of the cluster's: its connections end with the requests that use them.
    retired: Cell<bool>,
    counts_active: bool,
    /// The one used last is at the end, and is used first: the others can go idle and be closed.
    idle: RefCell<Vec<Idle>>,
}

/// A worker's requests that wait for a connection.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) requests: Cell<usize>,
    /// A connection of this worker has become idle.
    pub(super) released: Notify,
}

struct Idle {
    link: Http1,
    since: Instant,
}

/// A connection, or a part of one, that serves one exchange.
pub(super) enum Link {
    Http1(Http1),
    Http2(Http2Stream),
}

/// One HTTP/1.1 connection, whoever owns it. Dropping it ends its task.
pub(super) struct Http1 {
    sender: SendRequest<RequestBody>,
    task: AbortHandle,
    /// Held here too, because the socket outlives the task after an upgrade.
    _open: Rc<Option<OpenConnection>>,
}

/// What comes of a request that was sent; with the request itself if it was not.
type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A connection that serves one exchange, and the exchange's place among the cluster's requests.
pub(crate) struct Lease {
    endpoint: Rc<Endpoint>,
    link: Option<Link>,
    holds_place: bool,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(
        state: &Arc<EndpointState>,
        cluster: &Arc<ClusterState>,
        waiting: &Rc<Waiting>,
    ) -> Self {
        Endpoint {
            state: Arc::clone(state),
            http2: Http2Pool::new(cluster.cluster.protocol != UpstreamProtocol::Http1),
            cluster: Arc::clone(cluster),
            // The configuration lets nothing else through.
            host: HeaderValue::from_str(&state.name).unwrap_or_else(|_| HeaderValue::from_static("")),
            waiting: Rc::clone(waiting),
            retired: Cell::new(false),
            counts_active: cluster.cluster.balance == Balance::LeastRequest,
            idle: RefCell::new(Vec::new()),
        }
    }

    /// A kept connection that looks alive. The peer may still close it before the request is written.
    pub(super) fn take(self: &Rc<Self>) -> Option<Lease> {
        if let Some(link) = self.take_idle() {
            return Some(Lease::new(Rc::clone(self), Link::Http1(link)));
        }
        if self.cluster.cluster.protocol == UpstreamProtocol::Http1 {
            return None;
        }
        let stream = self.http2.take()?;
        Some(Lease::new(Rc::clone(self), Link::Http2(stream)))
    }

    fn take_idle(&self) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let link = idle.pop()?.link;
            // One that is not ready has been closed, or still writes a request whose answer came early.
            if link.sender.is_ready() {
                return Some(link);
            }
        }
    }

    /// Closes what was idle for too long, or was closed by the peer.
    pub(super) fn reap(&self, now: Instant) {
        let timeout = self.cluster.cluster.idle_timeout;
        let is_over = |since| now >= after(since, timeout);
        self.idle.borrow_mut().retain(|idle| !idle.link.sender.is_closed() && !is_over(idle.since));
        self.http2.tidy(self.cluster.cluster.idle_max, is_over);
    }

    /// Closes one idle connection, for another to take its place. Returns whether there was one.
    pub(super) fn close_one_idle(&self) -> bool {
        self.idle.borrow_mut().pop().is_some() || self.http2.close_one_idle()
    }

    /// Closes idle connections; those in use are closed when they are released.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.http2.clear();
    }

    fn release(&self, link: Http1) {
        if self.retired.get() || !link.sender.is_ready() {
            return;
        }
        if self.cluster.circuit.is_anyone_waiting() {
            // If it is another worker's request that waits, it needs the place and not the connection.
            if self.waiting.requests.get() == 0 {
                return;
            }
            self.waiting.released.notify_one();
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.cluster.cluster.idle_max {
            idle.push(Idle { link, since: Instant::now() });
        }
    }

    fn release_stream(&self, stream: Http2Stream) {
        drop(stream);
        self.http2.tidy(self.cluster.cluster.idle_max, |_| false);
        if self.retired.get() {
            self.http2.clear();
        }
        if self.waiting.requests.get() > 0 {
            self.waiting.released.notify_one();
        }
    }

    /// Ends the tasks of idle connections without telling their senders.
    #[cfg(test)]
    pub(super) fn end_idle(&self) {
        self.idle.borrow().iter().for_each(|idle| idle.link.task.abort());
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}

// === impl Link ===

impl Link {
    /// Sends one request.
    pub(super) async fn send(&mut self, request: Box<Request<RequestBody>>) -> Answered {
        match self {
            Link::Http1(link) => link.sender.try_send_request(*request).await,
            Link::Http2(stream) => {
                let request = to_http2(*request, stream.is_https());
                Box::pin(stream.sender().try_send_request(request)).await
            }
        }
    }
}

// === impl Http1 ===

impl Http1 {
    /// Makes the stream a connection, driven by a task among `tasks`.
    pub(super) async fn establish<T>(
        stream: T,
        upgrade: bool,
        open: Rc<Option<OpenConnection>>,
        tasks: &TaskTracker,
    ) -> Result<Link, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(ConnectError::Handshake)?;
        let held = Rc::clone(&open);
        let task = tasks.spawn_local(async move {
            // Whoever waits for a response learns of the error from hyper; an idle connection may just end.
            let ended = if upgrade { connection.with_upgrades().await } else { connection.await };
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
            }
            drop(held);
        });
        Ok(Link::Http1(Http1 { sender, task: task.abort_handle(), _open: open }))
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Lease ===

impl Lease {
    pub(super) fn new(endpoint: Rc<Endpoint>, link: Link) -> Self {
        if endpoint.counts_active {
            endpoint.state.active.fetch_add(1, Ordering::Relaxed);
        }
        Lease { endpoint, link: Some(link), holds_place: false }
    }

    /// The endpoint's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.endpoint.state.address
    }

    /// Name and port of the endpoint.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.endpoint.host
    }

    pub(super) fn state(&self) -> &Arc<EndpointState> {
        &self.endpoint.state
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.link, Some(Link::Http2(_)))
    }

    /// From now on it has a place among the cluster's requests, until it is dropped.
    pub(super) fn hold_place(&mut self) {
        self.holds_place = true;
    }

    /// Sends one request.
    pub(super) async fn send(&mut self, request: Box<Request<RequestBody>>) -> Answered {
        match &mut self.link {
            Some(link) => link.send(request).await,
            // The link leaves only when the lease is consumed.
            None => std::future::pending().await,
        }
    }

    /// The response has been read to its end: the connection may serve another exchange, if the request's body went
    /// out whole, the peer agrees, and there is room.
    pub(crate) fn keep(mut self) {
        if let Some(Link::Http1(_)) = self.link
            && let Some(Link::Http1(link)) = self.link.take()
        {
            self.endpoint.release(link);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.endpoint.counts_active {
            self.endpoint.state.active.fetch_sub(1, Ordering::Relaxed);
        }
        if self.holds_place {
            self.endpoint.cluster.circuit.request_ends();
        }
        if let Some(Link::Http2(stream)) = self.link.take_if(|link| matches!(link, Link::Http2(_))) {
            self.endpoint.release_stream(stream);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("peer", &self.peer()).finish_non_exhaustive()
    }
}
