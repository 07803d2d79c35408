//! One worker: a thread with a runtime, listener sockets, VMs and upstream connections of its own.

mod door;

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use agw_telemetry::{Gauge, Metrics};
use agw_wasm::VmPools;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use self::door::{Behind, DoorChange, DoorId};
use self::door::{Doors, end_entrance};
use crate::access_log::{AccessLog, Entry};
use crate::connection::Entrance;
use crate::limits::{CLOSE_GRACE, REAP_INTERVAL, VM_SHUTDOWN};
use crate::runtime::{Generation, Place, Runtime};
use crate::stats::RouteStats;
use crate::stop::Stop;

/// What a worker's thread is given.
pub(crate) struct WorkerPlan {
    pub(crate) index: usize,
    pub(crate) doors: Vec<DoorChange>,
    pub(crate) setting: Setting,
    pub(crate) turns: mpsc::UnboundedReceiver<Turn>,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// What a worker starts with.
pub(crate) struct Setting {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) drain_timeout: Duration,
}

/// A new revision. From the next request on it is what the worker serves with.
pub(crate) struct Turn {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) doors: Vec<DoorChange>,
    /// Told when it is so, and sockets that are not needed any more are closed.
    pub(crate) done: oneshot::Sender<()>,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    index: usize,
    metrics: Arc<Metrics>,
    generation: RefCell<Rc<Generation>>,
    /// Those that requests may have pinned, the current one among them.
    pinned: RefCell<Vec<Weak<Generation>>>,
    vms: Rc<VmPools>,
    doors: Doors,
    /// For requests without route.
    pub(crate) unmatched: RouteStats,
    connections_gauge: Gauge,
    access_log: Option<AccessLog>,
    scratch: RefCell<Vec<u8>>,
    drain_timeout: Duration,
    /// Downstream connections, streams of HTTP/2, and accept loops.
    tasks: TaskTracker,
    upstream_tasks: TaskTracker,
    /// Ends of what earlier revisions had.
    retiring: RefCell<JoinSet<()>>,
}

// === impl Worker ===

impl Worker {
    fn new(index: usize, setting: Setting) -> Self {
        let Setting { runtime, metrics, access_log, drain_timeout } = setting;
        let (vms, upstream_tasks) = (VmPools::new(index), TaskTracker::new());
        let place = Place { worker: index, vms: &vms, metrics: &metrics, upstream_tasks: &upstream_tasks };
        let generation = Rc::new(Generation::new(runtime, &place, None));
        Worker {
            index,
            pinned: RefCell::new(vec![Rc::downgrade(&generation)]),
            generation: RefCell::new(generation),
            vms,
            doors: Doors::default(),
            unmatched: RouteStats::new(&metrics, "none"),
            connections_gauge: metrics.connections.clone(),
            access_log,
            scratch: RefCell::default(),
            drain_timeout,
            metrics,
            tasks: TaskTracker::new(),
            upstream_tasks,
            retiring: RefCell::default(),
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

    /// Spawns a task that the worker waits for when it drains.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves with the revision from now on. Requests under way keep theirs.
    fn turn(self: &Rc<Self>, turn: Turn) {
        let Turn { runtime, doors, done } = turn;
        let place = Place {
            worker: self.index,
            vms: &self.vms,
            metrics: &self.metrics,
            upstream_tasks: &self.upstream_tasks,
        };
        let next = Rc::new(Generation::new(runtime, &place, Some(&self.generation())));
        self.pinned.borrow_mut().push(Rc::downgrade(&next));
        // The old one is dropped outside of the borrow.
        let old = self.generation.replace(next);
        drop(old);
        let mut closed = Vec::new();
        for change in doors {
            match self.doors.change(self, change) {
                Ok(door) => closed.extend(door),
                Err(error) => {
                    tracing::error!(worker = self.index, %error, "cannot listen with one of the sockets");
                }
            }
        }
        self.in_background(async move {
            for door in closed {
                door.ended().await;
            }
            // Whoever asked may be gone.
            let _ = done.send(());
        });
    }

    /// Lets the connections of an entrance finish that no new ones come through.
    fn retire(&self, entrance: Rc<Entrance>) {
        entrance.ending.advance(Stop::Draining);
        self.in_background(end_entrance(Rc::downgrade(&entrance), self.drain_timeout));
    }

    /// Nobody waits for the task; it ends with the worker.
    fn in_background(&self, task: impl Future<Output = ()> + 'static) {
        let mut retiring = self.retiring.borrow_mut();
        while retiring.try_join_next().is_some() {}
        retiring.spawn_local(task);
    }

    /// Closes idle upstream connections, and ends VMs of plugins that no request can meet any more.
    fn reap(&self) {
        self.generation().reap(Instant::now());
        let mut pinned = self.pinned.borrow_mut();
        pinned.retain(|generation| generation.strong_count() > 0);
        let living: Vec<_> = pinned.iter().filter_map(Weak::upgrade).collect();
        let used: HashSet<u64> =
            living.iter().flat_map(|generation| generation.plugins()).map(|plugin| plugin.id()).collect();
        self.vms.end_unused(|plugin| !used.contains(&plugin));
    }

    fn advance(&self, stop: Stop) {
        self.doors.advance(stop);
    }
}

/// Serves until told to stop, then drains. `ready` is called once the sockets are being listened on.
pub(crate) async fn run(plan: WorkerPlan, ready: impl FnOnce(std::io::Result<()>)) {
    let WorkerPlan { index, doors, setting, mut turns, mut stop } = plan;
    let worker = Rc::new(Worker::new(index, setting));
    let opened = doors.into_iter().try_for_each(|change| worker.doors.change(&worker, change).map(drop));
    if let Err(error) = opened {
        return ready(Err(error));
    }
    ready(Ok(()));
    let told = serve(&worker, &mut turns, &mut stop).await;
    worker.advance(told);
    worker.tasks.close();
    let drained = async {
        tokio::select! {
            () = worker.tasks.wait() => {}
            _ = stop.wait_for(|stop| *stop == Stop::Killed) => {}
        }
    };
    if tokio::time::timeout(worker.drain_timeout, drained).await.is_err() {
        tracing::warn!(worker = index, open = worker.tasks.len(), "connections outlived the drain: closed");
    }
    worker.advance(Stop::Killed);
    if tokio::time::timeout(CLOSE_GRACE, worker.tasks.wait()).await.is_err() {
        tracing::error!(worker = index, open = worker.tasks.len(), "connections did not notice their end");
    }
    if tokio::time::timeout(VM_SHUTDOWN, worker.vms.shutdown()).await.is_err() {
        tracing::warn!(worker = index, "plugins did not finish in time");
    }
}

/// Takes revisions until told how to stop.
async fn serve(
    worker: &Rc<Worker>,
    turns: &mut mpsc::UnboundedReceiver<Turn>,
    stop: &mut watch::Receiver<Stop>,
) -> Stop {
    let mut reaping = tokio::time::interval(REAP_INTERVAL);
    loop {
        tokio::select! {
            // An owner that is gone without a word is one that wants its workers gone.
            told = stop.wait_for(|stop| *stop != Stop::Running) => return told.map_or(Stop::Killed, |stop| *stop),
            Some(turn) = turns.recv() => worker.turn(turn),
            _ = reaping.tick() => worker.reap(),
        }
    }
}
