//! Connections that hold the rest of a result, by id: a context's, from one call to the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agw_foreign::ContextKey;
use agw_wire::CallError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{invalid, no_such_cursor};
use crate::pool::Lease;

/// A cursor that no call uses for this long ends, whatever the pool's own idle timeout is: it keeps one of few
/// connections from everybody else.
pub(crate) const CURSOR_IDLE_MAX: Duration = Duration::from_secs(5);

/// The cursors of one plugin with one resource. One ends with its context, its last row, a failed call, or when it was
/// idle for too long. There are at most as many as the plugin's share of connections.
#[derive(Default)]
pub(crate) struct Cursors {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    cursors: HashMap<u32, Cursor>,
    last_id: u32,
}

struct Cursor {
    context: ContextKey,
    /// `None` while a call uses it.
    idle: Option<(Box<Lease>, Instant)>,
    /// Its context has ended while a call used it.
    ended: bool,
}

/// A cursor in use by a call. Dropped, it ends the cursor.
pub(crate) struct InUse {
    cursors: Arc<Cursors>,
    id: u32,
    kept: bool,
}

// === impl Cursors ===

impl Cursors {
    /// An id for a cursor that a call is about to open: never 0, never that of one that still lives.
    pub(crate) fn enter(self: &Arc<Self>, context: ContextKey) -> InUse {
        let mut table = self.table.lock();
        // Ends: there are at most as many cursors as connections.
        loop {
            table.last_id = table.last_id.wrapping_add(1);
            if table.last_id != 0 && !table.cursors.contains_key(&table.last_id) {
                break;
            }
        }
        let id = table.last_id;
        table.cursors.insert(id, Cursor { context, idle: None, ended: false });
        InUse { cursors: Arc::clone(self), id, kept: false }
    }

    /// Takes a cursor for one call.
    ///
    /// # Errors
    /// `invalid` if this context has no such cursor, or another call uses it.
    pub(crate) fn take(self: &Arc<Self>, id: u32, context: ContextKey) -> Result<(Lease, InUse), CallError> {
        let mut table = self.table.lock();
        let cursor = table.cursors.get_mut(&id).filter(|cursor| cursor.context == context && !cursor.ended);
        let Some(cursor) = cursor else { return Err(no_such_cursor()) };
        match cursor.idle.take() {
            Some((lease, _)) => Ok((*lease, InUse { cursors: Arc::clone(self), id, kept: false })),
            None => Err(invalid("another call uses this cursor; wait for its answer")),
        }
    }

    /// The connections of this context's idle cursors. One that is in use ends when its call does.
    pub(crate) fn end_context(&self, context: ContextKey) -> Vec<Lease> {
        let mut table = self.table.lock();
        for cursor in table.cursors.values_mut().filter(|cursor| cursor.context == context) {
            cursor.ended = true;
        }
        table.remove_idle(|cursor, _| cursor.ended)
    }

    /// The connections of cursors that nobody has used for too long.
    pub(crate) fn end_idle(&self, idle_max: Duration) -> Vec<Lease> {
        self.table.lock().remove_idle(|_, since| since.elapsed() >= idle_max)
    }
}

impl Table {
    fn remove_idle(&mut self, ends: impl Fn(&Cursor, Instant) -> bool) -> Vec<Lease> {
        let ended = self.cursors.extract_if(|_, cursor| {
            let since = cursor.idle.as_ref().map(|(_, since)| *since);
            since.is_some_and(|since| ends(cursor, since))
        });
        ended.filter_map(|(_, cursor)| cursor.idle.map(|(lease, _)| *lease)).collect()
    }
}

// === impl InUse ===

impl InUse {
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Keeps the connection for the context's next call. It comes back if the context has ended meanwhile.
    pub(crate) fn keep(mut self, lease: Lease) -> Result<(), Lease> {
        let mut table = self.cursors.table.lock();
        match table.cursors.get_mut(&self.id).filter(|cursor| !cursor.ended) {
            Some(cursor) => {
                cursor.idle = Some((Box::new(lease), Instant::now()));
                drop(table);
                self.kept = true;
                Ok(())
            }
            None => {
                drop(table);
                Err(lease)
            }
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if !self.kept {
            self.cursors.table.lock().cursors.remove(&self.id);
        }
    }
}
