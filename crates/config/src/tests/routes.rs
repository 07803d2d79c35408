//! Routes: what they ask for, what they do, and what they change on the way.

use super::{accept, check, route_problems, with_route};

#[track_caller]
fn refused(route: &str, expected: &[&str]) {
    assert_eq!(route_problems(route), expected, "{route}");
}

#[test]
fn a_route_has_exactly_one_action() {
    refused(
        "match: { path: / }",
        &[": one of the fields cluster, clusters, redirect or respond is missing. Write cluster: NAME"],
    );
    refused(
        "match: { path: / }, cluster: c, respond: {}",
        &[": the fields cluster and respond exclude each other. Keep one of them"],
    );
}

#[test]
fn wildcards_stand_at_the_beginning_of_a_name() {
    for host in ["*", "*.", "*example.com", "a.*.com", "*.10.0.0.1", "*.[::1]", "*.a.com:80", "*.*.com"] {
        let found = route_problems(&format!("match: {{ hosts: ['{host}'], path: / }}, cluster: c"));
        assert_eq!(
            found,
            [format!(
                "match.hosts[0]: \"{host}\" is not a host name. \
                 Write it without scheme and port, such as api.example.com or \"*.example.com\""
            )]
        );
    }
}

#[test]
fn methods_are_upper_case_words() {
    refused(
        "match: { path: /, methods: [get, 'A B', PUT, PUT] }, cluster: c",
        &[
            "match.methods[0]: \"get\" is not in upper case, as methods are. Write GET",
            "match.methods[1]: \"A B\" is not a method. Write one such as GET or POST",
            "match.methods[3]: \"PUT\" is listed twice. Remove one of the two",
        ],
    );
    refused(
        "match: { path: /, methods: [] }, cluster: c",
        &["match.methods: the number of methods is out of bounds. \
           Write 1 to 32 of them, or remove the field to match every one"],
    );
}

#[test]
fn each_condition_has_a_name_and_one_value() {
    refused(
        "match: { path: /, headers: [{ exact: x }, { name: a }, { name: b, exact: x, present: true }, \
         { name: 'a b', present: true }, { name: Host, exact: x }, { name: d, present: 'yes' }, \
         { name: e, prefix: '' }, { name: f, value: x }] }, cluster: c",
        &[
            "match.headers[0]: the field \"name\" is missing. Write name: NAME",
            "match.headers[1]: one of the fields exact, prefix, regex or present is missing. Write exact: VALUE",
            "match.headers[2]: the fields exact and present exclude each other. Keep one of them",
            "match.headers[3].name: \"a b\" is not the name of a header. \
             Use letters, digits and dashes, such as x-api-key",
            "match.headers[4].name: hosts are not matched as a header. Write match.hosts",
            "match.headers[5].present: expected a boolean, found a string. Write true or false",
            "match.headers[6].prefix: the string is empty. Write a value, or remove the field if it is optional",
            "match.headers[7].value: the field is not known here. \
             There are: \"name\", \"exact\", \"prefix\", \"regex\", \"present\"",
            "match.headers[7]: one of the fields exact, prefix, regex or present is missing. Write exact: VALUE",
        ],
    );
}

#[test]
fn a_pattern_that_does_not_compile_is_refused_wherever_it_stands() {
    const HINT: &str = "Write one of the syntax of the Rust crate regex (no look-around, no back-references), \
                        in single quotes";
    for (field, path) in [
        ("match: { regex: '(' }, cluster: c", "match.regex"),
        ("match: { path: /, headers: [{ name: a, regex: '(' }] }, cluster: c", "match.headers[0].regex"),
        ("match: { path: /, query: [{ name: a, regex: '(' }] }, cluster: c", "match.query[0].regex"),
        (
            "match: { path: / }, cluster: c, rewrite: { regex: { pattern: '(', substitution: '$1' } }",
            "rewrite.regex.pattern",
        ),
        (
            "match: { path: / }, redirect: { regex: { pattern: '(', substitution: '$1' } }",
            "redirect.regex.pattern",
        ),
    ] {
        let expected = format!("{path}: \"(\" is not a regular expression: unclosed group. {HINT}");
        refused(field, &[&expected]);
    }
    let found = route_problems("match: { regex: 'x{1000}{1000}' }, cluster: c");
    assert!(found[0].contains("it is too large when compiled"), "{found:#?}");
    let found = route_problems("match: { regex: 'a)|(b' }, cluster: c");
    assert!(found[0].contains("is not a regular expression"), "{found:#?}");
}

#[test]
fn so_many_patterns_that_compiling_takes_long_are_refused_once() {
    let condition = "{ name: a, regex: x }, ".repeat(30);
    let route = |index: usize| {
        format!(
            "- {{ name: r{index}, match: {{ path: /{index}, headers: [{condition}] }}, respond: {{}} }}\n"
        )
    };
    let routes: String = (0..40).map(route).collect();
    check(
        &format!("version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\nroutes:\n{routes}"),
        &["37: routes[33].match.headers[10].regex: there are too many regular expressions. \
           Keep the document within 1000 of them; use path or prefix where it is enough"],
    );
}

#[test]
fn shares_name_each_cluster_once_and_come_to_something() {
    refused(
        "match: { path: / }, clusters: []",
        &["clusters: the number of clusters is out of bounds. Write 1 to 100 of them"],
    );
    refused(
        "match: { path: / }, clusters: [{ name: c, weight: 0 }, { name: d, weight: 0 }]",
        &["clusters: no cluster has a weight. Give one of them a weight of 1 or more"],
    );
    refused(
        "match: { path: / }, clusters: [{ name: c }, { name: c }, { name: x }, { weight: 1000001 }]",
        &[
            "clusters[1].name: the cluster \"c\" is listed twice. Add the weights up",
            "clusters[2].name: no cluster is named \"x\". Did you mean \"c\"?",
            "clusters[3].weight: the value is out of bounds. Write a number from 0 to 1000000",
            "clusters[3]: the field \"name\" is missing. Write name: NAME",
        ],
    );
}

#[test]
fn what_belongs_to_an_upstream_is_refused_where_there_is_none() {
    for (action, name) in [("redirect: { scheme: https }", "redirect"), ("respond: {}", "respond")] {
        let found = route_problems(&format!(
            "match: {{ path: / }}, {action}, rewrite: {{ path: / }}, retry: {{}}, hash: {{ path: true }}, \
             upgrades: [websocket]"
        ));
        let expected = ["rewrite", "retry", "hash", "upgrades"].map(|field| {
            format!(
                "{field}: the gateway answers itself with {name}, so this has no effect. \
                 Remove the field, or write cluster: NAME"
            )
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn a_prefix_is_replaced_only_where_one_matched() {
    const EXPECTED: &str = "the route does not match by prefix, so there is none to replace. \
                            Write match.prefix, or rewrite by path or regex";
    for matching in ["path: /a", "regex: '/a'"] {
        refused(
            &format!("match: {{ {matching} }}, cluster: c, rewrite: {{ prefix: / }}"),
            &[&format!("rewrite.prefix: {EXPECTED}")],
        );
        refused(
            &format!("match: {{ {matching} }}, redirect: {{ prefix: / }}"),
            &[&format!("redirect.prefix: {EXPECTED}")],
        );
    }
    // A match with a problem of its own causes no second one.
    let found = route_problems("match: {}, cluster: c, rewrite: { prefix: / }");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_rewrite_changes_something_in_one_way() {
    refused(
        "match: { path: / }, cluster: c, rewrite: {}",
        &["rewrite: the rewrite changes nothing. Write path, prefix, regex or host, or remove it"],
    );
    refused(
        "match: { prefix: / }, cluster: c, rewrite: { path: /, prefix: /, host: a, host_from_endpoint: true }",
        &[
            "rewrite: the fields path and prefix exclude each other. Keep one of them",
            "rewrite.host_from_endpoint: host and host_from_endpoint exclude each other. Keep one of them",
        ],
    );
    refused(
        "match: { path: / }, cluster: c, rewrite: { path: '/a?b', host: 'http://a' }",
        &[
            "rewrite.path: \"/a?b\" is not a path. Begin it with a slash; no query, no fragment, no blanks; \
             percent-encode what is not ASCII",
            "rewrite.host: \"http://a\" is not a host: it has a scheme. \
             Write it without scheme, such as api.example.com or api.example.com:8080",
        ],
    );
}

#[test]
fn a_substitution_names_only_groups_that_are_there() {
    let route = |substitution: &str| {
        format!(
            "match: {{ path: / }}, cluster: c, \
             rewrite: {{ regex: {{ pattern: '/(a)(?<rest>.*)', substitution: '{substitution}' }} }}"
        )
    };
    for (substitution, expected) in [
        ("/$1x", "the pattern has no group \"1x\". Write ${1}x if the group is 1"),
        ("/$3", "the pattern has no group \"3\". Add the group to the pattern; $$ stands for a dollar sign"),
        (
            "/${tail}",
            "the pattern has no group \"tail\". Add the group to the pattern; $$ stands for a dollar sign",
        ),
        (
            "/a b",
            "\"/a b\" cannot be part of a path. No query, no fragment, no blanks; percent-encode what is not ASCII",
        ),
    ] {
        refused(&route(substitution), &[&format!("rewrite.regex.substitution: {expected}")]);
    }
    accept(&with_route(&route("/$2/${1}x/$rest/$$/$0")));
}

#[test]
fn a_redirect_leads_elsewhere_with_the_status_of_one() {
    refused(
        "match: { path: / }, redirect: { strip_query: true }",
        &["redirect: the redirect leads back to where it comes from. \
           Write scheme, host, port, path, prefix or regex"],
    );
    refused(
        "match: { path: / }, redirect: { status: 304, scheme: ftp, host: 'a:80', port: 0 }",
        &[
            "redirect.host: \"a:80\" is not a host name. Write it without scheme and port, such as www.example.com",
            "redirect.status: this is not the status of a redirect. Write 301, 302, 303, 307 or 308",
            "redirect.scheme: \"ftp\" is not known here. Did you mean \"http\"?",
            "redirect.port: the value is out of bounds. Write a number from 1 to 65535",
        ],
    );
}

#[test]
fn a_response_breaks_no_framing() {
    for name in
        ["Content-Length", "transfer-encoding", "connection", "Upgrade", "te", "trailer", "keep-alive"]
    {
        let found =
            route_problems(&format!("match: {{ path: / }}, respond: {{ headers: {{ {name}: '1' }} }}"));
        let lower = name.to_ascii_lowercase();
        assert_eq!(
            found,
            [format!("respond.headers.{name}: the gateway writes \"{lower}\" itself. Remove it")]
        );
    }
    const VALUE: &str = "this is not the value of a header. Use at most 4096 printable ASCII characters, no blanks at either end";
    for value in ["\"a\\r\\nb: c\"", "' a'", "'a '", "\"\\0\"", "'é'"] {
        refused(
            &format!("match: {{ path: / }}, respond: {{ headers: {{ x: {value} }} }}"),
            &[&format!("respond.headers.x: {VALUE}")],
        );
    }
    refused(
        "match: { path: / }, respond: { headers: { 'a b': x, Via: y, via: z } }",
        &[
            "respond.headers[\"a b\"]: \"a b\" is not the name of a header. \
             Use letters, digits and dashes, such as x-api-key",
            "respond.headers.via: the header \"via\" is written twice. Remove one of the two",
        ],
    );
}

#[test]
fn a_response_has_a_final_status_and_a_body_only_where_there_may_be_one() {
    for status in [100, 199, 600] {
        refused(
            &format!("match: {{ path: / }}, respond: {{ status: {status} }}"),
            &["respond.status: the value is out of bounds. Write a number from 200 to 599"],
        );
    }
    refused(
        "match: { path: / }, respond: { status: 204, body: x }",
        &["respond.body: a response of status 204 has no body. Remove it, or change the status"],
    );
    let found = route_problems(&format!("match: {{ path: / }}, respond: {{ body: {} }}", "x".repeat(65_537)));
    assert_eq!(found, ["respond.body: the body has 65537 bytes. Keep it within 64KiB"]);
}

#[test]
fn a_retry_on_a_time_out_needs_one() {
    refused(
        "match: { path: / }, cluster: d, retry: { on: [timeout] }",
        &["retry: a time-out is a cause, but a try has none. \
           Write per_try_timeout: 1s, or take timeout out of on"],
    );
    refused(
        "match: { path: / }, cluster: d, retry: { on: [reset, reset, 503], statuses: [503, 503, 200], \
         backoff: { base: 2s, max: 1s } }",
        &[
            "retry.on[1]: the cause is listed twice. Remove one of the two",
            "retry.on[2]: expected a string, found an integer. Put the value in quotes",
            "retry.backoff: max is less than base. Raise max, or lower base",
            "retry.statuses[1]: the status 503 is listed twice. Remove one of the two",
            "retry.statuses[2]: the value is out of bounds. Write a number from 400 to 599",
        ],
    );
}

#[test]
fn a_hash_has_one_key_and_it_is_on() {
    for (hash, expected) in [
        (
            "{}",
            "hash: one of the fields client_address, header, cookie, query or path is missing. \
                Write client_address: true",
        ),
        (
            "{ header: a, path: true }",
            "hash: the fields header and path exclude each other. Keep one of them",
        ),
        (
            "{ path: false }",
            "hash.path: this key is off, and there is no other. Write true, or remove the hash",
        ),
        (
            "{ header: 'a b' }",
            "hash.header: \"a b\" is not the name of a header. \
                Use letters, digits and dashes, such as x-api-key",
        ),
        ("{ cookie: 'a=b' }", "hash.cookie: \"a=b\" is not the name of a cookie. Write one such as session"),
    ] {
        refused(&format!("match: {{ path: / }}, cluster: d, hash: {hash}"), &[expected]);
    }
}

#[test]
fn an_upgrade_past_the_gateway_is_refused() {
    for protocol in ["h2c", "H2C", "TLS", "http"] {
        refused(
            &format!("match: {{ path: / }}, cluster: d, upgrades: [{protocol}]"),
            &[&format!(
                "upgrades[0]: an upgrade to \"{protocol}\" would carry requests past the gateway. \
                 Remove it; listeners and clusters speak HTTP/2 by protocols and protocol"
            )],
        );
    }
    refused(
        "match: { path: / }, cluster: d, upgrades: [websocket, WebSocket, 'a/b']",
        &[
            "upgrades[1]: \"WebSocket\" is listed twice. Remove one of the two",
            "upgrades[2]: \"a/b\" is not a protocol. Write one such as websocket",
        ],
    );
}

#[test]
fn routes_that_ask_for_the_same_are_refused_however_they_are_written() {
    let document = |first: &str, second: &str| {
        format!(
            "version: 1\nlisteners: [{{ name: a, address: '[::1]:1' }}]\nroutes:\n\
             - {{ name: a, match: {{ {first} }}, respond: {{}} }}\n- {{ name: b, match: {{ {second} }}, respond: {{}} }}\n"
        )
    };
    for (first, second, what) in [
        ("regex: /a", "regex: /a", "every host and \"/a\""),
        ("path: /a, methods: [GET, PUT]", "methods: [PUT, GET], path: /a", "every host and \"/a\""),
        (
            "path: /a, headers: [{ name: A, exact: x }, { name: b, present: true }]",
            "path: /a, headers: [{ name: B, present: true }, { name: a, exact: x }]",
            "every host and \"/a\"",
        ),
        ("path: /a, hosts: ['*.A.com', b]", "path: /a, hosts: ['*.a.com']", "\"*.a.com\" and \"/a\""),
    ] {
        let expected = format!(
            "5: routes[1].match: {what} are matched twice, first at routes[0].match. \
             Change the host, the path or another condition, or remove one of the two"
        );
        check(&document(first, second), &[&expected]);
    }
    for (first, second) in [
        ("path: /a", "regex: /a"),
        ("path: /a", "path: /a, methods: [GET]"),
        ("path: /a, methods: [GET]", "path: /a, methods: [GET, PUT]"),
        ("path: /a, headers: [{ name: a, exact: x }]", "path: /a, headers: [{ name: a, prefix: x }]"),
        ("path: /a, headers: [{ name: a, exact: x }]", "path: /a, query: [{ name: a, exact: x }]"),
        ("path: /a, hosts: ['*.a.com']", "path: /a, hosts: ['a.com']"),
    ] {
        accept(&document(first, second));
    }
}

#[test]
fn a_path_with_a_dot_segment_is_refused_for_no_request_has_it() {
    const EXPECTED: &str = "has \".\" or \"..\" as a segment. Write the path that it leads to";
    for path in ["/..", "/.", "/a/../b", "/a/./", "/%2E%2e/b", "/a/.%2e"] {
        refused(
            &format!("match: {{ path: '{path}' }}, cluster: c"),
            &[&format!("match.path: \"{path}\" {EXPECTED}")],
        );
        refused(
            &format!("match: {{ path: / }}, cluster: c, rewrite: {{ path: '{path}' }}"),
            &[&format!("rewrite.path: \"{path}\" {EXPECTED}")],
        );
    }
    refused("match: { prefix: /../ }, cluster: c", &[&format!("match.prefix: \"/../\" {EXPECTED}")]);
    for matching in ["prefix: /..", "prefix: /.well-known/", "path: /..a/b...", "path: '/%2e%2e%2e'"] {
        accept(&with_route(&format!("match: {{ {matching} }}, cluster: c")));
    }
}

#[test]
fn a_list_beyond_its_bound_is_one_problem_and_is_not_looked_at_further() {
    let hundreds = |item: &str| format!("[{}]", vec![item; 300].join(", "));
    for (field, path, max) in [
        (format!("clusters: {}", hundreds("{ name: x, weight: y }")), "clusters", 100),
        (format!("cluster: c, upgrades: {}", hundreds("h2c")), "upgrades", 8),
    ] {
        let found = route_problems(&format!("match: {{ path: / }}, {field}"));
        let own = found.iter().filter(|problem| problem.starts_with(&format!("{path}: ")));
        assert_eq!(own.count(), 1, "{found:#?}");
        assert!(found.iter().all(|problem| !problem.starts_with(&format!("{path}[{max}]"))), "{found:#?}");
    }
    let headers: String = (0..300).map(|index| format!("x{index}: \"\\n\", ")).collect();
    let found = route_problems(&format!("match: {{ path: / }}, respond: {{ headers: {{ {headers} }} }}"));
    assert_eq!(found.len(), 51, "{found:#?}");
    assert_eq!(found[0], "respond.headers: there are too many headers. Write at most 50 of them");
}
