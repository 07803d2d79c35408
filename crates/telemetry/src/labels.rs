//! Label sets. Every label's values are bounded by the configuration or by an enum.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

/// One request's labels.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// Route name; `none` if no route matched.
    pub route: String,
    /// Method; `OTHER` for one that is not registered.
    pub method: String,
    /// Status code of the response.
    pub code: u16,
}

/// A route.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RouteLabels {
    /// Route name; `none` if no route matched.
    pub route: String,
}

/// A cluster.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ClusterLabels {
    /// Cluster name.
    pub cluster: String,
}

/// Endpoints of a cluster. Addresses come and go with DNS, so none is a label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EndpointStateLabels {
    /// Cluster name.
    pub cluster: String,
    /// `healthy`, `sick` (its probes fail) or `ejected` (its requests failed).
    pub state: &'static str,
}

/// Requests or retries over a limit of a cluster.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OverflowLabels {
    /// Cluster name.
    pub cluster: String,
    /// `requests`, `pending` or `retries`.
    pub limit: &'static str,
}

/// A certificate of a listener.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CertificateLabels {
    /// Listener name.
    pub listener: String,
    /// Its file; `environment` if it came from there.
    pub certificate: String,
}

/// Spans of requests that are recorded.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TraceSpanLabels {
    /// `exported`: the collector has taken them; `dropped`: there was no room; `failed`: the collector did not take them.
    pub outcome: &'static str,
}

/// A look at changed certificates.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReloadLabels {
    /// Listener name.
    pub listener: String,
    /// `ok`, or `failed` if the old one serves on.
    pub outcome: &'static str,
}

/// A configuration that was read again.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ConfigReloadLabels {
    /// `applied`, `unchanged`, or `refused` if the one before serves on.
    pub outcome: &'static str,
}

/// A TLS handshake's end.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct HandshakeLabels {
    /// Listener name.
    pub listener: String,
    /// `ok`, `failed` or `timeout`.
    pub outcome: &'static str,
}

/// A plugin's callback.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PhaseLabels {
    /// Plugin name.
    pub plugin: String,
    /// Callback, such as `request_headers`.
    pub phase: &'static str,
}

/// A plugin.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PluginLabels {
    /// Plugin name.
    pub plugin: String,
}

/// A plugin's trap.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TrapLabels {
    /// Plugin name.
    pub plugin: String,
    /// `cpu`, `memory`, `stack`, `unreachable`, `host` or `other`.
    pub kind: &'static str,
}

/// A foreign call's end.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OperationLabels {
    /// Resource name.
    pub resource: String,
    /// Plugin name.
    pub plugin: String,
    /// `ok`, or the error code, such as `timeout_io`.
    pub outcome: &'static str,
}

/// A resource.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResourceLabels {
    /// Resource name.
    pub resource: String,
}

/// Where the calls of a resource wait.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct QueueLabels {
    /// Resource name.
    pub resource: String,
    /// `gate` (a place within `limits.in_flight`), `pool` (a connection of one's own) or `lane` (a place on a connection
    /// that pipelined statements share).
    pub queue: &'static str,
}

/// Connections of a resource.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PoolLabels {
    /// Resource name.
    pub resource: String,
    /// `multiplexed`, `leased` or `idle`.
    pub state: &'static str,
}

/// One server of a resource that has several. Bounded by the topology: a server that is none any more loses its series.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct NodeLabels {
    /// Resource name.
    pub resource: String,
    /// Host and port, as the topology has them; `others` for those beyond a bound.
    pub node: String,
    /// `primary` or `replica`.
    pub role: &'static str,
}

/// Calls that a resource refused before they were sent.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RejectLabels {
    /// Resource name.
    pub resource: String,
    /// Plugin name.
    pub plugin: String,
    /// The error code, such as `overloaded`; `rate` and `request_calls` for a plugin that is over a bound of its own.
    pub reason: &'static str,
}

/// A fault that was injected into a call.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FaultLabels {
    /// Resource name.
    pub resource: String,
    /// `delay`, `error` or `cut`.
    pub fault: &'static str,
}

/// The kept results of one SQL statement for one plugin.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CacheLabels {
    /// Resource name.
    pub resource: String,
    /// Plugin name.
    pub plugin: String,
    /// The statement's name.
    pub statement: String,
}

/// A look for a kept result.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CacheLookupLabels {
    /// Resource name.
    pub resource: String,
    /// Plugin name.
    pub plugin: String,
    /// The statement's name.
    pub statement: String,
    /// `hit`, `stale` (past its time, given nevertheless), `miss` (the statement ran) or `joined` (another call's answer
    /// was waited for).
    pub outcome: &'static str,
}

/// A metric that a plugin defined.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PluginMetricLabels {
    /// Plugin name.
    pub plugin: Arc<str>,
    /// The name the plugin gave.
    pub name: String,
}
