//! Every number of the document with its bounds, for the tests that hold code and reference together.

use super::{cluster, endpoint, grant, listener, plugin, resource, route, sql};
use crate::units::Bounds;

/// Where a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Listener,
    Route,
    /// A route's share of requests for one cluster.
    Share,
    /// A route that the gateway answers.
    Respond,
    Cluster,
    Plugin,
    Resource,
    Grant,
    Sql,
    SqlGrant,
}

impl Section {
    /// What holds the number in the tests' document, as a JSON pointer.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Section::Listener => "/listeners/0",
            Section::Route => "/routes/0",
            Section::Share => "/routes/1/clusters/0",
            Section::Respond => "/routes/2/respond",
            Section::Cluster => "/clusters/0",
            Section::Plugin => "/plugins/0",
            Section::Resource => "/resources/0",
            Section::Grant => "/resources/0/grants/0",
            Section::Sql => "/resources/1",
            Section::SqlGrant => "/resources/1/grants/0",
        }
    }

    /// The chapter of the reference, and what stands before the field in its row.
    pub(crate) fn heading(self) -> (&'static str, &'static str) {
        match self {
            Section::Listener => ("listeners", ""),
            Section::Route => ("routes", ""),
            Section::Share => ("routes", "clusters[]."),
            Section::Respond => ("routes", "respond."),
            Section::Cluster => ("clusters", ""),
            Section::Plugin => ("plugins", ""),
            Section::Resource => ("resources", ""),
            Section::Grant => ("resources[].grants[]", ""),
            Section::Sql => ("resources[]", ""),
            Section::SqlGrant => ("resources[]", "grants[]."),
        }
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
    (Section::Share, "weight", route::forward::WEIGHT),
    (Section::Respond, "status", route::reply::RESPOND_STATUS),
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
    (Section::Sql, "pool.max", sql::POOL_MAX),
    (Section::Sql, "pool.min", sql::POOL_MIN),
    (Section::Sql, "pool.connect_timeout", sql::CONNECT_TIMEOUT),
    (Section::Sql, "pool.acquire_timeout", sql::ACQUIRE_TIMEOUT),
    (Section::Sql, "pool.idle_timeout", sql::IDLE_TIMEOUT),
    (Section::Sql, "pool.lifetime", sql::LIFETIME),
    (Section::Sql, "pool.statements", sql::POOL_STATEMENTS),
    (Section::Sql, "pool.pipelined", sql::POOL_PIPELINED),
    (Section::Sql, "limits.call_timeout", sql::CALL_TIMEOUT),
    (Section::Sql, "limits.call_timeout_max", sql::CALL_TIMEOUT_MAX),
    (Section::Sql, "limits.request", sql::REQUEST),
    (Section::Sql, "limits.response", sql::RESPONSE),
    (Section::Sql, "limits.rows", sql::ROWS),
    (Section::Sql, "limits.cell", sql::CELL),
    (Section::Sql, "limits.batch", sql::BATCH),
    (Section::Sql, "limits.in_flight", sql::IN_FLIGHT),
    (Section::Sql, "limits.waiters", sql::WAITERS),
    (Section::Sql, "breaker.failures", resource::FAILURES),
    (Section::Sql, "breaker.probe_interval", resource::PROBE_INTERVAL),
    (Section::SqlGrant, "share", sql::grant::SHARE),
];
