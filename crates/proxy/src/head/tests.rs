use super::*;

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Arrived, Problem> {
    let mut builder = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    arrive(parts, ([127, 0, 0, 1], 8080).into())
}

#[track_caller]
fn refused(method: &str, target: &str, headers: &[(&str, &str)], status: u16, details: &str) {
    let problem = request(method, target, headers).unwrap_err();
    assert_eq!((problem.status.as_u16(), &*problem.details), (status, details));
}

#[test]
fn odd_targets_are_refused_with_a_reason() {
    let host = [("host", "a")];
    refused("CONNECT", "a:443", &host, 501, "connect_not_supported");
    refused("OPTIONS", "*", &host, 501, "asterisk_target_not_supported");
    refused("GET", "a.example", &host, 400, "target_not_valid");
    refused("GET", "ftp://a/", &host, 400, "target_scheme_not_http");
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
fn the_peer_is_appended_to_what_the_client_claims() {
    let mut headers = HeaderMap::new();
    headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
    headers.append(FORWARDED_FOR, HeaderValue::from_static("2.2.2.2, 3.3.3.3"));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    add_forwarded(&mut headers, &forwarded_for("[::ffff:10.0.0.1]:99".parse().unwrap()), false);
    assert_eq!(headers.get_all(FORWARDED_FOR).iter().count(), 1);
    assert_eq!(headers[FORWARDED_FOR], "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1");
    assert_eq!(headers[FORWARDED_PROTO], "http");
}

#[test]
fn a_usable_request_id_is_kept_and_any_other_replaced() {
    let settle = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        }
        let id = settle_request_id(&mut headers);
        assert_eq!(headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
        id
    };
    assert_eq!(settle(&[b"abc-1"]), "abc-1");
    for bad in [&b""[..], b"a b", b"\xff", &[b'a'; 129]] {
        assert_eq!(settle(&[bad]).len(), 36);
    }
    assert_eq!(settle(&[b"a", b"b"]).len(), 36);
}

#[test]
fn a_made_request_id_is_a_random_uuid() {
    let made = new_request_id();
    let text = made.to_str().unwrap();
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert_eq!(&text[14..15], "4");
    assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
    assert_ne!(made, new_request_id());
}
