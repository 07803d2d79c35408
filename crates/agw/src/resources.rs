//! External resources of a snapshot: gates, backends, and what each plugin may call.

use std::collections::BTreeMap;
use std::sync::Arc;

use agw_config::{self as config, Snapshot};
use agw_foreign::{Access, BreakerState, Resource, ResourcePolicy};
use agw_foreign_redis::RedisBackend;
use agw_telemetry::Metrics;
use agw_wire::AGW_REDIS;
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

/// Every resource of a snapshot, by name. Building them does no I/O: connections are made by the first call.
pub(crate) struct Resources {
    by_name: BTreeMap<String, Attached>,
}

struct Attached {
    gate: Arc<Resource>,
    backend: Arc<RedisBackend>,
}

impl Resources {
    /// # Errors
    /// TLS material or a pool that cannot be used, with the resource's name.
    pub(crate) fn build(snapshot: &Snapshot, workers: usize, metrics: &Arc<Metrics>) -> Result<Self> {
        let attach = |resource: &Arc<config::Resource>| {
            let gate = Resource::new(resource.name.clone(), policy(resource), metrics);
            let backend = RedisBackend::new(resource, workers, metrics)
                .with_context(|| format!("set up the resource {:?}", resource.name))?;
            Ok((resource.name.clone(), Attached { gate, backend }))
        };
        Ok(Resources { by_name: snapshot.resources.values().map(attach).collect::<Result<_>>()? })
    }

    /// What a plugin may call: nothing but what a grant names.
    ///
    /// # Errors
    /// A grant that cannot be compiled, with its resource.
    pub(crate) fn access(
        &self,
        snapshot: &Snapshot,
        plugin: &config::Plugin,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Access>> {
        let mut access =
            Access::builder(&plugin.name, plugin.foreign_calls_max, metrics.clone()).function(AGW_REDIS);
        for (name, attached) in &self.by_name {
            let grants = snapshot.resources.get(name).map(|resource| &resource.grants);
            let Some(grant) = grants.and_then(|grants| grants.get(&plugin.name)) else { continue };
            let granted = attached.backend.grant(grant).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                anyhow!("grant of resource {name:?} to plugin {:?}: {}", plugin.name, errors.join("; "))
            })?;
            access = access.grant(AGW_REDIS, attached.gate.clone(), granted);
        }
        Ok(access.build())
    }

    /// For `/v1/resources`.
    pub(crate) fn status(&self) -> Value {
        self.by_name.iter().map(|(name, attached)| attached.status(name)).collect()
    }

    /// Closes every connection.
    pub(crate) async fn shutdown(&self) {
        for attached in self.by_name.values() {
            attached.backend.shutdown().await;
        }
    }
}

impl Attached {
    fn status(&self, name: &str) -> Value {
        let backend = self.backend.status();
        let breaker = match self.gate.breaker_state() {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
        };
        json!({
            "name": name,
            "type": "redis",
            "breaker": breaker,
            "in_flight": self.gate.in_flight(),
            "waiting": self.gate.waiting(),
            "connections": {
                "multiplexed": backend.multiplexed,
                "leased": backend.leased,
                "idle": backend.idle,
            },
            "last_error": backend.last_error,
        })
    }
}

fn policy(resource: &config::Resource) -> ResourcePolicy {
    let limits = &resource.limits;
    ResourcePolicy {
        in_flight_max: limits.in_flight_max,
        waiters_max: limits.waiters_max,
        call_timeout: limits.call_timeout,
        call_timeout_max: limits.call_timeout_max,
        request_bytes_max: limits.request_bytes_max,
        breaker_failures: resource.breaker.failures,
        breaker_probe_interval: resource.breaker.probe_interval,
        breaker_counts_timeout_io: true,
    }
}
