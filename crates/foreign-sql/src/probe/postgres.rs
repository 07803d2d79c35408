//! One host of Postgres.

use std::collections::{BTreeMap, BTreeSet};

use agw_config::{SqlHost, SqlResource, SqlServer};
use agw_foreign::{Latency, ProbeError, ProbeReport};
use agw_sql_statements::{Dialect, Rights};
use tokio_postgres::{Client, Row};

use super::need::{Need, shortened};
use super::{answered, calls, connected};
use crate::hosts::{Host, Role};
use crate::postgres::{Opener, check_role, refused, role};

const FACTS: &str = "SELECT pg_catalog.current_setting('server_version'), current_user::text, pg_catalog.current_database()::text";

const ATTRIBUTES: &str = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, \
     pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
     FROM pg_catalog.pg_roles WHERE rolname = current_user";

const MEMBERSHIPS: &str = "SELECT rolname::text FROM pg_catalog.pg_roles \
     WHERE rolname <> current_user AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER') ORDER BY 1";

const SCHEMAS: &str = "SELECT nspname::text FROM pg_catalog.pg_namespace \
     WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \
     AND pg_catalog.has_schema_privilege(oid, 'CREATE') ORDER BY 1";

/// Tables, views and the like outside of the server's own schemas.
const TABLES: &str = "SELECT n.nspname::text, c.relname::text, \
     pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'), \
     pg_catalog.has_table_privilege(c.oid, 'INSERT') OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT'), \
     pg_catalog.has_table_privilege(c.oid, 'UPDATE') OR pg_catalog.has_any_column_privilege(c.oid, 'UPDATE'), \
     pg_catalog.has_table_privilege(c.oid, 'DELETE'), pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'), \
     pg_catalog.pg_get_userbyid(c.relowner) = current_user \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     ORDER BY 1, 2 LIMIT 10000";

/// By the catalogs: `to_regclass` fails for a schema that the role may not use.
const RESOLVE: &str = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
     AND CASE WHEN $1 = '' THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = $1 END";

/// What a `serial` column takes its numbers from.
const SEQUENCES: &str = "SELECT n.nspname::text, s.relname::text FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
     JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
     JOIN pg_catalog.pg_class t ON t.oid = d.refobjid \
     JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
     WHERE tn.nspname = $1 AND t.relname = $2 AND d.deptype = 'a' ORDER BY 1, 2";

type Table = (String, String);

pub(super) async fn probe(
    resource: &SqlResource,
    server: &SqlServer,
    host: &SqlHost,
) -> Result<ProbeReport, ProbeError> {
    let opener = Opener::new(resource, server, host);
    // Whether the gateway would start with this role is said below, with what to do about it.
    let opener = opener.map_err(|error| ProbeError::new("the resource cannot be set up", error))?.any_role();
    let within = resource.pool.connect_timeout;
    let (tls, _) = connected(within, opener.peer_tls()).await?;
    let (opened, connect) = connected(within, opener.open()).await?;
    let asking = ask(resource, server, &opened.client);
    let (report, calls) = answered(asking).await?;
    Ok(ProbeReport { latency: Latency::new(connect, calls), tls, ..report })
}

fn failed(error: tokio_postgres::Error) -> ProbeError {
    ProbeError::new("the server refuses a question", error)
}

async fn ask(
    resource: &SqlResource,
    server: &SqlServer,
    client: &Client,
) -> Result<(ProbeReport, Vec<std::time::Duration>), ProbeError> {
    let calls = calls(async || client.simple_query("SELECT 1").await.map(drop)).await.map_err(failed)?;
    let facts = client.query_one(FACTS, &[]).await.map_err(failed)?;
    let role =
        role(client).await.map_err(|error| ProbeError::new("the server does not say its role", error))?;
    let need = Need::of(resource, Dialect::Postgres);
    let mut needed = BTreeMap::new();
    for (name, rights) in &need.named {
        if let Some(table) = resolved(client, name).await? {
            let known: &mut Rights = needed.entry(table).or_default();
            *known = known.and(*rights);
        }
    }
    let mut refused = refusals(resource, client).await;
    let checks_role = resource.grants.values().any(|grant| grant.read_only);
    if let (true, Err(error)) = (checks_role, check_role(client).await) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        refused.push(cause.unwrap_or_else(|| error.to_string()));
    }
    let (excess, missing) = rights(client, &need, &needed).await?;
    let name = server.username.as_deref().unwrap_or("agw");
    let report = ProbeReport {
        server: format!("PostgreSQL {}", text(&facts, 0)),
        role: if role == Role::Primary { "primary" } else { "replica" }.to_owned(),
        user: text(&facts, 1),
        latency: Latency::new(std::time::Duration::ZERO, Vec::new()),
        tls: None,
        refused,
        excess,
        missing,
        least: least(client, name, &text(&facts, 2), &needed).await?,
        notes: need.notes(),
    };
    Ok((report, calls))
}

fn text(row: &Row, at: usize) -> String {
    row.try_get::<_, String>(at).unwrap_or_default()
}

fn yes(row: &Row, at: usize) -> bool {
    row.try_get::<_, bool>(at).unwrap_or_default()
}

/// A name as the server's search path finds it; `None` for what is no table of the database's own.
async fn resolved(client: &Client, name: &[String]) -> Result<Option<Table>, ProbeError> {
    let (schema, table) = match name {
        [table] => ("", table.as_str()),
        [schema, table] => (schema.as_str(), table.as_str()),
        _ => return Ok(None),
    };
    let found = client.query_opt(RESOLVE, &[&schema, &table]).await.map_err(failed)?;
    let table = found.map(|row| (text(&row, 0), text(&row, 1)));
    Ok(table.filter(|(schema, _)| !schema.starts_with("pg_") && schema != "information_schema"))
}

async fn refusals(resource: &SqlResource, client: &Client) -> Vec<String> {
    let mut refusals = Vec::new();
    for (name, statement) in &resource.statements {
        if let Err(error) = client.prepare(&statement.text).await {
            refusals.push(format!("statements.{name}: {}", refused(&error, &statement.text).message));
        }
    }
    refusals
}

/// What the role may do beyond what is needed, and what of that it may not.
async fn rights(
    client: &Client,
    need: &Need,
    needed: &BTreeMap<Table, Rights>,
) -> Result<(Vec<String>, Vec<String>), ProbeError> {
    let row = client.query_one(ATTRIBUTES, &[]).await.map_err(failed)?;
    if yes(&row, 0) {
        return Ok((vec!["it is a superuser and may do everything".to_owned()], Vec::new()));
    }
    let attributes = [
        (1, "it may create databases (CREATEDB)"),
        (2, "it may create and change roles (CREATEROLE)"),
        (3, "it may replicate (REPLICATION)"),
        (4, "row security does not hold for it (BYPASSRLS)"),
        (5, "it may create schemas in the database (CREATE)"),
    ];
    let mut excess: Vec<String> =
        attributes.iter().filter(|(at, _)| yes(&row, *at)).map(|(_, what)| (*what).to_owned()).collect();
    for row in client.query(MEMBERSHIPS, &[]).await.map_err(failed)? {
        excess.push(format!("it is a member of {}", text(&row, 0)));
    }
    for row in client.query(SCHEMAS, &[]).await.map_err(failed)? {
        excess.push(format!("it may create tables in the schema {} (CREATE)", text(&row, 0)));
    }
    let (mut more, mut missing) = (Vec::new(), Vec::new());
    for row in client.query(TABLES, &[]).await.map_err(failed)? {
        let table = (text(&row, 0), text(&row, 1));
        let shown = format!("{}.{}", table.0, table.1);
        let has =
            Rights { select: yes(&row, 2), insert: yes(&row, 3), update: yes(&row, 4), delete: yes(&row, 5) };
        let needs = needed.get(&table).copied().unwrap_or_default();
        if yes(&row, 7) {
            more.push(format!("it owns {shown}, and may change and drop it"));
        } else {
            let mut rights = need.excess(has, needs);
            rights.extend(yes(&row, 6).then_some("TRUNCATE"));
            if !rights.is_empty() {
                more.push(format!("{} on {shown}", rights.join(", ")));
            }
        }
        let lacks: Vec<_> = needs.names().into_iter().filter(|name| !has.names().contains(name)).collect();
        if !lacks.is_empty() {
            missing.push(format!("{} on {shown}", lacks.join(", ")));
        }
    }
    excess.extend(shortened(more, "tables"));
    Ok((excess, missing))
}

async fn least(
    client: &Client,
    name: &str,
    database: &str,
    needed: &BTreeMap<Table, Rights>,
) -> Result<Vec<String>, ProbeError> {
    let to = quoted(name);
    let mut lines = vec![
        format!("CREATE ROLE {to} LOGIN PASSWORD 'PASSWORD';"),
        format!("GRANT CONNECT ON DATABASE {} TO {to};", quoted(database)),
    ];
    let schemas: BTreeSet<&String> = needed.keys().map(|(schema, _)| schema).collect();
    lines.extend(schemas.iter().map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {to};", quoted(schema))));
    for ((schema, table), rights) in needed {
        let at = joined(&[schema.clone(), table.clone()]);
        lines.push(format!("GRANT {} ON TABLE {at} TO {to};", rights.names().join(", ")));
        if rights.insert {
            for row in client.query(SEQUENCES, &[schema, table]).await.map_err(failed)? {
                let sequence = joined(&[text(&row, 0), text(&row, 1)]);
                lines.push(format!("GRANT USAGE ON SEQUENCE {sequence} TO {to};"));
            }
        }
    }
    Ok(lines)
}

fn joined(name: &[String]) -> String {
    name.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
