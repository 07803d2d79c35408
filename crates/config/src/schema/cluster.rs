//! `clusters`: where requests go.

pub(crate) mod health;

use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, Unique};
use crate::schema::{address, tls};
use crate::snapshot::{Balance, Cluster, ClusterLimits, ClusterTarget, UpstreamProtocol};
use crate::units::{Bounds, HOUR, MINUTE, MS, SECOND};

const FIELDS: [&str; 13] = [
    "name",
    "endpoints",
    "builtin",
    "protocol",
    "tls",
    "balance",
    "dns_refresh",
    "connect_timeout",
    "idle_timeout",
    "idle_connections",
    "health",
    "outlier",
    "limits",
];
const LIMITS: [&str; 4] = ["connections", "pending", "requests", "retry_percent"];
/// What makes sense only for endpoints.
const OF_ENDPOINTS: [&str; 6] = ["protocol", "tls", "balance", "dns_refresh", "health", "outlier"];

pub(crate) const CONNECT_TIMEOUT: Bounds = Bounds::time(MS, SECOND, MINUTE);
pub(crate) const IDLE_TIMEOUT: Bounds = Bounds::time(100 * MS, MINUTE, HOUR);
pub(crate) const IDLE_CONNECTIONS: Bounds = Bounds::count(0, 64, 10_000);

pub(crate) const DNS_REFRESH: Bounds = Bounds::time(100 * MS, 5 * SECOND, HOUR);
pub(crate) const LIMIT_CONNECTIONS: Bounds = Bounds::count(1, 10_000, 1_000_000);
pub(crate) const LIMIT_PENDING: Bounds = Bounds::count(0, 1024, 1_000_000);
pub(crate) const LIMIT_REQUESTS: Bounds = Bounds::count(1, 10_000, 1_000_000);
pub(crate) const LIMIT_RETRY_PERCENT: Bounds = Bounds::count(0, 20, 100);

const ENDPOINTS_MAX: usize = 1000;

pub(super) fn lower(item: &Item<'_>, unique: &mut Unique, mentions: &Mentions) -> Option<Cluster> {
    let fields = item.fields(&FIELDS)?;
    let name = unique.name(&fields);
    if !mentions.routed_clusters.contains(&name) {
        item.warning("no route uses this cluster", "Name it in a route, or remove it");
    }
    let target = target(&fields);
    let verification = fields.optional("tls").map(|item| tls::lower(&item));
    let protocol = protocol(&fields, verification.is_some());
    let balance = balance(&fields, mentions.hashed_clusters.contains(&name));
    let health = fields.optional("health").and_then(|item| health::health(&item));
    let outlier = fields.optional("outlier").and_then(|item| health::outlier(&item));
    let limits = limits(&fields);
    let target = target?;
    if target == ClusterTarget::BuiltinEcho {
        for item in OF_ENDPOINTS.iter().filter_map(|field| fields.optional(field)) {
            item.problem("the built-in cluster has no such thing", "Remove the field, or write endpoints");
        }
    }
    Some(Cluster {
        protocol,
        tls: verification.flatten(),
        balance,
        dns_refresh: fields.duration("dns_refresh", DNS_REFRESH),
        connect_timeout: fields.duration("connect_timeout", CONNECT_TIMEOUT),
        idle_timeout: fields.duration("idle_timeout", IDLE_TIMEOUT),
        idle_max: fields.usize("idle_connections", IDLE_CONNECTIONS),
        health,
        outlier,
        limits,
        ..Cluster::new(&name, target)
    })
}

fn protocol(fields: &Fields<'_>, tls: bool) -> UpstreamProtocol {
    let protocols = [
        ("http1", UpstreamProtocol::Http1),
        ("http2", UpstreamProtocol::Http2),
        ("auto", UpstreamProtocol::Auto),
    ];
    let Some(item) = fields.optional("protocol") else { return UpstreamProtocol::Http1 };
    let protocol = item.choice(&protocols).unwrap_or(UpstreamProtocol::Http1);
    if protocol == UpstreamProtocol::Auto && !tls {
        item.problem(
            "without TLS nothing tells which protocol an endpoint speaks",
            format!("Write http1 or http2, or add tls: {}", tls::EXAMPLE),
        );
    }
    protocol
}

/// `hashed`: whether a route to this cluster says what to hash.
fn balance(fields: &Fields<'_>, hashed: bool) -> Balance {
    let balances = [
        ("round_robin", Balance::RoundRobin),
        ("least_request", Balance::LeastRequest),
        ("consistent_hash", Balance::ConsistentHash),
    ];
    let Some(item) = fields.optional("balance") else { return Balance::RoundRobin };
    let balance = item.choice(&balances).unwrap_or(Balance::RoundRobin);
    if balance == Balance::ConsistentHash && !hashed {
        item.warning(
            "no route to this cluster says what to hash: its requests go anywhere",
            "Write hash: { client_address: true } in a route, or another balance",
        );
    }
    balance
}

fn limits(fields: &Fields<'_>) -> ClusterLimits {
    let limits = fields.group("limits", &LIMITS);
    ClusterLimits {
        connections_max: limits.usize("connections", LIMIT_CONNECTIONS),
        pending_max: limits.usize("pending", LIMIT_PENDING),
        requests_max: limits.usize("requests", LIMIT_REQUESTS),
        retry_percent_max: limits.u32("retry_percent", LIMIT_RETRY_PERCENT),
    }
}

fn target(fields: &Fields<'_>) -> Option<ClusterTarget> {
    let (field, item) = fields.one_of(&["endpoints", "builtin"], "endpoints: [\"127.0.0.1:9000\"]")?;
    if field == "builtin" {
        return item.choice(&[("echo", ())]).map(|()| ClusterTarget::BuiltinEcho);
    }
    let items = item.list_of("endpoints", ENDPOINTS_MAX, "");
    let endpoints: Vec<_> = items.iter().filter_map(|item| item.text().map(|text| (item, text))).collect();
    let mut seen = std::collections::HashSet::new();
    for (item, endpoint) in &endpoints {
        if let Err(reason) = address::parse(endpoint, None) {
            item.problem(
                format!("{} is not an endpoint: {reason}", quoted(endpoint)),
                "Write host:port, such as 10.0.0.1:9000 or backend.internal:80",
            );
        } else if !seen.insert(*endpoint) {
            item.problem(
                format!("the endpoint {} is written twice", quoted(endpoint)),
                "Remove one of the two",
            );
        }
    }
    Some(ClusterTarget::Endpoints(endpoints.into_iter().map(|(_, endpoint)| endpoint.to_owned()).collect()))
}
