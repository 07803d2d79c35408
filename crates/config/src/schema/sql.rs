//! `resources` of the types `postgres`, `mysql` and `sqlite`.

pub(crate) mod endpoint;
pub(crate) mod grant;
pub(crate) mod statement;

use std::collections::BTreeMap;
use std::sync::Arc;

use agw_sql_statements::Dialect;

use crate::field::{ANY, Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::schema::name::{Mentions, Unique, check_name};
use crate::schema::{faults, resource, tls};
use crate::snapshot::{SqlEndpoint, SqlGrant, SqlLimits, SqlPool, SqlResource, SqlStatement, SqlTarget};
use crate::units::{Bounds, DAY, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND};

pub(super) const FIELDS: &[Field] = &[
    resource::RESOURCE_NAME,
    Field::choice(
        "type",
        &["postgres", "mysql", "sqlite"],
        "`postgres`, `mysql` (also MariaDB) or `sqlite`",
    )
    .required(),
    Field::text(
        "url",
        "`postgres://host:port/database`, `mysql://host:port/database` or `mariadb://host:port/database` (both are \
         the type `mysql`); the port is 5432 or 3306 if it is left out. `sqlite://PATH`, relative to the document's \
         folder, so that `sqlite:///var/lib/agw/users.db` is an absolute path; or `\"sqlite::memory:\"` (in quotes) \
         for a database in memory that belongs to this resource",
    )
    .one_of(),
    Field::text("endpoint", "`host:port` of a server").one_of(),
    Field::new(
        "endpoints",
        Kind::List(&Kind::Text, 1, endpoint::ENDPOINTS_MAX),
        "[Several hosts](#several-hosts) of a server, each `host:port`",
    )
    .one_of(),
    Field::choice(
        "target",
        &["any", "primary", "replica", "prefer_replica"],
        "Which of them connections go to; holds for a single host as well",
    )
    .or("`any`"),
    Field::text(
        "database",
        "Name of a server's database; with `endpoint` or `endpoints`, or with a URL that names none",
    )
    .or("the URL's, which a server needs")
    .within("63 bytes"),
    Field::text("username", "User of a server").or("the server's default"),
    resource::PASSWORD,
    Field::group(
        "tls",
        tls::FIELDS,
        "How the server is verified, its name included: that of each host, unless `server_name` names one for all. \
         A server on another machine needs it, unless `plaintext` is `true`",
    )
    .or("plaintext"),
    Field::boolean("plaintext", "Everything may cross the network in plaintext, password included"),
    Field::group(
        "schema",
        endpoint::SCHEMA,
        "SQL that runs when a SQLite database is opened first, several statements separated by semicolons; it must \
         be fit to run again, as `CREATE TABLE IF NOT EXISTS` is. A file that is missing is made",
    )
    .or("none"),
    Field::group("pool", POOL, "Its connections"),
    Field::group("limits", LIMITS, "Bounds on one call, and on their number"),
    resource::BREAKER_FIELD,
    faults::FIELD,
    Field::new(
        "statements",
        Kind::Map(&Kind::Either(&Kind::Text, &Kind::Group(statement::FIELDS))),
        "Statements that grants may name: a mapping with the fields below, or the text alone",
    )
    .within("at most 1000 of them"),
    Field::new("grants", Kind::List(&Kind::Group(grant::FIELDS), 0, ANY), resource::GRANTS),
];
const POOL: &[Field] = &[
    Field::number(
        "max",
        POOL_MAX,
        "Connections of this process, over all workers; each serves one call at a time",
    ),
    Field::number("min", POOL_MIN, "So many stay open even if nobody uses them; at most `max`"),
    Field::number("connect_timeout", CONNECT_TIMEOUT, "Time to connect, TLS and login included"),
    Field::number("acquire_timeout", ACQUIRE_TIMEOUT, "How long a call waits for a connection"),
    Field::number("idle_timeout", IDLE_TIMEOUT, "An unused connection is closed after this"),
    Field::number("lifetime", LIFETIME, "A connection is closed after this, less a random tenth of it"),
    Field::number(
        "statements",
        POOL_STATEMENTS,
        "Prepared statements that one connection keeps; the one that was not used for longest gives way",
    ),
    Field::number(
        "pipelined",
        POOL_PIPELINED,
        "Connections beside `max`, shared by the calls of statements that are `pipelined`, 32 calls on each at once; \
         a worker always uses the same one. The first such call opens them, and they stay open",
    ),
];
const LIMITS: &[Field] = &[
    Field::number("call_timeout", CALL_TIMEOUT, "Deadline of a call that names none"),
    Field::number("call_timeout_max", CALL_TIMEOUT_MAX, resource::CALL_TIMEOUT_MAX_MEANING),
    Field::number("request", REQUEST, "Size of one call's statements and parameters"),
    Field::number("response", RESPONSE, "Size of one call's results"),
    Field::number("rows", ROWS, "Rows of one result; more are `too_large`, or come in pages"),
    Field::number("cell", CELL, "Size of one value in a result"),
    Field::number("batch", BATCH, "Statements in one call"),
    Field::number("in_flight", IN_FLIGHT, "Calls under way at once, over all workers"),
    Field::number(
        "waiters",
        WAITERS,
        "Calls of each plugin that may wait for a place; more are `overloaded`",
    ),
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
    let fields = item.fields(FIELDS)?;
    let name = unique.name(&fields);
    let endpoint: Option<SqlEndpoint> = endpoint::lower(&fields, sql_type);
    let pool = pool(&fields);
    let limits = limits(&fields);
    let breaker = resource::breaker(&fields);
    let faults = faults::lower(&fields);
    let statements = statements(&fields, sql_type);
    let grants = grants(&fields, &statements, &limits, mentions);
    check_replicas(&fields, endpoint.as_ref(), &statements, &grants);
    if let Some(SqlEndpoint::Server(_)) = &endpoint {
        let writes = |name: &String| statements.get(name).is_some_and(|statement| !statement.read_only);
        let reads =
            |grant: &SqlGrant| grant.read_only || !grant.ad_hoc && !grant.statements.iter().any(writes);
        // A server's default user may be one that only reads: the document does not show it.
        crate::schema::grant::check_role(
            &fields,
            true,
            grants.iter().map(|(plugin, grant)| (plugin, reads(grant))),
        );
    }
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
    let pool = fields.group("pool", POOL);
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
    let limits = fields.group("limits", LIMITS);
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
