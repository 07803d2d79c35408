//! `clusters`: where requests go.

use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::address;
use crate::schema::name::{Mentions, Unique};
use crate::snapshot::{Cluster, ClusterTarget};
use crate::units::{Bounds, HOUR, MINUTE, MS, SECOND};

const FIELDS: [&str; 6] =
    ["name", "endpoints", "builtin", "connect_timeout", "idle_timeout", "idle_connections"];

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
    Some(Cluster {
        connect_timeout: fields.duration("connect_timeout", CONNECT_TIMEOUT),
        idle_timeout: fields.duration("idle_timeout", IDLE_TIMEOUT),
        idle_max: fields.usize("idle_connections", IDLE_CONNECTIONS),
        ..Cluster::new(&name, target(&fields)?)
    })
}

fn target(fields: &Fields<'_>) -> Option<ClusterTarget> {
    let (field, item) = fields.one_of(&["endpoints", "builtin"], "endpoints: [\"127.0.0.1:9000\"]")?;
    if field == "builtin" {
        return item.choice(&[("echo", ())]).map(|()| ClusterTarget::BuiltinEcho);
    }
    let endpoints = item.texts();
    if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
        item.problem(
            "the number of endpoints is out of bounds",
            format!("Write 1 to {ENDPOINTS_MAX} of them"),
        );
    }
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
