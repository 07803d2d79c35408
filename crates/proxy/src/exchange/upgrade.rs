//! A request that asks to go on in another protocol, such as WebSocket (RFC 9110, 7.8).
//!
//! If the route allows the protocol and the cluster speaks HTTP/1.1, the request goes upstream with its wish. A 101
//! that agrees makes a [`Tunnel`], which the client's connection drives from then on; any other answer is an ordinary
//! response. Where a wish is not allowed, the request is served without it, as RFC 9110 lets a server do.
//!
//! HTTP/2 has the extended CONNECT for it (RFC 8441). Inside the gateway it is the same request as in HTTP/1.1, a GET
//! with a wish, and the same answer, 101: plugins, routes, upstream and log see one kind of upgrade. Only what goes back
//! to the client differs: 200 begins a tunnel there, so no other answer may have a status like it, and a wish that is
//! not allowed cannot be overlooked.

mod websocket;

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use agw_wasm::ResponseHead;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};

use self::websocket::Accept;
use super::{Exchange, assemble};
use crate::action::Forwarding;
use crate::body::{RequestBody, ResponseBody};
use crate::connection::Cut;
use crate::head;
use crate::reply::{self, Problem};
use crate::upstream::{Lease, Upstream};

const WEBSOCKET: &str = "websocket";

/// What a client wants to upgrade to.
pub(super) struct Wish {
    /// In lower case.
    protocol: Box<str>,
    /// The client's half, if it is a stream of HTTP/2.
    stream: Option<Box<Extended>>,
}

/// Of an extended CONNECT.
struct Extended {
    /// Comes once 200 has gone out.
    client: OnUpgrade,
    /// What the upstream has to prove that it speaks WebSocket.
    accept: Option<Accept>,
}

/// Writes to the client's stream what the tunnel has for it, and ends when all of it is out or the client is gone.
pub(crate) type Writer = Pin<Box<dyn Future<Output = ()>>>;

/// A connection, or a stream of HTTP/2, that goes on in another protocol.
pub(crate) struct Tunnel {
    /// Ends, and is logged, with the tunnel.
    pub(crate) exchange: Box<Exchange>,
    /// The client's stream, once the head has gone out; with HTTP/1.1 it is the connection itself.
    pub(crate) client: Option<OnUpgrade>,
    /// Of that stream.
    pub(crate) writer: Option<Writer>,
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
    one.then(|| Wish { protocol: protocol.to_ascii_lowercase().into(), stream: None })
}

/// Makes an extended CONNECT of HTTP/2 a GET with a wish. A plain CONNECT stays what it is.
#[cold]
pub(super) fn extended(request: &mut Request<Incoming>) -> Option<Wish> {
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    let client = hyper::upgrade::on(&mut *request);
    *request.method_mut() = Method::GET;
    let protocol = protocol.as_str().to_ascii_lowercase().into();
    Some(Wish { protocol, stream: Some(Box::new(Extended { client, accept: None })) })
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
        let wished = self.wish.as_ref().map(|wish| wish.protocol.as_bytes());
        let protocol = protocol
            .filter(|protocol| wished.is_some_and(|wish| wish.eq_ignore_ascii_case(protocol.as_bytes())))
            .ok_or(reply::UPSTREAM_PROTOCOL_ERROR)?;
        let accept = self.extended().and_then(|extended| extended.accept.take());
        if accept.is_some_and(|accept| !accept.take(response.headers_mut())) {
            return Err(reply::UPSTREAM_PROTOCOL_ERROR);
        }
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
    ///
    /// # Errors
    /// If it is not allowed, and the client would take another answer for the tunnel.
    #[cold]
    pub(super) fn pass_wish(
        &mut self,
        forwarding: &Forwarding,
        upstream: &Upstream,
        request: &mut Request<RequestBody>,
    ) -> Result<(), Problem> {
        let Some(wish) = &mut self.wish else { return Ok(()) };
        let protocol = HeaderValue::from_str(&wish.protocol).ok();
        let allowed = forwarding.allows_upgrade(&wish.protocol) && upstream.can_upgrade();
        match (protocol.filter(|_| allowed), &mut wish.stream) {
            (Some(protocol), stream) => {
                if let Some(stream) = stream.as_mut().filter(|_| *wish.protocol == *WEBSOCKET) {
                    stream.accept = Some(websocket::set_key(request.headers_mut()));
                }
                tell(request.headers_mut(), protocol);
            }
            (None, Some(_)) => return Err(reply::UPGRADE_NOT_ALLOWED),
            (None, None) => self.wish = None,
        }
        Ok(())
    }

    /// Whether the client would take a success for the beginning of a tunnel.
    pub(super) fn is_extended(&self) -> bool {
        self.wish.as_ref().is_some_and(|wish| wish.stream.is_some())
    }

    fn extended(&mut self) -> Option<&mut Extended> {
        self.wish.as_mut().and_then(|wish| wish.stream.as_deref_mut())
    }

    /// No success but the tunnel itself may reach a client that waits for one.
    #[cold]
    pub(super) fn refuse_upgrade(&mut self, head: &mut ResponseHead) {
        head.status = reply::UPGRADE_REFUSED.status;
        (self.details, self.flags) = (reply::UPGRADE_REFUSED.details, "");
    }

    /// Answers 101, or what stands for it in HTTP/2, and leaves the rest to the client's connection or stream.
    #[cold]
    pub(super) fn hand_over(
        mut self: Box<Self>,
        mut head: ResponseHead,
        agreed: Agreed,
    ) -> Response<ResponseBody> {
        self.response_begins(&mut head);
        let client = self.wish.take().and_then(|wish| wish.stream).map(|stream| stream.client);
        if client.is_some() {
            head.status = StatusCode::OK;
        } else {
            tell(&mut head.headers, agreed.protocol);
        }
        let (clock, connection) = (Rc::clone(&self.clock), Rc::clone(&self.connection));
        if client.is_some() {
            connection.set_upgrading(&clock);
        }
        let Agreed { upstream, lease, .. } = agreed;
        clock.set_tunnel(Tunnel { exchange: self, client, writer: None, upstream, lease });
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

    /// How it ended, if one of its sides has. A stream of HTTP/2 may learn that its connection is gone before it
    /// learns why.
    pub(crate) fn tunnel_closed(&self) -> TunnelEnd {
        if self.connection.cut() == Some(Cut::Drained) { TunnelEnd::Drained } else { TunnelEnd::Closed }
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
