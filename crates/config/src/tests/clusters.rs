//! Clusters: protocol and TLS, balance, health.

use super::{cluster_problems, problems};

#[test]
fn a_protocol_by_alpn_needs_tls() {
    assert_eq!(
        cluster_problems("endpoints: ['a:1'], protocol: auto"),
        ["protocol: without TLS nothing tells which protocol an endpoint speaks. \
          Write http1 or http2, or add tls: { ca: { file: /etc/ssl/certs/ca-certificates.crt } }"]
    );
    // TLS with a problem of its own is TLS all the same.
    let found = cluster_problems("endpoints: ['a:1'], protocol: auto, tls: {}");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("tls: the field \"ca\" is missing"), "{found:#?}");
}

#[test]
fn the_built_in_cluster_has_nothing_of_an_endpoint() {
    let found = cluster_problems(
        "builtin: echo, protocol: http2, tls: { ca: { file: ca.pem } }, balance: round_robin, dns_refresh: 1s, \
         health: { path: / }, outlier: {}",
    );
    assert_eq!(found.len(), 6, "{found:#?}");
    for problem in &found {
        assert!(problem.contains(": the built-in cluster has no such thing. Remove the field"), "{problem}");
    }
}

#[test]
fn probes_need_a_path_and_statuses_in_order() {
    assert_eq!(
        cluster_problems("endpoints: ['a:1'], health: {}"),
        ["health: the field \"path\" is missing. Write path: /healthz"]
    );
    let found = cluster_problems(
        "endpoints: ['a:1'], health: { path: x, host: 'http://a', statuses: { from: 300, to: 200 } }",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("health.path: \"x\" is not a path"), "{found:#?}");
    assert!(found[1].starts_with("health.host: \"http://a\" is not a host: it has a scheme"), "{found:#?}");
    assert_eq!(found[2], "health.statuses: to is less than from. Raise to, or lower from");
}

#[test]
fn an_ejection_is_not_longer_than_the_longest() {
    assert_eq!(
        cluster_problems("endpoints: ['a:1'], outlier: { ejection_time: 2s, ejection_time_max: 1s }"),
        ["outlier: ejection_time_max is less than ejection_time. \
          Raise ejection_time_max, or lower ejection_time"]
    );
}

#[test]
fn each_field_of_a_cluster_refuses_a_value_of_another_type() {
    for (field, path) in [
        ("protocol: 2", "protocol"),
        ("protocol: h2", "protocol"),
        ("tls: true", "tls"),
        ("balance: random", "balance"),
        ("dns_refresh: 5", "dns_refresh"),
        ("health: /", "health"),
        ("health: { path: /, statuses: [200] }", "health.statuses"),
        ("health: { path: /, host: 1 }", "health.host"),
        ("outlier: 5", "outlier"),
        ("limits: []", "limits"),
        ("limits: { connections: many }", "limits.connections"),
    ] {
        let found = cluster_problems(&format!("endpoints: ['a:1'], {field}"));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{path}: ")), "{field}: {found:#?}");
    }
}

#[test]
fn a_cluster_that_has_only_a_share_counts_as_used() {
    // One problem, and it is not that a cluster is missing.
    let found = problems(
        "version: 1\nlisteners: [{ name: a, address: '[::1]:1' }]\nclusters: [{ name: c, builtin: echo }]\n\
         routes: [{ name: r, match: { prefix: / }, clusters: [{ name: c }, { name: e }] }]",
    );
    assert_eq!(
        found,
        ["agw.yaml:4: routes[0].clusters[1].name: no cluster is named \"e\". Did you mean \"c\"?"]
    );
}
