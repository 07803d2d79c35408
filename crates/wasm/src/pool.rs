//! The VMs of one worker: who gets which, and what happens when there is none.

mod backoff;
mod end;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::backoff::Backoff;
use self::end::end_root;
use crate::by_id::ById;
use crate::error::LoadError;
use crate::filter::{Filter, Verdict, follow_policy};
use crate::limits::{DONE_WAIT, VM_IDLE};
use crate::plugin::LoadedPlugin;
use crate::spawner::{Spawner, Tasks};
use crate::stream::Stream;
use crate::vm::Vm;

/// The VMs of every plugin on one worker. Lives on a single-threaded runtime, inside a `LocalSet`.
pub struct VmPools {
    worker: usize,
    pools: RefCell<HashMap<u64, Rc<PluginPool>, ById>>,
    spawner: Spawner,
    tasks: RefCell<Option<Tasks>>,
}

/// What a plugin has for a stream.
pub enum Opened {
    /// A context of its own.
    Filter(Filter),
    /// The plugin cannot run and its policy is `fail_open`.
    Skip,
    /// The plugin cannot run; the stream holds a 503.
    Refused,
}

/// The VMs of one plugin on one worker.
struct PluginPool {
    plugin: Arc<LoadedPlugin>,
    worker: usize,
    spawner: Spawner,
    /// The one VM of a shared plugin.
    shared: RefCell<Option<Rc<Vm>>>,
    /// Held while the shared VM is made, so that only one is.
    making: Mutex<()>,
    /// Exclusive VMs without a stream, the last used at the end.
    idle: RefCell<Vec<(Rc<Vm>, Instant)>>,
    /// Streams that may have an exclusive VM.
    places: Arc<Semaphore>,
    backoff: RefCell<Backoff>,
    reaping: Cell<bool>,
}

/// The use of a VM by one stream. Dropped, an exclusive VM goes back to its pool, unless it has failed.
pub(crate) struct VmLease {
    pub(crate) vm: Rc<Vm>,
    pool: Rc<PluginPool>,
    /// `None` in a shared VM. Given back after the VM has been.
    place: Option<OwnedSemaphorePermit>,
}

/// Why there is no VM.
#[derive(Debug, thiserror::Error)]
enum AcquireError {
    #[error("no VM became free within {0:?} (vm.max, vm.wait)")]
    Busy(Duration),
    #[error("the plugin has trapped; the next VM is made in {0:?}")]
    BackingOff(Duration),
    #[error("a VM could not be made")]
    Make(#[from] LoadError),
}

// === impl VmPools ===

impl VmPools {
    /// The pools of worker `worker`, empty. To be called inside the worker's `LocalSet`.
    pub fn new(worker: usize) -> Rc<Self> {
        let (spawner, tasks) = Spawner::start();
        Rc::new(VmPools { worker, pools: RefCell::default(), spawner, tasks: RefCell::new(Some(tasks)) })
    }

    /// A stream context of `plugin` for `stream`. Waits at most the plugin's `vm.wait` for a VM. A plugin that
    /// cannot run follows its policy here already.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn open(self: &Rc<Self>, plugin: &Arc<LoadedPlugin>, stream: &Arc<Stream>) -> Opened {
        match self.pool(plugin).acquire().await {
            Ok(lease) => Opened::Filter(Filter::open(lease, stream).await),
            Err(error) => {
                log_refusal(plugin, &error);
                match follow_policy(plugin, stream) {
                    Verdict::Interrupted => Opened::Refused,
                    _ => Opened::Skip,
                }
            }
        }
    }

    /// Ends the VMs of plugins, by their ids, that no stream will be opened for any more. Those that still have a stream
    /// are left for the next time. Their root contexts are told, as at the [shutdown](VmPools::shutdown), in the
    /// background.
    pub fn end_unused(&self, is_unused: impl Fn(u64) -> bool) {
        let mut pools = self.pools.borrow_mut();
        // A lease, or a wait for one, holds its pool.
        for (_, pool) in pools.extract_if(|id, pool| is_unused(*id) && Rc::strong_count(pool) == 1) {
            self.spawner.spawn(async move { pool.end().await });
        }
    }

    /// Ends every VM: each root context is told, and has a bounded time to agree. Streams must have ended.
    pub async fn shutdown(&self) {
        let pools: Vec<_> = self.pools.borrow_mut().drain().map(|(_, pool)| pool).collect();
        let mut ends = JoinSet::new();
        for pool in pools {
            ends.spawn_local(async move { pool.end().await });
        }
        ends.join_all().await;
        let tasks = self.tasks.borrow_mut().take();
        if let Some(tasks) = tasks {
            tasks.stop().await;
        }
    }

    fn pool(&self, plugin: &Arc<LoadedPlugin>) -> Rc<PluginPool> {
        let mut pools = self.pools.borrow_mut();
        let pool =
            pools.entry(plugin.id).or_insert_with(|| PluginPool::new(plugin, self.worker, &self.spawner));
        pool.clone()
    }
}

/// Every refusal is counted by its answer; the log has the reason, for a busy pool only in detail.
fn log_refusal(plugin: &LoadedPlugin, error: &AcquireError) {
    match error {
        AcquireError::Make(cause) => {
            tracing::error!(plugin.name = plugin.name(), "no VM: {error}: {:?}", cause);
        }
        _ => tracing::debug!(plugin.name = plugin.name(), "no VM: {error}"),
    }
}

// === impl PluginPool ===

impl PluginPool {
    fn new(plugin: &Arc<LoadedPlugin>, worker: usize, spawner: &Spawner) -> Rc<Self> {
        let config = &plugin.config;
        Rc::new(PluginPool {
            plugin: plugin.clone(),
            worker,
            spawner: spawner.clone(),
            shared: RefCell::new(None),
            making: Mutex::new(()),
            idle: RefCell::default(),
            places: Arc::new(Semaphore::new(config.vm.max)),
            backoff: RefCell::new(Backoff::new(config.reload_backoff, config.reload_backoff_max)),
            reaping: Cell::new(false),
        })
    }

    async fn acquire(self: &Rc<Self>) -> Result<VmLease, AcquireError> {
        if self.plugin.exclusive() { self.acquire_exclusive().await } else { self.acquire_shared().await }
    }

    async fn acquire_shared(self: &Rc<Self>) -> Result<VmLease, AcquireError> {
        if let Some(vm) = self.living_shared() {
            return Ok(self.lease(vm, None));
        }
        let _making = self.making.lock().await;
        if let Some(vm) = self.living_shared() {
            return Ok(self.lease(vm, None));
        }
        let vm = Box::pin(self.make()).await?;
        *self.shared.borrow_mut() = Some(vm.clone());
        Ok(self.lease(vm, None))
    }

    /// The shared VM; a failed one is noted and dropped.
    fn living_shared(&self) -> Option<Rc<Vm>> {
        let mut shared = self.shared.borrow_mut();
        if shared.as_ref().is_some_and(|vm| vm.has_failed()) {
            *shared = None;
            self.backoff.borrow_mut().failed(Instant::now());
        }
        shared.clone()
    }

    /// What waits is boxed, so that it costs nothing where nobody has to.
    async fn acquire_exclusive(self: &Rc<Self>) -> Result<VmLease, AcquireError> {
        let wait = self.plugin.config.vm.wait;
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => match Box::pin(timeout(wait, self.places.clone().acquire_owned())).await {
                Ok(Ok(place)) => place,
                _ => return Err(AcquireError::Busy(wait)),
            },
        };
        let vm = match self.take_idle() {
            Some(vm) => vm,
            None if self.may_make() => Box::pin(self.make()).await?,
            None => Box::pin(self.await_idle(wait)).await?,
        };
        Ok(self.lease(vm, Some(place)))
    }

    /// The VM that was used last, of those that are well and in which no root context is busy.
    fn take_idle(&self) -> Option<Rc<Vm>> {
        let mut idle = self.idle.borrow_mut();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let vm = &idle[at].0;
            if vm.has_failed() {
                idle.remove(at);
                self.backoff.borrow_mut().failed(Instant::now());
            } else if !vm.is_busy() {
                return Some(idle.remove(at).0);
            }
        }
        None
    }

    /// Whether one more VM is within the bound; the caller has its place already.
    fn may_make(&self) -> bool {
        let max = self.plugin.config.vm.max;
        let taken = max.saturating_sub(self.places.available_permits());
        self.idle.borrow().len() + taken <= max
    }

    /// Every idle VM is busy with its root context's own work: waits for one of them.
    async fn await_idle(&self, wait: Duration) -> Result<Rc<Vm>, AcquireError> {
        let last = self.idle.borrow().last().map(|(vm, _)| vm.clone());
        if let Some(vm) = last {
            let _ = timeout(wait, vm.enter()).await;
        }
        self.take_idle().ok_or(AcquireError::Busy(wait))
    }

    fn lease(self: &Rc<Self>, vm: Rc<Vm>, place: Option<OwnedSemaphorePermit>) -> VmLease {
        VmLease { vm, pool: self.clone(), place }
    }

    async fn make(&self) -> Result<Rc<Vm>, AcquireError> {
        self.backoff.borrow().check(Instant::now()).map_err(AcquireError::BackingOff)?;
        match Vm::create(&self.plugin, self.worker, self.spawner.clone()).await {
            Ok(vm) => {
                if self.backoff.borrow().has_failed() {
                    self.plugin.count_restart();
                }
                Ok(vm)
            }
            Err(error) => {
                self.backoff.borrow_mut().failed(Instant::now());
                Err(error.into())
            }
        }
    }

    /// Tells every root context that it ends, all at once.
    async fn end(&self) {
        // Taking every place waits for the streams whose ends still run in the background.
        let all = u32::try_from(self.plugin.config.vm.max).unwrap_or(u32::MAX);
        let _ = timeout(DONE_WAIT, self.places.clone().acquire_many_owned(all)).await;
        let idle: Vec<_> = self.idle.borrow_mut().drain(..).map(|(vm, _)| vm).collect();
        let shared = self.shared.borrow_mut().take();
        let mut ends = JoinSet::new();
        for vm in idle.into_iter().chain(shared) {
            ends.spawn_local(end_root(vm));
        }
        ends.join_all().await;
    }

    fn give_back(self: &Rc<Self>, vm: Rc<Vm>) {
        if vm.has_failed() {
            self.backoff.borrow_mut().failed(Instant::now());
            return;
        }
        self.idle.borrow_mut().push((vm, Instant::now()));
        if !self.reaping.replace(true) {
            self.spawner.spawn(reap(Rc::downgrade(self)));
        }
    }

    /// Takes what nobody has used for long; one VM stays warm.
    fn take_unused(&self) -> Vec<Rc<Vm>> {
        let mut idle = self.idle.borrow_mut();
        let unused = idle.iter().take_while(|(_, since)| since.elapsed() >= VM_IDLE).count();
        let spare = unused.min(idle.len().saturating_sub(1));
        idle.drain(..spare).map(|(vm, _)| vm).collect()
    }
}

/// Ends VMs that a burst has left behind. One task per pool, owned by the worker's spawner; ends with the pool.
async fn reap(pool: std::rc::Weak<PluginPool>) {
    loop {
        tokio::time::sleep(VM_IDLE / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        for vm in pool.take_unused() {
            end_root(vm).await;
        }
    }
}

// === impl VmLease ===

impl VmLease {
    /// Where work for this VM goes on that nobody waits for.
    pub(crate) fn spawner(&self) -> &Spawner {
        &self.pool.spawner
    }

    /// A stream has ended without a trap: the plugin is well.
    pub(crate) fn pool_succeeded(&self) {
        self.pool.backoff.borrow_mut().succeeded();
    }
}

impl Drop for VmLease {
    fn drop(&mut self) {
        match self.place.take() {
            Some(place) => {
                self.pool.give_back(self.vm.clone());
                drop(place);
            }
            // A shared VM that has failed goes with its streams; the wait for the next begins now.
            None => drop(self.pool.living_shared()),
        }
    }
}
