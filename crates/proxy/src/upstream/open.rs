//! New connections: within the cluster's limits, to one endpoint after another.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::{Instant, timeout};

use super::circuit::{Limit, OpenConnection};
use super::connect::{ConnectError, connect};
use super::pool::{Endpoint, Lease, Link, Waiting};
use super::state::EndpointState;
use super::{SendError, SendPlan, Upstream};
use crate::limits::CONNECT_ENDPOINTS_MAX;

/// Why one endpoint gave no connection.
enum OpenError {
    Overflow(Limit),
    Connect(ConnectError),
}

/// A place for a connection, or a connection that became idle while one was waited for.
enum Placed {
    Place(OpenConnection),
    Lease(Lease),
}

/// Counts a worker's request while it waits.
struct Waits<'a>(&'a Waiting);

impl Upstream {
    /// A new connection to `endpoint`, or to the next endpoint that can be reached.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was under way.
    pub(super) async fn open(
        &self,
        mut endpoint: Rc<Endpoint>,
        plan: SendPlan<'_>,
        fresh: bool,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Lease, SendError> {
        let before = tried.len();
        loop {
            plan.tries.begin();
            let last = match self.open_to(&endpoint, plan.upgrade, fresh).await {
                Ok(lease) => return Ok(lease),
                Err(OpenError::Overflow(limit)) => return Err(self.overflow(limit)),
                Err(OpenError::Connect(error)) => error,
            };
            self.stats.connect_failures.inc();
            self.complain(&endpoint.state, &last);
            self.connect_failed(&endpoint.state);
            tried.push(endpoint.state.address);
            let failed = tried.get(before..).unwrap_or_default();
            let next = self.endpoints.pick(plan.hash, tried, failed);
            endpoint = match next.filter(|_| failed.len() < CONNECT_ENDPOINTS_MAX) {
                Some(next) => next,
                None => return Err(self.unreachable(last)),
            };
        }
    }

    /// As [`Upstream::open`], when the cluster's names have been asked for.
    pub(super) async fn open_when_resolved(
        &self,
        plan: SendPlan<'_>,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Lease, SendError> {
        let mut members = self.state.watch_members();
        let known = members.wait_for(|members| members.settled || !members.endpoints.is_empty());
        if timeout(self.state.cluster.connect_timeout, known).await.is_err() {
            plan.tries.begin();
            return Err(self.unreachable(ConnectError::Timeout));
        }
        self.endpoints.refresh();
        match self.endpoints.pick(plan.hash, tried, &[]) {
            Some(endpoint) => self.open(endpoint, plan, false, tried).await,
            None => {
                plan.tries.begin();
                Err(self.unreachable(ConnectError::NoEndpoint))
            }
        }
    }

    /// Says why there is no connection, at a pace that a dead endpoint under load does not set.
    fn complain(&self, endpoint: &EndpointState, error: &ConnectError) {
        // Whoever made the connection that this request waited for has its cause.
        if !matches!(error, ConnectError::Joined) && endpoint.may_complain(Instant::now()) {
            tracing::warn!(cluster.name = %self.state.cluster.name, endpoint = %endpoint.name,
                error = error as &dyn std::error::Error, "endpoint cannot be reached");
        }
    }

    fn unreachable(&self, last: ConnectError) -> SendError {
        SendError::Connect { cluster: self.state.cluster.name.clone(), last }
    }

    async fn open_to(&self, endpoint: &Rc<Endpoint>, upgrade: bool, fresh: bool) -> Result<Lease, OpenError> {
        let pool = &endpoint.http2;
        // What one request connects for, the others share.
        while pool.is_expected() && !upgrade {
            let Some(connecting) = pool.begin() else {
                if !pool.join().await {
                    return Err(OpenError::Connect(ConnectError::Joined));
                }
                if let Some(lease) = endpoint.take() {
                    return Ok(lease);
                }
                continue;
            };
            let made = self.make(endpoint, upgrade, fresh).await;
            if let Err(OpenError::Connect(_)) = made {
                connecting.failed();
            }
            return made;
        }
        self.make(endpoint, upgrade, fresh).await
    }

    async fn make(&self, endpoint: &Rc<Endpoint>, upgrade: bool, fresh: bool) -> Result<Lease, OpenError> {
        let place = match self.place(endpoint, !upgrade && !fresh).await.map_err(OpenError::Overflow)? {
            Placed::Place(place) => place,
            Placed::Lease(lease) => return Ok(lease),
        };
        let connecting = connect(&self.state, &endpoint.state, upgrade, Some(place), &self.tasks);
        let link: Link = match timeout(self.state.cluster.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(OpenError::Connect)?,
            Err(_) => return Err(OpenError::Connect(ConnectError::Timeout)),
        };
        if !upgrade {
            endpoint.http2.learn(&link);
        }
        Ok(Lease::new(Rc::clone(endpoint), link))
    }

    /// A place for one more connection. At the bound an idle connection makes way; if all are in use, it waits.
    async fn place(&self, endpoint: &Rc<Endpoint>, kept_will_do: bool) -> Result<Placed, Limit> {
        let (circuit, gauge) = (&self.state.circuit, &self.stats.connections);
        if let Some(place) = circuit.try_connection(gauge) {
            return Ok(Placed::Place(place));
        }
        let _pending = circuit.pending(&self.stats.pending)?;
        let waiting = &self.endpoints.waiting;
        let _waits = Waits::new(waiting);
        loop {
            if kept_will_do && let Some(lease) = endpoint.take() {
                return Ok(Placed::Lease(lease));
            }
            // Its socket is closed in this turn or the next, and its place is ours then.
            self.endpoints.close_one_idle();
            tokio::select! {
                biased;
                place = circuit.connection(gauge) => if let Some(place) = place {
                    return Ok(Placed::Place(place));
                },
                () = waiting.released.notified() => {}
            }
        }
    }
}

impl<'a> Waits<'a> {
    fn new(waiting: &'a Waiting) -> Self {
        waiting.requests.set(waiting.requests.get() + 1);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
    }
}
