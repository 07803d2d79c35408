//! Header maps: heads and trailers of request and response.

use bytes::Bytes;
use wasmtime::{Caller, Linker, Result};

use super::{ENV, Sized, keep, sized};
use crate::guest_memory::{Guest, slice};
use crate::header_map::{Access, HeaderView, Reading};
use crate::pairs;
use crate::shim;
use crate::status::Status;
use crate::vm_data::VmData;

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(shim::HOST, "proxy_get_header_map_pairs", proxy_get_header_map_pairs)?;
    linker.func_wrap(shim::HOST, "proxy_get_header_map_value", proxy_get_header_map_value)?;
    linker.func_wrap(ENV, "proxy_get_header_map_size", proxy_get_header_map_size)?;
    linker.func_wrap(ENV, "proxy_set_header_map_pairs", proxy_set_header_map_pairs)?;
    linker.func_wrap(
        ENV,
        "proxy_add_header_map_value",
        |caller: Caller<'_, VmData>, map, k, kl, v, vl| {
            change(caller, map, k, kl, Some((v, vl)), |view, key, value| view.append(key, value))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_replace_header_map_value",
        |caller: Caller<'_, VmData>, map, k, kl, v, vl| {
            change(caller, map, k, kl, Some((v, vl)), |view, key, value| view.replace(key, value))
        },
    )?;
    linker.func_wrap(ENV, "proxy_remove_header_map_value", |caller: Caller<'_, VmData>, map, k, kl| {
        change(caller, map, k, kl, None, |view, key, _| {
            view.remove(key);
            Ok(())
        })
    })?;
    Ok(())
}

fn proxy_get_header_map_pairs(
    mut caller: Caller<'_, VmData>,
    map: u32,
    data_cell: u32,
    size_cell: u32,
) -> Result<Sized> {
    let mut guest = Guest::of(&mut caller)?;
    let bytes = read(guest.data, map, |view| pairs::encode(view.pairs().into_iter()));
    match bytes {
        Ok(bytes) => keep(&mut guest, bytes.unwrap_or_default().into(), data_cell, size_cell),
        Err(status) => sized(status),
    }
}

/// Envoy gives the first value of a repeated header, and so does this.
fn proxy_get_header_map_value(
    mut caller: Caller<'_, VmData>,
    map: u32,
    key: u32,
    key_len: u32,
    data_cell: u32,
    size_cell: u32,
) -> Result<Sized> {
    let mut guest = Guest::of(&mut caller)?;
    let key = slice(guest.memory, key, key_len, "proxy_get_header_map_value: key")?;
    let value = read(guest.data, map, |view| view.get(key).map(Bytes::copy_from_slice));
    match value.map(Option::flatten) {
        Ok(Some(value)) => keep(&mut guest, value, data_cell, size_cell),
        Ok(None) => sized(Status::NotFound),
        Err(status) => sized(status),
    }
}

/// The size is that of the serialized map in bytes, as in Envoy.
fn proxy_get_header_map_size(mut caller: Caller<'_, VmData>, map: u32, size_cell: u32) -> Result<u32> {
    let mut guest = Guest::of(&mut caller)?;
    let size =
        read(guest.data, map, |view| view.pairs().iter().map(|(k, v)| k.len() + v.len()).sum::<usize>());
    match size {
        Ok(size) => {
            let size = u32::try_from(size.unwrap_or_default()).unwrap_or(u32::MAX);
            guest.write_u32(size_cell, size, "proxy_get_header_map_size: result")?;
            Ok(Status::Ok.into())
        }
        Err(status) => Ok(status.into()),
    }
}

fn proxy_set_header_map_pairs(
    mut caller: Caller<'_, VmData>,
    map: u32,
    address: u32,
    len: u32,
) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let bytes = slice(guest.memory, address, len, "proxy_set_header_map_pairs: pairs")?;
    let Some(pairs) = pairs::decode(bytes) else { return Ok(Status::BadArgument.into()) };
    write(guest.data, map, "proxy_set_header_map_pairs", |view| view.set_all(&pairs))
}

/// Applies one change of one header.
fn change(
    mut caller: Caller<'_, VmData>,
    map: u32,
    key: u32,
    key_len: u32,
    value: Option<(u32, u32)>,
    apply: impl FnOnce(&mut HeaderView<'_>, &[u8], &[u8]) -> std::result::Result<(), &'static str>,
) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let key = slice(guest.memory, key, key_len, "header key")?;
    let value = match value {
        Some((address, len)) => slice(guest.memory, address, len, "header value")?,
        None => &[],
    };
    write(guest.data, map, "header change", |view| apply(view, key, value))
}

/// Reads a map; `Ok(None)` is a map that is legal but not there now.
fn read<R>(
    data: &VmData,
    map: u32,
    f: impl FnOnce(&Reading<'_>) -> R,
) -> std::result::Result<Option<R>, Status> {
    let Some(context) = data.stream() else {
        return if map <= 7 { Ok(None) } else { Err(Status::BadArgument) };
    };
    let state = context.stream.state();
    let reading = Reading::of(&state, map).map_err(|_| Status::BadArgument)?;
    Ok(reading.map(|map| f(&map)))
}

/// Changes a map. A change that comes too late, or of a map that is not there, has no effect and is logged: the
/// Rust SDK would trap on any status but OK. A change that HTTP cannot carry is `BAD_ARGUMENT`.
fn write(
    data: &VmData,
    map: u32,
    call: &str,
    f: impl FnOnce(&mut HeaderView<'_>) -> std::result::Result<(), &'static str>,
) -> Result<u32> {
    let ignored = |why: &str| {
        tracing::warn!(plugin.name = &*data.plugin.name, map, "{call} has no effect: {why}");
        Ok(Status::Ok.into())
    };
    let Some(context) = data.stream() else { return ignored("no stream is in effect") };
    let mut state = context.stream.state();
    let outcome = match HeaderView::of(&mut state, map) {
        Access::Unknown => return Ok(Status::BadArgument.into()),
        Access::Absent => return ignored("the map is not there in this phase"),
        Access::ReadOnly => return ignored("its bytes have gone out already"),
        Access::Writable(mut view) => f(&mut view),
    };
    if let Err(reason) = outcome {
        tracing::warn!(plugin.name = &*data.plugin.name, map, "{call} refused: {reason}");
        return Ok(Status::BadArgument.into());
    }
    if map == 0 {
        state.route_stale = true;
    }
    Ok(Status::Ok.into())
}
