//! The table of kept results, bounded in number and bytes.

use std::hash::RandomState;
use std::sync::Arc;

use agw_foreign::Reply;
use agw_telemetry::Counter;
use bytes::Bytes;
use lru::LruCache;
use tokio::time::Instant;

use super::Outcome;

/// What an entry takes beside its parameters and its reply.
pub(super) const ENTRY_BYTES: usize = 256;

// The list's two links, the table's slot and its spare room come on top.
const _: () = assert!(size_of::<Entry>() + 64 <= ENTRY_BYTES);

/// Results by key. The one that was not asked for longest gives way.
pub(super) struct Kept {
    entries_max: usize,
    bytes_max: usize,
    bytes: usize,
    evictions: Counter,
    /// Its own bound is not used: bytes have one too. Keys are made of what comes from the network, so the hash is
    /// one that nobody can aim at.
    entries: LruCache<Arc<[u8]>, Entry, RandomState>,
}

pub(super) struct Entry {
    pub(super) outcome: Outcome,
    pub(super) fresh_until: Instant,
    /// Not less than `fresh_until`.
    kept_until: Instant,
}

// === impl Kept ===

impl Kept {
    pub(super) fn new(entries_max: usize, bytes_max: usize, evictions: Counter) -> Self {
        let entries = LruCache::unbounded_with_hasher(RandomState::new());
        Kept { entries_max, bytes_max, bytes: 0, evictions, entries }
    }

    /// An entry whose time is not over; one whose time is over leaves.
    pub(super) fn get(&mut self, key: &[u8], now: Instant) -> Option<&Entry> {
        if self.entries.peek(key)?.kept_until <= now {
            self.remove(key);
            return None;
        }
        self.entries.get(key)
    }

    /// Puts an entry in the place of the one that is there. Without an entry, or with one that is too large to be kept,
    /// the place is empty afterwards.
    pub(super) fn put(&mut self, key: &Arc<[u8]>, entry: Option<Entry>) {
        self.remove(key);
        let Some(entry) = entry else { return };
        let bytes = entry.bytes(key);
        if bytes > self.bytes_max {
            return;
        }
        while self.entries.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            let Some((key, evicted)) = self.entries.pop_lru() else { break };
            self.bytes -= evicted.bytes(&key);
            self.evictions.inc();
        }
        self.bytes += bytes;
        self.entries.put(Arc::clone(key), entry);
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= entry.bytes(key);
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(outcome: &Outcome, fresh_until: Instant, kept_until: Instant) -> Self {
        // A copy: the buffer that it was written into may be twice as large.
        let exact = |reply: &Reply| Reply::sql(Bytes::copy_from_slice(reply.bytes()));
        let outcome = outcome.as_ref().map(exact).map_err(Clone::clone);
        Entry { outcome, fresh_until, kept_until }
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let outcome = match &self.outcome {
            Ok(reply) => reply.bytes().len(),
            Err(error) => error.message.len(),
        };
        ENTRY_BYTES + key.len() + outcome
    }
}
