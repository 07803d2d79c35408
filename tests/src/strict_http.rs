//! A reader of HTTP/1.1 requests that takes only the one form that every other reader takes the same way.
//!
//! What a proxy sends is safe if this reader finds no defect in it: then no server, however it reads the doubtful
//! forms, finds another number of requests or another end of a body.

use std::fmt;

/// One request, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrictRequest {
    /// The method.
    pub method: String,
    /// The target as it stood in the request line.
    pub target: String,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// What came after the last chunk.
    pub trailers: Vec<(String, String)>,
}

/// What the bytes so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A request, and how many bytes it took.
    Whole(Box<StrictRequest>, usize),
    /// The beginning of one.
    Part,
    /// Something that servers may read in different ways, or not at all.
    Defect(Defect),
}

/// Why the bytes are no clean request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect(pub String);

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Fields = Vec<(String, String)>;

/// A part of the request and the bytes after it; `Ok(None)` if it is not whole yet.
type Step<'a, T> = Result<Option<(T, &'a [u8])>, Defect>;

/// Fields that must not stand in a trailer, because they say where a message ends or goes.
const NEVER_TRAILERS: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "te",
    "trailer",
    "content-type",
    "authorization",
];

// === impl StrictRequest ===

impl StrictRequest {
    /// The value of a header that stands there once; the empty string if it does not.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => "",
        }
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other == name)
    }
}

/// Reads the request at the beginning of `bytes`.
pub fn read_request(bytes: &[u8]) -> Reading {
    match request(bytes) {
        Ok(Some((request, rest))) => Reading::Whole(Box::new(request), bytes.len() - rest.len()),
        Ok(None) => Reading::Part,
        Err(defect) => Reading::Defect(defect),
    }
}

fn request(bytes: &[u8]) -> Step<'_, StrictRequest> {
    let Some((start, rest)) = line(bytes)? else { return Ok(None) };
    let (method, target) = request_line(start)?;
    let Some((headers, rest)) = fields(rest)? else { return Ok(None) };
    let mut request = StrictRequest { method, target, headers, body: Vec::new(), trailers: Vec::new() };
    let framing = framing(&request)?;
    let body = match framing {
        Framing::None => return Ok(Some((request, rest))),
        Framing::Length(length) => {
            rest.split_at_checked(length).map(|(body, rest)| ((body.to_vec(), Vec::new()), rest))
        }
        Framing::Chunked => chunks(rest)?,
    };
    Ok(body.map(|((body, trailers), rest)| {
        (request.body, request.trailers) = (body, trailers);
        (request, rest)
    }))
}

/// Up to CRLF, which is taken away. A CR or LF that is none is a defect.
fn line(bytes: &[u8]) -> Step<'_, &[u8]> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\r' || byte == b'\n') else { return Ok(None) };
    match &bytes[end..] {
        [b'\r'] => Ok(None),
        [b'\r', b'\n', rest @ ..] => Ok(Some((&bytes[..end], rest))),
        [b'\n', ..] => Err(defect("a bare LF", &bytes[..=end])),
        _ => Err(defect("a bare CR", &bytes[..=end])),
    }
}

fn request_line(line: &[u8]) -> Result<(String, String), Defect> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(b"HTTP/1.1"), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(defect("not `method target HTTP/1.1`", line));
    };
    if !is_token(method) {
        return Err(defect("the method is no token", line));
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(defect("the target has other than visible ASCII", line));
    }
    Ok((text(method), text(target)))
}

/// Lines until an empty one.
fn fields(mut bytes: &[u8]) -> Step<'_, Fields> {
    let mut fields = Vec::new();
    loop {
        let Some((line, rest)) = line(bytes)? else { return Ok(None) };
        bytes = rest;
        if line.is_empty() {
            return Ok(Some((fields, bytes)));
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return Err(defect("a header without colon", line));
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err(defect("a header's name is no token", line));
        }
        if value.iter().any(|&byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            return Err(defect("a control character in a header's value", line));
        }
        fields.push((text(name).to_ascii_lowercase(), text(value.trim_ascii())));
    }
}

enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn framing(request: &StrictRequest) -> Result<Framing, Defect> {
    let all = |name: &str| -> Vec<&str> {
        request.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    };
    if all("host").len() != 1 {
        return Err(defect("not one Host", request.target.as_bytes()));
    }
    let host = request.header("host");
    let odd = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte));
    if host.is_empty() || host.bytes().any(odd) {
        return Err(defect("Host is no host and port", host.as_bytes()));
    }
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => Ok(Framing::None),
        ([], ["chunked"]) => Ok(Framing::Chunked),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| defect("Content-Length", length.as_bytes()))
        }
        (lengths, codings) => Err(Defect(format!("framed by {lengths:?} and {codings:?}"))),
    }
}

/// The data of all chunks and the trailers.
fn chunks(mut bytes: &[u8]) -> Step<'_, (Vec<u8>, Fields)> {
    let mut body = Vec::new();
    loop {
        let Some((size, rest)) = line(bytes)? else { return Ok(None) };
        if size.is_empty() || size.len() > 8 || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err(defect("a chunk's size", size));
        }
        let size = usize::from_str_radix(&text(size), 16).map_err(|_| defect("a chunk's size", size))?;
        if size == 0 {
            let Some((trailers, rest)) = fields(rest)? else { return Ok(None) };
            if let Some((name, _)) = trailers.iter().find(|(name, _)| NEVER_TRAILERS.contains(&name.as_str()))
            {
                return Err(defect("a trailer that must be a header", name.as_bytes()));
            }
            return Ok(Some(((body, trailers), rest)));
        }
        let Some((data, rest)) = rest.split_at_checked(size) else { return Ok(None) };
        body.extend_from_slice(data);
        bytes = match rest {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(defect("no CRLF after a chunk", rest)),
        };
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let token = |&byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !bytes.is_empty() && bytes.iter().all(token)
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn defect(what: &str, at: &[u8]) -> Defect {
    let shown = &at[..at.len().min(80)];
    Defect(format!("{what}: {}", shown.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_request_is_read_to_its_last_byte() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: x:1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\nrest";
        let Reading::Whole(request, used) = read_request(bytes) else { panic!("{:?}", read_request(bytes)) };
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/a"));
        assert_eq!((request.body.as_slice(), &bytes[used..]), (b"abc".as_slice(), b"rest".as_slice()));
        assert_eq!(request.trailers, [("t".to_owned(), "1".to_owned())]);
        for cut in 0..used {
            assert_eq!(read_request(&bytes[..cut]), Reading::Part, "cut at {cut}");
        }
    }

    #[test]
    fn whatever_servers_read_in_different_ways_is_a_defect() {
        for bytes in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n x: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nx : y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nx: \x00\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
        ] {
            let reading = read_request(bytes);
            assert!(matches!(reading, Reading::Defect(_)), "{}: {reading:?}", bytes.escape_ascii());
        }
    }
}
