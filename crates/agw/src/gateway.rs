//! From a snapshot to what runs: resources, plugins, listeners, in this order; nothing serves before all of it is up.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agw_config::Snapshot;
use agw_proxy::{Inherited, Proxy, ProxyOptions, Runtime};
use agw_telemetry::Metrics;
use agw_wasm::{HostOptions, LoadedPlugin, PluginHost, VmPools};
use anyhow::{Context, Result};

use crate::modules;
use crate::resources::Resources;

/// How long requests that are under way may take after SIGTERM.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

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
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) addresses: Vec<(String, SocketAddr)>,
    pub(crate) plugins: Vec<Arc<LoadedPlugin>>,
    pub(crate) resources: Arc<Resources>,
    proxy: Proxy,
}

impl Gateway {
    /// # Errors
    /// Whatever keeps any part from running, with its name. Nothing has served then.
    pub(crate) async fn start(snapshot: Snapshot, mut options: GatewayOptions) -> Result<Self> {
        let snapshot = Arc::new(snapshot);
        let proxy_options = ProxyOptions {
            workers: options.workers,
            access_log: options.access_log,
            drain_timeout: DRAIN_TIMEOUT,
            metrics: options.metrics.clone(),
        };
        // First, because a port that is taken is the quickest thing to find out.
        let bound = Proxy::take_over(&snapshot, proxy_options, std::mem::take(&mut options.inherited))?;
        let resources = Arc::new(Resources::build(&snapshot, options.workers, &options.metrics)?);
        resources.start().await?;
        let plugins = load_plugins(&snapshot, &resources, &options).await?;
        let runtime = Runtime::new(snapshot.clone(), &plugins, VmPools::new)?;
        let addresses = bound.addresses();
        let proxy = bound.spawn(Arc::new(runtime))?;
        let plugins = plugins.into_values().collect();
        Ok(Gateway { snapshot, addresses, plugins, resources, proxy })
    }

    /// Handles of every listening socket, by the listener's name.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(String, TcpListener)>> {
        self.proxy.sockets()
    }

    /// Lets requests finish, then closes what is behind them.
    pub(crate) async fn drain(self) {
        self.proxy.drain().await;
        self.resources.shutdown().await;
    }
}

async fn load_plugins(
    snapshot: &Snapshot,
    resources: &Resources,
    options: &GatewayOptions,
) -> Result<HashMap<String, Arc<LoadedPlugin>>> {
    let mut loaded = HashMap::new();
    if snapshot.plugins.is_empty() {
        return Ok(loaded);
    }
    let host = PluginHost::new(HostOptions {
        engine: modules::engine_options(snapshot.plugins.values().map(AsRef::as_ref), options.workers),
        cache_dir: options.cache_dir.clone(),
        metrics: options.metrics.clone(),
    })?;
    for (name, plugin) in &snapshot.plugins {
        let access = resources.access(snapshot, plugin, &options.metrics)?;
        let bytes = modules::read(&plugin.module).with_context(|| format!("plugin {name:?}"))?;
        let plugin = host.load(plugin.clone(), bytes, access).await;
        loaded.insert(name.clone(), plugin.with_context(|| format!("load the plugin {name:?}"))?);
    }
    Ok(loaded)
}
