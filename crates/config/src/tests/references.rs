//! References to nothing, and the same thing twice.

use super::{accept, check, problems, with_resource};

const REST: &str = "type: redis\nurl: redis://localhost\n";

fn grant_problems(grants: &str) -> Vec<String> {
    problems(&with_resource(&format!("name: r\n{REST}grants: [{grants}]")))
}

#[test]
fn references_to_nothing_are_refused_with_the_nearest_name() {
    check(
        "version: 1\n\
         listeners: [{ name: a, address: '[::1]:1' }]\n\
         routes:\n\
         - { name: r, match: { path: / }, cluster: backend, plugins: [limit, rate-limt] }\n\
         plugins: [{ name: rate-limit, module: { builtin: rate-limt } }]\n",
        &[
            "4: routes[0].cluster: no cluster is named \"backend\". There are none",
            "4: routes[0].plugins[0]: no plugin is named \"limit\". There are: \"rate-limit\"",
            "4: routes[0].plugins[1]: no plugin is named \"rate-limt\". Did you mean \"rate-limit\"?",
            "5: plugins[0].module.builtin: no module \"rate-limt\" is built in. Did you mean \"rate-limit\"?",
        ],
    );
}

#[test]
fn a_grant_to_an_unknown_plugin_or_script_is_refused() {
    assert_eq!(
        grant_problems("{ plugin: q, commands: [get], scripts: [s], key_prefix: 'q:' }"),
        [
            "agw.yaml:10: resources[0].grants[0].plugin: no plugin is named \"q\". Did you mean \"p\"?",
            "agw.yaml:10: resources[0].grants[0].scripts[0]: no script of this resource is named \"s\". There are none",
        ]
    );
}

#[test]
fn commands_that_cannot_be_granted_are_refused() {
    let found = grant_problems("{ plugin: p, commands: [incrr, get, GET, monitor], key_prefix: 'p:' }");
    assert_eq!(found.len(), 3, "{found:#?}");
    let prefix = "agw.yaml:10: resources[0].grants[0].commands";
    assert_eq!(
        found[1],
        format!("{prefix}[0]: \"incrr\" is no Redis command that is known here. Did you mean \"incr\"?")
    );
    assert_eq!(found[0], format!("{prefix}[2]: \"GET\" is listed twice. Remove one of the two"));
    assert!(found[2].starts_with(&format!("{prefix}[3]: \"monitor\" is never granted: ")), "{}", found[2]);
}

#[test]
fn a_read_only_grant_of_a_writing_command_is_refused() {
    assert_eq!(
        grant_problems("{ plugin: p, commands: [get, incr], read_only: true, key_prefix: 'p:' }"),
        [
            "agw.yaml:10: resources[0].grants[0].commands[1]: \"incr\" writes or publishes, and the grant is read-only. \
          Remove it, or write read_only: false"
        ]
    );
}

#[test]
fn a_grant_of_nothing_and_a_second_grant_are_refused() {
    assert_eq!(
        grant_problems("{ plugin: p, key_prefix: 'p:' }, { plugin: p, commands: [get], key_prefix: 'p:' }"),
        [
            "agw.yaml:10: resources[0].grants[0]: the grant allows nothing. \
             Write commands: [get, ...], commands: all_safe or scripts: [NAME]",
            "agw.yaml:10: resources[0].grants[1]: the plugin \"p\" has a grant here already. \
             Write one grant for each plugin",
        ]
    );
}

#[test]
fn two_routes_that_match_alike_are_refused() {
    check(
        "version: 1\n\
         listeners: [{ name: a, address: '[::1]:1' }]\n\
         clusters: [{ name: c, builtin: echo }]\n\
         routes:\n\
         - { name: a, match: { path: /x }, cluster: c }\n\
         - { name: b, match: { path: /x }, cluster: c }\n\
         - { name: c, match: { hosts: [h, A.b], prefix: /x }, cluster: c }\n\
         - { name: d, match: { hosts: [a.B], prefix: /x }, cluster: c }\n",
        &[
            "6: routes[1].match: every host and \"/x\" are matched twice, first at routes[0].match. \
             Change the host, the path or another condition, or remove one of the two",
            "8: routes[3].match: \"a.b\" and \"/x\" are matched twice, first at routes[2].match. \
             Change the host, the path or another condition, or remove one of the two",
        ],
    );
}

#[test]
fn routes_that_differ_in_host_or_kind_are_accepted() {
    accept(
        "version: 1\n\
         listeners: [{ name: a, address: '[::1]:1' }]\n\
         clusters: [{ name: c, builtin: echo }]\n\
         routes:\n\
         - { name: a, match: { path: /x }, cluster: c }\n\
         - { name: b, match: { prefix: /x }, cluster: c }\n\
         - { name: c, match: { hosts: [h], path: /x }, cluster: c }\n",
    );
}

#[test]
fn every_section_refuses_a_name_used_twice() {
    for section in [
        "clusters: [{ name: n, builtin: echo }, { name: n, builtin: echo }]",
        "plugins: [{ name: n, module: { builtin: rate-limit } }, { name: n, module: { builtin: rate-limit } }]",
        "resources: [{ name: n, type: redis, url: 'memory://a' }, { name: n, type: redis, url: 'memory://a' }]",
    ] {
        let found =
            problems(&format!("version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\n{section}\n"));
        let (name, _) = section.split_once(':').expect("a section");
        let expected =
            format!("agw.yaml:3: {name}[1].name: the name \"n\" is used twice, first at {name}[0].name.");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:#?}");
    }
}

#[test]
fn two_listeners_on_one_address_are_refused_unless_the_system_chooses_the_port() {
    let document = |port: u16| {
        format!(
            "version: 1\nlisteners: [{{ name: a, address: '[::1]:{port}' }}, {{ name: b, address: '[::1]:{port}' }}]"
        )
    };
    check(
        &document(80),
        &[
            "2: listeners[1].address: the address is used twice, first at listeners[0].address. Choose another port",
        ],
    );
    accept(&document(0));
}

#[test]
fn files_that_are_missing_are_refused() {
    let found =
        problems(&with_resource(&format!("name: r\n{REST}scripts: {{ s: {{ file: no.lua }} }}\ngrants: []")));
    assert_eq!(
        found,
        ["agw.yaml:10: resources[0].scripts.s.file: the file \"/etc/agw/no.lua\" cannot be read: \
          No such file or directory. Create it, or correct the path; it is relative to the document's folder"]
    );
    let found = problems(
        "version: 1\nlisteners: [{ name: a, address: '[::1]:1' }]\nplugins: [{ name: p, module: { file: no.wasm } }]",
    );
    assert_eq!(
        found,
        ["agw.yaml:3: plugins[0].module.file: there is no file \"/etc/agw/no.wasm\". \
          Build the module, or correct the path; it is relative to the document's folder"]
    );
}

#[test]
fn scripts_need_a_real_server_and_some_text() {
    let found = problems(&with_resource(
        "name: r\ntype: redis\nurl: memory://m\nscripts: { a: { source: ' ' }, b: {}, 'c d': { source: x } }",
    ));
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].contains("scripts.a.source: the script has 1 bytes"), "{found:#?}");
    assert!(found[1].contains("scripts.b: one of the fields file or source is missing"), "{found:#?}");
    assert!(found[2].contains("scripts[\"c d\"]: \"c d\" is not a name"), "{found:#?}");
    assert!(
        found[3].contains("scripts: the embedded store runs no scripts") || found[0].contains("embedded")
    );
}
