//! Unknown fields, wrong types, missing fields, values that mean nothing: each with its line, path and way out.

use super::{check, problems, with_resource};

#[test]
fn text_that_is_not_yaml_is_refused_with_its_line() {
    let found = problems("version: 1\nlisteners: [\nroutes: []\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("agw.yaml:"), "{}", found[0]);
    assert!(found[0].contains(": document: this is not YAML: "), "{}", found[0]);
}

#[test]
fn a_document_that_is_no_mapping_is_refused() {
    for (text, kind) in [("", "nothing"), ("[]", "a list"), ("x", "a string"), ("1", "an integer")] {
        let found = problems(text);
        assert!(found[0].contains(&format!("document: expected a mapping, found {kind}")), "{}", found[0]);
    }
}

#[test]
fn every_problem_is_found_at_once_in_the_order_of_the_document() {
    check(
        "version: 2\n\
         listeners:\n\
         - name: http\n\
         \x20 adress: 127.0.0.1:80\n\
         - { name: http, address: localhost:80 }\n\
         routes:\n\
         - { name: r, match: { prefix: x }, cluster: ech, timeout: 5 }\n\
         clusters:\n\
         - { name: echo, builtin: ecko }\n\
         extra: 1\n",
        &[
            "1: version: the version is not known. This gateway reads documents with version: 1",
            "3: listeners[0]: the field \"address\" is missing. Write address: \"127.0.0.1:8080\"",
            "4: listeners[0].adress: the field is not known here. Did you mean \"address\"?",
            "5: listeners[1].name: the name \"http\" is used twice, first at listeners[0].name. Rename one of them",
            "5: listeners[1].address: \"localhost:80\" is not an IP address with a port. \
             Write one such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
            "7: routes[0].match.prefix: \"x\" is not a path. Begin it with a slash; no query, no fragment, no blanks; \
             percent-encode what is not ASCII",
            "7: routes[0].timeout: expected a duration, found an integer. \
             Write a duration from 1ms to 24h, such as 50ms, 10s or 5m",
            "7: routes[0].cluster: no cluster is named \"ech\". Did you mean \"echo\"?",
            "9: clusters[0].builtin: \"ecko\" is not known here. Did you mean \"echo\"?",
            "10: extra: the field is not known here. There are: \"version\", \"listeners\", \"routes\", \"clusters\", \
             \"plugins\", \"resources\", \"tracing\"",
        ],
    );
}

#[test]
fn nothing_in_the_place_of_a_value_is_refused() {
    check(
        &with_resource("name: r\ntype: redis\nurl: redis://localhost\npassword:\npool: ~\ngrants:\n"),
        &[
            "10: resources[0].password: a plain value is refused here: a document names secrets, it holds none. \
             Write { file: PATH }, { env: NAME } or { directory: PATH, key: NAME }",
            "11: resources[0].pool: expected a mapping, found nothing. \
             Write a mapping with fields such as max, leased, connect_timeout, acquire_timeout",
            "12: resources[0].grants: expected a list, found nothing. \
             Write [ ... ], or one item per line, each after a dash",
        ],
    );
}

#[test]
fn each_field_refuses_a_value_of_another_type() {
    let cases = [
        ("version: '1'", "version"),
        ("listeners: {}", "listeners"),
        ("listeners: []", "listeners"),
        ("listeners: [x]", "listeners[0]"),
        ("listeners: [{ name: 1, address: '[::1]:1' }]", "listeners[0].name"),
        ("listeners: [{ name: a, address: 80 }]", "listeners[0].address"),
        ("listeners: [{ name: a, address: '[::1]:1', limits: 5 }]", "listeners[0].limits"),
        (
            "listeners: [{ name: a, address: '[::1]:1', limits: { headers: '5' } }]",
            "listeners[0].limits.headers",
        ),
        ("routes: x", "routes"),
        ("routes: [{ name: a, match: /, cluster: b }]", "routes[0].match"),
        ("routes: [{ name: a, match: { hosts: x, path: / }, cluster: b }]", "routes[0].match.hosts"),
        ("routes: [{ name: a, match: { path: [/] }, cluster: b }]", "routes[0].match.path"),
        ("routes: [{ name: a, match: { path: / }, cluster: b, plugins: p }]", "routes[0].plugins"),
        ("routes: [{ name: a, match: { path: / }, cluster: b, plugins: [1] }]", "routes[0].plugins[0]"),
        ("clusters: [{ name: a, endpoints: x }]", "clusters[0].endpoints"),
        ("clusters: [{ name: a, endpoints: [80] }]", "clusters[0].endpoints[0]"),
        ("clusters: [{ name: a, builtin: true }]", "clusters[0].builtin"),
        ("plugins: [{ name: a, module: x.wasm }]", "plugins[0].module"),
        ("plugins: [{ name: a, module: { file: 1 } }]", "plugins[0].module.file"),
        ("plugins: [{ name: a, module: { builtin: rate-limit }, root_id: 1 }]", "plugins[0].root_id"),
        (
            "plugins: [{ name: a, module: { builtin: rate-limit }, configuration: 1 }]",
            "plugins[0].configuration",
        ),
        ("plugins: [{ name: a, module: { builtin: rate-limit }, vm: { mode: 1 } }]", "plugins[0].vm.mode"),
        (
            "plugins: [{ name: a, module: { builtin: rate-limit }, on_failure: true }]",
            "plugins[0].on_failure",
        ),
        ("resources: [{ name: a, type: redis, url: 1 }]", "resources[0].url"),
        ("resources: [{ name: a, type: redis, endpoint: 6379 }]", "resources[0].endpoint"),
        ("resources: [{ name: a, type: redis, url: 'redis://h', username: 5 }]", "resources[0].username"),
        ("resources: [{ name: a, type: redis, url: 'redis://h', scripts: [] }]", "resources[0].scripts"),
        (
            "resources: [{ name: a, type: redis, url: 'redis://h', scripts: { s: x } }]",
            "resources[0].scripts.s",
        ),
        ("resources: [{ name: a, type: redis, url: 'redis://h', grants: {} }]", "resources[0].grants"),
    ];
    for (line, path) in cases {
        let listeners =
            if line.starts_with("listeners") { "" } else { "listeners: [{ name: a, address: '[::1]:1' }]\n" };
        let version = if line.starts_with("version") { "" } else { "version: 1\n" };
        let found = problems(&format!("{version}{listeners}{line}\n"));
        let expected = format!(": {path}: ");
        assert!(found.iter().any(|problem| problem.contains(&expected)), "{line}: {found:#?}");
    }
}

#[test]
fn each_field_of_a_grant_refuses_a_value_of_another_type() {
    let cases = [
        ("plugin: 1, commands: [get]", "plugin"),
        ("plugin: p, commands: some", "commands"),
        ("plugin: p, commands: { get: 1 }", "commands"),
        ("plugin: p, commands: [1]", "commands[0]"),
        ("plugin: p, commands: [get], key_prefix: 5", "key_prefix"),
        ("plugin: p, commands: [get], key_prefix: \"a\\n\"", "key_prefix"),
        ("plugin: p, commands: [get], read_only: yes", "read_only"),
        ("plugin: p, commands: [get], scripts: s", "scripts"),
        ("plugin: p, commands: [get], key_bytes: many", "key_bytes"),
    ];
    for (grant, field) in cases {
        let document = format!("name: r\ntype: redis\nurl: redis://localhost\ngrants: [{{ {grant} }}]");
        let found = problems(&with_resource(&document));
        let expected = format!("agw.yaml:10: resources[0].grants[0].{field}: ");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{grant}: {found:#?}");
    }
}

#[test]
fn a_field_written_twice_is_refused() {
    check(
        "version: 1\nversion: 1\nlisteners: [{ name: a, address: '[::1]:1', name: b }]\n",
        &[
            "2: version: the field is written twice. Remove one of the two",
            "3: listeners[0].name: the field is written twice. Remove one of the two",
        ],
    );
    let found = problems(
        "version: 1\nlisteners: [{ name: a, address: '[::1]:1' }]\n\
         plugins: [{ name: p, module: { builtin: rate-limit }, configuration: { a: { b: 1, b: 2 } } }]\n",
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("plugins[0].configuration.a.b: the field is written twice"));
}

#[test]
fn an_unknown_field_is_shown_safely() {
    let found = problems("version: 1\nlisteners: [{ name: a, address: '[::1]:1' }]\n\"a\\e[31m b\": 1\n");
    assert!(
        found[0].starts_with("agw.yaml:3: [\"a\\u{1b}[31m b\"]: the field is not known here"),
        "{}",
        found[0]
    );
}

#[test]
fn names_keep_to_their_form() {
    for name in ["a b", "-a", "", "a/b", "\"a\\n\"", "\"é\"", &"a".repeat(65)] {
        let found = problems(&format!("version: 1\nlisteners: [{{ name: {name}, address: '[::1]:1' }}]\n"));
        assert!(found[0].contains("listeners[0].name: "), "{name}: {found:#?}");
    }
}

#[test]
fn fields_that_exclude_each_other_are_refused_together_and_apart() {
    check(
        "version: 1\n\
         listeners: [{ name: a, address: '[::1]:1' }]\n\
         routes:\n\
         - { name: none, match: {}, cluster: c }\n\
         - { name: both, match: { path: /, prefix: / }, cluster: c }\n\
         clusters:\n\
         - { name: c, builtin: echo, endpoints: ['a:1'] }\n\
         - { name: d }\n\
         plugins:\n\
         - { name: p, module: { file: rate_limit.wasm, builtin: rate-limit } }\n",
        &[
            "4: routes[0].match: one of the fields prefix, path or regex is missing. Write prefix: /",
            "5: routes[1].match: the fields prefix and path exclude each other. Keep one of them",
            "7: clusters[0]: the fields endpoints and builtin exclude each other. Keep one of them",
            "8: clusters[1]: one of the fields endpoints or builtin is missing. Write endpoints: [\"127.0.0.1:9000\"]",
            "10: plugins[0].module: the fields file and builtin exclude each other. Keep one of them",
        ],
    );
}

#[test]
fn endpoints_and_hosts_keep_to_their_form() {
    for endpoint in ["http://a:1", "a", "a:0", "a:b", "[::1", "u:hunter2@a:1", "a:1/x"] {
        let found = problems(&format!(
            "version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\nclusters: [{{ name: c, endpoints: ['{endpoint}'] }}]"
        ));
        assert!(
            found[0].contains("clusters[0].endpoints[0]: ") && !found[0].contains("hunter2"),
            "{found:#?}"
        );
    }
    for host in ["*example.com", "a:80", "http://a", "a/b", "::1", "[x]", "300.1.1.1"] {
        let found = problems(&format!(
            "version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\nclusters: [{{ name: c, builtin: echo }}]\n\
             routes: [{{ name: r, match: {{ hosts: ['{host}'], path: / }}, cluster: c }}]"
        ));
        assert!(found[0].contains("routes[0].match.hosts[0]: "), "{found:#?}");
    }
}

#[test]
fn neighbours_that_contradict_each_other_are_refused() {
    check(
        &with_resource(
            "name: r\ntype: redis\nurl: redis://localhost\npool: { max: 4, leased: 4 }\n\
             limits: { call_timeout: 2s, call_timeout_max: 1s }\n\
             grants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]",
        ),
        &[
            "10: resources[0].pool: leased is not less than max. Raise max, or lower leased: one connection is shared",
            "11: resources[0].limits: call_timeout_max is less than call_timeout. \
             Raise call_timeout_max, or lower call_timeout",
        ],
    );
    let found = problems(
        "version: 1\nlisteners: [{ name: a, address: '[::1]:1' }]\n\
         plugins: [{ name: p, module: { builtin: rate-limit }, reload_backoff: { base: 2s, max: 1s } }]",
    );
    assert_eq!(
        found,
        ["agw.yaml:3: plugins[0].reload_backoff: max is less than base. Raise max, or lower base"]
    );
}

#[test]
fn a_document_of_mistakes_ends_with_the_first_thousand() {
    let route =
        |index: usize| format!("- {{ name: r{index}, match: {{ path: /{index} }}, cluster: no{index} }}\n");
    let cluster = |index: usize| format!("- {{ name: c{index}, builtin: ehco }}\n");
    let routes: String = (0..5_000).map(route).collect();
    let clusters: String = (0..5_000).map(cluster).collect();
    let found = problems(&format!(
        "version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\nroutes:\n{routes}clusters:\n{clusters}"
    ));
    assert_eq!(found.len(), 1001);
    assert_eq!(found[0], "agw.yaml: document: there is more than these 1000. Correct these first");
    assert!(
        found[1].starts_with("agw.yaml:4: routes[0].cluster: no cluster is named \"no0\". "),
        "{}",
        found[1]
    );
    assert!(found[1000].starts_with("agw.yaml:1003: routes[999].cluster: "), "{}", found[1000]);
}

#[test]
fn faults_that_do_nothing_or_two_things_are_refused() {
    let document = |faults: &str| {
        with_resource(&format!(
            "name: r\ntype: redis\nurl: redis://localhost\nfaults: {faults}\n\
             grants: [{{ plugin: p, commands: [get], key_prefix: 'p:' }}]"
        ))
    };
    check(
        &document("{ share: 5 }"),
        &["10: resources[0].faults: the faults do nothing. \
           Write delay: 50ms, error: unavailable or cut: true, or remove faults"],
    );
    check(
        &document("{ error: auth, cut: true }"),
        &["10: resources[0].faults: the fields \"error\" and \"cut\" exclude each other. Keep one of them"],
    );
    check(
        &document("{ error: timeout }"),
        &["10: resources[0].faults.error: \"timeout\" is not known here. Did you mean \"timeout_io\"?"],
    );
}
