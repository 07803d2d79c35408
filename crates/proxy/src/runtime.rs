//! What requests are served with: a snapshot, its loaded plugins, and what is precomputed from both.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use agw_config::{Cluster, Forward, Route, RouteAction, Snapshot};
use agw_telemetry::Metrics;
use agw_wasm::{LoadedPlugin, VmPools};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::error::RuntimeError;
use crate::router::Router;
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
    cluster: Arc<ClusterState>,
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
    pub(crate) cluster: Arc<str>,
    /// In the order in which they see the request.
    pub(crate) plugins: Vec<Arc<LoadedPlugin>>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) stats: RouteStats,
}

// === impl Runtime ===

impl Runtime {
    /// Joins a snapshot with its plugins, by name. `vms` makes the VMs of the worker with the index it is given.
    ///
    /// # Errors
    /// A route that names a plugin or cluster that is not there, or a cluster whose TLS cannot be set up.
    pub fn new(
        snapshot: Arc<Snapshot>,
        plugins: &HashMap<String, Arc<LoadedPlugin>>,
        vms: impl Fn(usize) -> Rc<VmPools> + Send + Sync + 'static,
    ) -> Result<Self, RuntimeError> {
        let router = Router::build(&snapshot.routes);
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
        let wanted = match &route.action {
            RouteAction::Forward(forward) => forward.clusters.first().map(|share| share.cluster.as_str()),
            RouteAction::Redirect(_) | RouteAction::Respond(_) => None,
        };
        let Some(cluster) = wanted.and_then(|cluster| clusters.get(cluster)) else {
            let (route, cluster) = (route.name.clone(), wanted.unwrap_or_default().to_owned());
            return Err(RuntimeError::NoSuchCluster { route, cluster });
        };
        let find = |name: &String| {
            plugins.get(name).cloned().ok_or_else(|| RuntimeError::PluginNotLoaded {
                route: route.name.clone(),
                plugin: name.clone(),
            })
        };
        let plugins = route.plugins.iter().map(find).collect::<Result<_, _>>()?;
        Ok(RoutePlan { route: Arc::clone(route), cluster: Arc::clone(cluster), plugins })
    }
}

// === impl RouteState ===

impl RouteState {
    /// How requests are forwarded, if they are.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        match &self.route.action {
            RouteAction::Forward(forward) => Some(forward),
            RouteAction::Redirect(_) | RouteAction::Respond(_) => None,
        }
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
        let mut upstreams: HashMap<&str, Rc<Upstream>> = HashMap::new();
        let mut routes = Vec::with_capacity(runtime.routes.len());
        for plan in &runtime.routes {
            let upstream = upstreams
                .entry(plan.cluster.name())
                .or_insert_with(|| Rc::new(Upstream::new(&plan.cluster, metrics, tasks, worker == 0)));
            routes.push(Rc::new(RouteState {
                name: plan.route.name.as_str().into(),
                cluster: plan.cluster.name().into(),
                stats: RouteStats::new(metrics, &plan.route.name),
                route: Arc::clone(&plan.route),
                plugins: plan.plugins.clone(),
                upstream: Rc::clone(upstream),
            }));
        }
        let upstreams = upstreams.into_values().collect();
        let vms = (runtime.vms)(worker);
        Generation { vms, routes, upstreams, runtime }
    }

    /// The most specific route for `authority` and `path`, which has no query.
    pub(crate) fn find(&self, authority: Option<&str>, path: &str) -> Option<&Rc<RouteState>> {
        self.routes.get(self.runtime.router.find(authority, path)?)
    }

    /// Closes upstream connections that were idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        self.upstreams.iter().for_each(|upstream| upstream.reap(now));
    }
}

#[cfg(test)]
mod tests;
