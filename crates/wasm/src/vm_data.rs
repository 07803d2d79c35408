//! What the host keeps beside one VM: its contexts, the call that runs, and what is due after it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use agw_foreign::{CallFuture, CallSite, CallTable, ContextKey};
use agw_telemetry::CallTrace;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wasmtime::{Memory, ResourceLimiter};

use crate::by_id::ById;
use crate::context::{StreamContext, next_key};
use crate::cpu_budget::CpuBudget;
use crate::plugin::LoadedPlugin;

/// Id of the one root context of a VM.
pub(crate) const ROOT_ID: u32 = 1;

/// The data of a VM's store.
pub(crate) struct VmData {
    pub(crate) plugin: Arc<LoadedPlugin>,
    pub(crate) worker: usize,
    pub(crate) memory: Option<Memory>,
    pub(crate) limits: MemoryLimits,
    pub(crate) cpu: CpuBudget,
    pub(crate) calls: CallTable,
    streams: HashMap<u32, Arc<StreamContext>, ById>,
    next_id: u32,
    root_key: ContextKey,
    root_cancel: CancellationToken,
    /// The context that hostcalls act on: the callback's own, or the one that the guest set as effective.
    pub(crate) effective: u32,
    pub(crate) stage: Stage,
    /// Bytes that a hostcall keeps until the shim has allocated for them.
    pub(crate) kept: Option<Kept>,
    /// What the guest reads as buffer `CallData`.
    pub(crate) call_data: Bytes,
    /// Set by `proxy_done` while a root context is pending.
    pub(crate) done: bool,
    pub(crate) mailbox: mpsc::UnboundedSender<Event>,
    /// What the running callback set its timer to; the last one counts.
    pub(crate) timer: Option<Option<Duration>>,
    /// An event was posted: the VM's pump must run.
    pub(crate) pump_wanted: bool,
    pub(crate) metrics: Vec<crate::hostcalls::metrics::Defined>,
}

/// Where a VM is in its life; some hostcalls depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Start section, `_initialize`, `main`, and the root context's creation, where Envoy shows the configuration too.
    Starting,
    /// `proxy_on_vm_start`: the VM's configuration is readable.
    VmStart,
    /// `proxy_on_configure`: the plugin's configuration is readable.
    Configure,
    /// Everything else.
    Running,
    /// `proxy_on_log`.
    Log,
    /// The root context has been told to end.
    RootDone,
}

/// Bytes on their way into the guest, and where it wants their address and size.
pub(crate) struct Kept {
    pub(crate) bytes: Bytes,
    pub(crate) data_cell: u32,
    pub(crate) size_cell: u32,
}

/// What comes to a VM from outside a callback. The mailbox is unbounded, but what posts to it is not: foreign calls
/// are bounded by the call table, and a callback posts its timer once, when it ends.
pub(crate) enum Event {
    /// A callback-style foreign call to run, whose answer goes to this context.
    Call { context: u32, call_id: u32, taken_back: oneshot::Receiver<()>, future: CallFuture },
    /// `None` stops the timer.
    TickPeriod(Option<Duration>),
}

impl VmData {
    pub(crate) fn new(
        plugin: Arc<LoadedPlugin>,
        worker: usize,
        mailbox: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let limits = plugin.config.limits;
        let clock = plugin.host.engine.clock();
        VmData {
            worker,
            memory: None,
            limits: MemoryLimits {
                memory_bytes_max: limits.memory_bytes_max,
                table_elements_max: limits.table_elements_max,
                memory_bytes: 0,
                memory_counted: 0,
            },
            cpu: CpuBudget::new(clock, limits.cpu_time),
            calls: CallTable::new(crate::limits::CALLS_MAX),
            streams: HashMap::default(),
            next_id: ROOT_ID + 1,
            root_key: next_key(),
            root_cancel: CancellationToken::new(),
            effective: ROOT_ID,
            stage: Stage::Starting,
            kept: None,
            call_data: Bytes::new(),
            done: false,
            mailbox,
            timer: None,
            pump_wanted: false,
            metrics: Vec::new(),
            plugin,
        }
    }

    /// Gives a stream an id that no living context has.
    pub(crate) fn insert(&mut self, context: Arc<StreamContext>) -> u32 {
        loop {
            let id = self.next_id;
            // Zero is the VM's own context, one the root's; both are skipped when the counter wraps.
            self.next_id = self.next_id.checked_add(1).unwrap_or(ROOT_ID + 1);
            if let Entry::Vacant(place) = self.streams.entry(id) {
                place.insert(context);
                return id;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(context) = self.streams.remove(&id) {
            self.plugin.access.context_ended(context.key);
        }
    }

    pub(crate) fn has_context(&self, id: u32) -> bool {
        id == ROOT_ID || self.streams.contains_key(&id)
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Arc<StreamContext>> {
        self.streams.values()
    }

    /// The stream that hostcalls act on; `None` in a root context.
    pub(crate) fn stream(&self) -> Option<&Arc<StreamContext>> {
        self.streams.get(&self.effective)
    }

    /// Where a foreign call of the effective context comes from. A call made while logging belongs to the root
    /// context: it outlives the stream.
    pub(crate) fn call_site(&self) -> (u32, CallSite) {
        match self.stream() {
            Some(context) if self.stage != Stage::Log => {
                let (deadline, trace) = {
                    let info = &context.stream.state().info;
                    (info.deadline, info.trace.as_ref().map(CallTrace::begin))
                };
                let site = CallSite {
                    worker: self.worker,
                    context: context.key,
                    calls_before: context.calls(),
                    deadline: Some(deadline),
                    cancel: context.cancel().clone(),
                    trace,
                };
                (self.effective, site)
            }
            logging => {
                let request = logging.and_then(|context| context.stream.state().info.trace.clone());
                let site = CallSite {
                    worker: self.worker,
                    context: self.root_key,
                    calls_before: 0,
                    deadline: None,
                    cancel: self.root_cancel.clone(),
                    trace: request.as_ref().map(CallTrace::begin),
                };
                (ROOT_ID, site)
            }
        }
    }

    /// The effective context has made a foreign call.
    pub(crate) fn count_call(&self) {
        if let Some(context) = self.stream() {
            context.count_call();
        }
    }

    /// A callback has ended: the timer that it set begins.
    pub(crate) fn start_timer(&mut self) {
        if let Some(period) = self.timer.take() {
            self.post(Event::TickPeriod(period));
        }
    }

    pub(crate) fn post(&mut self, event: Event) {
        self.pump_wanted = true;
        // The receiver lives as long as the VM, which is being called.
        let _ = self.mailbox.send(event);
    }
}

impl Drop for VmData {
    fn drop(&mut self) {
        self.root_cancel.cancel();
        self.plugin.access.context_ended(self.root_key);
        for context in self.streams.values() {
            self.plugin.access.context_ended(context.key);
        }
        self.plugin.vm_ended(self.limits.memory_counted);
    }
}

/// Bounds on what a VM can allocate. A `memory.grow` over the limit returns -1 to the guest.
pub(crate) struct MemoryLimits {
    memory_bytes_max: usize,
    table_elements_max: usize,
    /// Linear memory that the VM has now.
    memory_bytes: usize,
    /// The part of it that the plugin's gauge knows of.
    memory_counted: usize,
}

impl MemoryLimits {
    /// Bytes by which the memory has grown since it was last asked.
    pub(crate) fn take_growth(&mut self) -> usize {
        let growth = self.memory_bytes - self.memory_counted;
        self.memory_counted = self.memory_bytes;
        growth
    }
}

impl ResourceLimiter for MemoryLimits {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_bytes_max;
        if allowed {
            self.memory_bytes = desired;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements_max)
    }
}
