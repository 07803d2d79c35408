//! A document with every field, and one with as few as there can be.

use std::time::Duration;

use super::{accept, load_with, usual_files};
use crate::{
    ClusterTarget, FailurePolicy, GrantedCommands, HostMatch, ModuleSource, PathMatch, RedisAddress,
    RouteAction, VmMode, WeightedCluster,
};

pub(super) const COMPLETE: &str = include_str!("complete.yaml");

const LEAST: &str = "{ version: 1, listeners: [{ name: http, address: \"127.0.0.1:0\" }] }";

#[test]
fn every_field_of_the_complete_document_arrives() {
    let snapshot = accept(COMPLETE);
    let listener = &snapshot.listeners[0];
    assert_eq!((listener.name.as_str(), listener.address.to_string().as_str()), ("http", "127.0.0.1:8080"));
    assert_eq!(
        (listener.header_bytes_max, listener.headers_max, listener.connections_max),
        (32_768, 50, 500)
    );
    assert_eq!(listener.header_timeout, Duration::from_secs(5));
    assert_eq!(listener.idle_timeout, Duration::from_secs(30));

    let route = &snapshot.routes[0];
    assert_eq!(route.matching.hosts, ["api.example.com", "[::1]"].map(|host| HostMatch::Exact(host.into())));
    assert_eq!(route.matching.path, PathMatch::Prefix("/limited/".to_owned()));
    assert_eq!(route.name, "limited");
    let RouteAction::Forward(forward) = &route.action else { panic!("not forwarded") };
    assert_eq!(forward.clusters, [WeightedCluster { cluster: "backend".to_owned(), weight: 1 }]);
    assert_eq!(route.plugins, ["rate-limit", "tag"]);
    assert_eq!(route.timeout, Duration::from_secs(20));
    assert_eq!((route.request_body_bytes_max, route.buffer_bytes_max), (1 << 20, 1 << 16));
    assert_eq!(snapshot.routes[1].matching.path, PathMatch::Exact("/exact".to_owned()));

    let cluster = &snapshot.clusters["backend"];
    let endpoints = ["127.0.0.1:9000", "backend.internal:80", "[::1]:81"].map(str::to_owned).to_vec();
    assert_eq!(cluster.target, ClusterTarget::Endpoints(endpoints));
    assert_eq!(
        (cluster.connect_timeout, cluster.idle_timeout),
        (Duration::from_millis(500), Duration::from_secs(120))
    );
    assert_eq!(cluster.idle_max, 8);
    assert_eq!(snapshot.clusters["echo"].target, ClusterTarget::BuiltinEcho);
    assert_eq!(snapshot.digest.len(), 64);
}

#[test]
fn every_field_of_a_plugin_arrives() {
    let snapshot = accept(COMPLETE);
    let plugin = &snapshot.plugins["rate-limit"];
    assert_eq!(plugin.module, ModuleSource::File("/etc/agw/rate_limit.wasm".into()));
    assert_eq!(plugin.root_id, "limiter");
    let configuration: serde_json::Value = serde_json::from_slice(&plugin.configuration).expect("JSON");
    let expected =
        r#"{"limit":5,"window":10,"key":[{"header":"x-api-key"},{"address":true}],"ratio":0.5,"none":null}"#;
    assert_eq!(configuration, serde_json::from_str::<serde_json::Value>(expected).expect("JSON"));
    assert_eq!(plugin.vm_configuration, b"as it is");
    assert_eq!(
        (plugin.vm.mode, plugin.vm.max, plugin.vm.wait),
        (VmMode::Exclusive, 64, Duration::from_millis(50))
    );
    assert_eq!((plugin.limits.memory_bytes_max, plugin.limits.table_elements_max), (16 << 20, 5000));
    assert_eq!((plugin.limits.cpu_time, plugin.foreign_calls_max), (Duration::from_millis(50), 100));
    assert_eq!(plugin.on_failure, FailurePolicy::FailOpen);
    assert_eq!(plugin.reload_backoff, Duration::from_secs(2));
    assert_eq!(plugin.reload_backoff_max, Duration::from_secs(60));
    assert_eq!(snapshot.plugins["tag"].module, ModuleSource::Builtin("rate-limit".to_owned()));
}

#[test]
fn every_field_of_a_resource_arrives() {
    let snapshot = accept(COMPLETE);
    let resource = &snapshot.resources["limits"];
    let redis = &resource.redis;
    assert_eq!(redis.address, RedisAddress::Tcp { host: "redis.internal".to_owned(), port: 6380 });
    assert_eq!((redis.database, redis.username.as_deref()), (2, Some("agw")));
    assert_eq!(redis.password.as_ref().map(crate::Secret::expose), Some(b"hunter2".as_slice()));
    let tls = redis.tls.as_ref().expect("TLS");
    assert_eq!(
        (tls.ca_pem.as_slice(), tls.server_name.as_deref()),
        (super::PEM.as_bytes(), Some("redis.example.com"))
    );
    assert_eq!(tls.client.as_ref().expect("a certificate").key_pem.expose(), super::KEY.as_bytes());
    let pool = resource.pool;
    assert_eq!((pool.max, pool.leased_max, pool.connect_timeout), (8, 2, Duration::from_secs(2)));
    assert_eq!(
        (pool.acquire_timeout, pool.idle_timeout),
        (Duration::from_millis(20), Duration::from_secs(60))
    );
    let limits = resource.limits;
    assert_eq!(
        (limits.call_timeout, limits.call_timeout_max),
        (Duration::from_millis(100), Duration::from_secs(3))
    );
    assert_eq!((limits.request_bytes_max, limits.response_bytes_max), (64 << 10, 512 << 10));
    assert_eq!((limits.batch_max, limits.in_flight_max, limits.waiters_max), (32, 200, 100));
    assert_eq!((resource.breaker.failures, resource.breaker.probe_interval), (3, Duration::from_secs(1)));
    assert_eq!(resource.scripts["from-file"], "return redis.call('INCR', KEYS[1])");
    assert_eq!(resource.scripts["inline"], "return 1");
    let grant = &resource.grants["rate-limit"];
    let commands = ["incr", "get", "expire"].map(str::to_owned).to_vec();
    assert_eq!(grant.commands, GrantedCommands::Named(commands));
    assert_eq!((grant.key_prefix.as_str(), grant.read_only, grant.key_bytes_max), ("rl:", false, 128));
    assert_eq!(grant.scripts, ["from-file", "inline"]);
}

#[test]
fn the_other_forms_of_a_resource_arrive() {
    let snapshot = accept(COMPLETE);
    let sessions = &snapshot.resources["sessions"];
    assert_eq!(sessions.redis.address, RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port: 6379 });
    assert_eq!((sessions.redis.database, sessions.redis.tls.is_none()), (3, true));
    assert_eq!(sessions.redis.password.as_ref().map(crate::Secret::expose), Some(b"hunter3".as_slice()));
    assert_eq!(sessions.grants["rate-limit"].commands, GrantedCommands::AllSafe);
    assert!(sessions.grants["rate-limit"].read_only);
    let cache = &snapshot.resources["cache"];
    assert_eq!(cache.redis.address, RedisAddress::Memory { name: "cache".to_owned() });
}

#[test]
fn the_complete_document_earns_no_warning() {
    let loaded = load_with(COMPLETE, &usual_files()).expect("it loads");
    assert_eq!(super::lines(&loaded.warnings), Vec::<String>::new());
}

#[test]
fn a_listener_is_enough_for_a_document() {
    let snapshot = accept(LEAST);
    assert_eq!((snapshot.listeners.len(), snapshot.routes.len()), (1, 0));
}

#[test]
fn a_plugin_with_a_grant_is_exclusive_and_one_without_is_shared() {
    let snapshot = accept(COMPLETE);
    assert_eq!(snapshot.plugins["tag"].vm.mode, VmMode::Shared);
    let document = COMPLETE.replace("mode: exclusive, ", "");
    assert_eq!(accept(&document).plugins["rate-limit"].vm.mode, VmMode::Exclusive);
}

#[test]
fn what_is_shown_holds_no_secret_and_loads_again() {
    let shown = crate::redacted_json(&accept(COMPLETE));
    let text = shown.to_string();
    assert!(!text.contains("hunter") && !text.contains("BEGIN") && !text.contains("AA=="), "{text}");
    assert_eq!(shown["resources"][1]["password"], "***");
    assert_eq!(shown["resources"][1]["tls"]["client_key"], "***");
    assert_eq!(format!("{:?}", accept(COMPLETE)).find("hunter"), None);

    // Without secrets and TLS it is a document, and says the same.
    let plain: String = COMPLETE
        .lines()
        .filter(|line| {
            !["password:", "tls:", "ca:", "server_name:", "client_"]
                .iter()
                .any(|field| line.trim().starts_with(field))
        })
        .map(|line| line.replace("rediss:", "redis:") + "\n")
        .collect();
    let mut first = crate::redacted_json(&accept(&plain));
    first.as_object_mut().expect("an object").remove("digest");
    let mut second = crate::redacted_json(&accept(&first.to_string()));
    second.as_object_mut().expect("an object").remove("digest");
    assert_eq!(first, second);
}
