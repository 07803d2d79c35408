//! From a snapshot to what runs: resources, plugins, listeners, in this order; nothing serves before all of it is up.
//!
//! The first snapshot and every later one go the same way. What a later one has as it was before goes on; the rest is
//! made beside what serves, and takes its place in one step.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agw_config::Snapshot;
use agw_proxy::{Inherited, OpenDoors, Proxy, ProxyOptions, Runtime};
use agw_telemetry::Metrics;
use agw_wasm::LoadedPlugin;
use anyhow::{Context, Result};

use crate::changes::changes;
use crate::grants::Side;
use crate::plugins::{Bench, Plugins};
use crate::resources::Resources;
use crate::traces::Traces;

/// How long requests that are under way may take after SIGTERM, and connections of a listener that is gone.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of the snapshot that the process starts with.
const FIRST_REVISION: u64 = 1;

/// What was decided when the process started.
pub(crate) struct GatewayOptions {
    pub(crate) workers: usize,
    pub(crate) access_log: bool,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) metrics: Arc<Metrics>,
    /// Of a predecessor, if there is one.
    pub(crate) inherited: Inherited,
}

/// A running gateway.
pub(crate) struct Gateway {
    snapshot: Arc<Snapshot>,
    resources: Arc<Resources>,
    plugins: Plugins,
    traces: Traces,
    runtime: Arc<Runtime>,
    proxy: Proxy,
    bench: Bench,
}

impl Gateway {
    /// # Errors
    /// Whatever keeps any part from running, with its name. Nothing has served then.
    pub(crate) async fn start(snapshot: Snapshot, options: GatewayOptions) -> Result<Self> {
        let GatewayOptions { workers, access_log, cache_dir, metrics, inherited } = options;
        let snapshot = Arc::new(snapshot);
        let bench = Bench { workers, cache_dir, metrics };
        let proxy_options = ProxyOptions {
            workers,
            access_log,
            drain_timeout: DRAIN_TIMEOUT,
            metrics: Arc::clone(&bench.metrics),
        };
        // First, because a port that is taken is the quickest thing to find out.
        let bound = Proxy::take_over(&snapshot, proxy_options, inherited)?;
        let none = Resources::default();
        let resources = Arc::new(none.next(&snapshot, workers, &bench.metrics)?);
        resources.start(&none).await?;
        let side = Side { snapshot: &snapshot, resources: &resources };
        let plugins = Plugins::none().next(None, side, &bench).await?;
        let mut traces = Traces::default();
        let wanted = traces.prepare(&snapshot, &bench.metrics)?;
        let runtime = Runtime::new(FIRST_REVISION, Arc::clone(&snapshot), plugins.loaded(), None)?;
        let runtime = Arc::new(runtime.traced(traces.tracer(&wanted)));
        traces.take(wanted);
        let proxy = bound.spawn(Arc::clone(&runtime))?;
        Ok(Gateway { snapshot, resources, plugins, traces, runtime, proxy, bench })
    }

    /// Serves with another snapshot: requests that begin once this returns have it, those under way keep theirs. Says
    /// what has changed; without a change, nothing happens and there is no new revision.
    ///
    /// # Errors
    /// Whatever keeps any part from running, with its name. Everything is as it was then.
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing or everything.
    pub(crate) async fn apply(&mut self, snapshot: Snapshot) -> Result<Vec<String>> {
        let snapshot = Arc::new(snapshot);
        let before = Side { snapshot: &self.snapshot, resources: &self.resources };
        let resources = self.resources.next(&snapshot, self.bench.workers, &self.bench.metrics)?;
        resources.start(&self.resources).await?;
        let resources = Arc::new(resources);
        let side = Side { snapshot: &snapshot, resources: &resources };
        let plugins = self.plugins.next(Some(before), side, &self.bench).await?;
        let mut changed = changes(&self.snapshot, &snapshot);
        changed.extend(self.new_modules(&plugins));
        if changed.is_empty() {
            return Ok(changed);
        }
        let revision = self.revision() + 1;
        let runtime = Runtime::new(revision, Arc::clone(&snapshot), plugins.loaded(), Some(&self.runtime))?;
        let wanted = self.traces.prepare(&snapshot, &self.bench.metrics)?;
        let runtime = Arc::new(runtime.traced(self.traces.tracer(&wanted)));
        let prepared = self.proxy.prepare(&snapshot)?;
        // The last that can fail.
        let turning = self.proxy.turn(prepared, &runtime).context("change the listeners")?;
        (self.snapshot, self.resources, self.plugins) = (snapshot, resources, plugins);
        self.runtime = runtime;
        self.traces.take(wanted);
        turning.done().await;
        Ok(changed)
    }

    /// Plugins whose configuration is as it was, and whose module's file has become another.
    fn new_modules(&self, next: &Plugins) -> Vec<String> {
        let is_new = |name: &String, plugin: &Arc<LoadedPlugin>| {
            self.plugins
                .loaded()
                .get(name)
                .is_some_and(|known| known.module_digest() != plugin.module_digest())
        };
        let new = next.loaded().iter().filter(|(name, plugin)| is_new(name, plugin));
        let mut new: Vec<_> = new.map(|(name, _)| format!("module of plugin {name}")).collect();
        new.sort();
        new
    }

    /// The number of what serves.
    pub(crate) fn revision(&self) -> u64 {
        self.runtime.revision()
    }

    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    pub(crate) fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// In the order of their names.
    pub(crate) fn plugins(&self) -> Vec<Arc<LoadedPlugin>> {
        let mut plugins: Vec<_> = self.plugins.loaded().values().cloned().collect();
        plugins.sort_by(|one, other| one.name().cmp(other.name()));
        plugins
    }

    /// Name and address of each listener.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.proxy.addresses()
    }

    /// The listening sockets, whatever becomes of them.
    pub(crate) fn open_doors(&self) -> OpenDoors {
        self.proxy.open_doors()
    }

    /// Lets requests finish, then closes what is behind them.
    pub(crate) async fn drain(self) {
        self.proxy.drain().await;
        // The last requests have ended, and so have their spans.
        self.traces.finish().await;
        self.resources.shutdown().await;
    }
}
