//! Every node of a cluster.

use agw_config::{RedisCluster, RedisHost, Resource};
use agw_foreign::ProbeError;

use super::server::{self, Answer, Asker, parsed};
use super::{Looked, look_at_announced};
use crate::blueprint::Blueprint;
use crate::cluster;
use crate::connect::Connector;

/// What the endpoints tell.
#[derive(Default)]
struct Told {
    nodes: Vec<RedisHost>,
    /// The user may not ask for those that are dead.
    in_part: bool,
}

/// Asks each endpoint for the nodes, and looks at all of them, one after the other. Endpoints that tell nothing are said as
/// well.
pub(super) async fn look_at(
    resource: &Resource,
    blueprint: &Blueprint,
    config: &RedisCluster,
) -> Vec<Looked> {
    let mut told = Told::default();
    let mut looked: Vec<Looked> = Vec::new();
    for at in &config.endpoints {
        if let Err(error) = told.ask(blueprint, at).await {
            looked.push((at.to_string(), Err(error)));
        }
    }
    // What is a node is looked at as one; no endpoint is said twice.
    looked.retain(|(name, _)| !told.nodes.iter().any(|at| at.to_string() == *name));
    for at in told.nodes {
        let allowed = config.topology.admits(&config.endpoints, &at.host);
        looked.push(look_at_announced(resource, blueprint, at, allowed).await);
    }
    if told.in_part
        && let Some((_, Ok(report))) = looked.iter_mut().find(|(_, report)| report.is_ok())
    {
        let note =
            "the user may not run CLUSTER NODES; replicas that the nodes take for dead are not among these";
        report.notes.push(note.to_owned());
    }
    looked
}

// === impl Told ===

impl Told {
    async fn ask(&mut self, blueprint: &Blueprint, at: &RedisHost) -> Result<(), ProbeError> {
        let refused = |error| ProbeError::new("no connection", error);
        let connector: Connector = blueprint.connector(at.clone()).map_err(refused)?;
        let (asker, _) = server::connected(&connector).await?;
        server::in_time(self.hear(asker, at)).await
    }

    async fn hear(&mut self, mut asker: Asker, at: &RedisHost) -> Result<(), ProbeError> {
        let slots = asker.ask(&["CLUSTER", "SLOTS"]).await?;
        let of_slots = cluster::of_slots(&slots, at);
        for node in of_slots.map_err(|error| ProbeError::new("no topology", error))? {
            self.add(node);
        }
        match parsed(&asker.ask(&["CLUSTER", "NODES"]).await?) {
            Answer::Text(lines) => {
                for member in cluster::of_nodes(&lines) {
                    let known = |at: &RedisHost| self.nodes.contains(at);
                    if !known(&member.at) && !member.named.as_ref().is_some_and(known) {
                        self.add(member.at);
                    }
                }
            }
            _ => self.in_part = true,
        }
        Ok(())
    }

    fn add(&mut self, at: RedisHost) {
        if !self.nodes.contains(&at) && self.nodes.len() < cluster::NODES_MAX {
            self.nodes.push(at);
        }
    }
}
