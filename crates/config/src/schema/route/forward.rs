//! `cluster` or `clusters` of a route, and what changes on the way there.

use crate::field::{Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, check_reference};
use crate::schema::route::{Surroundings, retry, rewrite};
use crate::schema::syntax;
use crate::snapshot::{Forward, HashKey, HostRewrite, WeightedCluster};
use crate::units::Bounds;

/// Fields of a route that mean something only here.
pub(super) const ONLY_HERE: [&str; 4] = ["rewrite", "retry", "hash", "upgrades"];

pub(super) const SHARE: &[Field] = &[
    Field::new("name", Kind::Name, "Name of the cluster").required(),
    Field::number("weight", WEIGHT, "Its share is this over the sum of all, which is at least 1"),
];
pub(super) const REWRITE: &[Field] = &[
    Field::text(
        "path",
        "The path that the upstream sees; the query stays. At most one of `path`, `prefix` and `regex`",
    )
    .or("the request's")
    .within("4096 bytes"),
    Field::text("prefix", "In place of the prefix; only with `match.prefix`")
        .or("the request's")
        .within("4096 bytes"),
    Field::group("regex", rewrite::REGEX, "In place of what a regular expression matches")
        .or("the request's"),
    Field::text("host", "The host that the upstream sees, with or without port").or("the request's"),
    Field::boolean(
        "host_from_endpoint",
        "Whether that is the endpoint's `host:port`. Not with `rewrite.host`",
    ),
];
pub(super) const HASH: &[Field] = &[
    Field::boolean("client_address", "`true`: by the client's address").one_of(),
    Field::text("header", "By a header of this name; a request without it goes anywhere").one_of(),
    Field::text("cookie", "By a cookie of this name; a request without it goes anywhere").one_of(),
    Field::text("query", "By a query parameter of this name; a request without it goes anywhere").one_of(),
    Field::boolean("path", "`true`: by the path").one_of(),
];
const HASH_KEYS: [&str; 5] = ["client_address", "header", "cookie", "query", "path"];

pub(crate) const WEIGHT: Bounds = Bounds::count(0, 1, 1_000_000);
pub(super) const CLUSTERS_MAX: usize = 100;
pub(super) const UPGRADES_MAX: usize = 8;

/// Upgrades that would let a client speak past the gateway what the gateway has to see.
const REFUSED_UPGRADES: [&str; 4] = ["h2c", "h2", "http", "tls"];

/// `target` is the field `cluster` or `clusters`.
pub(super) fn lower(fields: &Fields<'_>, target: &Item<'_>, surroundings: &Surroundings<'_>) -> Forward {
    let clusters = if fields.optional("clusters").is_some() {
        shares(target, surroundings.mentions)
    } else {
        let cluster = cluster(target, surroundings.mentions);
        cluster.map(|cluster| WeightedCluster { cluster, weight: 1 }).into_iter().collect()
    };
    let rewrite = fields.optional("rewrite").and_then(|item| {
        let fields = item.fields(REWRITE)?;
        if REWRITE.iter().all(|field| fields.optional(field.name).is_none()) {
            item.problem("the rewrite changes nothing", "Write path, prefix, regex or host, or remove it");
        }
        Some((rewrite::path(&fields, surroundings.prefixed), host(&fields)))
    });
    let (path, host) = rewrite.unwrap_or_default();
    Forward {
        path,
        host,
        retry: fields.optional("retry").and_then(|item| retry::lower(&item, surroundings.timeout)),
        hash: fields.optional("hash").and_then(|item| hash(&item, &clusters, surroundings.mentions)),
        upgrades: fields.optional("upgrades").map(|item| upgrades(&item)).unwrap_or_default(),
        clusters,
    }
}

fn cluster(item: &Item<'_>, mentions: &Mentions) -> Option<String> {
    let name = item.text()?;
    check_reference(item, name, "cluster", &mentions.clusters);
    Some(name.to_owned())
}

fn shares(list: &Item<'_>, mentions: &Mentions) -> Vec<WeightedCluster> {
    let items = list.list_of("clusters", CLUSTERS_MAX, "");
    let mut shares: Vec<WeightedCluster> = Vec::new();
    for item in &items {
        let Some(fields) = item.fields(SHARE) else { continue };
        let weight = fields.u32("weight", WEIGHT);
        let Some(item) = fields.required("name", "NAME") else { continue };
        let Some(cluster) = cluster(&item, mentions) else { continue };
        if shares.iter().any(|share| share.cluster == cluster) {
            item.problem(format!("the cluster {} is listed twice", quoted(&cluster)), "Add the weights up");
        }
        shares.push(WeightedCluster { cluster, weight });
    }
    if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
        list.problem("no cluster has a weight", "Give one of them a weight of 1 or more");
    }
    shares
}

fn host(fields: &Fields<'_>) -> Option<HostRewrite> {
    let literal = fields.optional("host");
    let endpoint = fields.optional("host_from_endpoint");
    if let (Some(item), Some(_)) = (&endpoint, &literal) {
        item.problem("host and host_from_endpoint exclude each other", "Keep one of them");
    }
    if endpoint.is_some_and(|item| item.boolean().unwrap_or_default()) {
        return Some(HostRewrite::Endpoint);
    }
    literal.and_then(|item| syntax::authority(&item)).map(HostRewrite::Literal)
}

fn hash(item: &Item<'_>, clusters: &[WeightedCluster], mentions: &Mentions) -> Option<HashKey> {
    let (field, key) = item.fields(HASH)?.one_of(&HASH_KEYS, "client_address: true")?;
    let consistent = |share: &WeightedCluster| mentions.consistent_clusters.contains(&share.cluster);
    if !clusters.is_empty() && !clusters.iter().any(consistent) {
        item.warning(
            "no cluster of this route spreads requests by a hash",
            "Write balance: consistent_hash in the cluster, or remove the field",
        );
    }
    match field {
        "header" => key.text().map(|name| HashKey::Header(syntax::header_name(&key, name))),
        "cookie" => {
            let name = key.text()?;
            if !syntax::is_token(name) {
                key.problem(
                    format!("{} is not the name of a cookie", quoted(name)),
                    "Write one such as session",
                );
            }
            Some(HashKey::Cookie(name.to_owned()))
        }
        "query" => syntax::bounded(&key).map(HashKey::Query),
        _ => {
            if !key.boolean()? {
                key.problem("this key is off, and there is no other", "Write true, or remove the hash");
            }
            Some(if field == "path" { HashKey::Path } else { HashKey::ClientAddress })
        }
    }
}

fn upgrades(list: &Item<'_>) -> Vec<String> {
    let mut upgrades = Vec::new();
    for item in list.list_of("upgrades", UPGRADES_MAX, ", or remove the field") {
        let Some(protocol) = item.text() else { continue };
        let name = protocol.to_ascii_lowercase();
        if REFUSED_UPGRADES.contains(&name.as_str()) {
            item.problem(
                format!("an upgrade to {} would carry requests past the gateway", quoted(protocol)),
                "Remove it; listeners and clusters speak HTTP/2 by protocols and protocol",
            );
        } else if !syntax::is_token(&name) {
            item.problem(format!("{} is not a protocol", quoted(protocol)), "Write one such as websocket");
        } else if upgrades.contains(&name) {
            item.problem(format!("{} is listed twice", quoted(protocol)), "Remove one of the two");
        }
        upgrades.push(name);
    }
    upgrades
}
