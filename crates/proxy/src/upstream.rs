//! Connections to a cluster's endpoints: one set per worker.
//!
//! Endpoints take turns. A kept connection is used before a new one is made; an endpoint that cannot be connected to
//! passes its turn to the next. A request that was handed to a kept connection but never written, because the peer
//! had closed it, goes to another connection with its body; one that was written, even in part, does not.
//!
//! The number of connections in use needs no bound here: each belongs to an exchange, and the listeners bound those.

mod connect;
mod echo;
mod hash;
mod plan;
mod pool;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use agw_config::{Cluster, ClusterTarget, UpstreamProtocol};
use http::Request;
use http::header::HOST;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use self::connect::ConnectError;
pub(crate) use self::echo::echo;
#[allow(unused_imports, reason = "routes compute no hash yet")]
pub(crate) use self::hash::hash_of;
pub(crate) use self::plan::{SendPlan, Sent, Tries};
pub(crate) use self::pool::Lease;
use self::pool::{Endpoint, Link};
use crate::body::RequestBody;
use crate::limits::UNSENT_ATTEMPTS_MAX;

/// Where one worker sends the requests of one cluster.
pub(crate) struct Upstream {
    cluster: Arc<Cluster>,
    target: Target,
    /// Owns the connections' tasks; they end with their connections or with the worker.
    tasks: TaskTracker,
}

enum Target {
    Endpoints { endpoints: Vec<Rc<Endpoint>>, next: Cell<usize> },
    Echo,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No endpoint could be connected to.
    #[error("no endpoint of cluster `{cluster}` can be reached")]
    Connect {
        cluster: String,
        #[source]
        last: ConnectError,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the upstream closed or garbled its answer")]
    Exchange(#[source] hyper::Error),
}

impl Upstream {
    /// Makes no connection yet.
    pub(crate) fn new(cluster: &Arc<Cluster>, tasks: &TaskTracker) -> Self {
        let target = match &cluster.target {
            ClusterTarget::BuiltinEcho => Target::Echo,
            ClusterTarget::Endpoints(list) => {
                let endpoints: Vec<_> =
                    list.iter().map(|text| Rc::new(Endpoint::new(text, cluster))).collect();
                // Workers begin at different endpoints, so that few requests still reach all of them.
                let next = Cell::new(fastrand::usize(..=list.len()));
                Target::Endpoints { endpoints, next }
            }
        };
        Upstream { cluster: Arc::clone(cluster), target, tasks: tasks.clone() }
    }

    /// Whether requests are answered here, by [`echo`].
    pub(crate) fn is_echo(&self) -> bool {
        matches!(self.target, Target::Echo)
    }

    /// Whether [`SendPlan::upgrade`] can be asked for: only HTTP/1.1 has it.
    #[allow(dead_code, reason = "exchanges ask for no upgrade yet")]
    pub(crate) fn can_upgrade(&self) -> bool {
        self.cluster.protocol != UpstreamProtocol::Http2 && !self.is_echo()
    }

    /// Sends the request and waits for the response's head.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection that the request was sent on.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
        plan: SendPlan<'_>,
    ) -> Result<Sent, SendError> {
        let mut attempt = 1;
        loop {
            // After the first failure kept connections are suspect: all may have been closed at once.
            let kept = if attempt == 1 && !plan.upgrade { self.kept() } else { None };
            let mut lease = match kept {
                Some(lease) => {
                    plan.tries.begin();
                    lease
                }
                None => Box::pin(self.connect(plan)).await?,
            };
            plan.tries.sent_to(lease.peer());
            if plan.endpoint_host {
                request.headers_mut().insert(HOST, lease.host().clone());
            }
            match lease.send(request).await {
                Ok(response) => return Ok(Sent { response, lease }),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if attempt < UNSENT_ATTEMPTS_MAX => {
                        request = unsent;
                        attempt += 1;
                    }
                    _ => return Err(SendError::Exchange(error.into_error())),
                },
            }
        }
    }

    /// A kept connection of the endpoint whose turn it is.
    fn kept(&self) -> Option<Lease> {
        let Target::Endpoints { endpoints, next } = &self.target else { return None };
        let endpoint = endpoints.get(next.get() % endpoints.len().max(1))?;
        let lease = Endpoint::take_idle(endpoint)?;
        next.set(next.get().wrapping_add(1));
        Some(lease)
    }

    /// A new connection to the first endpoint, from the one whose turn it is, that can be reached.
    async fn connect(&self, plan: SendPlan<'_>) -> Result<Lease, SendError> {
        let mut last = ConnectError::NoEndpoint;
        if let Target::Endpoints { endpoints, next } = &self.target {
            for _ in 0..endpoints.len() {
                let turn = next.get();
                next.set(turn.wrapping_add(1));
                let Some(endpoint) = endpoints.get(turn % endpoints.len()) else { break };
                plan.tries.begin();
                match self.connect_to(endpoint, plan.upgrade).await {
                    Ok(lease) => return Ok(lease),
                    Err(error) => {
                        tracing::debug!(cluster.name = %self.cluster.name, endpoint = endpoint.name(), %error,
                            "endpoint cannot be reached");
                        last = error;
                    }
                }
            }
        }
        Err(SendError::Connect { cluster: self.cluster.name.clone(), last })
    }

    async fn connect_to(&self, endpoint: &Rc<Endpoint>, upgrade: bool) -> Result<Lease, ConnectError> {
        let timeout = self.cluster.connect_timeout;
        let (stream, peer) = tokio::time::timeout(timeout, connect::connect(endpoint.target(), timeout))
            .await
            .map_err(|_| ConnectError::Timeout)??;
        let link = Link::establish(stream, peer, upgrade, &self.tasks).await?;
        Ok(Lease::new(Rc::clone(endpoint), link))
    }

    /// Closes connections that nobody used for the cluster's idle timeout.
    pub(crate) fn reap(&self, now: Instant) {
        if let Target::Endpoints { endpoints, .. } = &self.target {
            endpoints.iter().for_each(|endpoint| endpoint.reap(now));
        }
    }

    #[cfg(test)]
    fn end_idle(&self) {
        if let Target::Endpoints { endpoints, .. } = &self.target {
            endpoints.iter().for_each(|endpoint| endpoint.end_idle());
        }
    }

    #[cfg(test)]
    fn idle(&self) -> usize {
        match &self.target {
            Target::Endpoints { endpoints, .. } => endpoints.iter().map(|endpoint| endpoint.idle()).sum(),
            Target::Echo => 0,
        }
    }
}

#[cfg(test)]
mod tests;
