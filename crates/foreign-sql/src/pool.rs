//! Connections of one resource: those that are idle, and how others come to be.

use std::sync::Arc;
use std::time::Duration;

use agw_config::{SqlPool, SqlResource};
use agw_foreign::{LineId, Place, Queue, ResourceStatus};
use agw_telemetry::{Gauge, Stage, Stages};
use agw_wire::{CallError, Retry};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::Ends;
use crate::engine::{Connection, Engine, SharedConnection};
use crate::error::{ConnectError, cancelled, closed, timeout_connect, timeout_queue};
use crate::lane::Lane;

/// How often idle connections are looked at.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One resource's connections. Everything but [`Pool::status`], [`Pool::spawn`] and
/// what belongs to the lane runs on the resource runtime.
pub(crate) struct Pool {
    pub(crate) resource: String,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) lane: Lane,
    pub(crate) policy: SqlPool,
    /// In the lane the server ends a statement after this.
    pub(crate) stall_timeout: Duration,
    /// The one that was used last is at the end, and taken first: the others may grow old.
    idle: Mutex<Vec<Idle>>,
    last_error: Mutex<Option<&'static str>>,
    pub(crate) gauges: Gauges,
    pub(crate) stages: Stages,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    runtime: Handle,
}

#[derive(Clone)]
pub(crate) struct Gauges {
    pub(crate) leased: Gauge,
    pub(crate) idle: Gauge,
    /// Connections of the lane.
    pub(crate) pipelined: Gauge,
}

struct Idle {
    open: Open,
    since: Instant,
}

/// A connection with the time at which it has lived long enough.
struct Open {
    connection: Box<dyn Connection>,
    until: Instant,
}

/// A connection in use, with its place. Dropped, the connection is closed.
pub(crate) struct Lease {
    // Before the place: whoever gets that must find the connection gone.
    open: Open,
    pool: Arc<Pool>,
    _leased: Counted,
    _place: Place<Arc<Queue>>,
}

/// Counts a connection in a gauge while it lives.
pub(crate) struct Counted(Gauge);

// === impl Pool ===

impl Pool {
    pub(crate) fn new(
        resource: &SqlResource,
        engine: Box<dyn Engine>,
        lane: Lane,
        gauges: Gauges,
        stages: Stages,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Pool {
            resource: resource.name.clone(),
            engine,
            queue: Arc::new(Queue::new(resource.pool.max)),
            lane,
            policy: resource.pool,
            stall_timeout: resource.limits.call_timeout,
            idle: Mutex::default(),
            last_error: Mutex::new(None),
            gauges,
            stages,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime,
        })
    }

    /// Runs a task on the resource runtime. The pool owns it: the shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// A connection for a plugin: an idle one, or a new one.
    ///
    /// # Errors
    /// `timeout_queue`, `timeout_connect`, `cancelled`, and `unavailable` or `auth` as the engine says.
    ///
    /// # Cancel safety
    /// Dropped, it gives its place to the next; a connection that is being made is closed.
    pub(crate) async fn acquire(self: &Arc<Self>, line: LineId, ends: &Ends) -> Result<Lease, CallError> {
        let Ends { deadline, cancel, trace } = ends;
        let deadline = *deadline;
        let acquiring = async {
            let began = Instant::now();
            let until = deadline.min(began + self.policy.acquire_timeout);
            let place = place(&self.queue, line, until).await;
            let waited = began.elapsed();
            self.stages.queue.observe(waited.as_secs_f64());
            if let Some(trace) = trace {
                trace.add(Stage::Queue, waited);
            }
            let place = place?;
            match self.take_idle() {
                Some(open) => Ok(self.lease(open, place)),
                None => {
                    let _connect = trace.as_ref().map(|trace| trace.time(Stage::Connect));
                    self.connect(place, began, deadline).await
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(closed(Retry::Safe)),
            () = cancel.cancelled() => Err(cancelled()),
            acquired = acquiring => acquired,
        }
    }

    fn lease(self: &Arc<Self>, open: Open, place: Place<Arc<Queue>>) -> Lease {
        let leased = Counted::new(&self.gauges.leased);
        Lease { open, pool: Arc::clone(self), _leased: leased, _place: place }
    }

    /// The youngest idle connection that is still good. The others are closed.
    fn take_idle(&self) -> Option<Open> {
        loop {
            let idle = self.idle.lock().pop()?;
            self.gauges.idle.dec();
            if idle.open.connection.is_open() && idle.open.until > Instant::now() {
                return Some(idle.open);
            }
        }
    }

    /// For a call that has waited since `began`.
    async fn connect(
        self: &Arc<Self>,
        place: Place<Arc<Queue>>,
        began: Instant,
        deadline: Instant,
    ) -> Result<Lease, CallError> {
        let now = Instant::now();
        let until = now + self.policy.connect_timeout;
        let end = until.min(deadline);
        match timeout_at(end, self.open(end)).await {
            Ok(Ok(open)) => Ok(self.lease(open, place)),
            Ok(Err(error)) => Err(error.call_error()),
            Err(_) if until <= deadline => {
                self.failed(&ConnectError::Timeout);
                Err(ConnectError::Timeout.call_error())
            }
            // Most of its time went by in the queue. That the rest was too short says nothing about the server, and a
            // crowd of such calls must not open the breaker.
            Err(_) if now - began > deadline.saturating_duration_since(now) => Err(timeout_queue()),
            Err(_) => Err(timeout_connect()),
        }
    }

    async fn open(&self, until: Instant) -> Result<Open, ConnectError> {
        let began = Instant::now();
        match self.engine.connect(until).await {
            Ok(connection) => {
                self.stages.connect.observe(began.elapsed().as_secs_f64());
                *self.last_error.lock() = None;
                Ok(Open { connection, until: Instant::now() + self.lifetime() })
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// A connection of the lane.
    pub(crate) async fn open_shared(
        &self,
        until: Instant,
    ) -> Result<Arc<dyn SharedConnection>, ConnectError> {
        let began = Instant::now();
        let connection = self.engine.connect_shared(until).await?;
        self.stages.connect.observe(began.elapsed().as_secs_f64());
        *self.last_error.lock() = None;
        Ok(connection)
    }

    /// Up to a tenth less, so that not all end at once.
    pub(crate) fn lifetime(&self) -> Duration {
        self.policy.lifetime.mul_f64(1.0 - 0.1 * fastrand::f64())
    }

    /// Said once for each run of failures; `/v1/resources` shows the class meanwhile.
    pub(crate) fn failed(&self, error: &ConnectError) {
        let before = self.last_error.lock().replace(error.class());
        if before != Some(error.class()) {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(resource.name = self.resource, class = error.class(), cause, "{error}");
        }
    }

    fn put_idle(&self, open: Open) {
        if self.stop.is_cancelled() || open.until <= Instant::now() {
            return;
        }
        self.idle.lock().push(Idle { open, since: Instant::now() });
        self.gauges.idle.inc();
    }

    /// Closes connections that are idle or old, and keeps `min` of them open. Ends with the pool.
    pub(crate) async fn upkeep(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep_until(Instant::now() + UPKEEP_INTERVAL) => {}
            }
            self.close_idle(|idle, left| {
                let unused = idle.since.elapsed() >= self.policy.idle_timeout && left >= self.policy.min;
                unused || idle.open.until <= Instant::now() || !idle.open.connection.is_open()
            });
            self.fill().await;
        }
        self.close_idle(|_, _| true);
    }

    /// Opens connections until there are `min`. After a failure the next round tries again.
    pub(crate) async fn fill(&self) {
        while self.idle.lock().len() + self.queue.in_use() < self.policy.min {
            let until = Instant::now() + self.policy.connect_timeout;
            match timeout_at(until, self.open(until)).await {
                Ok(Ok(open)) => self.put_idle(open),
                Ok(Err(_)) => return,
                Err(_) => return self.failed(&ConnectError::Timeout),
            }
        }
    }

    /// The connection, and how many would be left without it.
    fn close_idle(&self, closes: impl Fn(&Idle, usize) -> bool) {
        let mut idle = self.idle.lock();
        let mut left = idle.len() + self.queue.in_use();
        let closed: Vec<Idle> = idle
            .extract_if(.., |one| {
                let closed = closes(one, left.saturating_sub(1));
                left -= usize::from(closed);
                closed
            })
            .collect();
        drop(idle);
        self.gauges.idle.dec_by(i64::try_from(closed.len()).unwrap_or(0));
    }

    pub(crate) fn status(&self) -> ResourceStatus {
        ResourceStatus {
            multiplexed: self.lane.connected(),
            leased: usize::try_from(self.gauges.leased.get()).unwrap_or(0),
            idle: self.idle.lock().len(),
            last_error: self.last_error.lock().map(str::to_owned),
            nodes: Vec::new(),
        }
    }
}

/// A place by `until`.
///
/// # Errors
/// `timeout_queue`. The lines have no bound of their own: a call that waits holds a place of the resource's gate
/// (`in_flight`), which has one, or is one of the few that renew kept results.
pub(crate) async fn place(
    queue: &Arc<Queue>,
    line: LineId,
    until: Instant,
) -> Result<Place<Arc<Queue>>, CallError> {
    match timeout_at(until, Place::take(Arc::clone(queue), line)).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(timeout_queue()),
    }
}

// === impl Lease ===

impl Lease {
    pub(crate) fn connection(&mut self) -> &mut dyn Connection {
        self.open.connection.as_mut()
    }

    /// Back to the pool, for a connection that is clean.
    pub(crate) fn give_back(self) {
        let Lease { open, pool, _leased, _place } = self;
        pool.put_idle(open);
    }
}

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
