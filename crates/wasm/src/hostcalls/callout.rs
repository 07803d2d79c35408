//! Imports of a later step: HTTP and gRPC callouts and shared queues. They link, because a plain Rust filter
//! imports them whatever it uses, and answer with a status that the SDKs survive.

use std::sync::atomic::Ordering;

use wasmtime::{Caller, Linker, Result};

use super::{ENV, Sized, sized};
use crate::guest_memory::Guest;
use crate::shim;
use crate::status::Status;
use crate::vm_data::VmData;

/// All of them: what a module calls in vain.
pub(crate) const FAILING: [&str; 10] = [
    "proxy_http_call",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_send",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
];

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_http_call", http_call)?;
    linker.func_wrap(ENV, "proxy_grpc_call", grpc_call)?;
    linker.func_wrap(ENV, "proxy_grpc_stream", grpc_stream)?;
    linker.func_wrap(
        ENV,
        "proxy_grpc_send",
        |caller: Caller<'_, VmData>, _: u32, _: u32, _: u32, _: u32| {
            missing(&caller, "proxy_grpc_send", Status::NotFound)
        },
    )?;
    linker.func_wrap(ENV, "proxy_grpc_cancel", |caller: Caller<'_, VmData>, _: u32| {
        missing(&caller, "proxy_grpc_cancel", Status::NotFound)
    })?;
    linker.func_wrap(ENV, "proxy_grpc_close", |caller: Caller<'_, VmData>, _: u32| {
        missing(&caller, "proxy_grpc_close", Status::NotFound)
    })?;
    linker.func_wrap(ENV, "proxy_register_shared_queue", register_shared_queue)?;
    linker.func_wrap(ENV, "proxy_resolve_shared_queue", resolve_shared_queue)?;
    linker.func_wrap(
        ENV,
        "proxy_enqueue_shared_queue",
        |caller: Caller<'_, VmData>, _: u32, _: u32, _: u32| {
            missing(&caller, "proxy_enqueue_shared_queue", Status::NotFound)
        },
    )?;
    linker.func_wrap(shim::HOST, "proxy_dequeue_shared_queue", dequeue_shared_queue)?;
    Ok(())
}

/// Says once for each plugin that a function is not there yet.
fn missing(caller: &Caller<'_, VmData>, name: &'static str, status: Status) -> Result<u32> {
    let plugin = &caller.data().plugin;
    if !plugin.missing_told.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            plugin.name = &*plugin.name,
            "{name} is not supported yet: HTTP and gRPC callouts and shared queues fail in this plugin"
        );
    }
    Ok(status.into())
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
fn http_call(
    caller: Caller<'_, VmData>,
    _upstream: u32,
    _upstream_len: u32,
    _headers: u32,
    _headers_len: u32,
    _body: u32,
    _body_len: u32,
    _trailers: u32,
    _trailers_len: u32,
    _timeout: u32,
    _call_id: u32,
) -> Result<u32> {
    missing(&caller, "proxy_http_call", Status::InternalFailure)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
fn grpc_call(
    caller: Caller<'_, VmData>,
    _upstream: u32,
    _upstream_len: u32,
    _service: u32,
    _service_len: u32,
    _method: u32,
    _method_len: u32,
    _metadata: u32,
    _metadata_len: u32,
    _message: u32,
    _message_len: u32,
    _timeout: u32,
    _call_id: u32,
) -> Result<u32> {
    missing(&caller, "proxy_grpc_call", Status::InternalFailure)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own signature")]
fn grpc_stream(
    caller: Caller<'_, VmData>,
    _upstream: u32,
    _upstream_len: u32,
    _service: u32,
    _service_len: u32,
    _method: u32,
    _method_len: u32,
    _metadata: u32,
    _metadata_len: u32,
    _stream_id: u32,
) -> Result<u32> {
    missing(&caller, "proxy_grpc_stream", Status::InternalFailure)
}

/// Registering must succeed, or the Rust SDK traps; the queue stays empty for ever.
fn register_shared_queue(
    mut caller: Caller<'_, VmData>,
    _name: u32,
    _name_len: u32,
    id_cell: u32,
) -> Result<u32> {
    missing(&caller, "proxy_register_shared_queue", Status::Ok)?;
    Guest::of(&mut caller)?.write_u32(id_cell, 1, "proxy_register_shared_queue: id")?;
    Ok(Status::Ok.into())
}

fn resolve_shared_queue(
    caller: Caller<'_, VmData>,
    _vm_id: u32,
    _vm_id_len: u32,
    _name: u32,
    _name_len: u32,
    _id: u32,
) -> Result<u32> {
    missing(&caller, "proxy_resolve_shared_queue", Status::NotFound)
}

fn dequeue_shared_queue(
    caller: Caller<'_, VmData>,
    _id: u32,
    _data_cell: u32,
    _size_cell: u32,
) -> Result<Sized> {
    missing(&caller, "proxy_dequeue_shared_queue", Status::Empty)?;
    sized(Status::Empty)
}
