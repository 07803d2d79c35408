//! `clusters`, shown.

use serde_json::{Value, json};

use super::tls;
use crate::snapshot::{Balance, Cluster, ClusterTarget, HealthCheck, OutlierPolicy, UpstreamProtocol};
use crate::units::show_duration;

pub(super) fn show(cluster: &Cluster) -> Value {
    let mut shown = json!({
        "name": cluster.name,
        "connect_timeout": show_duration(cluster.connect_timeout),
        "idle_timeout": show_duration(cluster.idle_timeout),
        "idle_connections": cluster.idle_max,
        "limits": {
            "connections": cluster.limits.connections_max,
            "pending": cluster.limits.pending_max,
            "requests": cluster.limits.requests_max,
            "retry_percent": cluster.limits.retry_percent_max,
        },
    });
    match &cluster.target {
        ClusterTarget::Endpoints(endpoints) => add_endpoints(&mut shown, cluster, endpoints),
        ClusterTarget::BuiltinEcho => shown["builtin"] = json!("echo"),
    }
    shown
}

fn add_endpoints(shown: &mut Value, cluster: &Cluster, endpoints: &[String]) {
    shown["endpoints"] = json!(endpoints);
    shown["protocol"] = json!(match cluster.protocol {
        UpstreamProtocol::Http1 => "http1",
        UpstreamProtocol::Http2 => "http2",
        UpstreamProtocol::Auto => "auto",
    });
    shown["balance"] = json!(match cluster.balance {
        Balance::RoundRobin => "round_robin",
        Balance::LeastRequest => "least_request",
        Balance::ConsistentHash => "consistent_hash",
    });
    shown["dns_refresh"] = json!(show_duration(cluster.dns_refresh));
    if let Some(verification) = &cluster.tls {
        shown["tls"] = tls(verification);
    }
    if let Some(check) = &cluster.health {
        shown["health"] = health(check);
    }
    if let Some(policy) = &cluster.outlier {
        shown["outlier"] = outlier(policy);
    }
}

fn health(check: &HealthCheck) -> Value {
    let (from, to) = check.statuses;
    let mut shown = json!({
        "path": check.path,
        "statuses": { "from": from, "to": to },
        "interval": show_duration(check.interval),
        "timeout": show_duration(check.timeout),
        "healthy_after": check.healthy_after,
        "unhealthy_after": check.unhealthy_after,
    });
    if let Some(host) = &check.host {
        shown["host"] = json!(host);
    }
    shown
}

fn outlier(policy: &OutlierPolicy) -> Value {
    json!({
        "consecutive_failures": policy.consecutive_failures,
        "ejection_time": show_duration(policy.ejection_time),
        "ejection_time_max": show_duration(policy.ejection_time_max),
        "ejected_percent": policy.ejected_percent_max,
    })
}
