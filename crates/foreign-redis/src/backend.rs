//! The entry: one resource of the configuration, and the grants of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use agw_config::{Grant, GrantedCommands, RedisAddress, RedisCluster, RedisHost, Resource};
use agw_foreign::{GrantedResource, ResourceStatus};
use agw_redis_commands::{CommandSet, RuleError, Rules, RulesSpec};
use agw_redis_memory::Store;
use agw_telemetry::Metrics;
use parking_lot::Mutex;

use crate::blueprint::Blueprint;
use crate::cluster::Cluster;
use crate::connect::Destination;
use crate::error::{BuildError, ConnectError};
use crate::exchange::Exchange;
use crate::grant::{ServerGrant, Servers};
use crate::held::HeldLeases;
use crate::memory::{self, MemoryGrant};
use crate::plan::Policy;
use crate::scripts::Scripts;
use crate::sentinel::Sentinels;

/// A kept lease that no call uses for this long ends, whatever the pool's own idle timeout is: it keeps one of few
/// connections from everybody else.
const LEASE_IDLE_MAX: Duration = Duration::from_secs(5);

/// One Redis resource. Its grants keep it; once the last is dropped, its tasks stop and its connections close.
pub struct RedisBackend {
    kind: Kind,
    exchange: Arc<Exchange>,
    batch_max: usize,
    /// Its number, for spans.
    database: Arc<str>,
    lease_idle_max: Duration,
    /// Of a cluster.
    endpoints: Vec<RedisHost>,
    /// A task asks the primary for its replicas.
    watched: Arc<AtomicBool>,
    /// The leases that plugins keep, to be ended at the shutdown.
    held: Mutex<Vec<Weak<HeldLeases>>>,
}

enum Kind {
    Servers { servers: Servers, blueprint: Arc<Blueprint> },
    Memory(Store),
}

/// While a task asks for replicas.
struct ReplicaWatch {
    watched: Arc<AtomicBool>,
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
        let blueprint = || Blueprint::new(resource, workers, metrics);
        let kind = match &resource.redis.address {
            RedisAddress::Memory { name } => Kind::Memory(memory::store(name)),
            RedisAddress::Tcp { host, port } => {
                let blueprint = blueprint()?;
                let at = RedisHost { host: host.clone(), port: *port };
                let destination = Destination::Server(blueprint.connector(at)?);
                Kind::server(blueprint, destination)
            }
            RedisAddress::Sentinel(sentinels) => {
                let blueprint = blueprint()?;
                let destination = Destination::Sentinels(Sentinels::new(sentinels, &blueprint)?);
                Kind::server(blueprint, destination)
            }
            RedisAddress::Cluster(cluster) => Kind::cluster(blueprint()?, cluster),
        };
        let scripts = Arc::new(Scripts::new(&resource.scripts));
        let response_bytes_max = resource.limits.response_bytes_max;
        Ok(Arc::new(RedisBackend {
            kind,
            exchange: Arc::new(Exchange { scripts, response_bytes_max }),
            batch_max: resource.limits.batch_max,
            database: resource.redis.database.to_string().into(),
            lease_idle_max: resource.pool.idle_timeout.min(LEASE_IDLE_MAX),
            endpoints: match &resource.redis.address {
                RedisAddress::Cluster(cluster) => cluster.endpoints.clone(),
                _ => Vec::new(),
            },
            watched: Arc::default(),
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
        let unknown = grant.scripts.iter().filter(|name| self.exchange.scripts.get(name).is_none());
        let mut errors: Vec<_> =
            unknown.map(|name| GrantError::UnknownScript { name: name.clone() }).collect();
        match rules {
            Ok(rules) if errors.is_empty() => {
                let scripts = grant.scripts.clone();
                let database = Arc::clone(&self.database);
                let sharded = matches!(&self.kind, Kind::Servers { servers: Servers::Cluster(_), .. });
                Ok(self.granted(Policy { rules, scripts, batch_max: self.batch_max, sharded, database }))
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
                scripts: Arc::clone(&self.exchange.scripts),
                response_bytes_max: self.exchange.response_bytes_max,
            })),
            Kind::Servers { servers, .. } => {
                let held = HeldLeases::new(self.lease_idle_max);
                let mut all = self.held.lock();
                // Grants come and go with configurations; the resource stays.
                all.retain(|held| held.strong_count() > 0);
                all.push(Arc::downgrade(&held));
                drop(all);
                let (servers, exchange) = (servers.clone(), Arc::clone(&self.exchange));
                Arc::new(ServerGrant::new(servers, exchange, policy, held, Arc::clone(self)))
            }
        }
    }

    /// Makes one connection, logs in, and closes it again: to the primary, or to any node of a cluster. The embedded
    /// store is always there.
    ///
    /// # Errors
    /// Why there is none, within the connect timeout. The text has no address and no credentials.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        match &self.kind {
            Kind::Memory(_) => Ok(()),
            Kind::Servers { servers: Servers::One(server), .. } => {
                server.shared.destination.connect().await.map(drop).map_err(ProbeError)
            }
            Kind::Servers { servers: Servers::Cluster(_), blueprint } => {
                blueprint.any(&self.endpoints).await.map(drop).map_err(ProbeError)
            }
        }
    }

    /// Sees to it that the primary is asked for its replicas, on the current runtime if no task does so yet.
    pub(crate) fn keep_replicas(&self) {
        let Kind::Servers { servers: Servers::One(server), blueprint } = &self.kind else { return };
        // A plain load first: every call comes by here.
        if self.watched.load(Ordering::Relaxed) || self.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let watch = ReplicaWatch { watched: Arc::clone(&self.watched) };
        let (server, blueprint) = (Arc::clone(server), Arc::clone(blueprint));
        blueprint.tasks.clone().spawn(async move {
            // Says that nobody watches any more when the task ends, however it ends.
            let _watch = watch;
            tokio::select! {
                biased;
                () = blueprint.stop.cancelled() => {}
                () = blueprint.watch(&server) => {}
            }
        });
    }

    /// Its connections at this moment. The embedded store has none.
    pub fn status(&self) -> ResourceStatus {
        match &self.kind {
            Kind::Memory(_) => {
                ResourceStatus { multiplexed: 0, leased: 0, idle: 0, last_error: None, nodes: Vec::new() }
            }
            Kind::Servers { servers: Servers::One(server), .. } => server.status(),
            Kind::Servers { servers: Servers::Cluster(cluster), .. } => cluster.status(),
        }
    }

    /// Closes every connection. Calls that are under way get `unavailable`, and so do all that come later.
    ///
    /// # Cancel safety
    /// Everything has been told to stop before the first await; the future only waits for it.
    pub async fn shutdown(&self) {
        self.stop();
        if let Kind::Servers { blueprint, .. } = &self.kind {
            blueprint.tasks.wait().await;
        }
    }

    fn stop(&self) {
        let Kind::Servers { servers, blueprint } = &self.kind else { return };
        blueprint.stop.cancel();
        blueprint.tasks.close();
        self.held.lock().iter().filter_map(Weak::upgrade).for_each(|held| held.close());
        match servers {
            Servers::One(server) => server.leases.close(),
            Servers::Cluster(cluster) => cluster.close(),
        }
    }
}

impl Drop for ReplicaWatch {
    fn drop(&mut self) {
        self.watched.store(false, Ordering::Relaxed);
    }
}

impl Drop for RedisBackend {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Kind ===

impl Kind {
    fn server(blueprint: Blueprint, destination: Destination) -> Self {
        let servers = Servers::One(Arc::new(blueprint.server(destination, blueprint.stop.clone())));
        Kind::Servers { servers, blueprint: Arc::new(blueprint) }
    }

    fn cluster(blueprint: Blueprint, config: &RedisCluster) -> Self {
        let blueprint = Arc::new(blueprint);
        let servers = Servers::Cluster(Cluster::new(config, Arc::clone(&blueprint)));
        Kind::Servers { servers, blueprint }
    }
}
