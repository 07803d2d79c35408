//! Connections to a cluster's endpoints: one set per worker, one state ([`ClusterState`]) for all workers.
//!
//! A request is given an endpoint by the cluster's balance, among those that are healthy. A kept connection is used
//! before a new one is made; an endpoint that cannot be connected to passes the request to another. A request that was
//! handed to a connection but never written, because the peer had closed it, goes to another connection with its
//! body; one that was written, even in part, only if the route's retry policy says so (`retry.rs`).
//!
//! `docs/upstreams.md` has a table of what can go wrong and what comes of it.

mod balance;
mod circuit;
mod connect;
mod echo;
mod hash;
mod http2;
mod open;
mod outlier;
mod plan;
mod pool;
mod probe;
mod resolve;
mod retry;
mod ring;
mod state;
mod stats;
mod tls;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use agw_config::{ClusterTarget, UpstreamProtocol};
use agw_telemetry::Metrics;
use http::Request;
use http::header::HOST;
use http_body::Body as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::balance::Balancer;
pub(crate) use self::circuit::Limit;
pub(crate) use self::connect::ConnectError;
pub(crate) use self::echo::echo;
pub(crate) use self::hash::hash_of;
use self::outlier::Trial;
pub(crate) use self::plan::{SendPlan, Sent, Tries};
pub(crate) use self::pool::Lease;
use self::resolve::Lookup;
pub(crate) use self::state::ClusterState;
use self::stats::ClusterStats;
pub use self::tls::TlsError;
use crate::body::RequestBody;
use crate::limits::UNSENT_ATTEMPTS_MAX;

/// Where one worker sends the requests of one cluster.
pub(crate) struct Upstream {
    state: Arc<ClusterState>,
    endpoints: Balancer,
    stats: Rc<ClusterStats>,
    /// Owns the connections' tasks; they end with their connections or with the worker.
    tasks: TaskTracker,
    /// What one worker does for all: names and probes. Ends with this.
    _background: JoinSet<()>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No endpoint could be connected to; nothing was sent.
    #[error("no endpoint of cluster `{cluster}` can be reached")]
    Connect {
        cluster: String,
        #[source]
        last: ConnectError,
    },
    /// The cluster does all it may; nothing was sent.
    #[error("cluster `{cluster}` is at its limit of {}", limit.as_str())]
    Overflow { cluster: String, limit: Limit },
    /// The last try took longer than the retry policy allows.
    #[error("the upstream did not answer a try in time")]
    TryTimeout,
    /// The connection broke, or what came was not HTTP.
    #[error("the upstream closed or garbled its answer")]
    Exchange(#[source] hyper::Error),
}

impl Upstream {
    /// Makes no connection yet. The first worker also resolves names and probes endpoints, for all workers.
    pub(crate) fn new(
        state: &Arc<ClusterState>,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        is_first_worker: bool,
    ) -> Self {
        Upstream::resolving(state, metrics, tasks, is_first_worker.then(resolve::system))
    }

    fn resolving(
        state: &Arc<ClusterState>,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        lookup: Option<Lookup>,
    ) -> Self {
        let stats = Rc::new(ClusterStats::new(metrics, &state.cluster.name));
        stats.census(state);
        let mut background = JoinSet::new();
        if let Some(lookup) = lookup {
            for name in state.unresolved() {
                let (state, stats) = (Arc::clone(state), Rc::clone(&stats));
                background.spawn_local(resolve::keep_resolved(name, state, stats, Rc::clone(&lookup)));
            }
            if let Some(health) = state.cluster.health.clone() {
                let (state, stats) = (Arc::clone(state), Rc::clone(&stats));
                background.spawn_local(probe::keep_probed(state, health, stats, tasks.clone()));
            }
        }
        Upstream {
            state: Arc::clone(state),
            endpoints: Balancer::new(state),
            stats,
            tasks: tasks.clone(),
            _background: background,
        }
    }

    /// Whether it is a worker's part of that cluster.
    pub(crate) fn is_of(&self, state: &Arc<ClusterState>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    /// Whether requests are answered here, by [`echo`].
    pub(crate) fn is_echo(&self) -> bool {
        self.state.cluster.target == ClusterTarget::BuiltinEcho
    }

    /// Whether [`SendPlan::upgrade`] can be asked for: only HTTP/1.1 has it.
    pub(crate) fn can_upgrade(&self) -> bool {
        self.state.cluster.protocol != UpstreamProtocol::Http2 && !self.is_echo()
    }

    /// Sends the request and waits for the response's head.
    ///
    /// # Cancel safety
    /// Dropping the future closes the HTTP/1.1 connection, or resets the HTTP/2 stream, that the request was sent on.
    pub(crate) async fn send(
        &self,
        request: Box<Request<RequestBody>>,
        plan: SendPlan<'_>,
    ) -> Result<Sent, SendError> {
        let place = self.state.circuit.request().map_err(|limit| self.overflow(limit))?;
        let mut sent = match plan.retry {
            None => self.try_once(request, plan, &mut Vec::new()).await?,
            Some(policy) => Box::pin(retry::send(self, request, plan, policy)).await?,
        };
        sent.lease.hold_place();
        place.hand_over();
        Ok(sent)
    }

    /// One try in the policy's sense: whatever was never sent goes elsewhere at once. `tried` gets the endpoints.
    ///
    /// # Cancel safety
    /// As [`Upstream::send`].
    async fn try_once(
        &self,
        mut request: Box<Request<RequestBody>>,
        plan: SendPlan<'_>,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Sent, SendError> {
        let mut attempt = 1;
        loop {
            // After the first failure kept connections are suspect: all may have been closed at once.
            let mut lease = self.lease(plan, attempt > 1, tried).await?;
            plan.tries.sent_to(lease.peer());
            if plan.endpoint_host {
                request.headers_mut().insert(HOST, lease.host().clone());
            }
            let spare = if lease.is_http2() { spare(&request) } else { None };
            let trial = self.trial(&lease, plan.deadline);
            let mut error = match lease.send(request).await {
                Ok(response) => {
                    if let Some(trial) = trial {
                        trial.answered(response.status());
                    }
                    return Ok(Sent { response, lease });
                }
                Err(error) => error,
            };
            let unsent = error.take_message().map(|request| Box::new(http2::restore(request)));
            let error = error.into_error();
            let again = unsent.or_else(|| spare.filter(|_| http2::is_unprocessed(&error)));
            // A connection that the peer had closed before, or a stream that it had no room for, is no failure.
            if let Some(trial) = trial {
                if again.is_some() { trial.void() } else { trial.broke() }
            }
            match again {
                Some(again) if attempt < UNSENT_ATTEMPTS_MAX => {
                    request = again;
                    attempt += 1;
                }
                _ => {
                    tried.push(lease.peer());
                    return Err(SendError::Exchange(error));
                }
            }
        }
    }

    /// A connection to the endpoint whose turn it is: a kept one, unless `fresh`, or a new one.
    async fn lease(
        &self,
        plan: SendPlan<'_>,
        fresh: bool,
        tried: &mut Vec<SocketAddr>,
    ) -> Result<Lease, SendError> {
        self.endpoints.refresh();
        if let Some(endpoint) = self.endpoints.pick(plan.hash, tried, &[]) {
            if !fresh
                && !plan.upgrade
                && let Some(lease) = endpoint.take()
            {
                plan.tries.begin();
                return Ok(lease);
            }
            return Box::pin(self.open(endpoint, plan, fresh, tried)).await;
        }
        Box::pin(self.open_when_resolved(plan, tried)).await
    }

    fn overflow(&self, limit: Limit) -> SendError {
        self.stats.overflow(limit);
        SendError::Overflow { cluster: self.state.cluster.name.clone(), limit }
    }

    fn trial(&self, lease: &Lease, deadline: Instant) -> Option<Trial<'_>> {
        self.state.cluster.outlier.as_ref().map(|policy| Trial::new(self, policy, lease.state(), deadline))
    }

    /// Closes connections that nobody used for the cluster's idle timeout, and those of endpoints that are gone.
    pub(crate) fn reap(&self, now: Instant) {
        self.endpoints.refresh();
        // A request on another worker waits for a place that this worker's idle connections hold.
        let crowded = self.state.circuit.is_anyone_waiting() && self.endpoints.waiting.requests.get() == 0;
        self.endpoints.each(|endpoint| {
            endpoint.reap(now);
            while crowded && endpoint.close_one_idle() {}
        });
    }
}

/// The request once more, for a stream that the peer does not look at; only if it has no body.
fn spare(request: &Request<RequestBody>) -> Option<Box<Request<RequestBody>>> {
    request.body().is_end_stream().then(|| {
        let mut spare = Box::new(Request::new(RequestBody::empty()));
        *spare.method_mut() = request.method().clone();
        *spare.uri_mut() = request.uri().clone();
        *spare.headers_mut() = request.headers().clone();
        spare
    })
}

#[cfg(test)]
mod tests;
