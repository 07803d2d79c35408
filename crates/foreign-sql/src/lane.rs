//! The pipelined lane of one resource: a few connections on which calls follow each other without waiting.
//!
//! A statement here cannot be stopped by itself, and one that is slow holds up all behind it. So only statements come
//! here that the operator has marked, each by itself and without a transaction, and the server ends one after the
//! resource's `call_timeout`. A call that ends before its statement leaves it to be read to its end; its place in the
//! line stays taken until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agw_wire::{CallError, Retry};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::engine::SharedConnection;
use crate::error::{ConnectError, cancelled, closed, timeout_connect, timeout_queue};
use crate::pool::Pool;
use crate::queue::{LineId, Place, Queue};

/// Calls under way on one connection; more wait.
const DEPTH: usize = 32;
/// From one attempt to connect to the next, doubled up to the longest.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// See the module's text. Its connections are opened by the first call.
pub(crate) struct Lane {
    slots: Vec<Slot>,
    pub(crate) queue: Arc<Queue>,
}

/// One connection and those that follow it.
struct Slot {
    state: watch::Sender<State>,
    under_way: AtomicUsize,
}

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

/// A place in the lane, and the connection that goes with it.
pub(crate) struct LaneLease {
    pub(crate) connection: Arc<dyn SharedConnection>,
    pool: Arc<Pool>,
    slot: usize,
    _place: Place,
}

// === impl Lane ===

impl Lane {
    pub(crate) fn new(connections: usize) -> Self {
        let slot = |_| Slot { state: watch::Sender::new(State::Idle), under_way: AtomicUsize::new(0) };
        Lane { slots: (0..connections).map(slot).collect(), queue: Queue::new(connections * DEPTH) }
    }

    /// A line for another plugin, which may have this percentage of the places at once.
    pub(crate) fn line(&self, share_percent: u32) -> LineId {
        self.queue.line((self.slots.len() * DEPTH * share_percent as usize).div_ceil(100))
    }

    /// Connections that are up.
    pub(crate) fn connected(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(*slot.state.borrow(), State::Up(_))).count()
    }

    /// The slot with the fewest calls.
    fn least_loaded(&self) -> Option<(usize, &Slot)> {
        self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.under_way.load(Ordering::Relaxed))
    }
}

// === impl Pool ===

impl Pool {
    /// A place in the lane.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    ///
    /// # Cancel safety
    /// Dropped, it gives its place to the next.
    pub(crate) async fn acquire_shared(
        self: &Arc<Self>,
        line: LineId,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<LaneLease, CallError> {
        let acquiring = async {
            let until = deadline.min(Instant::now() + self.policy.acquire_timeout);
            let place =
                timeout_at(until, self.lane.queue.acquire(line)).await.map_err(|_| timeout_queue())?;
            let (at, slot) = self.lane.least_loaded().ok_or_else(|| closed(Retry::Safe))?;
            let connection = self.connection_of(at, slot, deadline).await?;
            slot.under_way.fetch_add(1, Ordering::Relaxed);
            Ok(LaneLease { connection, pool: Arc::clone(self), slot: at, _place: place })
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(closed(Retry::Safe)),
            () = cancel.cancelled() => Err(cancelled()),
            acquired = acquiring => acquired,
        }
    }

    async fn connection_of(
        self: &Arc<Self>,
        at: usize,
        slot: &Slot,
        deadline: Instant,
    ) -> Result<Arc<dyn SharedConnection>, CallError> {
        let mut state = slot.state.subscribe();
        let begins = slot.state.send_if_modified(|state| {
            let idle = matches!(state, State::Idle);
            if idle {
                *state = State::Connecting;
            }
            idle
        });
        if begins {
            self.spawn(Arc::clone(self).keep_connected(at));
        }
        let known = state.wait_for(|state| match state {
            State::Up(connection) => connection.is_open(),
            State::Down(_) => true,
            State::Idle | State::Connecting => false,
        });
        match timeout_at(deadline, known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => Ok(Arc::clone(connection)),
                State::Down(error) => Err(error.clone()),
                State::Idle | State::Connecting => Err(timeout_connect()),
            },
            Ok(Err(_)) => Err(closed(Retry::Safe)),
            Err(_) => Err(timeout_connect()),
        }
    }

    /// Ends with the pool.
    async fn keep_connected(self: Arc<Self>, at: usize) {
        let Some(slot) = self.lane.slots.get(at) else { return };
        let mut backoff = BACKOFF;
        while !self.stop.is_cancelled() {
            let connecting = timeout_at(Instant::now() + self.policy.connect_timeout, self.open_shared());
            let connected = tokio::select! {
                () = self.stop.cancelled() => break,
                connected = connecting => connected.unwrap_or(Err(ConnectError::Timeout)),
            };
            match connected {
                Ok(connection) => {
                    backoff = BACKOFF;
                    self.gauges.pipelined.inc();
                    self.serve(slot, connection).await;
                    self.gauges.pipelined.dec();
                }
                Err(error) => {
                    self.failed(&error);
                    slot.state.send_replace(State::Down(error.call_error()));
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = sleep(backoff) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        slot.state.send_replace(State::Idle);
    }

    /// Returns when the connection is closed or has lived long enough. Its calls finish on it.
    async fn serve(&self, slot: &Slot, connection: Arc<dyn SharedConnection>) {
        let until = Instant::now() + self.lifetime();
        slot.state.send_replace(State::Up(Arc::clone(&connection)));
        tokio::select! {
            () = self.stop.cancelled() => connection.close(),
            () = connection.closed() => {}
            () = sleep_until(until) => {}
        }
        slot.state.send_replace(State::Connecting);
    }
}

impl Drop for LaneLease {
    fn drop(&mut self) {
        if let Some(slot) = self.pool.lane.slots.get(self.slot) {
            slot.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
