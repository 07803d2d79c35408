//! What is legal but unwise.

use super::{lines, load_with, usual_files, with_cluster, with_listener, with_resource, with_route};

fn warnings(text: &str) -> Vec<String> {
    match load_with(text, &usual_files()) {
        Ok(loaded) => lines(&loaded.warnings),
        Err(found) => panic!("{:#?}", lines(&found)),
    }
}

#[test]
fn a_grant_without_a_key_prefix_earns_a_warning_unless_it_says_so() {
    let document = |grant: &str| {
        with_resource(&format!("name: r\ntype: redis\nurl: redis://localhost\ngrants: [{{ {grant} }}]"))
    };
    assert_eq!(
        warnings(&document("plugin: p, commands: [get]")),
        ["agw.yaml:10: resources[0].grants[0]: the plugin may touch every key. \
          Write key_prefix: \"NAME:\" to confine it, or key_prefix: \"\" to say so on purpose"]
    );
    assert_eq!(warnings(&document("plugin: p, commands: [get], key_prefix: ''")), Vec::<String>::new());
}

#[test]
fn faults_earn_a_warning() {
    let document = "name: r\ntype: redis\nurl: redis://localhost\nfaults: { delay: 5ms }\n\
        grants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]";
    assert_eq!(
        warnings(&with_resource(document)),
        ["agw.yaml:10: resources[0].faults: faults are injected into 10 per cent of the calls. \
          Remove faults from a resource that serves real requests"]
    );
}

#[test]
fn plaintext_that_leaves_the_machine_earns_a_warning() {
    let document = |place: &str| {
        with_resource(&format!(
            "name: r\ntype: redis\n{place}\ngrants: [{{ plugin: p, commands: [get], key_prefix: 'p:' }}]"
        ))
    };
    for place in ["url: redis://10.0.0.1", "endpoint: 'redis.internal:6379'", "url: 'redis://[2001:db8::1]'"]
    {
        let found = warnings(&document(place));
        assert!(
            found.len() == 1 && found[0].contains("leaves this machine in plaintext"),
            "{place}: {found:#?}"
        );
    }
    for place in
        ["url: redis://127.0.0.1", "endpoint: 'localhost:1'", "url: 'redis://[::1]'", "url: memory://m"]
    {
        assert_eq!(warnings(&document(place)), Vec::<String>::new(), "{place}");
    }
}

#[test]
fn plaintext_to_a_database_on_another_machine_has_to_be_said_and_earns_a_warning() {
    for (kind, scheme) in [("postgres", "postgres"), ("mysql", "mysql"), ("mysql", "mariadb")] {
        let document = |host: &str, plaintext: bool| {
            with_resource(&format!(
                "name: r\ntype: {kind}\nurl: {scheme}://{host}/d\nplaintext: {plaintext}\n\
                 grants: [{{ plugin: p, ad_hoc: true, read_only: true }}]"
            ))
        };
        assert!(only(&document("10.0.0.1", true)).contains("leaves this machine in plaintext"));
        assert!(super::problems(&document("10.0.0.1", false))[0].contains("nothing says whom to trust"));
        assert_eq!(warnings(&document("127.0.0.1", true)), Vec::<String>::new());
    }
}

/// A resource with grants for two plugins.
fn with_two_plugins(resource: &str) -> String {
    with_resource(resource)
        .replace("plugins: [p] }]", "plugins: [p, q] }]")
        .replace("rate-limit } }]", "rate-limit } }, { name: q, module: { builtin: rate-limit } }]")
}

#[test]
fn a_user_that_may_write_behind_a_grant_that_may_not_earns_a_warning() {
    let redis = |user: &str, other: &str| {
        with_two_plugins(&format!(
            "name: r\ntype: redis\nurl: redis://localhost\n{user}grants:\n\
             - {{ plugin: p, commands: [get], key_prefix: 'p:', read_only: true }}\n\
             - {{ plugin: q, commands: [get], key_prefix: 'q:', read_only: {other} }}"
        ))
    };
    assert_eq!(
        only(&redis("", "true")),
        "resources[0].grants: the plugin \"p\" may only read, but the default user may write. \
         Write username: NAME of a user that may only read; agw resource test says what it needs"
    );
    let both = "resources[0].grants: the plugin \"p\" may only read, but with a user that may write, because \"q\" does. \
                Grant it on a resource of its own, whose user may only read";
    assert_eq!(only(&redis("", "false")), both);
    assert_eq!(only(&redis("username: agw\n", "false")), both);
    assert_eq!(warnings(&redis("username: agw\n", "true")), Vec::<String>::new());
    let embedded = redis("", "false").replace("redis://localhost", "memory://m");
    assert_eq!(warnings(&embedded), Vec::<String>::new());

    let sql = |grant: &str| {
        with_two_plugins(&format!(
            "name: r\ntype: postgres\nurl: postgres://localhost/d\n\
             statements: {{ read: SELECT 1, write: DELETE FROM t }}\ngrants:\n\
             - {{ plugin: p, statements: [read] }}\n- {{ plugin: q, {grant} }}"
        ))
    };
    for writes in ["statements: [read, write]", "ad_hoc: true, read_only: false"] {
        assert_eq!(only(&sql(writes)), both, "{writes}");
    }
    for reads in ["statements: [read]", "ad_hoc: true, read_only: true"] {
        assert_eq!(warnings(&sql(reads)), Vec::<String>::new(), "{reads}");
    }
}

#[test]
fn what_nothing_uses_earns_a_warning() {
    let found = warnings(
        "version: 1\n\
         listeners: [{ name: a, address: '[::1]:1' }]\n\
         clusters: [{ name: c, builtin: echo }]\n\
         plugins: [{ name: p, module: { builtin: rate-limit } }]\n\
         resources: [{ name: r, type: redis, url: 'memory://m' }]\n",
    );
    let paths: Vec<_> =
        found.iter().map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        paths,
        ["agw.yaml:1 document", "agw.yaml:3 clusters[0]", "agw.yaml:4 plugins[0]", "agw.yaml:5 resources[0]"]
    );
}

#[test]
fn a_plugin_with_a_grant_in_shared_vms_earns_a_warning() {
    let resource =
        "name: r\ntype: redis\nurl: memory://m\ngrants: [{ plugin: p, commands: [get], key_prefix: 'p:' }]";
    let text = with_resource(resource).replace("rate-limit }", "rate-limit }, vm: { mode: shared }");
    assert_eq!(warnings(&text), [""; 0], "a plugin of the binary's own never blocks");
    let found = warnings(&text.replace("builtin: rate-limit", "file: /etc/agw/rate_limit.wasm"));
    assert!(found.len() == 1 && found[0].starts_with("agw.yaml:5: plugins[0].vm.mode: "), "{found:#?}");
}

/// The one warning, without the document's name and line.
#[track_caller]
fn only(text: &str) -> String {
    let found = warnings(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].splitn(3, ':').nth(2).unwrap_or_default().trim_start().to_owned()
}

#[test]
fn proxies_that_anybody_can_pretend_to_be_earn_a_warning() {
    let document = |address: &str, forwarded: &str| {
        with_listener(&format!("address: '{address}', forwarded: {{ {forwarded} }}"))
    };
    assert_eq!(
        only(&document("0.0.0.0:80", "trusted_hops: 1")),
        "listeners[0].forwarded: whoever connects is believed about the client's address. \
         Write trusted_networks: [10.0.0.0/8] to confine that, or [\"0.0.0.0/0\", \"::/0\"] to say so on purpose"
    );
    assert_eq!(
        only(&document("0.0.0.0:80", "trusted_networks: [10.0.0.0/8]")),
        "listeners[0].forwarded.trusted_networks: no proxy is trusted, so these networks have no effect. \
         Write trusted_hops: 1, or remove the networks"
    );
    for (address, forwarded) in [
        ("127.0.0.1:80", "trusted_hops: 1"),
        ("0.0.0.0:80", "trusted_hops: 0"),
        ("0.0.0.0:80", "trusted_hops: 1, trusted_networks: [0.0.0.0/0, '::/0']"),
    ] {
        assert_eq!(warnings(&document(address, forwarded)), Vec::<String>::new(), "{forwarded}");
    }
}

#[test]
fn limits_of_a_protocol_that_is_off_earn_a_warning() {
    assert_eq!(
        only(&with_listener("address: '[::1]:1', protocols: [http1], http2: { streams: 5 }")),
        "listeners[0].http2: HTTP/2 is off, so this has no effect. Add http2 to protocols, or remove the field"
    );
    assert_eq!(
        warnings(&with_listener("address: '[::1]:1', protocols: [http2], http2: {}")),
        Vec::<String>::new()
    );
}

#[test]
fn a_hash_that_nothing_uses_and_a_use_without_one_earn_a_warning() {
    assert_eq!(
        only(&with_route("match: { path: / }, cluster: d, hash: { path: true }")),
        "routes[0].hash: no cluster of this route spreads requests by a hash. \
         Write balance: consistent_hash in the cluster, or remove the field"
    );
    let document = with_cluster("endpoints: ['a:1'], balance: consistent_hash");
    assert_eq!(
        only(&document),
        "clusters[0].balance: no route to this cluster says what to hash: its requests go anywhere. \
         Write hash: { client_address: true } in a route, or another balance"
    );
    for route in ["cluster: c, hash: { path: true }", "clusters: [{ name: c }], hash: { cookie: a }"] {
        assert_eq!(warnings(&document.replace("cluster: c", route)), Vec::<String>::new(), "{route}");
    }
}

#[test]
fn retries_that_may_repeat_a_change_or_never_happen_earn_a_warning() {
    let route = |retry: &str| {
        with_route(&format!("match: {{ path: / }}, cluster: d, timeout: 2s, retry: {{ {retry} }}"))
    };
    assert_eq!(
        only(&route("unsafe_methods: true")),
        "routes[0].retry.unsafe_methods: a request that changes something may be carried out twice. \
         Keep it only if the upstream recognises a repetition, or write false"
    );
    assert_eq!(
        only(&route("on: [timeout], per_try_timeout: 2s")),
        "routes[0].retry.per_try_timeout: the route's timeout ends first, so this has no effect. \
         Make it shorter than the route's timeout"
    );
    assert_eq!(
        warnings(&route("on: [timeout], per_try_timeout: 1999ms, unsafe_methods: false")),
        Vec::<String>::new()
    );
}
