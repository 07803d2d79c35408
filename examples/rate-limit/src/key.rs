//! From a request to the key that it is counted under.

use std::net::{IpAddr, SocketAddr};

use agw_sdk::put_decimal;
use sha2::{Digest, Sha256};

use crate::config::{Config, Source};

/// What of a request can be a key.
pub(crate) trait Request {
    /// The value of a header, whatever bytes it has.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// The client's address: `1.2.3.4:5678`, `[::1]:5678`, or without port.
    fn address(&self) -> Option<Vec<u8>>;
}

/// Longer keys are cut by hashing.
const KEY_BYTES_MAX: usize = 128;

/// What all keys of a policy begin with.
pub(crate) fn prefix(config: &Config) -> Vec<u8> {
    let mut prefix = b"rl1".to_vec();
    put_part(&mut prefix, b'n', config.name.as_bytes());
    put_part(&mut prefix, b'w', config.window.to_string().as_bytes());
    prefix
}

/// The Redis key of a request: the policy's [`prefix`] and what the first of `sources` says that the request has.
///
/// Every part has its length before it, so that no value can pose as another policy, source or value. The window
/// is part of the key: a counter that was started for another window has another expiry. Requests that have
/// none of the sources share one counter: leaving a header out must not be a way around the limit.
pub(crate) fn key(prefix: &[u8], sources: &[Source], request: &dyn Request) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + KEY_BYTES_MAX);
    key.extend_from_slice(prefix);
    let found = sources.iter().find_map(|source| Some((source, value(source, request)?)));
    match found {
        Some((Source::Header(name), value)) => {
            put_part(&mut key, b'h', name.as_bytes());
            put_part(&mut key, b'v', &value);
        }
        Some((Source::Cookie(name), value)) => {
            put_part(&mut key, b'c', name.as_bytes());
            put_part(&mut key, b'v', &value);
        }
        Some((Source::Address, value)) => put_part(&mut key, b'a', &value),
        Some((Source::Path, value)) => put_part(&mut key, b'p', &value),
        None => key.extend_from_slice(b":none"),
    }
    if key.len() > KEY_BYTES_MAX { hashed(&key) } else { key }
}

/// `:` kind length `:` bytes.
fn put_part(key: &mut Vec<u8>, kind: u8, part: &[u8]) {
    key.extend_from_slice(&[b':', kind]);
    put_decimal(key, part.len() as u64);
    key.push(b':');
    key.extend_from_slice(part);
}

/// A cryptographic hash, because clients choose the values: nobody shall find two that share a counter.
fn hashed(key: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut short = b"rl1#".to_vec();
    for byte in Sha256::digest(key) {
        short.push(DIGITS[usize::from(byte >> 4)]);
        short.push(DIGITS[usize::from(byte & 15)]);
    }
    short
}

/// The source's value in this request; an empty one is none.
fn value(source: &Source, request: &dyn Request) -> Option<Vec<u8>> {
    let value = match source {
        Source::Header(name) => request.header(name),
        Source::Cookie(name) => {
            request.header("cookie").and_then(|header| cookie(&header, name).map(<[u8]>::to_vec))
        }
        Source::Address => request.address().map(|address| client(&address)),
        Source::Path => request.header(":path").map(|path| without_query(&path).to_vec()),
    };
    value.filter(|value| !value.is_empty())
}

/// The value of a cookie in a `cookie` header.
fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let (found, value) = pair.split_at_checked(name.len())?;
        value.strip_prefix(b"=").filter(|_| found == name.as_bytes())
    })
}

fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or(path)
}

/// The address without its port. An IPv6 client owns a whole /64 and could change its address with every request,
/// so the network counts.
fn client(address: &[u8]) -> Vec<u8> {
    let parsed = std::str::from_utf8(address).ok().and_then(|text| {
        let address = text.parse::<SocketAddr>().map(|address| address.ip());
        address.or_else(|_| text.parse::<IpAddr>()).ok()
    });
    match parsed.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets()[..8].to_vec(),
        // A host with addresses of another kind, such as a Unix socket's path: take it as it is.
        None => address.to_vec(),
    }
}

#[cfg(test)]
mod tests;
