//! Which route a request takes.
//!
//! Built once per snapshot. A lookup costs two or three hash lookups and a binary search, and allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use agw_config::{HostMatch, PathMatch, Route};

use crate::limits::HOST_BYTES_MAX;

/// All routes, by host and path. The values are indexes into the snapshot's routes.
#[derive(Debug, Default)]
pub(crate) struct Router {
    hosts: HashMap<Box<str>, Paths>,
    any_host: Paths,
}

/// The routes of one host.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, usize>,
    /// Sorted by bytes.
    prefixes: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    route: usize,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
}

impl Router {
    /// A router for `routes`. Of two with the same host and path the first wins.
    pub(crate) fn build(routes: &[Arc<Route>]) -> Self {
        let mut router = Router::default();
        for (index, route) in routes.iter().enumerate() {
            let matching = &route.matching;
            if matching.hosts.is_empty() {
                router.any_host.add(&matching.path, index);
            }
            for host in &matching.hosts {
                let (HostMatch::Exact(host) | HostMatch::Suffix(host)) = host;
                router.hosts.entry(host.as_str().into()).or_default().add(&matching.path, index);
            }
        }
        router.any_host.link();
        router.hosts.values_mut().for_each(Paths::link);
        router
    }

    /// The index of the most specific route for `authority` (a port is ignored) and `path` (without query).
    pub(crate) fn find(&self, authority: Option<&str>, path: &str) -> Option<usize> {
        let named = authority.and_then(|authority| self.paths_of(host_of(authority)));
        named.and_then(|paths| paths.find(path)).or_else(|| self.any_host.find(path))
    }

    fn paths_of(&self, host: &str) -> Option<&Paths> {
        if self.hosts.is_empty() || host.len() > HOST_BYTES_MAX {
            return None;
        }
        if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.hosts.get(host);
        }
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host.as_bytes());
        lower.make_ascii_lowercase();
        self.hosts.get(std::str::from_utf8(lower).ok()?)
    }
}

impl Paths {
    fn add(&mut self, path: &PathMatch, route: usize) {
        match path {
            PathMatch::Exact(text) => {
                self.exact.entry(text.as_str().into()).or_insert(route);
            }
            PathMatch::Prefix(text) | PathMatch::Regex(text) => {
                if !self.prefixes.iter().any(|prefix| *prefix.text == **text) {
                    self.prefixes.push(Prefix { text: text.as_str().into(), route, parent: None });
                }
            }
        }
    }

    /// Sorts the prefixes and lets each know the next shorter one.
    fn link(&mut self) {
        self.prefixes.sort_by(|a, b| a.text.cmp(&b.text));
        let mut open: Vec<usize> = Vec::new();
        for index in 0..self.prefixes.len() {
            let text = &self.prefixes[index].text;
            while open.last().is_some_and(|&outer| !text.starts_with(&*self.prefixes[outer].text)) {
                open.pop();
            }
            let parent = open.last().copied();
            self.prefixes[index].parent = parent;
            open.push(index);
        }
    }

    fn find(&self, path: &str) -> Option<usize> {
        if let Some(&route) = self.exact.get(path) {
            return Some(route);
        }
        // The last prefix that sorts at or before the path either begins the path, or begins with the one that does:
        // everything between a prefix of the path and the path itself starts with that prefix.
        let after = self.prefixes.partition_point(|prefix| &*prefix.text <= path);
        let mut candidate = after.checked_sub(1);
        while let Some(prefix) = candidate.and_then(|index| self.prefixes.get(index)) {
            if path.starts_with(&*prefix.text) {
                return Some(prefix.route);
            }
            candidate = prefix.parent;
        }
        None
    }
}

/// The host part of `authority`: its port is left out. An IPv6 address keeps its brackets, as in the configuration.
fn host_of(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use agw_config::{Forward, RouteMatch};

    use super::*;

    fn route(hosts: &[&str], path: PathMatch) -> Arc<Route> {
        let hosts = hosts.iter().map(|host| HostMatch::Exact((*host).to_owned())).collect();
        let matching = RouteMatch { hosts, ..RouteMatch::path(path) };
        Arc::new(Route::new("", matching, Forward::to("c")))
    }

    fn exact(hosts: &[&str], path: &str) -> Arc<Route> {
        route(hosts, PathMatch::Exact(path.into()))
    }

    fn prefix(hosts: &[&str], path: &str) -> Arc<Route> {
        route(hosts, PathMatch::Prefix(path.into()))
    }

    #[test]
    fn nothing_matches_without_routes() {
        assert_eq!(Router::build(&[]).find(Some("a"), "/"), None);
    }

    #[test]
    fn an_exact_path_wins_over_a_longer_match_by_prefix() {
        let router = Router::build(&[prefix(&[], "/a/b"), exact(&[], "/a/b/c"), prefix(&[], "/a/b/c")]);
        assert_eq!(router.find(None, "/a/b/c"), Some(1));
        assert_eq!(router.find(None, "/a/b/cd"), Some(2));
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let router = Router::build(&[prefix(&[], "/"), prefix(&[], "/api/v1/"), prefix(&[], "/api/")]);
        assert_eq!(router.find(None, "/api/v1/x"), Some(1));
        assert_eq!(router.find(None, "/api/v2"), Some(2));
        assert_eq!(router.find(None, "/apiary"), Some(0));
        assert_eq!(router.find(None, "/zzz"), Some(0));
    }

    #[test]
    fn a_prefix_is_compared_byte_by_byte() {
        let router = Router::build(&[prefix(&[], "/a")]);
        assert_eq!(router.find(None, "/ab"), Some(0));
        assert_eq!(router.find(None, "/b"), None);
        assert_eq!(router.find(None, "/"), None);
    }

    #[test]
    fn a_named_host_wins_and_falls_back_to_any_host() {
        let router =
            Router::build(&[exact(&[], "/x/long/path"), prefix(&["a.example"], "/x"), prefix(&[], "/")]);
        assert_eq!(router.find(Some("a.example"), "/x/long/path"), Some(1));
        assert_eq!(router.find(Some("a.example"), "/y"), Some(2));
        assert_eq!(router.find(Some("b.example"), "/x/long/path"), Some(0));
    }

    #[test]
    fn hosts_compare_without_case_and_port() {
        let router = Router::build(&[prefix(&["a.example"], "/"), prefix(&["[::1]"], "/")]);
        for host in ["a.example", "A.Example", "a.example:8080", "A.EXAMPLE:1"] {
            assert_eq!(router.find(Some(host), "/"), Some(0), "{host}");
        }
        for host in ["[::1]:80", "[::1]"] {
            assert_eq!(router.find(Some(host), "/"), Some(1), "{host}");
        }
        assert_eq!(router.find(Some(&"A".repeat(300)), "/"), None);
        assert_eq!(router.find(Some(""), "/"), None);
    }

    #[test]
    fn of_two_equal_routes_the_first_wins() {
        let router =
            Router::build(&[prefix(&[], "/a"), prefix(&[], "/a"), exact(&[], "/e"), exact(&[], "/e")]);
        assert_eq!(router.find(None, "/a"), Some(0));
        assert_eq!(router.find(None, "/e"), Some(2));
    }

    #[test]
    fn it_agrees_with_a_linear_search() {
        let paths = ["/", "/a", "/ab", "/abc", "/a/", "/a/b", "/a/b/", "/b", "/a-", "/a/b/c/d", "/ü"];
        let routes: Vec<_> = paths.iter().map(|path| prefix(&[], path)).collect();
        let router = Router::build(&routes);
        for path in
            paths.iter().flat_map(|path| [path.to_string(), format!("{path}x"), format!("{path}/b/c/e")])
        {
            let best =
                paths.iter().enumerate().filter(|(_, p)| path.starts_with(**p)).max_by_key(|(_, p)| p.len());
            assert_eq!(router.find(None, &path), best.map(|(index, _)| index), "{path}");
        }
    }
}
