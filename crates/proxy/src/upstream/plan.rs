//! What an exchange asks of an upstream beside the request itself, and what it gets.

use std::cell::Cell;
use std::net::SocketAddr;

use agw_config::RetryPolicy;
use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Lease;

/// How a request is sent.
#[derive(Clone, Copy)]
pub(crate) struct SendPlan<'a> {
    /// The route's. Without one only what was never sent is tried again.
    pub(crate) retry: Option<&'a RetryPolicy>,
    /// [`hash_of`](super::hash_of) what the route's hash key says of the request; `None` goes anywhere. It counts only
    /// for clusters with a consistent hash.
    pub(crate) hash: Option<u64>,
    /// No retry begins later. The caller itself drops the future at this time.
    pub(crate) deadline: Instant,
    /// `Host` becomes name and port of the endpoint, as the configuration has them.
    pub(crate) endpoint_host: bool,
    /// The request asks for an upgrade: it goes out on a fresh HTTP/1.1 connection that serves nobody else, and is
    /// not tried again once it was sent. If the response is a 101, `hyper::upgrade::on(response)` gives the
    /// connection's bytes in both directions; the lease counts the connection and is held as long as those are in
    /// use. Only if [`Upstream::can_upgrade`](super::Upstream::can_upgrade).
    pub(crate) upgrade: bool,
    /// Kept up to date while the request is on its way, so that it is right whenever the future is dropped.
    pub(crate) tries: &'a Tries,
}

/// How often a request was tried, and where.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    count: Cell<u32>,
    peer: Cell<Option<SocketAddr>>,
    /// Whether the current try has been given to a connection.
    sent: Cell<bool>,
}

/// A response's head, with the connection that its body comes on.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

impl Tries {
    /// Tries so far: each endpoint that a connection or an answer was wanted of counts once for each time.
    pub(crate) fn count(&self) -> u32 {
        self.count.get()
    }

    /// The endpoint of the last one that was sent.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer.get()
    }

    pub(super) fn begin(&self) {
        self.count.set(self.count.get().saturating_add(1));
    }

    pub(super) fn sent_to(&self, peer: SocketAddr) {
        self.peer.set(Some(peer));
        self.sent.set(true);
    }

    pub(super) fn not_sent(&self) {
        self.sent.set(false);
    }

    pub(super) fn was_sent(&self) -> bool {
        self.sent.get()
    }
}
