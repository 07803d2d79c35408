//! Leases that a context keeps from one call to the next, by id.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use agw_foreign::ContextKey;
use agw_wire::CallError;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::error::invalid;
use crate::lease::Lease;

/// The kept leases of one plugin with one resource. A lease ends with its context, with a call that does not keep
/// it, with its connection, or when it was idle for too long.
pub(crate) struct HeldLeases {
    table: Mutex<Table>,
    idle_max: Duration,
}

#[derive(Default)]
struct Table {
    leases: HashMap<u32, Held>,
    last_id: u32,
}

struct Held {
    context: ContextKey,
    state: State,
}

enum State {
    /// Nobody uses it; the task ends it after the idle bound.
    Idle { lease: Box<Lease>, reaper: AbortHandle },
    /// A call uses it.
    InUse,
    /// A call uses it, and its context has ended. Its id stays taken until the call is through.
    Ended,
}

/// A lease in use by a call. Dropped, it ends the lease.
pub(crate) struct InUse {
    held: Arc<HeldLeases>,
    id: u32,
    /// `None` once it has been put back.
    lease: Option<Box<Lease>>,
}

// === impl HeldLeases ===

impl HeldLeases {
    pub(crate) fn new(idle_max: Duration) -> Arc<Self> {
        Arc::new(HeldLeases { table: Mutex::default(), idle_max })
    }

    /// Gives a new lease an id: never 0, never that of a lease that still lives.
    pub(crate) fn enter(self: &Arc<Self>, lease: Lease, context: ContextKey) -> InUse {
        let mut table = self.table.lock();
        // Ends: there are at most as many leases as connections.
        loop {
            table.last_id = table.last_id.wrapping_add(1);
            if table.last_id != 0 && !table.leases.contains_key(&table.last_id) {
                break;
            }
        }
        let id = table.last_id;
        table.leases.insert(id, Held { context, state: State::InUse });
        InUse { held: Arc::clone(self), id, lease: Some(Box::new(lease)) }
    }

    /// Takes a kept lease for one call.
    ///
    /// # Errors
    /// `invalid` if this context holds no such lease, or another call uses it.
    pub(crate) fn take(self: &Arc<Self>, id: u32, context: ContextKey) -> Result<InUse, CallError> {
        let mut table = self.table.lock();
        let Some(held) = table.leases.get_mut(&id).filter(|held| held.context == context) else {
            return Err(invalid(
                "no such lease: it has ended, or was idle for too long; take a new one with id 0",
            ));
        };
        match std::mem::replace(&mut held.state, State::InUse) {
            State::InUse => Err(invalid("another call uses this lease; wait for its answer")),
            State::Ended => {
                held.state = State::Ended;
                Err(invalid("the context that held this lease has ended"))
            }
            State::Idle { lease, reaper } => {
                reaper.abort();
                Ok(InUse { held: Arc::clone(self), id, lease: Some(lease) })
            }
        }
    }

    /// Ends every lease of the context; one that is in use ends when its call does.
    pub(crate) fn context_ended(&self, context: ContextKey) {
        let mut table = self.table.lock();
        if table.leases.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        table.leases.retain(|_, held| {
            if held.context != context {
                return true;
            }
            if let State::Idle { lease, reaper } = std::mem::replace(&mut held.state, State::Ended) {
                reaper.abort();
                ended.push(lease);
                return false;
            }
            true
        });
        // The leases, and with them sockets, are dropped outside of the lock.
        drop(table);
    }

    /// Ends every idle lease.
    pub(crate) fn close(&self) {
        let mut table = self.table.lock();
        let idle = |_: &u32, held: &mut Held| matches!(held.state, State::Idle { .. });
        let ended: Vec<Held> = table.leases.extract_if(idle).map(|(_, held)| held).collect();
        drop(table);
        for held in &ended {
            if let State::Idle { reaper, .. } = &held.state {
                reaper.abort();
            }
        }
    }

    fn remove(&self, id: u32) {
        let held = self.table.lock().leases.remove(&id);
        // The lease, and with it a socket, is dropped outside of the lock.
        drop(held);
    }

    /// Ends the lease unless it is taken within the idle bound.
    fn reap_later(self: &Arc<Self>, id: u32) -> AbortHandle {
        let (held, idle_max) = (Arc::downgrade(self), self.idle_max);
        let reaping = async move {
            tokio::time::sleep(idle_max).await;
            if let Some(held) = Weak::upgrade(&held) {
                held.remove_idle(id);
            }
        };
        tokio::spawn(reaping).abort_handle()
    }

    /// Race window: the lease may be taken just as its time is up. Then it is in use, and stays.
    fn remove_idle(&self, id: u32) {
        let mut table = self.table.lock();
        let idle = table.leases.get(&id).is_some_and(|held| matches!(held.state, State::Idle { .. }));
        let ended = if idle { table.leases.remove(&id) } else { None };
        drop(table);
        drop(ended);
    }
}

// === impl InUse ===

impl InUse {
    pub(crate) fn lease(&mut self) -> Option<&mut Lease> {
        self.lease.as_deref_mut()
    }

    /// Keeps the lease for the context's next call, and gives its id; 0 if its connection or its context has
    /// ended meanwhile.
    pub(crate) fn keep(mut self) -> u32 {
        let Some(lease) = self.lease.take_if(|lease| lease.is_usable()) else { return 0 };
        let held = Arc::clone(&self.held);
        let mut table = held.table.lock();
        let entry = table.leases.get_mut(&self.id).filter(|entry| matches!(entry.state, State::InUse));
        let Some(entry) = entry else {
            drop(table);
            drop(lease);
            return 0;
        };
        entry.state = State::Idle { lease, reaper: held.reap_later(self.id) };
        drop(table);
        let id = self.id;
        // Kept: dropping this must not end it.
        self.id = 0;
        id
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.id != 0 {
            self.held.remove(self.id);
        }
    }
}
