//! Where requests go.

use std::time::Duration;

use super::Tls;
use crate::schema::cluster as bounds;

/// Where requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Unique.
    pub name: String,
    /// Where the endpoints are.
    pub target: ClusterTarget,
    /// What is spoken to them.
    pub protocol: UpstreamProtocol,
    /// `None` is plaintext. The name to verify is the endpoint's host unless another is given; SNI is the same.
    pub tls: Option<Tls>,
    /// Which endpoint is next.
    pub balance: Balance,
    /// How often names are resolved anew.
    pub dns_refresh: Duration,
    /// For a connection to an endpoint, TLS included.
    pub connect_timeout: Duration,
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// Idle connections kept per worker and endpoint.
    pub idle_max: usize,
    /// Active probes.
    pub health: Option<HealthCheck>,
    /// Passive health: endpoints that fail are left out for a while.
    pub outlier: Option<OutlierPolicy>,
    /// Circuit limits, over all workers.
    pub limits: ClusterLimits,
}

impl Cluster {
    /// Plaintext HTTP/1.1, round robin, no probes, and the defaults of a document.
    pub fn new(name: &str, target: ClusterTarget) -> Self {
        Cluster {
            name: name.to_owned(),
            target,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::RoundRobin,
            dns_refresh: bounds::DNS_REFRESH.default_duration(),
            connect_timeout: bounds::CONNECT_TIMEOUT.default_duration(),
            idle_timeout: bounds::IDLE_TIMEOUT.default_duration(),
            idle_max: bounds::IDLE_CONNECTIONS.default_usize(),
            health: None,
            outlier: None,
            limits: ClusterLimits::default(),
        }
    }
}

/// The two kinds of cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterTarget {
    /// `host:port`; the host is an IP address or a name, each of whose addresses is an endpoint. Not empty.
    Endpoints(Vec<String>),
    /// Answers JSON with method, path and the headers it received.
    BuiltinEcho,
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// What ALPN says; HTTP/1.1 if it says nothing. Only with TLS.
    Auto,
}

/// Which endpoint is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The one with fewer requests under way, of two drawn at random.
    LeastRequest,
    /// By the route's hash key; few keys move when an endpoint comes or goes.
    ConsistentHash,
}

/// Active probes of each endpoint, by one worker for all.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// Path to GET.
    pub path: String,
    /// `Host` to send; `None` is the endpoint's.
    pub host: Option<String>,
    /// Statuses that count as healthy, from and to inclusive.
    pub statuses: (u16, u16),
    /// Between probes, give or take a tenth.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Probes in a row that make a sick endpoint healthy.
    pub healthy_after: u32,
    /// Failed probes in a row that make a healthy endpoint sick.
    pub unhealthy_after: u32,
}

/// Leaves out endpoints that fail requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierPolicy {
    /// Failures in a row that eject: no connection, a reset, a timeout of a try, or a 5xx.
    pub consecutive_failures: u32,
    /// The first ejection lasts so long; the n-th in a row n times as long.
    pub ejection_time: Duration,
    /// But never longer.
    pub ejection_time_max: Duration,
    /// At most so many per cent of the endpoints are out at once, but one may be in any case if there are two.
    pub ejected_percent_max: u32,
}

/// Circuit limits of one cluster. What is over one is answered 503 at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClusterLimits {
    /// Connections, idle ones included.
    pub connections_max: usize,
    /// Requests that wait for a connection at that bound.
    pub pending_max: usize,
    /// Requests under way.
    pub requests_max: usize,
    /// Retries under way, as a share of the requests under way; 3 are always allowed.
    pub retry_percent_max: u32,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        ClusterLimits {
            connections_max: bounds::LIMIT_CONNECTIONS.default_usize(),
            pending_max: bounds::LIMIT_PENDING.default_usize(),
            requests_max: bounds::LIMIT_REQUESTS.default_usize(),
            retry_percent_max: bounds::LIMIT_RETRY_PERCENT.default_u32(),
        }
    }
}
