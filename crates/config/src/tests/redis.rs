//! Redis behind sentinels and in clusters: what is refused, and where.

use super::{accept, load_with, problems, usual_files, with_resource};
use crate::RedisAddress;

const GRANT: &str = "grants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]\n";

/// The problems of a resource with these fields, without the file's name and the resource's path.
fn of(fields: &str) -> Vec<String> {
    let found = problems(&with_resource(&format!("name: r\ntype: redis\n{fields}\n{GRANT}")));
    let short =
        |line: String| line.split_once("resources[0]").map(|(_, rest)| rest.to_owned()).unwrap_or(line);
    found.into_iter().map(short).collect()
}

fn warnings(fields: &str) -> Vec<String> {
    let text = with_resource(&format!("name: r\ntype: redis\n{fields}\n{GRANT}"));
    let loaded =
        load_with(&text, &usual_files()).unwrap_or_else(|found| panic!("{:?}", super::lines(&found)));
    super::lines(&loaded.warnings)
}

#[test]
fn fields_that_do_not_go_with_the_mode_are_refused_with_a_way_out() {
    let sentinel = "sentinel: { name: m }";
    for (fields, at, hint) in [
        ("url: redis://[::1]\nendpoints: ['a:1']", ".endpoints", "mode: cluster"),
        ("url: redis://[::1]\nannounced: [10.0.0.0/8]", ".announced", "mode: sentinel"),
        ("url: redis://[::1]\nmode: standalone\ntopology_refresh: 1s", ".topology_refresh", "mode"),
        (&*format!("url: redis://[::1]\n{sentinel}"), ".sentinel", "mode: sentinel"),
        ("mode: cluster\nendpoints: ['[::1]:1']\nurl: redis://[::1]", ".url", "endpoints"),
        (&*format!("mode: cluster\nendpoints: ['[::1]:1']\n{sentinel}"), ".sentinel", "nodes"),
        (
            &*format!("mode: sentinel\nendpoints: ['[::1]:1']\nendpoint: 'a:1'\n{sentinel}"),
            ".endpoint",
            "sentinels",
        ),
        ("mode: cluster\nendpoints: ['[::1]:1']\ndatabase: 2", ".database", "key_prefix"),
    ] {
        let found = of(fields);
        assert!(
            found.len() == 1 && found[0].starts_with(at) && found[0].contains(hint),
            "{fields}: {found:#?}"
        );
    }
    accept(&with_resource(&format!(
        "name: r\ntype: redis\nmode: cluster\nendpoints: ['[::1]:1']\ndatabase: 0\n{GRANT}"
    )));
    let found = of("url: redis://[::1]\nmode: clustered");
    assert!(found.len() == 1 && found[0].contains("Did you mean \"cluster\""), "{found:#?}");
}

#[test]
fn a_bound_on_lag_needs_reads_from_replicas() {
    let with = |fields: &str| of(&format!("mode: cluster\nendpoints: ['[::1]:1']\n{fields}"));
    for (fields, problem) in [
        (
            "replica_lag_max: 1s",
            ".replica_lag_max: nothing is read from replicas. Write read_from: prefer_replica",
        ),
        ("read_from: primary\nreplica_lag_max: 1s", ".replica_lag_max: nothing is read from replicas"),
        ("read_from: prefer_replica\nreplica_lag_max: 99ms", ".replica_lag_max: the value is out of bounds"),
        ("read_from: replicas", ".read_from: \"replicas\" is not known here"),
    ] {
        let found = with(fields);
        assert!(found.len() == 1 && found[0].starts_with(problem), "{fields}: {found:#?}");
    }
    let found = of("url: redis://[::1]\nread_from: prefer_replica");
    assert!(found.len() == 1 && found[0].starts_with(".read_from: the field does not go with"), "{found:#?}");
}

#[test]
fn endpoints_are_one_to_sixteen_and_each_is_checked() {
    let with = |endpoints: &str| of(&format!("mode: cluster\nendpoints: {endpoints}"));
    let many: Vec<String> = (1..=17).map(|at| format!("'[::1]:{at}'")).collect();
    for (endpoints, problem) in [
        ("[]", ".endpoints: the number of endpoints is out of bounds. Write 1 to 16 of them"),
        (&*format!("[{}]", many.join(", ")), ".endpoints: the number of endpoints is out of bounds"),
        ("['[::1]:1', '[::1]:1']", ".endpoints[1]: the endpoint is written twice"),
        ("['[::1]:1', '[::1]']", ".endpoints[1]: \"[::1]\" is not an endpoint: the port is missing"),
        ("['redis://a:1']", ".endpoints[0]: \"redis://a:1\" is not an endpoint: it has a scheme"),
        ("a:1", ".endpoints: expected a list"),
    ] {
        let found = with(endpoints);
        assert!(found.len() == 1 && found[0].starts_with(problem), "{endpoints}: {found:#?}");
    }
    let found = of("mode: cluster");
    assert!(found.len() == 1 && found[0].contains("the field \"endpoints\" is missing"), "{found:#?}");
}

#[test]
fn sentinels_need_the_name_of_the_primary_and_have_credentials_of_their_own() {
    let with = |sentinel: &str| of(&format!("mode: sentinel\nendpoints: ['[::1]:1']\n{sentinel}"));
    for (sentinel, problem) in [
        ("", ": the field \"sentinel\" is missing. Write sentinel: { name: mymaster }"),
        ("sentinel: {}", ".sentinel: the field \"name\" is missing"),
        (
            "sentinel: { name: 'my master' }",
            ".sentinel.name: \"my master\" is not what sentinels call a primary",
        ),
        ("sentinel: { name: m, password: hunter2 }", ".sentinel.password: "),
        ("sentinel: { name: m, tls: {} }", ".sentinel.tls: the field \"ca\" is missing"),
        ("sentinel: { name: m, quorum: 2 }", ".sentinel.quorum: the field is not known here"),
    ] {
        let found = with(sentinel);
        assert!(found.len() == 1 && found[0].starts_with(problem), "{sentinel}: {found:#?}");
        assert!(!found[0].contains("hunter2"));
    }
}

#[test]
fn what_may_be_announced_is_a_network_an_address_or_a_name() {
    for (host, problem) in [
        ("10.0.0.1/8", "\"10.0.0.1/8\" has bits beyond its 8. Write 10.0.0.0/8"),
        ("10.0.0.0/33", "\"10.0.0.0/33\" is not a network"),
        ("'*'", "\"*\" is not a host name. Write a network such as 10.0.0.0/8"),
        ("'*.10.0.0.1'", "\"*.10.0.0.1\" is not a host name"),
        ("'redis:6379'", "\"redis:6379\" is not a host name"),
    ] {
        let found = of(&format!("mode: cluster\nendpoints: ['[::1]:1']\nannounced: [{host}]"));
        let begin = format!(".announced[0]: {problem}");
        assert!(found.len() == 1 && found[0].starts_with(&begin), "{host}: {found:#?}");
    }
}

#[test]
fn plaintext_that_leaves_the_machine_is_warned_of() {
    let cluster = |endpoint: &str| warnings(&format!("mode: cluster\nendpoints: ['[::1]:1', '{endpoint}']"));
    assert_eq!(cluster("127.0.0.1:7"), [""; 0]);
    assert!(cluster("redis.internal:7")[0].contains("leaves this machine in plaintext"));
    let found = warnings("mode: sentinel\nendpoints: ['s.internal:1']\nsentinel: { name: m }");
    assert!(found[0].contains("sentinel.tls as well"), "{found:#?}");
}

#[test]
fn a_password_of_sentinels_is_never_shown() {
    let text = with_resource(&format!(
        "name: r\ntype: redis\nmode: sentinel\nendpoints: ['[::1]:1']\n\
         sentinel: {{ name: m, password: {{ env: REDIS_PASSWORD }} }}\n{GRANT}"
    ));
    let snapshot = accept(&text);
    let shown = crate::redacted_json(&snapshot);
    assert_eq!(shown["resources"][0]["sentinel"]["password"], "***");
    assert!(!format!("{shown}{snapshot:?}").contains("hunter"));
    assert!(matches!(snapshot.resources["r"].redis.address, RedisAddress::Sentinel(_)));
}
