//! As much of HPACK (RFC 7541) as a client needs that makes its mistakes on purpose: fields are written as literals,
//! byte by byte what the test says, and of answers only the status is read.

/// `:method: GET`, `:scheme: http`, `:path: /`, by index.
pub const GET_ROOT: [u8; 3] = [0x82, 0x86, 0x84];

/// A field that changes no table, neither name nor value checked nor compressed.
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x00], string(name.as_ref()), string(value.as_ref())].concat()
}

/// Fields one after another.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A request's own four, each a literal.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    fields(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")])
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = integer(0x00, 7, bytes.len());
    out.extend_from_slice(bytes);
    out
}

/// An integer behind `flags`, with a prefix of so many bits (5.1).
pub fn integer(flags: u8, prefix_bits: u8, value: usize) -> Vec<u8> {
    let max = (1_usize << prefix_bits) - 1;
    if value < max {
        return vec![flags | u8::try_from(value).unwrap_or(u8::MAX)];
    }
    let mut out = vec![flags | u8::try_from(max).unwrap_or(u8::MAX)];
    let mut rest = value - max;
    while rest >= 0x80 {
        out.push(0x80 | u8::try_from(rest & 0x7f).unwrap_or(0));
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
    out
}

/// The status of an answer's block, whose first field it is; the client must have said that its table has no place.
pub fn status(block: &[u8]) -> Option<u16> {
    match block {
        // A change of the table's size (6.3), which fits the prefix because ours is zero.
        [first, rest @ ..] if first & 0xe0 == 0x20 => status(rest),
        // One of the static table's (Appendix A).
        [first @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500].get(usize::from(first - 0x88)).copied()
        }
        // A literal whose name is `:status` by index: with, without and never indexed.
        [0x48 | 0x08 | 0x18, length, rest @ ..] => {
            let value = rest.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 {
                std::str::from_utf8(value).ok()?.parse().ok()
            } else {
                huffman_digits(value)
            }
        }
        _ => None,
    }
}

/// Three digits: `0` to `2` have codes of five bits, the others of six.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: usize, start: u16| -> Option<u16> {
        (0..count).try_fold(start, |code, _| Some(code << 1 | bits.next()?))
    };
    let mut number = 0;
    for _ in 0..3 {
        let five = take(5, 0)?;
        let digit = if five < 3 { five } else { take(1, five)?.checked_sub(0b01_1001)?.checked_add(3)? };
        number = number * 10 + Some(digit).filter(|digit| *digit < 10)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        assert_eq!(status(&[0x20, 0x88]), Some(200));
        assert_eq!(status(&[0x8d]), Some(404));
        assert_eq!(status(&[0x08, 3, b'4', b'3', b'1']), Some(431));
        // RFC 7541, C.6.1: 302.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x40]), None);
    }

    #[test]
    fn integers_are_written_as_in_the_examples() {
        // RFC 7541, C.1.
        assert_eq!(integer(0, 5, 10), [0b0_1010]);
        assert_eq!(integer(0, 5, 1337), [0b1_1111, 0b1001_1010, 0b0000_1010]);
        assert_eq!(integer(0, 8, 42), [0b10_1010]);
    }
}
