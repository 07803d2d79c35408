//! What requests are served with: a snapshot, its loaded plugins, and what is precomputed from both.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use agw_config::{Cluster, Route, RouteAction, Snapshot};
use agw_telemetry::{Metrics, Tracer};
use agw_wasm::{LoadedPlugin, VmPools};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::action::Action;
use crate::error::RuntimeError;
use crate::router::{Asked, Router};
use crate::stats::RouteStats;
use crate::upstream::{ClusterState, Upstream};

/// One immutable revision, shared by all workers. A request pins the one it started with.
pub struct Runtime {
    revision: u64,
    snapshot: Arc<Snapshot>,
    router: Router,
    /// As in the snapshot, and in its order.
    routes: Vec<RoutePlan>,
    /// By name.
    clusters: HashMap<String, Arc<ClusterState>>,
    /// Whether and which requests have spans.
    tracer: Option<Arc<Tracer>>,
}

struct RoutePlan {
    route: Arc<Route>,
    action: Arc<Action>,
    /// Those of a route that forwards, in its order.
    clusters: Vec<Arc<ClusterState>>,
    plugins: Vec<Arc<LoadedPlugin>>,
}

/// A revision on one worker: what only this thread uses.
pub(crate) struct Generation {
    runtime: Arc<Runtime>,
    pub(crate) vms: Rc<VmPools>,
    /// By the router's indexes.
    routes: Vec<Rc<RouteState>>,
    /// Those that routes forward to, each once.
    targets: Vec<Target>,
}

/// A route on one worker.
pub(crate) struct RouteState {
    pub(crate) route: Arc<Route>,
    pub(crate) name: Arc<str>,
    pub(crate) action: Arc<Action>,
    /// The clusters that requests are forwarded to, by [`Forwarding::draw`](crate::action::Forwarding::draw).
    pub(crate) targets: Vec<Target>,
    /// In the order in which they see the request.
    pub(crate) plugins: Vec<Arc<LoadedPlugin>>,
    pub(crate) stats: RouteStats,
}

/// The worker that a generation is for.
pub(crate) struct Place<'a> {
    /// Its index; the first one looks after endpoints for all.
    pub(crate) worker: usize,
    pub(crate) vms: &'a Rc<VmPools>,
    pub(crate) metrics: &'a Arc<Metrics>,
    /// Upstream connections are among them.
    pub(crate) upstream_tasks: &'a TaskTracker,
}

/// A cluster on one worker; routes share it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<str>,
    pub(crate) upstream: Rc<Upstream>,
}

// === impl Runtime ===

impl Runtime {
    /// Joins a snapshot with its plugins, by name. A cluster that `previous` has as well, and that is configured alike,
    /// keeps its endpoints, their health and its connections.
    ///
    /// # Errors
    /// A route that names a plugin or cluster that is not there or has something that does not compile, or a cluster
    /// whose TLS cannot be set up.
    pub fn new(
        revision: u64,
        snapshot: Arc<Snapshot>,
        plugins: &HashMap<String, Arc<LoadedPlugin>>,
        previous: Option<&Runtime>,
    ) -> Result<Self, RuntimeError> {
        let router = Router::build(&snapshot.routes)?;
        let known = |cluster: &Arc<Cluster>| {
            let known = previous?.clusters.get(&cluster.name)?;
            known.is_configured_as(cluster).then(|| Arc::clone(known))
        };
        let named = |cluster: &Arc<Cluster>| {
            let state = known(cluster).map_or_else(|| cluster_state(cluster), Ok)?;
            Ok((cluster.name.clone(), state))
        };
        let clusters = snapshot.clusters.values().map(named).collect::<Result<_, _>>()?;
        let routes = snapshot.routes.iter().map(|route| RoutePlan::new(route, &clusters, plugins));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Runtime { revision, router, routes, clusters, snapshot, tracer: None })
    }

    /// The same, and its requests have spans.
    #[must_use]
    pub fn traced(self, tracer: Option<Arc<Tracer>>) -> Self {
        Runtime { tracer, ..self }
    }

    /// What it was made from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Its number.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

fn cluster_state(cluster: &Arc<Cluster>) -> Result<Arc<ClusterState>, RuntimeError> {
    let failed = |source| RuntimeError::Tls { cluster: cluster.name.clone(), source };
    ClusterState::new(cluster).map(Arc::new).map_err(failed)
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl RoutePlan {
    fn new(
        route: &Arc<Route>,
        clusters: &HashMap<String, Arc<ClusterState>>,
        plugins: &HashMap<String, Arc<LoadedPlugin>>,
    ) -> Result<Self, RuntimeError> {
        let cluster = |name: &String| {
            clusters.get(name).cloned().ok_or_else(|| RuntimeError::NoSuchCluster {
                route: route.name.clone(),
                cluster: name.clone(),
            })
        };
        let clusters = match &route.action {
            RouteAction::Forward(forward) => {
                forward.clusters.iter().map(|share| cluster(&share.cluster)).collect::<Result<_, _>>()?
            }
            RouteAction::Redirect(_) | RouteAction::Respond(_) => Vec::new(),
        };
        let find = |name: &String| {
            plugins.get(name).cloned().ok_or_else(|| RuntimeError::PluginNotLoaded {
                route: route.name.clone(),
                plugin: name.clone(),
            })
        };
        let plugins = route.plugins.iter().map(find).collect::<Result<_, _>>()?;
        let action = Arc::new(Action::compile(route)?);
        Ok(RoutePlan { route: Arc::clone(route), action, clusters, plugins })
    }
}

// === impl Generation ===

impl Generation {
    /// The revision on one worker. What `previous` has of the same clusters is used on.
    pub(crate) fn new(runtime: Arc<Runtime>, place: &Place<'_>, previous: Option<&Generation>) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        let mut target = |cluster: &Arc<ClusterState>| {
            let is_same = |target: &&Target| target.upstream.is_of(cluster);
            if let Some(known) = targets.iter().find(is_same) {
                return known.clone();
            }
            let known = previous.and_then(|previous| previous.targets.iter().find(is_same));
            let target = known.cloned().unwrap_or_else(|| place.target(cluster));
            targets.push(target.clone());
            target
        };
        let mut routes = Vec::with_capacity(runtime.routes.len());
        for plan in &runtime.routes {
            routes.push(Rc::new(RouteState {
                name: plan.route.name.as_str().into(),
                action: Arc::clone(&plan.action),
                targets: plan.clusters.iter().map(&mut target).collect(),
                stats: RouteStats::new(place.metrics, &plan.route.name),
                route: Arc::clone(&plan.route),
                plugins: plan.plugins.clone(),
            }));
        }
        Generation { vms: Rc::clone(place.vms), routes, targets, runtime }
    }

    /// The revision's number.
    pub(crate) fn revision(&self) -> u64 {
        self.runtime.revision
    }

    /// Who decides which requests have spans, if any have.
    pub(crate) fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.runtime.tracer.as_ref()
    }

    /// Every plugin of its routes, some more than once.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Arc<LoadedPlugin>> {
        self.routes.iter().flat_map(|route| &route.plugins)
    }

    /// The most specific route that takes the request.
    pub(crate) fn find(&self, asked: Asked<'_>) -> Option<&Rc<RouteState>> {
        self.routes.get(self.runtime.router.find(asked)?)
    }

    /// Closes upstream connections that were idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        self.targets.iter().for_each(|target| target.upstream.reap(now));
    }
}

// === impl Place ===

impl Place<'_> {
    fn target(&self, cluster: &Arc<ClusterState>) -> Target {
        let upstream = Upstream::new(cluster, self.metrics, self.upstream_tasks, self.worker == 0);
        Target { cluster: cluster.name().into(), upstream: Rc::new(upstream) }
    }
}

#[cfg(test)]
mod tests;
