//! Listeners as the owner of the workers has them: which are open, and what becomes of them with a new snapshot.
//!
//! A listener of the next snapshot goes on with the sockets of one that has its address; a port that the system chose
//! also needs the name. Whatever else of it changes holds for connections that come from then on, and those that are
//! open finish as in a drain.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agw_config::Listener;

use crate::bind::{self, Inherited};
use crate::error::BindError;
use crate::tls::{ServerTls, WatchedListener};
use crate::worker::{Behind, DoorChange, DoorId};

/// An open listener.
#[derive(Debug)]
pub(crate) struct Door {
    id: DoorId,
    behind: Behind,
    /// With the port that was chosen, if the configured one was 0.
    address: SocketAddr,
    /// Second handles of the workers' sockets, for a successor.
    handles: Vec<TcpListener>,
}

/// What a listener of the next snapshot is.
#[derive(Debug)]
pub(crate) enum Next {
    /// As it is.
    Kept(DoorId),
    /// Another, with the sockets of one that is open.
    Replaced(DoorId, Behind, Option<WatchedListener>),
    /// Bound, and served by nobody yet.
    Opened(Door, Option<WatchedListener>),
}

/// What the workers and the watch of certificates are told.
#[derive(Debug)]
pub(crate) struct Changes {
    /// By worker.
    pub(crate) doors: Vec<Vec<DoorChange>>,
    pub(crate) watched: Vec<WatchedListener>,
}

/// Finds out what each listener needs, and binds those that are not open.
///
/// # Errors
/// [`BindError`] of the first that cannot be served; what was bound is closed again.
pub(crate) fn prepare(
    open: &[Door],
    listeners: &[Arc<Listener>],
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Next>, BindError> {
    let mut taken = Vec::new();
    let mut next = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let reuse = open.iter().find(|door| door.can_serve(listener) && !taken.contains(&door.id));
        next.push(match reuse {
            Some(door) => {
                taken.push(door.id);
                door.prepare(listener)?
            }
            None => Door::bind(listener, workers, inherited)?,
        });
    }
    Ok(next)
}

/// Puts the next listeners in the place of those that are open. Sockets of those that are not needed any more close
/// with the workers'.
///
/// # Errors
/// When the process has no file descriptors left. Nothing has changed then.
pub(crate) fn turn(open: &mut Vec<Door>, next: Vec<Next>, workers: usize) -> io::Result<Changes> {
    let mut changes = Changes { doors: (0..workers).map(|_| Vec::new()).collect(), watched: Vec::new() };
    let mut doors = Vec::with_capacity(next.len());
    let mut copies = Vec::new();
    for next in &next {
        if let Next::Opened(door, _) = next {
            let handles = door.handles.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
            copies.push((door.id, handles));
        }
    }
    for next in next {
        let (id, watched) = match next {
            Next::Kept(id) => (id, None),
            Next::Replaced(id, behind, watched) => {
                if let Some(door) = open.iter_mut().find(|door| door.id == id) {
                    door.behind = behind.clone();
                }
                changes.each(|| DoorChange::Replace(id, behind.clone()));
                (id, watched)
            }
            Next::Opened(door, watched) => {
                let id = door.id;
                let sockets = copies.extract_if(.., |(theirs, _)| *theirs == id).flat_map(|(_, all)| all);
                let mut by_worker: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
                // Every socket gets a worker: one that nobody accepts from would keep its share of the connections
                // waiting for ever.
                for (at, socket) in sockets.enumerate() {
                    if let Some(theirs) = by_worker.get_mut(at % workers.max(1)) {
                        theirs.push(socket);
                    }
                }
                let mut by_worker = by_worker.into_iter();
                changes
                    .each(|| DoorChange::Open(id, door.behind.clone(), by_worker.next().unwrap_or_default()));
                open.push(door);
                (id, watched)
            }
        };
        changes.watched.extend(watched);
        doors.extend(open.extract_if(.., |door| door.id == id));
    }
    // Those that are left; their handles go first, so that the port closes with the workers' sockets.
    for gone in std::mem::replace(open, doors) {
        changes.each(|| DoorChange::Close(gone.id));
    }
    Ok(changes)
}

// === impl Door ===

impl Door {
    /// Name and address.
    pub(crate) fn address(&self) -> (String, SocketAddr) {
        (self.behind.listener.name.clone(), self.address)
    }

    pub(crate) fn serves_with(&self, tls: &Arc<ServerTls>) -> bool {
        self.behind.tls.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, tls))
    }

    /// The listener's name with each of its sockets.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (&str, &TcpListener)> {
        self.handles.iter().map(|socket| (self.behind.listener.name.as_str(), socket))
    }

    fn can_serve(&self, listener: &Listener) -> bool {
        let ours = &self.behind.listener;
        ours.address == listener.address && (listener.address.port() != 0 || ours.name == listener.name)
    }

    fn prepare(&self, listener: &Arc<Listener>) -> Result<Next, BindError> {
        let ours = &self.behind.listener;
        if ours == listener {
            return Ok(Next::Kept(self.id));
        }
        let listener = Arc::clone(listener);
        let same_tls = ours.tls == listener.tls
            && ours.protocols == listener.protocols
            // The certificates' metrics have the name.
            && ours.name == listener.name;
        let (tls, watched) = match same_tls {
            true => (self.behind.tls.clone(), None),
            false => server_tls(&listener)?,
        };
        Ok(Next::Replaced(self.id, Behind { listener, tls }, watched))
    }

    fn bind(listener: &Arc<Listener>, workers: usize, inherited: &mut Inherited) -> Result<Next, BindError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let (tls, watched) = server_tls(listener)?;
        let bind::Sockets { address, sockets } = bind::bind(listener, workers, inherited)?;
        let behind = Behind { listener: Arc::clone(listener), tls };
        let id = DoorId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        Ok(Next::Opened(Door { id, behind, address, handles: sockets }, watched))
    }
}

fn server_tls(listener: &Listener) -> Result<(Option<Arc<ServerTls>>, Option<WatchedListener>), BindError> {
    let failed = |source| BindError::Tls { listener: listener.name.clone(), source: Box::new(source) };
    Ok(ServerTls::new(listener).map_err(failed)?.unzip())
}

// === impl Changes ===

impl Changes {
    /// For every worker, in their order.
    fn each(&mut self, mut change: impl FnMut() -> DoorChange) {
        self.doors.iter_mut().for_each(|doors| doors.push(change()));
    }
}

// === impl Next ===

impl Next {
    /// Name and address of one that is bound.
    pub(crate) fn opened(&self) -> Option<(String, SocketAddr)> {
        match self {
            Next::Opened(door, _) => Some(door.address()),
            _ => None,
        }
    }
}
