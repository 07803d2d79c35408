//! A plugin's place in the filter chain of one stream.
//!
//! In a shared VM the guest is never suspended, so a callback is a plain call ([`shared`]); in an exclusive one it may
//! wait for a foreign call ([`exclusive`]).

mod call;
mod exclusive;
mod shared;

use std::sync::Arc;
use std::task::{Context, Waker};

use agw_config::FailurePolicy;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use self::call::Call;
use crate::context::{Direction, StreamContext};
use crate::exports::Callback;
use crate::plugin::LoadedPlugin;
use crate::pool::VmLease;
use crate::spawner::LocalFuture;
use crate::stream::{LocalReply, Stream};
use crate::unbroken::Unbroken;

/// Details of the answer that a `fail_closed` plugin's failure gives.
const FAILED: &str = "wasm_fail_stream";

/// One plugin's stream context. Dropping it ends the context: its foreign calls return `cancelled`, a callback that
/// is suspended finishes in the background, and then `proxy_on_done`, `proxy_on_log` and `proxy_on_delete` run.
pub struct Filter {
    parts: Option<Parts>,
    plugin: Arc<LoadedPlugin>,
    context: Arc<StreamContext>,
}

struct Parts {
    lease: VmLease,
    id: u32,
}

/// What a filter wants to see: the callbacks that its module exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// `proxy_on_request_headers`
    pub request_headers: bool,
    /// `proxy_on_request_body`
    pub request_body: bool,
    /// `proxy_on_request_trailers`
    pub request_trailers: bool,
    /// `proxy_on_response_headers`
    pub response_headers: bool,
    /// `proxy_on_response_body`
    pub response_body: bool,
    /// `proxy_on_response_trailers`
    pub response_trailers: bool,
}

/// What a callback came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the next filter.
    Continue,
    /// Wait until the guest resumes this direction.
    Pause,
    /// The stream holds a local reply or is to be reset.
    Interrupted,
}

impl Wants {
    /// What a module asks for by exporting it.
    pub(crate) fn of(exports: impl Fn(&str) -> bool) -> Self {
        Wants {
            request_headers: exports("proxy_on_request_headers"),
            request_body: exports("proxy_on_request_body"),
            request_trailers: exports("proxy_on_request_trailers"),
            response_headers: exports("proxy_on_response_headers"),
            response_body: exports("proxy_on_response_body"),
            response_trailers: exports("proxy_on_response_trailers"),
        }
    }
}

// === impl Filter ===

impl Filter {
    /// Creates the context in the guest. A guest that traps here follows its plugin's policy, like everywhere.
    pub(crate) async fn open(lease: VmLease, stream: &Arc<Stream>) -> Filter {
        let context = StreamContext::new(stream.clone());
        if !lease.vm.plugin.exclusive() {
            let id = lease.vm.try_enter().and_then(|entry| shared::create(entry, &context));
            return Filter::of(lease, context, id);
        }
        let spawner = lease.spawner().clone();
        // Dropped half-way, it makes the filter in the background, which then ends like any other.
        let create = exclusive::open(lease, context.clone());
        Unbroken::new(Box::pin(create), &spawner, &context).await
    }

    /// Without `id` the guest has trapped.
    fn of(lease: VmLease, context: Arc<StreamContext>, id: Option<u32>) -> Filter {
        let plugin = lease.vm.plugin.clone();
        if id.is_none() {
            context.fail();
        }
        let parts = id.map(|id| Parts { lease, id });
        Filter { parts, plugin, context }
    }

    /// What its module exports.
    pub fn wants(&self) -> Wants {
        self.plugin.module.wants
    }

    /// `proxy_on_request_headers`
    ///
    /// # Cancel safety
    /// This and every other callback may be dropped: the guest then finishes in the background, with its foreign
    /// calls cancelled, and the filter is of no further use.
    pub async fn request_headers(&self, end_of_stream: bool) -> Verdict {
        let count = head_count(self.context.stream.state().request.headers.len(), 4);
        self.callback(Callback::RequestHeaders, Direction::Request, count, end_of_stream).await
    }

    /// `proxy_on_request_body`, with all that the filter holds and `chunk`.
    pub async fn request_body(&self, chunk: Bytes, end_of_stream: bool) -> Verdict {
        let size = self.hold(Direction::Request, chunk);
        self.callback(Callback::RequestBody, Direction::Request, size, end_of_stream).await
    }

    /// `proxy_on_request_trailers`
    pub async fn request_trailers(&self) -> Verdict {
        let count = self.context.stream.state().request_trailers.as_ref().map_or(0, HeaderMap::len);
        self.callback(Callback::RequestTrailers, Direction::Request, head_count(count, 0), true).await
    }

    /// `proxy_on_response_headers`
    pub async fn response_headers(&self, end_of_stream: bool) -> Verdict {
        let count = self.context.stream.state().response.as_ref().map_or(0, |head| head.headers.len());
        self.callback(Callback::ResponseHeaders, Direction::Response, head_count(count, 1), end_of_stream)
            .await
    }

    /// `proxy_on_response_body`, with all that the filter holds and `chunk`.
    pub async fn response_body(&self, chunk: Bytes, end_of_stream: bool) -> Verdict {
        let size = self.hold(Direction::Response, chunk);
        self.callback(Callback::ResponseBody, Direction::Response, size, end_of_stream).await
    }

    /// `proxy_on_response_trailers`
    pub async fn response_trailers(&self) -> Verdict {
        let count = self.context.stream.state().response_trailers.as_ref().map_or(0, HeaderMap::len);
        self.callback(Callback::ResponseTrailers, Direction::Response, head_count(count, 0), true).await
    }

    /// What the filter holds of the request's body, as the guest left it; nothing is held afterwards.
    pub fn take_request_body(&self) -> Bytes {
        self.take(Direction::Request)
    }

    /// What the filter holds of the response's body, as the guest left it; nothing is held afterwards.
    pub fn take_response_body(&self) -> Bytes {
        self.take(Direction::Response)
    }

    /// Bytes that the filter holds of the request's body.
    pub fn request_body_len(&self) -> usize {
        self.context.state().request.body.len()
    }

    /// Bytes that the filter holds of the response's body.
    pub fn response_body_len(&self) -> usize {
        self.context.state().response.body.len()
    }

    /// Returns once the guest has resumed the request, or the plugin has failed.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn request_resumed(&self) {
        self.resumed(Direction::Request).await;
    }

    /// Returns once the guest has resumed the response, or the plugin has failed.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn response_resumed(&self) {
        self.resumed(Direction::Response).await;
    }

    /// Ends the context, as dropping does. The stream's state must hold what the log shall say.
    pub fn finish(self) {
        drop(self);
    }

    async fn resumed(&self, direction: Direction) {
        self.context.resumed(direction).await;
        if self.context.is_failed() {
            self.follow_policy();
        }
    }

    fn hold(&self, direction: Direction, chunk: Bytes) -> u32 {
        let mut state = self.context.state();
        let held = state.direction(direction);
        held.body_visible = true;
        held.body.push(chunk);
        u32::try_from(held.body.len()).unwrap_or(u32::MAX)
    }

    fn take(&self, direction: Direction) -> Bytes {
        let mut state = self.context.state();
        let held = state.direction(direction);
        held.body_visible = false;
        held.body.take()
    }

    async fn callback(
        &self,
        callback: Callback,
        direction: Direction,
        argument: u32,
        end_of_stream: bool,
    ) -> Verdict {
        let Some(parts) = self.parts.as_ref().filter(|_| !self.context.is_failed()) else {
            return self.follow_policy();
        };
        self.context.begin_callback(direction);
        let call = Call { id: parts.id, callback, argument, end_of_stream };
        let vm = &parts.lease.vm;
        let action = if self.plugin.exclusive() {
            let vm = vm.clone();
            let calling = async move { exclusive::call(&vm, call).await };
            Unbroken::new(Box::pin(calling), parts.lease.spawner(), &self.context).await
        } else {
            // Its guest is never suspended, so nobody else can be inside.
            vm.try_enter().and_then(|entry| shared::call(entry, &self.plugin, call))
        };
        let Some(action) = action else { return self.follow_policy() };
        if self.context.stream.is_interrupted() {
            return Verdict::Interrupted;
        }
        self.verdict(callback, direction, action)
    }

    /// Actions beyond 1 are those of the C++ SDK, and Envoy's.
    fn verdict(&self, callback: Callback, direction: Direction, action: u32) -> Verdict {
        let headers = matches!(callback, Callback::RequestHeaders | Callback::ResponseHeaders);
        let body = matches!(callback, Callback::RequestBody | Callback::ResponseBody);
        match action {
            0 => Verdict::Continue,
            // ContinueAndEndStream; the body that follows is the gateway's to judge.
            2 if headers => Verdict::Continue,
            _ if self.context.take_resumed(direction) => Verdict::Continue,
            // StopIterationNoBuffer: the bytes are the filter's, and are not kept for it.
            3 if body => {
                self.context.state().direction(direction).body.take();
                Verdict::Pause
            }
            _ => Verdict::Pause,
        }
    }

    fn follow_policy(&self) -> Verdict {
        follow_policy(&self.plugin, &self.context.stream)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let Some(Parts { lease, id }) = self.parts.take() else { return };
        self.context.cancel_calls();
        if tokio::runtime::Handle::try_current().is_err() {
            // The worker is gone: nobody can run the guest any more.
            return;
        }
        if !self.plugin.exclusive() {
            if lease.vm.try_enter().is_some_and(|entry| shared::end(entry, id)) {
                lease.pool_succeeded();
            }
            return;
        }
        let mut nobody = Context::from_waker(Waker::noop());
        let spawner = lease.spawner().clone();
        let mut end: LocalFuture<()> = Box::pin(exclusive::end(lease, id));
        // Most ends need not wait, and so no task.
        if end.as_mut().poll(&mut nobody).is_pending() {
            spawner.spawn_boxed(end);
        }
    }
}

/// What happens to a stream whose plugin has failed.
pub(crate) fn follow_policy(plugin: &LoadedPlugin, stream: &Stream) -> Verdict {
    match plugin.config.on_failure {
        FailurePolicy::FailOpen => Verdict::Continue,
        FailurePolicy::FailClosed => {
            let reply = LocalReply {
                status: StatusCode::SERVICE_UNAVAILABLE,
                details: FAILED.to_owned(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
            };
            if !stream.reply_locally(reply) && !stream.is_interrupted() {
                stream.reset();
            }
            Verdict::Interrupted
        }
    }
}

/// Headers and pseudo headers.
fn head_count(headers: usize, pseudo: u32) -> u32 {
    u32::try_from(headers).unwrap_or(u32::MAX - pseudo) + pseudo
}
