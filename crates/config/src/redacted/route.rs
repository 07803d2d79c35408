//! `routes`, shown.

use serde_json::{Map, Value, json};

use super::size;
use crate::snapshot::{
    DirectResponse, FieldMatch, Forward, HashKey, HostMatch, HostRewrite, PathMatch, PathRewrite, Redirect,
    RetryPolicy, Route, RouteAction, RouteMatch, ValueMatch, WeightedCluster,
};
use crate::units::{Unit, show_duration};

pub(super) fn show(route: &Route) -> Value {
    let mut shown = json!({
        "name": route.name,
        "match": matching(&route.matching),
        "timeout": show_duration(route.timeout),
        "idle_timeout": show_duration(route.idle_timeout),
        "plugins": route.plugins,
        "limits": {
            "request_body": Unit::Bytes.show(route.request_body_bytes_max),
            "buffer": size(route.buffer_bytes_max),
        },
    });
    match &route.action {
        RouteAction::Forward(to) => forward(&mut shown, to),
        RouteAction::Redirect(to) => shown["redirect"] = redirect(to),
        RouteAction::Respond(with) => shown["respond"] = respond(with),
    }
    shown
}

fn matching(matching: &RouteMatch) -> Value {
    let mut shown = match &matching.path {
        PathMatch::Exact(path) => json!({ "path": path }),
        PathMatch::Prefix(prefix) => json!({ "prefix": prefix }),
        PathMatch::Regex(regex) => json!({ "regex": regex }),
    };
    let host = |host: &HostMatch| match host {
        HostMatch::Exact(host) => host.clone(),
        HostMatch::Suffix(suffix) => format!("*{suffix}"),
    };
    let conditions = |conditions: &[FieldMatch]| conditions.iter().map(condition).collect::<Vec<_>>();
    for (field, value) in [
        ("hosts", matching.hosts.iter().map(host).collect()),
        ("methods", json!(matching.methods)),
        ("headers", json!(conditions(&matching.headers))),
        ("query", json!(conditions(&matching.query))),
    ] {
        if value != json!([]) {
            shown[field] = value;
        }
    }
    shown
}

fn condition(condition: &FieldMatch) -> Value {
    let (field, value) = match &condition.value {
        ValueMatch::Present => ("present", json!(true)),
        ValueMatch::Absent => ("present", json!(false)),
        ValueMatch::Exact(text) => ("exact", json!(text)),
        ValueMatch::Prefix(text) => ("prefix", json!(text)),
        ValueMatch::Regex(text) => ("regex", json!(text)),
    };
    json!({ "name": condition.name, field: value })
}

fn forward(shown: &mut Value, forward: &Forward) {
    match forward.clusters.as_slice() {
        [WeightedCluster { cluster, weight: 1 }] => shown["cluster"] = json!(cluster),
        shares => {
            let share = |share: &WeightedCluster| json!({ "name": share.cluster, "weight": share.weight });
            shown["clusters"] = shares.iter().map(share).collect();
        }
    }
    let mut rewritten = Map::new();
    rewritten.extend(forward.path.as_ref().map(rewrite));
    rewritten.extend(forward.host.as_ref().map(|host| match host {
        HostRewrite::Literal(host) => ("host".to_owned(), json!(host)),
        HostRewrite::Endpoint => ("host_from_endpoint".to_owned(), json!(true)),
    }));
    if !rewritten.is_empty() {
        shown["rewrite"] = rewritten.into();
    }
    if let Some(policy) = &forward.retry {
        shown["retry"] = retry(policy);
    }
    if let Some(key) = &forward.hash {
        shown["hash"] = hash(key);
    }
    if !forward.upgrades.is_empty() {
        shown["upgrades"] = json!(forward.upgrades);
    }
}

fn rewrite(rewrite: &PathRewrite) -> (String, Value) {
    let (field, value) = match rewrite {
        PathRewrite::Full(path) => ("path", json!(path)),
        PathRewrite::Prefix(prefix) => ("prefix", json!(prefix)),
        PathRewrite::Regex { pattern, substitution } => {
            ("regex", json!({ "pattern": pattern, "substitution": substitution }))
        }
    };
    (field.to_owned(), value)
}

fn retry(policy: &RetryPolicy) -> Value {
    let causes = [("reset", policy.on_reset), ("timeout", policy.on_timeout)];
    let causes: Vec<_> = causes.iter().filter(|(_, on)| *on).map(|(cause, _)| *cause).collect();
    let mut shown = json!({
        "retries": policy.retries,
        "on": causes,
        "statuses": policy.on_statuses,
        "backoff": { "base": show_duration(policy.backoff), "max": show_duration(policy.backoff_max) },
        "unsafe_methods": policy.unsafe_methods,
        "body": size(policy.body_bytes_max),
    });
    if let Some(timeout) = policy.per_try_timeout {
        shown["per_try_timeout"] = json!(show_duration(timeout));
    }
    shown
}

fn hash(key: &HashKey) -> Value {
    match key {
        HashKey::ClientAddress => json!({ "client_address": true }),
        HashKey::Header(name) => json!({ "header": name }),
        HashKey::Cookie(name) => json!({ "cookie": name }),
        HashKey::Query(name) => json!({ "query": name }),
        HashKey::Path => json!({ "path": true }),
    }
}

fn redirect(redirect: &Redirect) -> Value {
    let mut shown = Map::new();
    shown.insert("status".to_owned(), json!(redirect.status));
    let optional = [
        ("scheme", redirect.scheme.as_ref().map(|scheme| json!(scheme))),
        ("host", redirect.host.as_ref().map(|host| json!(host))),
        ("port", redirect.port.map(|port| json!(port))),
    ];
    shown.extend(optional.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))));
    shown.extend(redirect.path.as_ref().map(rewrite));
    shown.insert("strip_query".to_owned(), json!(redirect.strip_query));
    shown.into()
}

fn respond(response: &DirectResponse) -> Value {
    let headers = response.headers.iter().map(|(name, value)| (name.clone(), json!(value)));
    json!({
        "status": response.status,
        "headers": headers.collect::<Map<_, _>>(),
        "body": response.body,
    })
}
