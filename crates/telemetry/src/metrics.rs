//! The registry and every family in it.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::labels::*;

/// A family of histograms with the buckets of [`SECONDS`].
pub(crate) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Bucket bounds in seconds: fine where a Redis call should be, coarse where a request gives up.
const SECONDS: [f64; 22] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.07,
    0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Every metric of the process. Callers on the hot path keep the handle that `get_or_create` gives.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// `agw_http_requests_total`
    pub requests: Family<RequestLabels, Counter>,
    /// `agw_http_request_duration_seconds`
    pub request_seconds: Histograms<RouteLabels>,
    /// `agw_upstream_duration_seconds`: from the request's dispatch to the response's head.
    pub upstream_seconds: Histograms<RouteLabels>,
    /// `agw_upstream_connections`: open, idle ones included.
    pub upstream_connections: Family<ClusterLabels, Gauge>,
    /// `agw_upstream_pending`: requests that wait for a connection.
    pub upstream_pending: Family<ClusterLabels, Gauge>,
    /// `agw_upstream_endpoints`: by state.
    pub upstream_endpoints: Family<EndpointStateLabels, Gauge>,
    /// `agw_upstream_connect_failures_total`
    pub upstream_connect_failures: Family<ClusterLabels, Counter>,
    /// `agw_upstream_ejections_total`: endpoints left out because their requests failed.
    pub upstream_ejections: Family<ClusterLabels, Counter>,
    /// `agw_upstream_retries_total`: tries after the first, by a route's policy.
    pub upstream_retries: Family<ClusterLabels, Counter>,
    /// `agw_upstream_overflows_total`: requests refused, and retries left out, at a limit.
    pub upstream_overflows: Family<OverflowLabels, Counter>,
    /// `agw_upstream_dns_failures_total`: names that could not be resolved.
    pub upstream_dns_failures: Family<ClusterLabels, Counter>,
    /// `agw_http_connections`: open downstream connections.
    pub connections: Gauge,
    /// `agw_tls_handshakes_total`: with clients.
    pub tls_handshakes: Family<HandshakeLabels, Counter>,
    /// `agw_certificate_expiry_timestamp_seconds`: when a serving certificate ends, in seconds since 1970.
    pub certificate_expiry: Family<CertificateLabels, Gauge>,
    /// `agw_certificate_reloads_total`
    pub certificate_reloads: Family<ReloadLabels, Counter>,
    /// `agw_config_revision`: the number of what serves.
    pub config_revision: Gauge,
    /// `agw_config_reloads_total`
    pub config_reloads: Family<ConfigReloadLabels, Counter>,
    /// `agw_config_apply_seconds`: from the read document until every worker serves with it.
    pub config_apply_seconds: Histogram,
    /// `agw_plugin_phase_duration_seconds`: time inside one callback, suspensions included.
    pub phase_seconds: Histograms<PhaseLabels>,
    /// `agw_plugin_traps_total`
    pub traps: Family<TrapLabels, Counter>,
    /// `agw_plugin_memory_bytes`: linear memory of all VMs of a plugin.
    pub plugin_memory_bytes: Family<PluginLabels, Gauge>,
    /// `agw_plugin_vms`: live VMs of a plugin.
    pub plugin_vms: Family<PluginLabels, Gauge>,
    /// `agw_vm_restarts_total`: VMs made to replace one that trapped.
    pub vm_restarts: Family<PluginLabels, Counter>,
    /// `agw_resource_operation_duration_seconds`: a foreign call from its admission's start to its answer.
    pub operation_seconds: Histograms<OperationLabels>,
    /// `agw_resource_queue_seconds`: the part of it spent waiting for a place or a connection.
    pub queue_seconds: Histograms<QueueLabels>,
    /// `agw_resource_connect_seconds`: making one connection, TLS and login included.
    pub connect_seconds: Histograms<ResourceLabels>,
    /// `agw_resource_io_seconds`: the part of a call in which it is the server's: from its commands' way to the socket to its
    /// answer.
    pub io_seconds: Histograms<ResourceLabels>,
    /// `agw_resource_pool_connections`
    pub pool_connections: Family<PoolLabels, Gauge>,
    /// `agw_resource_node_connections`: open connections to one server of several.
    pub node_connections: Family<NodeLabels, Gauge>,
    /// `agw_resource_node_calls_total`: calls, or parts of calls, that were sent to one server of several.
    pub node_calls: Family<NodeLabels, Counter>,
    /// `agw_resource_pool_rejected_total`
    pub pool_rejected: Family<RejectLabels, Counter>,
    /// `agw_resource_breaker_state`: how many breakers of the resource are open: one, but for the time of a reload.
    pub breaker_state: Family<ResourceLabels, Gauge>,
    /// `agw_resource_reconnects_total`: connections made after one was lost.
    pub reconnects: Family<ResourceLabels, Counter>,
    /// `agw_resource_cache_lookups_total`: calls of SQL statements whose results are kept.
    pub cache_lookups: Family<CacheLookupLabels, Counter>,
    /// `agw_resource_cache_evictions_total`: kept results that gave way for want of room.
    pub cache_evictions: Family<CacheLabels, Counter>,
    /// `agw_resource_faults_injected_total`: by the operator, to rehearse them.
    pub faults_injected: Family<FaultLabels, Counter>,
    /// `agw_trace_spans_total`: spans, by what became of them.
    pub trace_spans: Family<TraceSpanLabels, Counter>,
    /// `agw_plugin_counter_total`: counters that plugins defined.
    pub plugin_counters: Family<PluginMetricLabels, Counter>,
    /// `agw_plugin_gauge`: gauges that plugins defined.
    pub plugin_gauges: Family<PluginMetricLabels, Gauge>,
    /// `agw_plugin_histogram`: histograms that plugins defined; their unit is the plugin's.
    pub plugin_histograms: Family<PluginMetricLabels, Histogram, fn() -> Histogram>,
}

/// One server of several, at this moment.
#[derive(Clone, Debug)]
pub struct NodeFigures {
    /// Which one.
    pub labels: NodeLabels,
    /// Open connections.
    pub connections: usize,
    /// Calls since it is known.
    pub calls: u64,
}

/// The times of one resource's calls, by stage, in seconds.
#[derive(Clone, Debug)]
pub struct Stages {
    /// Waiting for a place or a connection.
    pub queue: Histogram,
    /// Making a connection.
    pub connect: Histogram,
    /// From the way to the socket to the answer.
    pub io: Histogram,
}

impl Metrics {
    /// A registry with every family, all empty.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("agw");
        let histograms = || seconds as fn() -> Histogram;
        let metrics = Metrics {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histograms()),
            upstream_seconds: Family::new_with_constructor(histograms()),
            upstream_connections: Family::default(),
            upstream_pending: Family::default(),
            upstream_endpoints: Family::default(),
            upstream_connect_failures: Family::default(),
            upstream_ejections: Family::default(),
            upstream_retries: Family::default(),
            upstream_overflows: Family::default(),
            upstream_dns_failures: Family::default(),
            connections: Gauge::default(),
            tls_handshakes: Family::default(),
            certificate_expiry: Family::default(),
            certificate_reloads: Family::default(),
            config_revision: Gauge::default(),
            config_reloads: Family::default(),
            config_apply_seconds: seconds(),
            phase_seconds: Family::new_with_constructor(histograms()),
            traps: Family::default(),
            plugin_memory_bytes: Family::default(),
            plugin_vms: Family::default(),
            vm_restarts: Family::default(),
            operation_seconds: Family::new_with_constructor(histograms()),
            queue_seconds: Family::new_with_constructor(histograms()),
            connect_seconds: Family::new_with_constructor(histograms()),
            io_seconds: Family::new_with_constructor(histograms()),
            pool_connections: Family::default(),
            node_connections: Family::default(),
            node_calls: Family::default(),
            pool_rejected: Family::default(),
            breaker_state: Family::default(),
            reconnects: Family::default(),
            cache_lookups: Family::default(),
            cache_evictions: Family::default(),
            faults_injected: Family::default(),
            trace_spans: Family::default(),
            plugin_counters: Family::default(),
            plugin_gauges: Family::default(),
            plugin_histograms: Family::new_with_constructor(plugin_histogram as fn() -> Histogram),
            registry: Mutex::new(Registry::default()),
        };
        metrics.register(&mut registry);
        *metrics.registry.lock() = registry;
        metrics
    }

    fn register(&self, r: &mut Registry) {
        r.register("http_requests", "Requests answered", self.requests.clone());
        r.register("http_request_duration_seconds", "Time of a whole request", self.request_seconds.clone());
        r.register("upstream_duration_seconds", "Time to the upstream's head", self.upstream_seconds.clone());
        r.register("http_connections", "Open downstream connections", self.connections.clone());
        self.register_upstream(r);
        r.register("tls_handshakes", "TLS handshakes with clients", self.tls_handshakes.clone());
        r.register(
            "certificate_expiry_timestamp_seconds",
            "When a serving certificate ends",
            self.certificate_expiry.clone(),
        );
        r.register(
            "certificate_reloads",
            "Changed certificates that were taken or refused",
            self.certificate_reloads.clone(),
        );
        self.register_config(r);
        r.register("plugin_phase_duration_seconds", "Time inside a callback", self.phase_seconds.clone());
        r.register("plugin_traps", "Traps", self.traps.clone());
        r.register("plugin_memory_bytes", "Linear memory of all VMs", self.plugin_memory_bytes.clone());
        r.register("plugin_vms", "Live VMs", self.plugin_vms.clone());
        r.register("vm_restarts", "VMs that replaced a trapped one", self.vm_restarts.clone());
        self.register_resources(r);
        r.register("trace_spans", "Spans by what became of them", self.trace_spans.clone());
        r.register("plugin_counter", "Counters defined by plugins", self.plugin_counters.clone());
        r.register("plugin_gauge", "Gauges defined by plugins", self.plugin_gauges.clone());
        r.register("plugin_histogram", "Histograms defined by plugins", self.plugin_histograms.clone());
    }

    fn register_resources(&self, r: &mut Registry) {
        r.register(
            "resource_operation_duration_seconds",
            "Time of a foreign call, waiting included",
            self.operation_seconds.clone(),
        );
        r.register("resource_queue_seconds", "Time waiting for a place", self.queue_seconds.clone());
        r.register("resource_connect_seconds", "Time to make a connection", self.connect_seconds.clone());
        r.register("resource_io_seconds", "Time from sending to the answer", self.io_seconds.clone());
        r.register("resource_pool_connections", "Connections", self.pool_connections.clone());
        r.register("resource_node_connections", "Connections to a server", self.node_connections.clone());
        r.register("resource_node_calls", "Calls sent to a server", self.node_calls.clone());
        r.register("resource_pool_rejected", "Calls refused before sending", self.pool_rejected.clone());
        r.register("resource_breaker_state", "0 closed, 1 open", self.breaker_state.clone());
        r.register("resource_reconnects", "Connections made after a loss", self.reconnects.clone());
        r.register("resource_cache_lookups", "Looks for kept results", self.cache_lookups.clone());
        r.register("resource_cache_evictions", "Kept results without room", self.cache_evictions.clone());
        r.register("resource_faults_injected", "Faults for a rehearsal", self.faults_injected.clone());
    }

    /// What there is to say of the servers of all resources that have several. Those that are not among them are forgotten.
    /// To be called by one at a time, before the page is encoded.
    pub fn show_nodes(&self, nodes: impl IntoIterator<Item = NodeFigures>) {
        self.node_connections.clear();
        self.node_calls.clear();
        for NodeFigures { labels, connections, calls } in nodes {
            let connections = i64::try_from(connections).unwrap_or(i64::MAX);
            self.node_connections.get_or_create(&labels).inc_by(connections);
            self.node_calls.get_or_create(&labels).inc_by(calls);
        }
    }

    /// The handles of one resource's stages, whose calls wait in this queue.
    pub fn stages(&self, resource: &str, queue: &'static str) -> Stages {
        let labels = ResourceLabels { resource: resource.to_owned() };
        let waits = QueueLabels { resource: resource.to_owned(), queue };
        Stages {
            queue: self.queue_seconds.get_or_create(&waits).clone(),
            connect: self.connect_seconds.get_or_create(&labels).clone(),
            io: self.io_seconds.get_or_create(&labels).clone(),
        }
    }

    fn register_config(&self, r: &mut Registry) {
        r.register("config_revision", "Number of what serves", self.config_revision.clone());
        r.register("config_reloads", "Configurations that were read again", self.config_reloads.clone());
        r.register("config_apply_seconds", "Time to serve with another", self.config_apply_seconds.clone());
    }

    fn register_upstream(&self, r: &mut Registry) {
        r.register("upstream_connections", "Open connections", self.upstream_connections.clone());
        r.register("upstream_pending", "Requests waiting for a connection", self.upstream_pending.clone());
        r.register("upstream_endpoints", "Endpoints by state", self.upstream_endpoints.clone());
        r.register(
            "upstream_connect_failures",
            "Connections that could not be made",
            self.upstream_connect_failures.clone(),
        );
        r.register("upstream_ejections", "Endpoints left out for a while", self.upstream_ejections.clone());
        r.register("upstream_retries", "Tries after the first", self.upstream_retries.clone());
        r.register("upstream_overflows", "Refused at a limit", self.upstream_overflows.clone());
        r.register("upstream_dns_failures", "Names not resolved", self.upstream_dns_failures.clone());
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// Only if a metric cannot be formatted, which is a bug of its type.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// Plugins choose their own unit, so the buckets are powers of ten.
fn plugin_histogram() -> Histogram {
    Histogram::new([1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7])
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = include_str!("metrics.rs");
    const REFERENCE: &str = include_str!("../../../docs/metrics.md");

    /// The first string of every call of `register`.
    fn registered() -> Vec<&'static str> {
        let code = SOURCE.split_once("#[cfg(test)]").expect("this module").0;
        let name = |rest: &'static str| rest.split('"').nth(1).expect("a name");
        code.split("r.register(").skip(1).map(name).collect()
    }

    /// The names in the first column of the reference's tables.
    fn rows() -> Vec<&'static str> {
        let row = |line: &'static str| line.strip_prefix("| `agw_")?.split('`').next();
        REFERENCE.lines().filter_map(row).collect()
    }

    #[test]
    fn a_server_that_is_none_any_more_loses_its_series_and_those_with_one_label_are_summed() {
        let metrics = Metrics::new();
        let node = |node: &str, connections, calls| {
            let (resource, node) = ("r".to_owned(), node.to_owned());
            NodeFigures { labels: NodeLabels { resource, node, role: "primary" }, connections, calls }
        };
        metrics.show_nodes([node("a:1", 2, 7), node("others", 1, 1), node("others", 2, 3)]);
        let page = metrics.encode().expect("a page");
        let shown = |page: &str, name: &str, node: &str, value: u64| {
            page.contains(&format!("{name}{{resource=\"r\",node=\"{node}\",role=\"primary\"}} {value}\n"))
        };
        assert!(shown(&page, "agw_resource_node_connections", "a:1", 2), "{page}");
        assert!(shown(&page, "agw_resource_node_calls_total", "a:1", 7), "{page}");
        assert!(shown(&page, "agw_resource_node_connections", "others", 3), "{page}");
        assert!(shown(&page, "agw_resource_node_calls_total", "others", 4), "{page}");
        metrics.show_nodes([node("b:1", 1, 1)]);
        let page = metrics.encode().expect("a page");
        assert!(!page.contains("a:1") && !page.contains("others"), "{page}");
        assert!(shown(&page, "agw_resource_node_connections", "b:1", 1), "{page}");
    }

    #[test]
    fn every_family_has_its_row_in_the_reference_and_every_row_its_family() {
        let (registered, rows) = (registered(), rows());
        assert!(registered.len() > 30, "{registered:?}");
        for name in &registered {
            // Counters get their ending when they are shown.
            let shown = [(*name).to_owned(), format!("{name}_total")];
            let found = rows.iter().filter(|row| shown.iter().any(|shown| shown == *row)).count();
            assert_eq!(found, 1, "docs/metrics.md: agw_{name}");
            let documented = shown.iter().any(|shown| SOURCE.contains(&format!("/// `agw_{shown}`")));
            assert!(documented, "the field of agw_{name} says its name");
        }
        assert_eq!(rows.len(), registered.len(), "{rows:?}");
    }
}
