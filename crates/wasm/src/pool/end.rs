//! The end of a VM: its root context is told, and has a bounded time to agree.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::limits::DONE_WAIT;
use crate::vm::Vm;
use crate::vm_data::{ROOT_ID, Stage};

/// How often a root context that has more to do is looked at.
const DONE_POLL: Duration = Duration::from_millis(10);

/// Ends a VM. A guest that makes one foreign call after another in its end is broken off.
pub(super) async fn end_root(vm: Rc<Vm>) {
    if timeout(DONE_WAIT * 2, tell_root_the_end(vm.clone())).await.is_err() {
        vm.abandon();
        tracing::warn!(plugin.name = vm.plugin.name(), "the root context does not end: its VM is dropped");
    }
}

/// `proxy_on_done` of the root context; if it says no, the VM lives until `proxy_done`, for a bounded time.
async fn tell_root_the_end(vm: Rc<Vm>) {
    let deadline = Instant::now() + DONE_WAIT;
    if !tell_root_done(&vm).await {
        loop {
            let done = match vm.enter().await {
                Some(entry) => entry.core.data().done,
                None => return,
            };
            if done || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(DONE_POLL).await;
        }
    }
    let Some(mut entry) = vm.enter().await else { return };
    let _ = entry.call("proxy_on_delete", ROOT_ID, |exports| &exports.delete, ROOT_ID).await;
}

/// Whether the root context agrees to end at once.
async fn tell_root_done(vm: &Rc<Vm>) -> bool {
    let Some(mut entry) = vm.enter().await else { return true };
    entry.core.data_mut().stage = Stage::RootDone;
    let agreed = entry.call("proxy_on_done", ROOT_ID, |exports| &exports.done, ROOT_ID).await;
    agreed.ok().flatten() != Some(0)
}
