//! What an operator asks of a resource: whether the gateway gets in, how long that takes, what the servers are, and whether
//! its user may do more than the grants need. Every server is looked at by itself: each has users of its own.

mod acl;
mod cluster;
mod need;
mod sentinels;
mod server;

use std::time::Duration;

use agw_config::{RedisAddress, RedisHost, Resource};
use agw_foreign::{Latency, ProbeError, ProbeReport};
use agw_telemetry::Metrics;

use crate::blueprint::Blueprint;
use crate::error::ConnectError;

/// A server, and what came of the look at it.
type Looked = (String, Result<ProbeReport, ProbeError>);

/// Connects to every server as the gateway does, and asks. Writes nothing. Behind sentinels these are the sentinels, the
/// primary and its replicas; of a cluster all nodes, dead ones included.
///
/// # Cancel safety
/// Dropped, it closes its connections.
pub async fn probe(resource: &Resource) -> Vec<(String, Result<ProbeReport, ProbeError>)> {
    let address = &resource.redis.address;
    if let RedisAddress::Memory { name } = address {
        return vec![(format!("memory://{name}"), Ok(embedded()))];
    }
    let blueprint = match Blueprint::new(resource, 1, &Metrics::new()) {
        Ok(blueprint) => blueprint,
        Err(error) => {
            let error = ProbeError::new("the resource cannot be set up", error);
            return vec![(place(address), Err(error))];
        }
    };
    match address {
        RedisAddress::Sentinel(config) => sentinels::look_at(resource, &blueprint, config).await,
        RedisAddress::Cluster(config) => cluster::look_at(resource, &blueprint, config).await,
        RedisAddress::Tcp { host, port } => {
            let at = RedisHost { host: host.clone(), port: *port };
            vec![look_at(resource, &blueprint, at).await]
        }
        RedisAddress::Memory { .. } => Vec::new(),
    }
}

/// Where the configuration says that it is.
fn place(address: &RedisAddress) -> String {
    let all =
        |endpoints: &[RedisHost]| endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match address {
        RedisAddress::Tcp { host, port } => RedisHost { host: host.clone(), port: *port }.to_string(),
        RedisAddress::Sentinel(sentinels) => all(&sentinels.endpoints),
        RedisAddress::Cluster(cluster) => all(&cluster.endpoints),
        RedisAddress::Memory { name } => format!("memory://{name}"),
    }
}

/// One server of the resource.
async fn look_at(resource: &Resource, blueprint: &Blueprint, at: RedisHost) -> Looked {
    let name = at.to_string();
    let report = match blueprint.connector(at) {
        Ok(connector) => server::look_at(resource, &connector).await,
        Err(error) => Err(ProbeError::new("no connection", error)),
    };
    (name, report)
}

/// One that others announce, if the operator allows connections there.
async fn look_at_announced(
    resource: &Resource,
    blueprint: &Blueprint,
    at: RedisHost,
    allowed: bool,
) -> Looked {
    if allowed {
        look_at(resource, blueprint, at).await
    } else {
        (at.to_string(), Err(ProbeError::new("no connection", ConnectError::NotAllowed)))
    }
}

fn embedded() -> ProbeReport {
    let zero = Duration::ZERO;
    ProbeReport {
        server: "the embedded store".to_owned(),
        role: "primary".to_owned(),
        user: "nobody: it knows no users".to_owned(),
        latency: Latency { connect: zero, first_call: zero, median: zero },
        tls: None,
        refused: Vec::new(),
        excess: Vec::new(),
        missing: Vec::new(),
        least: Vec::new(),
        notes: vec!["it is in the gateway's own process and ends with it".to_owned()],
    }
}
