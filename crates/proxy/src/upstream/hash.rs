//! Hashes of what requests are spread by.

/// FNV-1a, with its bits mixed once more, because keys that differ in their last bytes only would lie close together.
/// The same in every process, so that several gateways send a key to the same endpoint. It does not withstand keys
/// that were chosen to collide; those reach one endpoint, as equal keys do.
pub(crate) fn hash_of(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// The finalizer of splitmix64.
pub(super) fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
