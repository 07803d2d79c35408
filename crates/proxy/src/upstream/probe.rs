//! Active probes: the first worker asks each endpoint how it is; what it learns is every worker's.
//!
//! Each probe makes a connection of its own, so that it also tells whether one can be made. It stands outside the
//! cluster's limits. Endpoints count as healthy until their probes say otherwise.

use std::rc::Rc;
use std::sync::Arc;

use agw_config::HealthCheck;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::task::TaskTracker;

use super::connect::connect;
use super::pool::Link;
use super::resolve::jittered;
use super::state::{ClusterState, EndpointState};
use super::stats::ClusterStats;
use crate::body::RequestBody;

/// Probes whatever endpoints the cluster has, for ever.
///
/// # Cancel safety
/// Dropping the future ends all probes.
pub(super) async fn keep_probed(
    cluster: Arc<ClusterState>,
    health: HealthCheck,
    stats: Rc<ClusterStats>,
    tasks: TaskTracker,
) {
    let prober = Rc::new(Prober { cluster: Arc::clone(&cluster), health, stats, tasks });
    let mut members = cluster.watch_members();
    let mut running: Vec<(Arc<EndpointState>, AbortHandle)> = Vec::new();
    let mut probes = JoinSet::new();
    loop {
        let wanted = Arc::clone(&members.borrow_and_update());
        running.retain(|(endpoint, probe)| {
            let stays = wanted.endpoints.iter().any(|wanted| Arc::ptr_eq(wanted, endpoint));
            if !stays {
                probe.abort();
            }
            stays
        });
        for endpoint in &wanted.endpoints {
            if !running.iter().any(|(known, _)| Arc::ptr_eq(known, endpoint)) {
                let probe = Rc::clone(&prober).run(Arc::clone(endpoint));
                running.push((Arc::clone(endpoint), probes.spawn_local(probe)));
            }
        }
        // Ended probes are taken out of the set; there are none but aborted ones.
        while probes.try_join_next().is_some() {}
        if members.changed().await.is_err() {
            return;
        }
    }
}

struct Prober {
    cluster: Arc<ClusterState>,
    health: HealthCheck,
    stats: Rc<ClusterStats>,
    tasks: TaskTracker,
}

impl Prober {
    async fn run(self: Rc<Self>, endpoint: Arc<EndpointState>) {
        let mut in_a_row = (false, 0_u32);
        loop {
            let well = self.probe(&endpoint).await;
            in_a_row = (well, if in_a_row.0 == well { in_a_row.1.saturating_add(1) } else { 1 });
            let enough = if well { self.health.healthy_after } else { self.health.unhealthy_after };
            if in_a_row.1 >= enough && endpoint.set_sick(!well) {
                tracing::warn!(cluster.name = %self.cluster.cluster.name, endpoint = %endpoint.name,
                    address = %endpoint.address, healthy = well, "probes say otherwise than before");
                self.stats.census(&self.cluster);
            }
            tokio::time::sleep(jittered(self.health.interval)).await;
        }
    }

    /// Whether one probe went well.
    async fn probe(&self, endpoint: &EndpointState) -> bool {
        let status = tokio::time::timeout(self.health.timeout, Box::pin(self.ask(endpoint))).await;
        let (from, to) = self.health.statuses;
        status.ok().flatten().is_some_and(|status| (from..=to).contains(&status.as_u16()))
    }

    async fn ask(&self, endpoint: &EndpointState) -> Option<StatusCode> {
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = self.health.path.parse().ok()?;
        let host = self.health.host.as_deref().unwrap_or(&endpoint.name);
        request.headers_mut().insert(HOST, HeaderValue::from_str(host).ok()?);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("agw-health-check"));
        let mut link: Link = connect(&self.cluster, endpoint, false, None, &self.tasks).await.ok()?;
        let response = link.send(Box::new(request)).await.ok()?;
        Some(response.status())
    }
}
