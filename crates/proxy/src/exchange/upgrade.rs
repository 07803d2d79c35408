//! A request that asks to go on in another protocol, such as WebSocket (RFC 9110, 7.8).
//!
//! If the route allows the protocol and the cluster speaks HTTP/1.1, the request goes upstream with its wish. A 101
//! that agrees makes a [`Tunnel`], which the client's connection drives from then on; any other answer is an ordinary
//! response. Where a wish is not allowed, the request is served without it, as RFC 9110 lets a server do.

use std::time::Duration;

use agw_wasm::ResponseHead;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;

use super::{Exchange, assemble};
use crate::action::Forwarding;
use crate::body::{RequestBody, ResponseBody};
use crate::head;
use crate::reply::{self, Problem};
use crate::upstream::{Lease, Upstream};

/// What a client wants to upgrade to: one protocol, in lower case.
pub(super) type Wish = Box<str>;

/// A connection that goes on in another protocol.
pub(crate) struct Tunnel {
    /// Ends, and is logged, with the tunnel.
    pub(crate) exchange: Box<Exchange>,
    pub(crate) upstream: Upgraded,
    /// Counts the upstream's connection.
    pub(crate) lease: Lease,
}

/// The upstream's half of a tunnel, until the client has its 101.
pub(super) struct Agreed {
    pub(super) upstream: Upgraded,
    pub(super) lease: Lease,
    pub(super) protocol: HeaderValue,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// Both sides said all they had to say, or one broke off.
    Closed,
    /// No byte came for the route's idle time-out.
    Idle,
    /// The worker stops.
    Drained,
}

/// What the request wishes. A wish with a body, or for several protocols at once, is not served.
#[cold]
pub(super) fn wish(parts: &Parts, incoming: &Incoming) -> Option<Wish> {
    let connection = parts.headers.get_all(CONNECTION).iter();
    let mut options = connection.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let named = options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let mut protocols = parts.headers.get_all(UPGRADE).iter();
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else { return None };
    let protocol = protocol.to_str().ok()?.trim();
    let bodiless = http_body::Body::is_end_stream(incoming);
    let one = named && bodiless && parts.version == Version::HTTP_11 && !protocol.contains(',');
    one.then(|| protocol.to_ascii_lowercase().into_boxed_str())
}

/// Says what is wished, or agreed on, in a head that has lost it.
pub(super) fn tell(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

impl Exchange {
    /// Takes over the upstream's connection after a 101.
    ///
    /// # Errors
    /// If the upstream switches to what nobody asked for, or breaks off.
    pub(super) async fn agree(
        &mut self,
        mut response: Response<Incoming>,
        lease: Lease,
    ) -> Result<ResponseHead, Problem> {
        let protocol = response.headers().get(UPGRADE).cloned();
        let wished = self.wish.as_ref().map(|wish| wish.as_bytes());
        let protocol = protocol
            .filter(|protocol| wished.is_some_and(|wish| wish.eq_ignore_ascii_case(protocol.as_bytes())))
            .ok_or(reply::UPSTREAM_PROTOCOL_ERROR)?;
        let upgraded = hyper::upgrade::on(&mut response);
        let upstream = self.clock.before(self.deadline, upgraded).await.ok_or(reply::ROUTE_TIMEOUT)?;
        let upstream = upstream.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "upgrade broken off");
            reply::UPSTREAM_RESET
        })?;
        let mut headers = std::mem::take(response.headers_mut());
        head::strip_hop_by_hop(&mut headers);
        headers.remove(CONTENT_LENGTH);
        self.agreed = Some(Box::new(Agreed { upstream, lease, protocol }));
        Ok(ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers })
    }

    /// Puts the wish into the request, or forgets it where it is not allowed.
    #[cold]
    pub(super) fn pass_wish(
        &mut self,
        forwarding: &Forwarding,
        upstream: &Upstream,
        request: &mut Request<RequestBody>,
    ) {
        self.wish = self.wish.take().filter(|wish| forwarding.allows_upgrade(wish) && upstream.can_upgrade());
        if let Some(protocol) = self.wish.as_deref().and_then(|wish| HeaderValue::from_str(wish).ok()) {
            tell(request.headers_mut(), protocol);
        }
    }

    /// Answers 101, and leaves the rest to the client's connection.
    #[cold]
    pub(super) fn hand_over(
        mut self: Box<Self>,
        mut head: ResponseHead,
        agreed: Agreed,
    ) -> Response<ResponseBody> {
        self.response_begins(&mut head);
        tell(&mut head.headers, agreed.protocol);
        let connection = std::rc::Rc::clone(&self.connection);
        connection.set_tunnel(Tunnel { exchange: self, upstream: agreed.upstream, lease: agreed.lease });
        assemble(head, ResponseBody::handed_over())
    }

    /// How long a tunnel, or a body, may be silent.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.route.as_ref().map_or(Duration::MAX, |route| route.route.idle_timeout)
    }

    /// A tunnel begins: its time is not the route's any more.
    pub(crate) fn tunnel_begins(&self) {
        self.clock.exchange_begins();
    }

    /// The tunnel has ended, after so many bytes from and to the client.
    pub(crate) fn tunnel_ended(mut self: Box<Self>, received: u64, sent: u64, end: TunnelEnd) {
        self.meter().bytes.set(received);
        self.response_bytes = sent;
        match end {
            TunnelEnd::Closed => self.completed(),
            TunnelEnd::Idle => self.failed("upgrade_idle_timeout", "SI"),
            TunnelEnd::Drained => self.failed("drain_timeout", ""),
        }
    }
}
