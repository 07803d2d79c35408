//! One multiplexed connection and its returns: connects at the first call, and again whenever it is lost.
//!
//! While there is none, calls are answered at once with the reason. They wait only while nothing is known yet: for
//! the first connection, for the first attempt after the loss of one that had lived, and after the gateway itself
//! threw one away. Such a one is replaced at once, but not too often (see [`Allowance`]); calls that wait until it
//! may be replaced again get `timeout_queue` at their deadline, which the breaker does not count: a plugin that makes
//! the gateway throw connections away must not be able to open it for everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agw_foreign::TELLING_TIMEOUT;
use agw_telemetry::{Counter, Gauge, Stages};
use agw_wire::CallError;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::{Allowance, Backoff};
use crate::connect::Destination;
use crate::connection::{self, Bounds, Link};
use crate::error::{ConnectError, Fault, cause, not_sent, timeout_connect, timeout_paused};
use crate::session::Session;

/// A connection that lived this long was a good one: its loss is followed by an attempt at once.
const LIVED: Duration = Duration::from_secs(1);

/// What the slots of one resource share.
pub(crate) struct Shared {
    pub(crate) resource: String,
    pub(crate) destination: Destination,
    pub(crate) bounds: Bounds,
    /// Open multiplexed connections.
    pub(crate) connections: Gauge,
    pub(crate) reconnects: Counter,
    pub(crate) stages: Stages,
    /// The class of the last failure to connect, until an attempt succeeds.
    pub(crate) last_error: Mutex<Option<&'static str>>,
    /// Calls that were sent. Sentinels count those to the primary that they name.
    pub(crate) calls: AtomicU64,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// See the module's text.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Notify,
}

enum State {
    /// Nobody keeps this slot connected.
    Idle,
    /// An attempt is under way, and its outcome is worth waiting for.
    Connecting,
    /// Connections were thrown away too often; an attempt follows within [`Allowance::INTERVAL`].
    Paused,
    Up(Arc<Link>),
    Down(CallError),
}

/// Leaves the slot idle when its task ends, however it ends, so that the next call starts another.
struct Keeper(Arc<Slot>);

/// Counts an open connection while it lives.
pub(crate) struct Counted(Gauge);

// === impl Slot ===

impl Slot {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Slot { shared, state: Mutex::new(State::Idle), changed: Notify::new() })
    }

    /// The connection. Waits at most until `deadline`, and only for an attempt whose outcome is open.
    ///
    /// Starts the slot's task on the current runtime if none runs.
    ///
    /// # Errors
    /// Why there is none, `timeout_connect`, or `timeout_queue` if connections were thrown away too often.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn link(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Link>, CallError> {
        if let Some(link) = self.try_link()? {
            return Ok(link);
        }
        let mut paused = false;
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Before the look at the state, so that a change in between is not missed.
                changed.as_mut().enable();
                if let Some(link) = self.try_link()? {
                    return Ok(link);
                }
                paused |= matches!(*self.state.lock(), State::Paused);
                changed.await;
            }
        };
        // Sent with less than that to go, the call would time out and seem to tell something of the server, though it
        // is the pause that has cost it its time.
        let too_late = || deadline.saturating_duration_since(Instant::now()) < TELLING_TIMEOUT;
        match tokio::time::timeout_at(deadline, waiting).await {
            Ok(Ok(_)) if paused && too_late() => Err(timeout_paused()),
            Ok(link) => link,
            Err(_) if paused => Err(timeout_paused()),
            Err(_) => Err(timeout_connect()),
        }
    }

    /// Whether it is connected.
    pub(crate) fn is_up(&self) -> bool {
        self.open_link().is_some()
    }

    /// The connection, if there is one.
    pub(crate) fn open_link(&self) -> Option<Arc<Link>> {
        match &*self.state.lock() {
            State::Up(link) if !link.has_ended() => Some(Arc::clone(link)),
            _ => None,
        }
    }

    fn try_link(self: &Arc<Self>) -> Result<Option<Arc<Link>>, CallError> {
        let mut state = self.state.lock();
        match &*state {
            // Race window: the driver has ended, and its keeper is about to say what comes next.
            State::Up(link) if link.has_ended() => Ok(None),
            State::Up(link) => Ok(Some(Arc::clone(link))),
            State::Connecting | State::Paused => Ok(None),
            State::Down(error) => Err(error.clone()),
            State::Idle if self.shared.stop.is_cancelled() => Err(not_sent()),
            State::Idle => {
                *state = State::Connecting;
                drop(state);
                self.shared.tasks.spawn(Keeper(Arc::clone(self)).run());
                Ok(None)
            }
        }
    }

    fn set(&self, state: State) {
        // The old link is dropped outside of the lock.
        let old = std::mem::replace(&mut *self.state.lock(), state);
        self.changed.notify_waiters();
        drop(old);
    }
}

// === impl Keeper ===

impl Keeper {
    /// Keeps the slot connected until the resource is stopped.
    async fn run(self) {
        let stop = self.0.shared.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep_connected() => {}
        }
    }

    /// Never returns.
    async fn keep_connected(&self) {
        let shared = &self.0.shared;
        let mut backoff = Backoff::default();
        let mut discards = Allowance::new();
        let mut returning = false;
        loop {
            let connecting = Instant::now();
            match shared.destination.connect().await {
                Ok(session) => {
                    shared.connected(std::mem::replace(&mut returning, true), connecting.elapsed());
                    let begun = Instant::now();
                    let fault = self.serve(session).await;
                    tracing::info!(
                        resource.name = shared.resource,
                        error = cause(&fault),
                        discarded = fault.is_discard(),
                        "a connection has ended"
                    );
                    let lived = begun.elapsed() >= LIVED;
                    if lived {
                        backoff.reset();
                    }
                    if fault.is_discard() {
                        self.pause(discards.take()).await;
                    }
                    if lived || fault.is_discard() {
                        self.0.set(State::Connecting);
                        continue;
                    }
                    self.0.set(State::Down(not_sent()));
                }
                Err(error) => {
                    shared.not_connected(&error);
                    self.0.set(State::Down(error.call_error()));
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn pause(&self, span: Duration) {
        if !span.is_zero() {
            self.0.set(State::Paused);
            tokio::time::sleep(span).await;
        }
    }

    /// Lets calls use the session until it ends. Its socket is closed on return, before another one is opened.
    async fn serve(&self, session: Session) -> Fault {
        let shared = &self.0.shared;
        let _counted = Counted::new(&shared.connections);
        let over = session.over();
        let (link, driver) = connection::share(session, shared.bounds, shared.stages.io.clone());
        let link = Arc::new(link);
        self.0.set(State::Up(Arc::clone(&link)));
        let Some(over) = over else {
            drop(link);
            return driver.run().await;
        };
        let mut running = std::pin::pin!(driver.run());
        tokio::select! {
            fault = &mut running => return fault,
            () = over.cancelled() => link.retire(),
        }
        running.await
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.set(State::Idle);
    }
}

// === impl Shared ===

impl Shared {
    /// A call, or a part of one, is about to be sent.
    pub(crate) fn called(&self) {
        self.counter().fetch_add(1, Ordering::Relaxed);
    }

    /// Those so far to the server that it is now.
    pub(crate) fn calls(&self) -> u64 {
        self.counter().load(Ordering::Relaxed)
    }

    fn counter(&self) -> &AtomicU64 {
        match &self.destination {
            Destination::Server(_) => &self.calls,
            Destination::Sentinels(sentinels) => sentinels.calls(),
        }
    }

    pub(crate) fn connected(&self, again: bool, took: Duration) {
        self.stages.connect.observe(took.as_secs_f64());
        if again {
            self.reconnects.inc();
        }
        if self.last_error.lock().take().is_some() {
            tracing::info!(resource.name = self.resource, "connected again");
        }
    }

    pub(crate) fn not_connected(&self, error: &ConnectError) {
        let class = error.class();
        // Once for each kind of failure, not once for each attempt.
        if self.last_error.lock().replace(class) != Some(class) {
            tracing::warn!(resource.name = self.resource, class, error = cause(error), "no connection");
        }
    }
}

// === impl Counted ===

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
