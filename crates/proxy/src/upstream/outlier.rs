//! Passive health: endpoints that fail requests in a row are left out for a while.

use std::sync::Arc;

use agw_config::OutlierPolicy;
use http::StatusCode;
use tokio::time::Instant;

use super::Upstream;
use super::state::EndpointState;

/// A request that an endpoint is to answer. Dropped after its deadline it counts as a failure; dropped before, the
/// client has left and it says nothing about the endpoint.
pub(super) struct Trial<'a> {
    upstream: &'a Upstream,
    policy: &'a OutlierPolicy,
    endpoint: Arc<EndpointState>,
    deadline: Instant,
    open: bool,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        upstream: &'a Upstream,
        policy: &'a OutlierPolicy,
        endpoint: &Arc<EndpointState>,
        deadline: Instant,
    ) -> Self {
        Trial { upstream, policy, endpoint: Arc::clone(endpoint), deadline, open: true }
    }

    /// A head came.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.open = false;
        if status.is_server_error() {
            self.upstream.failed(&self.endpoint, self.policy);
        } else {
            self.endpoint.succeeded();
        }
    }

    /// The connection broke.
    pub(super) fn broke(mut self) {
        self.open = false;
        self.upstream.failed(&self.endpoint, self.policy);
    }

    /// It says nothing about the endpoint.
    pub(super) fn void(mut self) {
        self.open = false;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.open && Instant::now() >= self.deadline {
            self.upstream.failed(&self.endpoint, self.policy);
        }
    }
}

impl Upstream {
    /// There is no connection to the endpoint.
    pub(super) fn connect_failed(&self, endpoint: &Arc<EndpointState>) {
        if let Some(policy) = &self.state.cluster.outlier {
            self.failed(endpoint, policy);
        }
    }

    fn failed(&self, endpoint: &Arc<EndpointState>, policy: &OutlierPolicy) {
        let Some(time) = self.state.failed(endpoint, policy) else { return };
        self.stats.ejections.inc();
        self.stats.census(&self.state);
        tracing::warn!(cluster.name = %self.state.cluster.name, endpoint = %endpoint.name,
            address = %endpoint.address, time_ms = time.as_millis(), "endpoint fails requests: left out");
        let (state, stats, endpoint) =
            (Arc::clone(&self.state), std::rc::Rc::clone(&self.stats), Arc::clone(endpoint));
        // One for each endpoint that is out; it ends by itself, or with the worker.
        self.tasks.spawn_local(async move {
            tokio::time::sleep(time).await;
            endpoint.restore();
            stats.census(&state);
        });
    }
}
