//! `resources` of the types `postgres`, `mysql` and `sqlite`.

pub(crate) mod endpoint;
pub(crate) mod grant;
pub(crate) mod statement;

use std::collections::BTreeMap;
use std::sync::Arc;

use agw_sql_statements::Dialect;

use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, Unique, check_name};
use crate::schema::{faults, resource};
use crate::snapshot::{SqlEndpoint, SqlGrant, SqlLimits, SqlPool, SqlResource, SqlStatement, SqlTarget};
use crate::units::{Bounds, DAY, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND};

const FIELDS: [&str; 18] = [
    "name",
    "type",
    "url",
    "endpoint",
    "endpoints",
    "target",
    "database",
    "username",
    "password",
    "tls",
    "plaintext",
    "schema",
    "pool",
    "limits",
    "breaker",
    "faults",
    "statements",
    "grants",
];
const POOL: [&str; 8] = [
    "max",
    "min",
    "connect_timeout",
    "acquire_timeout",
    "idle_timeout",
    "lifetime",
    "statements",
    "pipelined",
];
const LIMITS: [&str; 9] = [
    "call_timeout",
    "call_timeout_max",
    "request",
    "response",
    "rows",
    "cell",
    "batch",
    "in_flight",
    "waiters",
];

pub(crate) const POOL_MAX: Bounds = Bounds::count(1, 16, 1000);
pub(crate) const POOL_MIN: Bounds = Bounds::count(0, 0, 1000);
pub(crate) const CONNECT_TIMEOUT: Bounds = Bounds::time(MS, SECOND, MINUTE);
pub(crate) const ACQUIRE_TIMEOUT: Bounds = Bounds::time(MS, 50 * MS, 5 * MINUTE);
pub(crate) const IDLE_TIMEOUT: Bounds = Bounds::time(100 * MS, 5 * MINUTE, DAY);
pub(crate) const LIFETIME: Bounds = Bounds::time(SECOND, 30 * MINUTE, 7 * DAY);
pub(crate) const POOL_STATEMENTS: Bounds = Bounds::count(0, 128, 10_000);
pub(crate) const POOL_PIPELINED: Bounds = Bounds::count(1, 2, 64);

pub(crate) const CALL_TIMEOUT: Bounds = Bounds::time(MS, 500 * MS, 5 * MINUTE);
pub(crate) const CALL_TIMEOUT_MAX: Bounds = Bounds::time(MS, 30 * SECOND, HOUR);
pub(crate) const REQUEST: Bounds = Bounds::bytes(KIB, 256 * KIB, 64 * MIB);
pub(crate) const RESPONSE: Bounds = Bounds::bytes(KIB, MIB, 256 * MIB);
pub(crate) const ROWS: Bounds = Bounds::count(1, 1000, 10_000_000);
pub(crate) const CELL: Bounds = Bounds::bytes(64, MIB, GIB);
pub(crate) const BATCH: Bounds = Bounds::count(1, 64, 10_000);
pub(crate) const IN_FLIGHT: Bounds = Bounds::count(1, 1024, 1_000_000);
pub(crate) const WAITERS: Bounds = Bounds::count(0, 1024, 1_000_000);

const STATEMENTS_MAX: usize = 1000;

/// What `type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlType {
    Postgres,
    Mysql,
    Sqlite,
}

impl SqlType {
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            SqlType::Postgres => Dialect::Postgres,
            SqlType::Mysql => Dialect::Mysql,
            SqlType::Sqlite => Dialect::Sqlite,
        }
    }
}

pub(super) fn lower(
    item: &Item<'_>,
    sql_type: SqlType,
    unique: &mut Unique,
    mentions: &Mentions,
) -> Option<SqlResource> {
    let fields = item.fields(&FIELDS)?;
    let name = unique.name(&fields);
    let endpoint: Option<SqlEndpoint> = endpoint::lower(&fields, sql_type);
    let pool = pool(&fields);
    let limits = limits(&fields);
    let breaker = resource::breaker(&fields);
    let faults = faults::lower(&fields);
    let statements = statements(&fields, sql_type);
    let grants = grants(&fields, &statements, &limits, mentions);
    check_replicas(&fields, endpoint.as_ref(), &statements, &grants);
    Some(SqlResource { name, endpoint: endpoint?, pool, limits, breaker, faults, statements, grants })
}

/// Replicas take no writes.
fn check_replicas(
    fields: &Fields<'_>,
    endpoint: Option<&SqlEndpoint>,
    statements: &BTreeMap<String, SqlStatement>,
    grants: &BTreeMap<String, Arc<SqlGrant>>,
) {
    let (Some(SqlEndpoint::Server(server)), Some(item)) = (endpoint, fields.optional("target")) else {
        return;
    };
    if !matches!(server.target, SqlTarget::Replica | SqlTarget::PreferReplica) {
        return;
    }
    let writes = |name: &String| statements.get(name).is_some_and(|statement| !statement.read_only);
    let may_write =
        |grant: &SqlGrant| !grant.read_only && (grant.ad_hoc || grant.statements.iter().any(writes));
    if let Some((plugin, _)) = grants.iter().find(|(_, grant)| may_write(grant)) {
        item.warning(
            format!("the plugin {} may write, and replicas take no writes", quoted(plugin)),
            "Grant it read_only: true here, and what writes on a resource of its own with target: primary",
        );
    }
}

fn pool(fields: &Fields<'_>) -> SqlPool {
    let pool = fields.group("pool", &POOL);
    let (max, min) = (pool.usize("max", POOL_MAX), pool.usize("min", POOL_MIN));
    if min > max {
        pool.item.problem("min is more than max", "Raise max, or lower min");
    }
    SqlPool {
        max,
        min,
        connect_timeout: pool.duration("connect_timeout", CONNECT_TIMEOUT),
        acquire_timeout: pool.duration("acquire_timeout", ACQUIRE_TIMEOUT),
        idle_timeout: pool.duration("idle_timeout", IDLE_TIMEOUT),
        lifetime: pool.duration("lifetime", LIFETIME),
        statements_max: pool.usize("statements", POOL_STATEMENTS),
        pipelined: pool.usize("pipelined", POOL_PIPELINED),
    }
}

fn limits(fields: &Fields<'_>) -> SqlLimits {
    let limits = fields.group("limits", &LIMITS);
    let (call_timeout, call_timeout_max) = resource::call_timeouts(&limits, CALL_TIMEOUT, CALL_TIMEOUT_MAX);
    SqlLimits {
        call_timeout,
        call_timeout_max,
        request_bytes_max: limits.usize("request", REQUEST),
        response_bytes_max: limits.usize("response", RESPONSE),
        rows_max: limits.usize("rows", ROWS),
        cell_bytes_max: limits.usize("cell", CELL),
        batch_max: limits.usize("batch", BATCH),
        in_flight_max: limits.usize("in_flight", IN_FLIGHT),
        waiters_max: limits.usize("waiters", WAITERS),
    }
}

/// A statement with a problem is still a name that grants may use: `None`.
fn statements(fields: &Fields<'_>, sql_type: SqlType) -> BTreeMap<String, SqlStatement> {
    let Some(item) = fields.optional("statements") else { return BTreeMap::new() };
    let entries = item.entries();
    if entries.len() > STATEMENTS_MAX {
        item.problem(
            format!("there are {} statements", entries.len()),
            format!("Write {STATEMENTS_MAX} at most"),
        );
        return BTreeMap::new();
    }
    let lower = |(name, item): (&str, Item<'_>)| {
        check_name(&item, name);
        (name.to_owned(), statement::lower(&item, sql_type))
    };
    entries.into_iter().map(lower).collect()
}

fn grants(
    fields: &Fields<'_>,
    statements: &BTreeMap<String, SqlStatement>,
    limits: &SqlLimits,
    mentions: &Mentions,
) -> BTreeMap<String, Arc<SqlGrant>> {
    let mut grants = BTreeMap::new();
    for item in fields.list("grants") {
        let Some((plugin, grant)) = grant::lower(&item, statements, limits, mentions) else { continue };
        if grants.contains_key(&plugin) {
            let message = format!("the plugin {} has a grant here already", quoted(&plugin));
            item.problem(message, "Write one grant for each plugin");
        }
        grants.insert(plugin, Arc::new(grant));
    }
    if grants.is_empty() {
        let hint = "Write grants: [{ plugin: NAME, statements: [NAME] }]";
        fields.item.warning("nothing may use this resource", hint);
    }
    grants
}
