//! `clusters`: where requests go.

pub(crate) mod health;

use crate::field::{Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, NAME, Unique};
use crate::schema::{address, tls};
use crate::snapshot::{Balance, Cluster, ClusterLimits, ClusterTarget, UpstreamProtocol};
use crate::units::{Bounds, HOUR, MINUTE, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    NAME,
    Field::new(
        "endpoints",
        Kind::List(&Kind::Text, 1, ENDPOINTS_MAX),
        "`host:port` each; each address of a name is an endpoint",
    )
    .one_of(),
    Field::choice("builtin", &["echo"], "`echo` answers JSON with method, path and headers").one_of(),
    Field::choice(
        "protocol",
        &["http1", "http2", "auto"],
        "What is spoken to endpoints: `http1`, `http2` (without TLS by prior knowledge), or `auto`: what ALPN \
         says, only with TLS",
    )
    .or("`http1`"),
    Field::group("tls", tls::FIELDS, "How endpoints are verified").or("plaintext"),
    Field::choice(
        "balance",
        &["round_robin", "least_request", "consistent_hash"],
        "Which endpoint is next: `round_robin`, `least_request` (of two drawn at random the one with fewer \
         requests under way), or `consistent_hash` (by the route's `hash`)",
    )
    .or("`round_robin`"),
    Field::number("dns_refresh", DNS_REFRESH, "How often names are resolved anew"),
    Field::number("connect_timeout", CONNECT_TIMEOUT, "Time to connect to an endpoint, TLS included"),
    Field::number("idle_timeout", IDLE_TIMEOUT, "An idle connection is closed after this"),
    Field::number("idle_connections", IDLE_CONNECTIONS, "Idle connections kept per worker and endpoint"),
    Field::group("health", health::HEALTH, "Probes that find out which endpoints are fit").or("no probes"),
    Field::group("outlier", health::OUTLIER, "Failed requests that eject an endpoint for a while")
        .or("none is ejected"),
    Field::group("limits", LIMITS, "Bounds on the whole cluster, over all workers"),
];
const LIMITS: &[Field] = &[
    Field::number("connections", LIMIT_CONNECTIONS, "Connections over all workers, idle ones included"),
    Field::number(
        "pending",
        LIMIT_PENDING,
        "Requests that wait for a connection at that bound; more are a 503",
    ),
    Field::number("requests", LIMIT_REQUESTS, "Requests under way; more are a 503"),
    Field::number(
        "retry_percent",
        LIMIT_RETRY_PERCENT,
        "Retries under way, as a share of the requests under way; 3 are always allowed",
    ),
];
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
    let fields = item.fields(FIELDS)?;
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
    let limits = fields.group("limits", LIMITS);
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
