//! Who has which hash slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use agw_config::RedisHost;
use agw_redis_commands::HASH_SLOTS;

use super::layout::{Layout, NOBODY, NODES_MAX};
use crate::node::Node;

/// The cluster as it was when it was last asked, with the corrections since.
pub(super) struct View {
    /// By hash slot, the place of its node.
    owners: Box<[AtomicU16]>,
    nodes: Vec<Arc<Node>>,
}

// === impl View ===

impl View {
    pub(super) fn empty() -> Self {
        View { owners: Box::default(), nodes: Vec::new() }
    }

    /// Of what the nodes say. `node` gives the node at a place, if it may be used.
    pub(super) fn of(layout: &Layout, mut node: impl FnMut(&RedisHost) -> Option<Arc<Node>>) -> Self {
        let mut nodes = Vec::with_capacity(layout.hosts.len());
        let places: Vec<u16> = layout
            .hosts
            .iter()
            .map(|at| match (node(at), u16::try_from(nodes.len())) {
                (Some(node), Ok(place)) => {
                    nodes.push(node);
                    place
                }
                _ => NOBODY,
            })
            .collect();
        let place = |owner: &u16| places.get(usize::from(*owner)).copied().unwrap_or(NOBODY);
        View { owners: layout.owners.iter().map(|owner| AtomicU16::new(place(owner))).collect(), nodes }
    }

    /// The same with one more node, and its place. `None`: there are too many.
    pub(super) fn with(&self, node: Arc<Node>) -> Option<(Self, u16)> {
        let place = u16::try_from(self.nodes.len()).ok().filter(|_| self.nodes.len() < NODES_MAX)?;
        let owners = self.owners.iter().map(|owner| AtomicU16::new(owner.load(Ordering::Relaxed)));
        let nodes = self.nodes.iter().cloned().chain([node]).collect();
        Some((View { owners: owners.collect(), nodes }, place))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(super) fn node(&self, place: u16) -> Option<Arc<Node>> {
        self.nodes.get(usize::from(place)).cloned()
    }

    /// The node that has this slot.
    pub(super) fn owner(&self, slot: u16) -> Option<Arc<Node>> {
        self.node(self.owners.get(usize::from(slot))?.load(Ordering::Relaxed))
    }

    /// The node at this place has this slot from now on.
    pub(super) fn set_owner(&self, slot: u16, place: u16) {
        if let Some(owner) = self.owners.get(usize::from(slot)) {
            owner.store(place, Ordering::Relaxed);
        }
    }

    /// One node, not always the same.
    pub(super) fn any(&self) -> Option<Arc<Node>> {
        if self.nodes.is_empty() {
            None
        } else {
            self.nodes.get(fastrand::usize(..self.nodes.len())).cloned()
        }
    }

    pub(super) fn place(&self, at: &RedisHost) -> Option<u16> {
        self.nodes.iter().position(|node| node.at == *at).and_then(|place| u16::try_from(place).ok())
    }

    /// How many slots somebody has.
    pub(super) fn covered(&self) -> usize {
        let has = |owner: &&AtomicU16| owner.load(Ordering::Relaxed) != NOBODY;
        self.owners.iter().filter(has).count().min(usize::from(HASH_SLOTS))
    }
}
