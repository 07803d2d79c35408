//! Whole documents: the example that ships, and one with thirty mistakes.

use super::{KEY, PEM, lines, load_with, usual_files};
use crate::{HostMatch, RouteAction, UpstreamProtocol};

const EXAMPLE: &str = include_str!("../../../../examples/gateway.yaml");
const MISTAKES: &str = include_str!("mistakes.yaml");

#[test]
fn the_example_of_a_gateway_loads_without_a_warning() {
    let files = usual_files()
        .file("/etc/agw/tls/example.com.pem", *PEM)
        .file("/etc/agw/tls/example.com.key", *KEY)
        .file("/etc/agw/tls/internal-ca.pem", *PEM);
    let loaded = load_with(EXAMPLE, &files).unwrap_or_else(|found| panic!("{:#?}", lines(&found)));
    assert_eq!(lines(&loaded.warnings), Vec::<String>::new());
    let snapshot = loaded.snapshot;
    assert!(snapshot.listeners[0].tls.is_some());
    assert!(matches!(&snapshot.routes[0].action, RouteAction::Redirect(to) if to.status == 308));
    let chat = &snapshot.routes[4];
    assert_eq!(chat.matching.hosts, [HostMatch::Suffix(".chat.example.com".to_owned())]);
    assert_eq!(snapshot.clusters["api"].protocol, UpstreamProtocol::Auto);
    assert!(snapshot.clusters["chat"].health.is_some());
}

/// The line that is wrong, where in the document it is, and a word of what to do about it.
const EXPECTED: [(u32, &str, &str); 32] = [
    (4, "listeners[0].adress", "Did you mean \"address\"?"),
    (5, "listeners[0].address", "127.0.0.1:8080"),
    (6, "listeners[0].protocols[0]", "Did you mean \"http1\"?"),
    (11, "listeners[1].tls.certificates[0].certificate", "Create it"),
    (
        12,
        "listeners[1].tls.certificates[0].key",
        "{ file: PATH }, { env: NAME } or { directory: PATH, key: NAME }",
    ),
    (13, "listeners[1].tls.min_version", "quotes"),
    (14, "listeners[1].tls.client_certificate", "client_ca: "),
    (16, "listeners[1].forwarded.trusted_hops", "from 0 to 32"),
    (17, "listeners[1].forwarded.trusted_networks[0]", "Write 10.0.0.0/8"),
    (18, "listeners[1].limits.idle_timeout", "such as 50ms"),
    (19, "listeners[1].http2.streams", "from 1 to 100000"),
    (21, "routes[0].name", "letters, digits"),
    (22, "routes[0].match.hosts[0]", "without scheme"),
    (22, "routes[0].match.path", "Begin it with a slash"),
    (23, "routes[0].cluster", "Did you mean \"backend\"?"),
    (26, "routes[1].match.regex", "no look-around"),
    (27, "routes[1].match.methods[0]", "Write GET"),
    (30, "routes[1].rewrite.prefix", "match.prefix"),
    (31, "routes[1].retry", "per_try_timeout: 1s"),
    (33, "routes[1].retry.retries", "from 0 to 10"),
    (34, "routes[1].plugins[0]", "There are none"),
    (38, "routes[2].respond.status", "from 200 to 599"),
    (40, "routes[2].respond.headers.Transfer-Encoding", "Remove it"),
    (41, "routes[2].upgrades", "Remove the field"),
    (43, "routes[3].match", "remove one of the two"),
    (44, "routes[3].redirect", "scheme, host"),
    (44, "routes[3].redirect.status", "301, 302"),
    (47, "clusters[0].endpoints[0]", "host:port"),
    (48, "clusters[0].protocol", "add tls: "),
    (49, "clusters[0].balance", "\"round_robin\""),
    (50, "clusters[0].health", "path: /healthz"),
    (52, "clusters[0].limits.pending", "from 0 to 1000000"),
];

#[test]
fn thirty_mistakes_are_found_at_once_each_with_its_line_and_a_way_out() {
    let found = load_with(MISTAKES, &usual_files()).expect_err("it is refused");
    let shown = lines(&found);
    assert!(!shown.concat().contains("hunter"), "{shown:#?}");
    for ((problem, line), (expected_line, path, hint)) in found.iter().zip(&shown).zip(EXPECTED) {
        assert_eq!((problem.line, problem.path.as_str()), (Some(expected_line), path), "{shown:#?}");
        assert!(problem.hint.contains(hint), "{line}");
    }
    assert_eq!(found.len(), EXPECTED.len(), "{shown:#?}");
}
