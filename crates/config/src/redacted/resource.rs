//! `resources`, shown.

use serde_json::{Value, json};

use super::{HIDDEN, size, tls};
use crate::snapshot::{
    AnnouncedHost, CallRate, FaultPolicy, Grant, GrantedCommands, HostMatch, InjectedFault, RedisAddress,
    RedisHost, RedisReadFrom, RedisSentinels, RedisTopology, Resource,
};
use crate::units::show_duration;

pub(super) fn show(resource: &Resource) -> Value {
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
    show_faults(&mut shown, resource.faults);
    match &resource.redis.address {
        RedisAddress::Memory { name } => shown["url"] = json!(format!("memory://{name}")),
        RedisAddress::Tcp { host, port } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            shown["endpoint"] = json!(format!("{host}:{port}"));
            shown["database"] = json!(resource.redis.database);
        }
        RedisAddress::Sentinel(sentinels) => {
            topology(&mut shown, "sentinel", &sentinels.endpoints, &sentinels.topology);
            shown["sentinel"] = sentinel(sentinels);
            shown["database"] = json!(resource.redis.database);
        }
        RedisAddress::Cluster(cluster) => {
            topology(&mut shown, "cluster", &cluster.endpoints, &cluster.topology);
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

fn topology(shown: &mut Value, mode: &str, endpoints: &[RedisHost], topology: &RedisTopology) {
    shown["mode"] = json!(mode);
    shown["endpoints"] = endpoints.iter().map(RedisHost::to_string).collect();
    shown["topology_refresh"] = json!(show_duration(topology.refresh));
    match topology.read_from {
        RedisReadFrom::Primary => shown["read_from"] = json!("primary"),
        RedisReadFrom::PreferReplica { lag_max } => {
            shown["read_from"] = json!("prefer_replica");
            if let Some(lag_max) = lag_max {
                shown["replica_lag_max"] = json!(show_duration(lag_max));
            }
        }
    }
    if !topology.announced.is_empty() {
        let host = |host: &AnnouncedHost| match host {
            AnnouncedHost::Network(network) => format!("{}/{}", network.address, network.prefix),
            AnnouncedHost::Name(HostMatch::Exact(name)) => name.clone(),
            AnnouncedHost::Name(HostMatch::Suffix(end)) => format!("*{end}"),
        };
        shown["announced"] = topology.announced.iter().map(host).collect();
    }
}

fn sentinel(sentinels: &RedisSentinels) -> Value {
    let mut shown = json!({ "name": sentinels.name });
    if let Some(username) = &sentinels.username {
        shown["username"] = json!(username);
    }
    if sentinels.password.is_some() {
        shown["password"] = json!(HIDDEN);
    }
    if let Some(verification) = &sentinels.tls {
        shown["tls"] = tls(verification);
    }
    shown
}

fn grant(plugin: &str, grant: &Grant) -> Value {
    let commands = match &grant.commands {
        GrantedCommands::AllSafe => json!("all_safe"),
        GrantedCommands::Named(names) => json!(names),
    };
    let mut shown = json!({
        "plugin": plugin,
        "commands": commands,
        "key_prefix": grant.key_prefix,
        "read_only": grant.read_only,
        "scripts": grant.scripts,
        "key_bytes": grant.key_bytes_max,
        "share": grant.share_percent,
    });
    show_rate(&mut shown, grant.rate);
    shown
}

pub(super) fn show_faults(resource: &mut Value, faults: Option<FaultPolicy>) {
    let Some(FaultPolicy { share_percent, delay, fault }) = faults else { return };
    let mut shown = json!({ "share": share_percent, "delay": show_duration(delay) });
    match fault {
        InjectedFault::None => {}
        InjectedFault::Error(error) => shown["error"] = json!(error.as_str()),
        InjectedFault::Cut => shown["cut"] = json!(true),
    }
    resource["faults"] = shown;
}

pub(super) fn show_rate(grant: &mut Value, rate: Option<CallRate>) {
    if let Some(CallRate { per_second, burst }) = rate {
        grant["rate"] = json!({ "per_second": per_second, "burst": burst });
    }
}
