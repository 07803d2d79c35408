//! Stream contexts in a shared VM: the guest is never suspended, so every call returns at once.

use std::sync::Arc;

use tokio::time::Instant;

use super::call::Call;
use crate::context::StreamContext;
use crate::plugin::LoadedPlugin;
use crate::vm::Entry;
use crate::vm_data::{ROOT_ID, Stage};

/// The new context's id; `None` after a trap.
pub(super) fn create(mut entry: Entry<'_>, context: &Arc<StreamContext>) -> Option<u32> {
    let id = entry.core.data_mut().insert(context.clone());
    let params = (id, ROOT_ID);
    entry.call_now("proxy_on_context_create", id, |exports| &exports.context_create, params).ok().map(|_| id)
}

/// The guest's action; `None` if it has trapped.
pub(super) fn call(mut entry: Entry<'_>, plugin: &LoadedPlugin, call: Call) -> Option<u32> {
    let started = Instant::now();
    let phase = call.callback.phase();
    let outcome = if call.is_of_trailers() {
        entry.call_now(phase, call.id, |exports| exports.trailers(call.callback), call.trailers())
    } else {
        entry.call_now(phase, call.id, |exports| exports.message(call.callback), call.message())
    };
    call.settle(plugin, started, outcome)
}

/// `proxy_on_done`, `proxy_on_log`, `proxy_on_delete`; then the context is forgotten. False after a trap.
pub(super) fn end(mut entry: Entry<'_>, id: u32) -> bool {
    let ended = (|| {
        entry.call_now("proxy_on_done", id, |exports| &exports.done, id)?;
        entry.core.data_mut().stage = Stage::Log;
        entry.call_now("proxy_on_log", id, |exports| &exports.log, id)?;
        entry.core.data_mut().stage = Stage::Running;
        entry.call_now("proxy_on_delete", id, |exports| &exports.delete, id)
    })();
    entry.core.data_mut().stage = Stage::Running;
    entry.core.data_mut().remove(id);
    ended.is_ok()
}
