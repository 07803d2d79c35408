//! One plugin's use of one server: runs a plan on a shared connection or on a leased one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agw_foreign::{BackendFuture, CallSite, ContextKey, GrantedResource, Reply};
use agw_wire::{CallError, Request, Retry};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::backend::RedisBackend;
use crate::connection::{Answer, Job, Link, Unanswered};
use crate::error::{invalid, lost, timeout_io};
use crate::held::{HeldLeases, InUse};
use crate::lease::{Lease, Leases};
use crate::plan::{Plan, Policy, ScriptUse, Watching};
use crate::reply::{self, Rejected};
use crate::scripts::{LOADED_BYTES_MAX, Script, Scripts};
use crate::slot::Slot;

/// What the grants of one server share.
pub(crate) struct Server {
    /// Multiplexed connections. A worker always uses the same one. Not empty.
    pub(crate) slots: Vec<Arc<Slot>>,
    pub(crate) leases: Leases,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) response_bytes_max: usize,
}

/// One plugin's grant. Clones share it.
#[derive(Clone)]
pub(crate) struct ServerGrant(Arc<Granted>);

struct Granted {
    server: Arc<Server>,
    policy: Policy,
    held: Arc<HeldLeases>,
    /// Connections stay open as long as anybody may call.
    _backend: Arc<RedisBackend>,
}

/// Where a leased call takes its connection from, and whether it keeps it. Dropped, it ends the held lease.
struct LeaseUse {
    /// The lease that the context held already; without it a new one is taken.
    held: Option<InUse>,
    keep: bool,
    context: ContextKey,
}

// === impl ServerGrant ===

impl ServerGrant {
    pub(crate) fn new(
        server: Arc<Server>,
        policy: Policy,
        held: Arc<HeldLeases>,
        backend: Arc<RedisBackend>,
    ) -> ServerGrant {
        ServerGrant(Arc::new(Granted { server, policy, held, _backend: backend }))
    }
}

impl GrantedResource for ServerGrant {
    fn start(
        &self,
        request: &Request<'_>,
        site: &CallSite,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError> {
        let Some(batch) = &request.redis else {
            return Err(invalid("field redis is missing: it holds the commands"));
        };
        let asked = batch.lease.unwrap_or_default();
        // Taken before anything can refuse the call: an answer without a lease tells the plugin that it has ended,
        // so it must end even if the call never starts. And giving one back must not have to wait for a place.
        let held = match asked.id {
            0 => None,
            id => Some(self.0.held.take(id, site.context)?),
        };
        let lease = LeaseUse { held, keep: asked.keep, context: site.context };
        let grant = Arc::clone(&self.0);
        if batch.commands.is_empty() {
            return grant.start_without_commands(batch.atomic, lease, deadline);
        }
        let remaining = deadline.saturating_duration_since(Instant::now());
        let plan = Plan::new(batch, &self.0.policy, &self.0.server.scripts, remaining)?;
        if plan.leased {
            return Ok(Box::pin(async move { grant.run_leased(plan, lease, deadline).await }));
        }
        let worker = site.worker;
        Ok(Box::pin(async move { grant.run_shared(plan, worker, deadline).await }))
    }

    fn context_ended(&self, context: ContextKey) {
        self.0.held.context_ended(context);
    }
}

// === impl Granted ===

impl Granted {
    /// On the worker's multiplexed connection. If that ends before the commands were written, on the one that takes
    /// its place; each round waits for another connection, and the deadline ends them all.
    async fn run_shared(&self, mut plan: Plan, worker: usize, deadline: Instant) -> Result<Reply, CallError> {
        let slots = &self.server.slots;
        let slot = slots.get(worker % slots.len().max(1)).ok_or_else(lost)?;
        let mut commands = std::mem::take(&mut plan.commands);
        let (link, replies) = loop {
            let link = slot.link(deadline).await?;
            let asked = match &plan.scripts {
                ScriptUse::None => self.ask(&link, commands, &plan, deadline).await,
                ScriptUse::Only(script) => self.ask_script(&link, commands, script, &plan, deadline).await,
                ScriptUse::Among => self.ask_with_scripts(&link, commands, &plan, deadline).await,
            };
            match asked {
                Ok(replies) => break (link, replies),
                Err(Unanswered::Failed(error)) => return Err(error),
                Err(Unanswered::Unsent(unsent)) => commands = unsent,
            }
        };
        let prefix = self.policy.rules.key_prefix();
        let resp = plan.shape.finish(replies, prefix).map_err(|rejected| {
            if rejected.retire {
                link.retire();
            }
            rejected.error
        })?;
        Ok(Reply::resp(resp, 0))
    }

    async fn ask(&self, link: &Link, commands: Vec<u8>, plan: &Plan, deadline: Instant) -> Answer {
        let reply_bytes_max = self.server.response_bytes_max + plan.shape.overhead_bytes();
        send(link, commands, plan.shape.replies(), reply_bytes_max, deadline).await
    }

    /// Most servers know the script, so it is not sent along. One that does not is taught it, once.
    async fn ask_script(
        &self,
        link: &Link,
        commands: Vec<u8>,
        script: &Script,
        plan: &Plan,
        deadline: Instant,
    ) -> Answer {
        let reply = self.ask(link, commands.clone(), plan, deadline).await?;
        if !is_unknown_script(&reply) {
            return Ok(reply);
        }
        let again = [&*script.load, &*commands].concat();
        let reply_bytes_max = self.server.response_bytes_max + LOADED_BYTES_MAX;
        let replies = send(link, again, 2, reply_bytes_max, deadline).await;
        Ok(after_loading(replies.map_err(|unanswered| unanswered.without_first(script.load.len()))?, 1)?)
    }

    /// A batch cannot be tried twice: its other commands would run twice. So the scripts go ahead of it, once for
    /// each connection.
    async fn ask_with_scripts(
        &self,
        link: &Link,
        commands: Vec<u8>,
        plan: &Plan,
        deadline: Instant,
    ) -> Answer {
        if link.scripts_loaded.load(Ordering::Relaxed) {
            let replies = self.ask(link, commands, plan, deadline).await?;
            if mentions_unknown_script(&replies) {
                // Somebody has flushed them. This batch has had its answer; the next one brings them along.
                link.scripts_loaded.store(false, Ordering::Relaxed);
            }
            return Ok(replies);
        }
        let (load, count) = self.server.scripts.load_all();
        let bytes_max =
            self.server.response_bytes_max + plan.shape.overhead_bytes() + count * LOADED_BYTES_MAX;
        let all = [load, &*commands].concat();
        let replies = send(link, all, count + plan.shape.replies(), bytes_max, deadline).await;
        let replies =
            after_loading(replies.map_err(|unanswered| unanswered.without_first(load.len()))?, count)?;
        link.scripts_loaded.store(true, Ordering::Relaxed);
        Ok(replies)
    }

    /// A batch without commands takes a lease or gives one back.
    fn start_without_commands(
        self: Arc<Self>,
        atomic: bool,
        lease: LeaseUse,
        deadline: Instant,
    ) -> Result<BackendFuture, CallError> {
        match &lease {
            _ if atomic => Err(invalid("an atomic batch needs a command")),
            LeaseUse { held: Some(_), keep: false, .. } => {
                drop(lease);
                Ok(Box::pin(std::future::ready(Ok(Reply::resp(Bytes::new(), 0)))))
            }
            LeaseUse { held: None, keep: true, context } => {
                let context = *context;
                Ok(Box::pin(async move {
                    let taken = self.server.leases.acquire(deadline).await?;
                    Ok(Reply::resp(Bytes::new(), self.held.enter(taken, context).keep()))
                }))
            }
            _ => Err(invalid(
                "the batch has no command; without one, a lease is taken (id 0, keep) or given back (its id, not keep)",
            )),
        }
    }

    /// On a connection of its own.
    async fn run_leased(&self, plan: Plan, lease: LeaseUse, deadline: Instant) -> Result<Reply, CallError> {
        let mut in_use = match lease.held {
            None => {
                let taken = self.server.leases.acquire(deadline).await?;
                self.held.enter(taken, lease.context)
            }
            Some(held) => held,
        };
        let resp = self.ask_leased(&mut in_use, &plan, deadline).await?;
        let lease = if lease.keep { in_use.keep() } else { 0 };
        Ok(Reply::resp(resp, lease))
    }

    /// An error ends the lease; its connection is used again only if it is clean.
    async fn ask_leased(
        &self,
        in_use: &mut InUse,
        plan: &Plan,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let Some(lease) = in_use.lease() else { return Err(lost()) };
        if plan.watching != Watching::AsBefore {
            lease.will_watch();
        }
        let replies =
            timeout_at(deadline, self.exchange_leased(lease, plan)).await.map_err(|_| timeout_io())??;
        lease.answered(plan.watching);
        let prefix = self.policy.rules.key_prefix();
        plan.shape.finish(replies, prefix).map_err(|rejected| {
            // A transaction that was refused in part may have left its keys watched.
            if rejected.retire || plan.watching != Watching::AsBefore {
                lease.discard();
            }
            rejected.error
        })
    }

    async fn exchange_leased(&self, lease: &mut Lease, plan: &Plan) -> Result<Bytes, CallError> {
        let bytes_max = self.server.response_bytes_max + plan.shape.overhead_bytes();
        let replies = plan.shape.replies();
        let (load, count) = match &plan.scripts {
            ScriptUse::None => (&[][..], 0),
            ScriptUse::Only(script) => (&*script.load, 1),
            ScriptUse::Among => self.server.scripts.load_all(),
        };
        let exchanged = if count == 0 {
            lease.exchange(&plan.commands, replies, bytes_max).await
        } else {
            // Leases are rare and short: the scripts always go along, and nothing has to be remembered.
            let all = [load, &*plan.commands].concat();
            lease.exchange(&all, count + replies, bytes_max + count * LOADED_BYTES_MAX).await
        };
        let replies = exchanged.map_err(|fault| {
            lease.discard();
            fault.call_error()
        })?;
        after_loading(replies, count)
    }
}

/// Sends a job and waits for its replies, or for the word that it was never sent.
///
/// # Cancel safety
/// Dropped, it leaves the replies to be read and thrown away; commands that are not written yet never are.
async fn send(
    link: &Link,
    commands: Vec<u8>,
    replies: usize,
    reply_bytes_max: usize,
    deadline: Instant,
) -> Answer {
    let (answer, answered) = oneshot::channel();
    link.send(Job { commands, replies, reply_bytes_max, deadline, answer })?;
    match timeout_at(deadline, answered).await {
        Ok(Ok(replies)) => replies,
        Ok(Err(_)) => Err(lost().into()),
        Err(_) => Err(timeout_io().into()),
    }
}

fn is_unknown_script(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOSCRIPT")
}

/// Only a hint: at worst the scripts are loaded once more than need be.
fn mentions_unknown_script(replies: &[u8]) -> bool {
    replies.windows(b"-NOSCRIPT".len()).any(is_unknown_script)
}

/// The replies behind those to `count` times `SCRIPT LOAD`.
fn after_loading(replies: Bytes, count: usize) -> Result<Bytes, CallError> {
    let mut cursor = agw_wire::resp::Cursor::new(&replies);
    for _ in 0..count {
        let begin = cursor.position();
        cursor.skip().map_err(|_| lost())?;
        let reply = replies.get(begin..cursor.position()).unwrap_or_default();
        reply::check(reply, Retry::IfIdempotent).map_err(|rejected: Rejected| rejected.error)?;
    }
    let begin = cursor.position();
    Ok(replies.slice(begin..))
}
