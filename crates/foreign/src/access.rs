//! What one plugin may call: from a guest's payload to a call on its way.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use agw_telemetry::Metrics;
use agw_wire::{CallError, Code, DecodeError, Request, Response, Style};
use tokio::time::Instant;

use crate::backend::{CallSite, ContextKey, GrantedResource, Reply};
use crate::call::Call;
use crate::grant::{Grant, GrantBounds, PluginGate, Refusal, UnderWay};
use crate::resource::{Resource, timed_out_in_queue};
use crate::span::Traced;

/// A call on its way; it gives the bytes of its `Response`. It never blocks and ends by the call's deadline.
///
/// # Cancel safety
/// Dropping it at any point is safe: places go back, a connection in mid-protocol is thrown away.
pub type CallFuture = Pin<Box<dyn Future<Output = Vec<u8>> + Send + 'static>>;

/// What became of a guest's payload.
pub enum Dispatch {
    /// No such function: status `NOT_FOUND`.
    NotFound,
    /// The payload is not a request: status `SERIALIZATION_FAILURE`.
    Undecodable(DecodeError),
    /// Take back the callback-style call of this id. The VM's host owns the table of its calls.
    Cancel(u32),
    /// Refused or answered at once.
    Answer {
        /// How the guest wants the answer.
        style: Style,
        /// An encoded `Response`.
        bytes: Vec<u8>,
    },
    /// On its way.
    Call {
        /// How the guest wants the answer.
        style: Style,
        /// To be polled on the event loop of the call's worker.
        future: CallFuture,
    },
}

/// What one plugin may call. Built once for each plugin of a snapshot; shared by all its VMs.
pub struct Access {
    gate: Arc<PluginGate>,
    /// Function name to granted resources by name. A function without any is still a function.
    functions: BTreeMap<String, BTreeMap<String, Arc<Grant>>>,
}

/// A call whose checks are done.
enum Started {
    /// It is on its way.
    Call(Call),
    /// What it comes to is known already.
    Known(Result<Reply, CallError>),
}

/// What was granted, by its name.
type Grants = BTreeMap<String, (Arc<Resource>, Arc<dyn GrantedResource>, GrantBounds)>;

/// Builds an [`Access`].
pub struct AccessBuilder {
    gate: PluginGate,
    functions: BTreeMap<String, Grants>,
}

// === impl Access ===

impl Access {
    /// Starts with no function at all. `foreign_calls_max` bounds the plugin's calls under way, over all workers;
    /// more are `overloaded`.
    pub fn builder(plugin: &str, foreign_calls_max: usize, metrics: Arc<Metrics>) -> AccessBuilder {
        let calls = UnderWay::new(foreign_calls_max);
        let gate = PluginGate { plugin: plugin.to_owned(), calls, request_calls_max: u32::MAX, metrics };
        AccessBuilder { gate, functions: BTreeMap::new() }
    }

    /// Knows no function: every call is [`Dispatch::NotFound`].
    pub fn empty(plugin: &str) -> Arc<Access> {
        Access::builder(plugin, 0, Arc::new(Metrics::new())).build()
    }

    /// One call as it comes from the guest. Never blocks: the payload and the grant are checked now, the rest
    /// happens when the future is polled.
    pub fn call(&self, function: &str, payload: &[u8], site: CallSite) -> Dispatch {
        let Some(grants) = self.functions.get(function) else { return Dispatch::NotFound };
        let request = match Request::decode(payload) {
            Ok(request) => request,
            Err(error) => return Dispatch::Undecodable(error),
        };
        if request.cancel != 0 {
            return Dispatch::Cancel(request.cancel);
        }
        let style = request.style;
        let Some(grant) = grants.get(request.resource) else {
            // Not in the metrics: the name is the guest's, and labels must stay bounded.
            return answer(
                style,
                CallError::new(Code::UnknownResource, "no resource of this name is granted"),
            );
        };
        let started = Instant::now();
        let traced = site.trace.clone().map(|call| {
            let operation = grant.granted.operation(&request);
            Box::new(Traced { call, operation })
        });
        match self.start(grant, &request, payload.len(), site, started) {
            Ok(Started::Call(mut call)) => {
                call.traced = traced;
                Dispatch::Call { style, future: Box::pin(call.run()) }
            }
            Ok(Started::Known(outcome)) => {
                if let Some(traced) = traced {
                    traced.end(&self.gate, grant, started, outcome.as_ref().err());
                }
                known(style, grant.end(&self.gate, started, &outcome))
            }
            Err(refusal) => {
                if let Some(traced) = traced {
                    traced.end(&self.gate, grant, started, Some(&refusal.error));
                }
                answer(style, grant.refused(&self.gate, started, refusal))
            }
        }
    }

    fn start(
        &self,
        grant: &Arc<Grant>,
        request: &Request<'_>,
        payload_bytes: usize,
        site: CallSite,
        started: Instant,
    ) -> Result<Started, Refusal> {
        let resource = &grant.resource;
        let max = resource.policy().request_bytes_max;
        if payload_bytes > max {
            let message =
                format!("the call has {payload_bytes} bytes, the resource takes {max} (request_bytes_max)");
            return Err(CallError::new(Code::TooLarge, message).into());
        }
        let deadline = resource.deadline(started, request.deadline_ms, site.deadline);
        if deadline <= started {
            return Err(timed_out_in_queue().into());
        }
        if let Some(outcome) = grant.granted.known(request, &site) {
            return Ok(Started::Known(outcome));
        }
        let backend = grant.granted.start(request, &site, deadline)?;
        // After the checks, so that a refusal drops what the call has taken: the answer says that its lease has ended.
        grant.admit(&self.gate, site.calls_before, started)?;
        let (gate, grant) = (Arc::clone(&self.gate), Arc::clone(grant));
        let CallSite { context, cancel, .. } = site;
        Ok(Started::Call(Call { gate, grant, backend, context, cancel, started, deadline, traced: None }))
    }

    /// The context is gone: what it still holds (leases) goes back.
    pub fn context_ended(&self, context: ContextKey) {
        for grant in self.functions.values().flat_map(BTreeMap::values) {
            grant.granted.context_ended(context);
        }
    }

    /// Whether the plugin holds any grant.
    pub fn has_grants(&self) -> bool {
        self.functions.values().any(|grants| !grants.is_empty())
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        &self.gate.plugin
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("plugin", &self.gate.plugin).finish_non_exhaustive()
    }
}

/// A caller who asked for a callback gets one.
fn known(style: Style, bytes: Vec<u8>) -> Dispatch {
    match style {
        Style::Blocking => Dispatch::Answer { style, bytes },
        Style::Callback => Dispatch::Call { style, future: Box::pin(std::future::ready(bytes)) },
    }
}

fn answer(style: Style, error: CallError) -> Dispatch {
    Dispatch::Answer { style, bytes: Response::from(error).encode() }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dispatch::NotFound => f.write_str("NotFound"),
            Dispatch::Undecodable(error) => f.debug_tuple("Undecodable").field(error).finish(),
            Dispatch::Cancel(id) => f.debug_tuple("Cancel").field(id).finish(),
            Dispatch::Answer { style, .. } => {
                f.debug_struct("Answer").field("style", style).finish_non_exhaustive()
            }
            Dispatch::Call { style, .. } => {
                f.debug_struct("Call").field("style", style).finish_non_exhaustive()
            }
        }
    }
}

// === impl AccessBuilder ===

impl AccessBuilder {
    /// Bounds the calls that the plugin may make for one request; more are `denied`. Without it there is no bound.
    pub fn calls_per_request(mut self, max: u32) -> Self {
        self.gate.request_calls_max = max;
        self
    }

    /// Makes the function known, granted or not: without a grant its calls are `unknown_resource`.
    pub fn function(mut self, function: &str) -> Self {
        self.functions.entry(function.to_owned()).or_default();
        self
    }

    /// Grants a resource under its name, all of it. A second grant of the same name replaces the first.
    pub fn grant(self, function: &str, resource: Arc<Resource>, granted: Arc<dyn GrantedResource>) -> Self {
        self.grant_within(function, resource, granted, GrantBounds::default())
    }

    /// The same within these bounds.
    pub fn grant_within(
        mut self,
        function: &str,
        resource: Arc<Resource>,
        granted: Arc<dyn GrantedResource>,
        bounds: GrantBounds,
    ) -> Self {
        let name = resource.name().to_owned();
        self.functions.entry(function.to_owned()).or_default().insert(name, (resource, granted, bounds));
        self
    }

    /// Done.
    pub fn build(self) -> Arc<Access> {
        let AccessBuilder { gate, functions } = self;
        let grant = |(name, (resource, granted, bounds))| {
            (name, Arc::new(Grant::new(&gate, resource, granted, bounds)))
        };
        let granted =
            |(function, grants): (String, Grants)| (function, grants.into_iter().map(grant).collect());
        let functions = functions.into_iter().map(granted).collect();
        Arc::new(Access { gate: Arc::new(gate), functions })
    }
}

#[cfg(test)]
mod tests;
