//! One server of several: a node of a cluster, or a replica.

use std::sync::Arc;
use std::time::Duration;

use agw_config::RedisHost;
use agw_foreign::{Breaker, NodeStatus, Ticket};
use agw_telemetry::Stage;
use agw_wire::CallError;
use tokio::time::Instant;

use crate::blueprint::Role;
use crate::connection::{Answer, Link, Unanswered};
use crate::error::lost;
use crate::grant::Server;
use crate::plan::Plan;

/// Its connections, while somebody knows of it or a call uses it. It has a breaker of its own, so that one that is dead
/// does not keep calls from the others.
pub(crate) struct Node {
    pub(crate) at: RedisHost,
    pub(crate) role: Role,
    pub(crate) server: Server,
    pub(crate) breaker: Breaker,
}

// === impl Node ===

impl Node {
    /// The worker's connection, as [`crate::slot::Slot::link`]; a wait for it counts in the span of the plan's call.
    pub(crate) async fn link(
        &self,
        worker: usize,
        deadline: Instant,
        plan: &Plan,
    ) -> Result<Arc<Link>, CallError> {
        let _connect = plan.time(Stage::Connect);
        let slots = &self.server.slots;
        slots.get(worker % slots.len().max(1)).ok_or_else(lost)?.link(deadline).await
    }

    pub(crate) fn status(&self) -> NodeStatus {
        NodeStatus { breaker: Some(self.breaker.state()), ..self.server.node_status(&self.at, self.role) }
    }

    /// Its own, and those of the replicas that it has told of.
    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        let replicas = self.server.replicas.as_ref().map(|replicas| replicas.nodes()).unwrap_or_default();
        std::iter::once(self.status()).chain(replicas.iter().map(|node| node.status())).collect()
    }

    /// Tells the breaker what came of a call that it has admitted.
    pub(crate) fn settle(ticket: Ticket<'_>, outcome: &Answer, took: Duration) {
        match outcome {
            Ok(_) => ticket.succeeded(),
            Err(Unanswered::Failed(error)) => ticket.failed(error, took),
            Err(Unanswered::Unsent(_)) => {}
        }
    }
}

impl Drop for Node {
    /// The view has it no more, and no call uses it.
    fn drop(&mut self) {
        self.server.shared.stop.cancel();
        self.server.leases.close();
    }
}
