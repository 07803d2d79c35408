use super::*;

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Arrived, Turned> {
    let mut builder = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    arrive(parts, ([127, 0, 0, 1], 8080).into())
}

#[track_caller]
fn refused(method: &str, target: &str, headers: &[(&str, &str)], status: u16, details: &str) {
    let Turned::Refused(problem) = request(method, target, headers).unwrap_err() else {
        panic!("{method} {target} is answered");
    };
    assert_eq!((problem.status.as_u16(), &*problem.details), (status, details));
}

#[test]
fn odd_targets_are_refused_with_a_reason() {
    let host = [("host", "a")];
    refused("CONNECT", "a:443", &host, 501, "connect_not_supported");
    refused("GET", "*", &host, 400, "target_not_valid");
    assert!(matches!(request("OPTIONS", "*", &host), Err(Turned::Options)));
    refused("GET", "a.example", &host, 400, "target_not_valid");
    refused("GET", "ftp://a/", &host, 400, "target_scheme_not_http");
    refused("GET", "/caf\u{e9}", &host, 400, "target_not_valid");
}

#[test]
fn a_host_that_parsers_could_read_differently_is_refused() {
    for host in [
        "", "a b", "user@a", "a/b", "a:80:81", "a:port", "[::1", "[x]", "[::1]80", "a,b", "a?b", "a#",
        "a%20", "a:", "a:999999",
    ] {
        refused("GET", "/", &[("host", host)], 400, "host_not_valid");
    }
    refused("GET", "/", &[("host", "a"), ("host", "a")], 400, "several_host_headers");
    refused("GET", "/", &[], 400, "host_missing");
    refused("GET", "http://a/", &[], 400, "host_missing");
    refused("GET", "http://user@a/", &[("host", "a")], 400, "host_not_valid");
}

#[test]
fn usual_hosts_are_taken() {
    for host in ["a", "a.example:8080", "127.0.0.1", "[::1]:80", "[::ffff:1.2.3.4]", "a_b-c.d.~", "a:1"] {
        let arrived = request("GET", "/", &[("host", host)]).unwrap();
        // What is taken here must also be an authority to filters.
        assert!(Authority::try_from(arrived.headers[HOST].as_bytes()).is_ok(), "{host}");
    }
}

#[test]
fn with_http2_a_host_header_may_only_repeat_the_authority() {
    let arrive_with = |target: &str, host: Option<&str>| {
        let mut builder = http::Request::builder().version(Version::HTTP_2).uri(target);
        if let Some(host) = host {
            builder = builder.header("host", host);
        }
        arrive(builder.body(()).unwrap().into_parts().0, ([127, 0, 0, 1], 8080).into())
    };
    for (target, host, details) in [("http://a/", Some("b"), "several_hosts"), ("/", None, "host_missing")] {
        let Err(Turned::Refused(problem)) = arrive_with(target, host) else { panic!("{target} was taken") };
        assert_eq!(problem.details, details);
    }
    for (target, host) in [("http://a/", Some("A")), ("http://a/", None), ("/", Some("a"))] {
        assert!(arrive_with(target, host).is_ok(), "{target} {host:?}");
    }
}

#[test]
fn the_absolute_form_decides_over_the_host_header() {
    let arrived = request("GET", "http://real.example:81/p?q=1", &[("host", "other.example")]).unwrap();
    assert_eq!(arrived.headers[HOST], "real.example:81");
    assert_eq!(arrived.path, "/p?q=1");
    assert_eq!(request("GET", "http://a", &[("host", "b")]).unwrap().path, "/");
    assert_eq!(request("GET", "http://a?q", &[("host", "b")]).unwrap().path, "/?q");
}

#[test]
fn an_old_client_without_host_gets_the_listeners_address() {
    let (parts, ()) =
        http::Request::builder().version(Version::HTTP_10).uri("/").body(()).unwrap().into_parts();
    assert_eq!(arrive(parts, ([127, 0, 0, 1], 8080).into()).unwrap().headers[HOST], "127.0.0.1:8080");
}

#[test]
fn hop_by_hop_headers_and_those_that_connection_names_stay_here() {
    let arrived = request(
        "POST",
        "/",
        &[
            ("host", "a"),
            ("connection", "close, x-private , content-length,host"),
            ("connection", "x-second"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("content-length", "5"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "x"),
            ("expect", "100-continue"),
            ("x-kept", "1"),
        ],
    )
    .unwrap();
    let mut left: Vec<_> =
        arrived.headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
    left.sort();
    assert_eq!(left, ["content-length=5", "host=a", "te=trailers", "x-kept=1"]);
}

#[test]
fn a_path_with_dot_segments_is_refused() {
    let host = [("host", "a")];
    for path in
        ["/.", "/..", "/a/../b", "/a/./b", "/a/..", "/%2e%2e/a", "/a/.%2E?x", "http://h/../a", "/a/%2e/"]
    {
        refused("GET", path, &host, 400, "path_not_normal");
    }
    for path in ["/.well-known/x", "/a/...", "/a..b/", "/..a", "/a/b?x=/../y", "/%2e%2f", "/%2x", "/a/%"] {
        assert!(request("GET", path, &host).is_ok(), "{path}");
    }
}

#[test]
fn only_chunked_may_stand_in_transfer_encoding() {
    for coding in ["gzip, chunked", "chunked, chunked", "identity", "x"] {
        let headers = [("host", "a"), ("transfer-encoding", coding)];
        refused("POST", "/", &headers, 501, "transfer_coding_not_supported");
    }
    assert!(request("POST", "/", &[("host", "a"), ("transfer-encoding", "CHUNKED")]).is_ok());
}

#[test]
fn an_expectation_other_than_100_continue_is_a_417() {
    for value in ["200-ok", "", "100-continue, x"] {
        refused("POST", "/", &[("host", "a"), ("expect", value)], 417, "expectation_not_supported");
    }
    let twice = [("host", "a"), ("expect", "100-continue"), ("expect", "x")];
    refused("POST", "/", &twice, 417, "expectation_not_supported");
    assert!(request("POST", "/", &[("host", "a"), ("expect", "100-Continue")]).is_ok());
}

#[test]
fn max_forwards_counts_down_to_the_gateway() {
    let with = |method, value| request(method, "/", &[("host", "a"), ("max-forwards", value)]);
    let left = |method, value| with(method, value).unwrap().headers[MAX_FORWARDS].clone();
    assert_eq!(left("OPTIONS", "3"), "2");
    assert_eq!(left("TRACE", "1"), "0");
    assert_eq!(left("GET", "0"), "0");
    assert_eq!(left("TRACE", "99999999999999"), "4294967294");
    assert!(matches!(with("OPTIONS", "0"), Err(Turned::Options)));
    refused("TRACE", "/", &[("host", "a"), ("max-forwards", "0")], 501, "trace_not_supported");
    for odd in ["", "x", "-1", "+1", "1.0"] {
        refused("OPTIONS", "/", &[("host", "a"), ("max-forwards", odd)], 400, "max_forwards_not_valid");
    }
}

#[test]
fn what_filters_make_of_a_head_must_be_one() {
    let go = |method: &str, path: &str, authority: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        may_go_out(&method, &path.parse().unwrap(), authority.as_bytes())
    };
    assert!(go("PATCH", "/a?b", "h:1"));
    for (method, path, authority) in [
        ("CONNECT", "/", "h"),
        ("OPTIONS", "*", "h"),
        ("GET", "/a/../b", "h"),
        ("GET", "/", "a,b"),
        ("GET", "/", ""),
    ] {
        assert!(!go(method, path, authority), "{method} {path} {authority}");
    }
}
