//! A Redis Cluster: which node has a key, and where to go when it has moved.
//!
//! The view of the cluster is the resource's, shared by all workers: for each hash slot the node that has it, and for
//! each node its connections, as many as a standalone server would have. It is learnt from several nodes at once (see
//! `refresh`), and corrected slot by slot when a node says MOVED. No node is connected to where the operator does not
//! allow it, and no error that a guest gets says where one is.

mod layout;
mod members;
mod redirect;
mod refresh;
mod sharded;
mod view;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agw_config::{RedisCluster, RedisHost};
use agw_foreign::ResourceStatus;
use agw_wire::{CallError, Code, Retry};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::blueprint::{Blueprint, Role};
use crate::error::{invalid, lost, not_sent, timeout_connect};
use crate::lease::Lease;
use crate::node::Node;
use crate::plan::Plan;
use crate::refused::Refused;
pub(crate) use layout::{NODES_MAX, REPLY_BYTES_MAX};
pub(crate) use members::{of_nodes, of_slots};
use redirect::Redirect;
use view::View;

/// A call goes from node to node at most so often: a slot that moves takes one step, and a chain of moves a few. Nodes that
/// send calls around in circles are found out so.
pub(crate) const REDIRECTS_MAX: u32 = 5;

/// See the module's text.
pub(crate) struct Cluster {
    config: RedisCluster,
    blueprint: Arc<Blueprint>,
    view: RwLock<Arc<View>>,
    state: watch::Sender<State>,
    /// Something gives reason to ask for the topology before its time.
    suspicion: Notify,
    /// A task keeps the view fresh.
    refreshed: AtomicBool,
    refused: Refused,
    /// Why the topology could not be learnt, the last time.
    last_error: Mutex<Option<&'static str>>,
}

/// What is known of the topology.
#[derive(Clone, Debug)]
enum State {
    /// Nothing yet.
    Open,
    /// The view has nodes.
    Known,
    /// Nobody answers, and there is no older view.
    Failed(CallError),
}

// === impl Cluster ===

impl Cluster {
    /// No I/O.
    pub(crate) fn new(config: &RedisCluster, blueprint: Arc<Blueprint>) -> Arc<Self> {
        Arc::new(Cluster {
            config: config.clone(),
            blueprint,
            view: RwLock::new(Arc::new(View::empty())),
            state: watch::Sender::new(State::Open),
            suspicion: Notify::new(),
            refreshed: AtomicBool::new(false),
            refused: Refused::default(),
            last_error: Mutex::default(),
        })
    }

    /// The view. Waits at most until `deadline`, and only for the first one.
    ///
    /// # Errors
    /// Why there is none, or `timeout_connect`.
    async fn view(self: &Arc<Self>, deadline: Instant) -> Result<Arc<View>, CallError> {
        self.keep_fresh();
        let view = Arc::clone(&self.view.read());
        if !view.is_empty() {
            return Ok(view);
        }
        if self.blueprint.stop.is_cancelled() {
            return Err(not_sent());
        }
        let mut state = self.state.subscribe();
        let waiting = async {
            loop {
                let now = state.borrow_and_update().clone();
                match now {
                    State::Open => {}
                    State::Known => return Ok(Arc::clone(&self.view.read())),
                    State::Failed(error) => {
                        self.suspect();
                        return Err(error);
                    }
                }
                // The sender is ours.
                if state.changed().await.is_err() {
                    return Err(not_sent());
                }
            }
        };
        timeout_at(deadline, waiting).await.unwrap_or_else(|_| Err(timeout_connect()))
    }

    /// The node that has this hash slot; any node without one.
    ///
    /// # Errors
    /// `unavailable` if none has it, or as [`Cluster::view`].
    async fn node(self: &Arc<Self>, slot: Option<u16>, deadline: Instant) -> Result<Arc<Node>, CallError> {
        let view = self.view(deadline).await?;
        self.node_in(&view, slot)
    }

    fn node_in(&self, view: &View, slot: Option<u16>) -> Result<Arc<Node>, CallError> {
        let node = slot.map_or_else(|| view.any(), |slot| view.owner(slot));
        node.ok_or_else(|| {
            self.suspect();
            uncovered()
        })
    }

    /// The one node that has the keys of all parts.
    ///
    /// # Errors
    /// `invalid` if they are at several, or as [`Cluster::node`].
    pub(crate) async fn node_of_all(
        self: &Arc<Self>,
        plan: &Plan,
        deadline: Instant,
    ) -> Result<Arc<Node>, CallError> {
        let view = self.view(deadline).await?;
        let mut slots = plan.parts.iter().filter_map(|part| part.slot);
        let first = self.node_in(&view, slots.next())?;
        for slot in slots {
            if !Arc::ptr_eq(&self.node_in(&view, Some(slot))?, &first) {
                return Err(elsewhere());
            }
        }
        Ok(first)
    }

    /// Whether the keys of all parts are at the node that a lease is of.
    ///
    /// # Errors
    /// `invalid` if not.
    pub(crate) fn check_lease(&self, lease: Option<&mut Lease>, plan: &Plan) -> Result<(), CallError> {
        let lease = lease.ok_or_else(lost)?;
        let view = Arc::clone(&self.view.read());
        for slot in plan.parts.iter().filter_map(|part| part.slot) {
            if !lease.is_of(&self.node_in(&view, Some(slot))?.server.shared) {
                return Err(elsewhere());
            }
        }
        Ok(())
    }

    /// Where to go with commands whose every reply says that their keys have moved for good; nothing of them has run.
    pub(crate) fn moved_whole(&self, replies: &[u8], from: &Node) -> Option<Result<Arc<Node>, CallError>> {
        let redirect = redirect::of_all(replies)?;
        matches!(redirect, Redirect::Moved { .. }).then(|| self.follow(&redirect, from))
    }

    /// The node that a reply sends the call to. MOVED corrects the view, ASK is for this once.
    ///
    /// # Errors
    /// `unavailable` if the operator does not allow it.
    fn follow(&self, redirect: &Redirect, from: &Node) -> Result<Arc<Node>, CallError> {
        let (slot, at) = match redirect {
            Redirect::Moved { slot, at } => (Some(*slot), at),
            Redirect::Ask { at } => (None, at),
            Redirect::TryAgain => return Err(lost()),
        };
        // Without a host it is the one that was asked.
        let host = if at.host.is_empty() { from.at.host.clone() } else { at.host.clone() };
        let at = RedisHost { host, port: at.port };
        if slot.is_some() {
            self.suspect();
        }
        let view = Arc::clone(&self.view.read());
        let (view, place) = match view.place(&at) {
            Some(place) => (view, place),
            None => self.join(&at)?,
        };
        if let Some(slot) = slot {
            view.set_owner(slot, place);
        }
        view.node(place).ok_or_else(uncovered)
    }

    /// Adds a node that the view did not have.
    fn join(&self, at: &RedisHost) -> Result<(Arc<View>, u16), CallError> {
        if !self.admits(&at.host) {
            return Err(crate::error::ConnectError::NotAllowed.call_error());
        }
        let mut view = self.view.write();
        if let Some(place) = view.place(at) {
            return Ok((Arc::clone(&view), place));
        }
        let node = self.blueprint.node(at, Role::Primary).ok_or_else(uncovered)?;
        let (larger, place) = view.with(node).ok_or_else(uncovered)?;
        *view = Arc::new(larger);
        Ok((Arc::clone(&view), place))
    }

    /// Whether the operator allows connections to a host that a node announces. Says so once if not.
    fn admits(&self, host: &str) -> bool {
        let RedisCluster { endpoints, topology } = &self.config;
        topology.admits(endpoints, host) || self.refused.refuse(&self.blueprint.resource, host)
    }

    /// The topology may have changed.
    pub(crate) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Its connections at this moment, all together and node by node.
    pub(crate) fn status(&self) -> ResourceStatus {
        let view = Arc::clone(&self.view.read());
        let nodes: Vec<_> = view.nodes().iter().flat_map(|node| node.statuses()).collect();
        let own = self.last_error.lock().map(str::to_owned);
        ResourceStatus {
            multiplexed: nodes.iter().map(|node| node.multiplexed).sum(),
            leased: nodes.iter().map(|node| node.leased).sum(),
            idle: nodes.iter().map(|node| node.idle).sum(),
            last_error: own.or_else(|| nodes.iter().find_map(|node| node.last_error.clone())),
            nodes,
        }
    }

    /// Closes the idle leases; the resource's token ends everything else.
    pub(crate) fn close(&self) {
        let view = std::mem::replace(&mut *self.view.write(), Arc::new(View::empty()));
        view.nodes().iter().for_each(|node| node.server.leases.close());
    }
}

fn uncovered() -> CallError {
    CallError::new(Code::Unavailable, "no node of the cluster has this key at present").retry(Retry::Safe)
}

fn elsewhere() -> CallError {
    invalid(format!(
        "a lease is a connection to one node of the cluster, and these keys are not all there; {}",
        agw_redis_commands::HASH_TAG
    ))
}

/// The error of a reply that still sends the call elsewhere, for a call that goes nowhere any more.
pub(crate) fn settled(error: CallError, retry: Retry) -> CallError {
    let wanders = matches!(error.server_code.as_str(), "MOVED" | "ASK");
    if wanders { wandering().retry(retry) } else { error }
}

/// Nodes that send a call around in circles.
fn wandering() -> CallError {
    CallError::new(Code::Server, "the nodes of the cluster do not agree on which of them has the key")
        .server_code("MOVED")
        .retry(Retry::Safe)
}
