//! Which endpoint is next.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agw_config::Balance;

use super::pool::{Endpoint, Waiting};
use super::state::{ClusterState, Members};

/// A worker's endpoints, and whose turn it is.
pub(super) struct Balancer {
    cluster: Arc<ClusterState>,
    pub(super) waiting: Rc<Waiting>,
    /// In the order of `members`.
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    members: RefCell<Arc<Members>>,
    version: Cell<u64>,
    next: Cell<usize>,
}

impl Balancer {
    pub(super) fn new(cluster: &Arc<ClusterState>) -> Self {
        let balancer = Balancer {
            cluster: Arc::clone(cluster),
            waiting: Rc::default(),
            endpoints: RefCell::default(),
            members: RefCell::default(),
            version: Cell::new(0),
            next: Cell::new(0),
        };
        balancer.refresh();
        // Workers begin at different endpoints, so that few requests still reach all of them.
        balancer.next.set(fastrand::usize(..=balancer.endpoints.borrow().len()));
        balancer
    }

    /// Takes over the cluster's endpoints if they have changed. Those that are gone close their idle connections.
    pub(super) fn refresh(&self) {
        let version = self.cluster.version();
        if version == self.version.get() {
            return;
        }
        let members = self.cluster.members();
        let mut endpoints = self.endpoints.borrow_mut();
        let mut old = std::mem::take(&mut *endpoints);
        for state in &members.endpoints {
            let known = old.iter().position(|endpoint| Arc::ptr_eq(&endpoint.state, state));
            endpoints.push(match known {
                Some(index) => old.swap_remove(index),
                None => Rc::new(Endpoint::new(state, &self.cluster, &self.waiting)),
            });
        }
        old.iter().for_each(|endpoint| endpoint.retire());
        self.members.replace(members);
        self.version.set(version);
    }

    pub(super) fn each(&self, act: impl FnMut(&Rc<Endpoint>)) {
        self.endpoints.borrow().iter().for_each(act);
    }

    /// Closes one idle connection of any endpoint. Returns whether there was one.
    pub(super) fn close_one_idle(&self) -> bool {
        self.endpoints.borrow().iter().any(|endpoint| endpoint.close_one_idle())
    }

    /// The next endpoint: a healthy one that is not in `avoid`, else a healthy one, else (all are out: better a doubtful
    /// endpoint than none) any one, but none in `never`.
    pub(super) fn pick(
        &self,
        hash: Option<u64>,
        avoid: &[SocketAddr],
        never: &[SocketAddr],
    ) -> Option<Rc<Endpoint>> {
        let healthy = |endpoint: &Endpoint| endpoint.state.is_healthy();
        let first =
            self.choose(hash, |endpoint| healthy(endpoint) && !avoid.contains(&endpoint.state.address));
        first
            .or_else(|| self.choose(hash, |e| healthy(e) && !never.contains(&e.state.address)))
            .or_else(|| self.choose(hash, |endpoint| !avoid.contains(&endpoint.state.address)))
            .or_else(|| self.choose(hash, |endpoint| !never.contains(&endpoint.state.address)))
    }

    fn choose(&self, hash: Option<u64>, fits: impl Fn(&Endpoint) -> bool) -> Option<Rc<Endpoint>> {
        let endpoints = self.endpoints.borrow();
        let index = match (self.cluster.cluster.balance, hash) {
            (Balance::ConsistentHash, Some(hash)) => self.by_hash(&endpoints, hash, fits),
            (Balance::LeastRequest, _) => least_request(&endpoints, fits),
            (Balance::RoundRobin | Balance::ConsistentHash, _) => {
                let found = after(&endpoints, self.next.get(), fits)?;
                self.next.set(found + 1);
                Some(found)
            }
        };
        endpoints.get(index?).cloned()
    }

    fn by_hash(
        &self,
        endpoints: &[Rc<Endpoint>],
        hash: u64,
        fits: impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let members = self.members.borrow();
        let mut indexes = members.ring.as_ref()?.from(hash);
        indexes.find(|index| endpoints.get(*index).is_some_and(|endpoint| fits(endpoint)))
    }
}

/// The first endpoint that fits, from `start` onwards and around.
fn after(endpoints: &[Rc<Endpoint>], start: usize, fits: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let start = if start < endpoints.len() { start } else { 0 };
    let around = (start..endpoints.len()).chain(0..start);
    around.into_iter().find(|index| endpoints.get(*index).is_some_and(|endpoint| fits(endpoint)))
}

/// Of two drawn at random, the one with fewer requests under way.
fn least_request(endpoints: &[Rc<Endpoint>], fits: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let count = endpoints.len();
    let first = after(endpoints, fastrand::usize(..count.max(1)), &fits)?;
    if count < 2 {
        return Some(first);
    }
    let other = (first + 1 + fastrand::usize(..count - 1)) % count;
    let second = after(endpoints, other, &fits)?;
    let active = |index: usize| {
        endpoints.get(index).map_or(usize::MAX, |endpoint| endpoint.state.active.load(Ordering::Relaxed))
    };
    Some(if active(second) < active(first) { second } else { first })
}
