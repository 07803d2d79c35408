//! External resources of a snapshot: gates and backends.

use std::collections::BTreeMap;
use std::sync::Arc;

use agw_config::{
    self as config, InjectedError, InjectedFault, RedisAddress, Snapshot, SqlEndpoint, SqlServerEngine,
};
use agw_foreign::{
    BreakerState, Code, Fault, FaultPolicy, NodeStatus, Resource, ResourcePolicy, ResourceStatus,
};
use agw_foreign_redis::RedisBackend;
use agw_foreign_sql::{SqlBackend, SqlRuntime, StartError};
use agw_telemetry::{Metrics, NodeFigures, NodeLabels};
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

/// Servers of one resource that have series of their own in the metrics.
const NODES_SHOWN_MAX: usize = 200;

/// Every resource of a snapshot, by name.
#[derive(Default)]
pub(crate) struct Resources {
    by_name: BTreeMap<String, Arc<Attached>>,
    /// Once there was a SQL resource.
    sql: Option<Arc<SqlRuntime>>,
}

pub(crate) struct Attached {
    made_from: Config,
    pub(crate) gate: Arc<Resource>,
    pub(crate) backend: Backend,
}

/// A resource as the snapshot has it.
enum Config {
    Redis(Arc<config::Resource>),
    Sql(Arc<config::SqlResource>),
}

pub(crate) enum Backend {
    Redis(Arc<RedisBackend>),
    Sql(Arc<SqlBackend>),
}

impl Resources {
    /// Those of the next snapshot. A resource that differs in its grants alone goes on with its connections, its breaker
    /// and its places; any other is made anew, beside the one that it follows. No I/O: connections are made by
    /// [`Resources::start`] and by calls.
    ///
    /// # Errors
    /// TLS material or a pool that cannot be used, with the resource's name; no thread for SQL.
    pub(crate) fn next(&self, snapshot: &Snapshot, workers: usize, metrics: &Arc<Metrics>) -> Result<Self> {
        let mut next = Resources { by_name: BTreeMap::new(), sql: self.sql.clone() };
        let redis = snapshot.resources.iter().map(|(name, of)| (name, Config::Redis(Arc::clone(of))));
        let sql = snapshot.sql_resources.iter().map(|(name, of)| (name, Config::Sql(Arc::clone(of))));
        for (name, config) in redis.chain(sql) {
            let known = self.by_name.get(name).filter(|attached| attached.made_from.serves_as(&config));
            let attached = match known {
                Some(known) => Arc::clone(known),
                None => {
                    let made = next.attach(name, config, workers, metrics);
                    Arc::new(made.with_context(|| format!("set up the resource {name:?}"))?)
                }
            };
            next.by_name.insert(name.clone(), attached);
        }
        Ok(next)
    }

    fn attach(
        &mut self,
        name: &str,
        made_from: Config,
        workers: usize,
        metrics: &Arc<Metrics>,
    ) -> Result<Attached> {
        let (backend, policy, injected) = match &made_from {
            Config::Redis(resource) => {
                let backend = RedisBackend::new(resource, workers, metrics)?;
                (Backend::Redis(backend), redis_policy(resource), resource.faults)
            }
            Config::Sql(resource) => {
                let backend = SqlBackend::new(resource, &self.sql_runtime()?, metrics)?;
                (Backend::Sql(backend), sql_policy(resource), resource.faults)
            }
        };
        let gate = Resource::with_faults(name.to_owned(), policy, faults(injected), metrics);
        Ok(Attached { made_from, gate, backend })
    }

    fn sql_runtime(&mut self) -> Result<Arc<SqlRuntime>> {
        if let Some(runtime) = &self.sql {
            return Ok(Arc::clone(runtime));
        }
        let runtime = SqlRuntime::start().context("start the thread of the SQL resources")?;
        self.sql = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Tries what is not in `before`: named statements are prepared, and one that a database refuses is found before
    /// anything serves. A resource that takes the place of one with another address or other credentials has to let the
    /// gateway in; any other may be down, and calls find out when it is back.
    ///
    /// # Errors
    /// Everything that servers refuse, with each resource's name.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn start(&self, before: &Resources) -> Result<()> {
        let mut refused = Vec::new();
        for (name, attached) in &self.by_name {
            let known = before.by_name.get(name);
            if known.is_some_and(|known| Arc::ptr_eq(known, attached)) {
                continue;
            }
            let moves = known.is_some_and(|known| !known.made_from.connects_as(&attached.made_from));
            if let Err(error) = attached.start(name, moves).await {
                refused.push(format!("{:#}", error.context(format!("resource {name:?}"))));
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(anyhow!(refused.join("; "))) }
    }

    /// By name.
    pub(crate) fn by_name(&self) -> &BTreeMap<String, Arc<Attached>> {
        &self.by_name
    }

    /// For `/v1/resources`.
    pub(crate) fn status(&self) -> Value {
        self.by_name.iter().map(|(name, attached)| attached.status(name)).collect()
    }

    /// For `/metrics`: the servers of those that have several.
    pub(crate) fn nodes(&self) -> Vec<NodeFigures> {
        let all = self.by_name.iter().flat_map(|(name, attached)| {
            let nodes = attached.backend.status().nodes.into_iter().enumerate();
            nodes.map(|(place, node)| figures(name, place, node))
        });
        all.collect()
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
    async fn start(&self, name: &str, must_connect: bool) -> Result<()> {
        match &self.backend {
            Backend::Redis(backend) if must_connect => Ok(backend.probe().await?),
            Backend::Redis(_) => Ok(()),
            Backend::Sql(backend) => match backend.start().await {
                Err(StartError::NoConnection(cause)) if !must_connect => {
                    let error = anyhow!(cause);
                    tracing::warn!(
                        resource.name = name,
                        "no connection; named statements are not checked yet: {error:#}"
                    );
                    Ok(())
                }
                started => Ok(started?),
            },
        }
    }

    fn status(&self, name: &str) -> Value {
        let ResourceStatus { multiplexed, leased, idle, last_error, nodes } = self.backend.status();
        let breaker = breaker_word(self.gate.breaker_state());
        let mut shown = json!({
            "name": name,
            "type": self.made_from.kind(),
            "breaker": breaker,
            "in_flight": self.gate.in_flight(),
            "waiting": self.gate.waiting(),
            "connections": { "multiplexed": multiplexed, "leased": leased, "idle": idle },
            "last_error": last_error,
            "faults": self.gate.faults().map(show_faults),
        });
        if !nodes.is_empty() {
            shown["nodes"] = nodes.into_iter().map(node).collect();
        }
        shown
    }
}

impl Backend {
    fn status(&self) -> ResourceStatus {
        match self {
            Backend::Redis(backend) => backend.status(),
            Backend::Sql(backend) => backend.status(),
        }
    }
}

fn breaker_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
    }
}

fn node(node: NodeStatus) -> Value {
    let NodeStatus { at, role, calls, multiplexed, leased, idle, last_error, breaker } = node;
    json!({
        "endpoint": at,
        "role": role,
        "calls": calls,
        "breaker": breaker.map(breaker_word),
        "connections": { "multiplexed": multiplexed, "leased": leased, "idle": idle },
        "last_error": last_error,
    })
}

/// Servers beyond the bound are one together.
fn figures(resource: &str, place: usize, node: NodeStatus) -> NodeFigures {
    let connections = node.multiplexed + node.leased + node.idle;
    let name = if place < NODES_SHOWN_MAX { node.at } else { "others".to_owned() };
    let labels = NodeLabels { resource: resource.to_owned(), node: name, role: node.role };
    NodeFigures { labels, connections, calls: node.calls }
}

fn faults(policy: Option<config::FaultPolicy>) -> Option<FaultPolicy> {
    let config::FaultPolicy { share_percent, delay, fault } = policy?;
    let fault = match fault {
        InjectedFault::None => Fault::None,
        InjectedFault::Error(error) => Fault::Error(match error {
            InjectedError::TimeoutQueue => Code::TimeoutQueue,
            InjectedError::TimeoutConnect => Code::TimeoutConnect,
            InjectedError::TimeoutIo => Code::TimeoutIo,
            InjectedError::Unavailable => Code::Unavailable,
            InjectedError::CircuitOpen => Code::CircuitOpen,
            InjectedError::Overloaded => Code::Overloaded,
            InjectedError::Auth => Code::Auth,
        }),
        InjectedFault::Cut => Fault::Cut,
    };
    Some(FaultPolicy { share_percent, delay, fault })
}

fn show_faults(FaultPolicy { share_percent, delay, fault }: FaultPolicy) -> Value {
    let fault = match fault {
        Fault::None => Value::Null,
        Fault::Error(code) => json!(code.as_str()),
        Fault::Cut => json!("cut"),
    };
    json!({ "share": share_percent, "delay_ms": delay.as_millis() as u64, "fault": fault })
}

pub(crate) fn sql_kind(endpoint: &SqlEndpoint) -> &'static str {
    match endpoint {
        SqlEndpoint::Sqlite(_) => "sqlite",
        SqlEndpoint::Server(server) => match server.engine {
            SqlServerEngine::Postgres => "postgres",
            SqlServerEngine::Mysql => "mysql",
        },
    }
}

// === impl Config ===

impl Config {
    /// As the document says it.
    fn kind(&self) -> &'static str {
        match self {
            Config::Redis(_) => "redis",
            Config::Sql(resource) => sql_kind(&resource.endpoint),
        }
    }

    /// Whether what was made from it is what `next` asks for, but for grants.
    fn serves_as(&self, next: &Config) -> bool {
        match (self, next) {
            (Config::Redis(ours), Config::Redis(next)) => {
                **ours == config::Resource { grants: ours.grants.clone(), ..(**next).clone() }
            }
            (Config::Sql(ours), Config::Sql(next)) => {
                // Whether the server's role is looked at depends on it.
                let reads_only =
                    |resource: &config::SqlResource| resource.grants.values().any(|grant| grant.read_only);
                reads_only(ours) == reads_only(next)
                    && **ours == config::SqlResource { grants: ours.grants.clone(), ..(**next).clone() }
            }
            _ => false,
        }
    }

    /// Whether both go to the same place by the same credentials.
    fn connects_as(&self, next: &Config) -> bool {
        match (self, next) {
            (Config::Redis(ours), Config::Redis(next)) => ours.redis == next.redis,
            (Config::Sql(ours), Config::Sql(next)) => ours.endpoint == next.endpoint,
            _ => false,
        }
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
