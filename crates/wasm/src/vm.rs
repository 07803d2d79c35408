//! One VM: a store with the guest, its shim and its contexts.
//!
//! A VM is entered by one task at a time and never re-entered. Who wants in takes the lock on its [`VmCore`]; in a
//! shared VM nobody ever holds it across a suspension, so nobody waits. This lock is the one that is held across an
//! await: it is what "the VM is busy" means.

mod core;
mod pump;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use wasmtime::Trap;

pub(crate) use self::core::VmCore;
use crate::error::LoadError;
use crate::plugin::LoadedPlugin;
use crate::spawner::Spawner;
use crate::vm_data::Event;

/// A VM on its worker.
pub(crate) struct Vm {
    pub(crate) plugin: Arc<LoadedPlugin>,
    core: Arc<Mutex<VmCore>>,
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
            core: Arc::new(Mutex::new(core)),
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
    pub(crate) async fn enter(self: &Rc<Self>) -> Option<Entry> {
        let core = match self.core.clone().try_lock_owned() {
            Ok(core) => core,
            Err(_) => self.core.clone().lock_owned().await,
        };
        if self.failed.get() {
            return None;
        }
        Some(Entry { vm: self.clone(), core })
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether somebody is in it, be it suspended.
    pub(crate) fn is_busy(&self) -> bool {
        self.core.try_lock().is_err()
    }

    /// A call into it was broken off: it must not be entered again.
    pub(crate) fn abandon(&self) {
        self.failed.set(true);
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
pub(crate) struct Entry {
    vm: Rc<Vm>,
    pub(crate) core: OwnedMutexGuard<VmCore>,
}

impl Entry {
    /// What a callback came to; `None` after a trap, which is logged here.
    ///
    /// Call it once with the outcome of each call into the guest.
    pub(crate) fn settle<R>(&mut self, phase: &'static str, outcome: wasmtime::Result<R>) -> Option<R> {
        self.core.data_mut().start_timer();
        if self.core.data().pump_wanted {
            self.vm.start_pump();
        }
        self.core.update_memory();
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.vm.fail(&self.core, phase, &error);
                None
            }
        }
    }
}
