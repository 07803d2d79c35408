//! A document with every field, and one with as few as there can be.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{accept, load_with, usual_files};
use crate::{
    AnnouncedHost, Balance, CallRate, ClusterTarget, FailurePolicy, FaultPolicy, FieldMatch, Forward,
    GrantedCommands, HashKey, HostMatch, HostRewrite, InjectedError, InjectedFault, IpNetwork, ModuleSource,
    PathMatch, PathRewrite, Protocols, RedisAddress, RedisHost, RedisReadFrom, Route, RouteAction,
    SqlEndpoint, TlsVersion, UpstreamProtocol, ValueMatch, VmMode, WeightedCluster,
};

pub(super) const COMPLETE: &str = include_str!("complete.yaml");

const LEAST: &str = "{ version: 1, listeners: [{ name: http, address: \"127.0.0.1:0\" }] }";

#[test]
fn every_field_of_a_listener_arrives() {
    let snapshot = accept(COMPLETE);
    assert_eq!(snapshot.digest.len(), 64);
    let http = &snapshot.listeners[0];
    assert_eq!((http.name.as_str(), http.address.to_string().as_str()), ("http", "127.0.0.1:8080"));
    assert!(http.tls.is_none() && http.protocols == Protocols { http1: true, http2: false });
    assert_eq!((http.header_bytes_max, http.headers_max, http.connections_max), (32_768, 50, 500));
    assert_eq!(http.header_timeout, Duration::from_secs(5));
    assert_eq!(http.idle_timeout, Duration::from_secs(30));

    let https = &snapshot.listeners[1];
    assert_eq!(https.protocols, Protocols { http1: true, http2: true });
    let tls = https.tls.as_ref().expect("TLS");
    let [from_files, from_variables] = tls.certificates.as_slice() else { panic!("{tls:?}") };
    assert_eq!(from_files.chain.file.as_deref(), Some(Path::new("/etc/agw/server.pem")));
    assert_eq!(from_files.key.file.as_deref(), Some(Path::new("/run/secrets/server.key")));
    assert_eq!((&from_variables.chain.file, &from_variables.key.file), (&None, &None));
    for certificate in [from_files, from_variables] {
        assert_eq!(certificate.chain.text.expose(), super::PEM.as_bytes());
        assert_eq!(certificate.key.text.expose(), super::KEY.as_bytes());
    }
    let clients = tls.client_auth.as_ref().expect("client certificates");
    assert_eq!((clients.required, clients.ca.text.expose()), (false, super::PEM.as_bytes()));
    assert_eq!(tls.min_version, TlsVersion::V1_3);
    let forwarded = &https.forwarded;
    assert_eq!((forwarded.trusted_hops, forwarded.rfc7239), (2, true));
    let networks: Vec<_> =
        forwarded.trusted_networks.iter().map(|one| format!("{}/{}", one.address, one.prefix)).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    let http2 = https.http2;
    assert_eq!((http2.streams_max, http2.resets_max), (50, 20));
    assert_eq!((http2.stream_window, http2.connection_window), (128 << 10, 512 << 10));
    assert_eq!(http2.keepalive, Duration::from_secs(10));
}

fn forward(route: &Route) -> &Forward {
    match &route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("{} is no forward but {other:?}", route.name),
    }
}

#[test]
fn every_condition_of_a_route_arrives() {
    let snapshot = accept(COMPLETE);
    let matching = &snapshot.routes[0].matching;
    let exact = ["api.example.com", "[::1]"].map(|host| HostMatch::Exact(host.to_owned()));
    assert_eq!(matching.hosts[..2], exact);
    assert_eq!(matching.hosts[2], HostMatch::Suffix(".example.org".to_owned()));
    assert_eq!(matching.path, PathMatch::Prefix("/limited/".to_owned()));
    assert_eq!(matching.methods, ["GET", "PURGE"]);
    let field = |name: &str, value| FieldMatch { name: name.to_owned(), value };
    assert_eq!(
        matching.headers,
        [
            field("x-kind", ValueMatch::Exact(String::new())),
            field("accept", ValueMatch::Prefix("text/".to_owned())),
            field("x-version", ValueMatch::Regex("v[0-9]+".to_owned())),
            field("authorization", ValueMatch::Present),
        ]
    );
    assert_eq!(matching.query, [field("debug", ValueMatch::Absent)]);
    assert_eq!(snapshot.routes[1].matching.path, PathMatch::Exact("/exact".to_owned()));
    assert_eq!(snapshot.routes[2].matching.path, PathMatch::Regex("/v[0-9]+/.*".to_owned()));
}

#[test]
fn every_field_of_a_route_to_an_upstream_arrives() {
    let snapshot = accept(COMPLETE);
    let route = &snapshot.routes[0];
    assert_eq!(
        (route.name.as_str(), route.plugins.as_slice()),
        ("limited", ["rate-limit".to_owned(), "tag".to_owned()].as_slice())
    );
    assert_eq!((route.timeout, route.idle_timeout), (Duration::from_secs(20), Duration::from_secs(120)));
    assert_eq!((route.request_body_bytes_max, route.buffer_bytes_max), (1 << 20, 1 << 16));
    let to = forward(route);
    let share = |cluster: &str, weight| WeightedCluster { cluster: cluster.to_owned(), weight };
    assert_eq!(to.clusters, [share("backend", 1)]);
    assert_eq!(to.path, Some(PathRewrite::Prefix("/".to_owned())));
    assert_eq!(to.host, Some(HostRewrite::Literal("internal.example.com:8080".to_owned())));
    assert_eq!(
        (&to.hash, to.upgrades.as_slice()),
        (&Some(HashKey::Header("x-user".to_owned())), ["websocket".to_owned()].as_slice())
    );
    let retry = to.retry.as_ref().expect("a retry policy");
    assert_eq!((retry.retries, retry.on_reset, retry.on_timeout), (2, true, true));
    assert_eq!((retry.on_statuses.as_slice(), retry.unsafe_methods), ([502, 503].as_slice(), false));
    assert_eq!(retry.per_try_timeout, Some(Duration::from_secs(2)));
    assert_eq!((retry.backoff, retry.backoff_max), (Duration::from_millis(10), Duration::from_secs(1)));
    assert_eq!(retry.body_bytes_max, 16 << 10);

    let to = forward(&snapshot.routes[2]);
    assert_eq!(to.clusters, [share("backend", 9), share("canary", 1)]);
    let (pattern, substitution) = ("^/v([0-9]+)".to_owned(), "/${1}x".to_owned());
    assert_eq!(to.path, Some(PathRewrite::Regex { pattern, substitution }));
    assert_eq!(to.host, Some(HostRewrite::Endpoint));
    assert_eq!(to.hash, Some(HashKey::Cookie("session".to_owned())));
}

#[test]
fn every_field_of_a_route_that_the_gateway_answers_arrives() {
    let snapshot = accept(COMPLETE);
    let RouteAction::Redirect(redirect) = &snapshot.routes[3].action else { panic!("no redirect") };
    assert_eq!((redirect.status, redirect.port, redirect.strip_query), (308, Some(8443), true));
    assert_eq!(
        (redirect.scheme.as_deref(), redirect.host.as_deref()),
        (Some("https"), Some("www.example.com"))
    );
    assert_eq!(redirect.path, Some(PathRewrite::Prefix("/new/".to_owned())));
    let RouteAction::Respond(response) = &snapshot.routes[4].action else { panic!("no response") };
    assert_eq!((response.status, response.body.as_str()), (203, "User-agent: *"));
    assert_eq!(response.headers, [("content-type".to_owned(), "text/plain".to_owned())]);
}

#[test]
fn every_field_of_a_cluster_arrives() {
    let snapshot = accept(COMPLETE);
    let cluster = &snapshot.clusters["backend"];
    let endpoints = ["127.0.0.1:9000", "backend.internal:80", "[::1]:81"].map(str::to_owned).to_vec();
    assert_eq!(cluster.target, ClusterTarget::Endpoints(endpoints));
    assert_eq!((cluster.protocol, cluster.balance), (UpstreamProtocol::Http2, Balance::ConsistentHash));
    assert_eq!(
        (cluster.connect_timeout, cluster.idle_timeout, cluster.dns_refresh),
        (Duration::from_millis(500), Duration::from_secs(120), Duration::from_secs(10))
    );
    assert_eq!(cluster.idle_max, 8);
    let health = cluster.health.as_ref().expect("probes");
    assert_eq!((health.path.as_str(), health.host.as_deref()), ("/healthz", Some("health.example.com")));
    assert_eq!((health.statuses, health.healthy_after, health.unhealthy_after), ((200, 204), 1, 4));
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(2), Duration::from_millis(500)));
    let outlier = cluster.outlier.expect("ejections");
    assert_eq!((outlier.consecutive_failures, outlier.ejected_percent_max), (7, 30));
    assert_eq!(
        (outlier.ejection_time, outlier.ejection_time_max),
        (Duration::from_secs(10), Duration::from_secs(120))
    );
    let limits = cluster.limits;
    assert_eq!((limits.connections_max, limits.pending_max), (100, 10));
    assert_eq!((limits.requests_max, limits.retry_percent_max), (200, 5));

    let canary = &snapshot.clusters["canary"];
    assert_eq!((canary.protocol, canary.balance), (UpstreamProtocol::Auto, Balance::LeastRequest));
    let tls = canary.tls.as_ref().expect("TLS");
    assert_eq!(
        (tls.ca_pem.as_slice(), tls.server_name.as_deref()),
        (super::PEM.as_bytes(), Some("api.example.com"))
    );
    assert_eq!(tls.client.as_ref().expect("a certificate").key_pem.expose(), super::KEY.as_bytes());
    assert_eq!(snapshot.clusters["echo"].target, ClusterTarget::BuiltinEcho);
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
    assert_eq!(plugin.calls_per_request_max, 8);
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
    assert_eq!(tcp(&redis.address), Some(("redis.internal", 6380)));
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
    let (delay, fault) = (Duration::from_millis(20), InjectedFault::Error(InjectedError::TimeoutIo));
    assert_eq!(resource.faults, Some(FaultPolicy { share_percent: 5, delay, fault }));
    assert_eq!(resource.scripts["from-file"], "return redis.call('INCR', KEYS[1])");
    assert_eq!(resource.scripts["inline"], "return 1");
    let grant = &resource.grants["rate-limit"];
    assert_eq!(grant.rate, Some(CallRate { per_second: 500, burst: 50 }));
    let commands = ["incr", "get", "expire"].map(str::to_owned).to_vec();
    assert_eq!(grant.commands, GrantedCommands::Named(commands));
    assert_eq!((grant.key_prefix.as_str(), grant.read_only, grant.key_bytes_max), ("rl:", false, 128));
    assert_eq!(
        (grant.share_percent, &*grant.scripts),
        (40, ["from-file", "inline"].map(str::to_owned).as_slice())
    );
}

#[test]
fn the_other_forms_of_a_resource_arrive() {
    let snapshot = accept(COMPLETE);
    let sessions = &snapshot.resources["sessions"];
    assert_eq!(tcp(&sessions.redis.address), Some(("127.0.0.1", 6379)));
    assert_eq!((sessions.redis.database, sessions.redis.tls.is_none()), (3, true));
    assert_eq!(sessions.redis.password.as_ref().map(crate::Secret::expose), Some(b"hunter3".as_slice()));
    assert_eq!(sessions.grants["rate-limit"].commands, GrantedCommands::AllSafe);
    assert!(sessions.grants["rate-limit"].read_only);
    let cache = &snapshot.resources["cache"];
    assert!(matches!(&cache.redis.address, RedisAddress::Memory { name } if name == "cache"));
}

#[test]
fn sentinels_and_a_cluster_arrive() {
    let snapshot = accept(COMPLETE);
    let elected = &snapshot.resources["elected"].redis;
    let RedisAddress::Sentinel(sentinels) = &elected.address else { panic!("{:?}", elected.address) };
    let shown: Vec<_> = sentinels.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["sentinel-0.internal:26379", "[2001:db8::7]:26379"]);
    assert_eq!((sentinels.name.as_str(), sentinels.username.as_deref()), ("mymaster", Some("asker")));
    assert_eq!(sentinels.password.as_ref().map(crate::Secret::expose), Some(b"hunter3".as_slice()));
    assert!(sentinels.tls.is_some() && elected.tls.is_some() && elected.database == 1);
    let topology = &sentinels.topology;
    assert_eq!(topology.refresh, Duration::from_secs(3));
    let lag_max = Some(Duration::from_secs(2));
    assert_eq!(topology.read_from, RedisReadFrom::PreferReplica { lag_max });
    let network = |address: &str, prefix| {
        let address = address.parse().expect("an address");
        AnnouncedHost::Network(IpNetwork { address, prefix })
    };
    let names = [HostMatch::Suffix(".redis.internal".into()), HostMatch::Exact("one.internal".into())];
    let names = names.map(AnnouncedHost::Name);
    assert_eq!(topology.announced[..2], [network("10.0.0.0", 8), network("192.0.2.1", 32)]);
    assert_eq!(topology.announced[2..], names);

    let sharded = &snapshot.resources["sharded"].redis;
    let RedisAddress::Cluster(cluster) = &sharded.address else { panic!("{:?}", sharded.address) };
    assert_eq!(cluster.endpoints[1], RedisHost { host: "127.0.0.1".to_owned(), port: 7001 });
    assert_eq!(cluster.topology.read_from, RedisReadFrom::Primary);
    assert_eq!((cluster.topology.announced.len(), cluster.topology.refresh), (0, Duration::from_secs(10)));
}

fn tcp(address: &RedisAddress) -> Option<(&str, u16)> {
    match address {
        RedisAddress::Tcp { host, port } => Some((host, *port)),
        _ => None,
    }
}

#[test]
fn every_field_of_a_sql_resource_arrives() {
    let snapshot = accept(COMPLETE);
    let users = &snapshot.sql_resources["users"];
    let SqlEndpoint::Sqlite(at) = &users.endpoint else { panic!("{:?}", users.endpoint) };
    assert_eq!(at.path.as_deref(), Some(Path::new("/etc/agw/data/users.db")));
    assert!(at.schema.as_ref().is_some_and(|schema| schema.starts_with("CREATE TABLE IF NOT EXISTS")));
    let pool = users.pool;
    assert_eq!((pool.max, pool.min, pool.statements_max, pool.pipelined), (8, 2, 32, 3));
    assert_eq!(
        (pool.connect_timeout, pool.acquire_timeout),
        (Duration::from_secs(2), Duration::from_millis(20))
    );
    assert_eq!((pool.idle_timeout, pool.lifetime), (Duration::from_secs(60), Duration::from_secs(3600)));
    let limits = users.limits;
    assert_eq!(
        (limits.call_timeout, limits.call_timeout_max),
        (Duration::from_millis(250), Duration::from_secs(3))
    );
    assert_eq!((limits.request_bytes_max, limits.response_bytes_max), (64 << 10, 512 << 10));
    assert_eq!((limits.rows_max, limits.cell_bytes_max, limits.batch_max), (50, 16 << 10, 8));
    assert_eq!((limits.in_flight_max, limits.waiters_max), (200, 100));
    assert_eq!((users.breaker.failures, users.breaker.probe_interval), (3, Duration::from_secs(1)));
    let (delay, fault) = (Duration::ZERO, InjectedFault::Cut);
    assert_eq!(users.faults, Some(FaultPolicy { share_percent: 1, delay, fault }));
    let (find, touch) = (&users.statements["find-key"], &users.statements["touch"]);
    assert_eq!(find.text, "SELECT user_id FROM api_keys WHERE key_hash = ?1");
    assert_eq!((find.read_only, find.pipelined, find.cache), (true, false, None));
    assert!(!touch.read_only && touch.text.starts_with("UPDATE"));
    let cache = users.statements["tier"].cache.expect("a cache");
    assert_eq!((cache.ttl, cache.negative_ttl), (Duration::from_secs(5), Duration::from_millis(200)));
    assert_eq!(cache.stale_while_revalidate, Duration::from_secs(60));
    assert_eq!((cache.entries_max, cache.bytes_max), (500, 1 << 20));
    let grant = &users.grants["rate-limit"];
    assert_eq!(grant.rate, Some(CallRate { per_second: 20, burst: 1 }));
    assert_eq!(grant.statements, ["find-key", "touch"]);
    assert_eq!((grant.ad_hoc, grant.read_only, grant.share_percent), (false, false, 50));
    assert_eq!((grant.rows_max, grant.response_bytes_max), (10, 64 << 10));

    let scratch = &snapshot.sql_resources["scratch"];
    let SqlEndpoint::Sqlite(at) = &scratch.endpoint else { panic!("{:?}", scratch.endpoint) };
    assert_eq!((&at.path, at.schema.as_deref()), (&None, Some("CREATE TABLE t (n)")));
    let grant = &scratch.grants["tag"];
    assert_eq!((grant.ad_hoc, grant.read_only, grant.share_percent), (true, true, 100));
    assert_eq!((grant.rows_max, grant.response_bytes_max), (1000, 1 << 20));
}

#[test]
fn the_complete_document_earns_no_warning_but_for_its_faults() {
    let loaded = load_with(COMPLETE, &usual_files()).expect("it loads");
    let places: Vec<_> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(
        places,
        ["resources[0].faults", "resources[1].faults", "resources[5].faults", "resources[8].faults"],
        "{:#?}",
        super::lines(&loaded.warnings)
    );
}

#[test]
fn a_listener_is_enough_for_a_document() {
    let snapshot = accept(LEAST);
    assert_eq!((snapshot.listeners.len(), snapshot.routes.len()), (1, 0));
}

#[test]
fn a_plugin_with_a_grant_is_exclusive_and_one_without_is_shared() {
    let snapshot = accept(COMPLETE);
    assert_eq!(snapshot.plugins["tag"].vm.mode, VmMode::Exclusive);
    let without = COMPLETE.replace("plugin: tag", "plugin: rate-limit");
    assert_eq!(accept(&without).plugins["tag"].vm.mode, VmMode::Shared);
    let document = COMPLETE.replace("mode: exclusive, ", "");
    assert_eq!(accept(&document).plugins["rate-limit"].vm.mode, VmMode::Exclusive);
}

#[test]
fn what_is_shown_holds_no_secret_and_loads_again() {
    let shown = crate::redacted_json(&accept(COMPLETE));
    let text = shown.to_string();
    let key_line = super::KEY.lines().nth(1).expect("a line of the key");
    assert!(!text.contains("hunter") && !text.contains("BEGIN") && !text.contains(key_line), "{text}");
    assert_eq!(shown["resources"][2]["password"], "***");
    assert_eq!(shown["resources"][2]["tls"]["client_key"], "***");
    assert_eq!(format!("{:?}", accept(COMPLETE)).find("hunter"), None);

    assert_eq!(shown["clusters"][1]["tls"]["client_key"], "***");
    assert_eq!(shown["listeners"][1]["tls"]["certificates"][0]["key"], "***");
    assert_eq!(shown["tracing"]["headers"]["authorization"], "***");
    assert_eq!(shown["tracing"]["tls"]["client_key"], "***");

    // Without secrets and TLS it is a document, and says the same.
    let mut plain = super::mutations::complete();
    without_secrets(&mut plain);
    plain["tracing"].as_object_mut().expect("traces").remove("headers");
    let plain = plain
        .to_string()
        .replace("rediss:", "redis:")
        .replace("https://coll", "http://coll")
        .replace("\"auto\"", "\"http1\"");
    let mut first = crate::redacted_json(&accept(&plain));
    first.as_object_mut().expect("an object").remove("digest");
    let mut second = crate::redacted_json(&accept(&first.to_string()));
    second.as_object_mut().expect("an object").remove("digest");
    assert_eq!(first, second);
}

fn without_secrets(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(without_secrets),
        Value::Object(fields) => {
            fields.remove("tls");
            fields.remove("password");
            fields.values_mut().for_each(without_secrets);
        }
        _ => {}
    }
}
