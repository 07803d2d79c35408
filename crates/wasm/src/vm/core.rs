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
    exports: Exports,
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
        let exports = Exports::of(&instance, &mut store)?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let mut core = VmCore { store, exports, suspending };
        core.start().await?;
        core.store.data_mut().start_timer();
        core.update_memory();
        Ok((core, mailbox))
    }

    async fn start(&mut self) -> Result<(), LoadError> {
        if self.start_call("_initialize", |exports| &exports.initialize, ()).await?.is_some() {
            if self.start_call("main", |exports| &exports.main, (0, 0)).await?.is_none() {
                self.start_call("__main_void", |exports| &exports.main_void, ()).await?;
            }
        } else {
            self.start_call("_start", |exports| &exports.start, ()).await?;
        }
        let (vm_len, plugin_len) = {
            let plugin = &self.store.data().plugin;
            (plugin.vm_configuration.len() as u32, plugin.configuration.len() as u32)
        };
        let create = "proxy_on_context_create";
        self.start_call(create, |exports| &exports.context_create, (ROOT_ID, 0)).await?;
        self.store.data_mut().stage = Stage::VmStart;
        let phase = "proxy_on_vm_start";
        if self.start_call(phase, |exports| &exports.vm_start, (ROOT_ID, vm_len)).await? == Some(0) {
            return Err(LoadError::Refused { phase });
        }
        self.store.data_mut().stage = Stage::Configure;
        let phase = "proxy_on_configure";
        if self.start_call(phase, |exports| &exports.configure, (ROOT_ID, plugin_len)).await? == Some(0) {
            return Err(LoadError::Refused { phase });
        }
        self.store.data_mut().stage = Stage::Running;
        Ok(())
    }

    /// One call of the start, of the root context.
    async fn start_call<P, R>(
        &mut self,
        phase: &'static str,
        export: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, LoadError>
    where
        P: WasmParams + Sync,
        R: WasmResults + Sync,
    {
        let outcome = self.call(ROOT_ID, export, params).await.transpose();
        outcome.map_err(|source| LoadError::Trap { phase, source })
    }

    /// Calls an export of the guest with `context` in effect and a fresh CPU budget; `None` if it is not there.
    ///
    /// # Cancel safety
    /// None: dropped while the guest is suspended, the guest unwinds and the VM must not be entered again.
    pub(crate) async fn call<P, R>(
        &mut self,
        context: u32,
        export: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Option<wasmtime::Result<R>>
    where
        P: WasmParams + Sync,
        R: WasmResults + Sync,
    {
        if !self.suspending {
            return self.call_now(context, export, params);
        }
        let (store, f) = self.prepare(context, export)?;
        Some(f.call_async(store, params).await)
    }

    /// The same for a VM whose guest is never suspended. No future: one that holds a fiber is large, and moving it
    /// costs more than most callbacks.
    pub(crate) fn call_now<P, R>(
        &mut self,
        context: u32,
        export: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Option<wasmtime::Result<R>>
    where
        P: WasmParams,
        R: WasmResults,
    {
        let (store, f) = self.prepare(context, export)?;
        Some(f.call(store, params))
    }

    fn prepare<P, R>(
        &mut self,
        context: u32,
        export: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
    ) -> Option<(&mut Store<VmData>, &TypedFunc<P, R>)> {
        let VmCore { store, exports, .. } = self;
        let f = export(exports).as_ref()?;
        let data = store.data_mut();
        data.effective = context;
        let ticks = data.cpu.begin();
        store.set_epoch_deadline(ticks);
        Some((store, f))
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
