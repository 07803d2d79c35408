//! A map that remembers order and gives any member in constant time: fields of a hash, members of a set, scores.

use std::collections::HashMap;
use std::sync::Arc;

/// Names and members are shared between a map and its index.
pub(crate) type Name = Arc<[u8]>;

/// What one member costs beyond its bytes: two slots, two reference counts, allocator overhead.
pub(crate) const MEMBER_OVERHEAD: usize = 128;

/// Bytes that a member's value holds beyond its own slot.
pub(crate) trait Weight {
    fn weight(&self) -> usize;
}

impl Weight for () {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for f64 {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// Members in the order in which they came, until one is removed: the last then takes its place.
#[derive(Clone, Debug)]
pub(crate) struct Members<V> {
    slots: Vec<(Name, V)>,
    places: HashMap<Name, usize>,
    bytes: usize,
}

impl<V> Default for Members<V> {
    fn default() -> Self {
        Members { slots: Vec::new(), places: HashMap::new(), bytes: 0 }
    }
}

impl<V: Weight> Members<V> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// About how much memory the members take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.places.contains_key(name)
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&V> {
        self.places.get(name).map(|place| &self.slots[*place].1)
    }

    pub(crate) fn at(&self, place: usize) -> Option<(&Name, &V)> {
        self.slots.get(place).map(|(name, value)| (name, value))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &V)> {
        self.slots.iter().map(|(name, value)| (name, value))
    }

    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.slots.iter().map(|(name, _)| &**name)
    }

    /// Returns the value that was there before.
    pub(crate) fn insert(&mut self, name: &[u8], value: V) -> Option<V> {
        if let Some(place) = self.places.get(name) {
            let weight = value.weight();
            let old = std::mem::replace(&mut self.slots[*place].1, value);
            self.bytes = self.bytes.saturating_add(weight).saturating_sub(old.weight());
            return Some(old);
        }
        self.insert_new(Name::from(name), value);
        None
    }

    /// `name` must not be there yet.
    pub(crate) fn insert_new(&mut self, name: Name, value: V) {
        self.bytes = self.bytes.saturating_add(cost(&name, &value));
        self.places.insert(Name::clone(&name), self.slots.len());
        self.slots.push((name, value));
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<(Name, V)> {
        let place = self.places.remove(name)?;
        let (name, value) = self.slots.swap_remove(place);
        if let Some((moved, _)) = self.slots.get(place) {
            self.places.insert(Name::clone(moved), place);
        }
        self.bytes = self.bytes.saturating_sub(cost(&name, &value));
        self.give_back_room();
        Some((name, value))
    }

    /// A container that shrank far must not keep the memory of its peak, which nobody accounts for.
    fn give_back_room(&mut self) {
        let len = self.slots.len();
        if self.slots.capacity() > 64 && self.slots.capacity() / 4 > len {
            self.slots.shrink_to(len * 2);
            self.places.shrink_to(len * 2);
        }
    }
}

fn cost<V: Weight>(name: &Name, value: &V) -> usize {
    name.len().saturating_add(value.weight()).saturating_add(MEMBER_OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_every_other_member_reachable_and_the_bytes_right() {
        let mut members = Members::<Vec<u8>>::default();
        for n in 0..200u32 {
            assert_eq!(members.insert(&n.to_le_bytes(), vec![0; 10]), None);
        }
        for n in (0..200u32).filter(|n| n % 3 != 0) {
            assert!(members.remove(&n.to_le_bytes()).is_some());
            assert!(members.remove(&n.to_le_bytes()).is_none());
        }
        assert_eq!(members.len(), 67);
        assert!((0..200u32).all(|n| members.contains(&n.to_le_bytes()) == (n % 3 == 0)));
        assert_eq!(members.bytes(), 67 * (4 + 10 + MEMBER_OVERHEAD));
    }
}
