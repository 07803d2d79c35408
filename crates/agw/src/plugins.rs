//! The plugins of a snapshot: those that are as before go on, the others are loaded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use agw_config::{Plugin, Snapshot};
use agw_telemetry::Metrics;
use agw_wasm::{EngineOptions, HostOptions, LoadedPlugin, PluginHost};
use anyhow::{Context, Result};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::grants::Side;
use crate::modules;

/// What stays the same for the life of the process.
pub(crate) struct Bench {
    pub(crate) workers: usize,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Every plugin of a snapshot, and the host that new ones are loaded into.
pub(crate) struct Plugins {
    host: Option<(Arc<PluginHost>, EngineOptions)>,
    loaded: HashMap<String, Arc<LoadedPlugin>>,
}

// === impl Plugins ===

impl Plugins {
    /// None at all.
    pub(crate) fn none() -> Self {
        Plugins { host: None, loaded: HashMap::new() }
    }

    /// By name.
    pub(crate) fn loaded(&self) -> &HashMap<String, Arc<LoadedPlugin>> {
        &self.loaded
    }

    /// Those of the next snapshot. A plugin is used on if its configuration, its module's bytes and all that it may do
    /// with resources are as they were; every other one is compiled off the event loop and rehearsed.
    ///
    /// # Errors
    /// A module that cannot be read or does not load, with the plugin's name.
    ///
    /// # Cancel safety
    /// Safe: nothing has changed.
    pub(crate) async fn next(&self, before: Option<Side<'_>>, now: Side<'_>, bench: &Bench) -> Result<Self> {
        let mut next = Plugins { host: self.host.clone(), loaded: HashMap::new() };
        for (name, config) in &now.snapshot.plugins {
            let said = || format!("plugin {name:?}");
            let (bytes, digest) = read(config).await.with_context(said)?;
            let known = self.loaded.get(name).filter(|known| {
                *known.config() == *config
                    && *known.module_digest() == digest
                    && before.is_some_and(|before| before.grants_alike(now, name))
            });
            let plugin = match known {
                Some(known) => Arc::clone(known),
                None => {
                    let access = now.access(config, &bench.metrics)?;
                    let host = next.host_for(now.snapshot, bench)?;
                    let loaded = host.load(Arc::clone(config), bytes, access).await;
                    loaded.with_context(|| format!("load the plugin {name:?}"))?
                }
            };
            next.loaded.insert(name.clone(), plugin);
        }
        Ok(next)
    }

    /// The host that there is, or another if what it reserved is too little for the snapshot.
    fn host_for(&mut self, snapshot: &Snapshot, bench: &Bench) -> Result<Arc<PluginHost>> {
        let needs = modules::engine_options(snapshot.plugins.values().map(AsRef::as_ref), bench.workers);
        let host = match &self.host {
            Some((host, reserved)) if modules::suffices(reserved, &needs) => return Ok(Arc::clone(host)),
            Some((host, _)) => host.renewed(needs).context("reserve room for the plugins' VMs")?,
            None => PluginHost::new(HostOptions {
                engine: needs,
                cache_dir: bench.cache_dir.clone(),
                metrics: Arc::clone(&bench.metrics),
            })?,
        };
        self.host = Some((Arc::clone(&host), needs));
        Ok(host)
    }
}

/// A module's bytes and their digest. Reading may block, so it is not done on the event loop.
async fn read(config: &Plugin) -> Result<(Bytes, [u8; 32])> {
    let source = config.module.clone();
    let read = move || {
        let bytes = modules::read(&source)?;
        let digest = Sha256::digest(&bytes).into();
        anyhow::Ok((bytes, digest))
    };
    tokio::task::spawn_blocking(read).await.context("read the module")?
}
