//! External resources of a snapshot: gates, backends, and what each plugin may call.

use std::collections::BTreeMap;
use std::sync::Arc;

use agw_config::{self as config, Plugin, RedisAddress, Snapshot, SqlEndpoint, SqlServerEngine};
use agw_foreign::{
    Access, AccessBuilder, BreakerState, GrantedResource, NodeStatus, Resource, ResourcePolicy,
    ResourceStatus,
};
use agw_foreign_redis::RedisBackend;
use agw_foreign_sql::{SqlBackend, SqlRuntime};
use agw_telemetry::Metrics;
use agw_wire::{AGW_REDIS, AGW_SQL};
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

/// Every resource of a snapshot, by name. Building them does no I/O: connections are made by [`Resources::start`] and
/// by calls.
pub(crate) struct Resources {
    by_name: BTreeMap<String, Attached>,
}

struct Attached {
    /// As the document says it.
    kind: &'static str,
    gate: Arc<Resource>,
    backend: Backend,
}

enum Backend {
    Redis(Arc<RedisBackend>),
    Sql(Arc<SqlBackend>),
}

impl Resources {
    /// # Errors
    /// TLS material or a pool that cannot be used, with the resource's name; no thread for SQL.
    pub(crate) fn build(snapshot: &Snapshot, workers: usize, metrics: &Arc<Metrics>) -> Result<Self> {
        let redis = |resource: &Arc<config::Resource>| {
            let backend = RedisBackend::new(resource, workers, metrics)?;
            let gate = Resource::new(resource.name.clone(), redis_policy(resource), metrics);
            anyhow::Ok(Attached { kind: "redis", gate, backend: Backend::Redis(backend) })
        };
        let mut by_name = BTreeMap::new();
        for (name, resource) in &snapshot.resources {
            let attached = redis(resource).with_context(|| format!("set up the resource {name:?}"))?;
            by_name.insert(name.clone(), attached);
        }
        if !snapshot.sql_resources.is_empty() {
            let runtime = SqlRuntime::start().context("start the thread of the SQL resources")?;
            for (name, resource) in &snapshot.sql_resources {
                let backend = SqlBackend::new(resource, &runtime, metrics)
                    .with_context(|| format!("set up the resource {name:?}"))?;
                let gate = Resource::new(name.clone(), sql_policy(resource), metrics);
                let kind = sql_kind(&resource.endpoint);
                by_name.insert(name.clone(), Attached { kind, gate, backend: Backend::Sql(backend) });
            }
        }
        Ok(Resources { by_name })
    }

    /// Prepares named statements, so that one that a database refuses is found before anything serves.
    ///
    /// # Errors
    /// Everything that databases refuse, with each resource's name.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut refused = Vec::new();
        for (name, attached) in &self.by_name {
            let Backend::Sql(backend) = &attached.backend else { continue };
            if let Err(error) = backend.start().await {
                refused.push(format!("{:#}", anyhow!(error).context(format!("resource {name:?}"))));
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(anyhow!(refused.join("; "))) }
    }

    /// What a plugin may call: nothing but what a grant names.
    ///
    /// # Errors
    /// A grant that cannot be compiled, with its resource.
    pub(crate) fn access(
        &self,
        snapshot: &Snapshot,
        plugin: &Plugin,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Access>> {
        let access = Access::builder(&plugin.name, plugin.foreign_calls_max, metrics.clone());
        let access = access.function(AGW_REDIS).function(AGW_SQL);
        let grant = |access: AccessBuilder, (name, attached): (&String, &Attached)| {
            let (function, granted) = match &attached.backend {
                Backend::Redis(backend) => (AGW_REDIS, redis_grant(snapshot, name, backend, plugin)?),
                Backend::Sql(backend) => (AGW_SQL, sql_grant(snapshot, name, backend, plugin, metrics)),
            };
            anyhow::Ok(match granted {
                Some(granted) => access.grant(function, attached.gate.clone(), granted),
                None => access,
            })
        };
        Ok(self.by_name.iter().try_fold(access, grant)?.build())
    }

    /// For `/v1/resources`.
    pub(crate) fn status(&self) -> Value {
        self.by_name.iter().map(|(name, attached)| attached.status(name)).collect()
    }

    /// Closes every connection.
    pub(crate) async fn shutdown(&self) {
        for attached in self.by_name.values() {
            match &attached.backend {
                Backend::Redis(backend) => backend.shutdown().await,
                Backend::Sql(backend) => backend.shutdown().await,
            }
        }
    }
}

impl Attached {
    fn status(&self, name: &str) -> Value {
        let ResourceStatus { multiplexed, leased, idle, last_error, nodes } = match &self.backend {
            Backend::Redis(backend) => backend.status(),
            Backend::Sql(backend) => backend.status(),
        };
        let breaker = breaker_word(self.gate.breaker_state());
        let mut shown = json!({
            "name": name,
            "type": self.kind,
            "breaker": breaker,
            "in_flight": self.gate.in_flight(),
            "waiting": self.gate.waiting(),
            "connections": { "multiplexed": multiplexed, "leased": leased, "idle": idle },
            "last_error": last_error,
        });
        if !nodes.is_empty() {
            shown["nodes"] = nodes.into_iter().map(node).collect();
        }
        shown
    }
}

fn breaker_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
    }
}

fn node(node: NodeStatus) -> Value {
    let NodeStatus { at, multiplexed, leased, idle, last_error, breaker } = node;
    json!({
        "endpoint": at,
        "breaker": breaker.map(breaker_word),
        "connections": { "multiplexed": multiplexed, "leased": leased, "idle": idle },
        "last_error": last_error,
    })
}

fn redis_grant(
    snapshot: &Snapshot,
    name: &str,
    backend: &Arc<RedisBackend>,
    plugin: &Plugin,
) -> Result<Option<Arc<dyn GrantedResource>>> {
    let grants = snapshot.resources.get(name).map(|resource| &resource.grants);
    let Some(grant) = grants.and_then(|grants| grants.get(&plugin.name)) else { return Ok(None) };
    let granted = backend.grant(grant).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("grant of resource {name:?} to plugin {:?}: {}", plugin.name, errors.join("; "))
    })?;
    Ok(Some(granted))
}

fn sql_grant(
    snapshot: &Snapshot,
    name: &str,
    backend: &Arc<SqlBackend>,
    plugin: &Plugin,
    metrics: &Metrics,
) -> Option<Arc<dyn GrantedResource>> {
    let resource = snapshot.sql_resources.get(name)?;
    Some(backend.grant(&plugin.name, resource.grants.get(&plugin.name)?, metrics))
}

fn sql_kind(endpoint: &SqlEndpoint) -> &'static str {
    match endpoint {
        SqlEndpoint::Sqlite(_) => "sqlite",
        SqlEndpoint::Server(server) => match server.engine {
            SqlServerEngine::Postgres => "postgres",
            SqlServerEngine::Mysql => "mysql",
        },
    }
}

fn redis_policy(resource: &config::Resource) -> ResourcePolicy {
    let limits = &resource.limits;
    ResourcePolicy {
        in_flight_max: limits.in_flight_max,
        waiters_max: limits.waiters_max,
        call_timeout: limits.call_timeout,
        call_timeout_max: limits.call_timeout_max,
        request_bytes_max: limits.request_bytes_max,
        // Each node of a cluster has a breaker of its own: one that is dead must not close the others.
        breaker_failures: match &resource.redis.address {
            RedisAddress::Cluster(_) => u32::MAX,
            _ => resource.breaker.failures,
        },
        breaker_probe_interval: resource.breaker.probe_interval,
        breaker_counts_timeout_io: true,
    }
}

fn sql_policy(resource: &config::SqlResource) -> ResourcePolicy {
    let limits = &resource.limits;
    ResourcePolicy {
        in_flight_max: limits.in_flight_max,
        waiters_max: limits.waiters_max,
        call_timeout: limits.call_timeout,
        call_timeout_max: limits.call_timeout_max,
        request_bytes_max: limits.request_bytes_max,
        breaker_failures: resource.breaker.failures,
        breaker_probe_interval: resource.breaker.probe_interval,
        // A plugin decides how long its statements take.
        breaker_counts_timeout_io: false,
    }
}
