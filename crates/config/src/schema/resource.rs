//! `resources`: external resources, their connections and who may use them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::field::{ANY, Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::endpoint::topology;
use crate::schema::name::{Mentions, Unique, check_name};
use crate::schema::sql::{self, SqlType};
use crate::schema::{endpoint, faults, grant, tls};
use crate::snapshot::{BreakerPolicy, PoolPolicy, RedisAddress, Resource, ResourceLimits, SqlResource};
use crate::units::{Bounds, HOUR, KIB, MIB, MINUTE, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    RESOURCE_NAME,
    Field::choice(
        "type",
        &["redis"],
        "`redis`, for Redis and Valkey; the types of SQL have [fields of their own](#resources-of-sql)",
    )
    .required(),
    Field::text(
        "url",
        "`redis://host:port/database`, `rediss://...` for TLS, or `memory://name` for the embedded store, which \
         knows no credentials, databases, TLS and scripts. The port is 6379 if it is left out",
    )
    .one_of(),
    Field::text("endpoint", "`host:port`").one_of(),
    Field::choice(
        "mode",
        &["standalone", "sentinel", "cluster"],
        "`standalone`, one server; [`sentinel`](#redis-behind-sentinels), the primary that sentinels name; \
         [`cluster`](#redis-cluster)",
    )
    .or("`standalone`"),
    Field::new(
        "endpoints",
        Kind::List(&Kind::Text, 1, topology::ENDPOINTS_MAX),
        "In place of `url` and `endpoint`, for the other modes: `host:port` of the sentinels, or of some nodes of the \
         cluster",
    )
    .one_of(),
    Field::group("sentinel", topology::SENTINEL, "With `mode: sentinel`: what the sentinels are asked for").or("none"),
    Field::new(
        "announced",
        Kind::List(&Kind::Text, 0, topology::ANNOUNCED_MAX),
        "Where servers may be that sentinels or nodes announce, at any port: networks, IP addresses, names such as \
         `\"*.redis.internal\"`. The hosts of `endpoints` need not be named. Nothing else is connected to",
    ),
    Field::number(
        "topology_refresh",
        topology::REFRESH,
        "With sentinels and clusters: after so much time they are asked anew, if nothing gives reason to ask before",
    ),
    Field::choice(
        "read_from",
        &["primary", "prefer_replica"],
        "With sentinels and clusters: `prefer_replica` sends what only reads to a replica if one will do, and to the \
         primary otherwise",
    )
    .or("`primary`"),
    Field::number(
        "replica_lag_max",
        topology::LAG_MAX,
        "With `prefer_replica`: the data of a replica may be so old",
    )
    .or("any age"),
    Field::number(
        "database",
        endpoint::DATABASE,
        "Database index; with `endpoint`, or with a URL that names none; a cluster has none but 0",
    ),
    Field::text("username", "ACL user").or("the default user"),
    PASSWORD,
    Field::group("tls", tls::FIELDS, "How the server is verified").or("plaintext"),
    Field::group("pool", POOL, "Its connections"),
    Field::group("limits", LIMITS, "Bounds on one call, and on their number"),
    BREAKER_FIELD,
    faults::FIELD,
    Field::new("scripts", Kind::Map(&Kind::Group(SCRIPT)), "Lua scripts that grants may name"),
    Field::new("grants", Kind::List(&Kind::Group(grant::FIELDS), 0, ANY), GRANTS),
];
pub(super) const RESOURCE_NAME: Field =
    Field::new("name", Kind::Name, "The name that plugins use").required();
pub(super) const PASSWORD: Field =
    Field::reference("password", "A secret: [see below](#secrets)").within("64 KiB");
pub(super) const GRANTS: &str = "Who may use the resource; nobody else may";
const POOL: &[Field] = &[
    Field::number("max", POOL_MAX, "Connections of this process, over all workers"),
    Field::number(
        "leased",
        LEASED,
        "Of these, how many may be held exclusively (WATCH, blocking commands); less than `max`, and `max` - 1 if \
         that is less than the default",
    ),
    Field::number(
        "connect_timeout",
        CONNECT_TIMEOUT,
        "Time to connect, TLS and login included, over all hosts",
    ),
    Field::number("acquire_timeout", ACQUIRE_TIMEOUT, "How long a call waits for an exclusive connection"),
    Field::number("idle_timeout", IDLE_TIMEOUT, "An unused exclusive connection is closed after this"),
];
const LIMITS: &[Field] = &[
    Field::number("call_timeout", CALL_TIMEOUT, "Deadline of a call that names none"),
    Field::number("call_timeout_max", CALL_TIMEOUT_MAX, CALL_TIMEOUT_MAX_MEANING),
    Field::number("request", REQUEST, "Size of one call's commands"),
    Field::number("response", RESPONSE, "Size of one call's replies"),
    Field::number("batch", BATCH, "Commands in one call"),
    Field::number("in_flight", IN_FLIGHT, "Calls under way at once, over all workers"),
    Field::number(
        "waiters",
        WAITERS,
        "Calls of each plugin that may wait for a place; more are `overloaded`",
    ),
];
pub(super) const CALL_TIMEOUT_MAX_MEANING: &str = "No call may ask for more; not less than `call_timeout`, and \
    `call_timeout` if that is more than the default";
pub(super) const BREAKER_FIELD: Field = Field::group("breaker", BREAKER, "When the resource counts as dead");
const BREAKER: &[Field] = &[
    Field::number(
        "failures",
        FAILURES,
        "Consecutive failures to reach the server after which the resource counts as dead. A statement of SQL that runs \
         into its deadline is none",
    ),
    Field::number(
        "probe_interval",
        PROBE_INTERVAL,
        "While it is dead, one probe goes out each time this has passed",
    ),
];
const SCRIPT: &[Field] = &[
    Field::text("file", "Path of the script").one_of().within("256 KiB"),
    Field::text("source", "The script itself").one_of().within("256 KiB"),
];

pub(crate) const POOL_MAX: Bounds = Bounds::count(1, 16, 10_000);
pub(crate) const LEASED: Bounds = Bounds::count(0, 4, 9_999);
pub(crate) const CONNECT_TIMEOUT: Bounds = Bounds::time(MS, SECOND, MINUTE);
pub(crate) const ACQUIRE_TIMEOUT: Bounds = Bounds::time(MS, 50 * MS, MINUTE);
pub(crate) const IDLE_TIMEOUT: Bounds = Bounds::time(100 * MS, 5 * MINUTE, 24 * HOUR);

pub(crate) const CALL_TIMEOUT: Bounds = Bounds::time(MS, 50 * MS, 5 * MINUTE);
pub(crate) const CALL_TIMEOUT_MAX: Bounds = Bounds::time(MS, 5 * SECOND, 5 * MINUTE);
pub(crate) const REQUEST: Bounds = Bounds::bytes(KIB, 256 * KIB, 64 * MIB);
pub(crate) const RESPONSE: Bounds = Bounds::bytes(KIB, MIB, 256 * MIB);
pub(crate) const BATCH: Bounds = Bounds::count(1, 64, 10_000);
pub(crate) const IN_FLIGHT: Bounds = Bounds::count(1, 1024, 1_000_000);
pub(crate) const WAITERS: Bounds = Bounds::count(0, 1024, 1_000_000);

pub(crate) const FAILURES: Bounds = Bounds::count(1, 5, 1_000_000);
pub(crate) const PROBE_INTERVAL: Bounds = Bounds::time(10 * MS, 500 * MS, 5 * MINUTE);

const SCRIPT_BYTES_MAX: usize = 256 * 1024;

/// A resource of either kind.
#[derive(Debug)]
pub(super) enum Lowered {
    Redis(Resource),
    Sql(SqlResource),
}

/// What `type` says; `None` is Redis.
const TYPES: [(&str, Option<SqlType>); 4] = [
    ("redis", None),
    ("postgres", Some(SqlType::Postgres)),
    ("mysql", Some(SqlType::Mysql)),
    ("sqlite", Some(SqlType::Sqlite)),
];

/// Which fields there are depends on the type, so it is looked at before them.
pub(super) fn lower(item: &Item<'_>, unique: &mut Unique, mentions: &Mentions) -> Option<Lowered> {
    let sql_type = item.peek("type").and_then(|word| {
        let found = TYPES.iter().find(|(name, _)| *name == word);
        found.and_then(|(_, sql_type)| *sql_type)
    });
    match sql_type {
        Some(sql_type) => sql::lower(item, sql_type, unique, mentions).map(Lowered::Sql),
        None => redis(item, unique, mentions).map(Lowered::Redis),
    }
}

fn redis(item: &Item<'_>, unique: &mut Unique, mentions: &Mentions) -> Option<Resource> {
    let fields = item.fields(FIELDS)?;
    let name = unique.name(&fields);
    if let Some(item) = fields.required("type", "redis") {
        item.choice(&TYPES);
    }
    let redis = endpoint::lower(&fields);
    let pool = pool(&fields);
    let limits = limits(&fields);
    let breaker = breaker(&fields);
    let faults = faults::lower(&fields);
    let scripts = fields.optional("scripts").map(|item| scripts(&item)).unwrap_or_default();
    let grants = grants(&fields, &scripts, mentions);
    let redis = redis?;
    if let (RedisAddress::Memory { .. }, Some(item)) = (&redis.address, fields.optional("scripts")) {
        item.problem("the embedded store runs no scripts", "Remove the scripts, or use a Redis server");
    }
    if !matches!(redis.address, RedisAddress::Memory { .. }) {
        let readers = grants.iter().map(|(plugin, grant)| (plugin, grant.read_only));
        grant::check_role(&fields, redis.username.is_some(), readers);
    }
    Some(Resource { name, redis, pool, limits, breaker, faults, scripts, grants })
}

pub(super) fn breaker(fields: &Fields<'_>) -> BreakerPolicy {
    let breaker = fields.group("breaker", BREAKER);
    BreakerPolicy {
        failures: breaker.u32("failures", FAILURES),
        probe_interval: breaker.duration("probe_interval", PROBE_INTERVAL),
    }
}

fn pool(fields: &Fields<'_>) -> PoolPolicy {
    let pool = fields.group("pool", POOL);
    let max = pool.u64("max", POOL_MAX);
    let leased = pool.u64("leased", LEASED.or(LEASED.default.min(max - 1)));
    if leased >= max {
        pool.item
            .problem("leased is not less than max", "Raise max, or lower leased: one connection is shared");
    }
    PoolPolicy {
        max: usize::try_from(max).unwrap_or(usize::MAX),
        leased_max: usize::try_from(leased).unwrap_or(usize::MAX),
        connect_timeout: pool.duration("connect_timeout", CONNECT_TIMEOUT),
        acquire_timeout: pool.duration("acquire_timeout", ACQUIRE_TIMEOUT),
        idle_timeout: pool.duration("idle_timeout", IDLE_TIMEOUT),
    }
}

fn limits(fields: &Fields<'_>) -> ResourceLimits {
    let limits = fields.group("limits", LIMITS);
    let (call_timeout, call_timeout_max) = call_timeouts(&limits, CALL_TIMEOUT, CALL_TIMEOUT_MAX);
    ResourceLimits {
        call_timeout,
        call_timeout_max,
        request_bytes_max: limits.usize("request", REQUEST),
        response_bytes_max: limits.usize("response", RESPONSE),
        batch_max: limits.usize("batch", BATCH),
        in_flight_max: limits.usize("in_flight", IN_FLIGHT),
        waiters_max: limits.usize("waiters", WAITERS),
    }
}

pub(super) fn call_timeouts(limits: &Fields<'_>, usual: Bounds, most: Bounds) -> (Duration, Duration) {
    let call_timeout = limits.duration("call_timeout", usual);
    let millis = u64::try_from(call_timeout.as_millis()).unwrap_or(u64::MAX);
    let call_timeout_max = limits.duration("call_timeout_max", most.or(millis.max(most.default)));
    if call_timeout_max < call_timeout {
        limits.item.problem(
            "call_timeout_max is less than call_timeout",
            "Raise call_timeout_max, or lower call_timeout",
        );
    }
    (call_timeout, call_timeout_max)
}

fn scripts(item: &Item<'_>) -> BTreeMap<String, String> {
    let mut scripts = BTreeMap::new();
    for (name, item) in item.entries() {
        check_name(&item, name);
        // A script with a problem is still a name that grants may use.
        scripts.insert(name.to_owned(), script(&item).unwrap_or_default());
    }
    scripts
}

fn script(item: &Item<'_>) -> Option<String> {
    let (field, item) = item.fields(SCRIPT)?.one_of(&["file", "source"], "{ file: limit.lua }")?;
    let text = item.text()?;
    let source = if field == "source" { text.to_owned() } else { item.text_file(text, "Lua source")? };
    if source.trim().is_empty() || source.len() > SCRIPT_BYTES_MAX {
        let message = format!("the script has {} bytes", source.len());
        item.problem(message, format!("Write 1 to {SCRIPT_BYTES_MAX} bytes of Lua"));
    }
    Some(source)
}

fn grants(
    fields: &Fields<'_>,
    scripts: &BTreeMap<String, String>,
    mentions: &Mentions,
) -> BTreeMap<String, Arc<crate::Grant>> {
    let mut grants = BTreeMap::new();
    for item in fields.list("grants") {
        let Some((plugin, grant)) = grant::lower(&item, scripts, mentions) else { continue };
        if grants.contains_key(&plugin) {
            let message = format!("the plugin {} has a grant here already", quoted(&plugin));
            item.problem(message, "Write one grant for each plugin");
        }
        grants.insert(plugin, Arc::new(grant));
    }
    if grants.is_empty() {
        fields
            .item
            .warning("nothing may use this resource", "Write grants: [{ plugin: NAME, commands: [get] }]");
    }
    grants
}
