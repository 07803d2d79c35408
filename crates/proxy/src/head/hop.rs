//! Headers that concern one connection only, and how a head is searched for those that the gateway has a word in.

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// The headers of a head that the gateway has a word in. Found in one pass over the names: to ask the map for each of
/// them would cost a lookup for every name that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found(u32);

/// Of which a proxy speaks only for its own connection, by their bits. `proxy` is no header of HTTP, but turns into
/// the variable `HTTP_PROXY` in CGI programs.
const HOP_BY_HOP: [(Found, HeaderName); 10] = [
    (Found::TRANSFER_ENCODING, TRANSFER_ENCODING),
    (Found::TE, TE),
    (Found(1 << 3), HeaderName::from_static("keep-alive")),
    (Found(1 << 4), HeaderName::from_static("proxy-connection")),
    (Found(1 << 5), UPGRADE),
    (Found(1 << 6), HeaderName::from_static("http2-settings")),
    (Found(1 << 7), PROXY_AUTHENTICATE),
    (Found(1 << 8), HeaderName::from_static("proxy-authentication-info")),
    (Found(1 << 9), PROXY_AUTHORIZATION),
    (Found(1 << 10), HeaderName::from_static("proxy")),
];

impl Found {
    const CONNECTION: Found = Found(1);
    pub(crate) const TRANSFER_ENCODING: Found = Found(1 << 1);
    const TE: Found = Found(1 << 2);
    /// Bits below are hop-by-hop.
    pub(crate) const EXPECT: Found = Found(1 << 11);
    pub(crate) const MAX_FORWARDS: Found = Found(1 << 12);
    pub(crate) const FORWARDED: Found = Found(1 << 13);
    pub(crate) const TRACEPARENT: Found = Found(1 << 14);
    pub(crate) const TRACESTATE: Found = Found(1 << 15);
    /// Whatever begins with `x-forwarded-`, also with `_` for `-`.
    pub(crate) const X_FORWARDED: Found = Found(1 << 16);

    /// Those that may forbid to forward a request.
    pub(super) const CHECKED: Found =
        Found(Found::TRANSFER_ENCODING.0 | Found::EXPECT.0 | Found::MAX_FORWARDS.0);

    /// What is in `headers`.
    pub(crate) fn search(headers: &HeaderMap) -> Self {
        headers.keys().fold(Found(0), |found, name| Found(found.0 | Found::by_name(name.as_str()).0))
    }

    /// Whether one of `wanted` is there.
    pub(crate) fn has(self, wanted: Found) -> bool {
        self.0 & wanted.0 != 0
    }

    fn by_name(name: &str) -> Found {
        match name {
            "connection" => Found::CONNECTION,
            "transfer-encoding" => Found::TRANSFER_ENCODING,
            "te" => Found::TE,
            "keep-alive" => Found(1 << 3),
            "proxy-connection" => Found(1 << 4),
            "upgrade" => Found(1 << 5),
            "http2-settings" => Found(1 << 6),
            "proxy-authenticate" => Found(1 << 7),
            "proxy-authentication-info" => Found(1 << 8),
            "proxy-authorization" => Found(1 << 9),
            "proxy" => Found(1 << 10),
            "expect" => Found::EXPECT,
            "max-forwards" => Found::MAX_FORWARDS,
            "forwarded" => Found::FORWARDED,
            "traceparent" => Found::TRACEPARENT,
            "tracestate" => Found::TRACESTATE,
            _ if is_x_forwarded(name) => Found::X_FORWARDED,
            _ => Found(0),
        }
    }
}

/// Whether the name begins with `x-forwarded-`. CGI and its kin read `_` as `-`, so both are looked for.
pub(crate) fn is_x_forwarded(name: &str) -> bool {
    const START: &[u8] = b"x-forwarded-";
    let name = name.as_bytes();
    name.first() == Some(&b'x')
        && name.len() > START.len()
        && name.iter().zip(START).all(|(byte, wanted)| byte == wanted || (*byte == b'_' && *wanted == b'-'))
}

/// Removes what concerns only the client's connection.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    strip_found_request(headers, Found::search(headers));
}

/// The same, if the head has been searched already.
pub(super) fn strip_found_request(headers: &mut HeaderMap, found: Found) {
    // `TE: trailers` is the one part of TE that a proxy can promise too.
    let trailers = found.has(Found::TE) && wants_trailers(headers);
    strip_found(headers, found);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if found.has(Found::EXPECT) {
        // The gateway's own server side answers it, when the body is first read.
        headers.remove(http::header::EXPECT);
    }
}

#[cold]
fn wants_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter();
    let mut parts = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    parts.any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Removes what concerns only the connection that the head came on.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_found(headers, Found::search(headers));
}

/// The same for a response from upstream.
///
/// # Errors
/// Its body has a transfer coding beside `chunked`, which the client would take for the content.
pub(crate) fn strip_response(headers: &mut HeaderMap) -> Result<(), UnknownCoding> {
    let found = Found::search(headers);
    if found.has(Found::TRANSFER_ENCODING) {
        if !is_chunked_only(headers) {
            return Err(UnknownCoding);
        }
        // The body's end is where the last chunk is, whatever else it said (RFC 9112, 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    strip_found(headers, found);
    Ok(())
}

/// A transfer coding that the gateway cannot undo.
#[derive(Debug)]
pub(crate) struct UnknownCoding;

/// Whether `chunked` is the only transfer coding, and is there once.
pub(super) fn is_chunked_only(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let first = values.next();
    values.next().is_none() && first.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

fn strip_found(headers: &mut HeaderMap, found: Found) {
    if found.has(Found::CONNECTION) {
        strip_named_by_connection(headers);
    }
    if found.0 & (Found::EXPECT.0 - 1) == 0 {
        return;
    }
    for (bit, name) in &HOP_BY_HOP {
        if found.has(*bit) {
            headers.remove(name);
        }
    }
}

/// Removes `Connection` and the headers it names, but for those that decide where the message ends or goes.
#[cold]
fn strip_named_by_connection(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for part in value.as_bytes().split(|&byte| byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(part.trim_ascii()) {
                named.push(name);
            }
        }
    }
    headers.remove(CONNECTION);
    for name in named {
        // `TE` is named by rule (RFC 9110, 10.1.4), and has its own handling.
        if name != HOST && name != CONTENT_LENGTH && name != TE {
            headers.remove(name);
        }
    }
}

/// Removes what must not stand in trailers: framing, routing, and what belongs to a connection (RFC 9110, 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in [CONTENT_LENGTH, HOST, TRAILER] {
        trailers.remove(name);
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
    fn every_hop_by_hop_header_is_found_and_stripped() {
        for (bit, name) in &HOP_BY_HOP {
            assert_eq!(Found::by_name(name.as_str()), *bit, "{name}");
            let mut headers = map(&[("x-kept", "1")]);
            headers.append(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
            strip_hop_by_hop(&mut headers);
            assert_eq!(headers, map(&[("x-kept", "1")]), "{name}");
        }
    }

    #[test]
    fn connection_cannot_take_the_framing_or_the_host_away() {
        let mut headers = map(&[
            ("connection", "content-length, host,, te, x-a ,b@d"),
            ("content-length", "1"),
            ("host", "a"),
            ("te", "trailers"),
            ("x-a", "1"),
        ]);
        strip_request(&mut headers);
        assert_eq!(headers, map(&[("content-length", "1"), ("host", "a"), ("te", "trailers")]));
    }

    #[test]
    fn a_response_may_be_chunked_and_nothing_else() {
        let strip = |headers: &[(&'static str, &'static str)]| {
            let mut headers = map(headers);
            strip_response(&mut headers).map(|()| headers).ok()
        };
        let chunked = [("transfer-encoding", "Chunked"), ("content-length", "5"), ("etag", "1")];
        assert_eq!(strip(&chunked), Some(map(&[("etag", "1")])));
        for coding in ["gzip, chunked", "gzip", "identity", "chunked, chunked", ""] {
            assert_eq!(strip(&[("transfer-encoding", coding)]), None, "{coding}");
        }
        assert_eq!(strip(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]), None);
    }

    #[test]
    fn names_that_only_look_like_forwarding_are_not() {
        for name in ["x-forwarded-for", "x-forwarded-prefix", "x_forwarded_for", "x-forwarded_host"] {
            assert!(is_x_forwarded(name), "{name}");
        }
        for name in ["x-forwarded", "x-forwarded-", "x-forward-for", "forwarded", "x"] {
            assert!(!is_x_forwarded(name), "{name}");
        }
    }

    #[test]
    fn trailers_cannot_frame_or_route() {
        let mut trailers = map(&[
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("host", "b"),
            ("trailer", "x"),
            ("connection", "x-named"),
            ("x-named", "1"),
            ("grpc-status", "0"),
        ]);
        strip_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0")]));
    }
}
