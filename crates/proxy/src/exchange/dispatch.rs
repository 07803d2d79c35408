//! A request on its way to what answers it, up to the head of the response.

use std::pin::pin;

use agw_wasm::ResponseHead;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use tokio::time::Instant;

use super::{Exchange, Halt};
use crate::body::{Fault, RequestBody, ResponseSource};
use crate::head;
use crate::reply::{self, Problem};
use crate::upstream::{SendError, SendPlan, Sent, echo};

impl Exchange {
    /// Has the request answered by the route's action: sends it to the cluster that was drawn, and waits for the head
    /// of its response, at most until the deadline.
    pub(super) async fn dispatch(
        &mut self,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<(ResponseHead, ResponseSource), Halt> {
        let Some(route) = self.route.clone() else { return Err(reply::ROUTE_NOT_FOUND.into()) };
        let (Some(forwarding), Some(target)) = (route.action.forwarding(), route.targets.get(self.share))
        else {
            return Box::pin(self.answer_here(&route.action, request)).await;
        };
        let hash = if forwarding.has_key() { self.hash(forwarding, &request) } else { None };
        forwarding.rewrite(&mut request)?;
        if self.wish.is_some() {
            self.pass_wish(forwarding, &target.upstream, &mut request)?;
        }
        if target.upstream.is_echo() {
            let echoed = self.clock.before(self.deadline, Box::pin(echo(request))).await;
            return match echoed.ok_or_else(|| self.late(reply::ROUTE_TIMEOUT))? {
                Ok((head, body)) => Ok((head, ResponseSource::Whole(body))),
                Err(error) => Err(body_halt(error.fault())),
            };
        }
        self.upstream_span_begins(&mut request, &target.cluster);
        let before = Instant::now();
        let plan = SendPlan {
            retry: forwarding.retry(),
            hash,
            deadline: self.deadline,
            endpoint_host: forwarding.host_of_endpoint(),
            upgrade: self.wish.is_some(),
            tries: &self.tries,
        };
        let sent = {
            let sending = pin!(target.upstream.send(request, plan));
            self.clock.before(self.deadline, sending).await
        };
        let Sent { response, lease } = match sent.ok_or_else(|| self.late(reply::ROUTE_TIMEOUT))? {
            Ok(answered) => answered,
            Err(error) => return Err(self.send_failed(&error)),
        };
        route.stats.upstream_answered(before.elapsed());
        self.upstream_span_answered(response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && self.wish.is_some() {
            let head = Box::pin(self.agree(response, lease)).await?;
            return Ok((head, ResponseSource::Whole(bytes::Bytes::new())));
        }
        let (parts, incoming) = response.into_parts();
        // The gateway asked for no upgrade, so 101 is no answer to its request.
        if parts.status.is_informational() {
            return Err(reply::UPSTREAM_PROTOCOL_ERROR.into());
        }
        if parts.status.is_success() && self.is_extended() {
            return Err(reply::UPGRADE_REFUSED.into());
        }
        let mut head = ResponseHead { status: parts.status, headers: parts.headers };
        head::strip_response(&mut head.headers).map_err(|_| reply::UPSTREAM_PROTOCOL_ERROR)?;
        Ok((head, ResponseSource::Upstream { incoming, lease: Some(lease) }))
    }

    /// What to answer if time is up: `otherwise`, unless it was the request's body that did not move.
    #[cold]
    pub(super) fn late(&self, otherwise: Problem) -> Problem {
        match &self.meter {
            Some(meter) if self.clock.is_silent() && meter.is_awaited.get() => reply::REQUEST_BODY_TIMEOUT,
            Some(_) if self.clock.is_silent() => reply::REQUEST_BODY_NOT_TAKEN,
            _ => otherwise,
        }
    }

    /// What to answer if nothing came from upstream. The request's body may be to blame.
    fn send_failed(&self, error: &SendError) -> Halt {
        if let Some(fault) = self.meter.as_ref().and_then(|meter| meter.fault.get()) {
            return body_halt(fault);
        }
        tracing::debug!(error = error as &dyn std::error::Error, "no response from upstream");
        let problem = match error {
            SendError::Connect { .. } => reply::UPSTREAM_CONNECT_FAILED,
            SendError::Overflow { .. } => reply::UPSTREAM_OVERFLOW,
            SendError::TryTimeout => reply::UPSTREAM_TRY_TIMEOUT,
            SendError::Exchange(error) if error.is_parse() => reply::UPSTREAM_PROTOCOL_ERROR,
            SendError::Exchange(_) => reply::UPSTREAM_RESET,
        };
        problem.into()
    }
}

/// What a fault of the request's body comes to.
pub(super) fn body_halt(fault: Fault) -> Halt {
    match fault {
        Fault::TooLarge => reply::REQUEST_TOO_LARGE.into(),
        Fault::BufferFull => reply::REQUEST_BUFFER_FULL.into(),
        Fault::Source => reply::REQUEST_BODY_BROKEN.into(),
        Fault::Interrupted => Halt::Interrupted,
    }
}

/// A request for upstream. The body says how it is framed, whatever the headers said.
pub(super) fn upstream_request(
    method: Method,
    path: PathAndQuery,
    mut headers: HeaderMap,
    body: RequestBody,
) -> Box<Request<RequestBody>> {
    // Said outright, because hyper takes a GET of unknown length for one without body.
    if body.known_length().is_none() {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // Boxed: it passes through many hands on its way to the connection.
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.into();
    *request.headers_mut() = headers;
    request
}
