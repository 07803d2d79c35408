//! As much of an HTTP/1.1 response as a load generator must understand.

/// What stands at the beginning of the bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More bytes must come.
    Incomplete,
    /// A whole response, and nothing after it.
    Whole {
        /// Its status.
        status: u16,
    },
    /// No load can go on after this.
    Broken(&'static str),
}

/// A head longer than this is no answer of anything measured here.
const HEAD_MAX: usize = 16 * 1024;

/// Reads one response with a content length. Chunked bodies are refused: the upstream sends none, and a proxy that
/// makes some is not doing the same work.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut lines = Lines { rest: bytes };
    let Some(first) = lines.next() else { return incomplete(bytes) };
    let Some(status) = status(first) else { return Parsed::Broken("not an HTTP/1.1 status line") };
    let mut length = None;
    for line in lines.by_ref() {
        if line.is_empty() {
            return whole(status, length, lines.rest.len());
        }
        if let Some(value) = field(line, b"content-length") {
            length = std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
        } else if field(line, b"transfer-encoding").is_some() {
            return Parsed::Broken("the answer is chunked");
        } else if field(line, b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close")) {
            return Parsed::Broken("the answer closes the connection");
        }
    }
    incomplete(bytes)
}

fn incomplete(bytes: &[u8]) -> Parsed {
    if bytes.len() > HEAD_MAX { Parsed::Broken("the head has no end") } else { Parsed::Incomplete }
}

fn whole(status: u16, length: Option<usize>, body: usize) -> Parsed {
    match length {
        None => Parsed::Broken("the answer has no content length"),
        Some(length) if body < length => Parsed::Incomplete,
        Some(length) if body > length => Parsed::Broken("there is more than was asked for"),
        Some(_) => Parsed::Whole { status },
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let digits = line.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The value of a header, if the line is that header. `name` is in lower case.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // The length settles it for nearly every line.
    if line.get(name.len()) != Some(&b':') {
        return None;
    }
    let (found, value) = line.split_at(name.len());
    found.eq_ignore_ascii_case(name).then(|| value[1..].trim_ascii())
}

/// Lines that end in CRLF, without it.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nserver: x\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn a_response_is_whole_with_its_last_byte_and_not_before() {
        assert_eq!(parse(OK), Parsed::Whole { status: 200 });
        for end in 0..OK.len() {
            assert_eq!(parse(&OK[..end]), Parsed::Incomplete, "after {end} bytes");
        }
    }

    #[test]
    fn other_statuses_are_told() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(parse(answer), Parsed::Whole { status: 503 });
    }

    #[test]
    fn what_would_spoil_the_count_is_broken() {
        let broken: &[&[u8]] = &[
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.1 2x0 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: no\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc",
        ];
        for bytes in broken {
            assert!(matches!(parse(bytes), Parsed::Broken(_)), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(matches!(parse(&[b'x'; HEAD_MAX + 1]), Parsed::Broken(_)));
    }
}
