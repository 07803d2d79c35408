//! The headers of a head that has gone out. Filters go on reading them, and nobody changes them any more.

use http::HeaderMap;
use http::header::HeaderValue;

/// A copy in one piece: the map itself goes with the message, and a second one would cost an allocation for most of its
/// names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentHeaders {
    /// For each header the lengths of name and value, and then both.
    bytes: Vec<u8>,
}

/// Headers to be read, wherever they are.
#[derive(Clone, Copy)]
pub(crate) enum Fields<'h> {
    Map(&'h HeaderMap),
    Sent(&'h SentHeaders),
}

type Pair<'h> = (&'h [u8], &'h [u8]);

/// Bytes of most headers, their lengths included.
const TYPICAL: usize = 64;

// === impl SentHeaders ===

impl SentHeaders {
    /// Copies them, in their order.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut bytes = Vec::with_capacity(headers.len() * TYPICAL);
        for (name, value) in headers {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            // What arrives and what guests write is bounded far below.
            let lengths = (u32::try_from(name.len()), u32::try_from(value.len()));
            let (Ok(name_len), Ok(value_len)) = lengths else { continue };
            let lengths = u64::from(name_len) | u64::from(value_len) << 32;
            bytes.extend_from_slice(&lengths.to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        SentHeaders { bytes }
    }

    fn iter(&self) -> SentIter<'_> {
        SentIter { rest: &self.bytes }
    }
}

struct SentIter<'h> {
    rest: &'h [u8],
}

impl<'h> Iterator for SentIter<'h> {
    type Item = Pair<'h>;

    fn next(&mut self) -> Option<Pair<'h>> {
        let (lengths, rest) = self.rest.split_first_chunk::<8>()?;
        let lengths = u64::from_le_bytes(*lengths);
        let (name_len, value_len) = (lengths as u32 as usize, (lengths >> 32) as usize);
        let (name, rest) = rest.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.rest = rest;
        Some((name, value))
    }
}

// === impl Fields ===

impl<'h> Fields<'h> {
    /// Calls `f` with each name, in lower case, and its value.
    pub(crate) fn each(self, mut f: impl FnMut(&'h [u8], &'h [u8])) {
        match self {
            Fields::Map(map) => {
                map.iter().for_each(|(name, value)| f(name.as_str().as_bytes(), value.as_bytes()));
            }
            Fields::Sent(sent) => sent.iter().for_each(|(name, value)| f(name, value)),
        }
    }

    /// The first value of `name`, without regard to case.
    pub(crate) fn get(self, name: &str) -> Option<&'h [u8]> {
        match self {
            Fields::Map(map) => map.get(name).map(HeaderValue::as_bytes),
            Fields::Sent(sent) => sent.named(name).next(),
        }
    }

    /// All values of `name`, without regard to case.
    pub(crate) fn all(self, name: &str) -> Vec<&'h [u8]> {
        match self {
            Fields::Map(map) => map.get_all(name).iter().map(HeaderValue::as_bytes).collect(),
            Fields::Sent(sent) => sent.named(name).collect(),
        }
    }

    /// How many there are.
    pub(crate) fn len(self) -> usize {
        match self {
            Fields::Map(map) => map.len(),
            Fields::Sent(sent) => sent.iter().count(),
        }
    }
}

impl SentHeaders {
    fn named<'h>(&'h self, wanted: &str) -> impl Iterator<Item = &'h [u8]> {
        let named =
            move |(name, value): Pair<'h>| name.eq_ignore_ascii_case(wanted.as_bytes()).then_some(value);
        self.iter().filter_map(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_copy_reads_as_the_map_did() {
        let map =
            map(&[("host", "a"), ("x-empty", ""), ("accept", "b"), ("x-long", "value"), ("accept", "c")]);
        let sent = SentHeaders::of(&map);
        let read = |fields: Fields<'_>| {
            let mut pairs = Vec::new();
            fields.each(|name, value| pairs.push((name.to_vec(), value.to_vec())));
            let values = fields.all("Accept").concat();
            (
                pairs,
                fields.len(),
                fields.get("X-Long").map(<[u8]>::to_vec),
                fields.get("x-none").is_none(),
                values,
            )
        };
        assert_eq!(read(Fields::Sent(&sent)), read(Fields::Map(&map)));
        assert_eq!(read(Fields::Sent(&sent)).4, b"bc");
    }

    #[test]
    fn no_headers_are_no_bytes() {
        assert_eq!(SentHeaders::of(&HeaderMap::new()), SentHeaders::default());
        assert_eq!(Fields::Sent(&SentHeaders::default()).len(), 0);
    }
}
