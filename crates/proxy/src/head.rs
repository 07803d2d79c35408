//! Rules for heads: which requests are taken, and what is stripped, kept or added on the way.

mod hop;
mod peer;
mod trace;

use std::net::SocketAddr;

use agw_wasm::ResponseHead;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, MAX_FORWARDS};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, Version};

pub(crate) use self::hop::{Found, strip_hop_by_hop, strip_request, strip_response, strip_trailers};
pub(crate) use self::peer::{Client, Peer};
pub(crate) use self::trace::{TraceId, begin_trace, hand_on_trace, settle_request_id, settle_trace};
use crate::reply::{self, Problem, Reply};

const HOST_MISSING: Problem =
    Problem::new(StatusCode::BAD_REQUEST, "host_missing", "the request names no host");

/// A request's head as it arrived: checked, in origin form, without hop-by-hop headers.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) version: Version,
    /// `Host` is in it, and holds the authority, whatever the form of the target was.
    pub(crate) headers: HeaderMap,
    /// What was in the headers before they were stripped.
    pub(crate) found: Found,
}

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Turned {
    /// It is not taken.
    Refused(Problem),
    /// It asks for the gateway itself, and is welcome: `OPTIONS *`, or one that may not be forwarded.
    Options,
}

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Turned::Refused(problem)
    }
}

impl From<Turned> for Reply {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::Refused(problem) => problem.into(),
            Turned::Options => {
                let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
                let head = ResponseHead { status: StatusCode::OK, headers };
                let (details, flags) = ("options_answered".into(), "");
                Reply { head, details, flags, body: Bytes::new(), failure: false, close: false }
            }
        }
    }
}

/// Checks and cleans a request's head.
///
/// # Errors
/// What to answer to a request that the gateway does not take, or takes for itself.
pub(crate) fn arrive(parts: Parts, local: SocketAddr) -> Result<Arrived, Turned> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    let path = target(&method, &uri)?;
    let found = Found::search(&headers);
    if found.has(Found::CHECKED) {
        check_found(&method, version, &mut headers, found)?;
    }
    settle_host(uri.authority(), version, &mut headers, local)?;
    hop::strip_found_request(&mut headers, found);
    Ok(Arrived { method, path, version, headers, found })
}

/// Looks at the headers that may forbid to forward the request.
#[cold]
fn check_found(
    method: &Method,
    version: Version,
    headers: &mut HeaderMap,
    found: Found,
) -> Result<(), Turned> {
    // hyper has seen to it that `chunked` is the last coding. What is below it would go upstream as content.
    if found.has(Found::TRANSFER_ENCODING) && !hop::is_chunked_only(headers) {
        return Err(TRANSFER_CODING.into());
    }
    if found.has(Found::EXPECT) && version != Version::HTTP_10 {
        let mut values = headers.get_all(EXPECT).iter();
        if !values.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(EXPECTATION.into());
        }
    }
    if found.has(Found::MAX_FORWARDS) && matches!(*method, Method::OPTIONS | Method::TRACE) {
        count_down(method, headers)?;
    }
    Ok(())
}

/// One hop less of `Max-Forwards`; at 0 the gateway is who is asked (RFC 9110, 7.6.2).
fn count_down(method: &Method, headers: &mut HeaderMap) -> Result<(), Turned> {
    let mut values = headers.get_all(MAX_FORWARDS).iter();
    let value = values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes);
    let digits = value.filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let Some(digits) = digits else {
        return Err(bad_request("max_forwards_not_valid", "the Max-Forwards header is not a number").into());
    };
    // A number that is too large for us has hops enough.
    match digits.parse().unwrap_or(u32::MAX).checked_sub(1) {
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left));
            Ok(())
        }
        None if *method == Method::OPTIONS => Err(Turned::Options),
        None => Err(TRACE_HERE.into()),
    }
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
fn target(method: &Method, uri: &Uri) -> Result<PathAndQuery, Turned> {
    if *method == Method::CONNECT {
        return Err(CONNECT.into());
    }
    if let Some(scheme) = uri.scheme()
        && *scheme != Scheme::HTTP
        && *scheme != Scheme::HTTPS
    {
        let what = "the target's scheme is neither http nor https";
        return Err(bad_request("target_scheme_not_http", what).into());
    }
    let path = match uri.path_and_query() {
        // The URI parser takes UTF-8 as it is; upstreams make different things of it.
        Some(path) if !path.as_str().is_ascii() => return Err(TARGET.into()),
        Some(path) if path.as_str() == "*" => {
            return Err(if *method == Method::OPTIONS { Turned::Options } else { TARGET.into() });
        }
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        // `http://host?query` has an empty path, which stands for `/`.
        Some(path) if uri.scheme().is_some() => {
            PathAndQuery::try_from(format!("/{}", path.as_str())).map_err(|_| TARGET)?
        }
        _ => return Err(TARGET.into()),
    };
    if has_dot_segment(path.path()) { Err(DOT_SEGMENT.into()) } else { Ok(path) }
}

/// Whether what filters made of a request's head can go out: its method is no tunnel, its path one that the gateway
/// would have taken, its authority a host with or without port.
pub(crate) fn may_go_out(method: &Method, path: &PathAndQuery, authority: &[u8]) -> bool {
    let rooted = path.as_str().starts_with('/');
    *method != Method::CONNECT && rooted && !has_dot_segment(path.path()) && is_authority(authority)
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
        (_, None) if version == Version::HTTP_11 => return Err(HOST_MISSING),
        (Some(authority), Some(host)) if version > Version::HTTP_11 && !same_host(authority, host) => {
            return Err(bad_request("several_hosts", "the Host header differs from :authority"));
        }
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
        (None, None) => return Err(HOST_MISSING),
    }
    Ok(())
}

fn same_host(authority: &Authority, host: &HeaderValue) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
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

/// `Content-Length` as a number; hyper has refused conflicting ones.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// A header value of text that can hold no control character, such as an address or an authority.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What follows was meant for a tunnel, and may be no request.
const CONNECT: Problem =
    Problem::new(StatusCode::NOT_IMPLEMENTED, "connect_not_supported", "CONNECT is not supported").closing();
const TARGET: Problem =
    Problem::new(StatusCode::BAD_REQUEST, "target_not_valid", "the target is neither a path nor an http URL");
const DOT_SEGMENT: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "path_not_normal",
    "the path has . or .. as a segment; resolve it before sending",
);
const TRANSFER_CODING: Problem = Problem::new(
    StatusCode::NOT_IMPLEMENTED,
    "transfer_coding_not_supported",
    "chunked is the only transfer coding that is supported",
)
.closing();
const EXPECTATION: Problem = Problem::new(
    StatusCode::EXPECTATION_FAILED,
    "expectation_not_supported",
    "100-continue is the only expectation that is supported",
);
const TRACE_HERE: Problem = Problem::new(
    StatusCode::NOT_IMPLEMENTED,
    "trace_not_supported",
    "the gateway does not answer TRACE itself",
);

fn bad_request(details: &'static str, what: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, details, what)
}

#[cfg(test)]
mod tests;
