//! What comes to a VM from outside its callbacks: answers of callback-style foreign calls, and ticks.
//!
//! One task per VM that needs it, owned by the worker's spawner; it ends when the VM is dropped.

use std::rc::{Rc, Weak};
use std::time::Duration;

use agw_foreign::{CallError, CallFuture, Code};
use agw_wire::Response;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Vm;
use crate::vm_data::{Event, ROOT_ID};

/// The answer of one call, on its way to its context.
struct Answered {
    context: u32,
    call_id: u32,
    bytes: Bytes,
}

/// Runs until the VM is gone.
pub(super) async fn run(vm: Weak<Vm>, mut mailbox: mpsc::UnboundedReceiver<Event>) {
    let mut calls: JoinSet<Answered> = JoinSet::new();
    let mut timer: Option<(Duration, Instant)> = None;
    loop {
        let next_tick = timer.map(|(_, at)| at);
        tokio::select! {
            event = mailbox.recv() => match event {
                None => return,
                Some(Event::Call { context, call_id, cancel, future }) => {
                    calls.spawn(answer(context, call_id, cancel, future));
                }
                Some(Event::TickPeriod(period)) => timer = period.map(|period| (period, Instant::now() + period)),
            },
            Some(Ok(answered)) = calls.join_next() => {
                let Some(vm) = vm.upgrade() else { return };
                deliver(&vm, answered).await;
            }
            () = until(next_tick) => {
                let Some(vm) = vm.upgrade() else { return };
                tick(&vm).await;
                // Measured from the end of the tick: a slow one is not made up for.
                timer = timer.map(|(period, _)| (period, Instant::now() + period));
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The call's own answer, or `cancelled` once it was taken back.
async fn answer(context: u32, call_id: u32, cancel: CancellationToken, future: CallFuture) -> Answered {
    let bytes = tokio::select! {
        biased;
        bytes = future => bytes,
        () = cancel.cancelled() => Response::from(CallError::new(Code::Cancelled, "the call was taken back")).encode(),
    };
    Answered { context, call_id, bytes: bytes.into() }
}

/// Exactly once, and never to a context that is gone.
async fn deliver(vm: &Rc<Vm>, answered: Answered) {
    let Some(mut entry) = vm.enter().await else { return };
    let Answered { context, call_id, bytes } = answered;
    let data = entry.core.data_mut();
    if !data.calls.finish(call_id) || !data.has_context(context) {
        return;
    }
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    entry.core.data_mut().call_data = bytes;
    let params = (context, call_id, size);
    let phase = "proxy_on_foreign_function";
    // A trap is logged, and the context's filter follows its policy.
    let _ = entry.call(phase, context, |exports| &exports.foreign_function, params).await;
    entry.core.data_mut().call_data = Bytes::new();
}

async fn tick(vm: &Rc<Vm>) {
    let Some(mut entry) = vm.enter().await else { return };
    let _ = entry.call("proxy_on_tick", ROOT_ID, |exports| &exports.tick, ROOT_ID).await;
}
