//! Results of named statements that are kept for a while, for each grant by itself.
//!
//! Workers share them. The lock is held for a look into a table and never across an await; what is evicted is freed under
//! it, which is at most what [`SqlCache::bytes_max`] admits.

mod counters;
mod kept;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agw_config::SqlCache;
use agw_foreign::Reply;
use agw_wire::sql::{self, Call, Mode};
use agw_wire::{CallError, Code, Kind};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::counters::Counters;
use self::kept::{Entry, Kept};
use crate::error::timeout_io;

/// What a call comes to.
pub(crate) type Outcome = Result<Reply, CallError>;

/// The caches of one grant, by the statement's name.
#[derive(Default)]
pub(crate) struct Caches(BTreeMap<String, Arc<Cache>>);

/// The kept results of one statement for one grant.
pub(crate) struct Cache {
    policy: SqlCache,
    /// After a renewal that failed the next begins so much later: nothing else holds them back from a dead server.
    renewal_pause: Duration,
    /// Bounds the renewals that are under way, of all the grant's statements.
    renewals: Arc<Semaphore>,
    counters: Counters,
    state: Mutex<State>,
}

struct State {
    kept: Kept,
    /// Calls that are under way, by what they will come to. There are no more than calls and renewals.
    flights: HashMap<Arc<[u8]>, Flight>,
    /// No renewal begins earlier.
    renew_from: Option<Instant>,
}

/// `None` until the outcome is there; closed without one if whoever led it left.
type Flight = watch::Receiver<Option<Outcome>>;

/// A kept result.
pub(crate) enum Found {
    /// Within its time.
    Fresh(Outcome),
    /// Past its time. With a lead, it is the caller's to renew it.
    Stale(Outcome, Option<Lead>),
}

/// The duty to run the statement for everybody who waits for this result. Dropped, it passes to one of them.
pub(crate) struct Lead {
    cache: Arc<Cache>,
    key: Arc<[u8]>,
    answer: watch::Sender<Option<Outcome>>,
    renewal: Option<OwnedSemaphorePermit>,
}

/// What a call that found nothing kept does.
enum Joined {
    /// Nothing: the result has come meanwhile.
    Known(Outcome),
    Waits(Flight),
    Leads(Lead),
}

// === impl Caches ===

impl Caches {
    /// One for each of these statements. `renewals_max` bounds what runs in the background, over all of them.
    pub(crate) fn new<'a>(
        statements: impl Iterator<Item = (&'a String, SqlCache, Counters)>,
        renewals_max: usize,
        renewal_pause: Duration,
    ) -> Self {
        let renewals = Arc::new(Semaphore::new(renewals_max.min(Semaphore::MAX_PERMITS)));
        let cache = |(name, policy, counters): (&String, SqlCache, Counters)| {
            let cache = Cache::new(policy, renewal_pause, Arc::clone(&renewals), counters);
            (name.clone(), Arc::new(cache))
        };
        Caches(statements.map(cache).collect())
    }

    /// Where this call's result is kept, and under which key: how it was asked for, and the parameters. `None` if it is
    /// not kept.
    pub(crate) fn of(&self, call: &Call<'_>) -> Option<(&Arc<Cache>, Vec<u8>)> {
        let [statement] = call.statements.as_slice() else { return None };
        let one_result = matches!(call.mode, Mode::Query | Mode::QueryOne | Mode::QueryOptional);
        // What does not belong into such a call is left to the checks that refuse it.
        if !one_result || !statement.text.is_empty() || call.cursor != 0 || call.page_rows != 0 {
            return None;
        }
        let cache = self.0.get(statement.name)?;
        let params = statement.params.as_bytes();
        let mut key = Vec::with_capacity(1 + params.len());
        key.push(call.mode as u8);
        key.extend_from_slice(params);
        Some((cache, key))
    }
}

// === impl Cache ===

impl Cache {
    fn new(policy: SqlCache, renewal_pause: Duration, renewals: Arc<Semaphore>, counters: Counters) -> Self {
        let kept = Kept::new(policy.entries_max, policy.bytes_max, counters.evictions.clone());
        let state = Mutex::new(State { kept, flights: HashMap::new(), renew_from: None });
        Cache { policy, renewal_pause, renewals, counters, state }
    }

    /// The result, if it is kept.
    pub(crate) fn find(self: &Arc<Self>, key: &[u8]) -> Option<Found> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let entry = state.kept.get(key, now)?;
        let outcome = entry.outcome.clone();
        if now < entry.fresh_until {
            drop(state);
            self.counters.hit.inc();
            return Some(Found::Fresh(outcome));
        }
        let lead = self.begin_renewal(&mut state, key, now);
        drop(state);
        self.counters.stale.inc();
        Some(Found::Stale(outcome, lead))
    }

    fn begin_renewal(self: &Arc<Self>, state: &mut State, key: &[u8], now: Instant) -> Option<Lead> {
        let paused = state.renew_from.is_some_and(|from| now < from);
        if paused || state.flights.contains_key(key) {
            return None;
        }
        let permit = Arc::clone(&self.renewals).try_acquire_owned().ok()?;
        Some(self.lead(state, &Arc::from(key), Some(permit)))
    }

    fn lead(
        self: &Arc<Self>,
        state: &mut State,
        key: &Arc<[u8]>,
        renewal: Option<OwnedSemaphorePermit>,
    ) -> Lead {
        let (answer, flight) = watch::channel(None);
        state.flights.insert(Arc::clone(key), flight);
        Lead { cache: Arc::clone(self), key: Arc::clone(key), answer, renewal }
    }

    /// A result that was not there: polls `run` if this call has to fetch it, and waits for the call that does
    /// otherwise. `run` ends by `deadline`.
    ///
    /// # Errors
    /// Those of `run`, be it another call's, and `timeout_io` if that had no result by `deadline`.
    ///
    /// # Cancel safety
    /// Dropped, it drops `run`, and another call that waits runs the statement in its stead.
    pub(crate) async fn call(
        self: Arc<Self>,
        key: Arc<[u8]>,
        deadline: Instant,
        run: impl Future<Output = Outcome>,
    ) -> Outcome {
        loop {
            let mut flight = match self.join(&key) {
                Joined::Known(outcome) => return outcome,
                Joined::Leads(lead) => {
                    let outcome = run.await;
                    lead.end(&outcome, deadline);
                    return outcome;
                }
                Joined::Waits(flight) => flight,
            };
            let landed = async { flight.wait_for(Option::is_some).await.ok().and_then(|seen| seen.clone()) };
            tokio::select! {
                biased;
                landed = landed => if let Some(outcome) = landed {
                    return outcome;
                },
                () = sleep_until(deadline) => return Err(timeout_io()),
            }
        }
    }

    fn join(self: &Arc<Self>, key: &Arc<[u8]>) -> Joined {
        let mut state = self.state.lock();
        let (joined, counter) = if let Some(entry) = state.kept.get(key, Instant::now()) {
            (Joined::Known(entry.outcome.clone()), &self.counters.hit)
        } else if let Some(flight) = state.flights.get(key) {
            (Joined::Waits(flight.clone()), &self.counters.joined)
        } else {
            (Joined::Leads(self.lead(&mut state, key, None)), &self.counters.miss)
        };
        counter.inc();
        joined
    }

    /// How long this serves. `None`: it is a failure, and takes no result's place.
    fn ttl(&self, outcome: &Outcome) -> Option<Duration> {
        match outcome {
            Ok(reply) if has_rows(reply) => Some(self.policy.ttl),
            Ok(_) => Some(self.policy.negative_ttl),
            Err(error) if error.kind == Some(Kind::NoRow) => Some(self.policy.negative_ttl),
            Err(_) => None,
        }
    }
}

fn has_rows(reply: &Reply) -> bool {
    let Ok(reply) = sql::Reply::decode(reply.bytes()) else { return false };
    reply.results.iter().any(|result| result.rows().next().is_some())
}

// === impl Lead ===

impl Lead {
    /// The statement has run, with this deadline. Its result is kept, and everybody who waits gets it, unless it says
    /// something of this call only.
    pub(crate) fn end(self, outcome: &Outcome, deadline: Instant) {
        let (cache, now) = (&self.cache, Instant::now());
        match cache.ttl(outcome) {
            Some(ttl) => {
                let stale = cache.policy.stale_while_revalidate;
                let entry = (!ttl.is_zero()).then(|| Entry::new(outcome, now + ttl, now + ttl + stale));
                cache.state.lock().kept.put(&self.key, entry);
            }
            None if self.renewal.is_some() => {
                cache.state.lock().renew_from = Some(now + cache.renewal_pause);
            }
            None => {}
        }
        let own = |error: &CallError| error.code == Code::Cancelled || now >= deadline;
        if !outcome.as_ref().is_err_and(own) {
            self.answer.send_replace(Some(outcome.clone()));
        }
    }
}

impl Drop for Lead {
    /// Before the sender is gone: whoever wakes by that must not find this flight again.
    fn drop(&mut self) {
        self.cache.state.lock().flights.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
