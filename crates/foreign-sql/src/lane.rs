//! The pipelined lane of one resource: a few connections on which calls follow each other without waiting.
//!
//! A connection lives on the event loop of the worker that used it first, and a worker always uses the same one: so a call
//! costs no hop to another thread, and what is ready in one turn goes out together.
//!
//! A statement here cannot be stopped by itself, and one that is slow holds up all behind it. So only statements come
//! here that the operator has marked, each by itself and without a transaction, and the server ends one after the
//! resource's `call_timeout`. A call that ends before its statement leaves it to be read to its end; its place in the
//! line stays taken until then.

use std::sync::Arc;
use std::time::Duration;

use agw_foreign::{LineId, Place, Queue, Reply};
use agw_telemetry::{Histogram, Stage};
use agw_wire::{CallError, Retry};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::calls::Ends;
use crate::engine::{BoxFuture, Ran, SharedConnection, Work};
use crate::error::{ConnectError, closed, timeout_connect, timeout_io};
use crate::pool::{self, Counted, Pool};

/// Calls under way on one connection; more wait.
const DEPTH: usize = 32;
/// From one attempt to connect to the next, doubled up to the longest.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A statement that nobody waits for has so much longer than the server gives it.
const GRACE: Duration = Duration::from_secs(1);

/// See the module's text. Its connections are opened by the first call.
pub(crate) struct Lane {
    slots: Vec<Slot>,
    pub(crate) queue: Arc<Queue>,
    queue_seconds: Histogram,
}

/// One connection and those that follow it.
struct Slot(watch::Sender<State>);

#[derive(Clone)]
enum State {
    /// Nobody keeps it connected.
    Idle,
    /// The outcome of an attempt is worth waiting for.
    Connecting,
    Up(Arc<dyn SharedConnection>),
    /// Why there is none; an attempt is made now and then.
    Down(CallError),
}

/// A statement under way, with its place. Dropped before its end, it goes on in the background.
struct Running {
    statement: Option<BoxFuture<'static, Result<Ran, CallError>>>,
    connection: Arc<dyn SharedConnection>,
    pool: Arc<Pool>,
    place: Option<Place<Arc<Queue>>>,
}

/// Leaves the slot idle when its keeper ends, however it ends, so that the next call starts another.
struct Keeper {
    pool: Arc<Pool>,
    slot: usize,
}

// === impl Lane ===

impl Lane {
    pub(crate) fn new(connections: usize, queue_seconds: Histogram) -> Self {
        let slots = (0..connections).map(|_| Slot(watch::Sender::new(State::Idle))).collect();
        Lane { slots, queue: Arc::new(Queue::new(connections * DEPTH)), queue_seconds }
    }

    /// Connections that are up.
    pub(crate) fn connected(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(*slot.0.borrow(), State::Up(_))).count()
    }
}

// === impl Pool ===

impl Pool {
    /// Runs a single statement on the worker's connection, from the worker's event loop.
    ///
    /// # Errors
    /// `timeout_queue`, `timeout_connect`, `timeout_io` at the deadline, and what the engine says.
    ///
    /// # Cancel safety
    /// Dropped, it gives its place to the next at once, or once its statement has ended.
    pub(crate) async fn run_shared(
        self: &Arc<Self>,
        line: LineId,
        worker: usize,
        work: Work,
        ends: Ends,
    ) -> Result<Reply, CallError> {
        let Ends { deadline, trace, .. } = ends;
        let began = Instant::now();
        let until = deadline.min(began + self.policy.acquire_timeout);
        let place = pool::place(&self.lane.queue, line, until).await;
        let waited = began.elapsed();
        self.lane.queue_seconds.observe(waited.as_secs_f64());
        let connecting = trace.as_ref().map(|trace| {
            trace.add(Stage::Queue, waited);
            trace.time(Stage::Connect)
        });
        let place = place?;
        let connection = self.shared_connection(worker, deadline).await?;
        drop(connecting);
        let mut running = Running {
            statement: Some(Arc::clone(&connection).run(work)),
            connection,
            pool: Arc::clone(self),
            place: Some(place),
        };
        let sent = Instant::now();
        let ended = timeout_at(deadline, running.end()).await;
        let took = sent.elapsed();
        self.stages.io.observe(took.as_secs_f64());
        if let Some(trace) = trace {
            trace.add(Stage::Io, took);
        }
        match ended {
            Ok(ran) => ran.map(|ran| Reply::sql(ran.reply.finish(0))),
            Err(_) => Err(timeout_io()),
        }
    }

    async fn shared_connection(
        self: &Arc<Self>,
        worker: usize,
        deadline: Instant,
    ) -> Result<Arc<dyn SharedConnection>, CallError> {
        let at = worker % self.lane.slots.len().max(1);
        let Some(Slot(slot)) = self.lane.slots.get(at) else { return Err(closed(Retry::Safe)) };
        if let State::Up(connection) = &*slot.borrow()
            && connection.is_open()
        {
            return Ok(Arc::clone(connection));
        }
        if self.stop.is_cancelled() {
            return Err(closed(Retry::Safe));
        }
        let mut state = slot.subscribe();
        let begins = slot.send_if_modified(|state| {
            let idle = matches!(state, State::Idle);
            if idle {
                *state = State::Connecting;
            }
            idle
        });
        if begins {
            self.tasks.spawn(Keeper { pool: Arc::clone(self), slot: at }.run());
        }
        let known = state.wait_for(|state| match state {
            State::Up(connection) => connection.is_open(),
            State::Down(_) => true,
            // Its keeper has ended with the pool, or with its worker.
            State::Idle => !begins,
            State::Connecting => false,
        });
        match timeout_at(deadline, known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => Ok(Arc::clone(connection)),
                State::Down(error) => Err(error.clone()),
                State::Idle | State::Connecting => Err(closed(Retry::Safe)),
            },
            Ok(Err(_)) => Err(closed(Retry::Safe)),
            Err(_) => Err(timeout_connect()),
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// Ends with the pool.
    async fn run(self) {
        let stop = self.pool.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep_connected() => {}
        }
    }

    async fn keep_connected(&self) {
        let (pool, Some(Slot(slot))) = (&self.pool, self.pool.lane.slots.get(self.slot)) else { return };
        let mut backoff = BACKOFF;
        loop {
            let until = Instant::now() + pool.policy.connect_timeout;
            let opened = timeout_at(until, pool.open_shared(until)).await;
            match opened.unwrap_or(Err(ConnectError::Timeout)) {
                Ok(connection) => {
                    backoff = BACKOFF;
                    let _counted = Counted::new(&pool.gauges.pipelined);
                    slot.send_replace(State::Up(Arc::clone(&connection)));
                    // Closed, or old enough. Its calls finish on it.
                    tokio::select! {
                        () = connection.closed() => {}
                        () = sleep_until(Instant::now() + pool.lifetime()) => {}
                    }
                    slot.send_replace(State::Connecting);
                }
                Err(error) => {
                    pool.failed(&error);
                    slot.send_replace(State::Down(error.call_error()));
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(Slot(slot)) = self.pool.lane.slots.get(self.slot) else { return };
        if let State::Up(connection) = slot.send_replace(State::Idle)
            && self.pool.stop.is_cancelled()
        {
            connection.close();
        }
    }
}

// === impl Running ===

impl Running {
    async fn end(&mut self) -> Result<Ran, CallError> {
        let Some(statement) = &mut self.statement else { return Err(timeout_io()) };
        let ran = statement.await;
        self.statement = None;
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(statement), Some(place)) = (self.statement.take(), self.place.take()) else { return };
        if Handle::try_current().is_err() {
            // The worker is gone, and its connection with it.
            return;
        }
        let (pool, connection) = (Arc::clone(&self.pool), Arc::clone(&self.connection));
        self.pool.tasks.spawn(async move {
            let _place = place;
            if timeout(pool.stall_timeout + GRACE, statement).await.is_err() {
                let name = &pool.resource;
                tracing::warn!(
                    resource.name = name,
                    "a pipelined statement did not end; its connection is closed"
                );
                connection.close();
            }
        });
    }
}
