//! What a key can hold.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use crate::members::{MEMBER_OVERHEAD, Members, Name};

/// One value of any type.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(Text),
    Hash(Hash),
    Set(Set),
    SortedSet(SortedSet),
    List(List),
}

impl Value {
    /// As the command TYPE names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::SortedSet(_) => "zset",
            Value::List(_) => "list",
        }
    }

    /// About how much memory the value takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.0.len(),
            Value::Hash(hash) => hash.bytes(),
            Value::Set(set) => set.bytes(),
            Value::SortedSet(sorted) => sorted.scores.bytes(),
            Value::List(list) => list.bytes,
        }
    }

    /// What [`Value::bytes`] should be, counted anew.
    #[cfg(test)]
    pub(crate) fn recount(&self) -> usize {
        let each = |bytes: usize| bytes + MEMBER_OVERHEAD;
        match self {
            Value::Text(text) => text.0.len(),
            Value::Hash(hash) => hash.iter().map(|(name, value)| each(name.len() + value.len())).sum(),
            Value::Set(set) => set.names().map(|name| each(name.len())).sum(),
            Value::SortedSet(sorted) => {
                assert_eq!(sorted.order.len(), sorted.scores.len());
                sorted.iter().map(|(name, _)| each(name.len())).sum()
            }
            Value::List(list) => list.iter().map(|item| each(item.len())).sum(),
        }
    }

    /// Redis keeps no empty containers; an empty string is a value like any other.
    pub(crate) fn is_vanishing(&self) -> bool {
        match self {
            Value::Text(_) => false,
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::SortedSet(sorted) => sorted.scores.is_empty(),
            Value::List(list) => list.items.is_empty(),
        }
    }
}

/// Lets the keyspace hand out a value as the type that a command expects.
pub(crate) trait Kind: Default + Into<Value> {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

macro_rules! kind {
    ($type:ident) => {
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$type(value)
            }
        }
        impl Kind for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$type(value) = value { Some(value) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$type(value) = value { Some(value) } else { None }
            }
        }
    };
}

kind!(Text);
kind!(Hash);
kind!(Set);
kind!(SortedSet);
kind!(List);

/// A string: any bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(pub(crate) Vec<u8>);

/// Fields and their values.
pub(crate) type Hash = Members<Vec<u8>>;

/// Members without order.
pub(crate) type Set = Members<()>;

/// A list with cheap ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Which end of a list, or of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The head of a list; the lowest score.
    First,
    /// The tail of a list; the highest score.
    Last,
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        self.items.get(index).map(Vec::as_slice)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.items.iter().map(Vec::as_slice)
    }

    pub(crate) fn range(&self, from: usize, len: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        let from = from.min(self.len());
        let end = from.saturating_add(len).min(self.len());
        self.items.range(from..end).map(Vec::as_slice)
    }

    pub(crate) fn push(&mut self, end: End, item: &[u8]) {
        self.bytes = self.bytes.saturating_add(item.len() + MEMBER_OVERHEAD);
        match end {
            End::First => self.items.push_front(item.to_vec()),
            End::Last => self.items.push_back(item.to_vec()),
        }
    }

    pub(crate) fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let item = match end {
            End::First => self.items.pop_front(),
            End::Last => self.items.pop_back(),
        }?;
        self.removed(item.len() + MEMBER_OVERHEAD);
        Some(item)
    }

    /// `index` may be the length, which appends; beyond it nothing happens.
    pub(crate) fn insert(&mut self, index: usize, item: &[u8]) {
        if index <= self.len() {
            self.bytes = self.bytes.saturating_add(item.len() + MEMBER_OVERHEAD);
            self.items.insert(index, item.to_vec());
        }
    }

    /// Says whether there was such an index.
    pub(crate) fn set(&mut self, index: usize, item: &[u8]) -> bool {
        let Some(slot) = self.items.get_mut(index) else { return false };
        self.bytes = self.bytes.saturating_add(item.len()).saturating_sub(slot.len());
        *slot = item.to_vec();
        true
    }

    /// Keeps `len` items from `from` on.
    pub(crate) fn trim(&mut self, from: usize, len: usize) {
        self.items.truncate(from.saturating_add(len));
        self.items.drain(..from.min(self.items.len()));
        self.bytes = self.items.iter().map(|item| item.len() + MEMBER_OVERHEAD).sum();
        self.removed(0);
    }

    /// Removes up to `max` items equal to `item`, starting at `end`, and says how many.
    pub(crate) fn remove_equal(&mut self, end: End, item: &[u8], max: usize) -> usize {
        let equal = self.iter().filter(|other| *other == item).count();
        let removed = equal.min(max);
        // From the last end, the first equal ones are those that stay.
        let mut staying = if end == End::Last { equal - removed } else { 0 };
        let mut removing = removed;
        self.items.retain(|other| {
            if other != item || removing == 0 {
                return true;
            }
            if staying > 0 {
                staying -= 1;
                return true;
            }
            removing -= 1;
            false
        });
        self.removed((item.len() + MEMBER_OVERHEAD).saturating_mul(removed));
        removed
    }

    fn removed(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.items.capacity() > 64 && self.items.capacity() / 4 > self.items.len() {
            self.items.shrink_to(self.items.len() * 2);
        }
    }
}

/// A score; never NaN, and never minus zero, so that order and equality agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score(f64);

impl Score {
    fn new(score: f64) -> Self {
        Score(if score == 0.0 { 0.0 } else { score })
    }

    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Members in the order of their scores, equal scores in the order of their bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedSet {
    scores: Members<f64>,
    order: BTreeSet<(Score, Name)>,
}

impl SortedSet {
    pub(crate) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// `score` must not be NaN.
    pub(crate) fn set(&mut self, member: &[u8], score: f64) {
        let score = Score::new(score);
        let name = match self.remove(member) {
            Some(name) => name,
            None => Name::from(member),
        };
        self.scores.insert_new(Name::clone(&name), score.get());
        self.order.insert((score, name));
    }

    pub(crate) fn remove(&mut self, member: &[u8]) -> Option<Name> {
        let (name, score) = self.scores.remove(member)?;
        self.order.remove(&(Score::new(score), Name::clone(&name)));
        Some(name)
    }

    pub(crate) fn pop(&mut self, end: End) -> Option<(Name, f64)> {
        let (score, name) = match end {
            End::First => self.order.pop_first(),
            End::Last => self.order.pop_last(),
        }?;
        self.scores.remove(&name);
        Some((name, score.get()))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Name, f64)> + ExactSizeIterator {
        self.order.iter().map(|(score, name)| (name, score.get()))
    }

    /// Members whose scores are at least `low`, and below `end` if there is one.
    pub(crate) fn between(
        &self,
        low: f64,
        end: Option<f64>,
    ) -> impl DoubleEndedIterator<Item = (&Name, f64)> {
        let at = |score: f64| (Score::new(score), Name::from(&b""[..]));
        let end = match end {
            // A range that ends before it starts would be refused.
            Some(end) => Bound::Excluded(at(end.max(low))),
            None => Bound::Unbounded,
        };
        self.order.range((Bound::Included(at(low)), end)).map(|(score, name)| (name, score.get()))
    }
}
