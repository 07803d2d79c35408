//! One HTTP exchange, as the filters of its chain see it and change it.
//!
//! The gateway makes a [`Stream`] per request, shares it with each filter, and reads back what they made of it.
//! All of this happens on one worker; the lock is there because a VM's data must be `Send`, and is never contended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use agw_telemetry::RequestSpan;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, StatusCode, Version};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

/// One HTTP exchange.
#[derive(Debug)]
pub struct Stream {
    state: Mutex<StreamState>,
    interrupt: Notify,
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
    /// The request's head has gone upstream: changes to it have no effect any more.
    pub request_sent: bool,
    /// The response's head has gone downstream: changes to it have no effect any more, nor has a local reply.
    pub response_sent: bool,
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
    /// All others.
    pub headers: HeaderMap,
}

/// A response's head, pseudo headers apart.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// `:status`
    pub status: StatusCode,
    /// All others.
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
    pub code_details: String,
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
            request_sent: false,
            response_sent: false,
        };
        Arc::new(Stream { state: Mutex::new(state), interrupt: Notify::new() })
    }

    /// The state, for a moment: never hold it across an await or a callback.
    pub fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock()
    }

    /// Answers the stream with `reply`, unless an earlier answer or the response's head was first.
    /// Says whether it was taken.
    pub fn reply_locally(&self, reply: LocalReply) -> bool {
        let taken = {
            let mut state = self.state.lock();
            let free = state.local_reply.is_none() && !state.response_sent;
            if free {
                state.local_reply = Some(reply);
            }
            free
        };
        self.interrupt.notify_one();
        taken
    }

    /// Closes the stream without an answer.
    pub fn reset(&self) {
        self.state.lock().reset = true;
        self.interrupt.notify_one();
    }

    /// Returns once a filter has answered the stream locally or reset it, from whatever callback.
    ///
    /// # Cancel safety
    /// Safe. One task waits at a time.
    pub async fn interrupted(&self) {
        loop {
            let notified = self.interrupt.notified();
            if self.is_interrupted() {
                return;
            }
            notified.await;
        }
    }

    /// Whether a filter has answered the stream locally or reset it.
    pub fn is_interrupted(&self) -> bool {
        let state = self.state.lock();
        state.local_reply.is_some() || state.reset
    }
}
