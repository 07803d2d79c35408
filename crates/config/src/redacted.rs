//! A snapshot to show: everything it says, defaults included, and no secret.

mod cluster;
mod listener;
mod resource;
mod route;
mod sql;
mod tracing;

use serde_json::{Value, json};

use crate::snapshot::{FailurePolicy, ModuleSource, Plugin, Snapshot, Tls, VmMode};
use crate::units::{Unit, show_duration};

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// The snapshot in the form of a document, with every default written out and `"***"` for every secret (passwords,
/// private keys). Certificates and references are not shown either, only their length. Plugin configuration is
/// shown: secrets do not belong there.
///
/// The field `digest` is not part of a document. Without it, and where there are no secrets and no TLS, the value
/// is a document that loads to an equal snapshot.
pub fn redacted_json(snapshot: &Snapshot) -> Value {
    let mut shown = json!({
        "digest": snapshot.digest,
        "version": 1,
        "listeners": snapshot.listeners.iter().map(|item| listener::show(item)).collect::<Vec<_>>(),
        "routes": snapshot.routes.iter().map(|item| route::show(item)).collect::<Vec<_>>(),
        "clusters": snapshot.clusters.values().map(|item| cluster::show(item)).collect::<Vec<_>>(),
        "plugins": snapshot.plugins.values().map(|item| plugin(item)).collect::<Vec<_>>(),
        "resources": resources(snapshot),
    });
    if let Some(item) = &snapshot.tracing {
        shown["tracing"] = tracing::show(item);
    }
    shown
}

fn resources(snapshot: &Snapshot) -> Vec<Value> {
    let redis = snapshot.resources.values().map(|item| resource::show(item));
    let sql = snapshot.sql_resources.values().map(|item| sql::show(item));
    redis.chain(sql).collect()
}

fn size(bytes: usize) -> String {
    Unit::Bytes.show(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn pem(text: &[u8]) -> String {
    format!("PEM of {} bytes", text.len())
}

fn plugin(plugin: &Plugin) -> Value {
    let module = match &plugin.module {
        ModuleSource::File(path) => json!({ "file": path.to_string_lossy() }),
        ModuleSource::Builtin(name) => json!({ "builtin": name }),
    };
    let mode = match plugin.vm.mode {
        VmMode::Exclusive => "exclusive",
        VmMode::Shared => "shared",
    };
    let on_failure = match plugin.on_failure {
        FailurePolicy::FailClosed => "fail_closed",
        FailurePolicy::FailOpen => "fail_open",
    };
    json!({
        "name": plugin.name,
        "module": module,
        "root_id": plugin.root_id,
        "configuration": configuration(&plugin.configuration),
        "vm_configuration": configuration(&plugin.vm_configuration),
        "vm": { "mode": mode, "max": plugin.vm.max, "wait": show_duration(plugin.vm.wait) },
        "limits": {
            "memory": size(plugin.limits.memory_bytes_max),
            "table_elements": plugin.limits.table_elements_max,
            "cpu_time": show_duration(plugin.limits.cpu_time),
            "foreign_calls": plugin.foreign_calls_max,
            "calls_per_request": plugin.calls_per_request_max,
        },
        "on_failure": on_failure,
        "reload_backoff": {
            "base": show_duration(plugin.reload_backoff),
            "max": show_duration(plugin.reload_backoff_max),
        },
    })
}

/// A mapping where the bytes are a JSON object, text otherwise.
fn configuration(bytes: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(object @ Value::Object(_)) => object,
        _ => Value::String(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn tls(tls: &Tls) -> Value {
    let mut shown = json!({ "ca": pem(&tls.ca_pem) });
    if let Some(name) = &tls.server_name {
        shown["server_name"] = json!(name);
    }
    if let Some(client) = &tls.client {
        shown["client_certificate"] = json!(pem(&client.chain_pem));
        shown["client_key"] = json!(HIDDEN);
    }
    shown
}
