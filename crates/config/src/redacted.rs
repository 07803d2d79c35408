//! A snapshot to show: everything it says, defaults included, and no secret.

use serde_json::{Value, json};

use crate::snapshot::{
    Cluster, ClusterTarget, FailurePolicy, Grant, GrantedCommands, HostMatch, Listener, ModuleSource,
    PathMatch, Plugin, RedisAddress, Resource, Route, RouteAction, Snapshot, Tls, VmMode,
};
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
    json!({
        "digest": snapshot.digest,
        "version": 1,
        "listeners": snapshot.listeners.iter().map(|item| listener(item)).collect::<Vec<_>>(),
        "routes": snapshot.routes.iter().map(|item| route(item)).collect::<Vec<_>>(),
        "clusters": snapshot.clusters.values().map(|item| cluster(item)).collect::<Vec<_>>(),
        "plugins": snapshot.plugins.values().map(|item| plugin(item)).collect::<Vec<_>>(),
        "resources": snapshot.resources.values().map(|item| resource(item)).collect::<Vec<_>>(),
    })
}

fn size(bytes: usize) -> String {
    Unit::Bytes.show(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name,
        "address": listener.address.to_string(),
        "limits": {
            "header_bytes": size(listener.header_bytes_max),
            "headers": listener.headers_max,
            "header_timeout": show_duration(listener.header_timeout),
            "idle_timeout": show_duration(listener.idle_timeout),
            "connections": listener.connections_max,
        },
    })
}

fn route(route: &Route) -> Value {
    let mut matching = match &route.matching.path {
        PathMatch::Exact(path) => json!({ "path": path }),
        PathMatch::Prefix(prefix) => json!({ "prefix": prefix }),
        PathMatch::Regex(regex) => json!({ "regex": regex }),
    };
    if !route.matching.hosts.is_empty() {
        let shown = |host: &HostMatch| match host {
            HostMatch::Exact(host) => host.clone(),
            HostMatch::Suffix(suffix) => format!("*{suffix}"),
        };
        matching["hosts"] = route.matching.hosts.iter().map(shown).collect();
    }
    let RouteAction::Forward(forward) = &route.action else { return Value::Null };
    json!({
        "name": route.name,
        "match": matching,
        "cluster": forward.clusters.first().map(|share| &share.cluster),
        "timeout": show_duration(route.timeout),
        "plugins": route.plugins,
        "limits": {
            "request_body": Unit::Bytes.show(route.request_body_bytes_max),
            "buffer": size(route.buffer_bytes_max),
        },
    })
}

fn cluster(cluster: &Cluster) -> Value {
    let mut shown = json!({
        "name": cluster.name,
        "connect_timeout": show_duration(cluster.connect_timeout),
        "idle_timeout": show_duration(cluster.idle_timeout),
        "idle_connections": cluster.idle_max,
    });
    match &cluster.target {
        ClusterTarget::Endpoints(endpoints) => shown["endpoints"] = json!(endpoints),
        ClusterTarget::BuiltinEcho => shown["builtin"] = json!("echo"),
    }
    shown
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

fn resource(resource: &Resource) -> Value {
    let mut shown = json!({
        "name": resource.name,
        "type": "redis",
        "pool": {
            "max": resource.pool.max,
            "leased": resource.pool.leased_max,
            "connect_timeout": show_duration(resource.pool.connect_timeout),
            "acquire_timeout": show_duration(resource.pool.acquire_timeout),
            "idle_timeout": show_duration(resource.pool.idle_timeout),
        },
        "limits": {
            "call_timeout": show_duration(resource.limits.call_timeout),
            "call_timeout_max": show_duration(resource.limits.call_timeout_max),
            "request": size(resource.limits.request_bytes_max),
            "response": size(resource.limits.response_bytes_max),
            "batch": resource.limits.batch_max,
            "in_flight": resource.limits.in_flight_max,
            "waiters": resource.limits.waiters_max,
        },
        "breaker": {
            "failures": resource.breaker.failures,
            "probe_interval": show_duration(resource.breaker.probe_interval),
        },
        "grants": resource.grants.iter().map(|(plugin, item)| grant(plugin, item)).collect::<Vec<_>>(),
    });
    match &resource.redis.address {
        RedisAddress::Memory { name } => shown["url"] = json!(format!("memory://{name}")),
        RedisAddress::Tcp { host, port } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            shown["endpoint"] = json!(format!("{host}:{port}"));
            shown["database"] = json!(resource.redis.database);
        }
    }
    if let Some(username) = &resource.redis.username {
        shown["username"] = json!(username);
    }
    if resource.redis.password.is_some() {
        shown["password"] = json!(HIDDEN);
    }
    if let Some(verification) = &resource.redis.tls {
        shown["tls"] = tls(verification);
    }
    if !resource.scripts.is_empty() {
        let source = |(name, source): (&String, &String)| (name.clone(), json!({ "source": source }));
        shown["scripts"] = resource.scripts.iter().map(source).collect::<serde_json::Map<_, _>>().into();
    }
    shown
}

fn tls(tls: &Tls) -> Value {
    let mut shown = json!({ "ca": format!("PEM of {} bytes", tls.ca_pem.len()) });
    if let Some(name) = &tls.server_name {
        shown["server_name"] = json!(name);
    }
    if let Some(client) = &tls.client {
        shown["client_certificate"] = json!(format!("PEM of {} bytes", client.chain_pem.len()));
        shown["client_key"] = json!(HIDDEN);
    }
    shown
}

fn grant(plugin: &str, grant: &Grant) -> Value {
    let commands = match &grant.commands {
        GrantedCommands::AllSafe => json!("all_safe"),
        GrantedCommands::Named(names) => json!(names),
    };
    json!({
        "plugin": plugin,
        "commands": commands,
        "key_prefix": grant.key_prefix,
        "read_only": grant.read_only,
        "scripts": grant.scripts,
        "key_bytes": grant.key_bytes_max,
    })
}
