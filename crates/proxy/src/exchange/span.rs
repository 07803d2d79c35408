//! The spans of a request that is recorded: its own, and that of its way upstream.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agw_telemetry::{RequestSpan, Span, Tracer, Value, new_id};
use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Version};
use tokio::time::Instant;

use super::Exchange;
use crate::body::RequestBody;
use crate::head::{self, Arrived};
use crate::stats;

/// What is kept of a request for its spans.
pub(crate) struct Recorded {
    span: Arc<RequestSpan>,
    version: Version,
    host: Option<HeaderValue>,
    upstream: Option<Upstream>,
}

/// A request's way upstream, all tries together.
struct Upstream {
    id: u64,
    cluster: Arc<str>,
    method: Method,
    began: Instant,
    /// The status of the response's head, and how long after the beginning it came.
    answered: Option<(u16, Duration)>,
}

// === impl Recorded ===

impl Recorded {
    /// The parent of what is asked for the request.
    pub(super) fn span(&self) -> Arc<RequestSpan> {
        Arc::clone(&self.span)
    }

    /// The request goes to a cluster, which learns the id of the span for that.
    #[cold]
    fn upstream_begins(&mut self, headers: &mut HeaderMap, method: Method, cluster: &Arc<str>) {
        let id = new_id();
        head::hand_on_trace(headers, &self.span, id);
        let cluster = Arc::clone(cluster);
        self.upstream = Some(Upstream { id, cluster, method, began: Instant::now(), answered: None });
    }

    /// The response's head has come.
    #[cold]
    fn upstream_answered(&mut self, status: u16) {
        if let Some(upstream) = &mut self.upstream {
            upstream.answered = Some((status, upstream.began.elapsed()));
        }
    }
}

// === impl Exchange ===

impl Exchange {
    /// Asks the tracer about the request, and writes its word into the headers.
    #[cold]
    pub(super) fn begin_trace(&mut self, arrived: &mut Arrived, tracer: &Arc<Tracer>) {
        let (trace, span) = head::begin_trace(&mut arrived.headers, arrived.found, tracer);
        self.trace = trace;
        let (version, host) = (arrived.version, arrived.headers.get(HOST));
        self.recorded =
            span.map(|span| Box::new(Recorded { span, version, host: host.cloned(), upstream: None }));
    }

    /// The request goes to a cluster: if it is recorded, with the id of the span for that.
    pub(super) fn upstream_span_begins(&mut self, request: &mut Request<RequestBody>, cluster: &Arc<str>) {
        if let Some(recorded) = &mut self.recorded {
            let method = request.method().clone();
            recorded.upstream_begins(request.headers_mut(), method, cluster);
        }
    }

    /// The response's head has come.
    pub(super) fn upstream_span_answered(&mut self, status: StatusCode) {
        if let Some(recorded) = &mut self.recorded {
            recorded.upstream_answered(status.as_u16());
        }
    }

    /// The exchange has ended, and with it its spans.
    #[cold]
    pub(super) fn end_trace(&mut self) {
        let Some(recorded) = self.recorded.take() else { return };
        let Recorded { span, version, host, upstream } = *recorded;
        let now = Instant::now();
        if let Some(upstream) = upstream {
            span.end_child(upstream.id, |span| self.describe_upstream(span, &upstream, now));
        }
        span.end(|span| {
            (span.start, span.duration) = (self.started, now - self.started_at);
            self.describe(span, version, host.as_ref());
            if let Some(reason) = self.failure() {
                span.fail(reason);
            }
        });
    }

    /// By the conventions for HTTP servers. No query: whatever is in one is the client's and the upstream's.
    fn describe(&self, span: &mut Span, version: Version, host: Option<&HeaderValue>) {
        let (method, word) = method(&self.method);
        span.name = match &self.route {
            Some(route) => Cow::Owned(format!("{word} {}", route.name)),
            None => Cow::Borrowed(word),
        };
        let attributes = &mut span.attributes;
        attributes.put("http.request.method", method);
        if let Some(route) = &self.route {
            attributes.put("http.route", Arc::clone(&route.name));
        }
        if let Some(path) = self.path.as_ref().map(PathAndQuery::path) {
            attributes.put("url.path", path.to_owned());
        }
        attributes.put("url.scheme", self.client.scheme);
        attributes.put("network.protocol.version", protocol_version(version));
        if let Some(host) = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()) {
            attributes.put("server.address", host.host().to_owned());
            if let Some(port) = host.port_u16() {
                attributes.put("server.port", port);
            }
        }
        attributes.put("client.address", self.client.address.ip().to_string());
        if self.status != 0 {
            attributes.put("http.response.status_code", self.status);
        }
        if !self.flags.is_empty() {
            attributes.put("agw.response_flags", self.flags);
        }
        attributes.put("agw.listener", Arc::clone(&self.connection.entrance.name));
        attributes.put("agw.revision", i64::try_from(self.revision).unwrap_or(i64::MAX));
    }

    fn describe_upstream(&self, span: &mut Span, upstream: &Upstream, now: Instant) {
        let Upstream { cluster, began, answered, .. } = upstream;
        let (method, word) = method(&upstream.method);
        span.name = Cow::Owned(format!("{word} {cluster}"));
        span.start = self.started.checked_add(*began - self.started_at).unwrap_or(SystemTime::now());
        span.duration = answered.map_or_else(|| now - *began, |(_, took)| took);
        let attributes = &mut span.attributes;
        attributes.put("http.request.method", method);
        attributes.put("agw.cluster", Arc::clone(cluster));
        attributes.put("agw.attempts", i64::from(self.tries.count()));
        if let Some(peer) = self.tries.peer() {
            attributes.put("server.address", peer.ip().to_string());
            attributes.put("server.port", peer.port());
        }
        match answered {
            None => span.fail(self.own_reason().unwrap_or("no_response")),
            Some((status, _)) => {
                attributes.put("http.response.status_code", *status);
                // A client's span fails with every error that it is told of.
                if *status >= 400 {
                    span.fail(status.to_string());
                }
            }
        }
    }

    /// Why the request failed, by the conventions: its client's own errors are none.
    fn failure(&self) -> Option<Value> {
        let broken_off = self.status < 400 && !self.flags.is_empty();
        if self.status != 0 && self.status < 500 && !broken_off {
            return None;
        }
        Some(self.own_reason().map_or_else(|| self.status.to_string().into(), Value::from))
    }

    /// The gateway's own word for what went wrong: what a filter has written may be anything.
    fn own_reason(&self) -> Option<&'static str> {
        match self.details {
            Cow::Borrowed(details) if !details.is_empty() && details != self.answered_by() => Some(details),
            _ => None,
        }
    }
}

/// A method as attributes have it, and as names of spans do: clients can invent methods.
fn method(method: &Method) -> (&'static str, &'static str) {
    match stats::label(method) {
        stats::OTHER => ("_OTHER", "HTTP"),
        known => (known, known),
    }
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
