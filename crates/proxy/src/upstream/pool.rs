//! One endpoint's connections.
//!
//! A connection's task drives it; its owner is either a [`Lease`] or the endpoint's idle list. A lease that is dropped
//! without [`Lease::keep`] ends the connection, and with it the body that may still be going out on it: a connection
//! in mid-protocol never serves anybody else.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use agw_config::Cluster;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connect::{Address, ConnectError};
use crate::body::RequestBody;
use crate::connection::after;

/// One address of a cluster.
pub(crate) struct Endpoint {
    name: String,
    /// The name as `Host`.
    host: HeaderValue,
    target: Address,
    idle_timeout: Duration,
    idle_max: usize,
    /// The one used last is at the end, and is used first: the others can go idle and be closed.
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

/// One connection, whoever owns it. Dropping it ends its task.
pub(crate) struct Link {
    sender: SendRequest<RequestBody>,
    peer: SocketAddr,
    task: AbortHandle,
}

/// A connection that serves one exchange.
pub(crate) struct Lease {
    endpoint: Rc<Endpoint>,
    peer: SocketAddr,
    link: Option<Link>,
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(text: &str, cluster: &Cluster) -> Self {
        Endpoint {
            name: text.to_owned(),
            // The configuration lets nothing else through.
            host: HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("")),
            target: Address::parse(text),
            idle_timeout: cluster.idle_timeout,
            idle_max: cluster.idle_max,
            idle: RefCell::new(Vec::new()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn target(&self) -> &Address {
        &self.target
    }

    /// A kept connection that looks alive. The peer may still close it before the request is written.
    pub(crate) fn take_idle(this: &Rc<Self>) -> Option<Lease> {
        let mut idle = this.idle.borrow_mut();
        loop {
            let link = idle.pop()?.link;
            // One that is not ready has been closed, or still writes a request whose answer came early.
            if link.sender.is_ready() {
                return Some(Lease::new(Rc::clone(this), link));
            }
        }
    }

    /// Closes what was idle for too long, or was closed by the peer.
    pub(crate) fn reap(&self, now: Instant) {
        let timeout = self.idle_timeout;
        self.idle
            .borrow_mut()
            .retain(|idle| !idle.link.sender.is_closed() && now < after(idle.since, timeout));
    }

    /// Ends the tasks of idle connections without telling their senders.
    #[cfg(test)]
    pub(crate) fn end_idle(&self) {
        self.idle.borrow().iter().for_each(|idle| idle.link.task.abort());
    }

    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}

// === impl Link ===

impl Link {
    /// Makes the stream a connection, driven by a task among `tasks`.
    pub(crate) async fn establish(
        stream: TcpStream,
        peer: SocketAddr,
        upgrade: bool,
        tasks: &TaskTracker,
    ) -> Result<Self, ConnectError> {
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(ConnectError::Handshake)?;
        let task = tasks.spawn_local(async move {
            // Whoever waits for a response learns of the error from hyper; an idle connection may just end.
            let ended = if upgrade { connection.with_upgrades().await } else { connection.await };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "upstream connection ended");
            }
        });
        Ok(Link { sender, peer, task: task.abort_handle() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Lease ===

impl Lease {
    pub(crate) fn new(endpoint: Rc<Endpoint>, link: Link) -> Self {
        Lease { endpoint, peer: link.peer, link: Some(link) }
    }

    /// The endpoint's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Name and port of the endpoint.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.endpoint.host
    }

    /// Sends one request.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        // The link leaves only when the lease is consumed.
        let sent = self.link.as_mut().map(|link| link.sender.try_send_request(request));
        async move {
            match sent {
                Some(sent) => sent.await,
                None => std::future::pending().await,
            }
        }
    }

    /// The response has been read to its end: the connection may serve another exchange, if the request's body went
    /// out whole, the peer agrees, and there is room.
    pub(crate) fn keep(mut self) {
        let Some(link) = self.link.take() else { return };
        let mut idle = self.endpoint.idle.borrow_mut();
        if link.sender.is_ready() && idle.len() < self.endpoint.idle_max {
            idle.push(Idle { link, since: Instant::now() });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("peer", &self.peer).finish_non_exhaustive()
    }
}
