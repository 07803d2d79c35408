//! Access to a guest's linear memory. Every address and length comes from the guest and is checked here.
//!
//! A bad one traps the guest: there is no status for it that every SDK survives.

use wasmtime::{Caller, Error, Result};

use crate::vm_data::VmData;

/// A guest's memory together with the host's data of its VM.
pub(crate) struct Guest<'a> {
    pub(crate) memory: &'a mut [u8],
    pub(crate) data: &'a mut VmData,
}

impl<'a> Guest<'a> {
    /// The memory of the guest that called.
    pub(crate) fn of(caller: &'a mut Caller<'_, VmData>) -> Result<Self> {
        let memory = match caller.data().memory {
            Some(memory) => memory,
            // While the start section runs, the host has not seen the exports yet.
            None => match caller.get_export("memory") {
                Some(wasmtime::Extern::Memory(memory)) => memory,
                _ => return Err(Error::msg("the hostcall needs the guest's memory, which is not known yet")),
            },
        };
        let (memory, data) = memory.data_and_store_mut(caller);
        Ok(Guest { memory, data })
    }

    pub(crate) fn bytes(&self, address: u32, len: u32, what: &'static str) -> Result<&[u8]> {
        slice(self.memory, address, len, what)
    }

    pub(crate) fn write(&mut self, address: u32, bytes: &[u8], what: &'static str) -> Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| outside(what, address, u32::MAX))?;
        let range = range(address, len);
        let target = self.memory.get_mut(range).ok_or_else(|| outside(what, address, len))?;
        target.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn write_u32(&mut self, address: u32, value: u32, what: &'static str) -> Result<()> {
        self.write(address, &value.to_le_bytes(), what)
    }

    pub(crate) fn write_u64(&mut self, address: u32, value: u64, what: &'static str) -> Result<()> {
        self.write(address, &value.to_le_bytes(), what)
    }
}

/// The same for a caller that needs memory and data apart.
pub(crate) fn slice<'m>(memory: &'m [u8], address: u32, len: u32, what: &'static str) -> Result<&'m [u8]> {
    memory.get(range(address, len)).ok_or_else(|| outside(what, address, len))
}

fn range(address: u32, len: u32) -> std::ops::Range<usize> {
    let start = address as usize;
    start..start + len as usize
}

fn outside(what: &str, address: u32, len: u32) -> Error {
    Error::msg(format!("{what}: {len} bytes at {address:#x} are outside the guest's memory"))
}
