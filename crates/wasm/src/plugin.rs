//! The process-wide host, and plugins loaded into it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use agw_config::{Plugin, VmMode};
use agw_foreign::Access;
use agw_telemetry::{Gauge, Histogram, Metrics, PhaseLabels, PluginLabels, TrapLabels};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::engine::{EngineOptions, TickingEngine};
use crate::error::LoadError;
use crate::exports::Callback;
use crate::hostcalls::shared_data::SharedData;
use crate::limits::METRICS_MAX;
use crate::module::{CompiledModule, Linkers};
use crate::vm::VmCore;

/// How to set up the host.
#[derive(Debug)]
pub struct HostOptions {
    /// What the engine reserves.
    pub engine: EngineOptions,
    /// Folder of the compiled-code cache; `None` compiles at each start. It is made if need be and must be private
    /// to this user.
    pub cache_dir: Option<PathBuf>,
    /// Where plugins are measured.
    pub metrics: Arc<Metrics>,
}

/// One engine, its host functions, and what all plugins share. One per process.
pub struct PluginHost {
    pub(crate) engine: TickingEngine,
    pub(crate) linkers: Linkers,
    pub(crate) metrics: Arc<Metrics>,
    cache_dir: Option<PathBuf>,
    /// Modules that plugins use, by digest: one that two of them have, or that stays while its configuration changes,
    /// is compiled once.
    modules: Mutex<HashMap<ModuleDigest, Weak<CompiledModule>>>,
    shared_data: Arc<SharedDataByPlugin>,
}

/// The SHA-256 of a module's bytes.
pub type ModuleDigest = [u8; 32];

/// Lives as long as a plugin of the name does.
type SharedDataByPlugin = Mutex<HashMap<String, Weak<SharedData>>>;

/// A plugin whose module is compiled and whose configuration the guest has accepted.
pub struct LoadedPlugin {
    /// Unique in the process: pools find their plugin by it.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) host: Arc<PluginHost>,
    pub(crate) module: Arc<CompiledModule>,
    pub(crate) config: Arc<Plugin>,
    pub(crate) configuration: Bytes,
    pub(crate) vm_configuration: Bytes,
    pub(crate) access: Arc<Access>,
    pub(crate) shared_data: Arc<SharedData>,
    /// It was logged that this plugin uses what the host does not have yet.
    pub(crate) missing_told: AtomicBool,
    /// It was logged that this plugin's timer runs in each of its VMs.
    pub(crate) timer_told: AtomicBool,
    /// Kind and name of the metrics that its VMs have defined.
    defined_metrics: Mutex<HashSet<(u32, String)>>,
    phases: Vec<Histogram>,
    vms: Gauge,
    memory: Gauge,
}

/// A plugin as `/v1/plugins` shows it.
#[derive(Clone, Debug)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Live VMs over all workers.
    pub vms: i64,
    /// Linear memory of all of them.
    pub memory_bytes: i64,
    /// Whether a stream has a VM to itself.
    pub exclusive: bool,
}

// === impl PluginHost ===

impl PluginHost {
    /// Reserves address space and starts the ticker.
    ///
    /// # Errors
    /// [`LoadError::Engine`] when the reservation does not fit the machine.
    pub fn new(options: HostOptions) -> Result<Arc<Self>, LoadError> {
        Self::with_shared_data(options, Arc::default())
    }

    /// Another host, with other reservations, whose plugins share data with those of this one. Plugins that are loaded
    /// stay where they are, and so does this host while it has any.
    ///
    /// # Errors
    /// As for [`PluginHost::new`].
    pub fn renewed(&self, engine: EngineOptions) -> Result<Arc<Self>, LoadError> {
        let (cache_dir, metrics) = (self.cache_dir.clone(), Arc::clone(&self.metrics));
        let options = HostOptions { engine, cache_dir, metrics };
        Self::with_shared_data(options, Arc::clone(&self.shared_data))
    }

    fn with_shared_data(
        options: HostOptions,
        shared_data: Arc<SharedDataByPlugin>,
    ) -> Result<Arc<Self>, LoadError> {
        let engine = TickingEngine::new(&options.engine)?;
        let linkers = Linkers::new(&engine.engine)?;
        let HostOptions { metrics, cache_dir, .. } = options;
        Ok(Arc::new(PluginHost {
            engine,
            linkers,
            metrics,
            cache_dir,
            modules: Mutex::default(),
            shared_data,
        }))
    }

    /// Compiles a plugin's module off the event loop, and lets one VM start and configure it as a rehearsal: a guest
    /// that refuses its configuration is refused here, before any traffic meets it.
    ///
    /// # Errors
    /// [`LoadError`], with what the module lacks or the guest said.
    ///
    /// # Cancel safety
    /// Safe: a compilation that has begun ends by itself and its result is dropped.
    pub async fn load(
        self: &Arc<Self>,
        config: Arc<Plugin>,
        module: Bytes,
        access: Arc<Access>,
    ) -> Result<Arc<LoadedPlugin>, LoadError> {
        let host = Arc::clone(self);
        let module = match tokio::task::spawn_blocking(move || host.compiled(&module)).await {
            Ok(module) => module?,
            Err(join) => return Err(LoadError::Compile(wasmtime::Error::msg(join.to_string()))),
        };
        module.check_limits(config.limits.memory_bytes_max, config.limits.table_elements_max)?;
        let plugin = Arc::new(LoadedPlugin::new(self, config, module, access));
        VmCore::create(&plugin, 0).await?;
        Ok(plugin)
    }

    /// Takes from milliseconds to seconds, unless a plugin has the module already.
    fn compiled(&self, bytes: &[u8]) -> Result<Arc<CompiledModule>, LoadError> {
        let digest = ModuleDigest::from(Sha256::digest(bytes));
        if let Some(known) = self.modules.lock().get(&digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let cache_dir = self.cache_dir.as_deref();
        let module = Arc::new(CompiledModule::load(&self.engine.engine, bytes, digest, cache_dir)?);
        let mut modules = self.modules.lock();
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(digest, Arc::downgrade(&module));
        Ok(module)
    }

    fn shared_data(&self, plugin: &str) -> Arc<SharedData> {
        let mut all = self.shared_data.lock();
        if let Some(known) = all.get(plugin).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, data| data.strong_count() > 0);
        let data = Arc::default();
        all.insert(plugin.to_owned(), Arc::downgrade(&data));
        data
    }
}

// === impl LoadedPlugin ===

impl LoadedPlugin {
    fn new(
        host: &Arc<PluginHost>,
        config: Arc<Plugin>,
        module: Arc<CompiledModule>,
        access: Arc<Access>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let labels = PluginLabels { plugin: config.name.clone() };
        let phase = |callback: &Callback| {
            let labels = PhaseLabels { plugin: config.name.clone(), phase: callback.phase() };
            host.metrics.phase_seconds.get_or_create(&labels).clone()
        };
        LoadedPlugin {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: config.name.as_str().into(),
            module,
            configuration: config.configuration.clone().into(),
            vm_configuration: config.vm_configuration.clone().into(),
            access,
            shared_data: host.shared_data(&config.name),
            missing_told: AtomicBool::new(false),
            timer_told: AtomicBool::new(false),
            defined_metrics: Mutex::default(),
            phases: Callback::ALL.iter().map(phase).collect(),
            vms: host.metrics.plugin_vms.get_or_create(&labels).clone(),
            memory: host.metrics.plugin_memory_bytes.get_or_create(&labels).clone(),
            host: host.clone(),
            config,
        }
    }

    /// Unique in the process, and never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What it was loaded with.
    pub fn config(&self) -> &Arc<Plugin> {
        &self.config
    }

    /// Which module it runs.
    pub fn module_digest(&self) -> &ModuleDigest {
        &self.module.digest
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `/v1/plugins`.
    pub fn status(&self) -> PluginStatus {
        PluginStatus {
            name: self.name.to_string(),
            vms: self.vms.get(),
            memory_bytes: self.memory.get(),
            exclusive: self.exclusive(),
        }
    }

    /// Whether a stream has a VM to itself, so that blocking foreign calls may suspend it.
    pub(crate) fn exclusive(&self) -> bool {
        self.config.vm.mode == VmMode::Exclusive
    }

    pub(crate) fn phase(&self, callback: Callback) -> Option<&Histogram> {
        self.phases.get(callback as usize)
    }

    /// Whether one more metric is within the plugin's bound; one that any VM has defined always is.
    pub(crate) fn admit_metric(&self, kind: u32, name: &str) -> bool {
        let mut defined = self.defined_metrics.lock();
        let metric = (kind, name.to_owned());
        defined.contains(&metric) || (defined.len() < METRICS_MAX && defined.insert(metric))
    }

    pub(crate) fn vm_started(&self) {
        self.vms.inc();
    }

    pub(crate) fn vm_grew(&self, bytes: usize) {
        self.memory.inc_by(bytes as i64);
    }

    pub(crate) fn vm_ended(&self, memory_bytes: usize) {
        self.vms.dec();
        self.memory.dec_by(memory_bytes as i64);
    }

    pub(crate) fn count_trap(&self, kind: &'static str) {
        let labels = TrapLabels { plugin: self.name.to_string(), kind };
        self.host.metrics.traps.get_or_create(&labels).inc();
    }

    pub(crate) fn count_restart(&self) {
        let labels = PluginLabels { plugin: self.name.to_string() };
        self.host.metrics.vm_restarts.get_or_create(&labels).inc();
    }
}
