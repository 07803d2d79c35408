//! Reads that a replica answers.

use std::sync::Arc;

use agw_telemetry::Stage;
use agw_wire::CallError;
use bytes::Bytes;
use tokio::time::Instant;

use crate::connection::Unanswered;
use crate::exchange::Expected;
use crate::grant::{Granted, Server};
use crate::node::Node;
use crate::plan::Plan;
use crate::reply::Shape;

/// Refusals of a replica that say that nothing has run, and that the primary should be asked.
const NOT_HERE: [&[u8]; 5] = [b"-MOVED ", b"-LOADING", b"-MASTERDOWN", b"-READONLY", b"-ASK "];

/// A transaction is the primary's: what of it was refused says its last reply alone.
fn may_read(plan: &Plan) -> bool {
    plan.reads && !matches!(plan.shape, Shape::Atomic(_))
}

impl Granted {
    /// What a replica of this server answers. `None`: the primary is to be asked; nothing was sent, or nothing has run.
    pub(crate) async fn read(
        &self,
        server: &Server,
        plan: &Plan,
        worker: usize,
        deadline: Instant,
    ) -> Option<Result<Bytes, CallError>> {
        let node = server.replicas.as_ref().filter(|_| may_read(plan))?.pick()?;
        // Boxed, so that calls that read from no replica do not carry the room for it.
        Box::pin(self.read_from(&node, plan, worker, deadline)).await
    }

    async fn read_from(
        &self,
        node: &Arc<Node>,
        plan: &Plan,
        worker: usize,
        deadline: Instant,
    ) -> Option<Result<Bytes, CallError>> {
        let ticket = node.breaker.admit().ok()?;
        let begun = Instant::now();
        // Most of the time is the primary's, should this one not be reached.
        let soon = begun + deadline.saturating_duration_since(begun) / 4;
        let link = match node.link(worker, soon, plan).await {
            Ok(link) => link,
            Err(error) => {
                ticket.failed(&error, begun.elapsed());
                return None;
            }
        };
        let (commands, expected) = (plan.commands.clone(), Expected::of(&plan.shape));
        node.server.shared.called();
        let _io = plan.time(Stage::Io);
        let answer = self.exchange.ask(&link, commands, &plan.scripts, expected, deadline).await;
        Node::settle(ticket, &answer, begun.elapsed());
        match answer {
            Ok(replies) if NOT_HERE.iter().any(|refusal| replies.starts_with(refusal)) => None,
            Ok(replies) => Some(self.finish(plan, replies, &[link])),
            Err(Unanswered::Failed(error)) => Some(Err(error)),
            Err(Unanswered::Unsent(_)) => None,
        }
    }
}
