//! Who the client is, and what upstreams are told of it.
//!
//! A peer that the listener's policy does not trust is the client, and what it says about itself is replaced. With
//! trusted proxies in front, the client is whom the outermost of them names in `x-forwarded-for`. What stands before
//! that name nobody vouches for, and it goes no further.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use agw_config::Listener;
use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, HeaderValue};

use super::hop::{Found, is_x_forwarded};
use super::is_authority;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of a connection, with what the listener's policy says of it.
pub(crate) struct Peer {
    address: SocketAddr,
    /// As `x-forwarded-for` names it.
    name: HeaderValue,
    /// How many of the last names in `x-forwarded-for` are trusted; 0 if the peer is not.
    trusted_hops: usize,
    scheme: &'static str,
    rfc7239: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The port is 0 if only a proxy has seen it.
    pub(crate) address: SocketAddr,
    /// `http` or `https`: what the client spoke to the first trusted proxy.
    pub(crate) scheme: &'static str,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, listener: &Listener) -> Self {
        let policy = &listener.forwarded;
        let networks = &policy.trusted_networks;
        // A dual-stack listener shows IPv4 peers as IPv6; the other side expects the usual form.
        let ip = address.ip().to_canonical();
        let trusted = networks.is_empty() || networks.iter().any(|network| network.contains(ip));
        Peer {
            address,
            name: text_value(&ip.to_string()),
            trusted_hops: if trusted { policy.trusted_hops } else { 0 },
            scheme: if listener.tls.is_some() { "https" } else { "http" },
            rfc7239: policy.rfc7239,
        }
    }

    /// The client as far as the connection shows it.
    pub(crate) fn client(&self) -> Client {
        Client { address: self.address, scheme: self.scheme }
    }

    /// Finds the client, and writes what upstreams are told of it. `host` is the request's authority.
    pub(crate) fn introduce(&self, headers: &mut HeaderMap, found: Found, host: &HeaderValue) -> Client {
        let client = if self.trusted_hops > 0 {
            self.introduce_through_proxies(headers, found, host)
        } else {
            if found.has(Found::X_FORWARDED) {
                remove_x_forwarded(headers);
            }
            headers.insert(FORWARDED_FOR, self.name.clone());
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
            headers.insert(FORWARDED_HOST, host.clone());
            self.client()
        };
        if self.rfc7239 || found.has(Found::FORWARDED) {
            self.write_rfc7239(headers, host);
        }
        client
    }

    /// With a trusted proxy in front: its words are kept, those before them are not.
    #[cold]
    fn introduce_through_proxies(&self, headers: &mut HeaderMap, found: Found, host: &HeaderValue) -> Client {
        let values = headers.get_all(FORWARDED_FOR).iter();
        let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let names: Vec<_> = names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()).collect();
        let vouched = names.len().checked_sub(self.trusted_hops).and_then(|first| names.get(first..));
        let named = vouched.and_then(|vouched| Some((address_of(vouched.first()?)?, vouched)));
        let (ip, chain) = match named {
            Some((ip, vouched)) => (Some(ip), [vouched, &[self.name.as_bytes()]].concat().join(&b", "[..])),
            // A proxy that names nobody has asked itself.
            None => (None, self.name.as_bytes().to_vec()),
        };
        let scheme = self.claimed_scheme(headers);
        // Bytes that were valid header values, joined by others, are one too.
        let chain = HeaderValue::from_bytes(&chain).unwrap_or_else(|_| self.name.clone());
        let claimed_host = single(headers, &FORWARDED_HOST);
        if !claimed_host.is_some_and(|value| is_authority(value.as_bytes())) {
            headers.insert(FORWARDED_HOST, host.clone());
        }
        headers.insert(FORWARDED_FOR, chain);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        if found.has(Found::X_FORWARDED) {
            remove_underscored(headers);
        }
        let address = ip.map_or(self.address, |ip| SocketAddr::new(ip, 0));
        Client { address, scheme }
    }

    /// The proxy's word about the client's scheme, if it is one.
    fn claimed_scheme(&self, headers: &HeaderMap) -> &'static str {
        match single(headers, &FORWARDED_PROTO).map(HeaderValue::as_bytes) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => "https",
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => "http",
            _ => self.scheme,
        }
    }

    /// `forwarded` (RFC 7239) says what the other three say, and never what came in: a proxy in front that knows only
    /// those would have passed on whatever its client wrote.
    #[cold]
    fn write_rfc7239(&self, headers: &mut HeaderMap, host: &HeaderValue) {
        if !self.rfc7239 {
            headers.remove(FORWARDED);
            return;
        }
        let chain = text(headers.get(FORWARDED_FOR));
        let hops = chain.split(", ").count();
        let mut forwarded = String::new();
        for (index, name) in chain.split(", ").enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let node = match address_of(name.as_bytes()) {
                Some(IpAddr::V4(v4)) => v4.to_string(),
                Some(IpAddr::V6(v6)) => format!("\"[{v6}]\""),
                None => "unknown".to_owned(),
            };
            // Writing to a string cannot fail.
            let _ = write!(forwarded, "{comma}for={node}");
            if index == 0 {
                let (host, proto) = (headers.get(FORWARDED_HOST), headers.get(FORWARDED_PROTO));
                let _ = write!(forwarded, ";host=\"{}\";proto={}", text(host), text(proto));
            } else if index + 1 == hops {
                let _ = write!(forwarded, ";host=\"{}\";proto={}", text(Some(host)), self.scheme);
            }
        }
        headers.insert(FORWARDED, text_value(&forwarded));
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The one value of that name.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cold]
fn remove_x_forwarded(headers: &mut HeaderMap) {
    remove_if(headers, is_x_forwarded);
}

/// What looks like a name of these headers only to CGI and its kin. No proxy writes such.
#[cold]
fn remove_underscored(headers: &mut HeaderMap) {
    remove_if(headers, |name| is_x_forwarded(name) && name.contains('_'));
}

fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The address in `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`.
fn address_of(name: &[u8]) -> Option<IpAddr> {
    let name = std::str::from_utf8(name).ok()?;
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let whole = bracketed.parse::<IpAddr>().ok();
    let address = whole.or_else(|| name.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

/// A header value of text that can hold no control character, such as an address.
fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use agw_config::{ForwardedPolicy, IpNetwork};

    use super::*;

    fn peer(address: &str, policy: ForwardedPolicy) -> Peer {
        let listener = Listener { forwarded: policy, ..Listener::new("l", "127.0.0.1:80".parse().unwrap()) };
        Peer::new(address.parse().unwrap(), &listener)
    }

    /// What upstreams are told: the client, `for`, `proto`, `host` and `forwarded`.
    fn told(peer: &Peer, headers: &[(&'static str, &'static str)]) -> (Client, [String; 4], HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let found = Found::search(&map);
        let client = peer.introduce(&mut map, found, &HeaderValue::from_static("own.example"));
        let all = |name: &HeaderName| {
            let values: Vec<_> = map.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            values.join("|")
        };
        let told = [all(&FORWARDED_FOR), all(&FORWARDED_PROTO), all(&FORWARDED_HOST), all(&FORWARDED)];
        (client, told, map)
    }

    fn hops(trusted_hops: usize) -> ForwardedPolicy {
        ForwardedPolicy { trusted_hops, ..ForwardedPolicy::default() }
    }

    const CLAIMS: [(&str, &str); 6] = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "1"),
        ("x_forwarded_for", "2.2.2.2"),
        ("forwarded", "for=3.3.3.3"),
    ];

    #[test]
    fn nothing_that_an_untrusted_client_claims_goes_on() {
        let (client, told, map) = told(&peer("[::ffff:10.0.0.1]:99", hops(0)), &CLAIMS);
        assert_eq!(told, ["10.0.0.1", "http", "own.example", ""]);
        assert_eq!(map.len(), 3, "{map:?}");
        assert_eq!(client.address.port(), 99);
        assert_eq!(client.scheme, "http");
    }

    #[test]
    fn a_trusted_proxy_names_the_client_and_the_rest_is_dropped() {
        let chain = [
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1:5"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "shop.example"),
            ("x_forwarded-for", "6.6.6.6"),
            ("x-forwarded-port", "443"),
        ];
        let (client, told, map) = told(&peer("10.0.0.1:99", hops(2)), &chain);
        assert_eq!(told, ["1.1.1.1:5, 10.0.0.2, 10.0.0.1", "https", "shop.example", ""]);
        assert_eq!(client, Client { address: "1.1.1.1:0".parse().unwrap(), scheme: "https" });
        assert_eq!(map.len(), 4, "{map:?}");
    }

    #[test]
    fn a_chain_that_is_too_short_or_names_nobody_leaves_the_peer() {
        for chain in ["1.1.1.1", "", ", ,", "unknown, 10.0.0.2", "1.1.1.1.1, x"] {
            let headers = [("x-forwarded-for", chain)];
            let (client, told, _) = told(&peer("10.0.0.1:99", hops(2)), &headers);
            assert_eq!(told[0], "10.0.0.1", "{chain}");
            assert_eq!(client.address, "10.0.0.1:99".parse().unwrap());
        }
    }

    #[test]
    fn hops_count_only_in_trusted_networks() {
        let network = |address: &str, prefix| IpNetwork { address: address.parse().unwrap(), prefix };
        let trusted_networks = vec![network("10.0.0.0", 8), network("fd00::", 8)];
        let policy = ForwardedPolicy { trusted_networks, ..hops(1) };
        for (address, client) in [
            ("10.9.9.9:1", "1.1.1.1:0"),
            ("[::ffff:10.9.9.9]:1", "1.1.1.1:0"),
            ("[fd00::7]:1", "1.1.1.1:0"),
            ("11.0.0.1:1", "11.0.0.1:1"),
            ("[fe80::1]:1", "[fe80::1]:1"),
        ] {
            let (found, ..) = told(&peer(address, policy.clone()), &CLAIMS);
            assert_eq!(found.address, client.parse().unwrap(), "{address}");
        }
    }

    #[test]
    fn a_proxys_word_that_is_none_is_replaced() {
        let odd =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b")];
        assert_eq!(told(&peer("10.0.0.1:9", hops(1)), &odd).1[1..3], ["http", "own.example"]);
        let twice = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a"),
            ("x-forwarded-host", "b"),
        ];
        assert_eq!(told(&peer("10.0.0.1:9", hops(1)), &twice).1[1..3], ["http", "own.example"]);
    }

    #[test]
    fn rfc7239_says_the_same_as_the_others() {
        let direct = ForwardedPolicy { rfc7239: true, ..hops(0) };
        let (_, [.., forwarded], _) = told(&peer("[2001:db8::1]:5", direct), &CLAIMS);
        assert_eq!(forwarded, r#"for="[2001:db8::1]";host="own.example";proto=http"#);

        let behind = ForwardedPolicy { rfc7239: true, ..hops(2) };
        let chain = [
            ("x-forwarded-for", "6.6.6.6, 1.1.1.1, [::2]:7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example:8443"),
            ("forwarded", "for=6.6.6.6"),
        ];
        let (_, [.., forwarded], _) = told(&peer("10.0.0.1:9", behind), &chain);
        assert_eq!(
            forwarded,
            r#"for=1.1.1.1;host="shop.example:8443";proto=https, for="[::2]", for=10.0.0.1;host="own.example";proto=http"#
        );
    }
}
