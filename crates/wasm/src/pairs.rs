//! The ABI's serialized header map: a count, all lengths, then all keys and values, each closed by a NUL.
//!
//! Source: proxy-wasm ABI 0.2.1, "Serialized values".

use crate::limits::{PAIRS_BYTES_MAX, PAIRS_MAX};

/// Serializes pairs; an empty map is no bytes at all.
pub(crate) fn encode<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let (count, bytes) =
        pairs.clone().fold((0usize, 0usize), |(n, b), (k, v)| (n + 1, b + k.len() + v.len() + 10));
    if count == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(4 + bytes);
    put_u32(&mut out, count);
    for (key, value) in pairs.clone() {
        put_u32(&mut out, key.len());
        put_u32(&mut out, value.len());
    }
    for (key, value) in pairs {
        out.extend_from_slice(key);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
}

/// Reads pairs; `None` if the bytes are inconsistent or over a limit.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    if bytes.len() > PAIRS_BYTES_MAX {
        return None;
    }
    let (count, rest) = take_u32(bytes)?;
    if count > PAIRS_MAX || rest.len() < count.checked_mul(8)? {
        return None;
    }
    let (mut lengths, mut values) = rest.split_at(count * 8);
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (key_len, after_key) = take_u32(lengths)?;
        let (value_len, after_value) = take_u32(after_key)?;
        lengths = after_value;
        let key = take_text(&mut values, key_len)?;
        let value = take_text(&mut values, value_len)?;
        pairs.push((key, value));
    }
    values.is_empty().then_some(pairs)
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*head)).ok()?, rest))
}

fn take_text<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (text, rest) = bytes.split_at_checked(len)?;
    let (nul, rest) = rest.split_first()?;
    *bytes = rest;
    (*nul == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(pairs: &[(&[u8], &[u8])]) {
        let bytes = encode(pairs.iter().copied());
        assert_eq!(decode(&bytes).unwrap(), pairs);
    }

    #[test]
    fn pairs_survive_a_round_trip() {
        round_trip(&[]);
        round_trip(&[(b"a", b"")]);
        round_trip(&[(b":path", b"/"), (b"x", b"\xff\x00\x01"), (b"x", b"again")]);
    }

    #[test]
    fn an_empty_list_of_an_sdk_is_four_zero_bytes() {
        assert_eq!(decode(&[0, 0, 0, 0]).unwrap(), Vec::new());
    }

    #[test]
    fn bytes_cut_anywhere_are_refused() {
        let bytes = encode([(&b"key"[..], &b"value"[..]), (b"k", b"v")].into_iter());
        for end in 1..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode(&longer), None);
    }

    #[test]
    fn a_count_that_lies_is_refused_without_allocating_for_it() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), None);
        let mut bytes = vec![1, 0, 0, 0];
        bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(b"k\0v\0");
        assert_eq!(decode(&bytes), None);
    }
}
