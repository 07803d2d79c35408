//! Answers that the gateway gives itself.

use std::borrow::Cow;

use agw_wasm::{LocalReply, ResponseHead};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRAILER};
use http::{HeaderMap, StatusCode};

use crate::head::strip_hop_by_hop;

/// Details of replies that stand for a plugin that failed begin with this; no callback sees such a reply.
const FAILURE_PREFIX: &str = "wasm_fail";

/// Why the gateway does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// For the access log; no white space.
    pub(crate) details: Cow<'static, str>,
    /// For the client.
    pub(crate) what: Cow<'static, str>,
    /// Envoy's flag for it, if there is one.
    pub(crate) flags: &'static str,
    /// The rest of the request is not read, so the connection cannot go on.
    pub(crate) close: bool,
}

/// A whole answer, made here.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: ResponseHead,
    pub(crate) details: Cow<'static, str>,
    pub(crate) flags: &'static str,
    pub(crate) body: Bytes,
    /// It stands for a plugin that failed: no callback may see it.
    pub(crate) failure: bool,
    /// The rest of the request is not read, or means nothing, so the connection cannot go on.
    pub(crate) close: bool,
}

impl Problem {
    pub(crate) const fn new(status: StatusCode, details: &'static str, what: &'static str) -> Self {
        let (details, what) = (Cow::Borrowed(details), Cow::Borrowed(what));
        Problem { status, details, what, flags: "", close: false }
    }

    pub(crate) const fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) const fn flagged(mut self, flags: &'static str) -> Self {
        self.flags = flags;
        self
    }
}

impl From<Problem> for Reply {
    /// A problem object (RFC 9457).
    fn from(problem: Problem) -> Self {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
        }
        let body = Body {
            title: problem.status.canonical_reason().unwrap_or("Error"),
            status: problem.status.as_u16(),
            detail: &problem.what,
            code: &problem.details,
        };
        // Strings and a number always become JSON; an empty body is better than none if not.
        let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let head = ResponseHead { status: problem.status, headers };
        let close = problem.close || problem.status == StatusCode::PAYLOAD_TOO_LARGE;
        Reply { head, details: problem.details, flags: problem.flags, body, failure: false, close }
    }
}

impl From<LocalReply> for Reply {
    /// The filter's headers after the gateway's own, a text body unless it says otherwise.
    fn from(reply: LocalReply) -> Self {
        let LocalReply { status, details, mut headers, body } = reply;
        // Framing is the gateway's: a filter's word could not be kept.
        strip_hop_by_hop(&mut headers);
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRAILER);
        if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if may_have_length(status) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let failure = details.starts_with(FAILURE_PREFIX);
        // An interim status is no answer, and hyper cannot send one as such.
        let status = if status.is_informational() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        let body = if may_have_length(status) { body } else { Bytes::new() };
        let head = ResponseHead { status, headers };
        Reply { head, details: Cow::Owned(details), flags: "", body, failure, close: false }
    }
}

/// Whether an answer with this status has a body at all.
fn may_have_length(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// No route matches the request.
pub(crate) const ROUTE_NOT_FOUND: Problem =
    Problem::new(StatusCode::NOT_FOUND, "route_not_found", "no route matches this host and path")
        .flagged("NR");
/// An extended CONNECT whose protocol the route or the cluster does not have.
pub(crate) const UPGRADE_NOT_ALLOWED: Problem = Problem::new(
    StatusCode::NOT_IMPLEMENTED,
    "upgrade_not_allowed",
    "this protocol cannot be had for this host and path",
);
/// An extended CONNECT that was answered as if it were an ordinary request.
pub(crate) const UPGRADE_REFUSED: Problem = Problem::new(
    StatusCode::BAD_GATEWAY,
    "upgrade_refused",
    "the upstream answered without changing to the protocol",
);
/// A filter held the exchange until the route's timeout.
pub(crate) const PLUGIN_PAUSE_TIMEOUT: Problem = Problem::new(
    StatusCode::GATEWAY_TIMEOUT,
    "plugin_pause_timeout",
    "a plugin held the request for too long",
);
/// The upstream did not answer within the route's timeout.
pub(crate) const ROUTE_TIMEOUT: Problem =
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "route_timeout", "the upstream did not answer in time")
        .flagged("UT");
/// A head of HTTP/2 has more headers than the listener takes.
pub(crate) const TOO_MANY_HEADERS: Problem = Problem::new(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "request_head_too_large",
    "the request has too many headers",
);
/// A filter made of the request what cannot be sent.
pub(crate) const PLUGIN_REQUEST_NOT_VALID: Problem = Problem::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "plugin_request_not_valid",
    "a plugin made a request that cannot be sent",
);
/// The request's body is over the route's limit.
pub(crate) const REQUEST_TOO_LARGE: Problem =
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "the request's body is too large");
/// A filter held back more of the request's body than the route allows.
/// The client has stopped sending.
pub(crate) const REQUEST_BODY_TIMEOUT: Problem = Problem::new(
    StatusCode::REQUEST_TIMEOUT,
    "request_body_timeout",
    "no more of the request's body came within the route's idle timeout",
)
.flagged("SI")
.closing();

/// Nobody upstream takes the request's body.
pub(crate) const REQUEST_BODY_NOT_TAKEN: Problem = Problem::new(
    StatusCode::GATEWAY_TIMEOUT,
    "upstream_idle_timeout",
    "the upstream took no more of the request's body within the route's idle timeout",
)
.flagged("SI")
.closing();

pub(crate) const REQUEST_BUFFER_FULL: Problem = Problem::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "request_buffer_full",
    "the request's body is too large to be held",
);
/// A filter held back more of the response's body than the route allows.
pub(crate) const RESPONSE_BUFFER_FULL: Problem = Problem::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "response_buffer_full",
    "the response is too large to be held",
);
/// The request's body broke off or is not valid.
pub(crate) const REQUEST_BODY_BROKEN: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "request_body_broken",
    "the request's body is incomplete or not valid",
);
/// No endpoint could be connected to.
pub(crate) const UPSTREAM_CONNECT_FAILED: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "upstream_connect_failed",
    "the upstream cannot be reached",
)
.flagged("UF");
/// The cluster does all it may.
pub(crate) const UPSTREAM_OVERFLOW: Problem =
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_overflow", "the upstream is at its limit")
        .flagged("UO");
/// The last try that the retry policy allows took too long.
pub(crate) const UPSTREAM_TRY_TIMEOUT: Problem = Problem::new(
    StatusCode::GATEWAY_TIMEOUT,
    "upstream_per_try_timeout",
    "the upstream did not answer in time",
)
.flagged("UT");
/// The upstream closed the connection instead of answering.
pub(crate) const UPSTREAM_RESET: Problem = Problem::new(
    StatusCode::BAD_GATEWAY,
    "upstream_reset_before_response_started",
    "the upstream closed the connection before it answered",
)
.flagged("UC");
/// The upstream's answer is not HTTP.
pub(crate) const UPSTREAM_PROTOCOL_ERROR: Problem = Problem::new(
    StatusCode::BAD_GATEWAY,
    "upstream_protocol_error",
    "the upstream's answer is not valid HTTP",
)
.flagged("UPE");

#[cfg(test)]
mod tests {
    use super::*;

    fn local(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        Reply::from(LocalReply {
            status,
            details: "d".into(),
            headers: map,
            body: Bytes::from_static(body.as_bytes()),
        })
    }

    #[test]
    fn a_local_body_is_text_unless_the_filter_says_otherwise() {
        assert_eq!(local(403, &[], "no").head.headers[CONTENT_TYPE], "text/plain");
        assert_eq!(local(403, &[("content-type", "a/b")], "no").head.headers[CONTENT_TYPE], "a/b");
        assert!(!local(403, &[], "").head.headers.contains_key(CONTENT_TYPE));
    }

    #[test]
    fn a_filter_cannot_break_the_framing() {
        let breaking = [
            ("content-length", "99"),
            ("content-length", "98"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-named, upgrade"),
            ("x-named", "1"),
            ("upgrade", "h2c"),
            ("keep-alive", "timeout=1"),
            ("trailer", "x"),
        ];
        let reply = local(200, &breaking, "four");
        let mut names: Vec<_> = reply.head.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "content-type"]);
        assert_eq!(reply.head.headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["4"]);
    }

    #[test]
    fn a_status_without_body_loses_the_filters_body() {
        let reply = local(204, &[], "ignored");
        assert!(reply.body.is_empty());
        assert!(!reply.head.headers.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn an_interim_status_becomes_an_error() {
        assert_eq!(local(101, &[], "").head.status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn only_a_plugins_failure_is_one() {
        let with = |details: &str| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Reply::from(LocalReply {
                status,
                details: details.into(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
            })
        };
        assert!(with("wasm_fail_stream").failure);
        assert!(!with("over_limit").failure);
    }

    #[test]
    fn a_problem_is_json_of_the_right_length() {
        let reply = Reply::from(ROUTE_NOT_FOUND);
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["status"], 404);
        assert_eq!(body["code"], "route_not_found");
        assert_eq!(reply.head.headers[CONTENT_LENGTH], reply.body.len().to_string());
    }
}
