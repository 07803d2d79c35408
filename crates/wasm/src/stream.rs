//! One HTTP exchange, as the filters of its chain see it and change it.
//!
//! The gateway makes a [`Stream`] per request, shares it with each filter, and reads back what they made of it.
//! All of this happens on one worker; the lock is there because a VM's data must be `Send`, and is never contended.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use agw_telemetry::RequestSpan;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, StatusCode, Version};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::sent::{Fields, SentHeaders};

/// One HTTP exchange.
#[derive(Debug)]
pub struct Stream {
    state: Mutex<StreamState>,
}

/// What filters can read and change.
#[derive(Debug)]
pub struct StreamState {
    /// The request's head; the filters' changes are in it.
    pub request: RequestHead,
    /// Set before the first filter sees the request's trailers.
    pub request_trailers: Option<HeaderMap>,
    /// Set before the first filter sees the response's head; kept for the log.
    pub response: Option<ResponseHead>,
    /// Set before the first filter sees the response's trailers.
    pub response_trailers: Option<HeaderMap>,
    /// What properties tell.
    pub info: StreamInfo,
    /// What `proxy_set_property` stored, by path as given.
    pub properties: BTreeMap<Vec<u8>, Bytes>,
    /// The answer that a filter gives instead of the upstream; the first one wins.
    pub local_reply: Option<LocalReply>,
    /// A filter asked for the stream to be closed without an answer.
    pub reset: bool,
    /// A filter changed the request's headers: the route is to be chosen anew before the request goes upstream.
    pub route_stale: bool,
    /// The request's head has gone upstream with these: changes to it have no effect any more.
    request_sent: Option<SentHeaders>,
    /// The response's head has gone downstream with these: changes to it have no effect any more, nor has a local
    /// reply.
    response_sent: Option<SentHeaders>,
    /// The tasks that wait for the stream to be interrupted: the exchange's own, and those of the connections upstream
    /// that have pulled its body, one for each try. Each is in it once.
    waiting: Vec<Waker>,
}

/// A request's head, pseudo headers apart.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// `:method`
    pub method: Method,
    /// `:scheme`
    pub scheme: Scheme,
    /// `:authority`, from the Host header or the absolute form; `Host` itself is not in `headers`.
    pub authority: Option<Authority>,
    /// `:path`, query included.
    pub path: PathAndQuery,
    /// All others; empty once the head has gone upstream.
    pub headers: HeaderMap,
}

/// A response's head, pseudo headers apart.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// `:status`
    pub status: StatusCode,
    /// All others; empty once the head has gone downstream.
    pub headers: HeaderMap,
}

/// A response that a filter wrote.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// Status code.
    pub status: StatusCode,
    /// Why, for the access log; no white space.
    pub details: String,
    /// Headers in addition to those that the gateway sets.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
}

/// TLS of a client's connection.
#[derive(Clone, Debug)]
pub struct ConnectionTls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The client's certificate, if it showed one that was accepted.
    pub peer: Option<PeerCertificate>,
}

/// What is known of a client by its certificate.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// As in RFC 2253: `CN=client,O=Example`.
    pub subject: String,
    /// The first DNS name in it.
    pub dns_name: Option<String>,
    /// The first URI in it.
    pub uri: Option<String>,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

/// What properties tell of a stream.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Unique in the process.
    pub connection_id: u64,
    /// The peer.
    pub source: SocketAddr,
    /// The listener's side of the connection.
    pub destination: SocketAddr,
    /// What TLS the client's connection has; `None` is plaintext.
    pub tls: Option<Arc<ConnectionTls>>,
    /// The request's protocol.
    pub version: Version,
    /// `x-request-id`, the client's or made.
    pub request_id: String,
    /// When the request's head had arrived.
    pub started: SystemTime,
    /// The same on the monotonic clock.
    pub started_at: Instant,
    /// The latest time at which the exchange may end; foreign calls inherit it.
    pub deadline: Instant,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the route.
    pub route: Arc<str>,
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// The endpoint, once one was chosen.
    pub upstream: Option<SocketAddr>,
    /// Bytes of request body so far.
    pub request_bytes: u64,
    /// Bytes of response body so far.
    pub response_bytes: u64,
    /// Why the response is what it is, such as `via_upstream`.
    pub code_details: Cow<'static, str>,
    /// Envoy-like flags, such as `UF`; empty if nothing went wrong.
    pub response_flags: &'static str,
    /// The request's span, if it is recorded: the parent of what filters ask for.
    pub trace: Option<Arc<RequestSpan>>,
}

impl Stream {
    /// A stream whose request has just arrived.
    pub fn new(request: RequestHead, info: StreamInfo) -> Arc<Self> {
        let state = StreamState {
            request,
            request_trailers: None,
            response: None,
            response_trailers: None,
            info,
            properties: BTreeMap::new(),
            local_reply: None,
            reset: false,
            route_stale: false,
            request_sent: None,
            response_sent: None,
            waiting: Vec::new(),
        };
        Arc::new(Stream { state: Mutex::new(state) })
    }

    /// The state, for a moment: never hold it across an await or a callback.
    pub fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock()
    }

    /// Answers the stream with `reply`, unless an earlier answer or the response's head was first.
    /// Says whether it was taken.
    pub fn reply_locally(&self, reply: LocalReply) -> bool {
        let mut state = self.state.lock();
        let free = state.local_reply.is_none() && state.response_sent.is_none();
        if free {
            state.local_reply = Some(reply);
        }
        state.wake();
        free
    }

    /// Closes the stream without an answer.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        state.reset = true;
        state.wake();
    }

    /// Returns once a filter has answered the stream locally or reset it, from whatever callback.
    ///
    /// # Cancel safety
    /// Safe. Any number of tasks may wait.
    pub async fn interrupted(&self) {
        poll_fn(|cx| self.poll_interrupted(cx)).await;
    }

    /// The same, to be polled. Every task that has polled is woken.
    pub fn poll_interrupted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_interrupted() {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether a filter has answered the stream locally or reset it.
    pub fn is_interrupted(&self) -> bool {
        self.state.lock().is_interrupted()
    }
}

impl StreamState {
    /// The request's head, which goes upstream: from now on filters only read what it was.
    pub fn send_request(&mut self) -> RequestHead {
        let headers = std::mem::take(&mut self.request.headers);
        self.request_sent = Some(SentHeaders::of(&headers));
        RequestHead { headers, ..self.request.first_line() }
    }

    /// The response's head, which goes downstream: from now on filters only read what it was. `None` if there is none.
    pub fn send_response(&mut self) -> Option<ResponseHead> {
        let headers = self.response.as_mut().map(|head| std::mem::take(&mut head.headers));
        self.response_sent = Some(headers.as_ref().map(SentHeaders::of).unwrap_or_default());
        let status = self.response.as_ref()?.status;
        Some(ResponseHead { status, headers: headers? })
    }

    pub(crate) fn request_sent(&self) -> Option<&SentHeaders> {
        self.request_sent.as_ref()
    }

    pub(crate) fn response_sent(&self) -> Option<&SentHeaders> {
        self.response_sent.as_ref()
    }

    /// The request's headers, as they are or were.
    pub(crate) fn request_fields(&self) -> Fields<'_> {
        self.request_sent.as_ref().map_or(Fields::Map(&self.request.headers), Fields::Sent)
    }

    /// The response's headers, as they are or were.
    pub(crate) fn response_fields(&self) -> Option<Fields<'_>> {
        let head = self.response.as_ref()?;
        Some(self.response_sent.as_ref().map_or(Fields::Map(&head.headers), Fields::Sent))
    }

    fn is_interrupted(&self) -> bool {
        self.local_reply.is_some() || self.reset
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl RequestHead {
    /// The same without its headers.
    pub(crate) fn first_line(&self) -> RequestHead {
        RequestHead {
            method: self.method.clone(),
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            path: self.path.clone(),
            headers: HeaderMap::new(),
        }
    }
}
