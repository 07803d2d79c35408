//! Buffers: bodies, configurations, call data.

use bytes::Bytes;
use wasmtime::{Caller, Linker, Result};

use super::{ENV, Sized, keep, sized};
use crate::context::Direction;
use crate::guest_memory::{Guest, slice};
use crate::limits::BODY_BYTES_MAX;
use crate::shim;
use crate::status::Status;
use crate::vm_data::{Stage, VmData};

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(shim::HOST, "proxy_get_buffer_bytes", proxy_get_buffer_bytes)?;
    linker.func_wrap(ENV, "proxy_get_buffer_status", proxy_get_buffer_status)?;
    linker.func_wrap(ENV, "proxy_set_buffer_bytes", proxy_set_buffer_bytes)?;
    Ok(())
}

/// A buffer that a guest can name.
enum Buffer {
    Body(Direction),
    /// Bytes that the guest can only read.
    Fixed(Bytes),
    /// Known to the ABI, but nothing is in it now.
    Unavailable,
    /// Not of the ABI.
    Unknown,
}

impl Buffer {
    /// Source: proxy-wasm ABI 0.2.1, buffer types 0 to 8.
    fn find(data: &VmData, buffer_type: u32) -> Buffer {
        match buffer_type {
            0 => Buffer::Body(Direction::Request),
            1 => Buffer::Body(Direction::Response),
            2..=5 => Buffer::Unavailable,
            6 => Buffer::Fixed(data.plugin.vm_configuration.clone()),
            7 if matches!(data.stage, Stage::Starting | Stage::Configure) => {
                Buffer::Fixed(data.plugin.configuration.clone())
            }
            7 => Buffer::Unavailable,
            8 if data.call_data.is_empty() => Buffer::Unavailable,
            8 => Buffer::Fixed(data.call_data.clone()),
            _ => Buffer::Unknown,
        }
    }
}

fn proxy_get_buffer_bytes(
    mut caller: Caller<'_, VmData>,
    buffer_type: u32,
    start: u32,
    max: u32,
    data_cell: u32,
    size_cell: u32,
) -> Result<Sized> {
    let mut guest = Guest::of(&mut caller)?;
    let (start, max) = (start as usize, max as usize);
    let bytes = match Buffer::find(guest.data, buffer_type) {
        Buffer::Body(direction) => {
            let Some(context) = guest.data.stream() else { return sized(Status::NotFound) };
            let mut state = context.state();
            let held = state.direction(direction);
            if !held.body_visible {
                return sized(Status::NotFound);
            }
            held.body.range(start, max)
        }
        Buffer::Fixed(bytes) => {
            let start = start.min(bytes.len());
            bytes.slice(start..start + max.min(bytes.len() - start))
        }
        Buffer::Unavailable => return sized(Status::NotFound),
        // The Rust SDK survives 0 and 1 only here, and cannot name an unknown buffer.
        Buffer::Unknown => return sized(Status::BadArgument),
    };
    keep(&mut guest, bytes, data_cell, size_cell)
}

fn proxy_get_buffer_status(
    mut caller: Caller<'_, VmData>,
    buffer_type: u32,
    len_cell: u32,
    flags_cell: u32,
) -> Result<u32> {
    let mut guest = Guest::of(&mut caller)?;
    let len = match Buffer::find(guest.data, buffer_type) {
        Buffer::Body(direction) => match guest.data.stream() {
            Some(context) => {
                let mut state = context.state();
                let held = state.direction(direction);
                if !held.body_visible {
                    return Ok(Status::NotFound.into());
                }
                held.body.len()
            }
            None => return Ok(Status::NotFound.into()),
        },
        Buffer::Fixed(bytes) => bytes.len(),
        Buffer::Unavailable => return Ok(Status::NotFound.into()),
        Buffer::Unknown => return Ok(Status::BadArgument.into()),
    };
    guest.write_u32(len_cell, u32::try_from(len).unwrap_or(u32::MAX), "proxy_get_buffer_status: length")?;
    guest.write_u32(flags_cell, 0, "proxy_get_buffer_status: flags")?;
    Ok(Status::Ok.into())
}

fn proxy_set_buffer_bytes(
    mut caller: Caller<'_, VmData>,
    buffer_type: u32,
    start: u32,
    len: u32,
    address: u32,
    size: u32,
) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let value = slice(guest.memory, address, size, "proxy_set_buffer_bytes: value")?;
    let Buffer::Body(direction) = Buffer::find(guest.data, buffer_type) else {
        return Ok(Status::BadArgument.into());
    };
    let Some(context) = guest.data.stream() else { return Ok(Status::NotFound.into()) };
    let mut state = context.state();
    let held = state.direction(direction);
    if !held.body_visible {
        return Ok(Status::NotFound.into());
    }
    if held.body.len() + value.len() > BODY_BYTES_MAX {
        tracing::error!(plugin.name = &*guest.data.plugin.name, "the body is full: {BODY_BYTES_MAX} bytes");
        return Ok(Status::InternalFailure.into());
    }
    held.body.splice(start as usize, len as usize, value);
    Ok(Status::Ok.into())
}
