//! Where a worker takes connections: a listener's sockets, and the entrance that new connections get.
//!
//! A door stays while its listener changes; only the entrance behind it becomes another. One whose listener is gone is
//! closed, and so are the connections that came through it, as in a drain.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use agw_config::Listener;
use agw_telemetry::{Gauge, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::Worker;
use crate::connection::{Entrance, drive};
use crate::limits::{ACCEPT_BACKOFF, CLOSE_GRACE};
use crate::stop::{Ending, Stop};
use crate::tls::ServerTls;

/// Names a door in the process: its listener may change its name, and two may want any port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoorId(pub(crate) u64);

/// What a listener is on a worker.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    pub(crate) listener: Arc<Listener>,
    pub(crate) tls: Option<Arc<ServerTls>>,
}

/// What becomes of a door.
#[derive(Debug)]
pub(crate) enum DoorChange {
    /// One more, with this worker's sockets of it.
    Open(DoorId, Behind, Vec<StdListener>),
    /// Its listener has become another.
    Replace(DoorId, Behind),
    /// Its listener is gone.
    Close(DoorId),
}

/// The doors of one worker, and every entrance that still has connections.
#[derive(Default)]
pub(super) struct Doors {
    open: RefCell<Vec<Rc<Door>>>,
    entrances: RefCell<Vec<Weak<Entrance>>>,
}

pub(super) struct Door {
    id: DoorId,
    entrance: RefCell<Rc<Entrance>>,
    /// Connections that may be open, as the listener has it. Those of an entrance before this one do not count.
    places: RefCell<Arc<Semaphore>>,
    /// Of its sockets.
    ending: Ending,
    accepting: TaskTracker,
}

// === impl Doors ===

impl Doors {
    /// Gives the doors that are closed by it: their sockets may be open for a moment more.
    ///
    /// # Errors
    /// A socket that the system does not let wait for connections. Nothing has changed then.
    pub(super) fn change(&self, worker: &Rc<Worker>, change: DoorChange) -> io::Result<Option<Rc<Door>>> {
        match change {
            DoorChange::Open(id, behind, sockets) => {
                let sockets: Vec<_> =
                    sockets.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?;
                let door = Door::open(id, self.entrance(behind, worker.metrics()), worker, sockets);
                self.open.borrow_mut().push(door);
            }
            DoorChange::Replace(id, behind) => {
                let door = self.open.borrow().iter().find(|door| door.id == id).cloned();
                let Some(door) = door else { return Ok(None) };
                *door.places.borrow_mut() = places(&behind.listener);
                let old = door.entrance.replace(self.entrance(behind, worker.metrics()));
                worker.retire(old);
            }
            DoorChange::Close(id) => {
                let mut open = self.open.borrow_mut();
                let Some(at) = open.iter().position(|door| door.id == id) else { return Ok(None) };
                let door = open.swap_remove(at);
                door.ending.advance(Stop::Draining);
                worker.retire(Rc::clone(&door.entrance.borrow()));
                return Ok(Some(door));
            }
        }
        Ok(None)
    }

    /// Told of the worker's own end: everything that is open ends with it.
    pub(super) fn advance(&self, stop: Stop) {
        self.open.borrow().iter().for_each(|door| door.ending.advance(stop));
        let entrances: Vec<_> = self.entrances.borrow().iter().filter_map(Weak::upgrade).collect();
        entrances.iter().for_each(|entrance| entrance.ending.advance(stop));
    }

    fn entrance(&self, behind: Behind, metrics: &Metrics) -> Rc<Entrance> {
        let entrance = Rc::new(Entrance::new(behind.listener, behind.tls, metrics));
        let mut all = self.entrances.borrow_mut();
        all.retain(|entrance| entrance.strong_count() > 0);
        all.push(Rc::downgrade(&entrance));
        entrance
    }
}

// === impl Door ===

impl Door {
    fn open(id: DoorId, entrance: Rc<Entrance>, worker: &Rc<Worker>, sockets: Vec<TcpListener>) -> Rc<Self> {
        let places = RefCell::new(places(&entrance.listener));
        let (ending, accepting) = (Ending::new(), TaskTracker::new());
        let door = Rc::new(Door { id, entrance: RefCell::new(entrance), places, ending, accepting });
        for socket in sockets {
            let accept = Rc::clone(&door).accept(Rc::clone(worker), socket);
            worker.tasks.spawn_local(door.accepting.track_future(accept));
        }
        door
    }

    /// Returns when the sockets of a door that was closed are, too.
    pub(super) async fn ended(&self) {
        self.accepting.close();
        if timeout(CLOSE_GRACE, self.accepting.wait()).await.is_err() {
            // No place for what the kernel has completed.
            self.ending.advance(Stop::Killed);
            self.accepting.wait().await;
        }
    }

    /// Takes connections until the door is closed. At the bound on connections the rest wait in the kernel's queue.
    async fn accept(self: Rc<Self>, worker: Rc<Worker>, socket: TcpListener) {
        loop {
            let stopped = self.ending.changed();
            if self.ending.stop() != Stop::Running {
                break;
            }
            let places = Arc::clone(&self.places.borrow());
            let accepted = tokio::select! {
                biased;
                () = stopped => break,
                accepted = next(&socket, &places) => accepted,
            };
            match accepted {
                Some((permit, stream, peer)) => self.spawn(&worker, stream, peer, permit),
                None => sleep(ACCEPT_BACKOFF).await,
            }
        }
        // The kernel has completed these connections for us; closing the last handle of the socket would reset them.
        // What is completed between the last of them and the close is lost: a hand-over is what loses nothing.
        loop {
            let places = Arc::clone(&self.places.borrow());
            let permit = tokio::select! {
                biased;
                () = self.ending.reached(Stop::Killed) => break,
                permit = places.acquire_owned() => permit,
            };
            let accepted = poll_fn(|cx| Poll::Ready(socket.poll_accept(cx))).await;
            let (Ok(permit), Poll::Ready(Ok((stream, peer)))) = (permit, accepted) else { break };
            self.spawn(&worker, stream, peer, permit);
        }
    }

    fn spawn(&self, worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        // A head or a body that waits for the last one's acknowledgement would wait for tens of milliseconds.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection was gone at once");
            return;
        }
        let open = OpenConnection::new(&worker.connections_gauge);
        let driven = drive(Rc::clone(worker), Rc::clone(&self.entrance.borrow()), stream, peer);
        worker.tasks.spawn_local(async move {
            driven.await;
            drop((open, permit));
        });
    }
}

fn places(listener: &Listener) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(listener.connections_max.min(Semaphore::MAX_PERMITS)))
}

/// Lets the connections of an entrance finish, and closes those that have not by then.
pub(super) async fn end_entrance(entrance: Weak<Entrance>, drain_timeout: Duration) {
    sleep(drain_timeout).await;
    if let Some(entrance) = entrance.upgrade() {
        entrance.ending.advance(Stop::Killed);
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
