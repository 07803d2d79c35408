//! The store, and how it is called.

use std::sync::Arc;

use tokio::sync::mpsc;
use wasmtime::{Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults};

use crate::error::LoadError;
use crate::exports::Exports;
use crate::plugin::LoadedPlugin;
use crate::vm_data::{Event, ROOT_ID, Stage, VmData};

/// A guest and everything that belongs to it.
pub(crate) struct VmCore {
    store: Store<VmData>,
    pub(crate) exports: Arc<Exports>,
    /// Calls run on a fiber, so that the guest can be suspended.
    suspending: bool,
}

impl VmCore {
    /// Instantiates, starts and configures one VM with its root context.
    ///
    /// Source: proxy-wasm ABI, life cycle; Envoy's order of `_initialize`, `main`, `_start`.
    pub(crate) async fn create(
        plugin: &Arc<LoadedPlugin>,
        worker: usize,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Event>), LoadError> {
        let (sender, mailbox) = mpsc::unbounded_channel();
        let data = VmData::new(plugin.clone(), worker, sender);
        let mut store = Store::new(&plugin.host.engine.engine, data);
        plugin.vm_started();
        store.limiter(|data| &mut data.limits);
        store.epoch_deadline_callback(|mut vm| {
            let goes_on = vm.data_mut().cpu.go_on();
            Ok(if goes_on { UpdateDeadline::Continue(1) } else { UpdateDeadline::Interrupt })
        });
        let ticks = store.data_mut().cpu.begin();
        store.set_epoch_deadline(ticks);
        let suspending = plugin.exclusive();
        let instance = plugin.module.instantiate(&plugin.host.linkers, suspending, &mut store).await?;
        let exports = Arc::new(Exports::of(&instance, &mut store)?);
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let mut core = VmCore { store, exports, suspending };
        core.start().await?;
        core.store.data_mut().start_timer();
        core.update_memory();
        Ok((core, mailbox))
    }

    async fn start(&mut self) -> Result<(), LoadError> {
        let exports = self.exports.clone();
        let trap = |phase| move |source| LoadError::Trap { phase, source };
        if let Some(initialize) = &exports.initialize {
            self.call(ROOT_ID, initialize, ()).await.map_err(trap("_initialize"))?;
            if let Some(main) = &exports.main {
                self.call(ROOT_ID, main, (0, 0)).await.map_err(trap("main"))?;
            } else if let Some(main) = &exports.main_void {
                self.call(ROOT_ID, main, ()).await.map_err(trap("__main_void"))?;
            }
        } else if let Some(start) = &exports.start {
            self.call(ROOT_ID, start, ()).await.map_err(trap("_start"))?;
        }
        let (vm_len, plugin_len) = {
            let plugin = &self.store.data().plugin;
            (plugin.vm_configuration.len() as u32, plugin.configuration.len() as u32)
        };
        if let Some(create) = &exports.context_create {
            self.call(ROOT_ID, create, (ROOT_ID, 0)).await.map_err(trap("proxy_on_context_create"))?;
        }
        self.store.data_mut().stage = Stage::VmStart;
        if let Some(vm_start) = &exports.vm_start {
            let started =
                self.call(ROOT_ID, vm_start, (ROOT_ID, vm_len)).await.map_err(trap("proxy_on_vm_start"))?;
            if started == 0 {
                return Err(LoadError::Refused { phase: "proxy_on_vm_start" });
            }
        }
        self.store.data_mut().stage = Stage::Configure;
        if let Some(configure) = &exports.configure {
            let accepted = self
                .call(ROOT_ID, configure, (ROOT_ID, plugin_len))
                .await
                .map_err(trap("proxy_on_configure"))?;
            if accepted == 0 {
                return Err(LoadError::Refused { phase: "proxy_on_configure" });
            }
        }
        self.store.data_mut().stage = Stage::Running;
        Ok(())
    }

    /// Calls the guest with `context` in effect and a fresh CPU budget.
    ///
    /// # Cancel safety
    /// None: dropped while the guest is suspended, the guest unwinds and the VM must not be entered again.
    pub(crate) async fn call<P, R>(
        &mut self,
        context: u32,
        f: &TypedFunc<P, R>,
        params: P,
    ) -> wasmtime::Result<R>
    where
        P: WasmParams + Sync,
        R: WasmResults + Sync,
    {
        let data = self.store.data_mut();
        data.effective = context;
        let ticks = data.cpu.begin();
        self.store.set_epoch_deadline(ticks);
        if self.suspending {
            f.call_async(&mut self.store, params).await
        } else {
            f.call(&mut self.store, params)
        }
    }

    pub(crate) fn data(&self) -> &VmData {
        self.store.data()
    }

    pub(crate) fn data_mut(&mut self) -> &mut VmData {
        self.store.data_mut()
    }

    /// Brings the plugin's memory gauge up to date; memory only grows.
    pub(crate) fn update_memory(&mut self) {
        let data = self.store.data_mut();
        let growth = data.limits.take_growth();
        if growth > 0 {
            data.plugin.vm_grew(growth);
        }
    }
}
