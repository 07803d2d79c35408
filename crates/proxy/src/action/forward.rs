//! To an upstream: which cluster, and what the request looks like there.

use std::borrow::Cow;
use std::net::IpAddr;

use agw_config::{Forward, HashKey, HostRewrite, RetryPolicy, Route};
use http::header::{COOKIE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Uri};

use super::rewrite::Rewrite;
use crate::error::RuntimeError;
use crate::reply::Problem;
use crate::router::query_parameter;

/// How a route forwards.
#[derive(Debug)]
pub(crate) struct Forwarding {
    /// Each share ends where the next begins; one of 0 is never drawn.
    shares: Vec<u64>,
    path: Option<Rewrite>,
    host: Option<HeaderValue>,
    host_of_endpoint: bool,
    retry: Option<RetryPolicy>,
    hash: Option<Key>,
    /// In lower case.
    upgrades: Vec<String>,
}

/// What requests are spread by.
#[derive(Debug)]
enum Key {
    Client,
    Header(HeaderName),
    Cookie(Box<[u8]>),
    Query(Box<[u8]>),
    Path,
}

impl Forwarding {
    pub(super) fn compile(forward: &Forward, route: &Route) -> Result<Self, RuntimeError> {
        let not_valid = |name: &str| RuntimeError::name_not_valid(route, name);
        let mut sum = 0;
        let shares = forward.clusters.iter().map(|share| {
            sum += u64::from(share.weight);
            sum
        });
        let shares = shares.collect();
        let path = forward.path.as_ref().map(|path| Rewrite::compile(path, route)).transpose()?;
        let host = match &forward.host {
            Some(HostRewrite::Literal(host)) => {
                Some(HeaderValue::from_str(host).map_err(|_| not_valid(host))?)
            }
            Some(HostRewrite::Endpoint) | None => None,
        };
        let hash = match &forward.hash {
            None => None,
            Some(HashKey::ClientAddress) => Some(Key::Client),
            Some(HashKey::Header(name)) => {
                Some(Key::Header(HeaderName::from_bytes(name.as_bytes()).map_err(|_| not_valid(name))?))
            }
            Some(HashKey::Cookie(name)) => Some(Key::Cookie(name.as_bytes().into())),
            Some(HashKey::Query(name)) => Some(Key::Query(name.as_bytes().into())),
            Some(HashKey::Path) => Some(Key::Path),
        };
        let host_of_endpoint = forward.host == Some(HostRewrite::Endpoint);
        Ok(Forwarding {
            shares,
            path,
            host,
            host_of_endpoint,
            retry: forward.retry.clone(),
            hash,
            upgrades: forward.upgrades.clone(),
        })
    }

    /// An index into the route's clusters, drawn at random by weight.
    pub(crate) fn draw(&self) -> usize {
        match &*self.shares {
            [] | [_] => 0,
            shares => self.share_of(fastrand::u64(..shares.last().copied().unwrap_or(1).max(1))),
        }
    }

    fn share_of(&self, drawn: u64) -> usize {
        self.shares.partition_point(|end| *end <= drawn)
    }

    pub(crate) fn retry(&self) -> Option<&RetryPolicy> {
        self.retry.as_ref()
    }

    /// Whether clients may upgrade to the protocol, which is in lower case.
    pub(crate) fn allows_upgrade(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|allowed| allowed == protocol)
    }

    pub(crate) fn host_of_endpoint(&self) -> bool {
        self.host_of_endpoint
    }

    /// Whether requests are spread by something they have in them.
    pub(crate) fn has_key(&self) -> bool {
        self.hash.is_some()
    }

    /// What this request is spread by: nothing if it does not have it.
    pub(crate) fn key<'r, B>(&self, request: &'r Request<B>, client: IpAddr) -> Option<Cow<'r, [u8]>> {
        match self.hash.as_ref()? {
            Key::Client => Some(Cow::Owned(match client.to_canonical() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            })),
            Key::Header(name) => request.headers().get(name).map(|value| Cow::Borrowed(value.as_bytes())),
            Key::Cookie(name) => cookie(request.headers(), name).map(Cow::Borrowed),
            Key::Query(name) => request.uri().query().and_then(|query| query_parameter(query, name)),
            Key::Path => Some(Cow::Borrowed(request.uri().path().as_bytes())),
        }
    }

    /// Makes the request what the upstream is to see. The endpoint's name as host is left to the upstream.
    ///
    /// # Errors
    /// What to answer if the new path is none.
    pub(crate) fn rewrite<B>(&self, request: &mut Request<B>) -> Result<(), Problem> {
        if let Some(rewrite) = &self.path
            && let Some(path) = request.uri().path_and_query()
        {
            *request.uri_mut() = Uri::from(rewrite.apply(path)?);
        }
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        Ok(())
    }
}

/// The first cookie of that name.
fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use agw_config::{PathMatch, RouteAction, RouteMatch, WeightedCluster};

    use super::*;

    fn forwarding(change: impl FnOnce(&mut Forward)) -> Forwarding {
        let RouteAction::Forward(mut forward) = Forward::to("c") else { unreachable!() };
        change(&mut forward);
        let matching = RouteMatch::path(PathMatch::Prefix("/".into()));
        let route = Route::new("r", matching, RouteAction::Forward(forward.clone()));
        Forwarding::compile(&forward, &route).unwrap()
    }

    fn key(hash: HashKey, request: http::request::Builder) -> Option<Vec<u8>> {
        let forwarding = forwarding(|forward| forward.hash = Some(hash));
        let request = request.body(()).unwrap();
        forwarding.key(&request, [10, 0, 0, 1].into()).map(Cow::into_owned)
    }

    #[test]
    fn each_cluster_gets_its_share_and_one_of_0_nothing() {
        let weights = [0, 1, 3, 0, 4, 0];
        let forwarding = forwarding(|forward| {
            let share = |weight| WeightedCluster { cluster: "c".into(), weight };
            forward.clusters = weights.into_iter().map(share).collect();
        });
        let drawn: Vec<_> = (0..8).map(|number| forwarding.share_of(number)).collect();
        assert_eq!(drawn, [1, 2, 2, 2, 4, 4, 4, 4]);
        for _ in 0..1000 {
            assert!([1, 2, 4].contains(&forwarding.draw()));
        }
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let forwarding = forwarding(|forward| {
            let share = || WeightedCluster { cluster: "c".into(), weight: u32::MAX };
            forward.clusters = vec![share(), share(), share()];
        });
        assert_eq!(forwarding.share_of(u64::from(u32::MAX) * 3 - 1), 2);
        assert!(forwarding.draw() < 3);
    }

    #[test]
    fn a_request_is_spread_by_what_it_has() {
        let request = || {
            Request::get("/p/q?a=1&b=%32")
                .header("cookie", "x=1; session = no; session=abc; session=later")
                .header("cookie", "other=2")
                .header("x-user", "u")
        };
        assert_eq!(key(HashKey::ClientAddress, request()).as_deref(), Some(&[10, 0, 0, 1][..]));
        assert_eq!(key(HashKey::Header("x-user".into()), request()).as_deref(), Some(&b"u"[..]));
        assert_eq!(key(HashKey::Cookie("session".into()), request()).as_deref(), Some(&b"abc"[..]));
        assert_eq!(key(HashKey::Cookie("other".into()), request()).as_deref(), Some(&b"2"[..]));
        assert_eq!(key(HashKey::Query("b".into()), request()).as_deref(), Some(&b"2"[..]));
        assert_eq!(key(HashKey::Path, request()).as_deref(), Some(&b"/p/q"[..]));
        for missing in
            [HashKey::Header("x".into()), HashKey::Cookie("sess".into()), HashKey::Query("c".into())]
        {
            assert_eq!(key(missing, request()), None);
        }
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let forwarding = forwarding(|forward| forward.hash = Some(HashKey::ClientAddress));
        let request = Request::get("/").body(()).unwrap();
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(forwarding.key(&request, mapped), forwarding.key(&request, [10, 0, 0, 1].into()));
    }
}
