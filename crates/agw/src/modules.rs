//! Modules: where they come from, what the engine must reserve for them, and what `agw check` makes of them.

use std::path::PathBuf;
use std::sync::Arc;

use agw_config::{ModuleSource, Plugin, VmMode};
use agw_foreign::Access;
use agw_telemetry::Metrics;
use agw_wasm::{EngineOptions, HostOptions, PluginHost};
use agw_wire::{AGW_REDIS, AGW_SQL};
use anyhow::{Context, Result, bail};
use bytes::Bytes;

/// Names of the embedded modules.
pub(crate) const NAMES: [&str; 2] = ["rate-limit", "api-key-auth"];

/// The examples of these names, built by `build.rs`.
static EMBEDDED: [&[u8]; NAMES.len()] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/rate_limit.wasm")),
    include_bytes!(concat!(env!("OUT_DIR"), "/api_key_auth.wasm")),
];

/// More than any module may have; the host refuses earlier.
const MODULE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// VMs over all workers, whatever plugins ask for: each reserves some 4 GiB of address space, of which there is
/// 128 TiB, and two stacks with their guard pages, which are four of the 65,530 mappings that Linux lets a process have.
/// At the bound a stream's plugin fails by its policy.
const VMS_MAX: usize = 8192;

/// A module's bytes.
///
/// # Errors
/// With the file's path and the system's reason.
pub(crate) fn read(source: &ModuleSource) -> Result<Bytes> {
    match source {
        ModuleSource::Builtin(name) => {
            let embedded = NAMES.iter().zip(EMBEDDED).find(|(embedded, _)| *embedded == name);
            let (_, bytes) = embedded.with_context(|| format!("no module named {name:?} is embedded"))?;
            Ok(Bytes::from_static(bytes))
        }
        ModuleSource::File(path) => {
            let size = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?.len();
            if size > MODULE_BYTES_MAX {
                bail!("{} has {size} bytes; a module may have {MODULE_BYTES_MAX}", path.display());
            }
            Ok(std::fs::read(path).with_context(|| format!("read {}", path.display()))?.into())
        }
    }
}

/// Where compiled modules are kept: `$XDG_CACHE_HOME/agw` or `~/.cache/agw`; `None` without a home.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("agw").join("modules"))
}

/// Whether what was reserved is enough.
pub(crate) fn suffices(reserved: &EngineOptions, needs: &EngineOptions) -> bool {
    reserved.vms_max >= needs.vms_max
        && reserved.memory_bytes_max >= needs.memory_bytes_max
        && reserved.table_elements_max >= needs.table_elements_max
}

/// What the engine must reserve for these plugins, and for those of the revision before while its last requests end.
pub(crate) fn engine_options<'a>(
    plugins: impl IntoIterator<Item = &'a Plugin>,
    workers: usize,
) -> EngineOptions {
    let mut options = EngineOptions { vms_max: 0, memory_bytes_max: 0, table_elements_max: 0 };
    let mut vms = 0usize;
    for plugin in plugins {
        let at_once = match plugin.vm.mode {
            VmMode::Exclusive => plugin.vm.max,
            // The old one may still end while its successor starts.
            VmMode::Shared => 2,
        };
        // One more for the rehearsal when the plugin is loaded.
        vms = vms.saturating_add(at_once.saturating_mul(workers)).saturating_add(1);
        options.memory_bytes_max = options.memory_bytes_max.max(plugin.limits.memory_bytes_max);
        options.table_elements_max = options.table_elements_max.max(plugin.limits.table_elements_max);
    }
    options.vms_max = vms.saturating_mul(2).min(VMS_MAX) as u32;
    options
}

/// Loads modules for `agw check`: compiled, linked and configured, but with no resource behind them.
pub(crate) struct Inspector {
    runtime: tokio::runtime::Runtime,
    metrics: Arc<Metrics>,
}

impl Inspector {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Inspector { runtime: runtime.context("start the runtime")?, metrics: Arc::new(Metrics::new()) })
    }

    /// # Errors
    /// What is wrong with the module or its configuration, and what to do.
    pub(crate) fn inspect(&self, plugin: &Plugin) -> Result<(), (String, String)> {
        self.load(plugin).map_err(|error| {
            let hint =
                "Correct the module or the plugin's configuration; its log lines are above, if it wrote any";
            (one_line(&error), hint.to_owned())
        })
    }

    fn load(&self, plugin: &Plugin) -> Result<()> {
        let bytes = read(&plugin.module)?;
        let options = HostOptions {
            engine: engine_options([plugin], 1),
            cache_dir: cache_dir(),
            metrics: self.metrics.clone(),
        };
        let host = PluginHost::new(options)?;
        let access = Access::builder(&plugin.name, 0, self.metrics.clone());
        let access = access.function(AGW_REDIS).function(AGW_SQL).build();
        self.runtime.block_on(host.load(Arc::new(plugin.clone()), bytes, access))?;
        Ok(())
    }
}

/// An error with its causes, without the lines of a backtrace.
fn one_line(error: &anyhow::Error) -> String {
    let causes: Vec<String> =
        error.chain().filter_map(|cause| cause.to_string().lines().next().map(str::to_owned)).collect();
    causes.join(": ")
}
