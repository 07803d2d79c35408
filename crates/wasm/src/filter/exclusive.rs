//! Stream contexts in an exclusive VM: the guest may be suspended, and its callers wait.
//!
//! None of these futures may be dropped while the guest is suspended: [`Unbroken`](crate::unbroken::Unbroken) or a task
//! of its own drives each to its end.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::Filter;
use super::call::Call;
use crate::context::StreamContext;
use crate::pool::VmLease;
use crate::vm::{Entry, Trapped, Vm};
use crate::vm_data::{ROOT_ID, Stage};

/// A filter whose context has been created, or has failed at that.
pub(super) async fn open(lease: VmLease, context: Arc<StreamContext>) -> Filter {
    let id = create(&lease.vm, context.clone()).await;
    Filter::of(lease, context, id)
}

/// The new context's id; `None` if the VM has failed, now or before.
async fn create(vm: &Rc<Vm>, context: Arc<StreamContext>) -> Option<u32> {
    let mut entry = vm.enter().await?;
    let id = entry.core.data_mut().insert(context);
    let created = entry.call("proxy_on_context_create", id, |exports| &exports.context_create, (id, ROOT_ID));
    created.await.ok().map(|_| id)
}

/// The guest's action; `None` if the VM has failed, now or before.
pub(super) async fn call(vm: &Rc<Vm>, call: Call) -> Option<u32> {
    let mut entry = vm.enter().await?;
    let started = Instant::now();
    let phase = call.callback.phase();
    let outcome = if call.is_of_trailers() {
        entry.call(phase, call.id, |exports| exports.trailers(call.callback), call.trailers()).await
    } else {
        entry.call(phase, call.id, |exports| exports.message(call.callback), call.message()).await
    };
    call.settle(&vm.plugin, started, outcome)
}

/// Ends the context; then the VM is free for another stream.
pub(super) async fn end(lease: VmLease, id: u32) {
    let ended = match lease.vm.enter().await {
        Some(entry) => end_context(entry, id).await,
        None => false,
    };
    if ended {
        lease.pool_succeeded();
    }
}

/// Tells the guest and forgets the context; false after a trap.
async fn end_context(mut entry: Entry<'_>, id: u32) -> bool {
    let ended = tell_the_end(&mut entry, id).await;
    entry.core.data_mut().stage = Stage::Running;
    entry.core.data_mut().remove(id);
    ended.is_ok()
}

/// `proxy_on_done`, `proxy_on_log`, `proxy_on_delete`.
async fn tell_the_end(entry: &mut Entry<'_>, id: u32) -> Result<(), Trapped> {
    // A stream cannot ask for more time; only a root context can.
    entry.call("proxy_on_done", id, |exports| &exports.done, id).await?;
    entry.core.data_mut().stage = Stage::Log;
    entry.call("proxy_on_log", id, |exports| &exports.log, id).await?;
    entry.core.data_mut().stage = Stage::Running;
    entry.call("proxy_on_delete", id, |exports| &exports.delete, id).await?;
    Ok(())
}
