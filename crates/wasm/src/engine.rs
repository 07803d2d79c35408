//! The engine that compiles and runs every module, and the one ticker that bounds their CPU time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::error::LoadError;
use crate::limits::{FIBER_BYTES, STACK_BYTES, TICK};

/// What the pooling allocator reserves, over all workers and plugins.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// VMs that may live at once. Address space is reserved for each, memory only as it is touched.
    pub vms_max: u32,
    /// The largest linear memory that any plugin may have.
    pub memory_bytes_max: usize,
    /// The most table elements that any plugin may have.
    pub table_elements_max: usize,
}

/// Slots without a VM that keep their pages.
const WARM_SLOTS_MAX: u32 = 16;

/// The engine and its ticker.
pub(crate) struct TickingEngine {
    pub(crate) engine: Engine,
    ticks: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

impl TickingEngine {
    pub(crate) fn new(options: &EngineOptions) -> Result<Self, LoadError> {
        let engine = Engine::new(&config(options)).map_err(LoadError::Engine)?;
        let ticks = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = std::thread::Builder::new()
            .name("agw-epoch".into())
            .spawn({
                let (engine, ticks, stop) = (engine.clone(), ticks.clone(), stop.clone());
                move || tick(&engine, &ticks, &stop)
            })
            .map_err(LoadError::Ticker)?;
        Ok(TickingEngine { engine, ticks, stop, ticker: Some(ticker) })
    }

    /// The ticker's count; it and the engine's epoch advance together.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        self.ticks.clone()
    }
}

impl Drop for TickingEngine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

fn tick(engine: &Engine, ticks: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        ticks.fetch_add(1, Ordering::Relaxed);
        engine.increment_epoch();
    }
}

fn config(options: &EngineOptions) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // A VM is two instances: the guest and the shim that allocates for it. Tables likewise.
    pool.total_core_instances(options.vms_max * 2)
        .total_memories(options.vms_max)
        .total_tables(options.vms_max * 2)
        // A fiber's stack is held by every VM that has been entered, and by one more while it calls itself.
        .total_stacks(options.vms_max * 2)
        .max_memory_size(options.memory_bytes_max)
        .table_elements(options.table_elements_max)
        .max_core_instance_size(4 * 1024 * 1024)
        .linear_memory_keep_resident(256 * 1024)
        .table_keep_resident(64 * 1024)
        // A slot that a VM has left keeps its pages for the next VM of the same module. VMs come and go with
        // configurations, and modules with them: the default of 100 slots would be tens of MiB after many reloads.
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        // At once: a slot that waits for others has the module's image when the module goes, keeps it, and with it the
        // module's code.
        .decommit_batch_size(1)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(FIBER_BYTES)
        // Names of functions are enough for a readable backtrace; line tables are looked at if the module has them.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false);
    config
}
