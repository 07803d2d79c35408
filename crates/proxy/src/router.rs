//! Which route a request takes.
//!
//! Built once per snapshot. Hosts, exact paths and prefixes are looked up, not tried one by one: for routes that ask
//! for host and path only, a lookup costs two or three hash lookups and a binary search, and allocates nothing.
//! Patterns are tried in the order of the document, and conditions in the order of how much they ask, so both cost by
//! their number; expressions take time linear in the text.
//!
//! A host whose routes all refuse passes the request on to the next one: from the exact name to its wildcards, longest
//! first, to the routes without hosts. What no route takes is a 404, also if only the method differs: a 405 would have
//! to list methods, and with other hosts and conditions in play there is no such list.

mod conditions;
mod host;
mod paths;

use std::collections::HashMap;
use std::sync::Arc;

use agw_config::{HostMatch, Route};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use self::conditions::Conditions;
pub(crate) use self::conditions::query_parameter;
use self::host::with_name;
use self::paths::Paths;
use crate::error::RuntimeError;

/// All routes, by host and path. The values are indexes into the snapshot's routes.
#[derive(Debug, Default)]
pub(crate) struct Router {
    exact: HashMap<Box<str>, Paths>,
    /// By what follows the label that the wildcard stands for, with its dot.
    suffixes: HashMap<Box<str>, Paths>,
    /// No longer end of a name is worth a lookup.
    suffix_bytes_max: usize,
    any: Paths,
}

/// What routes look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Host, with or without port.
    pub(crate) authority: Option<&'a str>,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a PathAndQuery,
    pub(crate) headers: &'a HeaderMap,
}

/// A route that stands where its host and path are.
#[derive(Debug)]
struct Candidate {
    route: usize,
    /// `None` takes everything.
    conditions: Option<Arc<Conditions>>,
}

impl Router {
    /// A router for `routes`. Of two that ask for the same the first wins.
    ///
    /// # Errors
    /// A pattern does not compile, or a method or header has a name that none can have.
    pub(crate) fn build(routes: &[Arc<Route>]) -> Result<Self, RuntimeError> {
        let mut router = Router::default();
        for (index, route) in routes.iter().enumerate() {
            let matching = &route.matching;
            let conditions = Conditions::compile(route)?.map(Arc::new);
            let candidate = || Candidate { route: index, conditions: conditions.clone() };
            if matching.hosts.is_empty() {
                router.any.add(route, candidate())?;
            }
            for host in &matching.hosts {
                router.paths_mut(host).add(route, candidate())?;
            }
        }
        router.any.link();
        router.exact.values_mut().for_each(Paths::link);
        router.suffixes.values_mut().for_each(Paths::link);
        router.suffix_bytes_max = router.suffixes.keys().map(|suffix| suffix.len()).max().unwrap_or(0);
        Ok(router)
    }

    /// The index of the most specific route.
    pub(crate) fn find(&self, asked: Asked<'_>) -> Option<usize> {
        let named = !self.exact.is_empty() || !self.suffixes.is_empty();
        let by_name = asked.authority.filter(|_| named);
        by_name
            .and_then(|authority| with_name(authority, |name| self.find_named(name, asked)))
            .or_else(|| self.any.find(asked))
    }

    /// Among the routes that name the host, which is in lower case.
    fn find_named(&self, name: &str, asked: Asked<'_>) -> Option<usize> {
        let exact = self.exact.get(name).and_then(|paths| paths.find(asked));
        if exact.is_some() || self.suffixes.is_empty() {
            return exact;
        }
        // At least one byte of a label stands before the suffix's dot.
        let dots = name.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        let ends = dots.filter_map(|at| name.get(at..)).filter(|end| end.len() <= self.suffix_bytes_max);
        ends.filter_map(|end| self.suffixes.get(end)).find_map(|paths| paths.find(asked))
    }

    fn paths_mut(&mut self, host: &HostMatch) -> &mut Paths {
        match host {
            HostMatch::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostMatch::Suffix(end) => self.suffixes.entry(end.as_str().into()).or_default(),
        }
    }
}

impl Candidate {
    fn takes(&self, asked: Asked<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(asked))
    }

    /// The less, the earlier it is asked.
    fn rank(&self) -> impl Ord + use<> {
        let conditions = self.conditions.as_deref();
        (conditions.map_or((true, 0, 0), Conditions::rank), self.route)
    }
}

#[cfg(test)]
mod tests;
