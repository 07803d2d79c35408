use super::*;
use crate::config::OnError;

#[derive(Clone, Default)]
struct Fake {
    headers: Vec<(&'static str, Vec<u8>)>,
    address: Option<&'static str>,
}

impl Request for Fake {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone())
    }

    fn address(&self) -> Option<Vec<u8>> {
        self.address.map(|address| address.as_bytes().to_vec())
    }
}

fn config(key: Vec<Source>) -> Config {
    Config {
        name: "default".into(),
        limit: 5,
        window: 10,
        key,
        resource: "limits".into(),
        on_error: OnError::Open,
        shadow: false,
    }
}

fn key(config: &Config, request: &dyn Request) -> Vec<u8> {
    super::key(&prefix(config), &config.key, request)
}

fn header(name: &'static str, value: &[u8]) -> Fake {
    Fake { headers: vec![(name, value.to_vec())], address: None }
}

fn text(key: Vec<u8>) -> String {
    key.escape_ascii().to_string()
}

#[test]
fn the_first_source_that_the_request_has_counts() {
    let config =
        config(vec![Source::Header("x-api-key".into()), Source::Cookie("sid".into()), Source::Address]);
    let mut request = Fake { address: Some("1.2.3.4:5"), ..Fake::default() };
    assert_eq!(text(key(&config, &request)), "rl1:n7:default:w2:10:a4:\\x01\\x02\\x03\\x04");
    request.headers.push(("cookie", b"a=b; sid=s1; sid=s2".to_vec()));
    assert_eq!(text(key(&config, &request)), "rl1:n7:default:w2:10:c3:sid:v2:s1");
    request.headers.push(("x-api-key", b"k".to_vec()));
    assert_eq!(text(key(&config, &request)), "rl1:n7:default:w2:10:h9:x-api-key:v1:k");
    request.headers[1].1.clear();
    assert_eq!(text(key(&config, &request)), "rl1:n7:default:w2:10:c3:sid:v2:s1");
}

#[test]
fn requests_without_any_source_share_one_counter() {
    let config = config(vec![Source::Header("x-api-key".into())]);
    assert_eq!(text(key(&config, &Fake::default())), "rl1:n7:default:w2:10:none");
}

#[test]
fn no_value_can_pose_as_another_source_or_policy() {
    let sources = || vec![Source::Header("a".into()), Source::Header("a:v1:x".into()), Source::Path];
    let mut keys = vec![
        key(&config(sources()), &header("a", b"x")),
        key(&config(sources()), &header("a", b"x:v1:x")),
        key(&config(sources()), &header("a:v1:x", b"x")),
        key(&config(sources()), &header(":path", b"x")),
        key(&config(sources()), &header("a", b":none")),
        key(&config(sources()), &Fake::default()),
        key(&Config { name: "default:w2:10".into(), ..config(sources()) }, &header("a", b"x")),
        key(&Config { window: 11, ..config(sources()) }, &header("a", b"x")),
    ];
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all);
}

#[test]
fn long_values_are_hashed_and_stay_apart() {
    let config = config(vec![Source::Header("k".into())]);
    let mut value = vec![b'x'; 4096];
    let first = key(&config, &header("k", &value));
    value[4095] = b'y';
    let second = key(&config, &header("k", &value));
    assert!(first.len() <= KEY_BYTES_MAX && first.starts_with(b"rl1#"));
    assert_ne!(first, second);
    // A client cannot write down a hash and hit the counter behind it.
    assert_ne!(key(&config, &header("k", &first)), first);
}

#[test]
fn values_need_not_be_text() {
    let config = config(vec![Source::Header("k".into())]);
    assert_eq!(text(key(&config, &header("k", b"\xff\x00"))), "rl1:n7:default:w2:10:h1:k:v2:\\xff\\x00");
}

#[test]
fn addresses_lose_their_port_and_ipv6_counts_by_network() {
    assert_eq!(client(b"1.2.3.4:5678"), [1, 2, 3, 4]);
    assert_eq!(client(b"1.2.3.4"), [1, 2, 3, 4]);
    assert_eq!(client(b"[::ffff:1.2.3.4]:80"), [1, 2, 3, 4]);
    assert_eq!(client(b"[2001:db8:1:2:3:4:5:6]:80"), client(b"2001:db8:1:2::1"));
    assert_ne!(client(b"[2001:db8:1:2::1]:80"), client(b"[2001:db8:1:3::1]:80"));
    assert_eq!(client(b"/run/socket"), b"/run/socket");
    assert_eq!(client(b"\xff"), b"\xff");
}

#[test]
fn cookies_are_found_among_others() {
    assert_eq!(cookie(b"sid=1", "sid"), Some(&b"1"[..]));
    assert_eq!(cookie(b"a=b;sid=1 ; c", "sid"), Some(&b"1"[..]));
    assert_eq!(cookie(b"xsid=1; sidx=2; sid", "sid"), None);
    assert_eq!(cookie(b"", "sid"), None);
    assert_eq!(without_query(b"/a?b?c"), b"/a");
    assert_eq!(without_query(b"?b"), b"");
}
