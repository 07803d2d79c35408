//! Metrics of one cluster on one worker: handles are looked up once.

use std::sync::Arc;

use agw_telemetry::{ClusterLabels, Counter, EndpointStateLabels, Gauge, Metrics, OverflowLabels};

use super::circuit::Limit;
use super::state::ClusterState;

/// Counts of one cluster; all workers' handles count in one place.
#[derive(Debug)]
pub(super) struct ClusterStats {
    metrics: Arc<Metrics>,
    cluster: String,
    pub(super) connections: Gauge,
    pub(super) pending: Gauge,
    pub(super) connect_failures: Counter,
    pub(super) ejections: Counter,
    pub(super) retries: Counter,
    pub(super) dns_failures: Counter,
}

impl ClusterStats {
    pub(super) fn new(metrics: &Arc<Metrics>, cluster: &str) -> Self {
        let labels = ClusterLabels { cluster: cluster.to_owned() };
        ClusterStats {
            connections: metrics.upstream_connections.get_or_create(&labels).clone(),
            pending: metrics.upstream_pending.get_or_create(&labels).clone(),
            connect_failures: metrics.upstream_connect_failures.get_or_create(&labels).clone(),
            ejections: metrics.upstream_ejections.get_or_create(&labels).clone(),
            retries: metrics.upstream_retries.get_or_create(&labels).clone(),
            dns_failures: metrics.upstream_dns_failures.get_or_create(&labels).clone(),
            cluster: labels.cluster,
            metrics: Arc::clone(metrics),
        }
    }

    /// A request or retry was over a limit.
    pub(super) fn overflow(&self, limit: Limit) {
        let labels = OverflowLabels { cluster: self.cluster.clone(), limit: limit.as_str() };
        self.metrics.upstream_overflows.get_or_create(&labels).inc();
    }

    /// Every metric of the process.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.metrics.encode().unwrap()
    }

    /// How the endpoints are now.
    pub(super) fn census(&self, state: &ClusterState) {
        let census = state.census();
        for (name, count) in [("healthy", census.healthy), ("sick", census.sick), ("ejected", census.ejected)]
        {
            let labels = EndpointStateLabels { cluster: self.cluster.clone(), state: name };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.upstream_endpoints.get_or_create(&labels).set(count);
        }
    }
}
