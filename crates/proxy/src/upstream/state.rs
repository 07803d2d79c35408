//! What all workers know of a cluster: its endpoints, how they are, and how much of its limits is used.
//!
//! A worker that serves requests only reads atomics here. Endpoints change when a name resolves to other addresses:
//! then there is a new [`Members`], the version moves, and each worker takes it over before its next request.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use agw_config::{Balance, Cluster, ClusterTarget, OutlierPolicy};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::sync::watch;
use tokio::time::Instant;

use super::circuit::Circuit;
use super::ring::Ring;
use super::tls::{ClientTls, TlsError};
use crate::limits::{ADDRESSES_PER_NAME_MAX, COMPLAINT_INTERVAL};

/// A cluster, shared by all workers.
pub(crate) struct ClusterState {
    pub(super) cluster: Arc<Cluster>,
    pub(super) tls: Option<ClientTls>,
    pub(super) circuit: Circuit,
    members: watch::Sender<Arc<Members>>,
    version: AtomicU64,
    /// What each name of the configuration resolved to last; `None` until it was asked for.
    answers: Mutex<BTreeMap<String, Option<Vec<SocketAddr>>>>,
    /// Held while an endpoint is ejected, so that no two are counted at once.
    ejecting: Mutex<()>,
}

/// The endpoints as of one version.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) endpoints: Vec<Arc<EndpointState>>,
    /// Only for a consistent hash.
    pub(super) ring: Option<Ring>,
    /// Whether every name was asked for at least once.
    pub(super) settled: bool,
}

/// One address of a cluster, shared by all workers.
#[derive(Debug)]
pub(super) struct EndpointState {
    /// `host:port`, as the configuration has it.
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    /// What its certificate must be for; `None` if the host can be no such name.
    pub(super) server_name: Option<ServerName<'static>>,
    /// Requests under way; counted only if the cluster balances by it.
    pub(super) active: AtomicUsize,
    /// `SICK` and `EJECTED`.
    out: AtomicU8,
    /// Failures in a row below, ejections in a row above 32 bits.
    record: AtomicU64,
    /// When the log last said why there was no connection to it.
    complained: Mutex<Option<Instant>>,
}

/// Its probes fail.
const SICK: u8 = 1;
/// Its requests failed, and its ejection is not over.
const EJECTED: u8 = 2;

/// How many endpoints are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) healthy: usize,
    pub(super) sick: usize,
    pub(super) ejected: usize,
}

// === impl ClusterState ===

impl ClusterState {
    /// Resolves nothing yet.
    ///
    /// # Errors
    /// If the cluster's certificates or keys cannot be used.
    pub(crate) fn new(cluster: &Arc<Cluster>) -> Result<Self, TlsError> {
        let tls = cluster.tls.as_ref().map(|tls| ClientTls::new(tls, cluster.protocol)).transpose()?;
        let answers = names(cluster).filter(|name| name.parse::<SocketAddr>().is_err());
        let state = ClusterState {
            tls,
            circuit: Circuit::new(cluster.limits),
            members: watch::Sender::default(),
            version: AtomicU64::new(0),
            answers: Mutex::new(answers.map(|name| (name.to_owned(), None)).collect()),
            ejecting: Mutex::new(()),
            cluster: Arc::clone(cluster),
        };
        state.publish(&state.answers.lock());
        Ok(state)
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.cluster.name
    }

    /// Whether a state made from `cluster` would differ only in what was learnt since.
    pub(crate) fn is_configured_as(&self, cluster: &Cluster) -> bool {
        *self.cluster == *cluster
    }

    /// Moves when the endpoints change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.borrow())
    }

    pub(super) fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.members.subscribe()
    }

    /// The names that have to be resolved.
    pub(super) fn unresolved(&self) -> Vec<String> {
        self.answers.lock().keys().cloned().collect()
    }

    /// A name was asked for. Without addresses the last good ones stay. Returns whether the endpoints are others now.
    pub(super) fn answered(&self, name: &str, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_PER_NAME_MAX);
        let mut answers = self.answers.lock();
        let Some(known) = answers.get_mut(name) else { return false };
        if known.as_ref() == Some(&addresses) || (addresses.is_empty() && known.is_some()) {
            return false;
        }
        *known = Some(addresses);
        self.publish(&answers);
        true
    }

    /// Makes the endpoints that the answers name; those that were there before keep their state.
    fn publish(&self, answers: &BTreeMap<String, Option<Vec<SocketAddr>>>) {
        let old = self.members();
        let mut endpoints = Vec::new();
        for name in names(&self.cluster) {
            let fixed = name.parse().ok().map(|address| vec![address]);
            let addresses = fixed.or_else(|| answers.get(name).cloned().flatten()).unwrap_or_default();
            for address in addresses {
                let same = |known: &&Arc<EndpointState>| known.address == address && &*known.name == name;
                let known = old.endpoints.iter().find(same).cloned();
                endpoints.push(
                    known.unwrap_or_else(|| Arc::new(EndpointState::new(name, address, &self.cluster))),
                );
            }
        }
        let ring = (self.cluster.balance == Balance::ConsistentHash).then(|| Ring::new(&endpoints));
        let settled = answers.values().all(Option::is_some);
        self.members.send_replace(Arc::new(Members { endpoints, ring, settled }));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// One more failure of an endpoint. If that ejects it, for how long.
    pub(super) fn failed(&self, endpoint: &EndpointState, policy: &OutlierPolicy) -> Option<Duration> {
        if endpoint.out.load(Ordering::Relaxed) & EJECTED != 0 {
            return None;
        }
        let failures = endpoint.record.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & u64::from(u32::MAX);
        if failures < u64::from(policy.consecutive_failures) {
            return None;
        }
        let _one_at_a_time = self.ejecting.lock();
        let members = self.members();
        let count = members.endpoints.len();
        let ejected = members.endpoints.iter().filter(|endpoint| endpoint.is(EJECTED)).count();
        let share = count.saturating_mul(policy.ejected_percent_max as usize) / 100;
        if ejected >= share.max(usize::from(count > 1)) || endpoint.is(EJECTED) {
            return None;
        }
        let times =
            (endpoint.record.load(Ordering::Relaxed) >> 32).saturating_add(1).min(u64::from(u32::MAX));
        endpoint.record.store(times << 32, Ordering::Relaxed);
        endpoint.out.fetch_or(EJECTED, Ordering::Relaxed);
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        Some(policy.ejection_time.saturating_mul(times).min(policy.ejection_time_max))
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        for endpoint in &self.members().endpoints {
            match endpoint.out.load(Ordering::Relaxed) {
                0 => census.healthy += 1,
                out if out & SICK != 0 => census.sick += 1,
                _ => census.ejected += 1,
            }
        }
        census
    }
}

impl fmt::Debug for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterState").field("cluster", &self.cluster.name).finish_non_exhaustive()
    }
}

/// The configured endpoints, as they are written.
fn names(cluster: &Cluster) -> impl Iterator<Item = &str> {
    let list = match &cluster.target {
        ClusterTarget::Endpoints(list) => list.as_slice(),
        ClusterTarget::BuiltinEcho => &[],
    };
    list.iter().map(String::as_str)
}

/// The host of `host:port`, an IPv6 address without its brackets.
fn host_of(name: &str) -> &str {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

// === impl EndpointState ===

impl EndpointState {
    pub(super) fn new(name: &str, address: SocketAddr, cluster: &Cluster) -> Self {
        let wanted =
            cluster.tls.as_ref().map(|tls| tls.server_name.as_deref().unwrap_or_else(|| host_of(name)));
        EndpointState {
            name: name.into(),
            address,
            server_name: wanted.and_then(|name| ServerName::try_from(name.to_owned()).ok()),
            active: AtomicUsize::new(0),
            out: AtomicU8::new(0),
            record: AtomicU64::new(0),
            complained: Mutex::new(None),
        }
    }

    /// Whether it is time for the log to say again that it cannot be reached; asked only when it cannot.
    pub(super) fn may_complain(&self, now: Instant) -> bool {
        let mut complained = self.complained.lock();
        let due = complained.is_none_or(|last| now.duration_since(last) >= COMPLAINT_INTERVAL);
        if due {
            *complained = Some(now);
        }
        due
    }

    /// Whether requests should go there.
    pub(super) fn is_healthy(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    fn is(&self, state: u8) -> bool {
        self.out.load(Ordering::Relaxed) & state != 0
    }

    /// A request came to a good end: failures and ejections begin to count anew.
    pub(super) fn succeeded(&self) {
        if self.record.load(Ordering::Relaxed) != 0 && !self.is(EJECTED) {
            self.record.store(0, Ordering::Relaxed);
        }
    }

    /// Its ejection is over.
    pub(super) fn restore(&self) {
        self.out.fetch_and(!EJECTED, Ordering::Relaxed);
    }

    /// What its probes say. Returns whether they said otherwise before.
    pub(super) fn set_sick(&self, sick: bool) -> bool {
        let before = match sick {
            true => self.out.fetch_or(SICK, Ordering::Relaxed),
            false => self.out.fetch_and(!SICK, Ordering::Relaxed),
        };
        (before & SICK != 0) != sick
    }
}
