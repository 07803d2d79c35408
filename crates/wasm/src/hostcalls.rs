//! Every function that a guest can import, by module: the ABI's in `env`, the shim's in `agw`, WASI's.
//!
//! A hostcall runs while its guest waits: none blocks, none enters the guest. Only `proxy_call_foreign_function`
//! may suspend, and only in a VM that one stream has to itself.

pub(crate) mod buffer;
pub(crate) mod callout;
pub(crate) mod foreign;
pub(crate) mod headers;
pub(crate) mod lifecycle;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod property;
pub(crate) mod shared_data;
pub(crate) mod stream;
pub(crate) mod wasi;

use bytes::Bytes;
use wasmtime::{Caller, Engine, Error, Linker, Result};

use crate::guest_memory::Guest;
use crate::shim;
use crate::status::Status;
use crate::vm_data::{Kept, VmData};

/// Import module of the ABI.
pub(crate) const ENV: &str = "env";

/// What the shim's host functions return: status, and how many bytes wait for `take`.
pub(crate) type Sized = (u32, u32);

/// All host functions. With `suspending`, a blocking foreign call suspends the guest; without, it is refused.
pub(crate) fn linker(engine: &Engine, suspending: bool) -> Result<Linker<VmData>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(shim::HOST, shim::TAKE, take)?;
    buffer::link(&mut linker)?;
    callout::link(&mut linker)?;
    foreign::link(&mut linker, suspending)?;
    headers::link(&mut linker)?;
    lifecycle::link(&mut linker)?;
    log::link(&mut linker)?;
    metrics::link(&mut linker)?;
    property::link(&mut linker)?;
    shared_data::link(&mut linker)?;
    stream::link(&mut linker)?;
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        wasi::link(&mut linker, module)?;
    }
    Ok(linker)
}

/// A result without bytes.
pub(crate) fn sized(status: Status) -> Result<Sized> {
    Ok((status.into(), 0))
}

/// Keeps `bytes` until the shim has allocated for them; an empty result is written at once as address 0, size 0.
pub(crate) fn keep(guest: &mut Guest<'_>, bytes: Bytes, data_cell: u32, size_cell: u32) -> Result<Sized> {
    if guest.data.kept.is_some() {
        return Err(Error::msg(
            "a hostcall that returns bytes was made while the guest allocates for another",
        ));
    }
    if bytes.is_empty() {
        guest.write_u32(data_cell, 0, "address of the result")?;
        guest.write_u32(size_cell, 0, "size of the result")?;
        return sized(Status::Ok);
    }
    let size =
        u32::try_from(bytes.len()).map_err(|_| Error::msg("the result is larger than wasm can address"))?;
    guest.data.kept = Some(Kept { bytes, data_cell, size_cell });
    Ok((Status::Ok.into(), size))
}

/// Copies the kept bytes to `address`, which the guest's allocator returned; the guest owns them from here on.
fn take(mut caller: Caller<'_, VmData>, address: u32) -> Result<u32> {
    let mut guest = Guest::of(&mut caller)?;
    let Some(kept) = guest.data.kept.take() else {
        return Err(Error::msg("the guest called the shim's `take` by itself"));
    };
    if address == 0 {
        return Err(Error::msg(format!(
            "the guest's allocator has no memory for {} bytes",
            kept.bytes.len()
        )));
    }
    guest.write(address, &kept.bytes, "allocated result")?;
    guest.write_u32(kept.data_cell, address, "address of the result")?;
    guest.write_u32(kept.size_cell, kept.bytes.len() as u32, "size of the result")?;
    Ok(Status::Ok.into())
}
