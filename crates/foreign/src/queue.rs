//! Places for calls: so many at once, and fair between plugins.
//!
//! Each plugin has a line of its own, with a share that it never exceeds and a waiting room that nobody else fills. A
//! place that becomes free goes to the plugin that has the fewest in use for its share, of several such to the one that has
//! had the fewest lately, and within a plugin to the call that has waited longest.
//!
//! The lock is held for a few instructions: taking and giving back a place that nobody waits for is a look at one line
//! and two counters. It is held longer only while calls wait.

use std::collections::VecDeque;
use std::ops::Deref;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The places of one pool, or of one resource.
///
/// No place is free while somebody waits who may have one.
#[derive(Debug)]
pub struct Queue {
    places: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Over all lines.
    waiting: usize,
    lines: Vec<Line>,
    /// The turn of the last place that was taken.
    turn: u64,
    /// Ids of waiters, in the order in which they came.
    last: u64,
}

/// One plugin's.
#[derive(Debug)]
struct Line {
    plugin: String,
    share_percent: u32,
    in_use_max: usize,
    waiting_max: usize,
    in_use: usize,
    /// Rises with each place by [`Line::stride`]: so plugins get as many in turn as their shares say, even of a single
    /// place. It is never behind that of the queue when the line begins to wait, or a quiet plugin would save turns up.
    turn: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    granted: oneshot::Sender<()>,
}

/// A plugin's line, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineId(usize);

/// A place. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct Place<Q: Deref<Target = Queue>> {
    queue: Q,
    line: LineId,
}

/// As many wait already as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls of this plugin wait for this resource already")]
pub struct QueueFull;

/// Dropped before its end, it leaves the line, or gives up the place that it was just given.
struct Waiting<Q: Deref<Target = Queue>> {
    queue: Option<Q>,
    line: LineId,
    id: u64,
}

// === impl Queue ===

impl Queue {
    /// With every place free, and no line yet.
    pub fn new(places: usize) -> Self {
        let state = State { free: places, waiting: 0, lines: Vec::new(), turn: 0, last: 0 };
        Queue { places, state: Mutex::new(state) }
    }

    /// The line of a plugin. It has at most `share_percent` of the places at once, and one at least; while calls of
    /// several plugins wait, each gets places in proportion to its share. At most `waiting_max` of its calls wait.
    ///
    /// A plugin has one line: asked for again, it is the same one with these bounds, so that calls which began under an
    /// older configuration count as well.
    pub fn line(&self, plugin: &str, share_percent: u32, waiting_max: usize) -> LineId {
        let in_use_max = (self.places.saturating_mul(share_percent as usize)).div_ceil(100).max(1);
        let share_percent = share_percent.max(1);
        let mut state = self.state.lock();
        if let Some(at) = state.lines.iter().position(|line| line.plugin == plugin) {
            if let Some(line) = state.lines.get_mut(at) {
                line.share_percent = share_percent;
                line.in_use_max = in_use_max;
                line.waiting_max = waiting_max;
            }
            state.hand_on();
            return LineId(at);
        }
        state.lines.push(Line {
            plugin: plugin.to_owned(),
            share_percent,
            in_use_max,
            waiting_max,
            in_use: 0,
            turn: 0,
            waiting: VecDeque::new(),
        });
        LineId(state.lines.len() - 1)
    }

    /// Places in use.
    pub fn in_use(&self) -> usize {
        self.state.lock().lines.iter().map(|line| line.in_use).sum()
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    fn release(&self, line: LineId) {
        let mut state = self.state.lock();
        state.put_back(line);
        if state.waiting > 0 {
            state.hand_on();
        }
    }
}

// === impl State ===

impl State {
    /// Takes a place for this line, if there is one and its share admits it. It need not look for those who wait: nobody
    /// does who could have the place.
    fn take(&mut self, line: LineId) -> bool {
        let Some(line) = self.lines.get_mut(line.0) else { return false };
        let admitted = self.free > 0 && line.in_use < line.in_use_max;
        if admitted {
            line.in_use += 1;
            self.free -= 1;
            self.turn = self.turn.max(line.turn);
            line.turn = self.turn + line.stride();
        }
        admitted
    }

    fn put_back(&mut self, line: LineId) {
        if let Some(line) = self.lines.get_mut(line.0) {
            line.in_use = line.in_use.saturating_sub(1);
            self.free += 1;
        }
    }

    fn wait(&mut self, line: LineId) -> Result<(u64, oneshot::Receiver<()>), QueueFull> {
        let line = self.lines.get_mut(line.0).filter(|line| line.waiting.len() < line.waiting_max);
        let line = line.ok_or(QueueFull)?;
        let (granted, grant) = oneshot::channel();
        self.last += 1;
        self.waiting += 1;
        if line.waiting.is_empty() {
            line.turn = line.turn.max(self.turn);
        }
        line.waiting.push_back(Waiter { id: self.last, granted });
        Ok((self.last, grant))
    }

    /// Gives places to those who wait, as long as both are there.
    fn hand_on(&mut self) {
        while let Some(line) = self.next() {
            let waiter = self.lines.get_mut(line.0).and_then(|line| line.waiting.pop_front());
            let Some(waiter) = waiter else { return };
            self.waiting -= 1;
            self.take(line);
            // The place is the waiter's even if nobody is there any more: `Waiting` finds that it has left the line.
            let _ = waiter.granted.send(());
        }
    }

    /// Whose turn it is, if a place is free and somebody may have it.
    fn next(&self) -> Option<LineId> {
        if self.free == 0 || self.waiting == 0 {
            return None;
        }
        let eligible = self.lines.iter().enumerate().filter(|(_, line)| line.in_use < line.in_use_max);
        let first = eligible.filter_map(|(at, line)| Some((at, line, line.waiting.front()?.id)));
        let next = first.min_by(|(_, one, first), (_, other, second)| {
            // Places for each per cent of share, without a division.
            let used = |line: &Line, by: &Line| line.in_use as u128 * u128::from(by.share_percent);
            let by_use = used(one, other).cmp(&used(other, one));
            by_use.then(one.turn.cmp(&other.turn)).then(first.cmp(second))
        });
        next.map(|(at, ..)| LineId(at))
    }
}

// === impl Line ===

impl Line {
    /// What a place costs in turns: the less, the larger the share.
    fn stride(&self) -> u64 {
        10_000 / u64::from(self.share_percent)
    }
}

// === impl Place ===

impl<Q: Deref<Target = Queue>> Place<Q> {
    /// A place, if one is free and the line's share admits it.
    pub fn try_take(queue: Q, line: LineId) -> Option<Self> {
        let taken = queue.state.lock().take(line);
        // Made only if it was taken: dropped, it would give back what it does not have.
        taken.then(|| Place { queue, line })
    }

    /// A place; waits for one without end.
    ///
    /// # Errors
    /// [`QueueFull`], at once.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the line; a place that was just given to it goes to the next.
    pub async fn take(queue: Q, line: LineId) -> Result<Self, QueueFull> {
        let waits = {
            let mut state = queue.state.lock();
            if state.take(line) { None } else { Some(state.wait(line)?) }
        };
        let Some((id, granted)) = waits else { return Ok(Place { queue, line }) };
        let mut waiting = Waiting { queue: Some(queue), line, id };
        // The sender is in the queue, which `waiting` keeps, and leaves it with the word that this has a place.
        let _ = granted.await;
        let queue = waiting.queue.take().ok_or(QueueFull)?;
        Ok(Place { queue, line })
    }
}

impl<Q: Deref<Target = Queue>> Drop for Place<Q> {
    fn drop(&mut self) {
        self.queue.release(self.line);
    }
}

// === impl Waiting ===

impl<Q: Deref<Target = Queue>> Drop for Waiting<Q> {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        let mut state = queue.state.lock();
        let Some(line) = state.lines.get_mut(self.line.0) else { return };
        // Ids rise along the line.
        match line.waiting.binary_search_by_key(&self.id, |waiter| waiter.id) {
            Ok(at) => {
                let left = line.waiting.remove(at);
                state.waiting -= 1;
                drop(state);
                drop(left);
            }
            Err(_) => {
                drop(state);
                queue.release(self.line);
            }
        }
    }
}

#[cfg(test)]
mod tests;
