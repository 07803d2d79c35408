use std::collections::BTreeMap;
use std::time::Duration;

use super::Tls;
use crate::secret::Secret;

/// Traces, and the collector that gets them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where spans go.
    pub endpoint: TraceEndpoint,
    /// Headers of each request to the collector, by lower-case name. Each value is a valid one.
    pub headers: BTreeMap<String, Secret>,
    /// What the traces call this gateway: `service.name`.
    pub service_name: String,
    /// Of a million requests without a decision of somebody before, so many are recorded.
    pub sample_per_million: u32,
    /// Whether a client's `traceparent` says which trace its request belongs to, and whether it is recorded.
    pub trust_traceparent: bool,
    /// How spans are kept and sent.
    pub export: TraceExport,
}

/// A collector's address.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceEndpoint {
    /// IP address or DNS name, resolved at each connect.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Such as `/v1/traces`.
    pub path: String,
    /// `None` is plaintext.
    pub tls: Option<Tls>,
}

/// How spans are kept and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceExport {
    /// Spans that wait; more are dropped.
    pub queue_max: usize,
    /// Spans in one request to the collector.
    pub batch_max: usize,
    /// A span waits no longer than this for others.
    pub interval: Duration,
    /// For one request to the collector, connecting included.
    pub timeout: Duration,
    /// A batch that the collector did not take is sent again until this has passed; then it is lost.
    pub retry_for: Duration,
    /// At the end, and when another configuration takes over, what is left is sent within this.
    pub flush_timeout: Duration,
}
