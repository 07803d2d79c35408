//! Keys, their values and deadlines, and what they cost.

use std::collections::{BTreeSet, HashMap};

use crate::failure::{Done, Failure};
use crate::members::{MEMBER_OVERHEAD, Name};
use crate::store::Limits;
use crate::value::{Kind, Value};

/// What a key costs beyond its bytes and its value: the slots in both indexes, allocator overhead.
pub(crate) const KEY_OVERHEAD: usize = 256;
/// Expired keys that one command removes. A command adds at most one key with a deadline, so expired keys
/// cannot pile up.
const SWEEP_PER_COMMAND: usize = 16;

/// One keyspace at one moment: [`Keyspace::begin`] sets the time for what follows.
pub(crate) struct Keyspace {
    entries: HashMap<Name, Entry>,
    /// Every deadline, soonest first.
    deadlines: BTreeSet<(i64, Name)>,
    used_bytes: usize,
    limits: Limits,
    now: i64,
    random: fastrand::Rng,
}

/// A key's value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// Milliseconds since 1970; the key is there up to and including this one.
    pub(crate) deadline: Option<i64>,
}

impl Keyspace {
    pub(crate) fn new(limits: Limits) -> Self {
        Keyspace {
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            used_bytes: 0,
            limits,
            now: 0,
            random: fastrand::Rng::new(),
        }
    }

    /// Sets the time and removes some of what has expired.
    pub(crate) fn begin(&mut self, now: i64) {
        self.now = now;
        for _ in 0..SWEEP_PER_COMMAND {
            if !self.sweep_one() {
                return;
            }
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    /// Keys, without those that have expired and are still to be removed.
    pub(crate) fn len(&self) -> usize {
        let expired = self.deadlines.iter().take_while(|(deadline, _)| *deadline < self.now).count();
        self.entries.len().saturating_sub(expired)
    }

    /// Makes sure that `bytes` and `keys` more fit, by removing expired keys if need be.
    pub(crate) fn room_for(&mut self, bytes: usize, keys: usize) -> Done {
        let fits = |this: &Self| {
            this.used_bytes.saturating_add(bytes) <= this.limits.bytes
                && this.entries.len().saturating_add(keys) <= this.limits.keys
        };
        while !fits(self) {
            if !self.sweep_one() {
                return Err(Failure::OUT_OF_MEMORY);
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.deadline.is_none_or(|deadline| deadline >= self.now))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// The value as the type that the command expects; `None` if there is no such key.
    pub(crate) fn read<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, Failure> {
        match self.get(key) {
            Some(entry) => K::of(&entry.value).map(Some).ok_or(Failure::WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// Changes a value that is there. A container that `change` leaves empty is removed.
    pub(crate) fn change<K: Kind, T>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        self.remove_expired(key);
        let Some(entry) = self.entries.get_mut(key) else { return Ok(None) };
        let before = entry.value.bytes();
        let outcome = change(K::of_mut(&mut entry.value).ok_or(Failure::WRONG_TYPE)?);
        let after = entry.value.bytes();
        self.used_bytes = self.used_bytes.saturating_add(after).saturating_sub(before);
        if entry.value.is_vanishing() {
            self.take(key);
        }
        outcome.map(Some)
    }

    /// As [`Keyspace::change`], from an empty value if there is none. When `change` fails, no new key is left.
    pub(crate) fn change_or_create<K: Kind, T>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if !self.contains(key) {
            let mut value = K::default();
            let outcome = change(&mut value)?;
            let value = value.into();
            if !value.is_vanishing() {
                self.put(key, value, None);
            }
            return Ok(outcome);
        }
        // The key is there, so the change runs; `None` cannot happen.
        self.change(key, change)?.ok_or(Failure::NO_SUCH_KEY)
    }

    /// Panics unless the accounts agree with what is there.
    #[cfg(test)]
    pub(crate) fn audit(&self) {
        let bytes: usize = self.entries.iter().map(|(name, entry)| cost(name, &entry.value)).sum();
        let deadlines =
            self.entries.iter().filter_map(|(name, entry)| Some((entry.deadline?, Name::clone(name))));
        assert_eq!(self.used_bytes, bytes);
        assert_eq!(self.deadlines, deadlines.collect());
        assert!(self.used_bytes <= self.limits.bytes && self.entries.len() <= self.limits.keys);
        for entry in self.entries.values() {
            assert_eq!(entry.value.bytes(), entry.value.recount());
            assert!(!entry.value.is_vanishing());
        }
    }

    /// Replaces whatever is there.
    pub(crate) fn put(&mut self, key: &[u8], value: Value, deadline: Option<i64>) {
        self.take(key);
        let name = Name::from(key);
        self.used_bytes = self.used_bytes.saturating_add(cost(&name, &value));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, Name::clone(&name)));
        }
        self.entries.insert(name, Entry { value, deadline });
    }

    /// Removes the key and returns what a reader would have seen.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let (name, entry) = self.entries.remove_entry(key)?;
        self.used_bytes = self.used_bytes.saturating_sub(cost(&name, &entry.value));
        let expired = entry.deadline.is_some_and(|deadline| deadline < self.now);
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, name));
        }
        (!expired).then_some(entry)
    }

    /// `None` keeps the key for ever. A key that is not there stays so.
    pub(crate) fn set_deadline(&mut self, key: &[u8], deadline: Option<i64>) {
        let Some((name, _)) = self.entries.get_key_value(key) else { return };
        let name = Name::clone(name);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let old = std::mem::replace(&mut entry.deadline, deadline);
        if let Some(old) = old {
            self.deadlines.remove(&(old, Name::clone(&name)));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, name));
        }
    }

    fn remove_expired(&mut self, key: &[u8]) {
        if !self.contains(key) {
            self.take(key);
        }
    }

    /// Removes the key that expired first, if any has.
    fn sweep_one(&mut self) -> bool {
        match self.deadlines.first() {
            Some((deadline, name)) if *deadline < self.now => {
                let name = Name::clone(name);
                self.take(&name);
                true
            }
            _ => false,
        }
    }
}

/// What storing these arguments can cost at most.
pub(crate) fn cost_of(args: &[&[u8]]) -> usize {
    args.iter().fold(KEY_OVERHEAD, |sum, arg| sum.saturating_add(arg.len()).saturating_add(MEMBER_OVERHEAD))
}

fn cost(name: &Name, value: &Value) -> usize {
    name.len().saturating_add(value.bytes()).saturating_add(KEY_OVERHEAD)
}
