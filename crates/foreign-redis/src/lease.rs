//! Exclusive connections: for WATCH, for commands that block, for whoever asks.
//!
//! bb8 holds the idle ones. What it does not do is done here: waiters are served first come, first served (its own
//! waiters race); connections are opened by whoever takes the lease, under the call's deadline and with its error
//! (bb8 opens them in a task and answers a failure with a timeout); an idle connection is looked at without a
//! round trip; and one that is not clean is never used again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agw_telemetry::{CallTrace, Gauge, Histogram, Stage};
use agw_wire::CallError;
use bb8::{ManageConnection, Pool, PooledConnection};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::{Fault, invalid, not_sent, timeout_connect, timeout_queue};
use crate::plan::Watching;
use crate::session::Session;
use crate::slot::{Counted, Shared};

/// The leases of one resource.
pub(crate) struct Leases {
    shared: Arc<Shared>,
    /// One for each connection that may be leased. Fair.
    permits: Arc<Semaphore>,
    max: usize,
    acquire_timeout: Duration,
    idle_timeout: Duration,
    gauges: Gauges,
    /// Made at the first lease, because bb8 wants a runtime for that. `None` before, and after the shutdown.
    pool: Mutex<Option<Pool<Manager>>>,
}

#[derive(Clone)]
pub(crate) struct Gauges {
    pub(crate) leased: Gauge,
    pub(crate) idle: Gauge,
}

/// bb8's view of a connection: a place for one.
pub(crate) struct Seat {
    session: Option<Session>,
    /// Keys are watched: what this connection does next depends on what was done before.
    watching: bool,
    idle: Option<Counted>,
}

struct Manager;

/// A connection held exclusively. Dropped, it goes back to the pool if it is clean, and is closed if it is not.
pub(crate) struct Lease {
    // Before the permit: whoever gets that finds the connection back in the pool.
    seat: PooledConnection<'static, Manager>,
    shared: Arc<Shared>,
    gauges: Gauges,
    io_seconds: Histogram,
    _leased: Counted,
    _permit: OwnedSemaphorePermit,
}

// === impl Leases ===

impl Leases {
    pub(crate) fn new(shared: Arc<Shared>, policy: &agw_config::PoolPolicy, gauges: Gauges) -> Self {
        Leases {
            shared,
            permits: Arc::new(Semaphore::new(policy.leased_max.min(Semaphore::MAX_PERMITS))),
            max: policy.leased_max,
            acquire_timeout: policy.acquire_timeout,
            idle_timeout: policy.idle_timeout.max(Duration::from_millis(1)),
            gauges,
            pool: Mutex::new(None),
        }
    }

    /// A connection of one's own, opened if none is idle. What that takes is added to the call's span.
    ///
    /// # Errors
    /// `invalid` if the resource has none to lease, `timeout_queue` after the acquire timeout or at the deadline,
    /// `timeout_connect` at the deadline, or why there is no connection.
    ///
    /// # Cancel safety
    /// Dropping the future gives everything back.
    pub(crate) async fn acquire(
        &self,
        deadline: Instant,
        trace: Option<&CallTrace>,
    ) -> Result<Lease, CallError> {
        if self.max == 0 {
            return Err(invalid("the resource has no connections to lease (pool.leased_max is 0)"));
        }
        let began = Instant::now();
        let until = deadline.min(began + self.acquire_timeout);
        let waiting = tokio::time::timeout_at(until, Arc::clone(&self.permits).acquire_owned()).await;
        let waited = began.elapsed();
        self.shared.stages.queue.observe(waited.as_secs_f64());
        if let Some(trace) = trace {
            trace.add(Stage::Queue, waited);
        }
        let permit = waiting.map_err(|_| timeout_queue())?.map_err(|_| not_sent())?;
        let Some(pool) = self.pool() else { return Err(not_sent()) };
        // With the permit there is an idle connection or room for one, so that this does not wait for others.
        let seat = tokio::time::timeout_at(deadline, pool.get_owned()).await;
        let Ok(Ok(seat)) = seat else { return Err(timeout_queue()) };
        let leased = Counted::new(&self.gauges.leased);
        let (shared, gauges) = (Arc::clone(&self.shared), self.gauges.clone());
        let io_seconds = shared.stages.io.clone();
        let mut lease = Lease { seat, shared, gauges, io_seconds, _leased: leased, _permit: permit };
        lease.seat.idle = None;
        if !lease.is_alive().await {
            let _connect = trace.map(|trace| trace.time(Stage::Connect));
            self.open(&mut lease, deadline).await?;
        }
        Ok(lease)
    }

    async fn open(&self, lease: &mut Lease, deadline: Instant) -> Result<(), CallError> {
        // The dead one first: there are never more sockets than leases.
        let again = lease.seat.session.take().is_some();
        let connecting = Instant::now();
        let opened = tokio::time::timeout_at(deadline, self.shared.destination.connect()).await;
        match opened {
            Err(_) => Err(timeout_connect()),
            Ok(Err(error)) => {
                self.shared.not_connected(&error);
                Err(error.call_error())
            }
            Ok(Ok(session)) => {
                self.shared.connected(again, connecting.elapsed());
                lease.seat.session = Some(session);
                lease.seat.watching = false;
                Ok(())
            }
        }
    }

    fn pool(&self) -> Option<Pool<Manager>> {
        let mut pool = self.pool.lock();
        if self.shared.stop.is_cancelled() {
            return None;
        }
        let make = || {
            Pool::builder()
                .max_size(u32::try_from(self.max).unwrap_or(u32::MAX))
                .test_on_check_out(false)
                .idle_timeout(self.idle_timeout)
                .reaper_rate(self.idle_timeout.min(Duration::from_secs(30)))
                .build_unchecked(Manager)
        };
        Some(pool.get_or_insert_with(make).clone())
    }

    /// Closes the idle ones; those that are leased close when they come back.
    pub(crate) fn close(&self) {
        self.permits.close();
        drop(self.pool.lock().take());
    }

    /// Connections that are leased and not idle.
    pub(crate) fn leased(&self) -> usize {
        self.max.saturating_sub(self.permits.available_permits())
    }

    /// Open connections that nobody has leased.
    pub(crate) fn idle(&self) -> usize {
        self.pool.lock().as_ref().map_or(0, |pool| pool.state().idle_connections as usize)
    }
}

// === impl Lease ===

impl Lease {
    async fn is_alive(&mut self) -> bool {
        match &mut self.seat.session {
            Some(session) => session.is_alive().await,
            None => false,
        }
    }

    /// Whether it is one of the connections that these are.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// As [`Session::exchange`].
    pub(crate) async fn exchange(
        &mut self,
        commands: &[u8],
        replies: usize,
        bytes_max: usize,
    ) -> Result<Bytes, Fault> {
        let Some(session) = &mut self.seat.session else { return Err(Fault::Closed) };
        let begun = Instant::now();
        self.shared.called();
        let exchanged = session.exchange(commands, replies, bytes_max).await;
        self.io_seconds.observe(begun.elapsed().as_secs_f64());
        exchanged
    }

    /// Heeds what a batch leaves behind. To be called before the batch is sent, so that a lease which is dropped
    /// in between is not taken for a clean one.
    pub(crate) fn will_watch(&mut self) {
        self.seat.watching = true;
    }

    /// The batch has been answered.
    pub(crate) fn answered(&mut self, watching: Watching) {
        if watching == Watching::No {
            self.seat.watching = false;
        }
    }

    /// Closes the connection; the lease is good for nothing but to be dropped.
    pub(crate) fn discard(&mut self) {
        self.seat.session = None;
    }

    /// Whether another exchange can go through it.
    pub(crate) fn is_usable(&self) -> bool {
        self.seat.session.as_ref().is_some_and(Session::is_usable)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.seat.is_clean() {
            self.seat.idle = Some(Counted::new(&self.gauges.idle));
        }
    }
}

// === impl Seat ===

impl Seat {
    fn is_clean(&self) -> bool {
        !self.watching && self.session.as_ref().is_some_and(Session::is_usable)
    }
}

// === impl Manager ===

impl ManageConnection for Manager {
    type Connection = Seat;
    type Error = Infallible;

    /// An empty seat: the connection is opened by whoever takes it.
    async fn connect(&self) -> Result<Seat, Infallible> {
        Ok(Seat { session: None, watching: false, idle: None })
    }

    /// Not called: the test on check-out is off.
    async fn is_valid(&self, _: &mut Seat) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, seat: &mut Seat) -> bool {
        !seat.is_clean()
    }
}
