//! What requests are served with: a snapshot, its loaded plugins, and what is precomputed from both.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use agw_config::{Cluster, Route, RouteAction, Snapshot};
use agw_telemetry::Metrics;
use agw_wasm::{LoadedPlugin, VmPools};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::action::Action;
use crate::error::RuntimeError;
use crate::router::{Asked, Router};
use crate::stats::RouteStats;
use crate::upstream::{ClusterState, Upstream};

/// Makes a worker's VMs; called once per worker, on its thread, inside its runtime.
type VmFactory = dyn Fn(usize) -> Rc<VmPools> + Send + Sync;

/// One immutable revision, shared by all workers. A request pins the one it started with.
pub struct Runtime {
    snapshot: Arc<Snapshot>,
    router: Router,
    /// As in the snapshot, and in its order.
    routes: Vec<RoutePlan>,
    vms: Box<VmFactory>,
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
    upstreams: Vec<Rc<Upstream>>,
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

/// A cluster on one worker; routes share it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<str>,
    pub(crate) upstream: Rc<Upstream>,
}

// === impl Runtime ===

impl Runtime {
    /// Joins a snapshot with its plugins, by name. `vms` makes the VMs of the worker with the index it is given.
    ///
    /// # Errors
    /// A route that names a plugin or cluster that is not there or has something that does not compile, or a cluster
    /// whose TLS cannot be set up.
    pub fn new(
        snapshot: Arc<Snapshot>,
        plugins: &HashMap<String, Arc<LoadedPlugin>>,
        vms: impl Fn(usize) -> Rc<VmPools> + Send + Sync + 'static,
    ) -> Result<Self, RuntimeError> {
        let router = Router::build(&snapshot.routes)?;
        let clusters = snapshot.clusters.values().map(cluster_state).collect::<Result<_, _>>()?;
        let routes = snapshot.routes.iter().map(|route| RoutePlan::new(route, &clusters, plugins));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Runtime { router, routes, vms: Box::new(vms), snapshot })
    }

    /// What it was made from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}

fn cluster_state(cluster: &Arc<Cluster>) -> Result<(String, Arc<ClusterState>), RuntimeError> {
    let name = cluster.name.clone();
    match ClusterState::new(cluster) {
        Ok(state) => Ok((name, Arc::new(state))),
        Err(source) => Err(RuntimeError::Tls { cluster: name, source }),
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("digest", &self.snapshot.digest).finish_non_exhaustive()
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
    /// The revision on the worker with that index; the first looks after endpoints for all. Its upstream connections are tasks among `tasks`.
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        worker: usize,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
    ) -> Self {
        let mut targets: HashMap<Arc<str>, Target> = HashMap::new();
        let mut target = |cluster: &Arc<ClusterState>| {
            let name: Arc<str> = cluster.name().into();
            let made = || {
                let upstream = Rc::new(Upstream::new(cluster, metrics, tasks, worker == 0));
                Target { cluster: Arc::clone(&name), upstream }
            };
            targets.entry(Arc::clone(&name)).or_insert_with(made).clone()
        };
        let mut routes = Vec::with_capacity(runtime.routes.len());
        for plan in &runtime.routes {
            routes.push(Rc::new(RouteState {
                name: plan.route.name.as_str().into(),
                action: Arc::clone(&plan.action),
                targets: plan.clusters.iter().map(&mut target).collect(),
                stats: RouteStats::new(metrics, &plan.route.name),
                route: Arc::clone(&plan.route),
                plugins: plan.plugins.clone(),
            }));
        }
        let upstreams = targets.into_values().map(|target| target.upstream).collect();
        let vms = (runtime.vms)(worker);
        Generation { vms, routes, upstreams, runtime }
    }

    /// The most specific route that takes the request.
    pub(crate) fn find(&self, asked: Asked<'_>) -> Option<&Rc<RouteState>> {
        self.routes.get(self.runtime.router.find(asked)?)
    }

    /// Closes upstream connections that were idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        self.upstreams.iter().for_each(|upstream| upstream.reap(now));
    }
}

#[cfg(test)]
mod tests;
