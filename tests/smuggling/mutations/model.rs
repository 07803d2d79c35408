//! How the gateway should read the bytes of a connection: a reader of its own, as lax as `docs/http.md` lets the
//! gateway be and no laxer. What the gateway sends upstream must be what this reader finds at the same place.

/// A request that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) method: Vec<u8>,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    /// Nothing that follows on the connection is a request.
    pub(crate) last: bool,
}

/// Every whole request, up to the first that is none, is not whole, or is the connection's last.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Expected> {
    let mut requests = Vec::new();
    while let Some((request, rest)) = request(bytes) {
        let last = request.last;
        requests.push(request);
        if last {
            break;
        }
        bytes = rest;
    }
    requests
}

/// Name in lower case, and value.
type Field<'a> = (Vec<u8>, &'a [u8]);

fn request(bytes: &[u8]) -> Option<(Expected, &[u8])> {
    let (mut start, mut rest) = line(bytes)?;
    while start.is_empty() {
        (start, rest) = line(rest)?;
    }
    let mut words = start.split(|&byte| byte == b' ');
    let (method, _target, version) = (words.next()?, words.next()?, words.next()?);
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return None,
    };
    let (fields, rest) = fields(rest)?;
    let codings = all(&fields, b"transfer-encoding");
    let lengths = all(&fields, b"content-length");
    let mut trailers = false;
    let (body, rest) = if !codings.is_empty() {
        let chunked = codings.last()?.rsplit(|&byte| byte == b',').next()?.trim_ascii();
        (!old && chunked.eq_ignore_ascii_case(b"chunked")).then_some(())?;
        let (body, after, rest) = chunks(rest)?;
        trailers = after;
        (body, rest)
    } else if let [length, others @ ..] = lengths.as_slice() {
        let length = number(length, 10)?;
        others.iter().all(|other| number(other, 10) == Some(length)).then_some(())?;
        let (body, rest) = rest.split_at_checked(length)?;
        (body.to_vec(), rest)
    } else {
        (Vec::new(), rest)
    };
    let option = |wanted: &[u8]| {
        let mut options = all(&fields, b"connection");
        // hyper overlooks a value with other bytes; it names no option that there is.
        options.retain(|value| value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')));
        let mut options = options.iter().flat_map(|value| value.split(|&byte| byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    let both = !codings.is_empty() && !lengths.is_empty();
    let last = both || trailers || option(b"close") || old && !option(b"keep-alive");
    Some((Expected { method: method.to_vec(), body, last }, rest))
}

/// Up to LF, without the CR before it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..)?))
}

fn fields(mut bytes: &[u8]) -> Option<(Vec<Field<'_>>, &[u8])> {
    let mut fields = Vec::new();
    loop {
        let (line, rest) = line(bytes)?;
        bytes = rest;
        if line.is_empty() {
            return Some((fields, bytes));
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        (!name.is_empty() && name.iter().all(token)).then_some(())?;
        fields.push((name.to_ascii_lowercase(), value.trim_ascii()));
    }
}

fn all<'a>(fields: &[Field<'a>], name: &[u8]) -> Vec<&'a [u8]> {
    fields.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect()
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    usize::from_str_radix(digits, radix).ok()
}

/// The data of all chunks, and whether something else than an empty line comes after the last; extensions and trailers
/// are read over.
fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, bool, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (size, rest) = line(bytes)?;
        let size = size.split(|&byte| byte == b';').next()?.trim_ascii();
        let size = number(size, 16)?;
        if size == 0 {
            let clean = rest.starts_with(b"\r\n");
            let (_trailers, rest) = fields(rest)?;
            return Some((body, !clean, rest));
        }
        let (data, rest) = rest.split_at_checked(size)?;
        body.extend_from_slice(data);
        let (empty, rest) = line(rest)?;
        empty.is_empty().then_some(())?;
        bytes = rest;
    }
}

#[test]
fn the_reader_ends_each_request_where_its_framing_says() {
    let bytes = b"\r\nPOST /a HTTP/1.1\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nabGET / HTTP/1.1\r\nTransfer-Encoding: x, Chunked\r\n\r\n\
        2;e=1\r\ncd\r\n0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let found: Vec<_> = read(bytes).into_iter().map(|request| (request.body, request.last)).collect();
    assert_eq!(found, [(b"ab".to_vec(), false), (b"cd".to_vec(), false), (Vec::new(), true)]);
    let trailers =
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nt: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    assert_eq!(read(trailers).len(), 1);
    for bytes in [
        &b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"[..],
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length : 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
    ] {
        assert_eq!(read(bytes), [], "{}", bytes.escape_ascii());
    }
}
