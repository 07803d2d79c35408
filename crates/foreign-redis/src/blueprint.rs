//! What the connections of one resource are made of, to whatever server.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agw_config::{
    BreakerPolicy, PoolPolicy, RedisAddress, RedisEndpoint, RedisHost, RedisReadFrom, Resource,
};
use agw_foreign::Breaker;
use agw_telemetry::{Counter, Gauge, Metrics, PoolLabels, ResourceLabels, Stages};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{Access, Connector, Destination, Login};
use crate::connection::Bounds;
use crate::error::{BuildError, ConnectError};
use crate::exchange::send;
use crate::grant::Server;
use crate::lease::{Gauges, Leases};
use crate::node::Node;
use crate::replicas::Replicas;
use crate::session::Session;
use crate::slot::{Shared, Slot};

/// Bytes that may wait to be sent on one connection, unless a single call may be larger.
const QUEUED_BYTES_MAX: usize = 16 << 20;

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";
const INFO_BYTES_MAX: usize = 64 * 1024;

/// What a server is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It gets everything.
    Primary,
    /// It gets reads.
    Replica,
}

// === impl Role ===

impl Role {
    /// As operators see it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// That reads may go to replicas.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads {
    /// Their data may be this old; without it, any age.
    lag_max: Option<Duration>,
}

/// See the module's text.
pub(crate) struct Blueprint {
    pub(crate) resource: String,
    pub(crate) access: Arc<Access>,
    /// Whether reads may go to replicas.
    pub(crate) reads: Option<Reads>,
    /// How to get in there.
    replica_access: Arc<Access>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pool: PoolPolicy,
    breaker: BreakerPolicy,
    bounds: Bounds,
    /// Multiplexed connections to one server.
    multiplexed: usize,
    connections: Gauge,
    stages: Stages,
    leases: Gauges,
    reconnects: Counter,
}

// === impl Reads ===

impl Reads {
    fn of(address: &RedisAddress) -> Option<Self> {
        let topology = match address {
            RedisAddress::Sentinel(sentinels) => &sentinels.topology,
            RedisAddress::Cluster(cluster) => &cluster.topology,
            RedisAddress::Tcp { .. } | RedisAddress::Memory { .. } => return None,
        };
        match topology.read_from {
            RedisReadFrom::Primary => None,
            RedisReadFrom::PreferReplica { lag_max } => Some(Reads { lag_max }),
        }
    }

    /// How often primaries are asked for their replicas.
    pub(crate) fn interval(self) -> Duration {
        let second = Duration::from_secs(1);
        self.lag_max.map_or(second, |lag_max| (lag_max / 4).clamp(second / 20, second))
    }
}

// === impl Blueprint ===

impl Blueprint {
    /// No I/O. `workers` is the number of event loops that will call.
    ///
    /// # Errors
    /// [`BuildError`] for a pool without room for multiplexed connections, or TLS material that cannot be used.
    pub(crate) fn new(resource: &Resource, workers: usize, metrics: &Metrics) -> Result<Self, BuildError> {
        let (name, pool, limits) = (&resource.name, resource.pool, &resource.limits);
        if pool.leased_max >= pool.max {
            return Err(BuildError::Pool { max: pool.max, leased_max: pool.leased_max });
        }
        let RedisEndpoint { username, password, database, tls, .. } = &resource.redis;
        let login = Login {
            username: username.as_deref(),
            password: password.as_ref(),
            database: *database,
            reads_only: false,
        };
        let access = Access::new(tls.as_ref(), login, pool.connect_timeout)?;
        let replica_access = match &resource.redis.address {
            // A node of a cluster sends reads on to its primary, unless it is told not to.
            RedisAddress::Cluster(_) => {
                Access::new(tls.as_ref(), Login { reads_only: true, ..login }, pool.connect_timeout)?
            }
            _ => Arc::clone(&access),
        };
        let gauge = |state| -> Gauge {
            metrics.pool_connections.get_or_create(&PoolLabels { resource: name.clone(), state }).clone()
        };
        Ok(Blueprint {
            resource: name.clone(),
            access,
            reads: Reads::of(&resource.redis.address),
            replica_access,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            pool,
            breaker: resource.breaker,
            bounds: Bounds {
                calls: limits.in_flight_max.saturating_add(limits.waiters_max).clamp(16, 1 << 20),
                queued_bytes: QUEUED_BYTES_MAX.max(limits.request_bytes_max.saturating_mul(2)),
            },
            multiplexed: workers.clamp(1, pool.max - pool.leased_max),
            connections: gauge("multiplexed"),
            stages: metrics.stages(name, "pool"),
            leases: Gauges { leased: gauge("leased"), idle: gauge("idle") },
            reconnects: metrics.reconnects.get_or_create(&ResourceLabels { resource: name.clone() }).clone(),
        })
    }

    /// How to reach the server at this place.
    ///
    /// # Errors
    /// [`BuildError::ServerName`] for a host that no certificate can be checked against.
    pub(crate) fn connector(&self, at: RedisHost) -> Result<Connector, BuildError> {
        Connector::new(&self.access, at)
    }

    /// A connection to the first of these places that takes one.
    ///
    /// # Errors
    /// Why the last of them takes none.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn any(&self, places: &[RedisHost]) -> Result<Session, ConnectError> {
        let mut last = ConnectError::Timeout;
        for at in places {
            let Ok(connector) = self.connector(at.clone()) else { continue };
            match connector.connect().await {
                Ok(session) => return Ok(session),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// One of several servers, without connections. `None`: its host can be no name of a certificate.
    pub(crate) fn node(&self, at: &RedisHost, role: Role) -> Option<Arc<Node>> {
        let access = match role {
            Role::Primary => &self.access,
            Role::Replica => &self.replica_access,
        };
        let connector = Connector::new(access, at.clone()).ok()?;
        let mut server = self.server(Destination::Server(connector), self.stop.child_token());
        if role == Role::Replica {
            server.replicas = None;
        }
        let breaker = Breaker::of_node(
            &self.resource,
            at.to_string(),
            self.breaker.failures,
            self.breaker.probe_interval,
        );
        Some(Arc::new(Node { at: at.clone(), role, server, breaker }))
    }

    /// Connections there, none of which is open yet. They end with `stop`.
    pub(crate) fn server(&self, destination: Destination, stop: CancellationToken) -> Server {
        let shared = Arc::new(Shared {
            resource: self.resource.clone(),
            destination,
            bounds: self.bounds,
            connections: self.connections.clone(),
            stages: self.stages.clone(),
            reconnects: self.reconnects.clone(),
            last_error: Mutex::new(None),
            calls: AtomicU64::new(0),
            stop,
            tasks: self.tasks.clone(),
        });
        Server {
            slots: (0..self.multiplexed).map(|_| Slot::new(Arc::clone(&shared))).collect(),
            leases: Leases::new(Arc::clone(&shared), &self.pool, self.leases.clone()),
            shared,
            replicas: self.reads.map(|reads| Replicas::new(reads.lag_max)),
        }
    }

    /// Asks the primary behind sentinels for its replicas, again and again. Never returns.
    pub(crate) async fn watch(&self, server: &Server) {
        let (Some(reads), Destination::Sentinels(sentinels)) = (self.reads, &server.shared.destination)
        else {
            return std::future::pending().await;
        };
        loop {
            let begun = Instant::now();
            self.poll(server, |host| sentinels.admits(host)).await;
            tokio::time::sleep_until(begun + reads.interval()).await;
        }
    }

    /// Asks a primary for its replicas. What it does not answer changes nothing: what was known grows old.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was known.
    pub(crate) async fn poll(&self, server: &Server, admits: impl Fn(&str) -> bool) {
        let (Some(replicas), Some(reads)) = (&server.replicas, self.reads) else { return };
        // One that is open: opened here it would belong to this event loop, and not to its worker's.
        let Some(link) = server.slots.iter().find_map(|slot| slot.open_link()) else { return };
        let asked_at = Instant::now();
        let next = asked_at + reads.interval();
        if let Ok(info) = send(&link, INFO.to_vec(), 1, INFO_BYTES_MAX, next).await {
            let open = |at: &RedisHost| if admits(&at.host) { self.node(at, Role::Replica) } else { None };
            // Two answers may be late.
            replicas.told(&info, asked_at, asked_at + reads.interval() * 3, open);
        }
    }
}
