//! One host of MySQL or MariaDB.

mod handshake;
mod privileges;

use std::collections::BTreeMap;
use std::time::Duration;

use agw_config::{SqlHost, SqlResource, SqlServer};
use agw_foreign::{Latency, ProbeError, ProbeReport};
use agw_sql_statements::{Dialect, Rights, TableName};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::time::timeout;

use super::need::{Need, shortened};
use super::{answered, calls, connected};
use crate::error::ConnectError;
use crate::hosts::{Host, Role};
use crate::mysql::{Opened, Opener, check_account, refused, role_of, unbroken};
use privileges::{Granted, granted};

/// The end of a connection may take so long.
const GOODBYE: Duration = Duration::from_secs(1);
const GARBLED: &str = "the server says what the driver cannot understand";

type Table = (String, String);

pub(super) async fn probe(
    resource: &SqlResource,
    server: &SqlServer,
    host: &SqlHost,
) -> Result<ProbeReport, ProbeError> {
    let opener = Opener::new(resource, server, host);
    // Whether the gateway would start with this account is said below, with what to do about it.
    let opener =
        opener.map_err(|error| ProbeError::new("the resource cannot be set up", error))?.any_account();
    let within = resource.pool.connect_timeout;
    // Before the login: the server counts it as a connection that was given up, until one succeeds.
    let (tls, _) = connected(within, handshake::peer_tls(server, host)).await?;
    let (mut opened, connect) = connected(within, opener.open()).await?;
    let asking = async {
        let asked = unbroken(ask(resource, server, &mut opened)).await;
        asked.unwrap_or_else(|| Err(ProbeError::from_message(GARBLED)))
    };
    let (report, calls) = answered(asking).await?;
    // Without a goodbye the server counts it as a connection that was given up.
    let _ = timeout(GOODBYE, opened.conn.disconnect()).await;
    Ok(ProbeReport { latency: Latency::new(connect, calls), tls, ..report })
}

fn failed(error: mysql_async::Error) -> ProbeError {
    ProbeError::new("the server refuses a question", error)
}

fn unsaid(error: ConnectError) -> ProbeError {
    ProbeError::new("the server does not say its role", error)
}

async fn ask(
    resource: &SqlResource,
    server: &SqlServer,
    opened: &mut Opened,
) -> Result<(ProbeReport, Vec<Duration>), ProbeError> {
    let Opened { conn, flavour, .. } = opened;
    let calls = calls(async || conn.query_drop("SELECT 1").await).await.map_err(failed)?;
    let facts: Option<(String, String)> =
        conn.query_first("SELECT @@version, CURRENT_USER()").await.map_err(failed)?;
    let (version, user) = facts.unwrap_or_default();
    let role = role_of(conn).await.map_err(unsaid)?;
    let need = Need::of(resource, Dialect::Mysql);
    let mut notes = need.notes();
    let mut needed = BTreeMap::new();
    for (name, rights) in &need.named {
        match resolved(conn, server, name).await? {
            Some(table) => {
                let known: &mut Rights = needed.entry(table).or_default();
                *known = known.and(*rights);
            }
            None => notes.push(format!("{} is no table, or none that the account may see", name.join("."))),
        }
    }
    // MariaDB does not even prepare what writes in a session that may not.
    conn.query_drop(format!("SET {}", flavour.access(true))).await.map_err(failed)?;
    let mut refused = refusals(resource, conn).await;
    let checks_role = resource.grants.values().any(|grant| grant.read_only);
    if let (true, Err(error)) = (checks_role, check_account(conn).await) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        refused.push(cause.unwrap_or_else(|| error.to_string()));
    }
    let lines: Vec<Row> = conn.query("SHOW GRANTS").await.map_err(failed)?;
    // A line may hold the hash of the password: only what is read of it is ever shown.
    let lines = lines.iter().filter_map(|row| row.get_opt::<String, _>(0)?.ok());
    let granted: Vec<Granted> = lines.filter_map(|line| granted(&line)).collect();
    let name = server.username.as_deref().unwrap_or("agw");
    let is_mariadb = version.contains("MariaDB");
    let report = ProbeReport {
        server: format!("{} {}", if is_mariadb { "MariaDB" } else { "MySQL" }, number(&version)),
        role: if role == Role::Primary { "primary" } else { "replica" }.to_owned(),
        user,
        latency: Latency::new(Duration::ZERO, Vec::new()),
        tls: None,
        refused,
        excess: shortened(excess(&granted, &need, &needed), "places"),
        missing: missing(&granted, &needed),
        least: least(name, &needed),
        notes,
    };
    Ok((report, calls))
}

/// `10.11.6` of `10.11.6-MariaDB-0+deb12u1`.
fn number(version: &str) -> &str {
    version.split('-').next().unwrap_or(version)
}

async fn resolved(
    conn: &mut Conn,
    server: &SqlServer,
    name: &TableName,
) -> Result<Option<Table>, ProbeError> {
    const TABLE: &str = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
                         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let (schema, table) = match name.as_slice() {
        [table] => (&server.database, table),
        [schema, table] => (schema, table),
        _ => return Ok(None),
    };
    conn.exec_first(TABLE, (schema, table)).await.map_err(failed)
}

async fn refusals(resource: &SqlResource, conn: &mut Conn) -> Vec<String> {
    let mut refusals = Vec::new();
    for (name, statement) in &resource.statements {
        match conn.prep(statement.text.as_str()).await {
            Ok(prepared) => drop(conn.close(prepared).await),
            Err(error) => {
                refusals.push(format!("statements.{name}: {}", refused(&error, &statement.text).message));
            }
        }
    }
    refusals
}

fn excess(granted: &[Granted], need: &Need, needed: &BTreeMap<Table, Rights>) -> Vec<String> {
    let mut excess = Vec::new();
    for grant in granted {
        let place = &grant.place;
        let needs = match (&place.schema, &place.table) {
            (Some(schema), Some(table)) => {
                needed.get(&(schema.clone(), table.clone())).copied().unwrap_or_default()
            }
            _ => Rights::default(),
        };
        // Statements that nobody knows may be about any table of the database, and of no other.
        let within = place.schema.is_some();
        let mut rights = grant.others.clone();
        rights.extend(
            if within { need.excess(grant.rights, needs) } else { grant.rights.names() }
                .into_iter()
                .map(str::to_owned),
        );
        if !rights.is_empty() {
            excess.push(format!("{} on {place}", rights.join(", ")));
        }
        if grant.passes_on {
            excess.push(format!("it may pass on its rights on {place} (GRANT OPTION)"));
        }
    }
    excess
}

fn missing(granted: &[Granted], needed: &BTreeMap<Table, Rights>) -> Vec<String> {
    let lacks = |((schema, table), needs): (&Table, &Rights)| {
        let covering = granted.iter().filter(|grant| grant.place.covers(schema, table));
        let has = covering.fold(Rights::default(), |has, grant| has.and(grant.rights));
        let lacks: Vec<_> = needs.names().into_iter().filter(|name| !has.names().contains(name)).collect();
        (!lacks.is_empty()).then(|| format!("{} on {schema}.{table}", lacks.join(", ")))
    };
    needed.iter().filter_map(lacks).collect()
}

fn least(name: &str, needed: &BTreeMap<Table, Rights>) -> Vec<String> {
    let to = format!("'{}'@'%'", name.replace('\'', "''"));
    let quoted = |name: &String| format!("`{}`", name.replace('`', "``"));
    let mut lines = vec![format!("CREATE USER {to} IDENTIFIED BY 'PASSWORD';")];
    for ((schema, table), rights) in needed {
        let rights = rights.names().join(", ");
        lines.push(format!("GRANT {rights} ON {}.{} TO {to};", quoted(schema), quoted(table)));
    }
    lines
}
