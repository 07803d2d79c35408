//! `mode: sentinel` and `mode: cluster`: several endpoints, and what they may name.

use std::time::Duration;

use crate::field::Field;
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::listener::forwarded;
use crate::schema::resource::PASSWORD;
use crate::schema::{address, secret, syntax, tls};
use crate::secret::Secret;
use crate::snapshot::{
    AnnouncedHost, RedisAddress, RedisCluster, RedisHost, RedisReadFrom, RedisSentinels, RedisTopology,
};
use crate::units::{Bounds, HOUR, MS, SECOND};

pub(crate) const REFRESH: Bounds = Bounds::time(100 * MS, 10 * SECOND, HOUR);

pub(crate) const ENDPOINTS_MAX: usize = 16;
/// They are gone through for each server that is announced.
pub(crate) const ANNOUNCED_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 256;
pub(crate) const LAG_MAX: Bounds = Bounds::time(100 * MS, 5 * SECOND, HOUR);
const READ_FROM: [(&str, bool); 2] = [("primary", false), ("prefer_replica", true)];
pub(crate) const SENTINEL: &[Field] = &[
    Field::text("name", "What the sentinels call the primary").required().within("256 bytes"),
    Field::text("username", "ACL user of the sentinels, which have credentials and TLS of their own")
        .or("the default user"),
    PASSWORD,
    Field::group("tls", tls::FIELDS, "As `tls`, for the sentinels").or("plaintext"),
];

/// What `mode` says, unless it is `standalone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Sentinel,
    Cluster,
}

const MODES: [(&str, Option<Mode>); 3] =
    [("standalone", None), ("sentinel", Some(Mode::Sentinel)), ("cluster", Some(Mode::Cluster))];

/// `None` for a standalone server, whose document then has none of the fields of the others.
pub(super) fn mode(fields: &Fields<'_>) -> Option<Mode> {
    let mode = fields.optional("mode").and_then(|item| item.choice(&MODES)).flatten();
    let (foreign, hint): (&[&'static str], _) = match mode {
        None => (
            &["endpoints", "sentinel", "announced", "topology_refresh", "read_from", "replica_lag_max"],
            "Write mode: sentinel or mode: cluster beside it, or remove the field; a standalone server has an endpoint",
        ),
        Some(Mode::Sentinel) => {
            (&["url", "endpoint"], "Write the sentinels as endpoints: [\"host:26379\"], and database: N")
        }
        Some(Mode::Cluster) => {
            (&["url", "endpoint", "sentinel"], "Write some of its nodes as endpoints: [\"host:6379\"]")
        }
    };
    for name in foreign {
        if let Some(item) = fields.optional(name) {
            item.problem("the field does not go with this mode", hint);
        }
    }
    mode
}

pub(super) fn lower(fields: &Fields<'_>, mode: Mode) -> Option<RedisAddress> {
    let example = match mode {
        Mode::Sentinel => "[\"sentinel-0.internal:26379\", \"sentinel-1.internal:26379\"]",
        Mode::Cluster => "[\"redis-0.internal:6379\", \"redis-1.internal:6379\"]",
    };
    let endpoints = fields.required("endpoints", example).and_then(|item| endpoints(&item));
    let topology = RedisTopology {
        announced: announced(fields),
        refresh: fields.duration("topology_refresh", REFRESH),
        read_from: read_from(fields),
    };
    match mode {
        Mode::Cluster => Some(RedisAddress::Cluster(RedisCluster { endpoints: endpoints?, topology })),
        Mode::Sentinel => sentinels(fields, endpoints, topology)
            .map(|sentinels| RedisAddress::Sentinel(Box::new(sentinels))),
    }
}

fn sentinels(
    fields: &Fields<'_>,
    endpoints: Option<Vec<RedisHost>>,
    topology: RedisTopology,
) -> Option<RedisSentinels> {
    let item = fields.required("sentinel", "{ name: mymaster }")?;
    let sentinel = item.fields(SENTINEL)?;
    let name = sentinel.required("name", "mymaster").and_then(|item| name(&item));
    let username = sentinel.optional("username").and_then(|item| Some(item.text()?.to_owned()));
    let password = sentinel.optional("password").and_then(|item| secret::secret(&item)).map(Secret::new);
    let tls = sentinel.optional("tls").as_ref().and_then(tls::lower);
    Some(RedisSentinels { endpoints: endpoints?, name: name?, username, password, tls, topology })
}

fn name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("{} is not what sentinels call a primary", quoted(name));
        item.problem(message, "Write the name after \"sentinel monitor\" in their configuration");
    }
    Some(name.to_owned())
}

fn endpoints(item: &Item<'_>) -> Option<Vec<RedisHost>> {
    let mut endpoints = Vec::new();
    let items = item.list_of("endpoints", ENDPOINTS_MAX, "");
    for item in &items {
        let Some(text) = item.text() else { continue };
        match address::parse(text, None) {
            Ok((host, port)) => {
                let endpoint = RedisHost { host, port };
                if endpoints.contains(&endpoint) {
                    item.problem("the endpoint is written twice", "Remove one of the two");
                }
                endpoints.push(endpoint);
            }
            Err(reason) => {
                let message = format!("{} is not an endpoint: {reason}", quoted(text));
                item.problem(message, "Write host:port, such as \"127.0.0.1:6379\"");
            }
        }
    }
    // A problem has been reported for each one that is missing.
    (!items.is_empty() && endpoints.len() == items.len()).then_some(endpoints)
}

fn read_from(fields: &Fields<'_>) -> RedisReadFrom {
    let prefers = fields.optional("read_from").and_then(|item| item.choice(&READ_FROM)).unwrap_or(false);
    let lag_max = fields.optional("replica_lag_max");
    match (prefers, lag_max) {
        (true, lag_max) => RedisReadFrom::PreferReplica {
            lag_max: lag_max.map(|item| Duration::from_millis(item.number(LAG_MAX))),
        },
        (false, Some(item)) => {
            item.problem(
                "nothing is read from replicas",
                "Write read_from: prefer_replica, or remove the field",
            );
            RedisReadFrom::Primary
        }
        (false, None) => RedisReadFrom::Primary,
    }
}

fn announced(fields: &Fields<'_>) -> Vec<AnnouncedHost> {
    let Some(list) = fields.optional("announced") else { return Vec::new() };
    let items = list.list_of("hosts", ANNOUNCED_MAX, ", or remove the field");
    items.iter().filter_map(announced_host).collect()
}

fn announced_host(item: &Item<'_>) -> Option<AnnouncedHost> {
    const HINT: &str =
        "Write a network such as 10.0.0.0/8, an IP address, or a name such as \"*.redis.internal\"";
    let text = item.text()?;
    if text.contains('/') || text.parse::<std::net::IpAddr>().is_ok() {
        return forwarded::network(item).map(AnnouncedHost::Network);
    }
    syntax::host_pattern(item, HINT).map(AnnouncedHost::Name)
}
