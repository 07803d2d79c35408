use agw_config::{FieldMatch, Forward, PathMatch, RouteMatch, ValueMatch};
use http::HeaderValue;

use super::*;

fn hosts(names: &[&str]) -> Vec<HostMatch> {
    let host = |name: &&str| match name.strip_prefix('*') {
        Some(end) => HostMatch::Suffix(end.to_owned()),
        None => HostMatch::Exact((*name).to_owned()),
    };
    names.iter().map(host).collect()
}

fn route(matching: RouteMatch) -> Arc<Route> {
    Arc::new(Route::new("r", matching, Forward::to("c")))
}

fn exact(names: &[&str], path: &str) -> Arc<Route> {
    route(RouteMatch { hosts: hosts(names), ..RouteMatch::path(PathMatch::Exact(path.into())) })
}

fn prefix(names: &[&str], path: &str) -> Arc<Route> {
    route(RouteMatch { hosts: hosts(names), ..RouteMatch::path(PathMatch::Prefix(path.into())) })
}

fn regex(names: &[&str], path: &str) -> Arc<Route> {
    route(RouteMatch { hosts: hosts(names), ..RouteMatch::path(PathMatch::Regex(path.into())) })
}

fn field(name: &str, value: ValueMatch) -> FieldMatch {
    FieldMatch { name: name.into(), value }
}

/// A route for `/` that asks for more.
fn asking(methods: &[&str], headers: &[FieldMatch], query: &[FieldMatch]) -> Arc<Route> {
    route(RouteMatch {
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        headers: headers.to_vec(),
        query: query.to_vec(),
        ..RouteMatch::path(PathMatch::Prefix("/".into()))
    })
}

fn build(routes: &[Arc<Route>]) -> Router {
    Router::build(routes).unwrap()
}

impl Router {
    fn get(&self, authority: Option<&str>, path: &str) -> Option<usize> {
        self.ask(authority, "GET", path, &[])
    }

    fn ask(
        &self,
        authority: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Option<usize> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.find(Asked { authority, method: &method, path: &path.parse().unwrap(), headers: &map })
    }
}

#[test]
fn nothing_matches_without_routes() {
    assert_eq!(build(&[]).get(Some("a"), "/"), None);
}

#[test]
fn an_exact_path_wins_over_a_longer_match_by_prefix() {
    let router = build(&[prefix(&[], "/a/b"), exact(&[], "/a/b/c"), prefix(&[], "/a/b/c")]);
    assert_eq!(router.get(None, "/a/b/c"), Some(1));
    assert_eq!(router.get(None, "/a/b/cd"), Some(2));
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let router = build(&[prefix(&[], "/"), prefix(&[], "/api/v1/"), prefix(&[], "/api/")]);
    assert_eq!(router.get(None, "/api/v1/x"), Some(1));
    assert_eq!(router.get(None, "/api/v2"), Some(2));
    assert_eq!(router.get(None, "/apiary"), Some(0));
    assert_eq!(router.get(None, "/zzz"), Some(0));
}

#[test]
fn a_prefix_is_compared_byte_by_byte() {
    let router = build(&[prefix(&[], "/a")]);
    assert_eq!(router.get(None, "/ab"), Some(0));
    assert_eq!(router.get(None, "/b"), None);
    assert_eq!(router.get(None, "/"), None);
}

#[test]
fn a_pattern_stands_between_an_exact_path_and_prefixes() {
    let router = build(&[
        prefix(&[], "/users/1/posts"),
        regex(&[], "/users/[0-9]+(/.*)?"),
        regex(&[], "/users/.*"),
        exact(&[], "/users/7"),
    ]);
    assert_eq!(router.get(None, "/users/7"), Some(3));
    assert_eq!(router.get(None, "/users/1/posts"), Some(1));
    assert_eq!(router.get(None, "/users/me"), Some(2));
    assert_eq!(router.get(None, "/users"), None);
}

#[test]
fn a_pattern_sees_the_path_without_query() {
    let router = build(&[regex(&[], "/a")]);
    assert_eq!(router.get(None, "/a?b=c"), Some(0));
    assert_eq!(router.get(None, "/ab"), None);
}

#[test]
fn a_pattern_that_does_not_compile_names_its_route() {
    let error = Router::build(&[regex(&[], "/(")]).unwrap_err();
    assert!(error.to_string().contains("`r`"), "{error}");
    let error = Router::build(&[asking(&[], &[field("x", ValueMatch::Regex("[".into()))], &[])]).unwrap_err();
    assert!(error.to_string().contains("`r`"), "{error}");
    for odd in [asking(&["G T"], &[], &[]), asking(&[], &[field("a b", ValueMatch::Present)], &[])] {
        assert!(Router::build(&[odd]).unwrap_err().to_string().contains("`r`"));
    }
}

#[test]
fn a_named_host_wins_and_falls_back_to_any_host() {
    let router = build(&[exact(&[], "/x/long/path"), prefix(&["a.example"], "/x"), prefix(&[], "/")]);
    assert_eq!(router.get(Some("a.example"), "/x/long/path"), Some(1));
    assert_eq!(router.get(Some("a.example"), "/y"), Some(2));
    assert_eq!(router.get(Some("b.example"), "/x/long/path"), Some(0));
}

#[test]
fn hosts_go_from_the_exact_name_over_longer_wildcards_to_any() {
    let router = build(&[
        prefix(&[], "/"),
        prefix(&["*.example"], "/"),
        prefix(&["*.a.example"], "/"),
        prefix(&["www.a.example"], "/only"),
        prefix(&["*.a.example"], "/deep"),
    ]);
    assert_eq!(router.get(Some("www.a.example"), "/only"), Some(3));
    assert_eq!(router.get(Some("www.a.example"), "/deep"), Some(4));
    assert_eq!(router.get(Some("www.a.example"), "/x"), Some(2));
    assert_eq!(router.get(Some("x.y.a.example:81"), "/x"), Some(2));
    assert_eq!(router.get(Some("a.example"), "/x"), Some(1));
    assert_eq!(router.get(Some("ba.example"), "/x"), Some(1));
    for other in ["example", ".example", "a.example.org", ""] {
        assert_eq!(router.get(Some(other), "/x"), Some(0), "{other}");
    }
}

#[test]
fn hosts_compare_without_case_port_and_root_dot() {
    let router =
        build(&[prefix(&["a.example"], "/"), prefix(&["[::1]"], "/"), prefix(&["*.b.example"], "/")]);
    for host in ["a.example", "A.Example", "a.example:8080", "A.EXAMPLE:1", "a.example.", "a.example.:80"] {
        assert_eq!(router.get(Some(host), "/"), Some(0), "{host}");
    }
    for host in ["[::1]:80", "[::1]"] {
        assert_eq!(router.get(Some(host), "/"), Some(1), "{host}");
    }
    assert_eq!(router.get(Some("X.B.example.:1"), "/"), Some(2));
    assert_eq!(router.get(Some(&"A".repeat(300)), "/"), None);
    assert_eq!(router.get(Some(&"a.".repeat(2000)), "/"), None);
    assert_eq!(router.get(Some(""), "/"), None);
}

#[test]
fn of_two_equal_routes_the_first_wins() {
    let router = build(&[prefix(&[], "/a"), prefix(&[], "/a"), exact(&[], "/e"), exact(&[], "/e")]);
    assert_eq!(router.get(None, "/a"), Some(0));
    assert_eq!(router.get(None, "/e"), Some(2));
}

#[test]
fn a_route_that_names_the_method_comes_first() {
    let router = build(&[
        asking(&[], &[field("x", ValueMatch::Present), field("y", ValueMatch::Present)], &[]),
        asking(&["POST", "PUT"], &[], &[]),
    ]);
    let both = [("x", "1"), ("y", "1")];
    assert_eq!(router.ask(None, "PUT", "/", &both), Some(1));
    assert_eq!(router.ask(None, "GET", "/", &both), Some(0));
    assert_eq!(router.ask(None, "put", "/", &[]), None);
}

#[test]
fn get_does_not_cover_head() {
    let router = build(&[asking(&["GET"], &[], &[])]);
    assert_eq!(router.ask(None, "HEAD", "/", &[]), None);
}

#[test]
fn more_headers_come_before_fewer_and_those_before_parameters() {
    let header = |name: &str| field(name, ValueMatch::Present);
    let router = build(&[
        asking(&[], &[], &[]),
        asking(&[], &[], &[header("q"), header("r"), header("s")]),
        asking(&[], &[header("x")], &[]),
        asking(&[], &[header("x"), header("y")], &[]),
        asking(&[], &[header("x")], &[header("q")]),
    ]);
    assert_eq!(router.ask(None, "GET", "/?q&r&s", &[("x", ""), ("y", "")]), Some(3));
    assert_eq!(router.ask(None, "GET", "/?q&r&s", &[("x", "")]), Some(4));
    assert_eq!(router.ask(None, "GET", "/?r&s", &[("x", "")]), Some(2));
    assert_eq!(router.ask(None, "GET", "/?q&r&s", &[]), Some(1));
    assert_eq!(router.ask(None, "GET", "/", &[]), Some(0));
}

#[test]
fn a_path_whose_conditions_fail_passes_on_to_the_next_path_and_host() {
    let post = |names: &[&str], path| {
        route(RouteMatch { hosts: hosts(names), methods: vec!["POST".into()], ..RouteMatch::path(path) })
    };
    let router = build(&[
        post(&["a.b"], PathMatch::Exact("/x/y".into())),
        post(&["a.b"], PathMatch::Regex("/x/.".into())),
        post(&["a.b"], PathMatch::Prefix("/x/y".into())),
        prefix(&["a.b"], "/x/"),
        prefix(&["*.b"], "/"),
    ]);
    assert_eq!(router.ask(Some("a.b"), "POST", "/x/y", &[]), Some(0));
    assert_eq!(router.ask(Some("a.b"), "GET", "/x/y", &[]), Some(3));
    assert_eq!(router.ask(Some("a.b"), "GET", "/z", &[]), Some(4));
}

#[test]
fn headers_compare_by_value_and_several_are_joined() {
    let holds = |value: ValueMatch, headers: &[(&'static str, &'static str)]| {
        build(&[asking(&[], &[field("x", value)], &[])]).ask(None, "GET", "/", headers).is_some()
    };
    let exactly = |text: &str| ValueMatch::Exact(text.into());
    assert!(holds(exactly("a, b"), &[("x", "a"), ("x", "b")]));
    assert!(holds(exactly("a"), &[("X", "a")]));
    assert!(!holds(exactly("a"), &[("x", "a"), ("x", "b")]));
    assert!(!holds(exactly("a"), &[("x", "A")]));
    assert!(holds(ValueMatch::Prefix("Bearer ".into()), &[("x", "Bearer t")]));
    assert!(holds(ValueMatch::Regex("[ab]+".into()), &[("x", "abba")]));
    assert!(!holds(ValueMatch::Regex("[ab]+".into()), &[("x", "abbac")]));
    assert!(holds(ValueMatch::Absent, &[]) && !holds(ValueMatch::Absent, &[("x", "")]));
    assert!(holds(ValueMatch::Present, &[("x", "")]) && !holds(ValueMatch::Present, &[]));
}

#[test]
fn the_host_header_is_the_authority() {
    let router = build(&[asking(&[], &[field("host", ValueMatch::Exact("a:80".into()))], &[])]);
    assert_eq!(router.get(Some("a:80"), "/"), Some(0));
    assert_eq!(router.get(Some("a"), "/"), None);
}

#[test]
fn parameters_are_decoded_and_the_first_counts() {
    let holds = |value: ValueMatch, path: &str| {
        build(&[asking(&[], &[], &[field("a b", value)])]).get(None, path).is_some()
    };
    let one = || ValueMatch::Exact("1/".into());
    assert!(holds(one(), "/?x=2&a%20b=1%2f&a%20b=2"));
    assert!(holds(one(), "/?%61%20%62=1/"));
    assert!(!holds(one(), "/?a%20b=2&a%20b=1/"));
    assert!(!holds(one(), "/?a+b=1/"));
    assert!(holds(ValueMatch::Present, "/?a%20b"));
    assert!(holds(ValueMatch::Exact("100%".into()), "/?a%20b=100%"));
    assert!(holds(ValueMatch::Exact("%zz%2".into()), "/?a%20b=%zz%2"));
    assert!(holds(ValueMatch::Absent, "/") && holds(ValueMatch::Absent, "/?"));
}

#[test]
fn it_agrees_with_a_linear_search() {
    let paths = ["/", "/a", "/ab", "/abc", "/a/", "/a/b", "/a/b/", "/b", "/a-", "/a/b/c/d", "/ü"];
    let routes: Vec<_> = paths.iter().map(|path| prefix(&[], path)).collect();
    let router = build(&routes);
    for path in paths.iter().flat_map(|path| [path.to_string(), format!("{path}x"), format!("{path}/b/c/e")])
    {
        let best =
            paths.iter().enumerate().filter(|(_, p)| path.starts_with(**p)).max_by_key(|(_, p)| p.len());
        assert_eq!(router.get(None, &path), best.map(|(index, _)| index), "{path}");
    }
}
