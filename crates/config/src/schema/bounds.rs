//! Every number of the document with its bounds, for the tests that hold code and reference together.

use super::{cluster, endpoint, grant, listener, plugin, resource, route};
use crate::units::Bounds;

/// Where a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Listener,
    Route,
    Cluster,
    Plugin,
    Resource,
    Grant,
}

impl Section {
    /// The section's field in the document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Listener => "listeners",
            Section::Route => "routes",
            Section::Cluster => "clusters",
            Section::Plugin => "plugins",
            Section::Resource | Section::Grant => "resources",
        }
    }

    /// From the section's item to what holds the number.
    pub(crate) fn inside(self) -> &'static str {
        if self == Section::Grant { "/grants/0" } else { "" }
    }

    /// The chapter of the reference.
    pub(crate) fn heading(self) -> &'static str {
        if self == Section::Grant { "resources[].grants[]" } else { self.name() }
    }
}

pub(crate) const ALL: &[(Section, &str, Bounds)] = &[
    (Section::Listener, "limits.header_bytes", listener::HEADER_BYTES),
    (Section::Listener, "limits.headers", listener::HEADERS),
    (Section::Listener, "limits.header_timeout", listener::HEADER_TIMEOUT),
    (Section::Listener, "limits.idle_timeout", listener::IDLE_TIMEOUT),
    (Section::Listener, "limits.connections", listener::CONNECTIONS),
    (Section::Listener, "forwarded.trusted_hops", listener::forwarded::TRUSTED_HOPS),
    (Section::Listener, "http2.streams", listener::HTTP2_STREAMS),
    (Section::Listener, "http2.resets", listener::HTTP2_RESETS),
    (Section::Listener, "http2.stream_window", listener::HTTP2_STREAM_WINDOW),
    (Section::Listener, "http2.connection_window", listener::HTTP2_CONNECTION_WINDOW),
    (Section::Listener, "http2.keepalive", listener::HTTP2_KEEPALIVE),
    (Section::Route, "retry.retries", route::retry::RETRIES),
    (Section::Route, "retry.backoff.base", route::retry::BACKOFF_BASE),
    (Section::Route, "retry.backoff.max", route::retry::BACKOFF_MAX),
    (Section::Route, "retry.body", route::retry::BODY),
    (Section::Route, "timeout", route::TIMEOUT),
    (Section::Route, "idle_timeout", route::IDLE_TIMEOUT),
    (Section::Route, "limits.request_body", route::REQUEST_BODY),
    (Section::Route, "limits.buffer", route::BUFFER),
    (Section::Cluster, "connect_timeout", cluster::CONNECT_TIMEOUT),
    (Section::Cluster, "idle_timeout", cluster::IDLE_TIMEOUT),
    (Section::Cluster, "idle_connections", cluster::IDLE_CONNECTIONS),
    (Section::Cluster, "dns_refresh", cluster::DNS_REFRESH),
    (Section::Cluster, "health.statuses.from", cluster::health::STATUS_FROM),
    (Section::Cluster, "health.statuses.to", cluster::health::STATUS_TO),
    (Section::Cluster, "health.interval", cluster::health::INTERVAL),
    (Section::Cluster, "health.timeout", cluster::health::TIMEOUT),
    (Section::Cluster, "health.healthy_after", cluster::health::HEALTHY_AFTER),
    (Section::Cluster, "health.unhealthy_after", cluster::health::UNHEALTHY_AFTER),
    (Section::Cluster, "outlier.consecutive_failures", cluster::health::CONSECUTIVE_FAILURES),
    (Section::Cluster, "outlier.ejection_time", cluster::health::EJECTION_TIME),
    (Section::Cluster, "outlier.ejection_time_max", cluster::health::EJECTION_TIME_MAX),
    (Section::Cluster, "outlier.ejected_percent", cluster::health::EJECTED_PERCENT),
    (Section::Cluster, "limits.connections", cluster::LIMIT_CONNECTIONS),
    (Section::Cluster, "limits.pending", cluster::LIMIT_PENDING),
    (Section::Cluster, "limits.requests", cluster::LIMIT_REQUESTS),
    (Section::Cluster, "limits.retry_percent", cluster::LIMIT_RETRY_PERCENT),
    (Section::Plugin, "vm.max", plugin::VM_MAX),
    (Section::Plugin, "vm.wait", plugin::VM_WAIT),
    (Section::Plugin, "limits.memory", plugin::MEMORY),
    (Section::Plugin, "limits.table_elements", plugin::TABLE_ELEMENTS),
    (Section::Plugin, "limits.cpu_time", plugin::CPU_TIME),
    (Section::Plugin, "limits.foreign_calls", plugin::FOREIGN_CALLS),
    (Section::Plugin, "reload_backoff.base", plugin::BACKOFF_BASE),
    (Section::Plugin, "reload_backoff.max", plugin::BACKOFF_MAX),
    (Section::Resource, "database", endpoint::DATABASE),
    (Section::Resource, "pool.max", resource::POOL_MAX),
    (Section::Resource, "pool.leased", resource::LEASED),
    (Section::Resource, "pool.connect_timeout", resource::CONNECT_TIMEOUT),
    (Section::Resource, "pool.acquire_timeout", resource::ACQUIRE_TIMEOUT),
    (Section::Resource, "pool.idle_timeout", resource::IDLE_TIMEOUT),
    (Section::Resource, "limits.call_timeout", resource::CALL_TIMEOUT),
    (Section::Resource, "limits.call_timeout_max", resource::CALL_TIMEOUT_MAX),
    (Section::Resource, "limits.request", resource::REQUEST),
    (Section::Resource, "limits.response", resource::RESPONSE),
    (Section::Resource, "limits.batch", resource::BATCH),
    (Section::Resource, "limits.in_flight", resource::IN_FLIGHT),
    (Section::Resource, "limits.waiters", resource::WAITERS),
    (Section::Resource, "breaker.failures", resource::FAILURES),
    (Section::Resource, "breaker.probe_interval", resource::PROBE_INTERVAL),
    (Section::Grant, "key_bytes", grant::KEY_BYTES),
];
