//! The entry: one resource of the configuration, and the grants of it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agw_config::{Grant, GrantedCommands, RedisAddress, Resource};
use agw_foreign::{GrantedResource, ResourceStatus};
use agw_redis_commands::{CommandSet, RuleError, Rules, RulesSpec};
use agw_redis_memory::Store;
use agw_telemetry::{Gauge, Metrics, PoolLabels, ResourceLabels};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::Connector;
use crate::connection::Bounds;
use crate::error::{BuildError, ConnectError};
use crate::grant::{Server, ServerGrant};
use crate::held::HeldLeases;
use crate::lease::{Gauges, Leases};
use crate::memory::{self, MemoryGrant};
use crate::plan::Policy;
use crate::scripts::Scripts;
use crate::slot::{Shared, Slot};

/// Bytes that may wait to be sent on one connection, unless a single call may be larger.
const QUEUED_BYTES_MAX: usize = 16 << 20;
/// A kept lease that no call uses for this long ends, whatever the pool's own idle timeout is: it keeps one of few
/// connections from everybody else.
const LEASE_IDLE_MAX: Duration = Duration::from_secs(5);

/// One Redis resource. Its grants keep it; once the last is dropped, its tasks stop and its connections close.
pub struct RedisBackend {
    kind: Kind,
    scripts: Arc<Scripts>,
    batch_max: usize,
    response_bytes_max: usize,
    lease_idle_max: Duration,
    /// The leases that plugins keep, to be ended at the shutdown.
    held: Mutex<Vec<Weak<HeldLeases>>>,
}

enum Kind {
    Server { server: Arc<Server>, shared: Arc<Shared> },
    Memory(Store),
}

/// What is wrong with a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Its commands, prefix or limits.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// It names a script that the resource does not have.
    #[error("the resource has no script {name:?}; its scripts are named under `scripts`")]
    UnknownScript {
        /// As the operator wrote it.
        name: String,
    },
}

/// A server cannot be used with what the configuration says.
#[derive(Debug, thiserror::Error)]
#[error("the server cannot be used")]
pub struct ProbeError(#[source] ConnectError);

// === impl RedisBackend ===

impl RedisBackend {
    /// A backend without connections: the first call makes them. No I/O. `workers` is the number of event loops
    /// that will call it.
    ///
    /// # Errors
    /// [`BuildError`] for a pool without room for multiplexed connections, or TLS material that cannot be used.
    pub fn new(resource: &Resource, workers: usize, metrics: &Metrics) -> Result<Arc<Self>, BuildError> {
        let scripts = Arc::new(Scripts::new(&resource.scripts));
        let kind = match &resource.redis.address {
            RedisAddress::Memory { name } => Kind::Memory(memory::store(name)),
            RedisAddress::Tcp { host, port } => {
                let timeout = resource.pool.connect_timeout;
                let connector = Connector::new(&resource.redis, host, *port, timeout)?;
                server(resource, connector, Arc::clone(&scripts), workers, metrics)?
            }
        };
        Ok(Arc::new(RedisBackend {
            kind,
            scripts,
            batch_max: resource.limits.batch_max,
            response_bytes_max: resource.limits.response_bytes_max,
            lease_idle_max: resource.pool.idle_timeout.min(LEASE_IDLE_MAX),
            held: Mutex::default(),
        }))
    }

    /// What one plugin may do with it.
    ///
    /// # Errors
    /// Everything that is wrong with the grant, not just the first.
    pub fn grant(self: &Arc<Self>, grant: &Grant) -> Result<Arc<dyn GrantedResource>, Vec<GrantError>> {
        let commands = match &grant.commands {
            GrantedCommands::AllSafe => CommandSet::AllSafe,
            GrantedCommands::Named(names) => CommandSet::Named(names.clone()),
        };
        let (read_only, key_bytes_max) = (grant.read_only, grant.key_bytes_max);
        let rules =
            Rules::new(RulesSpec { commands, key_prefix: &grant.key_prefix, read_only, key_bytes_max });
        let unknown = grant.scripts.iter().filter(|name| self.scripts.get(name).is_none());
        let mut errors: Vec<_> =
            unknown.map(|name| GrantError::UnknownScript { name: name.clone() }).collect();
        match rules {
            Ok(rules) if errors.is_empty() => {
                let scripts = grant.scripts.clone();
                Ok(self.granted(Policy { rules, scripts, batch_max: self.batch_max }))
            }
            Ok(_) => Err(errors),
            Err(rules) => {
                errors.extend(rules.into_iter().map(GrantError::from));
                Err(errors)
            }
        }
    }

    fn granted(self: &Arc<Self>, policy: Policy) -> Arc<dyn GrantedResource> {
        match &self.kind {
            Kind::Memory(store) => Arc::new(MemoryGrant::new(memory::Granted {
                store: store.clone(),
                policy,
                scripts: Arc::clone(&self.scripts),
                response_bytes_max: self.response_bytes_max,
            })),
            Kind::Server { server, .. } => {
                let held = HeldLeases::new(self.lease_idle_max);
                let mut all = self.held.lock();
                // Grants come and go with configurations; the resource stays.
                all.retain(|held| held.strong_count() > 0);
                all.push(Arc::downgrade(&held));
                drop(all);
                Arc::new(ServerGrant::new(Arc::clone(server), policy, held, Arc::clone(self)))
            }
        }
    }

    /// Makes one connection, logs in, and closes it again. The embedded store is always there.
    ///
    /// # Errors
    /// Why there is none, within the connect timeout. The text has no address and no credentials.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        match &self.kind {
            Kind::Memory(_) => Ok(()),
            Kind::Server { shared, .. } => shared.connector.connect().await.map(drop).map_err(ProbeError),
        }
    }

    /// Its connections at this moment. The embedded store has none.
    pub fn status(&self) -> ResourceStatus {
        match &self.kind {
            Kind::Memory(_) => ResourceStatus { multiplexed: 0, leased: 0, idle: 0, last_error: None },
            Kind::Server { server, shared } => ResourceStatus {
                multiplexed: usize::try_from(shared.connections.get()).unwrap_or(0),
                leased: server.leases.leased(),
                idle: server.leases.idle(),
                last_error: shared.last_error.lock().map(str::to_owned),
            },
        }
    }

    /// Closes every connection. Calls that are under way get `unavailable`, and so do all that come later.
    ///
    /// # Cancel safety
    /// Everything has been told to stop before the first await; the future only waits for it.
    pub async fn shutdown(&self) {
        self.stop();
        if let Kind::Server { shared, .. } = &self.kind {
            shared.tasks.wait().await;
        }
    }

    fn stop(&self) {
        let Kind::Server { server, shared } = &self.kind else { return };
        shared.stop.cancel();
        shared.tasks.close();
        self.held.lock().iter().filter_map(Weak::upgrade).for_each(|held| held.close());
        server.leases.close();
    }
}

impl Drop for RedisBackend {
    fn drop(&mut self) {
        self.stop();
    }
}

fn server(
    resource: &Resource,
    connector: Connector,
    scripts: Arc<Scripts>,
    workers: usize,
    metrics: &Metrics,
) -> Result<Kind, BuildError> {
    let (pool, limits) = (&resource.pool, &resource.limits);
    if pool.leased_max >= pool.max {
        return Err(BuildError::Pool { max: pool.max, leased_max: pool.leased_max });
    }
    let name = &resource.name;
    let gauge = |state| -> Gauge {
        metrics.pool_connections.get_or_create(&PoolLabels { resource: name.clone(), state }).clone()
    };
    let shared = Arc::new(Shared {
        resource: name.clone(),
        connector: Arc::new(connector),
        bounds: Bounds {
            calls: limits.in_flight_max.saturating_add(limits.waiters_max).clamp(16, 1 << 20),
            queued_bytes: QUEUED_BYTES_MAX.max(limits.request_bytes_max.saturating_mul(2)),
        },
        connections: gauge("multiplexed"),
        reconnects: metrics.reconnects.get_or_create(&ResourceLabels { resource: name.clone() }).clone(),
        stages: metrics.stages(name, "pool"),
        last_error: Mutex::new(None),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    });
    let multiplexed = workers.clamp(1, pool.max - pool.leased_max);
    let gauges = Gauges { leased: gauge("leased"), idle: gauge("idle") };
    let server = Server {
        slots: (0..multiplexed).map(|_| Slot::new(Arc::clone(&shared))).collect(),
        leases: Leases::new(Arc::clone(&shared), pool, gauges),
        scripts,
        response_bytes_max: limits.response_bytes_max,
    };
    Ok(Kind::Server { server: Arc::new(server), shared })
}
