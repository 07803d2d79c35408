//! Shared data: a map over all VMs of a plugin, with compare-and-swap.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::{Caller, Linker, Result};

use super::{ENV, Sized, keep, sized};
use crate::guest_memory::{Guest, slice};
use crate::limits::SHARED_DATA_BYTES_MAX;
use crate::shim;
use crate::status::Status;
use crate::vm_data::VmData;

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(shim::HOST, "proxy_get_shared_data", get)?;
    linker.func_wrap(ENV, "proxy_set_shared_data", set)?;
    Ok(())
}

/// One plugin's shared data. The lock is held for a look-up or an insertion, never longer.
#[derive(Default)]
pub(crate) struct SharedData {
    map: Mutex<SharedMap>,
}

#[derive(Default)]
struct SharedMap {
    values: HashMap<Vec<u8>, (Bytes, u32)>,
    bytes: usize,
    last_cas: u32,
}

/// Why a write failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    CasMismatch,
    Full,
}

impl SharedData {
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        self.map.lock().values.get(key).cloned()
    }

    /// `cas` 0 writes in any case; another one only over the value that was read with it, or where there is none.
    pub(crate) fn set(&self, key: &[u8], value: Bytes, cas: u32) -> std::result::Result<(), SetError> {
        let mut map = self.map.lock();
        let (old_bytes, old_cas) = match map.values.get(key) {
            Some((old, old_cas)) => (key.len() + old.len(), *old_cas),
            None => (0, cas),
        };
        if cas != 0 && cas != old_cas {
            return Err(SetError::CasMismatch);
        }
        let bytes = map.bytes - old_bytes + key.len() + value.len();
        if bytes > SHARED_DATA_BYTES_MAX {
            return Err(SetError::Full);
        }
        map.bytes = bytes;
        // Zero means "no condition", so it is never handed out.
        map.last_cas = map.last_cas.checked_add(1).unwrap_or(1);
        let cas = map.last_cas;
        map.values.insert(key.to_vec(), (value, cas));
        Ok(())
    }
}

fn get(
    mut caller: Caller<'_, VmData>,
    key: u32,
    key_len: u32,
    data_cell: u32,
    size_cell: u32,
    cas_cell: u32,
) -> Result<Sized> {
    let mut guest = Guest::of(&mut caller)?;
    let key = slice(guest.memory, key, key_len, "proxy_get_shared_data: key")?;
    let Some((value, cas)) = guest.data.plugin.shared_data.get(key) else { return sized(Status::NotFound) };
    guest.write_u32(cas_cell, cas, "proxy_get_shared_data: cas")?;
    keep(&mut guest, value, data_cell, size_cell)
}

fn set(
    mut caller: Caller<'_, VmData>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    cas: u32,
) -> Result<u32> {
    let guest = Guest::of(&mut caller)?;
    let key = slice(guest.memory, key, key_len, "proxy_set_shared_data: key")?;
    let value = slice(guest.memory, value, value_len, "proxy_set_shared_data: value")?;
    let outcome = guest.data.plugin.shared_data.set(key, Bytes::copy_from_slice(value), cas);
    Ok(match outcome {
        Ok(()) => Status::Ok,
        Err(SetError::CasMismatch) => Status::CasMismatch,
        Err(SetError::Full) => {
            tracing::error!(
                plugin.name = &*guest.data.plugin.name,
                "shared data is full: {SHARED_DATA_BYTES_MAX} bytes"
            );
            Status::InternalFailure
        }
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_cas_does_not_overwrite() {
        let data = SharedData::default();
        data.set(b"k", Bytes::from_static(b"1"), 0).unwrap();
        let (_, first) = data.get(b"k").unwrap();
        data.set(b"k", Bytes::from_static(b"2"), first).unwrap();
        assert_eq!(data.set(b"k", Bytes::from_static(b"3"), first), Err(SetError::CasMismatch));
        assert_eq!(data.get(b"k").unwrap().0, "2");
    }

    #[test]
    fn a_cas_for_a_key_that_is_not_there_is_stored() {
        let data = SharedData::default();
        data.set(b"k", Bytes::from_static(b"1"), 77).unwrap();
        assert_eq!(data.get(b"k").unwrap().0, "1");
    }

    #[test]
    fn the_bound_counts_what_is_there_and_frees_what_is_replaced() {
        let data = SharedData::default();
        let big = Bytes::from(vec![0; SHARED_DATA_BYTES_MAX - 1]);
        data.set(b"k", big.clone(), 0).unwrap();
        assert_eq!(data.set(b"l", Bytes::new(), 0), Err(SetError::Full));
        data.set(b"k", big, 0).unwrap();
        data.set(b"k", Bytes::new(), 0).unwrap();
        data.set(b"l", Bytes::new(), 0).unwrap();
    }
}
