//! Whether the bodies of an exchange still move.
//!
//! What moves is only counted. The clock is read when a timer fires, four times within the limit, so silence is noticed
//! up to a quarter of the limit late, and a byte costs no more than an addition.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::after;

/// See the module.
pub(super) struct Silence {
    limit: Cell<Duration>,
    /// Counts what moves, from zero again after the last number.
    moves: Cell<u32>,
    /// `moves` at the last look.
    seen: Cell<u32>,
    /// At the latest since then nothing has moved.
    since: Cell<Instant>,
    /// When to look again; `None` while nobody watches.
    next: Cell<Option<Instant>>,
    /// Which watch this is.
    watch: Cell<Watch>,
    /// The watch has ended in silence.
    over: Cell<bool>,
}

/// Tells one watch from the next, because a body may outlive its exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch(u32);

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Silence {
            limit: Cell::new(Duration::MAX),
            moves: Cell::new(0),
            seen: Cell::new(0),
            since: Cell::new(now),
            next: Cell::new(None),
            watch: Cell::new(Watch::default()),
            over: Cell::new(false),
        }
    }

    /// Watches from now on, in place of an earlier watch.
    pub(super) fn begin(&self, now: Instant, limit: Duration) -> Watch {
        self.limit.set(limit);
        self.seen.set(self.moves.get());
        self.since.set(now);
        self.next.set(Some(after(now, limit / 4)));
        self.over.set(false);
        let watch = Watch(self.watch.get().0.wrapping_add(1));
        self.watch.set(watch);
        watch
    }

    /// Nothing need move any more.
    pub(super) fn end(&self) {
        self.next.set(None);
        self.over.set(false);
    }

    /// As `end`, if it is still this watch.
    pub(super) fn end_watch(&self, watch: Watch) {
        if self.watch.get() == watch {
            self.end();
        }
    }

    /// Something has moved.
    pub(super) fn moved(&self) {
        self.moves.set(self.moves.get().wrapping_add(1));
    }

    /// `deadline`, or the next look if that comes first.
    pub(super) fn next_look(&self, deadline: Instant) -> Instant {
        self.next.get().map_or(deadline, |next| next.min(deadline))
    }

    /// Looks, and says whether nothing has moved for too long.
    pub(super) fn look(&self, now: Instant) -> bool {
        let (moves, limit) = (self.moves.get(), self.limit.get());
        if moves != self.seen.get() {
            self.seen.set(moves);
            self.since.set(now);
        }
        let end = after(self.since.get(), limit);
        self.over.set(now >= end);
        self.next.set(Some(after(now, limit / 4).min(end)));
        now >= end
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    /// The second at which silence is noticed, if something moves at these.
    fn noticed(silence: &Silence, start: Instant, moves: &[u64]) -> Option<u64> {
        (1..=30).find(|&second| {
            if moves.contains(&second) {
                silence.moved();
            }
            let now = start + Duration::from_secs(second);
            silence.next_look(now + LIMIT) <= now && silence.look(now)
        })
    }

    #[test]
    fn silence_is_over_after_the_limit_and_not_much_later() {
        let start = Instant::now();
        let silence = Silence::new(start);
        silence.begin(start, LIMIT);
        assert_eq!(noticed(&silence, start, &[]), Some(4));
        assert!(silence.is_over());
        silence.begin(start, LIMIT);
        assert_eq!(noticed(&silence, start, &[3, 6, 10]), Some(14));
    }

    #[test]
    fn what_nobody_watches_may_be_silent() {
        let start = Instant::now();
        let silence = Silence::new(start);
        assert_eq!(noticed(&silence, start, &[]), None);
        let first = silence.begin(start, LIMIT);
        let second = silence.begin(start, LIMIT);
        silence.end_watch(first);
        assert_eq!(noticed(&silence, start, &[]), Some(4));
        silence.end_watch(second);
        assert_eq!(noticed(&silence, start, &[]), None);
    }
}
