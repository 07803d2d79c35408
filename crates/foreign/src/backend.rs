//! What a backend implements, and what it is told of a call.

use std::future::Future;
use std::pin::Pin;

use agw_telemetry::CallTrace;
use agw_wire::{Answer, CallError, Request, Response};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::breaker::BreakerState;
use crate::span::Operation;

/// Names a context over the whole process, so that what it holds (a lease) can be taken back when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextKey(pub u64);

/// Where a call comes from.
#[derive(Clone, Debug)]
pub struct CallSite {
    /// Index of the worker whose event loop runs the call.
    pub worker: usize,
    /// The calling context.
    pub context: ContextKey,
    /// Calls that the context has made for its request before this one; 0 if it belongs to none.
    pub calls_before: u32,
    /// The request's own deadline, if the call belongs to a request.
    pub deadline: Option<Instant>,
    /// Ends the call with `cancelled`: the stream has ended, or the plugin took the call back.
    pub cancel: CancellationToken,
    /// The call's span, if its request is recorded. Whoever runs a part of the call adds the part's time.
    pub trace: Option<CallTrace>,
}

/// What a backend gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer's bytes. Empty ones: no server was asked, and the breaker learns nothing from it.
    pub body: ReplyBody,
    /// The lease that is still held; 0 means none.
    pub lease: u32,
}

/// The bytes of an answer, by what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A Redis server's own bytes.
    Resp(Bytes),
    /// An encoded [`agw_wire::sql::Reply`].
    Sql(Bytes),
}

/// A call on its way. Dropping it at any point is safe: what it was using is given back or thrown away.
pub type BackendFuture = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

/// One resource, as one plugin may use it. Made once for each grant; shared by every VM of the plugin.
pub trait GrantedResource: Send + Sync {
    /// What the call comes to, if that is known without asking the server (it is in a cache). Asked before
    /// [`GrantedResource::start`], which is then left out. Such a call waits for nothing: it takes no place, and an open
    /// breaker does not hold it up. Must not block.
    fn known(&self, request: &Request<'_>, site: &CallSite) -> Option<Result<Reply, CallError>> {
        let _ = (request, site);
        None
    }

    /// What the call asks for, for its span. Asked only of calls whose request is recorded.
    fn operation(&self, request: &Request<'_>) -> Operation {
        let _ = request;
        Operation::default()
    }

    /// Checks the call against the grant and starts it. The checks are done before this returns; nothing is sent
    /// before the future is polled.
    ///
    /// The future ends by `deadline` with the timeout that fits the stage it is in. It is polled on the event loop
    /// of `site.worker` and never blocks it.
    ///
    /// # Errors
    /// `denied`, `invalid` or `too_large`: the call never leaves the gateway.
    fn start(
        &self,
        request: &Request<'_>,
        site: &CallSite,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError>;

    /// The context is gone: what it still holds goes back.
    fn context_ended(&self, context: ContextKey);
}

impl Reply {
    /// A Redis server's own bytes, with the lease that is still held.
    pub fn resp(bytes: impl Into<Bytes>, lease: u32) -> Self {
        Reply { body: ReplyBody::Resp(bytes.into()), lease }
    }

    /// An encoded [`agw_wire::sql::Reply`].
    pub fn sql(bytes: impl Into<Bytes>) -> Self {
        Reply { body: ReplyBody::Sql(bytes.into()), lease: 0 }
    }

    /// The bytes of its [`Response`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        let answer = match &self.body {
            ReplyBody::Resp(bytes) => Answer::Resp(bytes),
            ReplyBody::Sql(bytes) => Answer::Sql(bytes),
        };
        Response { answer, lease: self.lease }.encode()
    }

    /// The answer's bytes, whatever they are.
    pub fn bytes(&self) -> &Bytes {
        match &self.body {
            ReplyBody::Resp(bytes) | ReplyBody::Sql(bytes) => bytes,
        }
    }
}

/// A resource as `/v1/resources` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Connections that carry many calls at once.
    pub multiplexed: usize,
    /// Connections leased exclusively.
    pub leased: usize,
    /// Leasable connections that are idle.
    pub idle: usize,
    /// The class of the last failure to connect, if the last attempt failed. Never an address.
    pub last_error: Option<String>,
    /// The servers that were found, where the configuration does not name them. Empty elsewhere.
    pub nodes: Vec<NodeStatus>,
}

/// One server of several, as `/v1/resources` shows it to the operator. Never to a guest: it has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Host and port.
    pub at: String,
    /// `primary` or `replica`, as the topology has it.
    pub role: &'static str,
    /// Calls that were sent to it, or parts of calls, since it is known.
    pub calls: u64,
    /// As in [`ResourceStatus`].
    pub multiplexed: usize,
    /// As in [`ResourceStatus`].
    pub leased: usize,
    /// As in [`ResourceStatus`].
    pub idle: usize,
    /// As in [`ResourceStatus`].
    pub last_error: Option<String>,
    /// Of its own breaker, if it has one.
    pub breaker: Option<BreakerState>,
}
