//! The part of WASI preview 1 that guests' standard libraries need to start: log lines, clocks, randomness,
//! an empty environment. There are no files and no sockets; asking for them is an error to the guest.
//!
//! Errno values are WASI's. Source: proxy-wasm-cpp-host's `exports.cc`, and the types of preview 1.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use wasmtime::{Caller, Error, Linker, Result};

use super::log::{GuestLevel, emit, unix_nanoseconds};
use crate::guest_memory::Guest;
use crate::limits::{LOG_BYTES_MAX, RANDOM_BYTES_MAX};
use crate::vm_data::VmData;

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const INVAL: u32 = 28;
const IO: u32 = 29;
const NOENT: u32 = 44;
const NOSYS: u32 = 52;
const NOTSUP: u32 = 58;

pub(crate) fn link(linker: &mut Linker<VmData>, module: &str) -> Result<()> {
    linker.func_wrap(module, "fd_write", fd_write)?;
    linker.func_wrap(module, "fd_fdstat_get", fd_fdstat_get)?;
    linker.func_wrap(module, "clock_time_get", clock_time_get)?;
    linker.func_wrap(module, "clock_res_get", clock_res_get)?;
    linker.func_wrap(module, "random_get", random_get)?;
    linker.func_wrap(module, "environ_sizes_get", two_zeros)?;
    linker.func_wrap(module, "environ_get", |_: u32, _: u32| SUCCESS)?;
    linker.func_wrap(module, "args_sizes_get", two_zeros)?;
    linker.func_wrap(module, "args_get", |_: u32, _: u32| SUCCESS)?;
    linker.func_wrap(module, "proc_exit", |code: u32| -> Result<()> {
        Err(Error::msg(format!("the guest called proc_exit({code})")))
    })?;
    linker.func_wrap(module, "sched_yield", || SUCCESS)?;
    linker.func_wrap(module, "poll_oneoff", poll_oneoff)?;
    linker.func_wrap(module, "fd_close", |_: u32| SUCCESS)?;
    linker.func_wrap(module, "fd_seek", |_: u32, _: u64, _: u32, _: u32| SUCCESS)?;
    linker.func_wrap(module, "fd_read", |_: u32, _: u32, _: u32, _: u32| NOSYS)?;
    linker.func_wrap(module, "fd_fdstat_set_flags", |_: u32, _: u32| NOSYS)?;
    linker.func_wrap(module, "fd_filestat_get", |_: u32, _: u32| BADF)?;
    linker.func_wrap(module, "fd_prestat_get", |_: u32, _: u32| BADF)?;
    linker.func_wrap(module, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| NOSYS)?;
    linker.func_wrap(module, "fd_sync", |_: u32| SUCCESS)?;
    linker.func_wrap(module, "fd_datasync", |_: u32| SUCCESS)?;
    linker.func_wrap(module, "fd_tell", |_: u32, _: u32| BADF)?;
    linker.func_wrap(module, "fd_readdir", |_: u32, _: u32, _: u32, _: u64, _: u32| BADF)?;
    link_paths(linker, module)
}

#[expect(clippy::too_many_arguments, reason = "the types of WASI preview 1")]
fn path_open(_: u32, _: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32, _: u32) -> u32 {
    NOENT
}

fn link_paths(linker: &mut Linker<VmData>, module: &str) -> Result<()> {
    linker.func_wrap(module, "path_open", path_open)?;
    linker.func_wrap(module, "path_filestat_get", |_: u32, _: u32, _: u32, _: u32, _: u32| NOTSUP)?;
    linker.func_wrap(module, "path_create_directory", |_: u32, _: u32, _: u32| NOTSUP)?;
    linker.func_wrap(module, "path_remove_directory", |_: u32, _: u32, _: u32| NOTSUP)?;
    linker.func_wrap(module, "path_unlink_file", |_: u32, _: u32, _: u32| NOTSUP)?;
    linker.func_wrap(module, "path_readlink", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NOTSUP)?;
    linker.func_wrap(module, "path_rename", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NOTSUP)?;
    Ok(())
}

/// Standard output becomes log lines of level info, standard error of level error.
fn fd_write(
    mut caller: Caller<'_, VmData>,
    fd: u32,
    iovecs: u32,
    count: u32,
    written_cell: u32,
) -> Result<u32> {
    let level = match fd {
        1 => GuestLevel::Info,
        2 => GuestLevel::Error,
        _ => return Ok(BADF),
    };
    let mut guest = Guest::of(&mut caller)?;
    let Some(table_len) = count.checked_mul(8) else { return Ok(INVAL) };
    let mut line = Vec::new();
    let mut written = 0u32;
    for iovec in guest.bytes(iovecs, table_len, "fd_write: vectors")?.chunks_exact(8) {
        let (address, len) = iovec.split_at(4);
        let bytes = guest.bytes(u32_of(address), u32_of(len), "fd_write: bytes")?;
        // What is over the limit counts as written: a guest would try the rest again and again.
        let room = LOG_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        written = written.saturating_add(u32_of(len));
    }
    if !line.is_empty() {
        emit(&guest.data.plugin.name, level, &line);
    }
    guest.write_u32(written_cell, written, "fd_write: result")?;
    Ok(SUCCESS)
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_le_bytes).unwrap_or_default()
}

/// Standard output and error are character devices that can be written; Go looks at it when it starts.
fn fd_fdstat_get(mut caller: Caller<'_, VmData>, fd: u32, stat: u32) -> Result<u32> {
    if fd != 1 && fd != 2 {
        return Ok(BADF);
    }
    let mut bytes = [0u8; 24];
    bytes[0] = 2;
    bytes[8] = 64;
    Guest::of(&mut caller)?.write(stat, &bytes, "fd_fdstat_get: result")?;
    Ok(SUCCESS)
}

fn clock_time_get(
    mut caller: Caller<'_, VmData>,
    clock: u32,
    _precision: u64,
    time_cell: u32,
) -> Result<u32> {
    let nanoseconds = match clock {
        0 => unix_nanoseconds(SystemTime::now()),
        1 => monotonic_nanoseconds(),
        _ => return Ok(NOTSUP),
    };
    Guest::of(&mut caller)?.write_u64(time_cell, nanoseconds, "clock_time_get: result")?;
    Ok(SUCCESS)
}

/// Counted from the first question, so that it tells nothing about the machine.
fn monotonic_nanoseconds() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

fn clock_res_get(mut caller: Caller<'_, VmData>, clock: u32, resolution_cell: u32) -> Result<u32> {
    if clock > 1 {
        return Ok(NOTSUP);
    }
    Guest::of(&mut caller)?.write_u64(resolution_cell, 1, "clock_res_get: result")?;
    Ok(SUCCESS)
}

fn random_get(mut caller: Caller<'_, VmData>, address: u32, len: u32) -> Result<u32> {
    if len > RANDOM_BYTES_MAX {
        return Ok(INVAL);
    }
    let mut bytes = vec![0; len as usize];
    if getrandom::fill(&mut bytes).is_err() {
        return Ok(IO);
    }
    Guest::of(&mut caller)?.write(address, &bytes, "random_get: result")?;
    Ok(SUCCESS)
}

/// No arguments and no environment: two zero counts.
fn two_zeros(mut caller: Caller<'_, VmData>, count_cell: u32, size_cell: u32) -> Result<u32> {
    let mut guest = Guest::of(&mut caller)?;
    guest.write_u32(count_cell, 0, "sizes: count")?;
    guest.write_u32(size_cell, 0, "sizes: bytes")?;
    Ok(SUCCESS)
}

/// Nothing ever happens, but the call succeeds: Go's runtime stops if it does not.
fn poll_oneoff(
    mut caller: Caller<'_, VmData>,
    _in: u32,
    _out: u32,
    _count: u32,
    events_cell: u32,
) -> Result<u32> {
    Guest::of(&mut caller)?.write_u32(events_cell, 0, "poll_oneoff: result")?;
    Ok(SUCCESS)
}
