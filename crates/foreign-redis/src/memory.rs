//! `memory://NAME`: the embedded store. Answers come at the first poll.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use agw_foreign::{BackendFuture, CallSite, ContextKey, GrantedResource, Operation, Reply};
use agw_redis_memory::{Limits, Store, UnixMillis};
use agw_telemetry::Stage;
use agw_wire::resp::{Cursor, Head};
use agw_wire::{CallError, Request};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{invalid, too_large};
use crate::plan::{Plan, Policy, ScriptUse};
use crate::reply::Shape;
use crate::scripts::Scripts;
use crate::span::operation;

/// Every store of the process, by name. They live as long as it does, so that a new configuration finds the data
/// of the old one; names come from configurations only, and an empty store takes next to nothing.
static STORES: LazyLock<Mutex<HashMap<String, Store>>> = LazyLock::new(Mutex::default);

/// The store of this name, made if there is none.
pub(crate) fn store(name: &str) -> Store {
    STORES.lock().entry(name.to_owned()).or_insert_with(|| Store::new(Limits::default())).clone()
}

/// One plugin's grant. Clones share it.
#[derive(Clone)]
pub(crate) struct MemoryGrant(Arc<Granted>);

pub(crate) struct Granted {
    pub(crate) store: Store,
    pub(crate) policy: Policy,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) response_bytes_max: usize,
}

// === impl MemoryGrant ===

impl MemoryGrant {
    pub(crate) fn new(granted: Granted) -> Self {
        MemoryGrant(Arc::new(granted))
    }
}

impl GrantedResource for MemoryGrant {
    fn operation(&self, request: &Request<'_>) -> Operation {
        operation(request, &self.0.policy)
    }

    fn start(
        &self,
        request: &Request<'_>,
        site: &CallSite,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError> {
        let Some(batch) = &request.redis else {
            return Err(invalid("field redis is missing: it holds the commands"));
        };
        let no_leases =
            || invalid("the embedded store has no connections to lease: no WATCH, no blocking commands");
        if batch.lease.is_some() && batch.commands.is_empty() {
            return Err(no_leases());
        }
        let remaining = deadline.saturating_duration_since(Instant::now());
        let mut plan = Plan::new(batch, &self.0.policy, &self.0.scripts, remaining)?;
        plan.trace.clone_from(&site.trace);
        if plan.leased {
            return Err(no_leases());
        }
        if !matches!(plan.scripts, ScriptUse::None) {
            return Err(invalid("the embedded store runs no scripts"));
        }
        let grant = Arc::clone(&self.0);
        Ok(Box::pin(async move { grant.run(&plan) }))
    }

    fn context_ended(&self, _: ContextKey) {}
}

// === impl Granted ===

impl Granted {
    fn run(&self, plan: &Plan) -> Result<Reply, CallError> {
        let _io = plan.time(Stage::Io);
        let mut commands = parse(&plan.commands);
        let mut out = Vec::new();
        let now = now();
        match &plan.shape {
            Shape::Atomic(_) => {
                // MULTI and EXEC stand around them, and the shape wants to see their replies.
                commands.pop();
                let queued: Vec<_> = commands.drain(..).skip(1).collect();
                out.extend_from_slice(b"+OK\r\n");
                queued.iter().for_each(|_| out.extend_from_slice(b"+QUEUED\r\n"));
                self.store.execute_atomic(now, &queued, &mut out);
            }
            Shape::Single(_) | Shape::Batch(_) => {
                for args in &commands {
                    self.store.execute(now, args, &mut out);
                    if out.len() > self.response_bytes_max {
                        break;
                    }
                }
            }
        }
        if out.len() > self.response_bytes_max + plan.shape.overhead_bytes() {
            return Err(too_large());
        }
        let prefix = self.policy.rules.key_prefix();
        let resp = plan.shape.finish(Bytes::from(out), prefix).map_err(|rejected| rejected.error)?;
        Ok(Reply::resp(resp, 0))
    }
}

/// The plan's own encoding, back to arguments.
fn parse(encoded: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut cursor = Cursor::new(encoded);
    let mut commands = Vec::new();
    while let Ok(Head::Array(len)) = cursor.head() {
        let mut args = Vec::with_capacity(len.min(encoded.len() / 6));
        for _ in 0..len {
            if let Ok(Head::Bulk(arg)) = cursor.head() {
                args.push(arg);
            }
        }
        commands.push(args);
    }
    commands
}

/// A clock before 1970 counts as 1970.
fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
