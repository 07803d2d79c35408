//! What answers a route's requests: an upstream, or the gateway itself.
//!
//! Compiled once per snapshot, for all workers. A plain route to one cluster has nothing in it that costs a request
//! anything.

mod forward;
mod redirect;
mod rewrite;

use agw_config::{DirectResponse, Route, RouteAction};
use agw_wasm::{LocalReply, ResponseHead};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

pub(crate) use self::forward::Forwarding;
pub(crate) use self::redirect::Redirection;
use crate::error::RuntimeError;
use crate::reply::Reply;

/// What answers.
#[derive(Debug)]
pub(crate) enum Action {
    Forward(Forwarding),
    Redirect(Redirection),
    Respond(FixedReply),
}

/// The same words for every request.
#[derive(Debug)]
pub(crate) struct FixedReply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Action {
    /// What `route` says.
    ///
    /// # Errors
    /// A pattern does not compile, or a name, address or status is not valid.
    pub(crate) fn compile(route: &Route) -> Result<Self, RuntimeError> {
        Ok(match &route.action {
            RouteAction::Forward(forward) => Action::Forward(Forwarding::compile(forward, route)?),
            RouteAction::Redirect(redirect) => Action::Redirect(Redirection::compile(redirect, route)?),
            RouteAction::Respond(fixed) => Action::Respond(FixedReply::compile(fixed, route)?),
        })
    }

    /// How requests are forwarded, if they are.
    pub(crate) fn forwarding(&self) -> Option<&Forwarding> {
        match self {
            Action::Forward(forwarding) => Some(forwarding),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// For the access log: who answered, if all went well.
    pub(crate) fn details(&self) -> &'static str {
        match self {
            Action::Forward(_) => "via_upstream",
            Action::Redirect(_) => "redirect",
            Action::Respond(_) => "direct_response",
        }
    }
}

impl FixedReply {
    fn compile(fixed: &DirectResponse, route: &Route) -> Result<Self, RuntimeError> {
        let not_valid = |name: &str| RuntimeError::name_not_valid(route, name);
        let mut headers = HeaderMap::with_capacity(fixed.headers.len());
        for (name, value) in &fixed.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| not_valid(name))?;
            headers.append(header, HeaderValue::from_str(value).map_err(|_| not_valid(name))?);
        }
        let status = StatusCode::from_u16(fixed.status).ok().filter(|status| !status.is_informational());
        let status = status.ok_or_else(|| not_valid(&fixed.status.to_string()))?;
        Ok(FixedReply { status, headers, body: Bytes::copy_from_slice(fixed.body.as_bytes()) })
    }

    /// The answer, framed: as a filter's local reply, of which it is the operator's form.
    pub(crate) fn answer(&self) -> (ResponseHead, Bytes) {
        let FixedReply { status, headers, body } = self;
        let (details, headers, body) = (String::new(), headers.clone(), body.clone());
        let reply = Reply::from(LocalReply { status: *status, details, headers, body });
        (reply.head, reply.body)
    }
}

#[cfg(test)]
mod tests;
