//! `proxy_call_foreign_function`: the way to everything that is not in the ABI.
//!
//! Statuses are the ABI's alone (unknown function, undecodable payload, payload too large); whatever a call comes
//! to is an encoded `Response` with status OK. See `agw_wire`.

use std::sync::Arc;

use agw_foreign::{CallError, CallFuture, Code, Dispatch, Style};
use agw_wire::{Answer, Response};
use bytes::Bytes;
use wasmtime::{AsContextMut, Caller, Linker, Result, Trap};

use super::{Sized, keep, sized};
use crate::cpu_budget::Suspended;
use crate::guest_memory::Guest;
use crate::limits::FOREIGN_BYTES_MAX;
use crate::shim;
use crate::status::Status;
use crate::vm_data::{Event, VmData};

const NAME: &str = "proxy_call_foreign_function";

pub(crate) fn link(linker: &mut Linker<VmData>, suspending: bool) -> Result<()> {
    if suspending {
        linker.func_wrap_async(shim::HOST, NAME, |caller: Caller<'_, VmData>, args: Args| {
            Box::new(suspend(caller, args))
        })?;
    } else {
        linker.func_wrap(shim::HOST, NAME, |caller: Caller<'_, VmData>, a, b, c, d, e, f| {
            refuse_blocking(caller, (a, b, c, d, e, f))
        })?;
    }
    Ok(())
}

/// Name, its length, arguments, their length, and the cells for the result's address and size.
type Args = (u32, u32, u32, u32, u32, u32);

/// What is left to do after a call was taken.
enum Begun {
    Done(Status, Bytes),
    Wait(CallFuture),
}

/// In a VM that one stream has to itself, a blocking call suspends the guest. The time does not count as CPU time.
///
/// If the future is dropped while it waits, the guest unwinds and its VM is lost; the host's own callers never do
/// that while the process lives (see `Filter`).
async fn suspend(mut caller: Caller<'_, VmData>, args: Args) -> Result<Sized> {
    let (status, bytes) = match begin(&mut caller, args)? {
        Begun::Done(status, bytes) => (status, bytes),
        Begun::Wait(future) => {
            let (bytes, suspended) = run(future, caller.data().cpu.watch()).await;
            if let Some(suspended) = suspended {
                let ticks = caller.data_mut().cpu.resume(suspended).ok_or(Trap::Interrupt)?;
                caller.as_context_mut().set_epoch_deadline(ticks);
            }
            (Status::Ok, bytes.into())
        }
    };
    end(&mut caller, args, status, bytes)
}

/// The answer, and what was left of the CPU budget when the guest was suspended. A call that is answered without
/// a suspension is on the guest's account: a loop of such calls ends like any other.
async fn run(mut future: CallFuture, left: impl Fn() -> Suspended) -> (Vec<u8>, Option<Suspended>) {
    let mut suspended = None;
    let bytes = std::future::poll_fn(|cx| {
        let poll = future.as_mut().poll(cx);
        if poll.is_pending() && suspended.is_none() {
            suspended = Some(left());
        }
        poll
    })
    .await;
    (bytes, suspended)
}

/// In a shared VM every other stream would wait as well.
fn refuse_blocking(mut caller: Caller<'_, VmData>, args: Args) -> Result<Sized> {
    let (status, bytes) = match begin(&mut caller, args)? {
        Begun::Done(status, bytes) => (status, bytes),
        Begun::Wait(_) => {
            let plugin = &caller.data().plugin;
            tracing::warn!(
                plugin.name = &*plugin.name,
                "blocking foreign call in a shared VM refused: set vm.mode to exclusive, or call in callback style"
            );
            let error = CallError::new(
                Code::Invalid,
                "a blocking call needs vm.mode exclusive; or use callback style",
            );
            (Status::Ok, Response::from(error).encode().into())
        }
    };
    end(&mut caller, args, status, bytes)
}

/// Takes the call. A callback-style one is on its way when this returns.
fn begin(caller: &mut Caller<'_, VmData>, (name, name_len, payload, payload_len, ..): Args) -> Result<Begun> {
    let guest = Guest::of(caller)?;
    let name = guest.bytes(name, name_len, "proxy_call_foreign_function: name")?;
    let payload = guest.bytes(payload, payload_len, "proxy_call_foreign_function: arguments")?;
    let done = |status| Ok(Begun::Done(status, Bytes::new()));
    let Ok(name) = std::str::from_utf8(name) else { return done(Status::NotFound) };
    if payload.len() > FOREIGN_BYTES_MAX {
        return done(Status::BadArgument);
    }
    let (context, site) = guest.data.call_site();
    let access = Arc::clone(&guest.data.plugin.access);
    let dispatch = access.call(name, payload, site);
    if matches!(dispatch, Dispatch::Answer { .. } | Dispatch::Call { .. }) {
        guest.data.count_call();
    }
    Ok(match dispatch {
        Dispatch::NotFound => Begun::Done(Status::NotFound, Bytes::new()),
        Dispatch::Undecodable(error) => {
            tracing::warn!(plugin.name = &*guest.data.plugin.name, foreign.function = name, %error, "undecodable call");
            Begun::Done(Status::SerializationFailure, Bytes::new())
        }
        Dispatch::Cancel(call_id) => cancel(guest.data, call_id),
        // In either style: what is refused at once gets no callback.
        Dispatch::Answer { bytes, .. } => Begun::Done(Status::Ok, bytes.into()),
        Dispatch::Call { style: Style::Blocking, future } => Begun::Wait(future),
        Dispatch::Call { style: Style::Callback, future } => call_back(guest.data, context, future),
    })
}

/// The cancelled call still answers once, through its callback.
fn cancel(data: &mut VmData, call_id: u32) -> Begun {
    let response = if data.calls.cancel(call_id) {
        Response { answer: Answer::CallId(call_id), lease: 0 }
    } else {
        CallError::new(Code::Invalid, "no call of this id is under way").into()
    };
    Begun::Done(Status::Ok, response.encode().into())
}

/// Enters the call into the VM's table and hands it to the VM's pump.
fn call_back(data: &mut VmData, context: u32, future: CallFuture) -> Begun {
    let response = if !data.plugin.module.has_foreign_callback {
        CallError::new(Code::Invalid, "the module does not export proxy_on_foreign_function").into()
    } else {
        match data.calls.begin() {
            Ok((call_id, taken_back)) => {
                data.post(Event::Call { context, call_id, taken_back, future });
                Response { answer: Answer::CallId(call_id), lease: 0 }
            }
            Err(full) => CallError::new(Code::Overloaded, full.to_string()).into(),
        }
    };
    Begun::Done(Status::Ok, response.encode().into())
}

/// Gives the result to the guest; one that is not wanted (both cells 0) is thrown away.
fn end(caller: &mut Caller<'_, VmData>, args: Args, status: Status, bytes: Bytes) -> Result<Sized> {
    let (.., data_cell, size_cell) = args;
    if data_cell == 0 && size_cell == 0 {
        return sized(status);
    }
    let (_, size) = keep(&mut Guest::of(caller)?, bytes, data_cell, size_cell)?;
    Ok((status.into(), size))
}
