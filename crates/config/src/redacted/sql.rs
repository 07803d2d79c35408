//! `resources` of SQL, shown.

use serde_json::{Map, Value, json};

use super::resource::{show_faults, show_rate};
use super::{HIDDEN, size, tls};
use crate::snapshot::{
    SqlEndpoint, SqlGrant, SqlHost, SqlResource, SqlServer, SqlServerEngine, SqlStatement, SqlTarget,
};
use crate::units::show_duration;

pub(super) fn show(resource: &SqlResource) -> Value {
    let (pool, limits) = (&resource.pool, &resource.limits);
    let mut shown = json!({
        "name": resource.name,
        "pool": {
            "max": pool.max,
            "min": pool.min,
            "connect_timeout": show_duration(pool.connect_timeout),
            "acquire_timeout": show_duration(pool.acquire_timeout),
            "idle_timeout": show_duration(pool.idle_timeout),
            "lifetime": show_duration(pool.lifetime),
            "statements": pool.statements_max,
            "pipelined": pool.pipelined,
        },
        "limits": {
            "call_timeout": show_duration(limits.call_timeout),
            "call_timeout_max": show_duration(limits.call_timeout_max),
            "request": size(limits.request_bytes_max),
            "response": size(limits.response_bytes_max),
            "rows": limits.rows_max,
            "cell": size(limits.cell_bytes_max),
            "batch": limits.batch_max,
            "in_flight": limits.in_flight_max,
            "waiters": limits.waiters_max,
        },
        "breaker": {
            "failures": resource.breaker.failures,
            "probe_interval": show_duration(resource.breaker.probe_interval),
        },
        "statements": resource.statements.iter().map(statement).collect::<Map<_, _>>(),
        "grants": resource.grants.iter().map(|(plugin, item)| grant(plugin, item)).collect::<Vec<_>>(),
    });
    show_faults(&mut shown, resource.faults);
    match &resource.endpoint {
        SqlEndpoint::Server(at) => server(&mut shown, at),
        SqlEndpoint::Sqlite(at) => {
            shown["type"] = json!("sqlite");
            shown["url"] = match &at.path {
                Some(path) => json!(format!("sqlite://{}", path.to_string_lossy())),
                None => json!("sqlite::memory:"),
            };
            if let Some(schema) = &at.schema {
                shown["schema"] = json!({ "source": schema });
            }
        }
    }
    shown
}

fn server(shown: &mut Value, at: &SqlServer) {
    shown["type"] = json!(match at.engine {
        SqlServerEngine::Postgres => "postgres",
        SqlServerEngine::Mysql => "mysql",
    });
    shown["endpoints"] = json!(at.hosts.iter().map(SqlHost::to_string).collect::<Vec<_>>());
    shown["target"] = json!(match at.target {
        SqlTarget::Any => "any",
        SqlTarget::Primary => "primary",
        SqlTarget::Replica => "replica",
        SqlTarget::PreferReplica => "prefer_replica",
    });
    shown["database"] = json!(at.database);
    if let Some(username) = &at.username {
        shown["username"] = json!(username);
    }
    if at.password.is_some() {
        shown["password"] = json!(HIDDEN);
    }
    match &at.tls {
        Some(verification) => shown["tls"] = tls(verification),
        None => shown["plaintext"] = json!(true),
    }
}

fn statement((name, statement): (&String, &SqlStatement)) -> (String, Value) {
    let mut shown = json!({ "text": statement.text, "read_only": statement.read_only });
    if statement.pipelined {
        shown["pipelined"] = json!(true);
    }
    if let Some(cache) = &statement.cache {
        shown["cache"] = json!({
            "ttl": show_duration(cache.ttl),
            "negative_ttl": show_duration(cache.negative_ttl),
            "stale_while_revalidate": show_duration(cache.stale_while_revalidate),
            "entries_max": cache.entries_max,
            "bytes_max": size(cache.bytes_max),
        });
    }
    (name.clone(), shown)
}

fn grant(plugin: &str, grant: &SqlGrant) -> Value {
    let mut shown = json!({
        "plugin": plugin,
        "statements": grant.statements,
        "ad_hoc": grant.ad_hoc,
        "read_only": grant.read_only,
        "share": grant.share_percent,
        "rows": grant.rows_max,
        "response": size(grant.response_bytes_max),
    });
    show_rate(&mut shown, grant.rate);
    shown
}
