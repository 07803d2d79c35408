//! The name in an authority.

use crate::limits::HOST_BYTES_MAX;

/// Calls `find` with the host of `authority` in lower case, without port and without the dot of the DNS root: nothing
/// else tells `a.example.` from `a.example`. A name that is longer than any in DNS matches nothing.
pub(super) fn with_name<T>(authority: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let host = host_of(authority);
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > HOST_BYTES_MAX {
        return None;
    }
    if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return find(name);
    }
    let mut lower = [0; HOST_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    find(std::str::from_utf8(lower).ok()?)
}

/// The host part of `authority`: its port is left out. An IPv6 address keeps its brackets, as in the configuration.
pub(super) fn host_of(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or(authority)
}
