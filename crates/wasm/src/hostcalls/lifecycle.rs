//! Timers, the effective context, and the end of a root context.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{Caller, Linker, Result};

use super::{ENV, Sized, keep};
use crate::guest_memory::Guest;
use crate::limits::TICK_PERIOD_MIN;
use crate::shim;
use crate::status::Status;
use crate::vm_data::{Stage, VmData};

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_set_tick_period_milliseconds", set_tick_period)?;
    linker.func_wrap(ENV, "proxy_set_effective_context", set_effective_context)?;
    linker.func_wrap(ENV, "proxy_done", done)?;
    linker.func_wrap(shim::HOST, "proxy_get_status", get_status)?;
    // Older C++ modules, built by Emscripten, import these two.
    linker.func_wrap(ENV, "emscripten_notify_memory_growth", |_: u32| {})?;
    linker.func_wrap(ENV, "pthread_equal", |a: u32, b: u32| u32::from(a == b))?;
    Ok(())
}

/// The period belongs to the root context, whichever context sets it; 0 stops the timer.
fn set_tick_period(mut caller: Caller<'_, VmData>, milliseconds: u32) -> Result<u32> {
    let period = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()).max(TICK_PERIOD_MIN));
    let plugin = &caller.data().plugin;
    if period.is_some() && plugin.exclusive() && !plugin.timer_told.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            plugin.name = &*plugin.name,
            "the plugin's timer runs in each of its VMs, one per concurrent stream: set vm.mode to shared"
        );
    }
    caller.data_mut().timer = Some(period);
    Ok(Status::Ok.into())
}

/// Lasts until the callback ends.
fn set_effective_context(mut caller: Caller<'_, VmData>, context: u32) -> Result<u32> {
    let data = caller.data_mut();
    if !data.has_context(context) {
        return Ok(Status::BadArgument.into());
    }
    data.effective = context;
    Ok(Status::Ok.into())
}

fn done(mut caller: Caller<'_, VmData>) -> Result<u32> {
    let data = caller.data_mut();
    if data.stage != Stage::RootDone {
        return Ok(Status::NotFound.into());
    }
    data.done = true;
    Ok(Status::Ok.into())
}

/// No callout has failed, because there are none yet.
fn get_status(
    mut caller: Caller<'_, VmData>,
    code_cell: u32,
    data_cell: u32,
    size_cell: u32,
) -> Result<Sized> {
    let mut guest = Guest::of(&mut caller)?;
    guest.write_u32(code_cell, 0, "proxy_get_status: code")?;
    keep(&mut guest, Bytes::new(), data_cell, size_cell)
}
