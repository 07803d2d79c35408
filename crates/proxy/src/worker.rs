//! One worker: a thread with a runtime, listener sockets, VMs and upstream connections of its own.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use agw_config::Listener;
use agw_telemetry::{Gauge, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::access_log::{AccessLog, Entry};
use crate::connection::{Entrance, drive};
use crate::limits::{ACCEPT_BACKOFF, CLOSE_GRACE, REAP_INTERVAL, VM_SHUTDOWN};
use crate::runtime::{Generation, Runtime};
use crate::stats::RouteStats;
use crate::tls::ServerTls;

/// How far a worker has come in stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    Running,
    /// No new connections; exchanges under way finish, and those that begin are the last on their connection.
    Draining,
    /// Connections close at once.
    Killed,
}

/// What a worker's thread is given.
pub(crate) struct WorkerPlan {
    pub(crate) index: usize,
    pub(crate) listeners: Vec<WorkerListener>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) drain_timeout: Duration,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// A listener's sockets of one worker: one, or more of those that a predecessor left.
pub(crate) struct WorkerListener {
    pub(crate) listener: Arc<Listener>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) sockets: Vec<StdListener>,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    generation: RefCell<Rc<Generation>>,
    /// For requests without route.
    pub(crate) unmatched: RouteStats,
    connections_gauge: Gauge,
    access_log: Option<AccessLog>,
    scratch: RefCell<Vec<u8>>,
    stop: Cell<Stop>,
    stop_changed: Notify,
    /// Downstream connections, streams of HTTP/2, and accept loops.
    tasks: TaskTracker,
}

// === impl Worker ===

impl Worker {
    fn new(plan: &WorkerPlan, upstream_tasks: &TaskTracker) -> Self {
        let generation =
            Generation::new(Arc::clone(&plan.runtime), plan.index, &plan.metrics, upstream_tasks);
        Worker {
            generation: RefCell::new(Rc::new(generation)),
            unmatched: RouteStats::new(&plan.metrics, "none"),
            connections_gauge: plan.metrics.connections.clone(),
            access_log: plan.access_log.clone(),
            scratch: RefCell::default(),
            stop: Cell::new(Stop::Running),
            stop_changed: Notify::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// What new requests are served with.
    pub(crate) fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.generation.borrow())
    }

    /// Writes one line, if there is an access log.
    pub(crate) fn log(&self, entry: &Entry<'_>) {
        if let Some(log) = &self.access_log {
            log.push(entry, &mut self.scratch.borrow_mut());
        }
    }

    /// How far it has come in stopping.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.get()
    }

    /// Ready when [`Worker::stop`] has changed after the future was first polled.
    pub(crate) fn stop_changed(&self) -> Notified<'_> {
        self.stop_changed.notified()
    }

    /// Spawns a task that the worker waits for when it drains.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    /// Returns when connections are to close at once.
    async fn killed(&self) {
        loop {
            let changed = self.stop_changed();
            if self.stop() == Stop::Killed {
                return;
            }
            changed.await;
        }
    }

    fn set_stop(&self, stop: Stop) {
        if stop > self.stop.get() {
            self.stop.set(stop);
            self.stop_changed.notify_waiters();
        }
    }
}

/// Serves until told to stop, then drains. `ready` is called once the sockets are being listened on.
pub(crate) async fn run(mut plan: WorkerPlan, ready: impl FnOnce(std::io::Result<()>)) {
    let upstream_tasks = TaskTracker::new();
    let worker = Rc::new(Worker::new(&plan, &upstream_tasks));
    match spawn_listeners(&worker, std::mem::take(&mut plan.listeners), &plan.metrics) {
        Ok(()) => ready(Ok(())),
        Err(error) => return ready(Err(error)),
    }
    let mut stop = plan.stop;
    tokio::select! {
        () = reap(&worker) => {}
        // An owner that is gone without a word is one that wants its workers gone.
        told = stop.wait_for(|stop| *stop != Stop::Running) => {
            let told = told.map_or(Stop::Killed, |stop| *stop);
            worker.set_stop(told);
        }
    }
    worker.tasks.close();
    let drained = async {
        tokio::select! {
            () = worker.tasks.wait() => {}
            _ = stop.wait_for(|stop| *stop == Stop::Killed) => {}
        }
    };
    if tokio::time::timeout(plan.drain_timeout, drained).await.is_err() {
        tracing::warn!(
            worker = plan.index,
            open = worker.tasks.len(),
            "connections outlived the drain: closed"
        );
    }
    worker.set_stop(Stop::Killed);
    if tokio::time::timeout(CLOSE_GRACE, worker.tasks.wait()).await.is_err() {
        tracing::error!(
            worker = plan.index,
            open = worker.tasks.len(),
            "connections did not notice their end"
        );
    }
    let vms = Rc::clone(&worker.generation().vms);
    if tokio::time::timeout(VM_SHUTDOWN, vms.shutdown()).await.is_err() {
        tracing::warn!(worker = plan.index, "plugins did not finish in time");
    }
}

fn spawn_listeners(
    worker: &Rc<Worker>,
    listeners: Vec<WorkerListener>,
    metrics: &Metrics,
) -> std::io::Result<()> {
    for WorkerListener { listener, tls, sockets } in listeners {
        let places = Arc::new(Semaphore::new(listener.connections_max.min(Semaphore::MAX_PERMITS)));
        let entrance = Rc::new(Entrance::new(listener, tls, metrics));
        for socket in sockets {
            let (entrance, places) = (Rc::clone(&entrance), Arc::clone(&places));
            let socket = TcpListener::from_std(socket)?;
            worker.tasks.spawn_local(accept(Rc::clone(worker), entrance, socket, places));
        }
    }
    Ok(())
}

/// Closes idle upstream connections, for ever.
async fn reap(worker: &Worker) {
    loop {
        tokio::time::sleep(REAP_INTERVAL).await;
        worker.generation().reap(Instant::now());
    }
}

/// Takes connections until the worker stops. At the bound on connections the rest wait in the kernel's queue.
async fn accept(worker: Rc<Worker>, entrance: Rc<Entrance>, socket: TcpListener, places: Arc<Semaphore>) {
    loop {
        let stopped = worker.stop_changed();
        if worker.stop() != Stop::Running {
            break;
        }
        let accepted = tokio::select! {
            biased;
            () = stopped => break,
            accepted = next(&socket, &places) => accepted,
        };
        match accepted {
            Some((permit, stream, peer)) => spawn(&worker, &entrance, stream, peer, permit),
            None => tokio::time::sleep(ACCEPT_BACKOFF).await,
        }
    }
    // The kernel has completed these connections for us; closing the last handle of the socket would reset them. What
    // is completed between the last of them and the close is lost: a hand-over is what loses nothing.
    loop {
        let permit = tokio::select! {
            biased;
            () = worker.killed() => break,
            permit = Arc::clone(&places).acquire_owned() => permit,
        };
        let accepted = poll_fn(|cx| Poll::Ready(socket.poll_accept(cx))).await;
        let (Ok(permit), Poll::Ready(Ok((stream, peer)))) = (permit, accepted) else { break };
        spawn(&worker, &entrance, stream, peer, permit);
    }
}

/// The next connection, once there is a place for it. Nothing if it cannot be taken.
///
/// # Cancel safety
/// Safe.
async fn next(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    // The semaphore is never closed.
    let permit = Arc::clone(places).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => Some((permit, stream, peer)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection; trying again");
            None
        }
    }
}

fn spawn(
    worker: &Rc<Worker>,
    entrance: &Rc<Entrance>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    // A head or a body that waits for the last one's acknowledgement would wait for tens of milliseconds.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection was gone at once");
        return;
    }
    let open = OpenConnection::new(&worker.connections_gauge);
    let driven = drive(Rc::clone(worker), Rc::clone(entrance), stream, peer);
    worker.tasks.spawn_local(async move {
        driven.await;
        drop((open, permit));
    });
}

/// Counts a connection for as long as it is open, however its task ends.
struct OpenConnection(Gauge);

impl OpenConnection {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        OpenConnection(gauge.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
