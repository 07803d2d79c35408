//! The entry: one SQL resource of the configuration, and the grants of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use agw_config::{SqlEndpoint, SqlGrant, SqlResource, SqlServerEngine, SqlStatement};
use agw_foreign::{GrantedResource, Queue, ResourceStatus};
use agw_sql_statements::{Dialect, check};
use agw_telemetry::{Gauge, Metrics, PoolLabels};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cache::{Caches, Counters};
use crate::calls;
use crate::cursors::{CURSOR_IDLE_MAX, Cursors};
use crate::engine::{Caps, Engine};
use crate::error::{BuildError, ConnectError, StartError, StatementProblem};
use crate::grant::{Lines, SqlGranted};
use crate::lane::Lane;
use crate::mysql::MysqlEngine;
use crate::plan::{Named, Policy};
use crate::pool::{Gauges, Pool};
use crate::postgres::PostgresEngine;
use crate::runtime::SqlRuntime;
use crate::span::Database;
use crate::sqlite::SqliteEngine;

/// How long the preparation of all named statements may take.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);

/// The cursors of each grant that there still is.
type GrantCursors = Arc<Mutex<Vec<Weak<Cursors>>>>;

/// One SQL resource. Its grants keep it; once the last is dropped, its tasks stop and its connections close.
pub struct SqlBackend {
    resource: Arc<SqlResource>,
    dialect: Dialect,
    /// For spans.
    pub(crate) database: Database,
    statements: BTreeMap<String, Named>,
    pool: Arc<Pool>,
    /// Of every plugin, to be ended when they are idle.
    cursors: GrantCursors,
    /// The thread lives as long as anybody may call.
    _runtime: Arc<SqlRuntime>,
}

// === impl SqlBackend ===

impl SqlBackend {
    /// A backend without connections: [`SqlBackend::start`] or the first call makes them. No I/O.
    ///
    /// # Errors
    /// [`BuildError`]: certificates that are none.
    pub fn new(
        resource: &Arc<SqlResource>,
        runtime: &Arc<SqlRuntime>,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, BuildError> {
        let (engine, dialect): (Box<dyn Engine>, _) = match &resource.endpoint {
            SqlEndpoint::Sqlite(at) => (Box::new(SqliteEngine::new(resource, at)), Dialect::Sqlite),
            SqlEndpoint::Server(server) => match server.engine {
                SqlServerEngine::Postgres => {
                    (Box::new(PostgresEngine::new(resource, server)?), Dialect::Postgres)
                }
                SqlServerEngine::Mysql => (Box::new(MysqlEngine::new(resource, server)?), Dialect::Mysql),
            },
        };
        let gauge = |state| -> Gauge {
            let labels = PoolLabels { resource: resource.name.clone(), state };
            metrics.pool_connections.get_or_create(&labels).clone()
        };
        let gauges = Gauges { leased: gauge("leased"), idle: gauge("idle"), pipelined: gauge("pipelined") };
        let handle = runtime.handle().clone();
        let stages = |queue| metrics.stages(&resource.name, queue);
        let lane = Lane::new(resource.pool.pipelined, stages("lane").queue);
        let pool = Pool::new(resource, engine, lane, gauges, stages("pool"), handle);
        let cursors = Arc::new(Mutex::new(Vec::new()));
        pool.spawn(Arc::clone(&pool).upkeep());
        let idle_max = resource.pool.idle_timeout.min(CURSOR_IDLE_MAX);
        pool.spawn(end_idle_cursors(Arc::clone(&pool), Arc::clone(&cursors), idle_max));
        Ok(Arc::new(SqlBackend {
            resource: Arc::clone(resource),
            dialect,
            database: Database::of(&resource.endpoint),
            statements: named(resource, dialect),
            pool,
            cursors,
            _runtime: Arc::clone(runtime),
        }))
    }

    /// Prepares every named statement, and opens the pool's least number of connections.
    ///
    /// # Errors
    /// [`StartError`]: statements that the database refuses, with its messages, or a file that cannot be opened. A server
    /// that cannot be reached now may be there later; its statements are then checked by whoever calls them first.
    pub async fn start(self: &Arc<Self>) -> Result<(), StartError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let backend = Arc::clone(self);
        self.pool.spawn(async move {
            let started = timeout_at(Instant::now() + PREPARE_TIMEOUT, backend.prepare_all()).await;
            // Whoever asked may be gone.
            let late = || Err(StartError::NoConnection("the statements were not prepared in time".into()));
            let _ = answer.send(started.unwrap_or_else(|_| late()));
            backend.pool.fill().await;
        });
        answered.await.unwrap_or(Ok(()))
    }

    async fn prepare_all(&self) -> Result<(), StartError> {
        let mut connection =
            match self.pool.engine.connect(Instant::now() + self.resource.pool.connect_timeout).await {
                Ok(connection) => connection,
                Err(ConnectError::Open(cause)) => return Err(StartError::Open(cause)),
                Err(error) => return Err(StartError::NoConnection(Box::new(error))),
            };
        let mut problems = Vec::new();
        for (name, statement) in &self.statements {
            if let Err(refused) = connection.prepare(&statement.text).await {
                let (message, position) = (refused.message, refused.position);
                problems.push(StatementProblem { name: name.clone(), message, position });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(StartError::Statements(problems)) }
    }

    /// What one plugin may do with it. The configuration has checked the grant.
    pub fn grant(
        self: &Arc<Self>,
        plugin: &str,
        grant: &SqlGrant,
        metrics: &Metrics,
    ) -> Arc<dyn GrantedResource> {
        let (pool, limits) = (self.resource.pool, &self.resource.limits);
        let share = (pool.max * grant.share_percent as usize).div_ceil(100);
        let granted = |name: &String| Some((name.clone(), self.statements.get(name)?.clone()));
        let policy = Policy {
            dialect: self.dialect,
            statements: grant.statements.iter().filter_map(granted).collect(),
            ad_hoc: grant.ad_hoc,
            read_only: grant.read_only,
            caps: Caps {
                rows: grant.rows_max,
                response_bytes: grant.response_bytes_max,
                cell_bytes: limits.cell_bytes_max,
            },
            batch_max: limits.batch_max,
        };
        let cursors = Arc::new(Cursors::default());
        let mut all = self.cursors.lock();
        // Grants come and go with configurations; the resource stays.
        all.retain(|cursors| cursors.strong_count() > 0);
        all.push(Arc::downgrade(&cursors));
        drop(all);
        let line = |queue: &Queue| queue.line(plugin, grant.share_percent, usize::MAX);
        let lines = Lines { own: line(&self.pool.queue), shared: line(&self.pool.lane.queue) };
        let pool = Arc::clone(&self.pool);
        let caches = self.caches(plugin, grant, share, metrics);
        let call_timeout = limits.call_timeout;
        Arc::new(SqlGranted::new(pool, lines, policy, cursors, caches, call_timeout, Arc::clone(self)))
    }

    /// Half of the plugin's connections stay for calls that somebody waits for.
    fn caches(&self, plugin: &str, grant: &SqlGrant, share: usize, metrics: &Metrics) -> Caches {
        let cached = grant.statements.iter().filter_map(|name| {
            let cache = self.resource.statements.get(name)?.cache?;
            Some((name, cache, Counters::new(metrics, &self.resource.name, plugin, name)))
        });
        Caches::new(cached, share.div_ceil(2), self.resource.breaker.probe_interval)
    }

    /// Its connections at this moment.
    pub fn status(&self) -> ResourceStatus {
        self.pool.status()
    }

    /// Stops what runs and closes every connection. Calls that are under way get `unavailable`, and so do all that come
    /// later.
    ///
    /// # Cancel safety
    /// Everything has been told to stop before the first await; the future only waits for it.
    pub async fn shutdown(&self) {
        self.stop();
        self.pool.tasks.wait().await;
    }

    fn stop(&self) {
        self.pool.stop.cancel();
        self.pool.tasks.close();
    }
}

impl Drop for SqlBackend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The configuration has been through the gate; what would not pass it is left out, and so denied.
fn named(resource: &SqlResource, dialect: Dialect) -> BTreeMap<String, Named> {
    let lower = |(name, statement): (&String, &SqlStatement)| {
        let kind = check(&statement.text, dialect).ok()?;
        let text = Arc::from(statement.text.as_str());
        let SqlStatement { read_only, pipelined, .. } = *statement;
        Some((name.clone(), Named { text, kind, read_only, pipelined }))
    };
    resource.statements.iter().filter_map(lower).collect()
}

/// Ends with the pool.
async fn end_idle_cursors(pool: Arc<Pool>, cursors: GrantCursors, idle_max: Duration) {
    let interval = (idle_max / 4).clamp(Duration::from_millis(10), Duration::from_millis(250));
    loop {
        tokio::select! {
            () = pool.stop.cancelled() => break,
            () = sleep(interval) => {}
        }
        end_cursors(&pool, &cursors, idle_max);
    }
    end_cursors(&pool, &cursors, Duration::ZERO);
}

fn end_cursors(pool: &Pool, cursors: &Mutex<Vec<Weak<Cursors>>>, idle_max: Duration) {
    let living: Vec<_> = cursors.lock().iter().filter_map(Weak::upgrade).collect();
    let ended: Vec<_> = living.iter().flat_map(|cursors| cursors.end_idle(idle_max)).collect();
    for lease in ended {
        pool.spawn(calls::recycle(lease));
    }
}
