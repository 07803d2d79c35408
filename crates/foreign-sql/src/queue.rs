//! Places for connections: as many as the pool may have, first come, first served, and fair between plugins.
//!
//! Each plugin has a line of its own and a share that it never exceeds. A place that becomes free goes to the plugin
//! that has the fewest in use, and of these to the call that has waited longest. The lines' length has no bound here:
//! a call that waits holds a place of the resource's gate (`in_flight_max`), which has one, or is one of the few that renew
//! kept results.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The places of one pool.
pub(crate) struct Queue {
    state: Mutex<State>,
}

struct State {
    free: usize,
    lines: Vec<Line>,
    /// Ids of waiters, in the order in which they came.
    last: u64,
}

/// One plugin's.
struct Line {
    plugin: String,
    share: usize,
    in_use: usize,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    id: u64,
    place: oneshot::Sender<Place>,
}

/// A line by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineId(usize);

/// A place. Dropped, it goes to the next who waits.
pub(crate) struct Place {
    /// `None` once it has been given on.
    queue: Option<Arc<Queue>>,
    line: LineId,
}

/// Leaves the line when it is dropped without a place.
struct Waiting<'q> {
    queue: &'q Queue,
    line: LineId,
    id: u64,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Queue { state: Mutex::new(State { free: places, lines: Vec::new(), last: 0 }) })
    }

    /// The line of a plugin, which may have `share` places at once from now on: when it is loaded anew, its two
    /// revisions share them.
    pub(crate) fn line(&self, plugin: &str, share: usize) -> LineId {
        let share = share.max(1);
        let mut state = self.state.lock();
        match state.lines.iter_mut().enumerate().find(|(_, line)| line.plugin == plugin) {
            Some((known, line)) => {
                line.share = share;
                LineId(known)
            }
            None => {
                let plugin = plugin.to_owned();
                state.lines.push(Line { plugin, share, in_use: 0, waiting: VecDeque::new() });
                LineId(state.lines.len() - 1)
            }
        }
    }

    /// Places in use.
    pub(crate) fn in_use(&self) -> usize {
        self.state.lock().lines.iter().map(|line| line.in_use).sum()
    }

    /// A place; waits for one without end.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the line; a place that was just given to it goes to the next.
    pub(crate) async fn acquire(self: &Arc<Self>, line: LineId) -> Place {
        loop {
            let (id, granted) = {
                let mut state = self.state.lock();
                if state.take(line) {
                    return Place { queue: Some(Arc::clone(self)), line };
                }
                state.wait(line)
            };
            let _waiting = Waiting { queue: self, line, id };
            // The sender is dropped without a place only with the queue, which `self` keeps.
            if let Ok(place) = granted.await {
                return place;
            }
        }
    }

    /// Gives a place back and hands it on.
    fn release(self: &Arc<Self>, line: LineId) {
        let mut state = self.state.lock();
        if let Some(line) = state.lines.get_mut(line.0) {
            line.in_use = line.in_use.saturating_sub(1);
        }
        state.free += 1;
        while let Some((next, waiter)) = state.next() {
            if !state.take(next) {
                break;
            }
            let place = Place { queue: Some(Arc::clone(self)), line: next };
            if let Err(mut unwanted) = waiter.place.send(place) {
                // Whoever waited is gone. The place must not be dropped here: that would lock again.
                unwanted.queue = None;
                state.put_back(next);
            }
        }
    }
}

// === impl State ===

impl State {
    /// Takes a place for this line, if there is one and its share admits it.
    fn take(&mut self, line: LineId) -> bool {
        let Some(line) = self.lines.get_mut(line.0) else { return false };
        let admitted = self.free > 0 && line.in_use < line.share;
        if admitted {
            line.in_use += 1;
            self.free -= 1;
        }
        admitted
    }

    fn put_back(&mut self, line: LineId) {
        if let Some(line) = self.lines.get_mut(line.0) {
            line.in_use = line.in_use.saturating_sub(1);
        }
        self.free += 1;
    }

    fn wait(&mut self, line: LineId) -> (u64, oneshot::Receiver<Place>) {
        let (place, granted) = oneshot::channel();
        self.last += 1;
        let id = self.last;
        if let Some(line) = self.lines.get_mut(line.0) {
            line.waiting.push_back(Waiter { id, place });
        }
        (id, granted)
    }

    /// Who is next, if a place is free.
    fn next(&mut self) -> Option<(LineId, Waiter)> {
        if self.free == 0 {
            return None;
        }
        let eligible = self.lines.iter().enumerate().filter(|(_, line)| line.in_use < line.share);
        let first = eligible.filter_map(|(at, line)| Some((line.in_use, line.waiting.front()?.id, at)));
        let (_, _, at) = first.min()?;
        let waiter = self.lines.get_mut(at)?.waiting.pop_front()?;
        Some((LineId(at), waiter))
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.release(self.line);
        }
    }
}

// === impl Waiting ===

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let Some(line) = state.lines.get_mut(self.line.0) else { return };
        // Ids rise along the line.
        if let Ok(at) = line.waiting.binary_search_by_key(&self.id, |waiter| waiter.id) {
            let left = line.waiting.remove(at);
            drop(state);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests;
