//! One VM: a store with the guest, its shim and its contexts.
//!
//! A VM is entered by one task at a time and never re-entered. Who wants in borrows its [`VmCore`]; in a shared VM
//! nobody ever keeps it across a suspension, so nobody waits. This borrow is the one that is held across an await: it
//! is what "the VM is busy" means, and it is only ever asked for by trying.

mod core;
mod pump;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use wasmtime::{Trap, TypedFunc, WasmParams, WasmResults};

pub(crate) use self::core::VmCore;
use crate::error::LoadError;
use crate::exports::Exports;
use crate::plugin::LoadedPlugin;
use crate::spawner::Spawner;
use crate::vm_data::Event;

/// A VM on its worker.
pub(crate) struct Vm {
    pub(crate) plugin: Arc<LoadedPlugin>,
    core: RefCell<VmCore>,
    /// Somebody has left, or it has failed.
    left: Notify,
    /// It has trapped, and is never entered again.
    failed: Cell<bool>,
    spawner: Spawner,
    /// The mailbox, until the pump takes it.
    mailbox: RefCell<Option<mpsc::UnboundedReceiver<Event>>>,
}

impl Vm {
    /// Instantiates, starts and configures.
    pub(crate) async fn create(
        plugin: &Arc<LoadedPlugin>,
        worker: usize,
        spawner: Spawner,
    ) -> Result<Rc<Self>, LoadError> {
        let (core, mailbox) = VmCore::create(plugin, worker).await?;
        let pump_wanted = core.data().pump_wanted;
        let vm = Rc::new(Vm {
            plugin: plugin.clone(),
            core: RefCell::new(core),
            left: Notify::new(),
            failed: Cell::new(false),
            spawner,
            mailbox: RefCell::new(Some(mailbox)),
        });
        if pump_wanted {
            vm.start_pump();
        }
        Ok(vm)
    }

    /// Waits for the VM to be free. `None` once it has failed.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn enter(self: &Rc<Self>) -> Option<Entry<'_>> {
        loop {
            if self.failed.get() {
                // Whoever else waits shall learn it too.
                self.left.notify_one();
                return None;
            }
            if let Some(entry) = self.try_enter() {
                return Some(entry);
            }
            self.left.notified().await;
        }
    }

    /// The right to call into it, if nobody has it now.
    pub(crate) fn try_enter(self: &Rc<Self>) -> Option<Entry<'_>> {
        if self.failed.get() {
            return None;
        }
        let core = self.core.try_borrow_mut().ok()?;
        Some(Entry { vm: self, core })
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether somebody is in it, be it suspended.
    pub(crate) fn is_busy(&self) -> bool {
        self.core.try_borrow_mut().is_err()
    }

    /// A call into it was broken off: it must not be entered again.
    pub(crate) fn abandon(&self) {
        self.failed.set(true);
        self.left.notify_one();
    }

    fn start_pump(self: &Rc<Self>) {
        if let Some(mailbox) = self.mailbox.borrow_mut().take() {
            self.spawner.spawn(pump::run(Rc::downgrade(self), mailbox));
        }
    }

    /// After a trap the guest's state is unknown: its streams follow the plugin's policy, and nobody enters again.
    fn fail(&self, core: &VmCore, phase: &'static str, error: &wasmtime::Error) {
        self.failed.set(true);
        let kind = trap_kind(error);
        self.plugin.count_trap(kind);
        let streams: Vec<_> = core.data().streams().cloned().collect();
        tracing::error!(
            plugin.name = &*self.plugin.name,
            phase,
            kind,
            streams = streams.len(),
            "the guest trapped: {error:?}"
        );
        for context in streams {
            context.cancel_calls();
            context.fail();
            // The VM lives on while a filter holds it; leases of connections need not.
            self.plugin.access.context_ended(context.key);
        }
    }
}

/// The label of a trap.
pub(crate) fn trap_kind(error: &wasmtime::Error) -> &'static str {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => "cpu",
        Some(Trap::StackOverflow) => "stack",
        Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds | Trap::HeapMisaligned) => "memory",
        Some(Trap::UnreachableCodeReached) => "unreachable",
        Some(_) => "other",
        None => "host",
    }
}

/// The right to call into a VM.
pub(crate) struct Entry<'v> {
    vm: &'v Rc<Vm>,
    pub(crate) core: RefMut<'v, VmCore>,
}

/// The guest has trapped; it is logged, and the VM has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trapped;

impl Entry<'_> {
    /// Calls an export of the guest with `context` in effect and a fresh CPU budget, and does what is due when a
    /// callback ends. `Ok(None)` if the guest has no such export.
    ///
    /// # Errors
    /// [`Trapped`]: the VM must be left.
    ///
    /// # Cancel safety
    /// None: dropped while the guest is suspended, the guest unwinds and the VM must not be entered again.
    pub(crate) async fn call<P, R>(
        &mut self,
        phase: &'static str,
        context: u32,
        export: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, Trapped>
    where
        P: WasmParams + Sync,
        R: WasmResults + Sync,
    {
        let outcome = self.core.call(context, export, params).await;
        self.ended(phase, outcome)
    }

    /// The same for a VM whose guest is never suspended.
    ///
    /// # Errors
    /// As [`Entry::call`].
    pub(crate) fn call_now<P, R>(
        &mut self,
        phase: &'static str,
        context: u32,
        export: impl FnOnce(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, Trapped>
    where
        P: WasmParams,
        R: WasmResults,
    {
        let outcome = self.core.call_now(context, export, params);
        self.ended(phase, outcome)
    }

    /// What is due when a callback has ended.
    fn ended<R>(
        &mut self,
        phase: &'static str,
        outcome: Option<wasmtime::Result<R>>,
    ) -> Result<Option<R>, Trapped> {
        let Some(outcome) = outcome else { return Ok(None) };
        self.core.data_mut().start_timer();
        if self.core.data().pump_wanted {
            self.vm.start_pump();
        }
        self.core.update_memory();
        outcome.map(Some).map_err(|error| {
            self.vm.fail(&self.core, phase, &error);
            Trapped
        })
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // Whoever waits runs later, when the borrow has ended.
        self.vm.left.notify_one();
    }
}
