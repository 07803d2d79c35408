//! Every bound of the host in one place, with what happens at it.

use std::time::Duration;

/// Wasm stack of one VM; deeper recursion traps.
pub(crate) const STACK_BYTES: usize = 512 * 1024;

/// Native stack of a suspended VM: the wasm stack and room for the host functions on top of it.
pub(crate) const FIBER_BYTES: usize = 2 * 1024 * 1024;

/// Length of the epoch's tick: the resolution of CPU limits.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Bytes of a module; larger ones are refused before they are compiled.
pub(crate) const MODULE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of a header map, serialized or as a guest makes it grow; larger ones are refused.
pub(crate) const PAIRS_BYTES_MAX: usize = 1024 * 1024;

/// Entries of a header map; more are refused.
pub(crate) const PAIRS_MAX: usize = 1024;

/// Bytes to which a guest can make a body grow by its own writes; a write over it fails. What arrives is bounded by
/// the gateway.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a guest's log line; the rest is cut off.
pub(crate) const LOG_BYTES_MAX: usize = 16 * 1024;

/// Bytes that `random_get` gives at once; more is an error to the guest.
pub(crate) const RANDOM_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of keys and values in a plugin's shared data; a write over it fails.
pub(crate) const SHARED_DATA_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Metrics that one plugin may define, over all its VMs; more are refused.
pub(crate) const METRICS_MAX: usize = 1000;

/// Bytes of a metric's name; longer ones are refused.
pub(crate) const METRIC_NAME_BYTES_MAX: usize = 256;

/// Bytes of all properties that the plugins of one stream set; a write over it fails.
pub(crate) const PROPERTIES_BYTES_MAX: usize = 64 * 1024;

/// Callback-style foreign calls that one VM may have under way; more are `overloaded`.
pub(crate) const CALLS_MAX: usize = 1024;

/// Bytes that a guest passes to a foreign function; more is `BAD_ARGUMENT`. Resources have lower limits.
pub(crate) const FOREIGN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a root context may take from `proxy_on_done` to `proxy_done`; then it is dropped.
pub(crate) const DONE_WAIT: Duration = Duration::from_secs(5);

/// An exclusive VM that no stream used for this long is reaped.
pub(crate) const VM_IDLE: Duration = Duration::from_secs(60);

/// Least tick period that a guest gets; shorter ones are raised to it.
pub(crate) const TICK_PERIOD_MIN: Duration = Duration::from_millis(1);
