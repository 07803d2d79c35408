//! What comes to a VM from outside its callbacks: answers of callback-style foreign calls, and ticks.
//!
//! One task per VM that needs it, owned by the worker's spawner; it ends when the VM is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use agw_foreign::{CallError, CallFuture, Code};
use agw_wire::Response;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Vm;
use crate::vm_data::{Event, ROOT_ID};

/// The answer of one call, on its way to its context.
struct Answered {
    context: u32,
    call_id: u32,
    bytes: Bytes,
}

/// What comes in. `C` is the future of a call, which has no name.
struct Intake<C> {
    mailbox: mpsc::UnboundedReceiver<Event>,
    /// Polled by the pump's task: a task for each call would cost two more hops through the worker's queue.
    calls: FuturesUnordered<C>,
    start: fn(u32, u32, oneshot::Receiver<()>, CallFuture) -> C,
    /// No more than there were calls.
    answered: VecDeque<Answered>,
    timer: Option<(Duration, Instant)>,
}

/// Runs until the VM is gone.
pub(super) async fn run(vm: Weak<Vm>, mailbox: mpsc::UnboundedReceiver<Event>) {
    let mut intake = Intake {
        mailbox,
        calls: FuturesUnordered::new(),
        start: answer,
        answered: VecDeque::new(),
        timer: None,
    };
    loop {
        if let Some(answered) = intake.answered.pop_front() {
            let Some(vm) = vm.upgrade() else { return };
            intake.go_on_during(deliver(&vm, answered)).await;
            continue;
        }
        let next_tick = intake.timer.map(|(_, at)| at);
        tokio::select! {
            open = intake.take() => if !open { return },
            () = until(next_tick) => {
                let Some(vm) = vm.upgrade() else { return };
                intake.go_on_during(tick(&vm)).await;
                // Measured from the end of the tick: a slow one is not made up for.
                intake.timer = intake.timer.map(|(period, _)| (period, Instant::now() + period));
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

impl<C: Future<Output = Answered>> Intake<C> {
    /// Takes an event or an answer. False once the VM is gone. Cancel safe.
    async fn take(&mut self) -> bool {
        tokio::select! {
            event = self.mailbox.recv() => match event {
                None => return false,
                Some(Event::Call { context, call_id, taken_back, future }) => {
                    self.calls.push((self.start)(context, call_id, taken_back, future));
                }
                Some(Event::TickPeriod(period)) => {
                    self.timer = period.map(|period| (period, Instant::now() + period));
                }
            },
            Some(answered) = self.calls.next() => self.answered.push_back(answered),
        }
        true
    }

    /// The VM may be suspended in a blocking call for long; the other calls run meanwhile.
    async fn go_on_during(&mut self, callback: impl Future<Output = ()>) {
        let mut callback = pin!(callback);
        loop {
            tokio::select! {
                biased;
                () = &mut callback => return,
                // The callback keeps the VM, so there is more to come.
                _ = self.take() => {}
            }
        }
    }
}

/// The call's own answer, or `cancelled` once it was taken back.
async fn answer(
    context: u32,
    call_id: u32,
    taken_back: oneshot::Receiver<()>,
    future: CallFuture,
) -> Answered {
    let bytes = tokio::select! {
        biased;
        bytes = future => bytes,
        _ = taken_back => Response::from(CallError::new(Code::Cancelled, "the call was taken back")).encode(),
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
