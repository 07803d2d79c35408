//! One plugin's use of one server or of a cluster: runs a plan on a shared connection or on a leased one.

use std::sync::Arc;

use agw_foreign::{
    BackendFuture, CallSite, ContextKey, GrantedResource, NodeStatus, Operation, Reply, ResourceStatus,
};
use agw_telemetry::Stage;
use agw_wire::{CallError, Request, Retry};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::backend::RedisBackend;
use crate::blueprint::Role;
use crate::cluster::{Cluster, REDIRECTS_MAX, settled};
use crate::connect::Destination;
use crate::connection::Unanswered;
use crate::error::{invalid, lost, timeout_io};
use crate::exchange::{Exchange, Expected};
use crate::held::{HeldLeases, InUse};
use crate::lease::Leases;
use crate::plan::{Plan, Policy, Watching};
use crate::replicas::Replicas;
use crate::slot::{Shared, Slot};
use crate::span::operation;

/// The connections to one server.
pub(crate) struct Server {
    /// Multiplexed connections. A worker always uses the same one. Not empty.
    pub(crate) slots: Vec<Arc<Slot>>,
    pub(crate) leases: Leases,
    pub(crate) shared: Arc<Shared>,
    /// Those that may answer reads, if the operator wants that.
    pub(crate) replicas: Option<Replicas>,
}

/// Where the calls of one resource go.
#[derive(Clone)]
pub(crate) enum Servers {
    /// To one server, wherever it is.
    One(Arc<Server>),
    /// To the node that has the key.
    Cluster(Arc<Cluster>),
}

/// One plugin's grant. Clones share it.
#[derive(Clone)]
pub(crate) struct ServerGrant(Arc<Granted>);

pub(crate) struct Granted {
    servers: Servers,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) policy: Policy,
    held: Arc<HeldLeases>,
    /// Connections stay open as long as anybody may call.
    backend: Arc<RedisBackend>,
}

/// Where a leased call takes its connection from, and whether it keeps it. Dropped, it ends the held lease.
struct LeaseUse {
    /// The lease that the context held already; without it a new one is taken.
    held: Option<InUse>,
    keep: bool,
    context: ContextKey,
}

// === impl Server ===

impl Server {
    /// Its connections at this moment; behind sentinels with the server that they go to.
    pub(crate) fn status(&self) -> ResourceStatus {
        let primary = match &self.shared.destination {
            Destination::Server(_) => None,
            Destination::Sentinels(sentinels) => sentinels.primary(),
        };
        let replicas = self.replicas.as_ref().map(|replicas| replicas.nodes()).unwrap_or_default();
        let primary = primary.into_iter().map(|at| self.node_status(&at, Role::Primary));
        let nodes = primary.chain(replicas.iter().map(|node| node.status())).collect();
        let NodeStatus { multiplexed, leased, idle, last_error, .. } = self.node_status("", Role::Primary);
        ResourceStatus { multiplexed, leased, idle, last_error, nodes }
    }

    /// The same as a part of something larger.
    pub(crate) fn node_status(&self, at: impl ToString, role: Role) -> NodeStatus {
        NodeStatus {
            at: at.to_string(),
            role: role.word(),
            calls: self.shared.calls(),
            multiplexed: self.slots.iter().filter(|slot| slot.is_up()).count(),
            leased: self.leases.leased(),
            idle: self.leases.idle(),
            last_error: self.shared.last_error.lock().map(str::to_owned),
            breaker: None,
        }
    }
}

// === impl ServerGrant ===

impl ServerGrant {
    pub(crate) fn new(
        servers: Servers,
        exchange: Arc<Exchange>,
        policy: Policy,
        held: Arc<HeldLeases>,
        backend: Arc<RedisBackend>,
    ) -> ServerGrant {
        ServerGrant(Arc::new(Granted { servers, exchange, policy, held, backend }))
    }
}

impl GrantedResource for ServerGrant {
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
            return grant.start_without_commands(batch.atomic, lease, site, deadline);
        }
        let remaining = deadline.saturating_duration_since(Instant::now());
        let mut plan = Plan::new(batch, &self.0.policy, &self.0.exchange.scripts, remaining)?;
        plan.trace.clone_from(&site.trace);
        if plan.leased {
            return Ok(Box::pin(async move { grant.run_leased(plan, lease, deadline).await }));
        }
        let worker = site.worker;
        // Two futures, so that a call to one server does not carry the room for the other.
        match &self.0.servers {
            Servers::One(_) => Ok(Box::pin(async move { grant.run_shared(plan, worker, deadline).await })),
            Servers::Cluster(cluster) => {
                let cluster = Arc::clone(cluster);
                Ok(Box::pin(async move { grant.run_sharded(&cluster, plan, worker, deadline).await }))
            }
        }
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
        let Servers::One(server) = &self.servers else { return Err(lost()) };
        if server.replicas.is_some() {
            self.backend.keep_replicas();
            if let Some(read) = self.read(server, &plan, worker, deadline).await {
                return read.map(|resp| Reply::resp(resp, 0));
            }
        }
        let slots = &server.slots;
        let slot = slots.get(worker % slots.len().max(1)).ok_or_else(lost)?;
        let expected = Expected::of(&plan.shape);
        let mut commands = std::mem::take(&mut plan.commands);
        let (link, replies) = loop {
            let connecting = plan.time(Stage::Connect);
            let link = slot.link(deadline).await?;
            server.shared.called();
            drop(connecting);
            let _io = plan.time(Stage::Io);
            match self.exchange.ask(&link, commands, &plan.scripts, expected, deadline).await {
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

    /// A batch without commands takes a lease or gives one back.
    fn start_without_commands(
        self: Arc<Self>,
        atomic: bool,
        lease: LeaseUse,
        site: &CallSite,
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
                let Servers::One(server) = &self.servers else {
                    return Err(invalid(
                        "in a cluster a lease is taken by a command with a key, which says at which node; send it along",
                    ));
                };
                let (server, trace) = (Arc::clone(server), site.trace.clone());
                Ok(Box::pin(async move {
                    let taken = server.leases.acquire(deadline, trace.as_ref()).await?;
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
        let mut in_use = match (lease.held, &self.servers) {
            (Some(held), Servers::One(_)) => held,
            (None, Servers::One(server)) => {
                let taken = server.leases.acquire(deadline, plan.trace.as_ref()).await?;
                self.held.enter(taken, lease.context)
            }
            (Some(mut held), Servers::Cluster(cluster)) => {
                cluster.check_lease(held.lease(), &plan)?;
                held
            }
            (None, Servers::Cluster(cluster)) => {
                let (in_use, resp) = self.run_leased_sharded(cluster, &plan, lease.context, deadline).await?;
                let lease = if lease.keep { in_use.keep() } else { 0 };
                return Ok(Reply::resp(resp, lease));
            }
        };
        let replies = self.exchange_leased(&mut in_use, &plan, deadline).await?;
        let resp = self.finish_leased(&mut in_use, &plan, replies)?;
        let lease = if lease.keep { in_use.keep() } else { 0 };
        Ok(Reply::resp(resp, lease))
    }

    /// In a cluster, on a lease at the node that has the keys. Nothing of a batch has run whose every reply sends it to
    /// another node, so that it may be tried there.
    async fn run_leased_sharded(
        &self,
        cluster: &Arc<Cluster>,
        plan: &Plan,
        context: ContextKey,
        deadline: Instant,
    ) -> Result<(InUse, Bytes), CallError> {
        let mut node = cluster.node_of_all(plan, deadline).await?;
        let mut left = REDIRECTS_MAX;
        loop {
            let taken = node.server.leases.acquire(deadline, plan.trace.as_ref()).await;
            let taken = taken.inspect_err(|_| cluster.suspect())?;
            let mut in_use = self.held.enter(taken, context);
            let replies = self.exchange_leased(&mut in_use, plan, deadline).await?;
            match cluster.moved_whole(&replies, &node).filter(|_| left > 0) {
                Some(to) => (node, left) = (to?, left - 1),
                None => {
                    let resp = self.finish_leased(&mut in_use, plan, replies)?;
                    return Ok((in_use, resp));
                }
            }
        }
    }

    /// An error ends the lease; its connection is used again only if it is clean.
    async fn exchange_leased(
        &self,
        in_use: &mut InUse,
        plan: &Plan,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let Some(lease) = in_use.lease() else { return Err(lost()) };
        if plan.watching != Watching::AsBefore {
            lease.will_watch();
        }
        let _io = plan.time(Stage::Io);
        timeout_at(deadline, self.exchange.ask_leased(lease, plan)).await.map_err(|_| timeout_io())?
    }

    fn finish_leased(&self, in_use: &mut InUse, plan: &Plan, replies: Bytes) -> Result<Bytes, CallError> {
        let Some(lease) = in_use.lease() else { return Err(lost()) };
        lease.answered(plan.watching);
        let prefix = self.policy.rules.key_prefix();
        plan.shape.finish(replies, prefix).map_err(|rejected| {
            // A transaction that was refused in part may have left its keys watched.
            if rejected.retire || plan.watching != Watching::AsBefore {
                lease.discard();
            }
            match &self.servers {
                Servers::One(_) => rejected.error,
                Servers::Cluster(_) => settled(rejected.error, Retry::IfIdempotent),
            }
        })
    }
}
