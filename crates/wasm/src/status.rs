//! Status codes of the ABI: only those that every SDK survives.

/// A hostcall's status. The Rust SDK's enum has no other values, so no other may be returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    SerializationFailure = 3,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
}

impl From<Status> for u32 {
    fn from(status: Status) -> u32 {
        status as u32
    }
}
