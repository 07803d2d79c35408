//! Rules for heads: which requests are taken, and what is stripped, kept or added on the way.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version};

use crate::limits::REQUEST_ID_BYTES_MAX;
use crate::reply::{self, Problem};

/// Of which a proxy speaks only for its own hop.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Follows a request through every system.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's head as it arrived: checked, in origin form, without hop-by-hop headers.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) version: Version,
    /// `Host` is in it, and holds the authority, whatever the form of the target was.
    pub(crate) headers: HeaderMap,
}

/// Checks and cleans a request's head.
///
/// # Errors
/// What to answer to a target or `Host` that the gateway does not take.
pub(crate) fn arrive(parts: Parts, local: SocketAddr) -> Result<Arrived, Problem> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    let path = target(&method, &uri)?;
    settle_host(uri.authority(), version, &mut headers, local)?;
    strip_request(&mut headers);
    Ok(Arrived { method, path, version, headers })
}

/// Makes a head of HTTP/2 one that HTTP/1.1 can carry.
///
/// # Errors
/// What to answer to more than `headers_max` headers: h2 bounds only their bytes.
pub(crate) fn settle_http2(parts: &mut Parts, headers_max: usize) -> Result<(), Problem> {
    if parts.headers.len() > headers_max {
        return Err(reply::TOO_MANY_HEADERS);
    }
    // HTTP/2 allows one cookie a header; HTTP/1.1 has one header for all (RFC 9113, 8.2.3).
    let mut cookies = parts.headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let all = [first, second].into_iter().chain(cookies).map(HeaderValue::as_bytes);
        let joined = all.collect::<Vec<_>>().join(&b"; "[..]);
        // Values that were valid, joined by valid bytes, are one.
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            parts.headers.insert(COOKIE, joined);
        }
    }
    Ok(())
}

/// The path of an origin-form or absolute-form target.
fn target(method: &Method, uri: &Uri) -> Result<PathAndQuery, Problem> {
    if *method == Method::CONNECT {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "connect_not_supported",
            "CONNECT is not supported",
        ));
    }
    if let Some(scheme) = uri.scheme()
        && *scheme != Scheme::HTTP
        && *scheme != Scheme::HTTPS
    {
        return Err(bad_request("target_scheme_not_http", "the target's scheme is neither http nor https"));
    }
    match uri.path_and_query() {
        Some(path) if path.as_str() == "*" => {
            let status = StatusCode::NOT_IMPLEMENTED;
            Err(Problem::new(status, "asterisk_target_not_supported", "a target of * is not supported"))
        }
        Some(path) if path.as_str().starts_with('/') => Ok(path.clone()),
        // `http://host?query` has an empty path, which stands for `/`.
        Some(path) if uri.scheme().is_some() => {
            let full = format!("/{}", path.as_str());
            PathAndQuery::try_from(full)
                .map_err(|_| bad_request("target_not_valid", "the target is not valid"))
        }
        _ => Err(bad_request("target_not_valid", "the target is neither a path nor an http URL")),
    }
}

/// Whether one of the path's segments is `.` or `..`, in plain bytes or percent-encoded. The gateway and the upstream
/// would not mean the same resource, and a route's plugins could be walked around.
pub(crate) fn has_dot_segment(path: &str) -> bool {
    let bytes = path.as_bytes();
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    starts.map(|at| bytes.get(at..).unwrap_or_default()).any(|rest| {
        matches!(rest, [b'.' | b'%', ..]) && {
            let segment = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            is_dots(segment)
        }
    })
}

#[cold]
fn is_dots(segment: &[u8]) -> bool {
    let mut dots = 0;
    let mut rest = segment;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
    (1..=2).contains(&dots)
}

/// Leaves exactly one `Host` header, which is the request's authority.
fn settle_host(
    absolute: Option<&Authority>,
    version: Version,
    headers: &mut HeaderMap,
    local: SocketAddr,
) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(bad_request("several_host_headers", "more than one Host header"));
    }
    if first.is_some_and(|host| !is_authority(host.as_bytes())) {
        return Err(bad_request("host_not_valid", "the Host header is not a host and port"));
    }
    match (absolute, first) {
        // The absolute form wins over the Host header (RFC 9112, 3.2.2).
        (Some(authority), _) => {
            if !is_authority(authority.as_str().as_bytes()) {
                return Err(bad_request("host_not_valid", "the target's authority is not a host and port"));
            }
            headers.insert(HOST, header_value(authority.as_str()));
        }
        (None, Some(_)) => {}
        (None, None) if version == Version::HTTP_10 => {
            headers.insert(HOST, header_value(&local.to_string()));
        }
        (None, None) => return Err(bad_request("host_missing", "HTTP/1.1 needs a Host header")),
    }
    Ok(())
}

/// Whether `text` is a host with or without port: no user, no path, nothing that another parser reads differently.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|&byte| byte == b']') {
            Some(end) => {
                let (address, after) = rest.split_at(end);
                if !address.iter().all(|&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')) {
                    return false;
                }
                (address, after.get(1..).unwrap_or_default())
            }
            None => return false,
        },
        _ => text.split_at(text.iter().position(|&byte| byte == b':').unwrap_or(text.len())),
    };
    let port_valid = match port {
        [] => true,
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let bracketed = text.first() == Some(&b'[');
    let name = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !host.is_empty() && port_valid && (bracketed || host.iter().all(name))
}

/// Removes what concerns only the client's connection.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    // `TE: trailers` is the one part of TE that a proxy can promise too.
    let trailers = headers.get(TE).is_some_and(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    strip_hop_by_hop(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // The gateway's own server side answers it, when the body is first read.
    headers.remove(EXPECT);
}

/// Removes what concerns only the upstream's connection.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        strip_named_by_connection(headers);
    }
    for name in [
        &TRANSFER_ENCODING,
        &UPGRADE,
        &TE,
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &PROXY_AUTHENTICATE,
        &PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
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
        if name != HOST && name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

/// Tells the upstream who asked: the peer at the end of `x-forwarded-for`, and the protocol it used.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, peer: &HeaderValue, secure: bool) {
    match headers.entry(FORWARDED_FOR) {
        Entry::Vacant(slot) => {
            slot.insert(peer.clone());
        }
        Entry::Occupied(mut slot) => {
            let mut list = Vec::new();
            for value in slot.iter() {
                list.extend_from_slice(value.as_bytes());
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(peer.as_bytes());
            // Bytes that were valid header values, joined by others, are one too.
            slot.insert(HeaderValue::from_bytes(&list).unwrap_or_else(|_| peer.clone()));
        }
    }
    // Never the client's word: an upstream trusts it when it decides about redirects and cookies.
    let scheme = if secure { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
}

/// The request's id: the client's if it is usable, a new one otherwise. Afterwards the headers hold it.
pub(crate) fn settle_request_id(headers: &mut HeaderMap) -> HeaderValue {
    match headers.entry(REQUEST_ID) {
        Entry::Occupied(mut slot) => {
            let kept = slot.get();
            if slot.iter().count() == 1 && is_request_id(kept.as_bytes()) {
                return kept.clone();
            }
            let made = new_request_id();
            slot.insert(made.clone());
            made
        }
        Entry::Vacant(slot) => slot.insert(new_request_id()).clone(),
    }
}

fn is_request_id(bytes: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// A random UUID, version 4.
fn new_request_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let random = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let mut text = [b'-'; 36];
    let mut nibble = 128;
    for (index, byte) in text.iter_mut().enumerate() {
        if !matches!(index, 8 | 13 | 18 | 23) {
            nibble -= 4;
            *byte = HEX[(random >> nibble) as usize & 0xf];
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// The value that stands for `peer` in `x-forwarded-for`.
pub(crate) fn forwarded_for(peer: SocketAddr) -> HeaderValue {
    let address = match peer.ip() {
        // A dual-stack listener shows IPv4 peers so; the other side expects the usual form.
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    header_value(&address.to_string())
}

/// `Content-Length` as a number; hyper has refused conflicting ones.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// A header value of text that can hold no control character, such as an address or an authority.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn bad_request(details: &'static str, what: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, details, what)
}

#[cfg(test)]
mod tests;
